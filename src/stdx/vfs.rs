//! Files behind a trait, so that tests can cut the power and fail any call. Names and handles only: no buffering, no
//! caching, every read and write says its offset.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

#[cfg(test)]
pub mod simulated;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// It must exist.
    Read,
    /// It must exist.
    ReadWrite,
    /// Made where it is missing; its bytes stay where it is there.
    Create,
}

/// Room on a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    pub total: u64,
    /// What this user may still take of it.
    pub free: u64,
}

/// A file system. Names become durable with [`Vfs::sync_dir`], bytes with [`VfsFile::sync_data`].
pub trait Vfs: Send + Sync {
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;

    /// Atomic; replaces `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Names of the files and directories in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes creations, renames and removals in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Length of a file in bytes.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// When a file was last written to, in milliseconds since the Unix epoch. Renaming changes nothing.
    fn modified_ms(&self, path: &Path) -> io::Result<i64>;

    /// The room there is where `path` lies, which must exist.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// The whole file as it is now, to read from many threads. It must not be changed as long as this lives.
    fn map(&self, path: &Path) -> io::Result<Box<dyn FileBytes>> {
        Ok(Box::new(self.read(path)?))
    }

    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

/// The bytes of a whole file.
pub trait FileBytes: Send + Sync {
    fn bytes(&self) -> &[u8];

    /// Nobody will ask for them soon: what they take in memory is given back where it can be read again.
    fn leave(&self) {}
}

impl FileBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// An open file; all calls may come from several threads at once.
pub trait VfsFile: Send + Sync {
    /// Reads what is there, at most `buffer.len()` bytes; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Fills the buffer or fails with `UnexpectedEof`.
    fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(buffer, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes everything; extends the file where needed. After an error any part may have been written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the bytes written so far, and the length, durable.
    ///
    /// After an error nothing written since the last success may be taken for durable, not even when a later call
    /// succeeds: the kernel has already forgotten those pages.
    fn sync_data(&self) -> io::Result<()>;

    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Reserves disk space and extends the file with zeros, so that later writes below `bytes` change no length.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    fn len(&self) -> io::Result<u64>;

    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealVfs;

impl Vfs for RealVfs {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let write = mode != OpenMode::Read;
        let file = OpenOptions::new().read(true).write(write).create(mode == OpenMode::Create).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            // Names that are not UTF-8 are nobody's of ours.
            names.extend(entry?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn map(&self, path: &Path) -> io::Result<Box<dyn FileBytes>> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Box::new(Vec::new()));
        }
        // SAFETY: the caller promises that nobody changes the file; what is mapped here is written once, synced and
        // renamed into place.
        let map = unsafe { memmap2::Mmap::map(&file) }?;
        Ok(Box::new(Mapped(map)))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let since = std::fs::metadata(path)?.modified()?.duration_since(std::time::UNIX_EPOCH);
        Ok(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { total: bytes(found.f_blocks), free: bytes(found.f_bavail) })
    }
}

struct Mapped(memmap2::Mmap);

impl FileBytes for Mapped {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn leave(&self) {
        // SAFETY: the mapping is shared and never written to, so pages that are asked for again come with the same bytes.
        // Where the kernel does not do it nothing has changed.
        let _ = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }
}

struct RealFile(File);

impl VfsFile for RealFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, bytes)?)
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.len()? < bytes { self.0.set_len(bytes) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::clock::{Clock, SystemClock};

    #[test]
    fn a_real_file_keeps_its_bytes_when_opened_to_create_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a"), dir.path().join("b"));
        let file = RealVfs.open(&path, OpenMode::Create).unwrap();
        file.allocate(4096).unwrap();
        file.write_all_at(b"hello", 4094).unwrap();
        file.sync_data().unwrap();
        assert_eq!(RealVfs.open(&path, OpenMode::Create).unwrap().len().unwrap(), 4099);
        RealVfs.rename(&path, &other).unwrap();
        RealVfs.sync_dir(dir.path()).unwrap();
        assert_eq!(RealVfs.list(dir.path()).unwrap(), ["b"]);
        assert_eq!(&RealVfs.read(&other).unwrap()[4094..], b"hello");
        assert_eq!(file.read_exact_at(&mut [0; 6], 4094).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let space = RealVfs.space(dir.path()).unwrap();
        assert!(space.free <= space.total && space.total > 0, "{space:?}");
        assert!(RealVfs.space(&path).is_err());
        let age_ms = SystemClock.now_ms() - RealVfs.modified_ms(&other).unwrap();
        assert!((-2_000..600_000).contains(&age_ms), "{age_ms}");
        RealVfs.remove(&other).unwrap();
        assert!(RealVfs.open(&other, OpenMode::ReadWrite).is_err());
    }
}
