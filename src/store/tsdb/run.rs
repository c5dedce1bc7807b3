//! Runs: "this value, as if sampled every step, until closed". A push or a measure that holds for days is one of these
//! and not thousands of samples.

use crate::{
    model::{STALE_NAN, Samples, TimeRange, Timestamp},
    store::Hints,
};

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

/// The times at which an instant selector looks. Of a run it sees one point each, so no other is made.
#[derive(Debug, Clone, Copy)]
pub struct Looks {
    first_ms: Timestamp,
    /// 0 where it looks once.
    step_ms: i64,
}

impl Looks {
    /// `None` where more than the newest point before each time is asked for.
    pub fn of(hints: &Hints) -> Option<Looks> {
        let is_instant = hints.range_ms == 0 && hints.lookback_ms > 0;
        is_instant.then_some(Looks { first_ms: hints.first_ms, step_ms: hints.step_ms })
    }
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

    /// Appends the points within `range` as a scrape every `step_ms` would have left them; of those between two
    /// `looks` the last.
    pub fn read(&self, range: TimeRange, now: Timestamp, looks: Option<Looks>, samples: &mut Samples) {
        let last = if self.end == RunEnd::Open { now } else { self.last_point() }.min(range.end());
        match looks {
            Some(looks) if looks.step_ms == 0 || looks.step_ms > self.step_ms => {
                self.read_looks(range.start(), last, looks, samples);
            }
            _ => self.read_all(range.start(), last, samples),
        }
        if let RunEnd::StaleAt(at) = self.end
            && range.contains(at)
        {
            samples.push(at, STALE_NAN);
        }
    }

    fn read_all(&self, start: Timestamp, last: Timestamp, samples: &mut Samples) {
        // Wide numbers: a first point at one end of time and a step of ages must neither overflow nor bend the grid.
        let (first, step) = (i128::from(self.first), i128::from(self.step_ms.max(1)));
        let skipped = (i128::from(start) - first).max(0);
        let mut at = i64::try_from(first + (skipped + step - 1) / step * step).ok();
        while let Some(point) = at.filter(|at| *at <= last) {
            samples.push(point, self.value);
            at = point.checked_add(self.step_ms.max(1));
        }
    }

