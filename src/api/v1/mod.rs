//! Prometheus' API, version 1: one file for each family of endpoints.

pub mod admin;
pub mod deletion;
pub mod events;
pub mod explain;
pub mod jobs;
pub mod mailbox;
pub mod metadata;
pub mod plan;
pub mod query;
pub mod rules;
pub mod series;
pub mod sonar;
pub mod status;
pub mod storage;
pub mod targets;
