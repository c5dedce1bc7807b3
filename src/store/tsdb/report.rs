//! What an operator is told of the engine.

use super::{
    block::Block,
    engine::{Places, Shared, Tsdb},
    options::{TierOptions, WINDOW_MS},
    policy::Keeping,
};
use crate::{
    model::METRIC_NAME,
    stdx::cancel::Cancel,
    store::{
        LabelCount, Queryable, StoreError,
        upkeep::{
            BlockReport, Compacted, CompactionReport, DamageReport, DeletePlan, Deletion, DiskReport, HeadReport,
            KeepPlan, KeptReport, LogReport, MergeReport, NextDrop, RetentionReport, StorageReport, TierReport,
            TopReport, Unserved, Upkeep, WindowReport,
        },
    },
};
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

impl Upkeep for Tsdb {
    fn storage(&self, limit: usize) -> Result<StorageReport, StoreError> {
        let shared = &*self.shared;
        let mut blocks: Vec<Arc<Block>> = shared.places.read().files.clone();
        blocks.sort_by_key(|block| (block.footer.oldest, block.footer.newest, block.footer.level));
        let status = self.status(limit)?;
        let (bytes_by_metric, bytes_by_label) = if limit == 0 { Default::default() } else { bytes_by(&blocks, limit) };
        let (disk, retention) = shared.disk_report()?;
        Ok(StorageReport {
            directory: shared.options.directory.display().to_string(),
            now_ms: shared.now_ms(),
            blocks: blocks.iter().map(|block| block_report(block)).collect(),
            tiers: shared.tier_reports(),
            kept: shared.kept_report(),
            head: shared.head_report(status.series),
            log: shared.log_report(),
            disk,
            retention,
            compaction: shared.compaction_report(),
            damage: shared.damage_report(&blocks),
            top: TopReport {
                bytes_by_metric,
                bytes_by_label,
                series_by_metric: status.series_by_metric,
                series_by_label: status.series_by_pair,
                values_by_label: status.values_by_label,
            },
        })
    }

    fn compact(&self, progress: &Arc<super::block::Progress>) -> Result<Compacted, StoreError> {
        Tsdb::compact(self, progress)
    }

    fn delete(&self, deletion: &Deletion) -> Result<(), StoreError> {
        self.shared.delete(deletion)
    }

    fn plan_delete(&self, deletion: &Deletion, limit: usize, cancel: &Cancel) -> Result<DeletePlan, StoreError> {
        self.shared.plan_delete(deletion, limit, cancel)
    }

    fn plan_keeping(&self, rules: Option<&Keeping>, cancel: &Cancel) -> Result<KeepPlan, StoreError> {
        self.shared.plan_keeping(rules, cancel)
    }

    fn clean(&self, progress: &Arc<super::block::Progress>) -> Result<Compacted, StoreError> {
        self.shared.clean(progress)
    }
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn block_report(block: &Block) -> BlockReport {
    let footer = &block.footer;
    let bytes = block.file_bytes();
    BlockReport {
        file: file_name(&block.path),
        oldest_ms: footer.oldest,
        newest_ms: footer.newest,
        start_ms: footer.start,
        span_ms: footer.span_ms,
        level: footer.level,
        series: footer.series,
        samples: footer.samples,
        bytes,
        bytes_per_sample: if footer.samples == 0 { 0.0 } else { bytes as f64 / footer.samples as f64 },
    }
}

/// What to do about a block that is not served.
pub(super) fn unserved(path: &Path, bytes: u64, problem: &StoreError) -> Unserved {
    let (advice, place) = match problem {
        StoreError::Damaged(_) => ("bring it back from a backup, or remove it to have its space", "and start again"),
        _ => ("see that this user can read it, and that the disk is well", "then start again"),
    };
    Unserved {
        file: path.display().to_string(),
        bytes,
        problem: problem.to_string(),
        advice: format!("{advice}, {place}"),
    }
}

impl Shared {
    fn head_report(&self, series: u64) -> HeadReport {
        let windows = self.head.windows(self.now_ms()).into_iter().map(|window| WindowReport {
            start_ms: window.window,
            span_ms: WINDOW_MS,
            columns: window.columns as u64,
            bytes: window.bytes as u64,
            touched_ms: window.touched_ms,
        });
        HeadReport {
            series,
            series_max: self.options.series_max,
            windows: windows.collect(),
            windows_waiting: self.places.read().sealing.len() as u64,
            bytes_max: self.options.head_bytes_max as u64,
        }
    }

    fn log_report(&self) -> LogReport {
        let stats = self.log.stats();
        LogReport {
            bytes: stats.bytes,
            segments: stats.segments as u64,
            spare_segments: stats.spare_segments as u64,
            syncs: stats.syncs,
            failed_groups: stats.failed_groups,
            last_error: stats.last_error.map(|error| error.to_string()),
        }
    }

