//! From a snapshot to one stream of bytes.

use super::{
    BackupError, Manifest, Snapshot,
    manifest::{FOOTER_BYTES, Footer, HEADER_BYTES, digits, header},
};
use sha2::{Digest, Sha256};
use std::io::Write;

/// Read and written at once: all the memory that a backup takes, beside the small state.
pub const CHUNK_BYTES: usize = 256 << 10;

/// How many bytes [`write`] will write.
pub fn file_bytes(snapshot: &Snapshot) -> u64 {
    let manifest = Manifest::of(snapshot);
    HEADER_BYTES as u64 + manifest.parts_bytes() + manifest.encode().len() as u64 + FOOTER_BYTES as u64
}

/// Writes a backup. `progress` hears how many bytes are written of how many, and ends it by answering `false`. Each
/// part is given up when it is written. Gives what was written.
pub fn write(
    snapshot: Snapshot,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Manifest, BackupError> {
    let total = file_bytes(&snapshot);
    let mut manifest = Manifest::of(&snapshot);
    let mut stream = Stream { out, progress, hash: Sha256::new(), done: 0, total };
    stream.put(&header())?;
    let mut chunk = vec![0; CHUNK_BYTES];
    for (part, entry) in snapshot.parts.into_iter().zip(&mut manifest.parts) {
        let (mut source, mut crc, mut offset) = (part.source, 0, 0);
        while offset < part.bytes {
            let length = usize::try_from(part.bytes - offset).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let chunk = &mut chunk[..length];
            let read = source.read_exact_at(chunk, offset);
            read.map_err(|cause| BackupError::Read { part: entry.name.clone(), cause })?;
            crc = crc32c::crc32c_append(crc, chunk);
            stream.put(chunk)?;
            offset += length as u64;
        }
        entry.crc32c = digits(crc);
    }
    let bytes = manifest.encode();
    stream.put(&bytes)?;
    let Stream { out, hash, done, .. } = stream;
    let footer = Footer {
        manifest_bytes: bytes.len() as u64,
        manifest_crc: crc32c::crc32c(&bytes),
        file_bytes: done + FOOTER_BYTES as u64,
        sha256: hash.finalize().into(),
    };
    out.write_all(&footer.encode()).and_then(|()| out.flush()).map_err(BackupError::Write)?;
    progress(total, total);
    Ok(manifest)
}

/// What is written, counted and hashed.
struct Stream<'a, 'p> {
    out: &'a mut dyn Write,
    progress: &'p mut dyn FnMut(u64, u64) -> bool,
    hash: Sha256,
    done: u64,
    total: u64,
}

impl Stream<'_, '_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        if !(self.progress)(self.done, self.total) {
            return Err(BackupError::Cancelled);
        }
        self.hash.update(bytes);
        self.out.write_all(bytes).map_err(BackupError::Write)?;
        self.done += bytes.len() as u64;
        Ok(())
    }
}
