//! The newest exemplars of all series, in memory, as Prometheus keeps them: the oldest makes room for the next.
//!
//! They are in the log as batches are. What the log gives up is in a file of its own, written with each checkpoint;
//! `docs/formats/exemplars.md` describes it.

use super::{
    log::Position,
    record::{push_series, take_series},
    replace::replace,
};
use crate::{
    model::{Exemplar, Labels, Matcher, TimeRange, Timestamp},
    stdx::{
        bytes::{push_slice, push_varint, push_varint_signed, take_array, take_slice, take_varint, take_varint_signed},
        vfs::Vfs,
    },
    store::{Deletion, SeriesId, StoreError},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::Path,
};

const MAGIC: [u8; 8] = *b"OBSEXMP\x01";
const NAME: &str = "exemplars";

pub struct Exemplars {
    /// 0 keeps none.
    max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// In order of arrival.
    ring: VecDeque<(Labels, Exemplar)>,
    series: HashMap<Labels, Series>,
    /// Something was added since the file was written.
    changed: bool,
}

struct Series {
    count: usize,
    newest: Exemplar,
}

impl Exemplars {
    pub fn new(max: usize) -> Exemplars {
        Exemplars { max, held: Mutex::default() }
    }

    pub fn count(&self) -> usize {
        self.held.lock().ring.len()
    }

    /// Keeps an exemplar; `false` where it is too long, does not follow the newest of its series, or none are kept.
    pub fn push(&self, series: &Labels, exemplar: &Exemplar) -> bool {
        if self.max == 0 || !exemplar.fits() {
            return false;
        }
        let mut held = self.held.lock();
        let held = &mut *held;
        match held.series.get_mut(series) {
            Some(known) if !exemplar.follows(&known.newest) => return false,
            Some(known) => {
                known.count += 1;
                known.newest = exemplar.clone();
            }
            None => {
                held.series.insert(series.clone(), Series { count: 1, newest: exemplar.clone() });
            }
        }
        held.ring.push_back((series.clone(), exemplar.clone()));
        held.changed = true;
        if held.ring.len() > self.max
            && let Some((series, _)) = held.ring.pop_front()
            && let Some(known) = held.series.get_mut(&series)
        {
            known.count -= 1;
            if known.count == 0 {
                held.series.remove(&series);
            }
        }
        true
    }

    /// Whether there is one that a deletion takes.
    pub fn has_any(&self, deletion: &Deletion) -> bool {
        let held = self.held.lock();
        let meant = |series: &&Labels| deletion.passes(series);
        let series: HashSet<&Labels> = held.series.keys().filter(meant).collect();
        let is_of = |(labels, exemplar): &(Labels, Exemplar)| {
            deletion.range.contains(exemplar.timestamp) && series.contains(labels)
        };
        !series.is_empty() && held.ring.iter().any(is_of)
    }

    /// Removes those that `is_deleted` says yes to. The next of their series has to follow the newest that is left.
    pub fn remove(&self, is_deleted: impl Fn(&Labels, Timestamp) -> bool) {
        let mut held = self.held.lock();
        let count = held.ring.len();
        held.ring.retain(|(series, exemplar)| !is_deleted(series, exemplar.timestamp));
        if held.ring.len() == count {
            return;
        }
        let Held { ring, series, changed } = &mut *held;
        *changed = true;
        series.clear();
        for (labels, exemplar) in ring {
            let fresh = || Series { count: 0, newest: exemplar.clone() };
            let known = series.entry(labels.clone()).or_insert_with(fresh);
            known.count += 1;
            known.newest = exemplar.clone();
        }
    }

