//! What is seen of the server from here.

use crate::mailbox::stats::Count;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::BTreeMap;

/// Shared by producer and consumers.
#[derive(Debug, Default)]
pub struct RedisStats {
    /// Connections that failed or broke.
    pub failures: Count,
    /// Entries that were trimmed or deleted before we had them.
    pub lost: Count,
    /// Groups that were gone and were made again.
    pub groups_made_again: Count,
    /// Messages put into streams.
    pub sent: Count,
    pub streams: Mutex<BTreeMap<String, StreamReport>>,
    pub last_error: Mutex<Option<String>>,
}

/// One stream that we read. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StreamReport {
    pub connected: bool,
    pub group: String,
    pub consumer: String,
    /// Entries in the stream.
    pub length: u64,
    /// Not delivered yet; `None` where the server cannot tell.
    pub lag: Option<u64>,
    /// Delivered and not acknowledged, of the whole group.
    pub pending: u64,
}

/// All of it. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RedisReport {
    /// Without user and password.
    pub server: String,
    pub streams: BTreeMap<String, StreamReport>,
    pub dead_stream: String,
    /// `None` while the server does not answer.
    pub dead: Option<u64>,
    pub sent: u64,
    pub lost: u64,
    pub failures: u64,
    pub groups_made_again: u64,
    pub last_error: Option<String>,
}

impl RedisStats {
    /// Changes what is known of a stream.
    pub fn of_stream(&self, stream: &str, change: impl FnOnce(&mut StreamReport)) {
        let mut streams = self.streams.lock();
        change(streams.entry(stream.to_owned()).or_default());
    }

    pub fn failed(&self, error: &dyn std::fmt::Display) {
        self.failures.add(1);
        *self.last_error.lock() = Some(error.to_string());
    }

    pub fn connected(&self) -> bool {
        self.streams.lock().values().all(|stream| stream.connected)
    }

    pub fn lag(&self) -> u64 {
        self.streams.lock().values().filter_map(|stream| stream.lag).sum()
    }
}
