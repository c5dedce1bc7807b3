//! Flipped bytes in any file: the engine opens, loses only what they covered, and says that it did.

use super::{
    options::WINDOW_MS,
    tests::{Bench, SharedKv, contents, labels, one_sample, time_of},
};
use crate::{
    model::{Labels, Samples},
    stdx::vfs::{Vfs, simulated::Random},
    store::{Appendable, Queryable, RunChange, WriteBatch, kv::Kv},
};
use std::path::{Path, PathBuf};

const SERIES: usize = 12;
const ROUNDS: i64 = 40;

/// A merged block, blocks of windows, a checkpoint, and a log with more. Every third batch is never sealed.
fn filled() -> Bench {
    let bench = Bench::new();
    let store = bench.open();
    for round in 0..ROUNDS {
        for series in 0..SERIES {
            let at = time_of(0) + round * 60_000 + (round % 3) * WINDOW_MS;
            store.append(&one_sample(&store, series, at, at as f64)).unwrap().ticket.wait_blocking().unwrap();
        }
        if round == 20 {
            let series = store.series_id(&labels(SERIES)).unwrap();
            let open = RunChange::Open { series, value: 1.0, first: time_of(0), step_ms: 600_000 };
            store.append(&WriteBatch { runs: vec![open], ..WriteBatch::default() }).unwrap();
        }
        if round == 12 {
            store.compact(&Default::default()).unwrap();
        }
        if round == 25 {
            let window = store.shared.head.window_of(time_of(0));
            store.shared.seal_where(|used| used.window == window + WINDOW_MS).unwrap();
            store.shared.seal_where(|used| used.window == window).unwrap();
        }
    }
    drop(store);
    bench
}

fn all_files(bench: &Bench) -> Vec<PathBuf> {
    let mut files = [bench.files("/data/blocks"), bench.files("/data/log")].concat();
    files.extend(["/data/checkpoint", "/data/checkpoint.copy", "/data/exemplars"].map(PathBuf::from));
    files
}

/// A bit, a page, the rest of the file, or all of it.
fn damage(bench: &Bench, file: &Path, offset: u64, random: &mut Random) -> &'static str {
    let open = || bench.vfs.open(file, crate::stdx::vfs::OpenMode::ReadWrite).unwrap();
    match random.below(5) {
        0 => {
            let length = bench.vfs.length(file).unwrap();
            let page: Vec<u8> = (0..512.min(length - offset)).map(|_| random.below(256) as u8).collect();
            open().write_all_at(&page, offset).unwrap();
            "a page"
        }
        1 => {
            open().set_len(offset).unwrap();
            "cut short"
        }
        2 => {
            bench.vfs.remove(file).unwrap();
            "removed"
        }
        _ => {
            bench.vfs.corrupt(file, offset as usize, 1 << random.below(8));
            "a bit"
        }
    }
}

fn count(contents: &[(Labels, Samples)]) -> usize {
    contents.iter().map(|(_, samples)| samples.len()).sum()
}

#[test]
fn damage_anywhere_costs_what_it_covered_and_is_counted() {
    let whole = filled();
    let before = contents(&whole.open());
    let (mut random, mut damages, mut counted) = (Random(5), 0, 0);
    for trial in 0..400 {
        let bench = Bench { vfs: whole.vfs.after_power_cut(0), kv: whole.kv.copy(), ..Bench::new() };
        let files = all_files(&bench);
        let file = &files[random.below(files.len() as u64) as usize];
        let length = bench.vfs.length(file).unwrap();
        if length == 0 {
            continue;
        }
        let offset = random.below(length);
        let kind = damage(&bench, file, offset, &mut random);
        let context = format!("trial {trial}: {kind}, {} at {offset}", file.display());
        let store = bench.open();
        let after = contents(&store);
        for (labels, samples) in &after {
            let original = &before.iter().find(|(found, _)| found == labels).unwrap_or_else(|| panic!("{context}")).1;
            for (at, value) in samples.timestamps.iter().zip(&samples.values) {
                let index = original.timestamps.binary_search(at).unwrap_or_else(|_| panic!("{context}"));
                assert_eq!(original.values[index].to_bits(), value.to_bits(), "{context}");
            }
        }
        let lost = count(&before) - count(&after);
        let damaged = store.status(1).unwrap().damaged;
        // Nothing says how far the last segment of the log went: its end looks as if the power had gone while it was written.
        let is_last = Some(file) == bench.files("/data/log").iter().chain([file]).max().filter(|_| kind != "a bit");
        assert!(lost == 0 || damaged > 0 || is_last, "{context}: {lost} samples lost without a word");
        damages += u64::from(lost > 0);
        counted += u64::from(damaged > 0);
        // Looking again neither counts again nor loses more.
        assert_eq!(count(&contents(&store)), count(&after), "{context}");
        assert_eq!(store.status(1).unwrap().damaged, damaged, "{context}");
        // And the store goes on.
        store.append(&one_sample(&store, 0, time_of(900), 1.0)).unwrap().ticket.wait_blocking().unwrap();
        store.seal_all().unwrap();
    }
    assert!(damages > 20 && counted > damages, "{damages} of {counted} damages cost samples");
}

