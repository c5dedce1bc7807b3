//! `rate`, `increase`, `delta` and their kin: differences over a window, corrected for counter resets and
//! extrapolated to the window's edges as Prometheus does.

use super::window::{Outcome, Remarks, Window};
use crate::{model::Timestamp, promql::ast::Extension};

/// Which of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateKind {
    /// `rate` and `increase`: the value only rises, a fall is a reset.
    pub counter: bool,
    /// `rate`: divided by the window's seconds.
    pub per_second: bool,
}

/// The first and the last sample of a window and how many there are.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    pub first_at: Timestamp,
    pub last_at: Timestamp,
    /// At least two.
    pub samples: u64,
}

/// By what the difference between first and last sample is multiplied to stand for the whole window.
///
/// A series that begins or ends near the window's edge is taken to reach it; else it is extended by half a typical
/// distance. A counter is never extended to before its zero: `first` is its first value, `increase` its growth.
#[inline]
pub fn extrapolation(ends: Ends, start: Timestamp, end: Timestamp, kind: RateKind, zero: Option<(f64, f64)>) -> f64 {
    let mut to_start = (ends.first_at - start) as f64 / 1000.0;
    let mut to_end = (end - ends.last_at) as f64 / 1000.0;
    let sampled = (ends.last_at - ends.first_at) as f64 / 1000.0;
    let distance = sampled / (ends.samples - 1) as f64;
    let threshold = distance * 1.1;
    if to_start >= threshold {
        to_start = distance / 2.0;
    }
    if kind.counter
        && let Some((first, increase)) = zero
        && increase > 0.0
        && first >= 0.0
    {
        let to_zero = sampled * (first / increase);
        if to_zero < to_start {
            to_start = to_zero;
        }
    }
    if to_end >= threshold {
        to_end = distance / 2.0;
    }
    let factor = (sampled + to_start + to_end) / sampled;
    if kind.per_second { factor / ((end - start) as f64 / 1000.0) } else { factor }
}

/// Where a counter fell, found once for a series: index of the lower sample and the value before it.
#[derive(Debug, Default)]
pub struct Resets {
    at: Vec<usize>,
    lost: Vec<f64>,
    low: usize,
    high: usize,
}

impl Resets {
    pub fn find(&mut self, values: &[f64]) {
        self.at.clear();
        self.lost.clear();
        (self.low, self.high) = (0, 0);
        for (index, pair) in values.windows(2).enumerate() {
            if pair[1] < pair[0] {
                self.at.push(index + 1);
                self.lost.push(pair[0]);
            }
        }
    }

    /// Adds what was lost within the samples `first..end` to `increase`, in the order it was lost. Both bounds must
    /// not fall from call to call.
    #[inline]
    pub fn correct(&mut self, mut increase: f64, first: usize, end: usize) -> f64 {
        if self.at.is_empty() {
            return increase;
        }
        while self.low < self.at.len() && self.at[self.low] <= first {
            self.low += 1;
        }
        self.high = self.high.max(self.low);
        while self.high < self.at.len() && self.at[self.high] < end {
            self.high += 1;
        }
        for lost in &self.lost[self.low..self.high] {
            increase += lost;
        }
        increase
    }
}

/// The value for a window of floats whose increase is known already.
#[inline]
pub fn extrapolated(increase: f64, first: f64, ends: Ends, start: Timestamp, end: Timestamp, kind: RateKind) -> f64 {
    increase * extrapolation(ends, start, end, kind, Some((first, increase)))
}

/// `anchored` and `smoothed`: the window has true values at its edges, so nothing is extrapolated.
pub fn extended_rate(window: &Window<'_>, kind: RateKind) -> Outcome {
    let (times, values) = (window.times, window.values);
    let Some(edges) = Edges::find(window, kind.counter) else { return Outcome::Nothing };
    let mut result = edges.right - edges.left;
    if kind.counter {
        let first = edges.first + usize::from(times[edges.first] <= window.start);
        let last = edges.last as isize - isize::from(times[edges.last] >= window.end);
        let inner = if last >= first as isize { &values[first..=last as usize] } else { &[] };
        let mut previous = edges.left;
        for value in inner {
            if *value < previous {
                result += previous;
            }
            previous = *value;
        }
        if edges.right < previous {
            result += previous;
        }
    }
    Outcome::Float(if kind.per_second { result / window.seconds() } else { result })
}

