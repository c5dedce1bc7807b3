//! Tombstones: what was deleted and is still in files, or in records of the log that could be replayed.
//!
//! A tombstone speaks of what was stored before its position of the log and of nothing after: of blocks that were sealed
//! through there at most, and of records before. `docs/formats/tombstones.md` describes the file.

use super::{head::IdMap, log::Position, replace::replace};
use crate::{
    model::{Labels, MatchOp, Matcher, TimeRange, Timestamp},
    stdx::{
        bytes::{push_slice, push_varint, push_varint_signed, take_array, take_slice, take_varint, take_varint_signed},
        vfs::Vfs,
    },
    store::{Deletion, SeriesId, StoreError, WriteBatch},
};
use std::{path::Path, sync::Arc};

const MAGIC: [u8; 8] = *b"OBSTOMB\x01";
/// Both begin alike.
pub(super) const NAMES: [&str; 2] = ["tombstones", "tombstones.copy"];

/// What was deleted, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Tombstone {
    pub deletion: Deletion,
    /// What is in records of the log before this, and in blocks sealed through this or less, is deleted.
    pub position: Position,
}

impl Tombstone {
    /// Whether it covers all that an earlier one does.
    fn contains(&self, earlier: &Tombstone) -> bool {
        let (ours, theirs) = (self.deletion.range, earlier.deletion.range);
        self.position >= earlier.position
            && self.deletion.selectors == earlier.deletion.selectors
            && ours.start() <= theirs.start()
            && theirs.end() <= ours.end()
    }
}

/// The list as of one moment. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tombstones {
    /// Grows with every change: tells the newer of two copies.
    version: u64,
    list: Arc<Vec<Tombstone>>,
}

