//! The store as it is at one position of the log, to be copied while it goes on.
//!
//! Nothing is sealed and nothing waits: the parts are what a `kill -9` at that position would have left. Blocks are
//! immutable and held; the log gives up no segment while its part is copied; the small state is taken at a position
//! before, and the log has the changes since.

use super::{
    Tsdb,
    block::Block,
    engine::Shared,
    log::{Hold, Position},
};
use crate::{
    stdx::vfs::{OpenMode, Vfs, VfsFile},
    store::{
        StoreError,
        backup::{Part, Snapshot, SnapshotSource, Source, StateDump, part_name},
    },
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

impl SnapshotSource for Tsdb {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.shared.snapshot()
    }

    fn directory(&self) -> &Path {
        &self.shared.options.directory
    }
}

impl Shared {
    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        // Held for moments only: files are opened, not read.
        let _turn = self.upkeep.lock();
        let hold = Arc::new(self.log.hold());
        let state = self.state.dump(|| self.log.end());
        // Everything acknowledged before is durable behind it, and so is what the state says.
        self.log.barrier().wait_blocking()?;
        let end = self.log.durable_end();
        if state.position > end.0 {
            return Err(StoreError::Damaged("the log failed while the backup began; try again".to_owned()));
        }
        let mut parts = vec![Part::of_bytes(part_name::STATE, state.encode())];
        for name in part_name::REPLACED {
            parts.extend(self.small_file(name)?);
        }
        let held = self.log.files_before(end)?;
        parts.extend(held.into_iter().map(|file| Part {
            name: format!("{}{}", part_name::LOG, file.name),
            bytes: file.bytes,
            source: Box::new(LogFile { file: file.file, _hold: hold.clone() }),
        }));
        // Last, as they are the most and hold nobody up.
        let (blocks, tiers, kept) = {
            let places = self.places.read();
            (places.files.clone(), places.tiers.clone(), places.kept.clone())
        };
        parts.extend(blocks.into_iter().map(|block| self.block_part(part_name::BLOCKS, block)));
        for (files, tier) in tiers.into_iter().zip(&self.options.tiers) {
            let place = format!("{}{}/", part_name::TIERS, tier.resolution_ms);
            parts.extend(files.into_iter().map(|file| self.block_part(&place, file)));
        }
        parts.extend(kept.into_iter().map(|block| self.block_part(part_name::KEPT, block)));
        Ok(Snapshot { position: end.0, taken_ms: self.now_ms(), parts })
    }

    /// A file that is replaced as a whole: open, it stays what it is. `None` where it is not there.
    fn small_file(&self, name: &str) -> Result<Option<Part>, StoreError> {
        let opened = self.options.vfs.open(&self.options.directory.join(name), OpenMode::Read);
        let file = match opened {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(StoreError::io("opening a file to back up"))?,
        };
        let bytes = file.len().map_err(StoreError::io("opening a file to back up"))?;
        Ok(Some(Part { name: name.to_owned(), bytes, source: Box::new(SmallFile(file)) }))
    }

    fn block_part(&self, place: &str, block: Arc<Block>) -> Part {
        let name = block.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let bytes = block.file_bytes();
        let source = BlockFile { block, vfs: self.options.vfs.clone(), file: None };
        Part { name: format!("{place}{name}"), bytes, source: Box::new(source) }
    }
}

struct SmallFile(Arc<dyn VfsFile>);

impl Source for SmallFile {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

/// As long as one is there, the log keeps its segments.
struct LogFile {
    file: Arc<dyn VfsFile>,
    _hold: Arc<Hold>,
}

impl Source for LogFile {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// The file of a block is there as long as the block is. Opened when its turn comes: there may be thousands.
struct BlockFile {
    block: Arc<Block>,
    vfs: Arc<dyn Vfs>,
    file: Option<Arc<dyn VfsFile>>,
}

impl Source for BlockFile {
    fn read_exact_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.vfs.open(&self.block.path, OpenMode::Read)?,
        };
        let read = file.read_exact_at(buffer, offset);
        self.file = Some(file);
        read
    }

    fn path(&self) -> Option<PathBuf> {
        Some(self.block.path.clone())
    }
}

impl super::state::State {
    /// Everything, as it is at the position that `end` gives; it is asked while no change can come in between.
    fn dump(&self, end: impl FnOnce() -> Position) -> StateDump {
        let (changes, position) = self.all(end);
        StateDump { position: position.0, changes }
    }
}