    /// The newest point at or before each look.
    fn read_looks(&self, start: Timestamp, last: Timestamp, looks: Looks, samples: &mut Samples) {
        let (first, step, last) = (i128::from(self.first), i128::from(self.step_ms.max(1)), i128::from(last));
        if last < first.max(i128::from(start)) {
            return;
        }
        let between = i128::from(if looks.step_ms == 0 { i64::MAX } else { looks.step_ms });
        // The first look that may see any of them.
        let behind = (first.max(i128::from(start)) - i128::from(looks.first_ms)).max(0);
        let mut look = i128::from(looks.first_ms) + (behind + between - 1) / between * between;
        loop {
            let point = first + (look.min(last) - first) / step * step;
            if let Ok(at) = i64::try_from(point)
                && at >= start
            {
                samples.push(at, self.value);
            }
            if look >= last {
                return;
            }
            look += between;
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
pub fn read_runs(runs: &mut Vec<Run>, range: TimeRange, now: Timestamp, looks: Option<Looks>, samples: &mut Samples) {
    if runs.is_empty() {
        return;
    }
    put_runs_in_order(runs);
    let mut points = Samples::default();
    for run in runs.iter() {
        run.read(range, now, looks, &mut points);
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
        run.read(range, 100_000, None, &mut samples);
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
        read_runs(&mut vec![open, closed, closed], TimeRange::ALL, 30, None, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!((samples.timestamps, samples.values), (vec![0, 10, 20, 30], vec![1.0, 1.0, 2.0, 2.0]));
    }

    #[test]
    fn a_piece_of_a_run_loses_to_one_that_began_later_as_the_whole_did() {
        let whole = Run::new(1.0, 0, 10, RunEnd::Last(100));
        let mut runs = vec![Run::new(2.0, 50, 5, RunEnd::Last(100))];
        whole.cut(&[TimeRange::new(60, 70).unwrap()], &mut runs);
        let mut samples = Samples::default();
        read_runs(&mut runs, TimeRange::new(75, 95).unwrap(), 30, None, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!(samples.values, [2.0; 5]);
    }

    fn any_run() -> impl Strategy<Value = Run> {
        let end = prop_oneof![
            Just(RunEnd::Open),
            (-50i64..400).prop_map(RunEnd::Last),
            (-50i64..400).prop_map(RunEnd::StaleAt),
        ];
        (0u8..4, -100i64..300, 1i64..40, end)
            .prop_map(|(value, first, step_ms, end)| Run::new(f64::from(value), first, step_ms, end))
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
            read_runs(&mut pieces, TimeRange::ALL, 0, None, &mut found);
            let mut expected = points(run, TimeRange::ALL);
            expected.retain(|at| !ranges.iter().any(|range| range.contains(*at)));
            prop_assert_eq!(found.timestamps, expected);
        }

        #[test]
        fn an_open_run_in_two_says_what_it_said_as_one(first in -50i64..50, step_ms in 1i64..20, at in -70i64..100) {
            let run = Run::new(1.0, first, step_ms, RunEnd::Open);
            let mut pieces = run.split(at).map_or(vec![run], |(before, after)| vec![after, before]);
            let (mut found, range) = (Samples::default(), TimeRange::new(-200, 300).unwrap());
            read_runs(&mut pieces, range, 300, None, &mut found);
            let mut expected = Samples::default();
            run.read(range, 300, None, &mut expected);
            prop_assert_eq!(found.timestamps, expected.timestamps);
        }

        #[test]
        fn an_instant_selector_sees_the_same_of_the_points_made_for_it_as_of_all(
            runs in prop::collection::vec(any_run(), 1..5),
            floats in prop::collection::btree_map(-100i64..400, 10u8..14, 0..5),
            (first_ms, step_ms, count) in (-100i64..300, 1i64..120, 1i64..6),
            (lookback_ms, once, now) in (1i64..100, any::<bool>(), 0i64..400),
        ) {
            let count = if once { 1 } else { count };
            let looks = Looks { first_ms, step_ms: if once { 0 } else { step_ms } };
            let last_look = first_ms + (count - 1) * step_ms;
            let range = TimeRange::new(first_ms - lookback_ms + 1, last_look).unwrap();
            let read = |looks| {
                let mut samples = Samples::default();
                for (at, value) in floats.iter().filter(|(at, _)| range.contains(**at)) {
                    samples.push(*at, f64::from(*value));
                }
                read_runs(&mut runs.clone(), range, now, looks, &mut samples);
                super::super::head::sort_samples(&mut samples, true);
                samples
            };
            let (all, few) = (read(None), read(Some(looks)));
            prop_assert!(few.len() <= all.len());
            for look in (0..count).map(|index| first_ms + index * step_ms) {
                let seen = |samples: &Samples| {
                    let at = samples.timestamps.partition_point(|at| *at <= look).checked_sub(1)?;
                    let visible = samples.timestamps[at] > look - lookback_ms;
                    visible.then(|| (samples.timestamps[at], samples.values[at].to_bits()))
                };
                prop_assert_eq!(seen(&all), seen(&few), "at {}", look);
            }
        }
    }

    #[test]
    fn a_year_of_a_run_costs_one_point_a_look() {
        const DAY: i64 = 86_400_000;
        let run = Run::new(1.0, 0, 15_000, RunEnd::StaleAt(365 * DAY));
        let mut samples = Samples::default();
        let looks = Looks { first_ms: 5 * DAY, step_ms: DAY / 3 };
        run.read(TimeRange::new(5 * DAY - 300_000, 400 * DAY).unwrap(), i64::MAX, Some(looks), &mut samples);
        assert_eq!(samples.len(), 360 * 3 + 2);
        let ends = Run::new(1.0, i64::MIN, i64::MAX, RunEnd::Open);
        samples.clear();
        ends.read(TimeRange::ALL, i64::MAX, Some(Looks { first_ms: i64::MIN, step_ms: 0 }), &mut samples);
        assert_eq!(samples.timestamps[0], i64::MIN);
    }
}
