//! api
pub mod server;
