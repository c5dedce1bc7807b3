//! Backups of the engine on a simulated disk, and what damage does to them.

use super::*;
use crate::store::{
    Appendable, RunChange, StateChange, Tree, WriteBatch,
    tsdb::{
        Options, Tsdb,
        tests::{Bench, NOW, contents, labels},
    },
};
use proptest::prelude::*;
use std::{path::PathBuf, sync::OnceLock};

fn append(store: &Tsdb, at: i64, value: f64) {
    let mut batch = WriteBatch::default();
    for series in 0..5 {
        batch.push(store.series_id(&labels(series)).unwrap(), at + series as i64, value);
    }
    let series = store.series_id(&labels(9)).unwrap();
    batch.runs.push(RunChange::Open { series, value, first: at, step_ms: 15_000 });
    batch.state.push(StateChange { tree: Tree::PushGroups, key: b"group".to_vec(), value: Some(vec![value as u8]) });
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

/// A store with blocks, a log, open runs and state, and the bytes of its backup.
fn backed_up() -> (Bench, Tsdb, Vec<u8>) {
    let bench = Bench::new();
    let store = bench.open();
    for round in 0..40 {
        append(&store, NOW - 6 * 3_600_000 + round * 300_000, round as f64);
        if round == 25 {
            store.seal_all().unwrap();
        }
    }
    let snapshot = store.snapshot().unwrap();
    let expected = file_bytes(&snapshot);
    let mut bytes = Vec::new();
    write(snapshot, &mut bytes, &mut |_, _| true).unwrap();
    assert_eq!(bytes.len() as u64, expected);
    (bench, store, bytes)
}

fn open_file(directory: &std::path::Path, bytes: &[u8]) -> Result<(Backup, PathBuf), BackupError> {
    let path = directory.join("file.backup");
    std::fs::write(&path, bytes).unwrap();
    Ok((Backup::open(&path)?, path))
}

fn verify(bytes: &[u8]) -> Result<(), BackupError> {
    let directory = tempfile::tempdir().unwrap();
    let (mut backup, _) = open_file(directory.path(), bytes)?;
    backup.read(&mut Nowhere, &mut |_, _| true)
}

#[test]
fn a_backup_opens_as_the_store_was_although_that_went_on() {
    let (bench, store, bytes) = backed_up();
    let before = contents(&store);
    append(&store, NOW, 77.0);
    let directory = tempfile::tempdir().unwrap();
    let (mut backup, _) = open_file(directory.path(), &bytes).unwrap();
    let target = directory.path().join("restored");
    let mut layout = Layout::new(&target).unwrap();
    backup.read(&mut layout, &mut |_, _| true).unwrap();
    layout.finish().unwrap();
    let options = Options { clock: std::sync::Arc::new(bench.clock.clone()), ..Options::new(&target) };
    let restored = Tsdb::open(options).unwrap();
    assert_eq!(contents(&restored), before);
    assert_eq!(crate::store::StateStore::state(&restored, Tree::PushGroups, b"group"), Some(vec![39]));
    // It goes on, through a restart too.
    append(&restored, NOW, 5.0);
    restored.seal_all().unwrap();
    let after = contents(&restored);
    drop(restored);
    let options = Options { clock: std::sync::Arc::new(bench.clock.clone()), ..Options::new(&target) };
    assert_eq!(contents(&Tsdb::open(options).unwrap()), after);
}

#[test]
fn a_backup_survives_that_its_blocks_are_merged_and_its_log_is_given_up() {
    let (_bench, store, bytes) = backed_up();
    let snapshot = store.snapshot().unwrap();
    store.compact(&Default::default()).unwrap();
    for round in 0..200 {
        append(&store, NOW - 60_000 + round, round as f64);
    }
    store.seal_all().unwrap();
    let mut late = Vec::new();
    write(snapshot, &mut late, &mut |_, _| true).unwrap();
    verify(&late).unwrap();
    let parts = |bytes: &[u8]| {
        let directory = tempfile::tempdir().unwrap();
        open_file(directory.path(), bytes).unwrap().0.manifest.parts
    };
    assert_eq!(parts(&late), parts(&bytes), "nothing was written between the two");
}

#[test]
fn the_log_is_given_up_again_after_a_backup() {
    let (bench, store, _) = backed_up();
    let snapshot = store.snapshot().unwrap();
    let segments = || bench.files("/data/log").iter().filter(|path| !path.to_string_lossy().contains("spare")).count();
    store.seal_all().unwrap();
    let held = segments();
    drop(snapshot);
    store.seal_all().unwrap();
    append(&store, NOW, 1.0);
    store.seal_all().unwrap();
    assert!(segments() < held, "{} of {held}", segments());
}

#[test]
fn a_backup_that_is_cancelled_ends() {
    let (_bench, store, _) = backed_up();
    let ended = write(store.snapshot().unwrap(), &mut Vec::new(), &mut |done, _| done < 100);
    assert!(matches!(ended, Err(BackupError::Cancelled)));
}

#[test]
fn what_is_no_backup_or_of_a_newer_program_is_told_so() {
    assert!(matches!(verify(b""), Err(BackupError::NoBackup)));
    assert!(matches!(verify(&[7; 500]), Err(BackupError::NoBackup)));
    let mut newer = sample().to_vec();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..12]).to_le_bytes();
    newer[12..16].copy_from_slice(&crc);
    assert!(matches!(verify(&newer), Err(BackupError::Newer { found: 2, known: 1 })));
}

