//! Wire formats, each a pure translation between bytes and the model: no clock, no I/O, no store.
//!
//! 1. [`compression`] undoes `Content-Encoding` under limits, so that no body grows beyond what was promised.
//! 2. [`exposition`] reads the text format 0.0.4 without copying; [`metric_family`] reads its protobuf sister. Both give
//!    an [`exposition::Exposition`].
//! 3. [`scraped`] walks what a scraped target says line by line, in the text format or in [`openmetrics`], so that
//!    a known series costs one hash.
//! 4. [`remote_write`] reads remote write 1.0 by hand, straight from the decompressed bytes: the hot path.
//! 5. [`native_histogram`] turns what either protobuf says of a native histogram into a checked model histogram.
//! 6. [`wire`] is the protobuf field reader under 4; [`limits`] the sizes every format respects.
//!
//! Invariant: any bytes give an answer or an error. Nothing panics, and nothing is allocated by a length a body
//! merely claims.

pub mod compression;
pub mod exposition;
pub mod limits;
pub mod metric_family;
pub mod native_histogram;
pub mod openmetrics;
pub mod remote_write;
pub mod scraped;
pub mod wire;
