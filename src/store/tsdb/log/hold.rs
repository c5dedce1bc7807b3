//! The log as it stands, to be copied while it goes on: its files, and the promise that none of them is written over.

use super::{Log, Position, append::Shared, segment::Segments};
use crate::{stdx::vfs::VfsFile, store::StoreError};
use std::sync::{Arc, atomic::Ordering};

/// As long as one lives, the log gives up no segment.
pub struct Hold(Arc<Shared>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A segment and how much of it there is.
pub struct HeldFile {
    pub name: String,
    pub file: Arc<dyn VfsFile>,
    pub bytes: u64,
}

impl Log {
    /// Keeps all segments there are. Not while others give some up: their caller keeps them apart.
    pub fn hold(&self) -> Hold {
        self.shared.holds.fetch_add(1, Ordering::AcqRel);
        Hold(self.shared.clone())
    }

    /// The segments with all records before `end`, which must be durable, and none behind. A [`Hold`] must be held
    /// for as long as they are read.
    pub fn files_before(&self, end: Position) -> Result<Vec<HeldFile>, StoreError> {
        let segments = self.shared.segments.lock();
        files_before(&segments, end.0).map_err(StoreError::io("opening the log's segments"))
    }
}

fn files_before(segments: &Segments, end: u64) -> std::io::Result<Vec<HeldFile>> {
    let list = segments.list();
    let mut found = Vec::new();
    for (index, segment) in list.iter().enumerate().filter(|(_, segment)| segment.base < end) {
        // What stands in the file behind that is of an older use, or of records that are not asked for.
        let until = list.get(index + 1).map_or(end, |next| next.base.min(end));
        let path = segments.path(*segment);
        let file = segments.reader(&path)?;
        let bytes = file.len()?.min(until.saturating_sub(segment.base));
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        found.push(HeldFile { name, file, bytes });
    }
    Ok(found)
}