#[test]
fn moments_are_written_as_prometheus_writes_them() {
    assert_eq!(stamp(1_795_189_906_123), "20261120T155146Z");
}

fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| backed_up().2)
}

/// The part that byte `at` belongs to.
fn part_at(at: usize) -> String {
    let directory = tempfile::tempdir().unwrap();
    let manifest = open_file(directory.path(), sample()).unwrap().0.manifest;
    let mut end = manifest::HEADER_BYTES as u64;
    if (at as u64) < end {
        return "header".to_owned();
    }
    for part in &manifest.parts {
        end += part.bytes;
        if (at as u64) < end {
            return part.name.clone();
        }
    }
    let is_footer = at >= sample().len() - manifest::FOOTER_BYTES;
    if is_footer { "footer".to_owned() } else { "manifest".to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whichever_byte_is_flipped_its_part_is_named(place in 0.0..1.0f64, edge in prop::option::of(0..80usize), bit in 0..8u8) {
        let mut bytes = sample().to_vec();
        let at = match edge {
            Some(edge) if place < 0.5 => edge.min(15),
            Some(edge) => bytes.len() - 1 - edge,
            None => (place * bytes.len() as f64) as usize,
        };
        bytes[at] ^= 1 << bit;
        match verify(&bytes) {
            Err(BackupError::Damaged(part)) => prop_assert_eq!(part, part_at(at)),
            other => prop_assert!(false, "byte {} bit {}: {:?}", at, bit, other),
        }
    }

    #[test]
    fn wherever_it_is_cut_it_is_refused(place in 0.0..1.0f64) {
        let bytes = sample();
        let cut = &bytes[..(place * bytes.len() as f64) as usize];
        prop_assert!(matches!(verify(cut), Err(BackupError::CutShort | BackupError::NoBackup)));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>, position: u64) {
        let mut state = StateDump { position, changes: Vec::new() }.encode();
        state.extend_from_slice(&bytes);
        let _ = StateDump::decode(&state);
        prop_assert!(verify(&bytes).is_err());
    }
}

#[test]
fn backups_made_while_windows_are_sealed_merged_and_written_to_are_all_whole() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let directory = tempfile::tempdir().unwrap();
    let clock: std::sync::Arc<dyn crate::stdx::clock::Clock> =
        std::sync::Arc::new(crate::stdx::clock::ManualClock::new(NOW));
    let mut options = Options { clock: clock.clone(), ..Options::new(directory.path().join("data")) };
    options.log.segment_bytes = 16 << 10;
    let store = Tsdb::open(options).unwrap();
    let day = 24 * 3_600_000;
    for round in 0..60 {
        append(&store, NOW - 3 * day + round * 600_000, round as f64);
    }
    let stop = AtomicBool::new(false);
    // What is written meanwhile lies behind, so that this part stays as it is.
    let until = NOW - 2 * day;
    let settled = |store: &Tsdb| -> Vec<(String, Vec<i64>, Vec<u64>)> {
        let read = |(labels, samples): (crate::model::Labels, crate::model::Samples)| {
            let kept = samples.timestamps.iter().zip(&samples.values).filter(|(at, _)| **at < until);
            let (times, values) = kept.map(|(at, value)| (*at, value.to_bits())).unzip();
            (format!("{labels:?}"), times, values)
        };
        contents(store).into_iter().map(read).collect()
    };
    let before = settled(&store);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                append(&store, NOW - day + (round % 100) * 600_000, round as f64);
                if round % 20 == 19 {
                    store.seal_all().unwrap();
                }
            }
        });
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                store.compact(&Default::default()).unwrap();
            }
        });
        for round in 0..12 {
            let snapshot = store.snapshot().unwrap();
            let mut bytes = Vec::new();
            write(snapshot, &mut bytes, &mut |_, _| {
                std::thread::sleep(std::time::Duration::from_millis(1));
                true
            })
            .unwrap();
            let (mut backup, path) = open_file(directory.path(), &bytes).unwrap();
            let target = directory.path().join(format!("restored-{round}"));
            let mut layout = Layout::new(&target).unwrap();
            backup.read(&mut layout, &mut |_, _| true).unwrap();
            layout.finish().unwrap();
            std::fs::remove_file(path).unwrap();
            let restored = Tsdb::open(Options { clock: clock.clone(), ..Options::new(&target) }).unwrap();
            assert_eq!(settled(&restored), before, "round {round}");
            assert_eq!(crate::store::Queryable::status(&restored, 0).unwrap().damaged, 0, "round {round}");
        }
        stop.store(true, Ordering::SeqCst);
    });
}
