//! What the test binaries share: the real program as a [`server::TestServer`], HTTP towards it, remote-write bodies, a stand-in for SonarCloud,
//! and the tools of others that some tests need.

pub mod http;
pub mod server;
pub mod sonar;
pub mod tools;
pub mod wire;
