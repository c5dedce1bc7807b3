//! The store of a data directory without a server, for tools.

use super::{
    directory::DataDirectory,
    kinds::{policies, tier_options},
};
use crate::{
    config::Config,
    store::tsdb::{Options, TierOptions, Tsdb},
};
use anyhow::{Context, anyhow};
use std::{path::Path, sync::Arc};

/// Nothing is dropped by a tool that was not told how long things are kept.
const RETENTION_UNKNOWN_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// A store that no server has open, and the lock that keeps it so. Dropped in this order.
pub struct Offline {
    pub store: Arc<Tsdb>,
    _directory: DataDirectory,
}

impl Offline {
    /// Opens the store in `path`, which must be there and no other process's. What its log holds is replayed.
    /// Nothing goes for its age or for room: that is the server's to do. The config only says what it would do.
    pub fn open(path: &Path, config: Option<&Config>) -> anyhow::Result<Offline> {
        if !path.is_dir() {
            return Err(anyhow!("there is no data directory {}", path.display()));
        }
        // Opening would make it one.
        if !DataDirectory::is_one(path) {
            return Err(anyhow!("{} is no data directory: no server has kept data there", path.display()));
        }
        let directory = DataDirectory::open(path)
            .context("one process at a time opens a store; ask a running server with --url, without --data-dir")?;
        let mut options = Options { drops_blocks: false, series_max: u64::MAX, ..Options::new(directory.path()) };
        options.retention_ms = config.map_or(RETENTION_UNKNOWN_MS, |config| config.retention_ms);
        options.tiers = config.map_or_else(|| tiers_there(path), tier_options);
        if let Some(config) = config {
            (options.bytes_max, options.disk_percent_max) = (config.bytes_max, config.disk_percent_max);
            options.policies = policies(config);
        }
        let store = Tsdb::open(options).with_context(|| format!("open the store in {}", path.display()))?;
        Ok(Offline { store: Arc::new(store), _directory: directory })
    }
}

/// The tiers that a directory has files of, from finest to coarsest, to be kept as long as everything else.
fn tiers_there(path: &Path) -> Vec<TierOptions> {
    let names = std::fs::read_dir(path.join("tiers")).into_iter().flatten().flatten();
    let resolutions = names.filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
    let mut resolutions: Vec<i64> = resolutions.filter(|resolution_ms| *resolution_ms > 0).collect();
    resolutions.sort_unstable();
    let tier = |resolution_ms| TierOptions { resolution_ms, retention_ms: RETENTION_UNKNOWN_MS };
    resolutions.into_iter().map(tier).collect()
}
