//! The append-only log: what it has acknowledged survives a power cut.
//!
//! 1. [`open`] lists the segments and [`Opened::replay`] walks their records, oldest first ([`segment`], [`record`]).
//!    Damage costs the record it hit and nothing else; only then is there a [`Log`] to append to.
//! 2. [`Log::append`] encodes records straight into the pending buffer, under a short lock, and gives a ticket.
//! 3. The committer ([`commit`]) takes all that is pending, writes it, syncs once, wakes everyone who waited for it, and
//!    takes what has come meanwhile. There is no timer: a lone appender waits for one sync, many share one.
//! 4. A write or sync that fails answers its group, and all that was encoded behind it, with the error. The log goes on
//!    in a new segment: after a failed sync nothing more can be learnt about the old file.
//! 5. [`Log::truncate_before`] gives up segments that are no longer needed; a few are kept to be written over.
//!
//! Invariant: a position is never given out twice, and no record is taken for valid at another position than its own;
//! so the old bytes of a segment that is written over can never come back.

mod append;
mod commit;
mod hold;
mod record;
mod replay;
mod segment;

#[cfg(test)]
mod tests;

pub use append::{Log, LogStats, RecordWriter};
pub use hold::Hold;
pub use record::PAYLOAD_BYTES_MAX;
pub use replay::{Opened, Record, ReplayStats, open};
pub use segment::check_version;

/// A place in the log: bytes since its very first one. Grows for ever, across segments and restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Position(pub u64);

/// How a log is kept.
#[derive(Debug, Clone, Copy)]
pub struct LogOptions {
    /// A segment that has grown to this many bytes is followed by another. Smaller ones free disk sooner, larger ones
    /// repeat their dictionaries less often.
    pub segment_bytes: u64,
    /// Appenders wait while this much is pending, so that a slow disk costs time and not memory.
    pub pending_bytes_max: usize,
    /// Segments kept to be written over: the file system then has no blocks to find and no length to journal.
    pub spare_segments_max: usize,
    /// New records get positions from here on at least: what checkpoints have already seen, should the log be lost.
    pub position_min: Position,
    /// Segments were given up as far as here and no further: what is missing behind it is lost.
    pub kept_from: Position,
    /// Records reached as far as here: what is missing before it is lost.
    pub synced_through: Position,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 8 << 20,
            pending_bytes_max: 64 << 20,
            spare_segments_max: 2,
            position_min: Position(0),
            // Nothing is known to be missing.
            kept_from: Position(u64::MAX),
            synced_through: Position(0),
        }
    }
}
