//! The store of a data directory without a server, for tools.

use super::directory::DataDirectory;
use crate::{
    config::Config,
    store::tsdb::{Options, Tsdb},
};
use anyhow::{Context, anyhow};
use std::path::Path;

/// Whoever was not told how long things are kept takes them for kept.
const RETENTION_UNKNOWN_MS: i64 = 100 * 365 * 24 * 3_600_000;

/// A store that no server has open, and the lock that keeps it so. Dropped in this order.
pub struct Offline {
    pub store: Tsdb,
    #[allow(dead_code, reason = "the lock lasts as long as it is held")]
    directory: DataDirectory,
}

impl Offline {
    /// Opens what is in `data`. Nothing goes for its age or for room: that is the server's to do. The config only says what
    /// the server would do.
    pub fn open(data: &Path, config: Option<&Config>) -> anyhow::Result<Offline> {
        if !data.join("log").is_dir() {
            return Err(anyhow!("{} is no data directory of observatory: there is no log in it", data.display()));
        }
        let directory = DataDirectory::open(data)
            .context("the store can be opened by one process at a time; ask a running server with --url instead")?;
        let mut options = Options { drops_blocks: false, series_max: u64::MAX, ..Options::new(directory.path()) };
        options.retention_ms = config.map_or(RETENTION_UNKNOWN_MS, |config| config.retention_ms);
        if let Some(config) = config {
            (options.bytes_max, options.disk_percent_max) = (config.bytes_max, config.disk_percent_max);
        }
        let store = Tsdb::open(options).with_context(|| format!("open the store in {}", directory.path().display()))?;
        Ok(Offline { store, directory })
    }
}
