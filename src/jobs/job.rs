//! A job as it is shown, and as the store keeps it.

use crate::{
    model::Timestamp,
    stdx::bytes::{push_slice, push_varint, take_slice, take_varint},
};
use serde::{Deserialize, Serialize};

/// Names a job for ever; grows.
pub type JobId = u64;

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    Running,
    Done,
    Failed,
    Cancelled,
    /// The process ended before the work did. It goes on when its kind is registered.
    Interrupted,
}

/// How far the work is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    pub done: u64,
    /// 0 while it is not known.
    pub total: u64,
    /// What is counted: `samples`, `bytes`, `pages`.
    pub unit: String,
}

/// A job as the API shows it. The field names are part of the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub title: String,
    pub state: JobState,
    pub progress: Progress,
    /// What it is doing, what it did, or why it failed.
    pub message: String,
    pub started_ms: Timestamp,
    pub updated_ms: Timestamp,
    /// Milliseconds that are probably left; `None` while that is not known, and at the end.
    pub estimate_ms: Option<i64>,
}

/// A job at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub job: Job,
    pub resume: Vec<u8>,
    /// How often it was taken up again since its last checkpoint.
    pub restarts: u64,
}

const VERSION: u64 = 1;

impl Stored {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_varint(&mut out, VERSION);
        push_varint(&mut out, self.restarts);
        push_slice(&mut out, &self.resume);
        // Cannot fail: no map keys, no floats, all strings.
        push_slice(&mut out, &serde_json::to_vec(&self.job).unwrap_or_default());
        out
    }

    /// `None` for bytes that are not a job of a version this program knows.
    pub fn decode(mut bytes: &[u8]) -> Option<Stored> {
        let input = &mut bytes;
        if take_varint(input)? != VERSION {
            return None;
        }
        let restarts = take_varint(input)?;
        let resume = take_slice(input)?.to_vec();
        let job = serde_json::from_slice(take_slice(input)?).ok()?;
        Some(Stored { job, resume, restarts })
    }
}

impl Job {
    /// Sets the time of the change, and from it what is probably left: as long for the rest as for what is done. Work
    /// that was taken up again counts from `resumed`, the time and progress it had then.
    pub(super) fn touch(&mut self, now_ms: Timestamp, resumed: (Timestamp, u64)) {
        self.updated_ms = now_ms;
        let (since, before) = resumed;
        let done = self.progress.done.saturating_sub(before);
        let left = self.progress.total.saturating_sub(self.progress.done);
        let known = self.state == JobState::Running && done > 0 && self.progress.total > 0;
        let elapsed = now_ms.saturating_sub(since).max(0) as f64;
        self.estimate_ms = known.then(|| (elapsed * left as f64 / done as f64) as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn job() -> Job {
        Job {
            id: 7,
            kind: "import".into(),
            title: "Import of a.om".into(),
            state: JobState::Running,
            progress: Progress { done: 25, total: 100, unit: "samples".into() },
            message: String::new(),
            started_ms: 1_000,
            updated_ms: 1_000,
            estimate_ms: None,
        }
    }

    #[test]
    fn the_json_names_are_stable() {
        let mut job = job();
        job.touch(3_000, (1_000, 0));
        assert_eq!(
            serde_json::to_string(&job).unwrap(),
            r#"{"id":7,"kind":"import","title":"Import of a.om","state":"running","progress":{"done":25,"total":100,"unit":"samples"},"message":"","started_ms":1000,"updated_ms":3000,"estimate_ms":6000}"#
        );
    }

    #[test]
    fn nothing_is_estimated_before_there_is_progress_or_after_the_end() {
        let mut job = job();
        job.touch(3_000, (1_000, 25));
        assert_eq!(job.estimate_ms, None);
        job.state = JobState::Done;
        job.touch(3_000, (1_000, 0));
        assert_eq!(job.estimate_ms, None);
    }

    proptest! {
        #[test]
        fn a_stored_job_survives_and_any_bytes_are_read_without_panic(resume: Vec<u8>, restarts: u64, bytes: Vec<u8>) {
            let stored = Stored { job: job(), resume, restarts };
            prop_assert_eq!(Stored::decode(&stored.encode()), Some(stored));
            let _ = Stored::decode(&bytes);
        }
    }
}