impl Tombstones {
    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Tombstone> {
        self.list.iter()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The highest position of any.
    pub fn position_max(&self) -> Option<Position> {
        self.iter().map(|tombstone| tombstone.position).max()
    }

    /// The list with one more, without those that it covers.
    pub fn with(&self, tombstone: Tombstone) -> Tombstones {
        let mut list: Vec<Tombstone> = self.iter().filter(|held| !tombstone.contains(held)).cloned().collect();
        list.push(tombstone);
        Tombstones { version: self.version + 1, list: Arc::new(list) }
    }

    /// The list with those that `keep` says yes to; `None` where it says so of all.
    pub fn without(&self, keep: impl Fn(&Tombstone) -> bool) -> Option<Tombstones> {
        let list: Vec<Tombstone> = self.iter().filter(|held| keep(held)).cloned().collect();
        (list.len() < self.len()).then(|| Tombstones { version: self.version + 1, list: Arc::new(list) })
    }

    /// Replaces both copies, one after the other. Where it fails at the second, the first counts, and the rest is done
    /// by the next change.
    pub fn save(&self, vfs: &dyn Vfs, directory: &Path) -> Result<(), StoreError> {
        let bytes = self.encode();
        let write = |name| replace(vfs, directory, name, &bytes, "writing the tombstones");
        write(NAMES[0])?;
        if let Err(error) = write(NAMES[1]) {
            tracing::warn!(%error, "The second copy of the tombstones could not be written; the first has them.");
        }
        Ok(())
    }

    /// The newest whole copy; none where there is no file. The flag says that a copy was there but damaged.
    pub fn load(vfs: &dyn Vfs, directory: &Path) -> (Tombstones, bool) {
        let decoded: Vec<Option<Tombstones>> = NAMES
            .iter()
            .filter_map(|name| match vfs.read(&directory.join(name)) {
                Ok(bytes) => Some(Tombstones::decode(&bytes)),
                Err(error) => (error.kind() != std::io::ErrorKind::NotFound).then_some(None),
            })
            .collect();
        let damaged = decoded.iter().any(Option::is_none);
        let newest = decoded.into_iter().flatten().max_by_key(|tombstones| tombstones.version);
        (newest.unwrap_or_default(), damaged)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.version.to_le_bytes());
        push_varint(&mut out, self.len() as u64);
        for Tombstone { deletion, position } in self.iter() {
            push_varint(&mut out, position.0);
            push_varint_signed(&mut out, deletion.range.start());
            push_varint_signed(&mut out, deletion.range.end());
            push_varint(&mut out, deletion.selectors.len() as u64);
            for selector in &deletion.selectors {
                push_varint(&mut out, selector.len() as u64);
                for matcher in selector {
                    out.push(match matcher.op {
                        MatchOp::Equal => 0,
                        MatchOp::NotEqual => 1,
                        MatchOp::Regex => 2,
                        MatchOp::NotRegex => 3,
                    });
                    push_slice(&mut out, matcher.name.as_bytes());
                    push_slice(&mut out, matcher.value.as_bytes());
                }
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Tombstones> {
        let (body, mut tail) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(take_array(&mut tail)?) {
            return None;
        }
        let mut input = body.strip_prefix(&MAGIC)?;
        let version = u64::from_le_bytes(take_array(&mut input)?);
        let list = (0..take_varint(&mut input)?).map(|_| take_tombstone(&mut input)).collect::<Option<Vec<_>>>()?;
        Some(Tombstones { version, list: Arc::new(list) })
    }
}

fn take_tombstone(input: &mut &[u8]) -> Option<Tombstone> {
    let position = Position(take_varint(input)?);
    let range = TimeRange::new(take_varint_signed(input)?, take_varint_signed(input)?)?;
    let mut selectors = Vec::new();
    for _ in 0..take_varint(input)? {
        let mut selector = Vec::new();
        for _ in 0..take_varint(input)? {
            selector.push(take_matcher(input)?);
        }
        selectors.push(selector);
    }
    Some(Tombstone { deletion: Deletion { selectors, range }, position })
}

fn take_matcher(input: &mut &[u8]) -> Option<Matcher> {
    let op = match take_array::<1>(input)? {
        [0] => MatchOp::Equal,
        [1] => MatchOp::NotEqual,
        [2] => MatchOp::Regex,
        [3] => MatchOp::NotRegex,
        _ => return None,
    };
    let name = std::str::from_utf8(take_slice(input)?).ok()?;
    Matcher::new(op, name, std::str::from_utf8(take_slice(input)?).ok()?).ok()
}

/// Takes out of replayed records what was deleted after them: most of it is in blocks, but a block of which nothing was
/// left is gone, and does not tell any more what it was sealed through.
pub struct DeletedRecords {
    tombstones: Tombstones,
    position_max: Position,
    /// Which tombstones speak of a series.
    by_series: IdMap<Box<[u32]>>,
}

impl DeletedRecords {
    pub fn new(tombstones: Tombstones) -> DeletedRecords {
        let position_max = tombstones.position_max().unwrap_or_default();
        DeletedRecords { tombstones, position_max, by_series: IdMap::default() }
    }

    /// Whether something in a record at `position` may be deleted.
    pub fn concerns(&self, position: Position) -> bool {
        position < self.position_max
    }

    /// Whether a sample in a record at `position` is deleted. `labels_of` knows the series.
    fn has(&mut self, id: SeriesId, at: Timestamp, position: Position, labels_of: &dyn Fn() -> Option<Labels>) -> bool {
        let tombstones = &self.tombstones;
        let speaking = self.by_series.entry(id).or_insert_with(|| {
            let Some(labels) = labels_of() else { return Box::default() };
            let numbered = (0u32..).zip(tombstones.iter());
            numbered.filter(|(_, held)| held.deletion.passes(&labels)).map(|(number, _)| number).collect()
        });
        speaking.iter().any(|number| {
            let held = &tombstones.list[*number as usize];
            position < held.position && held.deletion.range.contains(at)
        })
    }

    /// Whether an exemplar of a series in a record, or in the file, of `position` is deleted.
    pub fn has_exemplar(&self, series: &Labels, at: Timestamp, position: Position) -> bool {
        self.tombstones.iter().any(|held| position < held.position && held.deletion.has(series, at))
    }

    /// Removes from a batch of a record at `position` what is deleted. Runs need no look: the checkpoint that was written
    /// before the tombstone has them.
    pub fn remove(
        &mut self,
        batch: &mut WriteBatch,
        position: Position,
        labels_of: &dyn Fn(SeriesId) -> Option<Labels>,
    ) {
        let mut kept = 0;
        for at in 0..batch.series.len() {
            let (id, time) = (batch.series[at], batch.timestamps[at]);
            if !self.has(id, time, position, &|| labels_of(id)) {
                (batch.series[kept], batch.timestamps[kept], batch.values[kept]) = (id, time, batch.values[at]);
                kept += 1;
            }
        }
        batch.series.truncate(kept);
        batch.timestamps.truncate(kept);
        batch.values.truncate(kept);
        batch.histograms.retain(|(id, time, _)| !self.has(*id, *time, position, &|| labels_of(*id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::vfs::simulated::SimulatedVfs;
    use proptest::prelude::*;

    fn tombstone(name: &str, (start, end): (i64, i64), position: u64) -> Tombstone {
        let selectors = vec![
            vec![Matcher::equal("job", name), Matcher::new(MatchOp::NotRegex, "a", "x.*|y").unwrap()],
            vec![Matcher::new(MatchOp::Regex, "a", "é|").unwrap(), Matcher::new(MatchOp::NotEqual, "b", "").unwrap()],
            vec![],
        ];
        let deletion = Deletion { selectors, range: TimeRange::new(start, end).unwrap() };
        Tombstone { deletion, position: Position(position) }
    }

    #[test]
    fn tombstones_survive_and_one_copy_is_enough() {
        let (vfs, directory) = (SimulatedVfs::default(), Path::new("/"));
        assert_eq!(Tombstones::load(&vfs, directory), (Tombstones::default(), false));
        let first = Tombstones::default().with(tombstone("a", (i64::MIN, i64::MAX), 1 << 40));
        first.save(&vfs, directory).unwrap();
        let second = first.with(tombstone("b", (-5, 7), (1 << 40) + 1));
        second.save(&vfs, directory).unwrap();
        assert_eq!(Tombstones::load(&vfs, directory), (second.clone(), false));
        vfs.corrupt(Path::new("/tombstones"), 20, 1);
        assert_eq!(Tombstones::load(&vfs, directory), (second.clone(), true));
        vfs.corrupt(Path::new("/tombstones.copy"), 20, 1);
        assert_eq!(Tombstones::load(&vfs, directory), (Tombstones::default(), true));
    }

    #[test]
    fn one_that_covers_another_takes_its_place() {
        let list = Tombstones::default().with(tombstone("a", (5, 9), 10)).with(tombstone("b", (5, 9), 11));
        let list = list.with(tombstone("a", (5, 20), 12));
        assert_eq!(list.iter().map(|held| held.position.0).collect::<Vec<_>>(), [11, 12]);
        assert_eq!(list.with(tombstone("a", (6, 30), 13)).len(), 3);
        assert!(list.without(|_| true).is_none());
        assert_eq!(list.without(|held| held.position.0 > 11).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut whole = [&MAGIC[..], &bytes].concat();
            let crc = crc32c::crc32c(&whole);
            whole.extend_from_slice(&crc.to_le_bytes());
            let _ = Tombstones::decode(&whole);
        }
    }
}
