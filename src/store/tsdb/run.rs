//! Runs: "this value, as if sampled every step, until closed". A push or a measure that holds for days is one of these
//! and not thousands of samples.

use crate::model::{STALE_NAN, Samples, TimeRange, Timestamp};

/// A run as kept in memory, in the checkpoint and in blocks.
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
            RunEnd::StaleAt(at) => at.saturating_sub(1),
        };
        // Wide numbers: a first point at one end of time and a step of ages must neither overflow nor bend the grid.
        let (first, step) = (i128::from(self.first), i128::from(self.step_ms.max(1)));
        let skipped = (i128::from(range.start()) - first).max(0);
        let mut at = i64::try_from(first + (skipped + step - 1) / step * step).ok();
        while let Some(point) = at.filter(|at| *at <= last.min(range.end())) {
            samples.push(point, self.value);
            at = point.checked_add(self.step_ms.max(1));
        }
        if let RunEnd::StaleAt(at) = self.end
            && range.contains(at)
        {
            samples.push(at, STALE_NAN);
        }
    }
}

/// Sorts runs by time and keeps one of each.
pub fn put_runs_in_order(runs: &mut Vec<Run>) {
    // Of one run that was open when it was looked up and has been closed since, the closed one says more.
    runs.sort_by_key(|run| (run.first, run.until(i64::MAX), run.end == RunEnd::Open));
    runs.dedup_by(|next, kept| {
        let same = next.first == kept.first && next.value.to_bits() == kept.value.to_bits();
        same && next.step_ms == kept.step_ms && (next.end == kept.end || next.end == RunEnd::Open)
    });
}

/// Puts the points of `runs` before the samples that are there, so that samples win where both have one time. A run
/// that is met twice counts once, a later run wins over an earlier one.
pub fn read_runs(runs: &mut Vec<Run>, range: TimeRange, now: Timestamp, samples: &mut Samples) {
    if runs.is_empty() {
        return;
    }
    put_runs_in_order(runs);
    let mut points = Samples::default();
    for run in runs.iter() {
        run.read(range, now, &mut points);
    }
    if !samples.weights.is_empty() {
        samples.weights.splice(0..0, std::iter::repeat_n(1, points.values.len()));
    }
    samples.timestamps.splice(0..0, points.timestamps);
    samples.values.splice(0..0, points.values);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(run: Run, range: TimeRange) -> Vec<Timestamp> {
        let mut samples = Samples::default();
        run.read(range, 100_000, &mut samples);
        samples.timestamps
    }

    #[test]
    fn a_run_at_the_ends_of_time_or_with_a_step_of_ages_is_read() {
        let run = |first, step_ms, end| Run { value: 1.0, first, step_ms, end };
        assert_eq!(points(run(i64::MIN, i64::MAX, RunEnd::Open), TimeRange::ALL), [i64::MIN, -1]);
        assert_eq!(points(run(0, i64::MAX, RunEnd::Last(i64::MAX)), TimeRange::new(1, i64::MAX).unwrap()), [i64::MAX]);
        assert_eq!(points(run(7, i64::MAX, RunEnd::Last(i64::MAX)), TimeRange::new(8, i64::MAX).unwrap()).len(), 0);
        assert_eq!(points(run(0, 15_000, RunEnd::StaleAt(i64::MIN)), TimeRange::ALL), [i64::MIN]);
        let late = TimeRange::new(i64::MAX - 1, i64::MAX).unwrap();
        assert_eq!(points(run(i64::MIN, 15_000, RunEnd::Open), late).len(), 0);
    }

    #[test]
    fn a_point_of_a_new_run_wins_over_the_marker_of_the_one_that_ended_there() {
        let closed = Run { value: 1.0, first: 0, step_ms: 10, end: RunEnd::StaleAt(20) };
        let open = Run { value: 2.0, first: 20, step_ms: 10, end: RunEnd::Open };
        let mut samples = Samples::default();
        read_runs(&mut vec![open, closed, closed], TimeRange::ALL, 30, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!((samples.timestamps, samples.values), (vec![0, 10, 20, 30], vec![1.0, 1.0, 2.0, 2.0]));
    }
}