#[test]
fn both_checkpoints_torn_and_windows_cut_short_still_open() {
    let whole = filled();
    for cut in [0, 1, 100, 176] {
        let bench = Bench { vfs: whole.vfs.after_power_cut(0), kv: whole.kv.copy(), ..Bench::new() };
        for file in all_files(&bench).iter().filter(|file| !file.to_string_lossy().ends_with(".log")) {
            let file = bench.vfs.open(file, crate::stdx::vfs::OpenMode::ReadWrite).unwrap();
            file.set_len(file.len().unwrap().min(cut)).unwrap();
        }
        let store = bench.open();
        assert!(store.status(1).unwrap().damaged > 2);
        store.append(&one_sample(&store, 99, time_of(900), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    }
}

#[test]
fn what_is_missing_as_a_whole_is_counted() {
    let whole = filled();
    assert!(whole.files("/data/log").len() > 1 && whole.kv.position() > 0, "the log has been given up in part");
    let damaged = |prepare: &dyn Fn(&mut Bench)| {
        let mut bench = Bench { vfs: whole.vfs.after_power_cut(0), kv: whole.kv.copy(), ..Bench::new() };
        prepare(&mut bench);
        bench.open().status(1).unwrap().damaged
    };
    assert_eq!(damaged(&|_| {}), 0);
    assert_eq!(damaged(&|bench| bench.kv = SharedKv::default()), 1, "the small state");
    assert_eq!(damaged(&|bench| bench.vfs.remove(Path::new("/data/exemplars")).unwrap()), 1, "the exemplars");
    let no_log = |bench: &mut Bench| {
        bench.files("/data/log").iter().for_each(|path| bench.vfs.remove(path).unwrap());
    };
    assert!(damaged(&no_log) > 0, "the log");
}

#[test]
fn a_newest_segment_of_the_log_that_no_checkpoint_knew_of_is_missed() {
    let bench = Bench::new();
    for place in 0..3 {
        let store = bench.open();
        store.append(&one_sample(&store, 0, time_of(place), 1.0)).unwrap().ticket.wait_blocking().unwrap();
    }
    let log = bench.files("/data/log");
    assert_eq!(log.len(), 3, "each opening began a segment, and none wrote a checkpoint");
    // As the kernel does within half a minute.
    for path in &log {
        bench.vfs.open(path, crate::stdx::vfs::OpenMode::ReadWrite).unwrap().sync_data().unwrap();
    }
    let damaged = |removed: &[usize]| {
        let copy = Bench { vfs: bench.vfs.after_power_cut(0), kv: bench.kv.copy(), ..Bench::new() };
        removed.iter().for_each(|number| copy.vfs.remove(&log[*number]).unwrap());
        let first = {
            let store = copy.open();
            (store.status(1).unwrap().damaged, count(&contents(&store)))
        };
        assert_eq!(copy.open().status(1).unwrap().damaged, 0, "it is counted once");
        first
    };
    assert_eq!(damaged(&[]), (0, 3));
    assert_eq!(damaged(&[2]), (1, 2), "the newest");
    assert_eq!(damaged(&[1, 2]), (1, 1), "the newest two");
}

#[test]
fn an_end_of_the_log_that_a_checkpoint_knew_of_is_missed() {
    let bench = Bench::new();
    let write = |store: &super::engine::Tsdb, place: i64| {
        for window in 0..2 {
            let at = time_of(0) + window * WINDOW_MS + place * 1000;
            store.append(&one_sample(store, 0, at, 1.0)).unwrap().ticket.wait_blocking().unwrap();
        }
    };
    for place in 0..2 {
        let store = bench.open();
        write(&store, place);
        // The other window stays in the log.
        let window = store.shared.head.window_of(time_of(0));
        store.shared.seal_where(|used| used.window == window).unwrap();
    }
    let log = bench.files("/data/log");
    assert_eq!(log.len(), 2, "each opening began a segment");
    let damaged = |prepare: &dyn Fn(&Bench)| {
        let copy = Bench { vfs: bench.vfs.after_power_cut(0), kv: bench.kv.copy(), ..Bench::new() };
        prepare(&copy);
        let (first, samples) = {
            let store = copy.open();
            write(&store, 2);
            (store.status(1).unwrap().damaged, count(&contents(&store)))
        };
        let again = copy.open();
        assert_eq!(count(&contents(&again)), samples);
        assert_eq!(again.status(1).unwrap().damaged, 0, "it is counted once");
        (first, samples)
    };
    assert_eq!(damaged(&|_| {}), (0, 6));
    assert_eq!(damaged(&|bench| bench.vfs.remove(&log[1]).unwrap()), (1, 5), "the newest segment");
    let last_record = |bench: &Bench| {
        let file = bench.vfs.open(&log[1], crate::stdx::vfs::OpenMode::ReadWrite).unwrap();
        file.set_len(file.len().unwrap() - 1).unwrap();
    };
    assert_eq!(damaged(&last_record), (1, 5), "the end of the newest segment");
}
