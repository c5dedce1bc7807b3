//! When a target is asked: at even moments of absolute time, each target at its own.

use xxhash_rust::xxh64::xxh64;

/// A scrape this near its moment bears its timestamp: even timestamps compress to nothing.
const SNAP_MS: i64 = 2;

/// The moments of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    pub interval_ms: i64,
    /// From 0 to below the interval; the same after a restart.
    pub offset_ms: i64,
}

impl Schedule {
    /// Spreads targets by what identifies them. `seed` tells this machine from its twin, so that both do not ask at
    /// the same moment.
    pub fn new(identity: &[u8], seed: u64, interval_ms: i64) -> Schedule {
        let interval_ms = interval_ms.max(1);
        let hash = xxh64(identity, 0) ^ seed;
        Schedule { interval_ms, offset_ms: (hash % interval_ms.unsigned_abs()) as i64 }
    }

    /// The moment to wait for at `now_ms`, when `last_ms` was the moment before. Missed ones are skipped; a clock that
    /// was set back does not stop the scrapes.
    pub fn next(&self, now_ms: i64, last_ms: Option<i64>) -> i64 {
        let after = match last_ms {
            Some(last) if last >= now_ms && last - now_ms < self.interval_ms => last,
            _ => now_ms,
        };
        let since = (after - self.offset_ms).rem_euclid(self.interval_ms);
        after - since + self.interval_ms
    }

    /// The timestamp of a scrape that began at `now_ms` for the moment `tick_ms`.
    pub fn timestamp(&self, now_ms: i64, tick_ms: i64) -> i64 {
        let near = SNAP_MS.min(self.interval_ms / 100);
        if (now_ms - tick_ms).abs() <= near { tick_ms } else { now_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_even_and_missed_ones_skipped() {
        let schedule = Schedule { interval_ms: 5_000, offset_ms: 1_234 };
        assert_eq!(schedule.next(0, None), 1_234);
        assert_eq!(schedule.next(1_234, None), 6_234);
        // Woken a moment early: the next one is not the same again.
        assert_eq!(schedule.next(1_233, Some(1_234)), 6_234);
        assert_eq!(schedule.next(1_236, Some(1_234)), 6_234);
        assert_eq!(schedule.next(17_000, Some(1_234)), 21_234);
        // The clock was set back by a day.
        assert_eq!(schedule.next(100_000_000, Some(186_400_000)), 100_001_234);
        assert_eq!(schedule.next(-1, None), 1_234);
    }

    #[test]
    fn timestamps_snap_within_two_milliseconds_and_a_hundredth() {
        let schedule = Schedule { interval_ms: 5_000, offset_ms: 0 };
        for (now, expected) in [(5_000, 5_000), (5_002, 5_000), (4_999, 5_000), (5_003, 5_003)] {
            assert_eq!(schedule.timestamp(now, 5_000), expected);
        }
        assert_eq!(Schedule { interval_ms: 100, offset_ms: 0 }.timestamp(202, 200), 202);
    }

    #[test]
    fn targets_spread_over_the_interval_and_stay_where_they_are() {
        let offsets: Vec<i64> =
            (0..200).map(|target: u32| Schedule::new(&target.to_le_bytes(), 7, 5_000).offset_ms).collect();
        assert!(offsets.iter().all(|offset| (0..5_000).contains(offset)));
        for part in 0..10 {
            let here = offsets.iter().filter(|offset| **offset / 500 == part).count();
            assert!((5..40).contains(&here), "{part}: {here}");
        }
        assert_eq!(Schedule::new(b"a", 7, 5_000), Schedule::new(b"a", 7, 5_000));
        assert_ne!(Schedule::new(b"a", 7, 5_000), Schedule::new(b"a", 8, 5_000));
    }
}
