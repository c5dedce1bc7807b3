//! The store of a data directory without a server, for tools.

use super::directory::DataDirectory;
use crate::{
    config::Config,
    store::tsdb::{Options, Tsdb},
};
use anyhow::{Context, anyhow};
use std::path::Path;

/// Nothing is dropped by a tool that was not told how long things are kept.
const RETENTION_UNKNOWN_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// A store that no server has open, and the lock that keeps it so. Dropped in this order.
pub struct Offline {
    pub store: Tsdb,
    #[allow(dead_code, reason = "the lock lasts as long as it is held")]
    directory: DataDirectory,
}

impl Offline {
    /// Opens what is in `data`. Without a config nothing goes for its age or size.
    pub fn open(data: &Path, config: Option<&Config>) -> anyhow::Result<Offline> {
        if !data.join("log").is_dir() {
            return Err(anyhow!("{} is no data directory of observatory: there is no log in it", data.display()));
        }
        let directory = DataDirectory::open(data)
            .context("the store can be opened by one process at a time; ask a running server with --url instead")?;
        let defaults = Options::new(directory.path());
        let options = match config {
            Some(config) => Options {
                retention_ms: config.retention_ms,
                bytes_max: config.bytes_max,
                disk_percent_max: config.disk_percent_max,
                series_max: config.series_max,
                ..defaults
            },
            None => {
                Options { retention_ms: RETENTION_UNKNOWN_MS, disk_percent_max: 0, series_max: u64::MAX, ..defaults }
            }
        };
        let store = Tsdb::open(options).with_context(|| format!("open the store in {}", directory.path().display()))?;
        Ok(Offline { store, directory })
    }
}
