//! A data directory read without a server.

use super::directory::DataDirectory;
use crate::store::tsdb::{Options, Tsdb};
use anyhow::{Context, anyhow};
use std::{path::Path, sync::Arc};

/// A store that is open for reading, and the directory it holds meanwhile.
pub struct Offline {
    pub store: Arc<Tsdb>,
    _directory: DataDirectory,
}

impl Offline {
    /// Opens the store in `path`, which must be there and no other process's. What its log holds is replayed, and
    /// nothing is ever too old: how long data is kept is for its server to say.
    pub fn open(path: &Path) -> anyhow::Result<Offline> {
        if !path.is_dir() {
            return Err(anyhow!("there is no data directory {}", path.display()));
        }
        // Opening would make it one.
        if !DataDirectory::is_one(path) {
            return Err(anyhow!("{} is no data directory: no server has kept data there", path.display()));
        }
        let directory = DataDirectory::open(path)?;
        let options = Options { retention_ms: i64::MAX / 2, ..Options::new(directory.path()) };
        let store = Tsdb::open(options).with_context(|| format!("open the store in {}", path.display()))?;
        Ok(Offline { store: Arc::new(store), _directory: directory })
    }
}
