//! Runs: "this value, as if sampled every step, until closed". A push or a measure that holds for days is one of these
//! and not thousands of samples.

use crate::model::{STALE_NAN, Samples, TimeRange, Timestamp};

/// A run as kept in memory, in the checkpoint and in window files.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    pub value: f64,
    pub first: Timestamp,
    /// Above zero.
    pub step_ms: i64,
    pub end: RunEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunEnd {
    Open,
    /// Points up to here, inclusive.
    Last(Timestamp),
    /// Points before this, and the staleness marker at it.
    StaleAt(Timestamp),
}

impl Run {
    /// The last moment the run has something to say at, seen from `now`.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        match self.end {
            RunEnd::Open => now.max(self.first),
            RunEnd::Last(at) | RunEnd::StaleAt(at) => at,
        }
    }

    /// Whether a reader of `range` may see a point.
    pub fn overlaps(&self, range: TimeRange, now: Timestamp) -> bool {
        self.first <= range.end() && range.start() <= self.until(now)
    }

    /// Appends the points within `range` as a scrape every `step_ms` would have left them.
    pub fn read(&self, range: TimeRange, now: Timestamp, samples: &mut Samples) {
        let last = match self.end {
            RunEnd::Open => now,
            RunEnd::Last(at) => at,
            RunEnd::StaleAt(at) => at - 1,
        };
        let skipped = range.start().saturating_sub(self.first).max(0);
        let steps = skipped / self.step_ms + i64::from(skipped % self.step_ms != 0);
        let mut at = self.first.saturating_add(steps.saturating_mul(self.step_ms));
        while at <= last.min(range.end()) {
            samples.push(at, self.value);
            match at.checked_add(self.step_ms) {
                Some(next) => at = next,
                None => return,
            }
        }
        if let RunEnd::StaleAt(at) = self.end
            && range.contains(at)
        {
            samples.push(at, STALE_NAN);
        }
    }
}
