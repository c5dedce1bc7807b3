//! How many calls may be made, and how long to wait before one is tried again.

use crate::stdx::clock::Clock;
use parking_lot::Mutex;
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

const HOUR_MS: f64 = 3_600_000.0;
/// A pause after the first failure is at least this, for others behind our address share the same allowance.
pub const PAUSE_MS_MIN: u64 = 30_000;
pub const PAUSE_MS_MAX: u64 = 300_000;

/// Waiting, so that tests need not.
pub trait Pauses: Send + Sync {
    fn pause(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Waits for real.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealPauses;

impl Pauses for RealPauses {
    fn pause(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(time))
    }
}

/// At most so many calls in any hour: half of them may come at once, the others flow in evenly.
pub struct Budget {
    clock: Arc<dyn Clock>,
    calls_per_hour: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    calls: f64,
    filled_ms: i64,
}

impl Budget {
    pub fn new(clock: Arc<dyn Clock>, calls_per_hour: u64) -> Budget {
        let calls_per_hour = calls_per_hour.max(2) as f64;
        let bucket = Bucket { calls: (calls_per_hour / 2.0).floor(), filled_ms: clock.elapsed_ms() };
        Budget { clock, calls_per_hour, bucket: Mutex::new(bucket) }
    }

    /// Takes one call; where there is none, the time until there is.
    pub fn take(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock();
        *bucket = self.filled(*bucket);
        if bucket.calls >= 1.0 {
            bucket.calls -= 1.0;
            return Ok(());
        }
        let wait_ms = (1.0 - bucket.calls) * HOUR_MS / (self.calls_per_hour / 2.0);
        Err(Duration::from_millis(wait_ms.ceil() as u64 + 1))
    }

    /// Calls that could be made now.
    pub fn left(&self) -> u64 {
        self.filled(*self.bucket.lock()).calls as u64
    }

    fn filled(&self, bucket: Bucket) -> Bucket {
        let now_ms = self.clock.elapsed_ms();
        let passed = now_ms.saturating_sub(bucket.filled_ms).max(0) as f64;
        let most = (self.calls_per_hour / 2.0).floor();
        let calls = (bucket.calls + passed * self.calls_per_hour / 2.0 / HOUR_MS).min(most);
        Bucket { calls, filled_ms: now_ms }
    }
}

/// How long to wait after failure number `attempt` (from 0): between the least pause and one that doubles, at random,
/// so that many that failed together do not come back together.
pub fn back_off(attempt: u32, random: u64) -> Duration {
    let most = PAUSE_MS_MIN.saturating_mul(2u64.saturating_pow(attempt.min(16) + 1)).min(PAUSE_MS_MAX);
    Duration::from_millis(PAUSE_MS_MIN + random % (most - PAUSE_MS_MIN + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stdx::clock::ManualClock;

    #[test]
    fn no_hour_has_more_calls_than_the_budget() {
        let clock = ManualClock::new(0);
        let budget = Budget::new(Arc::new(clock.clone()), 100);
        let mut calls = Vec::new();
        while clock.elapsed_ms() < 4 * 3_600_000 {
            match budget.take() {
                Ok(()) => calls.push(clock.elapsed_ms()),
                Err(wait) => clock.advance(wait.as_millis() as i64),
            }
        }
        for (index, from) in calls.iter().enumerate() {
            let within = calls[index..].iter().filter(|at| **at - from < 3_600_000).count();
            assert!(within <= 100, "{within} calls from {from} on");
        }
        assert!(calls.len() >= 200, "{}", calls.len());
        assert!(budget.left() <= 1);
        clock.advance(36_000_000);
        assert_eq!(budget.left(), 50);
    }

    #[test]
    fn pauses_grow_to_five_minutes_and_are_spread() {
        for (attempt, most) in [(0, 60_000), (1, 120_000), (2, 240_000), (3, 300_000), (40, 300_000)] {
            assert_eq!(back_off(attempt, 0), Duration::from_millis(30_000));
            let longest = (0..400_000u64).step_by(997).map(|random| back_off(attempt, random)).max().unwrap();
            assert!(longest <= Duration::from_millis(most) && longest > Duration::from_millis(most - 2_000));
        }
    }
}
