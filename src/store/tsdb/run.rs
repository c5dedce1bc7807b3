//! Runs: "this value, as if sampled every step, until closed". A push or a measure that holds for days is one of these
//! and not thousands of samples.

use crate::model::{STALE_NAN, Samples, TimeRange, Timestamp};

/// A run as kept in memory, in the checkpoint and in blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    pub value: f64,
    pub first: Timestamp,
    /// When it began. Before `first` where that part was cut away: of two runs the one that began later goes on winning.
    pub began: Timestamp,
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
    /// Points up to here, inclusive; the rest of the run is kept, or was deleted, apart from it.
    Continued(Timestamp),
}

impl Run {
    /// One that has all of its points. A step of nothing counts as a millisecond.
    pub fn new(value: f64, first: Timestamp, step_ms: i64, end: RunEnd) -> Run {
        Run { value, first, began: first, step_ms: step_ms.max(1), end }
    }

    /// The last moment the run has something to say at, seen from `now`.
    pub fn until(&self, now: Timestamp) -> Timestamp {
        match self.end {
            RunEnd::Open => now.max(self.first),
            RunEnd::Last(at) | RunEnd::StaleAt(at) | RunEnd::Continued(at) => at,
        }
    }

    /// Whether a reader of `range` may see a point.
    pub fn overlaps(&self, range: TimeRange, now: Timestamp) -> bool {
        self.first <= range.end() && range.start() <= self.until(now)
    }

    /// Whether it has a point or its marker in `range`, seen from `now`.
    pub fn says_something(&self, range: TimeRange, now: Timestamp) -> bool {
        let last = if self.end == RunEnd::Open { now } else { self.last_point() }.min(range.end());
        let first = range.start().checked_sub(1).map_or(Some(self.first), |before| self.point_after(before));
        first.is_some_and(|first| first <= last) || matches!(self.end, RunEnd::StaleAt(at) if range.contains(at))
    }

    /// Its last point at or before `at`; `None` where it begins later.
    fn point_until(&self, at: Timestamp) -> Option<Timestamp> {
        let (at, first, step) = (i128::from(at), i128::from(self.first), i128::from(self.step_ms));
        (at >= first).then(|| (first + (at - first) / step * step) as i64)
    }

    /// Its first point after `at`; `None` where time ends before it.
    fn point_after(&self, at: Timestamp) -> Option<Timestamp> {
        let (at, first, step) = (i128::from(at), i128::from(self.first), i128::from(self.step_ms));
        let point = if at < first { first } else { first + ((at - first) / step + 1) * step };
        i64::try_from(point).ok()
    }

    /// One run as two that say the same: up to the last point at or before `at`, and from the next one on. `None` where
    /// one of the two would have no point.
    pub fn split(&self, at: Timestamp) -> Option<(Run, Run)> {
        let (last, first) = (self.point_until(at)?, self.point_after(at)?);
        Some((Run { end: RunEnd::Continued(last), ..*self }, Run { first, ..*self }))
    }

    /// Appends to `pieces` what is left of a run that ended where `ranges`, in order of time and apart, are cut out.
    pub fn cut(&self, ranges: &[TimeRange], pieces: &mut Vec<Run>) {
        let mut left = *self;
        for range in ranges {
            if left.until(left.first) < range.start() {
                break;
            }
            // Points only: a marker is the last that a run has, and this one has it in the range or behind.
            let before = range.start().checked_sub(1);
            if let Some(last) = before.and_then(|at| left.point_until(at.min(left.last_point()))) {
                pieces.push(Run { end: RunEnd::Continued(last), ..left });
            }
            let after = left.point_after(range.end()).filter(|at| *at <= left.last_point());
            left = match (after, left.end) {
                (Some(first), _) => Run { first, ..left },
                // Only the marker stands behind the range.
                (None, RunEnd::StaleAt(at)) if at > range.end() => Run { first: at, ..left },
                _ => return,
            };
        }
        pieces.push(left);
    }

    /// The last moment that a point of a run that ended may have.
    fn last_point(&self) -> Timestamp {
        match self.end {
            RunEnd::Open => i64::MAX,
            RunEnd::Last(at) | RunEnd::Continued(at) => at,
            RunEnd::StaleAt(at) => at.saturating_sub(1),
        }
    }

