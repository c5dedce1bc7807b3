//! The engine on a disk that fills up: what goes, what is refused, and that it recovers by itself.

use super::{
    options::WINDOW_MS,
    tests::{Bench, contents, labels, time_of, values_of},
    *,
};
use crate::{
    model::Timestamp,
    stdx::vfs::{OpenMode, Vfs},
    store::{Appendable, StoreError, WriteBatch},
};
use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
};

const MIB: u64 = 1 << 20;
/// Something of others on the same disk.
const BALLAST: &str = "/other/ballast";

impl Bench {
    /// Sets how much of a disk of 64 MiB is taken by others.
    fn fill_disk(&self, bytes: u64) {
        self.vfs.set_capacity(Some(64 * MIB));
        let ballast = self.vfs.open(Path::new(BALLAST), OpenMode::Create).unwrap();
        ballast.set_len(0).unwrap();
        ballast.set_len(bytes).unwrap();
    }

    fn free(&self) -> u64 {
        self.vfs.space(Path::new("/data")).unwrap().free
    }
}

fn write(store: &Tsdb, at: Timestamp, series: usize) -> Result<(), StoreError> {
    let mut batch = WriteBatch::default();
    batch.push(store.series_id(&labels(series)).unwrap(), at, at as f64);
    store.append(&batch)?.ticket.wait_blocking()
}

/// One block a window, with a few hundred samples each; gives when each window begins.
fn blocks(store: &Tsdb, windows: i64) -> Vec<Timestamp> {
    let starts: Vec<Timestamp> = (0..windows).map(|window| time_of(0) - (windows - window) * WINDOW_MS).collect();
    for start in &starts {
        for sample in 0..20 {
            (0..10).for_each(|series| write(store, start + sample * 15_000, series).unwrap());
        }
        store.seal_all().unwrap();
    }
    starts
}

fn first_sample(store: &Tsdb) -> Option<Timestamp> {
    contents(store).iter().filter_map(|(_, samples)| samples.timestamps.first().copied()).min()
}

#[test]
fn above_the_bytes_allowed_the_oldest_blocks_go_and_never_what_is_live() {
    let mut bench = Bench::new();
    let starts = blocks(&bench.open(), 5);
    let sizes: Vec<u64> = bench.files("/data/blocks").iter().map(|path| bench.vfs.length(path).unwrap()).collect();
    let log: u64 = bench.files("/data/log").iter().map(|path| bench.vfs.length(path).unwrap()).sum();
    bench.bytes_max = log + sizes[3] + sizes[4];
    {
        let store = bench.open();
        store.keep_room();
        assert_eq!(first_sample(&store), Some(starts[3]));
        assert_eq!(store.shared.disk.dropped_by_size.load(Ordering::Relaxed), 3);
        assert_eq!(bench.files("/data/blocks").len(), 2);
    }
    bench.bytes_max = 1;
    let store = bench.open();
    write(&store, time_of(1), 1).unwrap();
    store.keep_room();
    assert_eq!(bench.files("/data/blocks").len(), 0);
    assert_eq!(values_of(&store, 1), [time_of(1) as f64], "only what is in memory stays");
}

#[test]
fn what_was_dropped_for_room_is_not_missed_at_the_next_start() {
    let mut bench = Bench::new();
    let starts = blocks(&bench.open(), 5);
    bench.bytes_max = 1;
    bench.open().keep_room();
    let store = bench.open();
    assert!(first_sample(&store).is_none_or(|first| first >= starts[4]), "the old blocks are gone");
    assert_eq!(store.shared.damaged.count(), 0);
}

#[test]
fn a_part_of_the_disk_is_a_limit_as_well() {
    let mut bench = Bench::new();
    let starts = blocks(&bench.open(), 4);
    let bytes = |directory| bench.files(directory).iter().map(|path| bench.vfs.length(path).unwrap()).sum::<u64>();
    let used = bytes("/data/blocks") + bytes("/data/log");
    bench.disk_percent_max = 50;
    bench.vfs.set_capacity(Some(used * 2 + 4));
    let store = bench.open();
    let room = store.shared.room().unwrap();
    assert_eq!(room.allowed, Some(used + 2));
    assert!(room.used <= used + 2, "{room:?}");
    assert_eq!(first_sample(&store), Some(starts[0]));
}

