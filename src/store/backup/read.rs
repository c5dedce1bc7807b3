//! From a file back to parts, every byte checked.

use super::{
    BackupError, Manifest,
    manifest::{FOOTER_BYTES, FORMAT, Footer, HEADER_BYTES, MANIFEST_BYTES_MAX, check_header, digits},
    write::CHUNK_BYTES,
};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// Takes parts, one after the other. What it was given is worth nothing before [`Backup::read`] has succeeded.
pub trait Sink {
    fn begin(&mut self, name: &str) -> Result<(), BackupError>;
    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError>;
    fn end(&mut self) -> Result<(), BackupError>;
}

/// Only checks.
pub struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _name: &str) -> Result<(), BackupError> {
        Ok(())
    }

    fn put(&mut self, _bytes: &[u8]) -> Result<(), BackupError> {
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackupError> {
        Ok(())
    }
}

/// A file whose beginning and end are right.
pub struct Backup {
    pub manifest: Manifest,
    pub file_bytes: u64,
    file: File,
    footer: Footer,
    /// As it stands in the file.
    manifest_text: Vec<u8>,
}

fn unreadable(part: &str) -> impl FnOnce(io::Error) -> BackupError {
    let part = part.to_owned();
    move |cause| BackupError::Read { part, cause }
}

impl Backup {
    /// Opens a file and reads its manifest.
    pub fn open(path: &Path) -> Result<Backup, BackupError> {
        let mut file = File::open(path).map_err(unreadable("header"))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::NoBackup,
            _ => unreadable("header")(cause),
        })?;
        check_header(&header)?;
        let file_bytes = file.metadata().map_err(unreadable("footer"))?.len();
        let at = file_bytes.checked_sub(FOOTER_BYTES as u64).ok_or(BackupError::CutShort)?;
        let mut footer = [0; FOOTER_BYTES];
        read_at(&mut file, at, &mut footer).map_err(unreadable("footer"))?;
        let damaged = |part: &str| BackupError::Damaged(part.to_owned());
        let Some(found) = Footer::decode(&footer) else {
            return Err(if Footer::is_near(&footer) { damaged("footer") } else { BackupError::CutShort });
        };
        if found.file_bytes != file_bytes || found.manifest_bytes > MANIFEST_BYTES_MAX {
            return Err(damaged("footer"));
        }
        let begin = at.checked_sub(found.manifest_bytes).ok_or_else(|| damaged("footer"))?;
        // Bounded just above.
        let mut manifest_text = vec![0; found.manifest_bytes as usize];
        read_at(&mut file, begin, &mut manifest_text).map_err(unreadable("manifest"))?;
        if crc32c::crc32c(&manifest_text) != found.manifest_crc {
            return Err(damaged("manifest"));
        }
        let manifest: Manifest = serde_json::from_slice(&manifest_text).map_err(|_| damaged("manifest"))?;
        if manifest.format > FORMAT {
            return Err(BackupError::Newer { found: manifest.format, known: FORMAT });
        }
        if manifest.parts_bytes().checked_add(HEADER_BYTES as u64) != Some(begin) {
            return Err(damaged("manifest"));
        }
        Ok(Backup { manifest, file_bytes, file, footer: found, manifest_text })
    }

    /// Reads and checks everything, part by part; `progress` hears of bytes as in [`super::write()`].
    pub fn read(&mut self, sink: &mut dyn Sink, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<(), BackupError> {
        self.file.rewind().map_err(unreadable("header"))?;
        let mut hash = Sha256::new();
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact(&mut header).map_err(unreadable("header"))?;
        check_header(&header)?;
        hash.update(header);
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut done = HEADER_BYTES as u64;
        for part in &self.manifest.parts {
            sink.begin(&part.name)?;
            let (mut left, mut crc) = (part.bytes, 0);
            while left > 0 {
                if !progress(done, self.file_bytes) {
                    return Err(BackupError::Cancelled);
                }
                let length = usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                let chunk = &mut chunk[..length];
                self.file.read_exact(chunk).map_err(unreadable(&part.name))?;
                crc = crc32c::crc32c_append(crc, chunk);
                hash.update(&*chunk);
                sink.put(chunk)?;
                left -= length as u64;
                done += length as u64;
            }
            if digits(crc) != part.crc32c {
                return Err(BackupError::Damaged(part.name.clone()));
            }
            sink.end()?;
        }
        hash.update(&self.manifest_text);
        if <[u8; 32]>::from(hash.finalize()) != self.footer.sha256 {
            return Err(BackupError::Damaged("the whole".to_owned()));
        }
        progress(self.file_bytes, self.file_bytes);
        Ok(())
    }
}

fn read_at(file: &mut File, at: u64, buffer: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(buffer)
}
