//! What an operator is told is what is there.

use super::{
    options::WINDOW_MS,
    tests::{Bench, labels, time_of},
    *,
};
use crate::stdx::vfs::Vfs;
use crate::store::{
    Appendable, WriteBatch,
    upkeep::{StorageReport, Upkeep},
};
use std::sync::Arc;

fn fill(store: &Tsdb) {
    for window in 0..2 {
        for sample in 0..30 {
            let mut batch = WriteBatch::default();
            for series in 0..12 {
                let at = time_of(0) - (2 - window) * WINDOW_MS + sample * 15_000;
                batch.push(store.series_id(&labels(series)).unwrap(), at, (sample * series as i64) as f64);
            }
            store.append(&batch).unwrap();
        }
        store.seal_all().unwrap();
    }
    let mut batch = WriteBatch::default();
    batch.push(store.series_id(&labels(1)).unwrap(), time_of(0), 1.0);
    store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
}

#[test]
fn blocks_windows_log_and_the_largest_are_told() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&store);
    let report = store.storage(3).unwrap();
    assert_eq!(report.blocks.len(), 2);
    let (first, last) = (&report.blocks[0], &report.blocks[1]);
    assert_eq!((first.series, first.samples, first.level), (12, 360, 0));
    assert!(first.newest_ms < last.oldest_ms && first.bytes_per_sample > 0.0);
    assert_eq!((report.head.windows.len(), report.head.windows[0].columns), (1, 1));
    assert!(report.log.bytes > 0 && report.log.syncs > 0, "{:?}", report.log);
    let next = report.retention.next.as_ref().unwrap();
    assert_eq!((&next.file, next.expires_ms), (&first.file, first.newest_ms + bench.retention_ms));
    assert!(next.bytes_left.is_some_and(|bytes| bytes > 1 << 40));
    assert_eq!(report.retention.used_bytes, report.log.bytes + first.bytes + last.bytes);
    let names = |list: &[crate::store::LabelCount]| list.iter().map(|count| count.name.clone()).collect::<Vec<_>>();
    let metrics: u64 = report.top.bytes_by_metric.iter().map(|count| count.value).sum();
    assert!(metrics > 200 && metrics < first.bytes + last.bytes, "{metrics}");
    assert_eq!(report.top.bytes_by_label.len(), 3);
    assert!(names(&report.top.bytes_by_label).iter().all(|name| name.starts_with("job=")), "{:?}", report.top);
    assert_eq!(names(&report.top.values_by_label)[0], "n");
    assert_eq!(report.damage, Default::default());
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<StorageReport>(&json).unwrap(), report);
    assert_eq!(store.storage(0).unwrap().top, Default::default());
    let done = Upkeep::compact(&store, &Arc::default()).unwrap();
    let after = store.storage(1).unwrap();
    assert!(done.merges > 0 && after.compaction.merges == done.merges && after.compaction.running.is_none());
    assert_eq!(after.blocks.iter().map(|block| block.bytes).sum::<u64>(), done.bytes_after);
}

#[test]
fn a_block_that_cannot_be_read_is_named_with_what_to_do() {
    let bench = Bench::new();
    fill(&bench.open());
    let path = bench.files("/data/blocks")[0].clone();
    let length = bench.vfs.length(&path).unwrap();
    (0..length as usize).for_each(|at| bench.vfs.corrupt(&path, at, 0x5a));
    let report = bench.open().storage(1).unwrap();
    assert_eq!(report.blocks.len(), 1);
    let unserved = &report.damage.unserved[0];
    assert_eq!((unserved.file.as_str(), unserved.bytes), (path.to_str().unwrap(), length));
    assert!(unserved.problem.contains("no whole block") && unserved.advice.contains("backup"), "{unserved:?}");
}