    /// Those within `range` of the series that pass any of `selectors`, by series in the order of labels.
    pub fn select(&self, range: TimeRange, selectors: &[Vec<Matcher>]) -> Vec<(Labels, Vec<Exemplar>)> {
        let held = self.held.lock();
        let passes = |labels: &Labels| {
            selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches_labels(labels)))
        };
        let mut found: BTreeMap<&Labels, Vec<Exemplar>> = BTreeMap::new();
        for series in held.series.keys().filter(|labels| passes(labels)) {
            found.insert(series, Vec::new());
        }
        for (series, exemplar) in held.ring.iter().filter(|(_, exemplar)| range.contains(exemplar.timestamp)) {
            if let Some(list) = found.get_mut(series) {
                list.push(exemplar.clone());
            }
        }
        let found = found.into_iter().filter(|(_, list)| !list.is_empty());
        found.map(|(labels, list)| (labels.clone(), list)).collect()
    }

    /// Writes the file where something was added since it was written last, and where there is none: one that is missing
    /// beside a checkpoint was lost. All that the log has before `through` was added before this is called.
    pub fn save(&self, vfs: &dyn Vfs, directory: &Path, through: Position) -> Result<(), StoreError> {
        let ring: Vec<(Labels, Exemplar)> = {
            let mut held = self.held.lock();
            if !std::mem::take(&mut held.changed) {
                return Ok(());
            }
            held.ring.iter().cloned().collect()
        };
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&through.0.to_le_bytes());
        for (series, exemplar) in &ring {
            push_slice(&mut bytes, series.as_bytes());
            push_exemplar(&mut bytes, exemplar);
        }
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        replace(vfs, directory, NAME, &bytes, "writing the exemplars").inspect_err(|_| self.held.lock().changed = true)
    }

    /// Takes over what the file has, and gives the position that records of the log must have to be newer; `None` where
    /// it is damaged, then what is readable of it is not used, or where it is missing although it was `written`.
    pub fn load(&self, vfs: &dyn Vfs, directory: &Path, written: bool) -> Option<Position> {
        let bytes = match vfs.read(&directory.join(NAME)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !written => {
                self.held.lock().changed = true;
                return Some(Position::default());
            }
            Err(_) => None,
        };
        let found = bytes.as_deref().and_then(decode);
        for (series, exemplar) in found.iter().flat_map(|(_, listed)| listed) {
            self.push(series, exemplar);
        }
        // A damaged one is written again although nothing is added.
        self.held.lock().changed = found.is_none();
        found.map(|(through, _)| through)
    }
}

fn decode(bytes: &[u8]) -> Option<(Position, Vec<(Labels, Exemplar)>)> {
    let (body, mut tail) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    if crc32c::crc32c(body) != u32::from_le_bytes(take_array(&mut tail)?) {
        return None;
    }
    let mut input = body.strip_prefix(&MAGIC)?;
    let through = Position(u64::from_le_bytes(take_array(&mut input)?));
    let mut found = Vec::new();
    while !input.is_empty() {
        let series = Labels::from_bytes(take_slice(&mut input)?).ok()?;
        found.push((series, take_exemplar(&mut input)?));
    }
    Some((through, found))
}

fn push_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    push_varint_signed(out, exemplar.timestamp);
    out.extend_from_slice(&exemplar.value.to_le_bytes());
    push_slice(out, exemplar.labels.as_bytes());
}

fn take_exemplar(input: &mut &[u8]) -> Option<Exemplar> {
    let timestamp = take_varint_signed(input)?;
    let value = f64::from_le_bytes(take_array(input)?);
    let labels = Labels::from_bytes(take_slice(input)?).ok()?;
    Some(Exemplar { labels, value, timestamp })
}

/// A log record of exemplars, each with its series: the record stands alone.
pub fn push_record(out: &mut Vec<u8>, exemplars: &[(SeriesId, Labels, Exemplar)]) {
    push_varint(out, exemplars.len() as u64);
    for (id, series, exemplar) in exemplars {
        push_series(out, *id, series);
        push_exemplar(out, exemplar);
    }
}