    fn disk_report(&self) -> Result<(DiskReport, RetentionReport), StoreError> {
        let room = self.room()?;
        let disk = DiskReport {
            total_bytes: room.space.total,
            free_bytes: room.space.free,
            floor_bytes: room.floor,
            full: self.disk.full.load(Ordering::Relaxed),
            refused_appends: get(&self.disk.refused),
        };
        let places = self.places.read();
        let is_kept = |block: &Arc<Block>| places.kept.iter().any(|kept| Arc::ptr_eq(kept, block));
        let expires_ms = |block: &Arc<Block>| match is_kept(block) {
            true => self.kept_until(block),
            false => block.footer.newest.saturating_add(self.retention_of(&places, block)),
        };
        let oldest = places.all().min_by_key(|block| (expires_ms(block), block.footer.start)).cloned();
        let oldest = oldest.map(|block| (expires_ms(&block), block));
        let goes_for_room = self.droppable(&places).into_iter().next();
        drop(places);
        let to_limit = room.allowed.map_or(u64::MAX, |allowed| allowed.saturating_sub(room.used));
        let bytes_left = to_limit.min(room.space.free.saturating_sub(room.floor));
        let next = oldest.map(|(expires_ms, block)| NextDrop {
            file: file_name(&block.path),
            oldest_ms: block.footer.oldest,
            newest_ms: block.footer.newest,
            bytes: block.file_bytes(),
            expires_ms,
            bytes_left: goes_for_room.is_some().then_some(bytes_left),
        });
        let retention = RetentionReport {
            time_ms: self.options.retention_ms,
            allowed_bytes: room.allowed,
            used_bytes: room.used,
            dropped_by_time: get(&self.disk.dropped_by_time),
            dropped_by_size: get(&self.disk.dropped_by_size),
            next,
        };
        Ok((disk, retention))
    }

    /// How long what is in a block is kept.
    fn retention_of(&self, places: &Places, block: &Arc<Block>) -> i64 {
        let is_in = |files: &Vec<Arc<Block>>| files.iter().any(|file| Arc::ptr_eq(file, block));
        let tier = places.tiers.iter().position(is_in).and_then(|tier| self.options.tiers.get(tier));
        tier.map_or(self.options.retention_ms, |tier| tier.retention_ms)
    }

    fn tier_reports(&self) -> Vec<TierReport> {
        let places = self.places.read();
        let lacks = self.lacks_from(&places);
        let report = |((files, tier), lacks_from_ms): ((&Vec<Arc<Block>>, &TierOptions), _)| TierReport {
            resolution_ms: tier.resolution_ms,
            time_ms: tier.retention_ms,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.file_bytes()).sum(),
            values: files.iter().map(|file| file.footer.samples).sum(),
            oldest_ms: files.iter().map(|file| file.footer.oldest).min(),
            newest_ms: files.iter().map(|file| file.footer.newest).max(),
            lacks_from_ms,
        };
        places.tiers.iter().zip(&self.options.tiers).zip(lacks).map(report).collect()
    }

    fn kept_report(&self) -> KeptReport {
        let places = self.places.read();
        let kept = || places.kept.iter();
        KeptReport {
            files: kept().count() as u64,
            bytes: kept().map(|block| block.file_bytes()).sum(),
            samples: kept().map(|block| block.footer.samples).sum(),
            oldest_ms: kept().map(|block| block.footer.oldest).min(),
            newest_ms: kept().map(|block| block.footer.newest).max(),
        }
    }

    fn compaction_report(&self) -> CompactionReport {
        let running = self.compaction.running().map(|progress| MergeReport {
            series_done: get(&progress.series_done),
            series_total: get(&progress.series_total),
            bytes_written: get(&progress.bytes_written),
        });
        CompactionReport {
            merges: get(&self.compaction.merges),
            tiers_built: get(&self.compaction.tiers_built),
            failures: get(&self.compaction.failures),
            bytes_written: get(&self.compaction.bytes_written),
            postponed: self.compaction.postponed.load(Ordering::Relaxed),
            running,
        }
    }

    fn damage_report(&self, blocks: &[Arc<Block>]) -> DamageReport {
        let replay = self.log.stats().replay;
        let damaged = blocks.iter().map(|block| (block, block.damaged_series())).filter(|(_, series)| *series > 0);
        DamageReport {
            met: self.damaged.count(),
            log_records: replay.damaged_records,
            log_bytes: replay.damaged_bytes,
            blocks: damaged.map(|(block, value)| LabelCount { name: file_name(&block.path), value }).collect(),
            unserved: self.unserved.clone(),
        }
    }
}

/// Bytes of the data by metric and by label, the largest of each. One name at a time, so that memory holds the values of
/// one label and no more.
fn bytes_by(blocks: &[Arc<Block>], limit: usize) -> (Vec<LabelCount>, Vec<LabelCount>) {
    let extents: Vec<Vec<u64>> =
        blocks.iter().map(|block| (0..block.series()).map(|series| block.series_extent(series)).collect()).collect();
    let names: BTreeSet<&str> = blocks.iter().flat_map(|block| block.index().names().collect::<Vec<_>>()).collect();
    let (mut metrics, mut labels) = (Vec::new(), Vec::new());
    for name in names {
        let mut sums: HashMap<&str, u64> = HashMap::new();
        for (block, extents) in blocks.iter().zip(&extents) {
            let index = block.index();
            for (value, entry) in index.values(name) {
                let series = index.series_of(&entry);
                let bytes: u64 = series.iter().filter_map(|series| extents.get(series as usize)).sum();
                *sums.entry(value).or_default() += bytes;
            }
        }
        let is_metric = name == METRIC_NAME;
        let counts = sums.into_iter().map(|(value, bytes)| LabelCount {
            name: if is_metric { value.to_owned() } else { format!("{name}={value}") },
            value: bytes,
        });
        let list = if is_metric { &mut metrics } else { &mut labels };
        list.extend(counts);
        super::selection::top(list, limit);
    }
    (metrics, labels)
}
