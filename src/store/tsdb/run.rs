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

    /// Appends the points within `range` as a scrape every `step_ms` would have left them; of those between two
    /// `looks` the last.
    pub fn read(&self, range: TimeRange, now: Timestamp, looks: Option<Looks>, samples: &mut Samples) {
        let last = match self.end {
            RunEnd::Open => now,
            RunEnd::Last(at) => at,
            RunEnd::StaleAt(at) => at.saturating_sub(1),
        };
        let last = last.min(range.end());
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
    runs.sort_by_key(|run| (run.first, run.until(i64::MAX), run.end == RunEnd::Open));
    runs.dedup_by(|next, kept| {
        let same = next.first == kept.first && next.value.to_bits() == kept.value.to_bits();
        same && next.step_ms == kept.step_ms && (next.end == kept.end || next.end == RunEnd::Open)
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
        read_runs(&mut vec![open, closed, closed], TimeRange::ALL, 30, None, &mut samples);
        super::super::head::sort_samples(&mut samples, true);
        assert_eq!((samples.timestamps, samples.values), (vec![0, 10, 20, 30], vec![1.0, 1.0, 2.0, 2.0]));
    }

    fn any_run() -> impl Strategy<Value = Run> {
        let end = prop_oneof![
            Just(RunEnd::Open),
            (-50i64..400).prop_map(RunEnd::Last),
            (-50i64..400).prop_map(RunEnd::StaleAt),
        ];
        (0u8..4, -100i64..300, 1i64..40, end).prop_map(|(value, first, step_ms, end)| Run {
            value: f64::from(value),
            first,
            step_ms,
            end,
        })
    }

    proptest! {
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
        let run = Run { value: 1.0, first: 0, step_ms: 15_000, end: RunEnd::StaleAt(365 * DAY) };
        let mut samples = Samples::default();
        let looks = Looks { first_ms: 5 * DAY, step_ms: DAY / 3 };
        run.read(TimeRange::new(5 * DAY - 300_000, 400 * DAY).unwrap(), i64::MAX, Some(looks), &mut samples);
        assert_eq!(samples.len(), 360 * 3 + 2);
        let ends = Run { first: i64::MIN, step_ms: i64::MAX, end: RunEnd::Open, ..run };
        samples.clear();
        ends.read(TimeRange::ALL, i64::MAX, Some(Looks { first_ms: i64::MIN, step_ms: 0 }), &mut samples);
        assert_eq!(samples.timestamps[0], i64::MIN);
    }
}
