//! Windows whose edges lie within buckets. Of the samples of a bucket only a few points are kept, so a part of it says
//! nothing: an edge moves outwards to that of its bucket.

use super::windows::Windows;
use crate::{
    model::{Samples, TimeRange, Timestamp},
    promql::{functions::FunctionId, functions::window::Outcome, histogram},
    store::{Hints, TierUse},
};
use std::sync::Arc;

/// The buckets of one series that hold more than its points show, in time order.
#[derive(Debug, Default)]
pub struct Buckets(Vec<Bucket>);

/// Of the samples after `begin` up to and with `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bucket {
    begin: Timestamp,
    end: Timestamp,
}

impl Bucket {
    /// The one of `resolution_ms` that a sample at `at` lies in.
    fn around(at: Timestamp, resolution_ms: i64) -> Bucket {
        let begin = at.saturating_sub(1).div_euclid(resolution_ms).saturating_mul(resolution_ms);
        Bucket { begin, end: begin.saturating_add(resolution_ms) }
    }
}

impl Buckets {
    /// Those of `samples` at which windows of `range_ms` do not begin and end by themselves.
    pub fn cut(windows: &Windows, range_ms: i64, samples: &Samples, tiers: &[TierUse]) -> Buckets {
        let cut: Vec<&TierUse> =
            tiers.iter().filter(|tier| !is_aligned(windows, range_ms, tier.resolution_ms)).collect();
        let mut buckets: Vec<Bucket> = Vec::new();
        if cut.is_empty() {
            return Buckets(buckets);
        }
        let floats = samples.timestamps.iter().copied().zip(samples.weights.iter().copied());
        let histograms = samples.histograms.iter().map(|sample| sample.timestamp);
        let histograms = histograms.zip(samples.histogram_weights.iter().copied());
        // A point that stands for itself alone needs no bucket around it.
        for (at, _) in floats.chain(histograms).filter(|(_, weight)| *weight != 1) {
            // The points of a bucket may lie before or behind what was asked for.
            let around = |tier: &&&TierUse| {
                let covered = TimeRange::new(
                    Bucket::around(tier.range.start(), tier.resolution_ms).begin.saturating_add(1),
                    Bucket::around(tier.range.end(), tier.resolution_ms).end,
                );
                covered.is_some_and(|covered| covered.contains(at))
            };
            if let Some(tier) = cut.iter().find(around) {
                let bucket = Bucket::around(at, tier.resolution_ms);
                if buckets.last() != Some(&bucket) {
                    buckets.push(bucket);
                }
            }
        }
        buckets.sort_unstable_by_key(|bucket| bucket.end);
        buckets.dedup();
        Buckets(buckets)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The window `(start, end]` with whole buckets at its edges.
    pub fn widen(&self, start: Timestamp, end: Timestamp) -> (Timestamp, Timestamp) {
        let inside = |edge: Timestamp| {
            let at = self.0.partition_point(|bucket| bucket.end <= edge);
            self.0.get(at).filter(|bucket| bucket.begin < edge)
        };
        (inside(start).map_or(start, |bucket| bucket.begin), inside(end).map_or(end, |bucket| bucket.end))
    }
}

/// Whether all windows of `range_ms` begin and end where buckets do.
fn is_aligned(windows: &Windows, range_ms: i64, resolution_ms: i64) -> bool {
    let moves = windows.grid.count > 1 && windows.at.is_none();
    let step_ms = if moves { windows.grid.step } else { 0 };
    [windows.reference(0), step_ms, range_ms].iter().all(|ms| ms % resolution_ms == 0)
}

/// What a selection that reads from buckets has to ask for so that the windows at both its ends are whole ones; `None`
/// where `range` is that already.
pub fn whole_buckets(windows: &Windows, hints: &Hints, range: TimeRange, resolution_ms: i64) -> Option<TimeRange> {
    if resolution_ms <= 0 || is_aligned(windows, hints.range_ms, resolution_ms) {
        return None;
    }
    let start = Bucket::around(range.start(), resolution_ms).begin.saturating_add(1);
    let end = Bucket::around(range.end(), resolution_ms).end;
    TimeRange::new(start, end).filter(|whole| *whole != range)
}

/// The outcome of a window that became `widened_ms` long: what grows with its length is taken back to `range_ms`.
pub fn scaled(function: FunctionId, outcome: Outcome, range_ms: i64, widened_ms: i64) -> Outcome {
    if range_ms == widened_ms || !matches!(function, FunctionId::Increase | FunctionId::Delta) {
        return outcome;
    }
    // These are extrapolated to the edges of their window anyway.
    let share = range_ms as f64 / widened_ms as f64;
    match outcome {
        Outcome::Nothing => Outcome::Nothing,
        Outcome::Float(value) => Outcome::Float(value * share),
        Outcome::Histogram(mut histogram) => {
            histogram::mul(Arc::make_mut(&mut histogram), share);
            Outcome::Histogram(histogram)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{promql::eval::context::Grid, store::Fidelity};

    #[test]
    fn edges_within_buckets_that_hide_samples_move_outwards_and_others_stay() {
        let windows = Windows {
            grid: Grid { start: 130, step: 10, count: 3 },
            at: None,
            offset_ms: 0,
            before_ms: 50,
            after_ms: 0,
        };
        let tier = |resolution_ms, start, end| TierUse {
            resolution_ms,
            range: TimeRange::new(start, end).unwrap(),
            fidelity: Fidelity::Widened,
        };
        let mut samples = Samples::default();
        for (at, weight) in [(3, 1), (90, 5), (110, 1), (120, 1), (190, 9)] {
            samples.push(at, 1.0);
            samples.weights.push(weight);
        }
        let buckets = Buckets::cut(&windows, 50, &samples, &[tier(100, 81, 200)]);
        assert_eq!(buckets.widen(80, 130), (0, 200));
        assert_eq!(buckets.widen(100, 200), (100, 200));
        assert_eq!(buckets.widen(250, 300), (250, 300));
        assert!(Buckets::cut(&windows, 50, &samples, &[tier(10, 81, 200)]).is_empty());
        let hints = Hints { range_ms: 50, ..Hints::default() };
        let asked = TimeRange::new(81, 150).unwrap();
        assert_eq!(whole_buckets(&windows, &hints, asked, 100), TimeRange::new(1, 200));
        assert_eq!(whole_buckets(&windows, &hints, asked, 10), None);
    }
}
