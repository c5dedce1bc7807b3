//! Segments: their names, their headers, and the directory that holds them.

use super::record;
use crate::{
    stdx::vfs::{OpenMode, Vfs, VfsFile},
    store::StoreError,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes before the first record. Positions count them.
pub const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"obs-log\n";
const VERSION: u32 = 1;

/// The first bytes of a segment. Number and base stand in the file's name too, so a damaged header costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub number: u64,
    /// The position of the segment's first byte.
    pub base: u64,
    /// Where acknowledged records ended when this segment was begun. What earlier segments hold between here and
    /// `base` was refused or torn.
    pub previous_end: u64,
    /// Gaps between here and `previous_end` were already torn when this segment was begun: they are no damage.
    pub previous_intact: u64,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        for (index, field) in [self.number, self.base, self.previous_end, self.previous_intact].iter().enumerate() {
            bytes[16 + index * 8..24 + index * 8].copy_from_slice(&field.to_le_bytes());
        }
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None` where the header is damaged; an error where a newer program wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Option<Header>, StoreError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        if header[0..8] != MAGIC || crc32c::crc32c(&header[..60]).to_le_bytes() != header[60..] {
            return Ok(None);
        }
        let version = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        if version > VERSION {
            return Err(StoreError::Directory(format!(
                "the log is of format {version} and this program knows formats up to {VERSION}; \
                 start the newer program again, or choose another data directory"
            )));
        }
        let field = |index: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[16 + index * 8..24 + index * 8]);
            u64::from_le_bytes(bytes)
        };
        let [number, base, previous_end, previous_intact] = [field(0), field(1), field(2), field(3)];
        Ok(Some(Header { number, base, previous_end, previous_intact }))
    }
}

/// A segment in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub base: u64,
}

impl Segment {
    /// The one that a note of [`Segments::note_next`] speaks of.
    pub fn noted(note: &[u8]) -> Option<Segment> {
        let (words, []) = note.as_chunks::<8>() else { return None };
        let &[number, base] = words else { return None };
        Some(Segment { number: u64::from_le_bytes(number), base: u64::from_le_bytes(base) })
    }

    fn file_name(self) -> String {
        format!("{:010}-{:016x}.log", self.number, self.base)
    }

    fn parse(name: &str) -> Option<Segment> {
        let (number, base) = name.strip_suffix(".log")?.split_once('-')?;
        let segment = Segment { number: number.parse().ok()?, base: u64::from_str_radix(base, 16).ok()? };
        // Only the very names we write: anything else in the directory is not ours.
        (segment.file_name() == name).then_some(segment)
    }
}

/// The segments in use, oldest first, and the spare files.
pub struct Segments {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    segment_bytes: u64,
    spares_max: usize,
    list: Vec<Segment>,
    spares: Vec<PathBuf>,
    spare_next: u64,
}

impl Segments {
    /// Lists the directory, which is created where it is missing.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, segment_bytes: u64, spares_max: usize) -> io::Result<Segments> {
        vfs.create_dir_all(dir)?;
        let mut list: Vec<Segment> = Vec::new();
        let (mut spares, mut spare_next) = (Vec::new(), 0);
        for name in vfs.list(dir)? {
            list.extend(Segment::parse(&name));
            if let Some(number) = name.strip_prefix("spare-").and_then(|rest| rest.strip_suffix(".log")) {
                spare_next = spare_next.max(number.parse().unwrap_or(0) + 1);
                spares.push(dir.join(&name));
            }
        }
        list.sort_by_key(|segment| (segment.number, segment.base));
        while spares.len() > spares_max {
            let _ = spares.pop().map(|path| vfs.remove(&path));
        }
        // A process that was killed may have left names that only memory holds.
        vfs.sync_dir(dir)?;
        Ok(Segments { vfs, dir: dir.to_owned(), segment_bytes, spares_max, list, spares, spare_next })
    }

    pub fn list(&self) -> &[Segment] {
        &self.list
    }

    pub fn spares(&self) -> usize {
        self.spares.len()
    }

    pub fn file(&self, segment: Segment) -> io::Result<Arc<dyn VfsFile>> {
        self.vfs.open(&self.path(segment), OpenMode::ReadWrite)
    }

    /// To be read, also by others than the log.
    pub fn reader(&self, path: &Path) -> io::Result<Arc<dyn VfsFile>> {
        self.vfs.open(path, OpenMode::Read)
    }

    pub fn path(&self, segment: Segment) -> PathBuf {
        self.dir.join(segment.file_name())
    }

    /// Bytes of all segments and spares on disk.
    pub fn bytes(&self) -> u64 {
        let segments = self.list.iter().map(|segment| self.path(*segment));
        segments.chain(self.spares.iter().cloned()).map(|path| self.vfs.length(&path).unwrap_or(0)).sum()
    }

    /// Makes the file of a new segment, out of a spare one if there is any. Its name is durable on return, its header
    /// with the first sync. Leaves nothing behind where it fails.
    pub fn begin(&mut self, header: Header) -> io::Result<Arc<dyn VfsFile>> {
        let segment = Segment { number: header.number, base: header.base };
        let path = self.path(segment);
        match self.create(&path, &header) {
            Ok(file) => {
                self.list.push(segment);
                Ok(file)
            }
            Err(error) => {
                let _ = self.vfs.remove(&path);
                Err(error)
            }
        }
    }

    fn create(&mut self, path: &Path, header: &Header) -> io::Result<Arc<dyn VfsFile>> {
        let file = match self.spares.pop() {
            Some(spare) => {
                self.vfs.rename(&spare, path)?;
                self.vfs.open(path, OpenMode::ReadWrite)?
            }
            None => {
                let file = self.vfs.open(path, OpenMode::Create)?;
                // Only to be faster: on a nearly full disk, or where it is not supported, the file grows as it is written.
                let _ = file.allocate(self.segment_bytes);
                file
            }
        };
        file.write_all_at(&header.encode(), 0)?;
        self.vfs.sync_dir(&self.dir)?;
        Ok(file)
    }

    /// Ends the newest segment after a failure: cuts it behind what was acknowledged, be it a barrier alone, or removes it
    /// where that is nothing, so that a full disk gets its space back. What fails here changes nothing: the next header
    /// says it too.
    pub fn abandon(&mut self, number: u64, acknowledged_end: u64) {
        let Some(segment) = self.list.last().copied().filter(|segment| segment.number == number) else {
            return;
        };
        if acknowledged_end >= segment.base + HEADER_BYTES as u64 {
            self.trim(segment, acknowledged_end);
        } else if self.vfs.remove(&self.path(segment)).is_ok() {
            self.list.pop();
        }
    }

    /// Notes behind the records of a segment, which end at `end`, that `next` holds something acknowledged: so that a
    /// newest segment that is gone is missed. It is not synced, for the kernel writes it within half a minute and the next
    /// group would wait; and where it fails only this is not known.
    pub fn note_next(&self, segment: Segment, end: u64, next: Segment) {
        // A segment that failed before it held anything, and could not be removed, has no place for it.
        if end < segment.base + HEADER_BYTES as u64 || !self.list.contains(&segment) {
            return;
        }
        let mut note = vec![0; record::HEADER_BYTES];
        note.extend_from_slice(&next.number.to_le_bytes());
        note.extend_from_slice(&next.base.to_le_bytes());
        record::seal(&mut note, 0, end, record::FOLLOWED, 0);
        let write = || self.file(segment)?.write_all_at(&note, end.saturating_sub(segment.base));
        if let Err(error) = write() {
            tracing::debug!(%error, segment = segment.number, "A log segment could not be told that another follows.");
        }
    }

    /// Cuts a segment's file behind `end`.
    pub fn trim(&self, segment: Segment, end: u64) {
        let cut = || self.file(segment)?.set_len(end.saturating_sub(segment.base));
        if let Err(error) = cut() {
            tracing::debug!(%error, segment = segment.number, "A log segment could not be cut to its length.");
        }
    }

    /// Gives up all segments that end at or before `position`, never the newest.
    pub fn retire_before(&mut self, position: u64) -> io::Result<()> {
        let retired = self.list.windows(2).take_while(|pair| pair[1].base <= position).count();
        for _ in 0..retired {
            let path = self.path(self.list[0]);
            // Short ones, cut at a restart or a failure, are not worth keeping; very long ones hold too much disk.
            let worth = (self.segment_bytes..=2 * self.segment_bytes).contains(&self.vfs.length(&path).unwrap_or(0));
            if worth && self.spares.len() < self.spares_max {
                let spare = self.dir.join(format!("spare-{}.log", self.spare_next));
                self.spare_next += 1;
                self.vfs.rename(&path, &spare)?;
                self.spares.push(spare);
            } else {
                self.vfs.remove(&path)?;
            }
            self.list.remove(0);
        }
        // Before a spare is written over, its old name must be gone for good.
        if retired > 0 { self.vfs.sync_dir(&self.dir) } else { Ok(()) }
    }
}

/// Fails where a newer program wrote any of the segments in `dir`; touches nothing.
pub fn check_version(vfs: &dyn Vfs, dir: &Path) -> Result<(), StoreError> {
    // Without a directory there is nothing to refuse.
    let names = vfs.list(dir).unwrap_or_default();
    for name in names.iter().filter(|name| Segment::parse(name).is_some()) {
        let mut bytes = [0; HEADER_BYTES];
        let read = vfs.open(&dir.join(name), OpenMode::Read).and_then(|file| file.read_exact_at(&mut bytes, 0));
        if read.is_ok() {
            Header::decode(&bytes)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_and_a_damaged_or_newer_one_is_told() {
        let header = Header { number: 7, base: 1 << 40, previous_end: 5, previous_intact: 4 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes).unwrap(), Some(header));
        for index in 0..HEADER_BYTES {
            let mut damaged = bytes;
            damaged[index] ^= 0x10;
            assert_eq!(Header::decode(&damaged).unwrap(), None);
        }
        assert_eq!(Header::decode(&bytes[..63]).unwrap(), None);
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        assert!(Header::decode(&newer).unwrap_err().to_string().contains("format 2"));
    }

    #[test]
    fn only_our_own_names_are_segments() {
        let segment = Segment { number: 12, base: 0xabc };
        assert_eq!(Segment::parse(&segment.file_name()), Some(segment));
        for name in ["12-abc.log", "0000000012-0000000000000ABC.log", "0000000012.log", "x", "spare-1.log"] {
            assert_eq!(Segment::parse(name), None, "{name}");
        }
    }
}