    /// Appends the points within `range` as a scrape every `step_ms` would have left them.
    pub fn read(&self, range: TimeRange, now: Timestamp, samples: &mut Samples) {
        let last = if self.end == RunEnd::Open { now } else { self.last_point() };
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
    runs.sort_by_key(|run| (run.began, run.first, run.until(i64::MAX), run.end == RunEnd::Open));
    runs.dedup_by(|next, kept| {
        let same = next.first == kept.first && next.value.to_bits() == kept.value.to_bits();
        let is_piece = matches!(kept.end, RunEnd::Continued(_));
        same && next.step_ms == kept.step_ms && (next.end == kept.end || next.end == RunEnd::Open && !is_piece)
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
    use proptest::prelude::*;

    fn points(run: Run, range: TimeRange) -> Vec<Timestamp> {
        let mut samples = Samples::default();
        run.read(range, 100_000, &mut samples);
        samples.timestamps
    }

    #[test]
    fn a_run_at_the_ends_of_time_or_with_a_step_of_ages_is_read() {
        let run = |first, step_ms, end| Run::new(1.0, first, step_ms, end);
        assert_eq!(points(run(i64::MIN, i64::MAX, RunEnd::Open), TimeRange::ALL), [i64::MIN, -1]);
        assert_eq!(points(run(0, i64::MAX, RunEnd::Last(i64::MAX)), TimeRange::new(1, i64::MAX).unwrap()), [i64::MAX]);
        assert_eq!(points(run(7, i64::MAX, RunEnd::Last(i64::MAX)), TimeRange::new(8, i64::MAX).unwrap()).len(), 0);
        assert_eq!(points(run(0, 15_000, RunEnd::StaleAt(i64::MIN)), TimeRange::ALL), [i64::MIN]);
        let late = TimeRange::new(i64::MAX - 1, i64::MAX).unwrap();
        assert_eq!(points(run(i64::MIN, 15_000, RunEnd::Open), late).len(), 0);
    }

    #[test]
    fn a_point_of_a_new_run_wins_over_the_marker_of_the_one_that_ended_there() {
        let closed = Run::new(1.0, 0, 10, RunEnd::StaleAt(20));
        let open = Run::new(2.0, 20, 10, RunEnd::Open);
        let mut samples = Samples::default();
        read_runs(&mut vec![open, closed, closed], TimeRange::ALL, 30, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!((samples.timestamps, samples.values), (vec![0, 10, 20, 30], vec![1.0, 1.0, 2.0, 2.0]));
    }

    #[test]
    fn a_piece_of_a_run_loses_to_one_that_began_later_as_the_whole_did() {
        let whole = Run::new(1.0, 0, 10, RunEnd::Last(100));
        let mut runs = vec![Run::new(2.0, 50, 5, RunEnd::Last(100))];
        whole.cut(&[TimeRange::new(60, 70).unwrap()], &mut runs);
        let mut samples = Samples::default();
        read_runs(&mut runs, TimeRange::new(75, 95).unwrap(), 30, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!(samples.values, [2.0; 5]);
    }

    proptest! {
        #[test]
        fn what_is_cut_out_is_missing_and_nothing_else(
            (first, step_ms, length) in (-50i64..50, 1i64..20, 0i64..120),
            is_stale: bool,
            edges in prop::collection::btree_set(-70i64..200, 0..8),
        ) {
            let end = if is_stale { RunEnd::StaleAt(first + length - 10) } else { RunEnd::Last(first + length) };
            let run = Run::new(1.0, first, step_ms, end);
            let edges: Vec<i64> = edges.into_iter().collect();
            let ranges: Vec<TimeRange> =
                edges.chunks_exact(2).map(|pair| TimeRange::new(pair[0], pair[1]).unwrap()).collect();
            let (mut pieces, mut found) = (Vec::new(), Samples::default());
            run.cut(&ranges, &mut pieces);
            read_runs(&mut pieces, TimeRange::ALL, 0, &mut found);
            let mut expected = points(run, TimeRange::ALL);
            expected.retain(|at| !ranges.iter().any(|range| range.contains(*at)));
            prop_assert_eq!(found.timestamps, expected);
        }

        #[test]
        fn an_open_run_in_two_says_what_it_said_as_one(first in -50i64..50, step_ms in 1i64..20, at in -70i64..100) {
            let run = Run::new(1.0, first, step_ms, RunEnd::Open);
            let mut pieces = run.split(at).map_or(vec![run], |(before, after)| vec![after, before]);
            let (mut found, range) = (Samples::default(), TimeRange::new(-200, 300).unwrap());
            read_runs(&mut pieces, range, 300, &mut found);
            let mut expected = Samples::default();
            run.read(range, 300, &mut expected);
            prop_assert_eq!(found.timestamps, expected.timestamps);
        }
    }
}
