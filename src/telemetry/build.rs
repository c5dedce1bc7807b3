//! What was built.

/// Our version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, 12 digits; "unknown" where git was missing.
pub const COMMIT: &str = env!("OBSERVATORY_COMMIT");

/// The Prometheus release whose API and language we follow: clients decide by it which requests to send.
pub const PROMETHEUS_VERSION: &str = "3.14.0";

/// For `--version`.
pub const VERSION_AND_COMMIT: &str = concat!(env!("CARGO_PKG_VERSION"), " (commit ", env!("OBSERVATORY_COMMIT"), ")");
