//! How often somebody may do something: a bucket of tokens for each, in bounded memory.

use parking_lot::Mutex;
use std::{collections::HashMap, hash::Hash};

/// Those remembered at once: each takes less than 100 bytes.
const KEYS_MAX: usize = 8_192;

/// Lets each key act `burst` times at once and `per_minute` times a minute.
#[derive(Debug)]
pub struct Throttle<K> {
    per_minute: f64,
    burst: f64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled_ms: i64,
}

impl<K: Eq + Hash + Clone> Throttle<K> {
    pub fn new(per_minute: u64, burst: u64) -> Throttle<K> {
        Throttle { per_minute: per_minute.max(1) as f64, burst: burst.max(1) as f64, buckets: Mutex::default() }
    }

    /// Takes a token of `key` at `now_ms`, a time that never goes back; where there is none, the seconds until there is.
    pub fn take(&self, key: &K, now_ms: i64) -> Result<(), u32> {
        let mut buckets = self.buckets.lock();
        let mut bucket = self.filled(buckets.get(key).copied(), now_ms);
        if bucket.tokens < 1.0 {
            return Err(self.seconds_until_one(bucket));
        }
        bucket.tokens -= 1.0;
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(key) {
            self.make_room(&mut buckets, now_ms);
        }
        buckets.insert(key.clone(), bucket);
        Ok(())
    }

    /// As [`Throttle::take`], but takes nothing.
    pub fn check(&self, key: &K, now_ms: i64) -> Result<(), u32> {
        let bucket = self.filled(self.buckets.lock().get(key).copied(), now_ms);
        if bucket.tokens < 1.0 { Err(self.seconds_until_one(bucket)) } else { Ok(()) }
    }

    fn filled(&self, bucket: Option<Bucket>, now_ms: i64) -> Bucket {
        let Some(bucket) = bucket else { return Bucket { tokens: self.burst, filled_ms: now_ms } };
        let passed_ms = now_ms.saturating_sub(bucket.filled_ms).max(0);
        let tokens = bucket.tokens + passed_ms as f64 * self.per_minute / 60_000.0;
        Bucket { tokens: tokens.min(self.burst), filled_ms: now_ms.max(bucket.filled_ms) }
    }

    fn seconds_until_one(&self, bucket: Bucket) -> u32 {
        let ms = ((1.0 - bucket.tokens) * 60_000.0 / self.per_minute).round();
        (ms / 1000.0).ceil().clamp(1.0, 3_600.0) as u32
    }

    /// Forgets those that may do all again; where there is none, everybody: many keys at once are one attacker's, and
    /// those who behave lose nothing.
    fn make_room(&self, buckets: &mut HashMap<K, Bucket>, now_ms: i64) {
        buckets.retain(|_, bucket| self.filled(Some(*bucket), now_ms).tokens < self.burst);
        if buckets.len() >= KEYS_MAX {
            buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_as_many_as_flow_in() {
        let throttle = Throttle::new(60, 3);
        for _ in 0..3 {
            throttle.take(&"a", 0).unwrap();
        }
        assert_eq!(throttle.take(&"a", 0), Err(1));
        assert_eq!(throttle.check(&"a", 0), Err(1));
        throttle.take(&"b", 0).unwrap();
        throttle.take(&"a", 1_000).unwrap();
        assert_eq!(throttle.take(&"a", 1_500), Err(1));
        for _ in 0..3 {
            throttle.take(&"a", 3_600_000).unwrap();
        }
        assert!(throttle.take(&"a", 3_600_000).is_err(), "no more than the burst is saved up");
    }

    #[test]
    fn a_slow_bucket_says_how_long_to_wait() {
        let throttle = Throttle::new(2, 1);
        throttle.take(&1, 0).unwrap();
        assert_eq!(throttle.take(&1, 10_000), Err(20));
        throttle.take(&1, 30_000).unwrap();
    }

    #[test]
    fn memory_is_bounded_whoever_comes() {
        let throttle = Throttle::new(1, 1);
        for key in 0..3 * KEYS_MAX {
            throttle.take(&key, 0).unwrap();
        }
        assert!(throttle.buckets.lock().len() <= KEYS_MAX);
    }
}