/// The values at the edges of a window with a modifier.
#[derive(Debug, Clone, Copy)]
pub struct Edges {
    /// The last sample at or before the start, else the first.
    pub first: usize,
    pub last: usize,
    pub left: f64,
    pub right: f64,
}

impl Edges {
    /// `None` where no sample lies within the window.
    pub fn find(window: &Window<'_>, counter: bool) -> Option<Edges> {
        let (times, values) = (window.times, window.values);
        let smoothed = window.extension == Extension::Smoothed;
        let mut last = times.len().checked_sub(1)?;
        let first = times[..last].partition_point(|t| *t <= window.start).saturating_sub(1);
        if smoothed {
            last = times[..last].partition_point(|t| *t < window.end);
        }
        if times[last] <= window.start || times[first] > window.end {
            return None;
        }
        let between = |i: usize, at: Timestamp| {
            let from = if counter && values[i + 1] < values[i] { 0.0 } else { values[i] };
            from + (values[i + 1] - from) * (at - times[i]) as f64 / (times[i + 1] - times[i]) as f64
        };
        let left = if smoothed && times[first] < window.start && first + 1 < times.len() {
            between(first, window.start)
        } else {
            values[first]
        };
        let right =
            if smoothed && last > 0 && times[last] > window.end { between(last - 1, window.end) } else { values[last] };
        Some(Edges { first, last, left, right })
    }
}

/// `irate` and `idelta` on floats alone.
pub fn instant_rate(window: &Window<'_>, counter: bool) -> Outcome {
    let [.., t1, t2] = *window.times else { return Outcome::Nothing };
    let [.., v1, v2] = *window.values else { return Outcome::Nothing };
    if t1 == t2 {
        return Outcome::Nothing;
    }
    let difference = if counter && v2 < v1 { v2 } else { v2 - v1 };
    Outcome::Float(if counter { difference / ((t2 - t1) as f64 / 1000.0) } else { difference })
}

/// Notes a window that mixes floats with histograms where that gives no answer.
pub fn refuse_mixed(window: &Window<'_>, remarks: &mut Remarks) -> bool {
    let mixed = !window.values.is_empty() && !window.histograms.is_empty();
    remarks.mixed_floats_histograms |= mixed;
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateKind = RateKind { counter: true, per_second: true };
    const DELTA: RateKind = RateKind { counter: false, per_second: false };

    fn ends(first_at: i64, last_at: i64, samples: u64) -> Ends {
        Ends { first_at, last_at, samples }
    }

    #[test]
    fn a_window_full_of_samples_is_extended_to_its_edges() {
        // Four samples 15 s apart cover 45 s of a minute; growth 45 becomes 60, one a second.
        let value = extrapolated(45.0, 100.0, ends(15_000, 60_000, 4), 0, 60_000, RATE);
        assert!((value - 1.0).abs() < 1e-12, "{value}");
    }

    #[test]
    fn a_series_that_begins_within_the_window_is_extended_by_half_a_distance() {
        let value = extrapolated(10.0, 100.0, ends(40_000, 50_000, 2), 0, 60_000, DELTA);
        assert!((value - 25.0).abs() < 1e-12, "{value}");
    }

    #[test]
    fn a_counter_is_not_extended_to_before_its_zero() {
        let kind = RateKind { counter: true, per_second: false };
        let value = extrapolated(10.0, 0.0, ends(10_000, 20_000, 2), 0, 20_000, kind);
        assert!((value - 10.0).abs() < 1e-12, "{value}");
    }

    #[test]
    fn resets_add_what_was_lost_within_the_window_alone() {
        let mut resets = Resets::default();
        resets.find(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!(resets.correct(0.0, 0, 3), 5.0);
        assert_eq!(resets.correct(0.0, 1, 5), 3.0);
        assert_eq!(resets.correct(0.0, 3, 5), 0.0);
    }
}
