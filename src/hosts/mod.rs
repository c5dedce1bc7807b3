//! The host we run on, measured without a second process, under the names of node_exporter.
//!
//! 1. [`Hosts`] owns a thread that wakes at every multiple of the interval, and stops with it.
//! 2. Each round, [`collector`] walks its table: one function a group of metrics, each reading files of procfs and
//!    sysfs into buffers that are used again, and handing samples to a [`Sink`].
//! 3. The sink of production is `ingest`'s door for internal sources: one batch, one timestamp, staleness markers for
//!    devices that are gone. Series carry `job="node"` and the host's name as `instance`, so that dashboards made for
//!    node_exporter find them.
//! 4. [`statfs`] asks for the space of file systems on a thread of its own, because a dead network share never answers.
//!
//! Names, types, labels and filters are those of node_exporter's defaults; what a kernel does not have is absent and
//! never zero. Readers are our own: the names follow the kernel's files line by line, so a parser with fixed fields would
//! lose the lines of newer kernels.
//!
//! Invariant: a file that is missing costs its metrics only. Where there is no procfs at all, the room says so and rests.

mod collector;
mod disk;
mod files;
mod filesystem;
mod kernel;
mod memory;
mod netclass;
mod network;
mod runner;
mod sink;
mod sockets;
mod statfs;
mod system;

pub use files::Roots;
pub use runner::{Hosts, HostsConfig, HostsState, HostsStats};
