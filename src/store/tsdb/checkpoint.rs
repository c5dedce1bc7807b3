//! The checkpoint: what only memory knows of log segments that are given up. Series and their ids, open runs, and
//! closed runs whose window is not sealed yet.
//!
//! Two copies are written, each with a checksum; `docs/formats/checkpoint.md` describes the bytes.

use super::{
    codec::{push_run, take_run},
    log::Position,
    record::{push_series, take_series},
    replace::replace,
    run::Run,
};
use crate::{
    model::{Labels, Timestamp},
    stdx::{
        bytes::{push_varint, push_varint_signed, take_array, take_varint, take_varint_signed},
        vfs::Vfs,
    },
    store::{SeriesId, StoreError},
};
use std::path::Path;

const MAGIC: [u8; 7] = *b"OBSCKPT";
/// Without blocks that are kept longer, ...
const VERSION: u8 = 1;
/// ... and with them: a program that knows nothing of these must not open the directory.
pub(super) const VERSION_KEPT: u8 = 2;
/// Both begin alike.
pub(super) const NAMES: [&str; 2] = ["checkpoint", "checkpoint.copy"];

#[derive(Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// Changes of runs in log records before this are contained.
    pub runs_through: Position,
    /// Log segments that end before this were given up, and no others.
    pub kept_from: Position,
    pub series: Vec<(SeriesId, Labels)>,
    /// Open ones, and those that ended in windows not sealed at the time.
    pub runs: Vec<(SeriesId, Run)>,
    /// The windows of all blocks, each with what it was sealed through: so that a block that is gone is missed.
    pub sealed: Vec<(Timestamp, Position)>,
    /// Where the last record ended that was on disk: so that an end of the log that is gone is missed. 0 where it is not
    /// known.
    pub synced_through: Position,
    /// There are, or may soon be, blocks that are kept longer.
    pub has_kept: bool,
}

impl Checkpoint {
    /// Whether there was one.
    pub fn is_written(&self) -> bool {
        *self != Checkpoint::default()
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(if self.has_kept { VERSION_KEPT } else { VERSION });
        out.extend_from_slice(&self.runs_through.0.to_le_bytes());
        out.extend_from_slice(&self.kept_from.0.to_le_bytes());
        push_varint(&mut out, self.series.len() as u64);
        for (id, labels) in &self.series {
            push_series(&mut out, *id, labels);
        }
        push_varint(&mut out, self.runs.len() as u64);
        for (id, run) in &self.runs {
            push_varint(&mut out, id.0);
            push_run(&mut out, run);
        }
        push_varint(&mut out, self.sealed.len() as u64);
        for (window, through) in &self.sealed {
            push_varint_signed(&mut out, *window);
            push_varint(&mut out, through.0);
        }
        out.extend_from_slice(&self.synced_through.0.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let (body, mut tail) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if crc32c::crc32c(body) != u32::from_le_bytes(take_array(&mut tail)?) {
            return None;
        }
        let mut input = body.strip_prefix(&MAGIC)?;
        let [version] = take_array(&mut input)?;
        if ![VERSION, VERSION_KEPT].contains(&version) {
            return None;
        }
        let runs_through = Position(u64::from_le_bytes(take_array(&mut input)?));
        let kept_from = Position(u64::from_le_bytes(take_array(&mut input)?));
        let series = (0..take_varint(&mut input)?).map(|_| take_series(&mut input)).collect::<Option<_>>()?;
        let runs = (0..take_varint(&mut input)?)
            .map(|_| Some((SeriesId(take_varint(&mut input)?), take_run(&mut input)?)))
            .collect::<Option<_>>()?;
        let sealed = (0..take_varint(&mut input)?)
            .map(|_| Some((take_varint_signed(&mut input)?, Position(take_varint(&mut input)?))))
            .collect::<Option<_>>()?;
        // Older programs did not write it, and do not read it.
        let synced_through = Position(take_array(&mut input).map_or(0, u64::from_le_bytes));
        let has_kept = version == VERSION_KEPT;
        Some(Checkpoint { runs_through, kept_from, series, runs, sealed, synced_through, has_kept })
    }

    /// Replaces both copies, one after the other, so that one is whole at any moment.
    pub fn save(&self, vfs: &dyn Vfs, directory: &Path) -> Result<(), StoreError> {
        let bytes = self.encode();
        NAMES.iter().try_for_each(|name| replace(vfs, directory, name, &bytes, "writing the checkpoint"))
    }

    /// The newest whole copy; an empty checkpoint where there is none. The flag says that a copy was there but damaged.
    pub fn load(vfs: &dyn Vfs, directory: &Path) -> (Checkpoint, bool) {
        let decoded: Vec<Option<Checkpoint>> = NAMES
            .iter()
            .filter_map(|name| match vfs.read(&directory.join(name)) {
                Ok(bytes) => Some(Checkpoint::decode(&bytes)),
                Err(error) => (error.kind() != std::io::ErrorKind::NotFound).then_some(None),
            })
            .collect();
        let damaged = decoded.iter().any(Option::is_none);
        let newest = decoded.into_iter().flatten().max_by_key(|checkpoint| checkpoint.runs_through);
        (newest.unwrap_or_default(), damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_of_a_program_that_did_not_write_how_far_the_log_was_is_read() {
        let written = Checkpoint { runs_through: Position(7), synced_through: Position(5), ..Checkpoint::default() };
        let bytes = written.encode();
        assert_eq!(Checkpoint::decode(&bytes), Some(written));
        let mut older = bytes[..bytes.len() - 12].to_vec();
        older.extend_from_slice(&crc32c::crc32c(&older).to_le_bytes());
        let read = Checkpoint { runs_through: Position(7), ..Checkpoint::default() };
        assert_eq!(Checkpoint::decode(&older), Some(read));
    }
}