/// `None` where it is damaged.
pub fn take_record(mut input: &[u8]) -> Option<Vec<(Labels, Exemplar)>> {
    let mut found = Vec::new();
    for _ in 0..take_varint(&mut input)? {
        let (_, series) = take_series(&mut input)?;
        found.push((series, take_exemplar(&mut input)?));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::Timestamp,
        stdx::vfs::simulated::SimulatedVfs,
        store::{
            Appendable, Queryable, WriteBatch,
            tsdb::tests::{Bench, NOW, labels},
        },
    };

    fn exemplar(trace: &str, value: f64, timestamp: Timestamp) -> Exemplar {
        Exemplar { labels: Labels::from_pairs([("trace_id", trace)]).unwrap(), value, timestamp }
    }

    #[test]
    fn an_exemplar_that_does_not_follow_or_is_too_long_is_not_kept() {
        let kept = Exemplars::new(10);
        assert!(kept.push(&labels(1), &exemplar("a", 1.0, 5)));
        assert!(!kept.push(&labels(1), &exemplar("a", 1.0, 5)), "twice");
        assert!(!kept.push(&labels(1), &exemplar("b", 9.0, 4)), "earlier");
        assert!(kept.push(&labels(1), &exemplar("b", 2.0, 5)), "at one time the greater value follows");
        assert!(kept.push(&labels(2), &exemplar("c", 1.0, 1)));
        assert!(!kept.push(&labels(1), &exemplar(&"x".repeat(121), 1.0, 9)));
        assert!(kept.push(&labels(1), &exemplar(&"é".repeat(120), 1.0, 9)));
        assert!(!Exemplars::new(0).push(&labels(1), &exemplar("a", 1.0, 5)));
    }

    #[test]
    fn the_oldest_makes_room_and_its_series_is_forgotten() {
        let kept = Exemplars::new(2);
        kept.push(&labels(1), &exemplar("a", 1.0, 5));
        kept.push(&labels(2), &exemplar("b", 1.0, 5));
        kept.push(&labels(2), &exemplar("c", 1.0, 6));
        assert!(kept.push(&labels(1), &exemplar("d", 1.0, 1)), "the series begins anew");
        let all = [Vec::new()];
        let found = kept.select(TimeRange::ALL, &all);
        assert_eq!(found.len(), 2);
        assert_eq!(kept.select(TimeRange::new(6, 9).unwrap(), &all).len(), 1);
        assert_eq!(kept.select(TimeRange::ALL, &[vec![Matcher::equal("n", "2")]])[0].1, [exemplar("c", 1.0, 6)]);
    }

    #[test]
    fn a_damaged_file_is_told_apart_from_one_that_is_not_there() {
        let (vfs, directory) = (SimulatedVfs::default(), Path::new("/"));
        let kept = Exemplars::new(10);
        assert_eq!(kept.load(&vfs, directory, false), Some(Position(0)));
        kept.push(&labels(1), &exemplar("a", 1.0, 5));
        kept.save(&vfs, directory, Position(7)).unwrap();
        let again = Exemplars::new(10);
        assert_eq!((again.load(&vfs, directory, true), again.count()), (Some(Position(7)), 1));
        vfs.corrupt(Path::new("/exemplars"), 12, 1);
        let damaged = Exemplars::new(10);
        assert_eq!((damaged.load(&vfs, directory, true), damaged.count()), (None, 0));
        damaged.save(&vfs, directory, Position(9)).unwrap();
        assert_eq!(Exemplars::new(10).load(&vfs, directory, true), Some(Position(9)), "written again");
    }

    #[test]
    fn an_exemplar_that_made_room_does_not_come_back_at_a_restart() {
        let bench = Bench::new();
        let mut options = bench.options();
        options.exemplars_max = 2;
        let open = || crate::store::tsdb::Tsdb::open_with(options.clone(), Box::new(bench.kv.clone())).unwrap();
        let found = |store: &crate::store::tsdb::Tsdb| store.exemplars(TimeRange::ALL, &[Vec::new()]).unwrap();
        let store = open();
        for (series, at) in [(1, NOW), (2, NOW), (2, NOW + 1)] {
            let id = store.series_id(&labels(series)).unwrap();
            let exemplars = vec![(id, exemplar("a", 1.0, at))];
            let batch = WriteBatch { exemplars, ..WriteBatch::default() };
            store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
        }
        let before = found(&store);
        assert_eq!(before, [(labels(2), vec![exemplar("a", 1.0, NOW), exemplar("a", 1.0, NOW + 1)])]);
        store.seal_all().unwrap();
        drop(store);
        assert_eq!(found(&open()), before);
    }

    #[test]
    fn exemplars_survive_a_restart_from_the_log_and_from_their_file() {
        let mut bench = Bench::new();
        for sealed in [false, true] {
            let store = bench.open();
            let id = store.series_id(&labels(1)).unwrap();
            let mut batch = WriteBatch::default();
            batch.push(id, NOW, 1.0);
            batch.exemplars.push((id, exemplar("a", 1.0, NOW)));
            batch.exemplars.push((SeriesId(77 << 40), exemplar("nobody", 1.0, NOW)));
            store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
            if sealed {
                store.seal_all().unwrap();
            }
            drop(store);
            bench.vfs = bench.vfs.after_power_cut(1);
            let found = bench.open().exemplars(TimeRange::ALL, &[vec![Matcher::equal("n", "1")]]).unwrap();
            assert_eq!(found, [(labels(1), vec![exemplar("a", 1.0, NOW)])], "sealed: {sealed}");
        }
    }
}
