//! api
mod body;
mod error;
mod params;
mod render;
pub mod server;
