//! From the raw bytes of a series' labels to its id: one hash, no allocation.
//!
//! The key is a 128-bit hash under a random secret, so that nobody outside can make two series meet. A reader holds the
//! shards for a whole request, not for a sample. Each shard has two generations: when the young one is full it becomes
//! the old one, and what is still in use moves back by being asked for.

use crate::store::SeriesId;
use parking_lot::{RwLock, RwLockReadGuard};
use std::{
    array,
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
};
use xxhash_rust::xxh3::xxh3_128_with_secret;

/// Growing a shard stalls its readers for as long as moving its entries takes; sixteen make that short.
const SHARDS: usize = 16;

/// The two halves of a hash. Two numbers, because one of 128 bits would be padded to 16 bytes beside the id.
pub(super) type Key = (u64, u64);

type Map = HashMap<Key, SeriesId, BuildKeyHasher>;

/// For maps by [`Key`].
pub(super) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

/// Known series by key, bounded.
pub(super) struct SeriesCache {
    secret: [u8; 192],
    shards: [RwLock<Shard>; SHARDS],
    generation_max: usize,
}

#[derive(Default)]
struct Shard {
    young: Map,
    old: Map,
}

/// All shards, held for reading.
pub(super) struct Reader<'a> {
    shards: [RwLockReadGuard<'a, Shard>; SHARDS],
}

impl SeriesCache {
    pub(super) fn new(entries_max: usize) -> SeriesCache {
        let random = RandomState::new();
        let mut secret = [0; 192];
        for (index, part) in secret.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&random.hash_one(index).to_le_bytes());
        }
        let generation_max = (entries_max / (2 * SHARDS)).max(1);
        SeriesCache { secret, shards: array::from_fn(|_| RwLock::default()), generation_max }
    }

    /// The key of raw label bytes.
    #[inline]
    pub(super) fn key(&self, raw: &[u8]) -> Key {
        let hash = xxh3_128_with_secret(raw, &self.secret);
        ((hash >> 64) as u64, hash as u64)
    }

    pub(super) fn read(&self) -> Reader<'_> {
        Reader { shards: array::from_fn(|index| self.shards[index].read()) }
    }

    pub(super) fn insert(&self, key: Key, id: SeriesId) {
        let mut shard = self.shards[shard_of(key)].write();
        if shard.young.len() >= self.generation_max {
            shard.old = std::mem::take(&mut shard.young);
        }
        shard.young.insert(key, id);
    }

    /// The id, also where only the old generation has it, which brings it back.
    pub(super) fn revive(&self, key: Key) -> Option<SeriesId> {
        let id = self.shards[shard_of(key)].write().old.remove(&key)?;
        self.insert(key, id);
        Some(id)
    }

    pub(super) fn remove(&self, key: Key) {
        let mut shard = self.shards[shard_of(key)].write();
        shard.young.remove(&key);
        shard.old.remove(&key);
    }
}

impl Reader<'_> {
    /// The id of a key used recently.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<SeriesId> {
        self.shards[shard_of(key)].young.get(&key).copied()
    }
}

/// The map uses the low half's bits, so the shard is chosen by the high half.
fn shard_of(key: Key) -> usize {
    key.0 as usize % SHARDS
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub(super) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_in_use_survive_a_full_generation() {
        let cache = SeriesCache::new(SHARDS * 20);
        let used = cache.key(b"used");
        cache.insert(used, SeriesId(7));
        for number in 0..10_000u64 {
            cache.insert(cache.key(&number.to_le_bytes()), SeriesId(number));
            let found = cache.read().get(used);
            assert_eq!(found.or_else(|| cache.revive(used)), Some(SeriesId(7)));
        }
        let held: usize = cache.shards.iter().map(|s| s.read().young.len() + s.read().old.len()).sum();
        assert!(held <= SHARDS * 20, "{held}");
    }

    #[test]
    fn a_removed_entry_is_gone() {
        let cache = SeriesCache::new(100);
        let key = cache.key(b"a");
        cache.insert(key, SeriesId(1));
        cache.remove(key);
        let found = cache.read().get(key);
        assert_eq!((found, cache.revive(key)), (None, None));
    }

    #[test]
    fn two_caches_have_different_keys() {
        assert_ne!(SeriesCache::new(1).key(b"a"), SeriesCache::new(1).key(b"a"));
    }
}