#[test]
fn a_full_disk_first_costs_the_oldest_blocks_then_writes_and_recovers_by_itself() {
    let bench = Bench::new();
    let store = bench.open();
    let starts = blocks(&store, 4);
    write(&store, time_of(0), 1).unwrap();
    bench.fill_disk(0);
    let taken = 64 * MIB - bench.free();
    let one = bench.vfs.length(&bench.files("/data/blocks")[0]).unwrap();
    // A little below the floor: one block is enough.
    bench.fill_disk(48 * MIB - taken + one / 2);
    store.keep_room();
    assert_eq!(first_sample(&store), Some(starts[1]));
    write(&store, time_of(1), 1).unwrap();
    // Far below it: all go, and it is not enough.
    bench.fill_disk(60 * MIB);
    store.keep_room();
    assert_eq!(first_sample(&store), Some(time_of(0)), "but what was live, sealed or not");
    let refused = write(&store, time_of(2), 1).unwrap_err();
    assert!(matches!(refused, StoreError::DiskFull { .. }), "{refused}");
    assert!(refused.to_string().contains("16 MiB are kept"), "{refused}");
    let live = [time_of(0) as f64, time_of(1) as f64];
    assert_eq!(values_of(&store, 1), live, "reads go on");
    // Just above the floor is not yet room again, a little more is.
    bench.fill_disk(47 * MIB);
    store.keep_room();
    assert!(write(&store, time_of(2), 1).is_err());
    bench.fill_disk(40 * MIB);
    store.keep_room();
    write(&store, time_of(2), 1).unwrap();
    drop(store);
    // What was dropped may come back in part, from a segment of the log that also holds what is live.
    assert!(values_of(&bench.open(), 1).ends_with(&[live[0], live[1], time_of(2) as f64]));
}

#[test]
fn a_disk_filled_to_the_last_byte_loses_nothing_acknowledged() {
    let mut bench = Bench::new();
    let mut acknowledged = Vec::new();
    {
        let store = bench.open();
        write(&store, time_of(0), 1).unwrap();
        acknowledged.push(time_of(0) as f64);
        bench.fill_disk(0);
        bench.fill_disk(bench.free() - 5_000);
        // Nobody looks at the disk: the log itself meets its end.
        for sample in 1..2_000 {
            let at = time_of(0) + sample * 1_000;
            if write(&store, at, 1).is_ok() {
                acknowledged.push(at as f64);
            }
        }
        assert!((2..2_000).contains(&acknowledged.len()), "{}", acknowledged.len());
        let _ = store.seal_all();
        bench.fill_disk(0);
        write(&store, time_of(9), 1).unwrap();
        acknowledged.push(time_of(9) as f64);
    }
    bench.vfs = bench.vfs.after_power_cut(3);
    let values = values_of(&bench.open(), 1);
    let lost: Vec<&f64> = acknowledged.iter().filter(|value| !values.contains(value)).collect();
    assert_eq!(lost, Vec::<&f64>::new());
}

#[test]
fn a_short_disk_has_the_log_sealed_early() {
    let bench = Bench::new();
    let store = bench.open();
    for sample in 0..400 {
        (0..5).for_each(|series| write(&store, time_of(0) + sample * 1_000, series).unwrap());
    }
    let log = store.shared.log.stats().bytes;
    bench.fill_disk(0);
    bench.fill_disk(bench.free() - 16 * MIB + log / 2);
    store.keep_room();
    assert!(store.shared.log.stats().bytes < log / 2, "{log}");
    assert_eq!(bench.files("/data/blocks").len(), 1, "that was enough: no block goes");
    write(&store, time_of(1_000), 1).unwrap();
}

#[test]
fn nothing_is_merged_while_the_result_may_not_fit() {
    let bench = Bench::new();
    let store = bench.open();
    let starts = blocks(&store, 3);
    bench.fill_disk(0);
    bench.fill_disk(bench.free() - 8 * MIB);
    let refused = store.compact(&Arc::default()).unwrap_err();
    assert!(matches!(refused, StoreError::NoRoom { .. }), "{refused}");
    bench.clock.advance(30 * 86_400_000 / 6);
    store.shared.compact_due().unwrap();
    assert!(store.shared.compaction.postponed.load(Ordering::Relaxed));
    assert_eq!(bench.files("/data/blocks").len(), 3);
    bench.fill_disk(0);
    store.shared.compact_due().unwrap();
    assert!(!store.shared.compaction.postponed.load(Ordering::Relaxed));
    assert!(store.compact(&Arc::default()).unwrap().merges >= 1 || bench.files("/data/blocks").len() < 3);
    assert_eq!(first_sample(&store), Some(starts[0]));
}

#[test]
fn a_tool_that_only_looks_drops_nothing() {
    let bench = Bench::new();
    let starts = blocks(&bench.open(), 3);
    bench.fill_disk(60 * MIB);
    let options = Options { drops_blocks: false, bytes_max: 1, retention_ms: 1, ..bench.options() };
    let store = Tsdb::open_with(options, Box::new(bench.kv.clone())).unwrap();
    store.keep_room();
    store.shared.drop_expired(time_of(0) + 1_000 * WINDOW_MS);
    assert_eq!(first_sample(&store), Some(starts[0]));
}
