//! Window files: a sealed window on disk, immutable, checksummed, mapped into memory.
//!
//! 1. [`write`](write_window) turns the frozen partitions of a window into one file: series sorted by labels with their
//!    chunks, the clocks they share, and an index from label values to series.
//! 2. [`WindowFile`] opens it, finds series by matchers from the index alone, and decodes the chunks of one series.
//!
//! `docs/formats/window.md` describes the bytes field by field.
//! Invariant: a file appears under its name only when it is complete and synced; it is never changed.

mod format;
mod index;
mod reader;
mod writer;

pub use format::Footer;
pub use reader::{ClockCache, Damaged, WindowFile};
pub use writer::write_window;
