//! Whether a newer program wrote a file.

use super::format::{Footer, HEADER};
use crate::stdx::vfs::{OpenMode, Vfs};
use std::path::Path;

/// The version of a file that a newer program wrote; `None` for ours and for what is damaged. A newer program changes
/// the footer's last letters together with the version in the header: a file with a footer that we know is ours,
/// whatever a flipped bit in the header says.
pub fn newer_format(vfs: &dyn Vfs, path: &Path) -> Option<u32> {
    let mut header = [0; HEADER.len()];
    vfs.open(path, OpenMode::Read).ok()?.read_exact_at(&mut header, 0).ok()?;
    let (magic, rest) = header.split_first_chunk::<8>()?;
    let (version, zero) = rest.split_first_chunk::<4>()?;
    let version = u32::from_le_bytes(*version);
    if !HEADER.starts_with(magic) || version <= 1 || zero != [0; 4] {
        return None;
    }
    let file = vfs.map(path).ok()?;
    Footer::find(file.bytes()).is_none().then_some(version)
}
