//! What stands around the parts: a header before them, behind them the manifest that lists them and the footer.

use super::{BackupError, Snapshot};
use crate::{stdx::bytes::take_array, telemetry::build};
use serde::{Deserialize, Serialize};

pub const FORMAT: u32 = 1;
pub const HEADER_BYTES: usize = 16;
pub const FOOTER_BYTES: usize = 64;
/// Thirty years of blocks take a tenth of it; more is no manifest.
pub const MANIFEST_BYTES_MAX: u64 = 64 << 20;

const HEADER_MAGIC: [u8; 8] = *b"OBSBACK\n";
const FOOTER_MAGIC: [u8; 8] = *b"OBSBKEND";

/// What a backup holds. JSON behind the parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// Milliseconds since the Unix epoch.
    pub taken_ms: i64,
    /// Position of the log that it reaches to.
    pub position: u64,
    /// In the order of their bytes, without gaps.
    pub parts: Vec<PartEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartEntry {
    pub name: String,
    pub bytes: u64,
    /// CRC32C as eight hexadecimal digits.
    pub crc32c: String,
}

impl Manifest {
    /// With checksums that are still to be filled in, and take the same space then.
    pub fn of(snapshot: &Snapshot) -> Manifest {
        let part = |part: &super::Part| PartEntry { name: part.name.clone(), bytes: part.bytes, crc32c: digits(0) };
        Manifest {
            format: FORMAT,
            program: build::VERSION.to_owned(),
            taken_ms: snapshot.taken_ms,
            position: snapshot.position,
            parts: snapshot.parts.iter().map(part).collect(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        // Cannot fail: no map keys, no floats, all strings.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Bytes of all parts.
    pub fn parts_bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum, part| sum.saturating_add(part.bytes))
    }
}

/// As a manifest writes a checksum.
pub fn digits(crc: u32) -> String {
    format!("{crc:08x}")
}

pub fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&HEADER_MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Fails for what is no backup, is damaged here, or is newer.
pub fn check_header(header: &[u8; HEADER_BYTES]) -> Result<(), BackupError> {
    let (body, crc) = (&header[..12], &header[12..]);
    if crc32c::crc32c(body).to_le_bytes() != crc {
        // One wrong byte of a name that is long enough to be ours.
        let alike = body.iter().zip(HEADER_MAGIC).filter(|(found, known)| *found == known).count();
        return Err(if alike >= 7 { BackupError::Damaged("header".to_owned()) } else { BackupError::NoBackup });
    }
    if !body.starts_with(&HEADER_MAGIC) {
        return Err(BackupError::NoBackup);
    }
    let mut version = &body[8..];
    let found = take_array(&mut version).map_or(0, u32::from_le_bytes);
    if found == FORMAT { Ok(()) } else { Err(BackupError::Newer { found, known: FORMAT }) }
}

/// The last bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    pub manifest_bytes: u64,
    pub manifest_crc: u32,
    /// Of the whole, this footer included.
    pub file_bytes: u64,
    /// SHA-256 of everything before the footer.
    pub sha256: [u8; 32],
}

impl Footer {
    pub fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(&FOOTER_MAGIC);
        out.extend_from_slice(&self.manifest_bytes.to_le_bytes());
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.sha256);
        out.extend_from_slice(&self.manifest_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut footer = [0; FOOTER_BYTES];
        footer.copy_from_slice(&out);
        footer
    }

    /// `None` where the bytes are none of a footer.
    pub fn decode(bytes: &[u8; FOOTER_BYTES]) -> Option<Footer> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut input = body.strip_prefix(&FOOTER_MAGIC)?;
        let manifest_bytes = u64::from_le_bytes(take_array(&mut input)?);
        let file_bytes = u64::from_le_bytes(take_array(&mut input)?);
        let sha256 = take_array(&mut input)?;
        let manifest_crc = u32::from_le_bytes(take_array(&mut input)?);
        Some(Footer { manifest_bytes, manifest_crc, file_bytes, sha256 })
    }

    /// Whether damage, and not a cut, is why [`Footer::decode`] gives nothing.
    pub fn is_near(bytes: &[u8; FOOTER_BYTES]) -> bool {
        bytes.iter().zip(FOOTER_MAGIC).filter(|(found, known)| *found == known).count() >= 7
    }
}
