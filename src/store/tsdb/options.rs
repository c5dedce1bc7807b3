//! What an engine is opened with.

use super::{log::LogOptions, policy::Policies, tier::MetricKind};
use crate::{
    model::Labels,
    stdx::{
        clock::{Clock, SystemClock},
        vfs::{RealVfs, Vfs},
    },
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

#[derive(Clone)]
pub struct Options {
    pub directory: PathBuf,
    /// Samples older than this are refused, and windows that are wholly older are dropped.
    pub retention_ms: i64,
    /// Buckets that are kept longer than samples, from finest to coarsest. What is older than samples are kept is taken
    /// as far back as the longest of these reaches.
    pub tiers: Vec<TierOptions>,
    /// Series that are kept for another time.
    pub policies: Policies,
    /// What kind of metric a series is, as far as somebody has said so: buckets keep more of what is unknown.
    pub kind_of: KindOf,
    /// Blocks and log together; above it the oldest blocks go. 0 for no limit.
    pub bytes_max: u64,
    /// The same as a part of the file system they lie on. 0 for no limit.
    pub disk_percent_max: u32,
    /// Whether blocks go at all, for their age or for room: a tool that only looks says no.
    pub drops_blocks: bool,
    /// Active series. Each takes about a kilobyte of memory.
    pub series_max: u64,
    /// Of those, with one value of `job`. 0 for no limit.
    pub series_per_job_max: u64,
    /// A window this long after its end and its last sample is sealed. Senders that retry need a while.
    pub quiet_ms: i64,
    /// Above this the coldest windows are sealed at once: backfill of any length fits into memory.
    pub head_bytes_max: usize,
    /// Exemplars kept in memory, of all series together. Each takes some 200 bytes.
    pub exemplars_max: usize,
    pub log: LogOptions,
    pub clock: Arc<dyn Clock>,
    pub vfs: Arc<dyn Vfs>,
}

/// Asked once for each series that buckets are built of.
pub type KindOf = Arc<dyn Fn(&Labels) -> MetricKind + Send + Sync>;

/// Buckets of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierOptions {
    /// Divides a day and the next coarser one.
    pub resolution_ms: i64,
    /// Longer than samples are kept.
    pub retention_ms: i64,
}

/// Where the files of a tier are in a data directory.
pub fn tier_directory(directory: &Path, resolution_ms: i64) -> PathBuf {
    directory.join(TIERS).join(resolution_ms.to_string())
}

/// Where tiers are in a data directory.
pub const TIERS: &str = "tiers";

/// Long enough that a block has hundreds of samples, short enough that the head stays small.
pub const WINDOW_MS: i64 = 2 * 3_600_000;

impl Options {
    pub fn new(directory: impl Into<PathBuf>) -> Options {
        Options {
            directory: directory.into(),
            retention_ms: 30 * 24 * 3_600_000,
            tiers: Vec::new(),
            policies: Policies::default(),
            kind_of: Arc::new(|_| MetricKind::Unknown),
            bytes_max: 0,
            disk_percent_max: 80,
            drops_blocks: true,
            series_max: 2_000_000,
            series_per_job_max: 0,
            quiet_ms: 15 * 60_000,
            head_bytes_max: 512 << 20,
            exemplars_max: 100_000,
            log: LogOptions::default(),
            clock: Arc::new(SystemClock),
            vfs: Arc::new(RealVfs),
        }
    }
}
