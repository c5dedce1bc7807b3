//! The `*_over_time` family and regressions on floats: one window in, one number out, nothing allocated.

use super::window::{Outcome, Remarks, Window};
use crate::model::Timestamp;

/// A sum that keeps what rounding loses (Kahan's, in Neumaier's form).
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    pub sum: f64,
    pub lost: f64,
}

impl Default for Sum {
    /// Minus zero is the neutral element, so the first value is taken as it is.
    fn default() -> Sum {
        Sum { sum: -0.0, lost: 0.0 }
    }
}

impl Sum {
    #[inline(always)]
    pub fn add(&mut self, value: f64) {
        let total = self.sum + value;
        self.lost = if total.is_infinite() {
            0.0
        } else if self.sum.abs() >= value.abs() {
            self.lost + ((self.sum - total) + value)
        } else {
            self.lost + ((value - total) + self.sum)
        };
        self.sum = total;
    }

    #[inline]
    pub fn total(self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }
}

pub fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    sum.total()
}

/// A mean by one division while the sum stays finite, else step by step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    sum: Sum,
    mean: Sum,
    count: f64,
    stepwise: bool,
}

impl Mean {
    pub fn add(&mut self, value: f64) {
        self.count += 1.0;
        if !self.stepwise {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() || self.count == 1.0 {
                self.sum = next;
                return;
            }
            self.stepwise = true;
            let before = self.count - 1.0;
            self.mean = Sum { sum: self.sum.sum / before, lost: self.sum.lost / before };
        }
        let share = (self.count - 1.0) / self.count;
        self.mean = Sum { sum: share * self.mean.sum, lost: share * self.mean.lost };
        self.mean.add(value / self.count);
    }

    pub fn value(self) -> f64 {
        if self.stepwise {
            self.mean.sum + self.mean.lost
        } else {
            self.sum.sum / self.count + self.sum.lost / self.count
        }
    }
}

pub fn average(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    values.iter().for_each(|value| sum.add(*value));
    let count = values.len() as f64;
    if !sum.sum.is_infinite() {
        return sum.sum / count + sum.lost / count;
    }
    let mut mean = Mean::default();
    values.iter().for_each(|value| mean.add(*value));
    mean.value()
}

/// The mean of `count` samples of which `sums` are sums.
pub fn average_of_sums(sums: &[f64], count: f64) -> f64 {
    let mut sum = Sum::default();
    sums.iter().for_each(|value| sum.add(*value));
    mean_of_sums(sum, sums, count)
}

/// As [`average_of_sums`], where `sum` is known to be that of `sums`.
pub fn mean_of_sums(sum: Sum, sums: &[f64], count: f64) -> f64 {
    if sum.sum.is_finite() {
        return sum.sum / count + sum.lost / count;
    }
    // Beyond a float's range shares are added instead.
    let mut mean = Sum::default();
    sums.iter().for_each(|value| mean.add(value / count));
    mean.total()
}

/// The largest value; NaN only where there is nothing else.
pub fn maximum(values: &[f64]) -> f64 {
    values.iter().fold(f64::NAN, |best, v| if *v > best || best.is_nan() { *v } else { best })
}

pub fn minimum(values: &[f64]) -> f64 {
    values.iter().fold(f64::NAN, |best, v| if *v < best || best.is_nan() { *v } else { best })
}

/// The time of the last of the values that `better` prefers over all before, in seconds.
pub fn time_of(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> f64 {
    let (mut best, mut at) = (window.values[0], window.times[0]);
    for (value, time) in window.values.iter().zip(window.times) {
        if better(*value, best) || best.is_nan() {
            (best, at) = (*value, *time);
        }
    }
    seconds(at)
}

pub fn seconds(at: Timestamp) -> f64 {
    at as f64 / 1000.0
}

pub fn variance(values: &[f64]) -> f64 {
    let (mut count, mut mean, mut squares) = (0.0, Sum { sum: 0.0, lost: 0.0 }, Sum { sum: 0.0, lost: 0.0 });
    for value in values {
        count += 1.0;
        let delta = value - (mean.sum + mean.lost);
        mean.add(delta / count);
        squares.add(delta * (value - (mean.sum + mean.lost)));
    }
    (squares.sum + squares.lost) / count
}

/// The quantile of unsorted values, which are reordered. NaN sorts below everything.
pub fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if let Some(value) = quantile_beyond(q, values.len()) {
        return value;
    }
    let (rank, lower) = rank(q, values.len());
    let (_, low, above) = values.select_nth_unstable_by(lower, |a, b| ascending(*a, *b));
    let low = *low;
    // The next value is the least of those above; at the upper end there is none.
    let high = above.iter().copied().min_by(|a, b| ascending(*a, *b)).unwrap_or(low);
    between(low, high, rank)
}

/// As [`quantile`], of `count` values that rise already, NaN first; `value` gives each by its rank.
pub fn quantile_of_sorted(q: f64, count: usize, value: impl Fn(usize) -> f64) -> f64 {
    if let Some(value) = quantile_beyond(q, count) {
        return value;
    }
    let (rank, lower) = rank(q, count);
    between(value(lower), value((lower + 1).min(count - 1)), rank)
}

/// The quantile where it is no matter of rank.
fn quantile_beyond(q: f64, count: usize) -> Option<f64> {
    if count == 0 || q.is_nan() {
        Some(f64::NAN)
    } else if q < 0.0 {
        Some(f64::NEG_INFINITY)
    } else {
        (q > 1.0).then_some(f64::INFINITY)
    }
}

/// The rank of a quantile, and the index below it.
fn rank(q: f64, count: usize) -> (f64, usize) {
    let rank = q * (count - 1) as f64;
    (rank, rank.floor().max(0.0) as usize)
}

fn between(low: f64, high: f64, rank: f64) -> f64 {
    let weight = rank - rank.floor();
    low * (1.0 - weight) + high * weight
}

/// Rising, NaN first.
pub fn ascending(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The median of the distances from the median.
pub fn median_deviation(values: &[f64], buffer: &mut Vec<f64>) -> f64 {
    buffer.clear();
    buffer.extend_from_slice(values);
    let median = quantile(0.5, buffer);
    buffer.clear();
    buffer.extend(values.iter().map(|value| (value - median).abs()));
    quantile(0.5, buffer)
}

/// Slope per second and value at `at` of the line through the samples.
pub fn regression(times: &[Timestamp], values: &[f64], at: Timestamp) -> (f64, f64) {
    let zero = Sum { sum: 0.0, lost: 0.0 };
    let (mut xs, mut ys, mut products, mut squares) = (zero, zero, zero, zero);
    for (time, y) in times.iter().zip(values) {
        let x = (time - at) as f64 / 1e3;
        xs.add(x);
        ys.add(*y);
        products.add(x * y);
        squares.add(x * x);
    }
    let first = values[0];
    if values[1..].iter().all(|value| *value == first) {
        return if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) };
    }
    let n = values.len() as f64;
    let whole = |sum: Sum| sum.sum + sum.lost;
    let (x, y) = (whole(xs), whole(ys));
    let slope = (whole(products) - x * y / n) / (whole(squares) - x * x / n);
    (slope, y / n - slope * x / n)
}

/// Double exponential smoothing; two values at least.
pub fn smoothed(values: &[f64], smoothing: f64, trend: f64) -> f64 {
    let (mut before, mut now, mut slope) = (0.0, values[0], values[1] - values[0]);
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            slope = trend * (now - before) + (1.0 - trend) * slope;
        }
        let next = smoothing * value + (1.0 - smoothing) * (now + slope);
        (before, now) = (now, next);
    }
    now
}

/// For functions that need floats: notes histograms beside them, and refuses windows with fewer than `least` floats.
pub fn floats_only(window: &Window<'_>, least: usize, remarks: &mut Remarks) -> bool {
    if !window.values.is_empty() && !window.histograms.is_empty() {
        remarks.histograms_ignored = true;
    }
    window.values.len() >= least
}

/// The oldest sample of a window.
pub fn first(window: &Window<'_>) -> Outcome {
    match (window.times.first(), window.histograms.first()) {
        (Some(time), Some(h)) if *time < h.timestamp => Outcome::Float(window.values[0]),
        (_, Some(h)) => Outcome::Histogram(h.histogram.clone()),
        (Some(_), None) => Outcome::Float(window.values[0]),
        (None, None) => Outcome::Nothing,
    }
}

/// The newest sample of a window.
pub fn last(window: &Window<'_>) -> Outcome {
    let value = window.values.last().copied().unwrap_or_default();
    match (window.times.last(), window.histograms.last()) {
        (Some(time), Some(h)) if h.timestamp < *time => Outcome::Float(value),
        (_, Some(h)) => Outcome::Histogram(h.histogram.clone()),
        (Some(_), None) => Outcome::Float(value),
        (None, None) => Outcome::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_keep_what_rounding_would_lose() {
        assert_eq!(sum(&[1.0, 1e100, 1.0, -1e100]), 2.0);
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
    }

    #[test]
    fn averages_survive_an_overflowing_sum() {
        assert_eq!(average(&[f64::MAX, f64::MAX]), f64::MAX);
        assert_eq!(average(&[1.0, 2.0, 6.0]), 3.0);
        assert_eq!(average(&[f64::INFINITY]), f64::INFINITY);
        assert!(average(&[f64::INFINITY, f64::NEG_INFINITY]).is_nan());
    }

    #[test]
    fn quantiles_interpolate_and_take_edges() {
        assert_eq!(quantile(0.5, &mut [3.0, 1.0, 2.0, 4.0]), 2.5);
        assert_eq!(quantile(1.0, &mut [3.0, 1.0]), 3.0);
        assert_eq!(quantile(0.0, &mut [3.0, 1.0]), 1.0);
        assert_eq!(quantile(-0.1, &mut [1.0]), f64::NEG_INFINITY);
        assert_eq!(quantile(1.1, &mut [1.0]), f64::INFINITY);
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan());
    }

    #[test]
    fn a_line_is_found_again() {
        let (slope, intercept) = regression(&[0, 10_000, 20_000], &[1.0, 3.0, 5.0], 20_000);
        assert!((slope - 0.2).abs() < 1e-12 && (intercept - 5.0).abs() < 1e-12, "{slope} {intercept}");
        assert_eq!(regression(&[0, 1], &[4.0, 4.0], 0), (0.0, 4.0));
    }

    #[test]
    fn the_largest_value_is_no_nan_unless_all_are() {
        assert_eq!(maximum(&[f64::NAN, 1.0, 3.0, 2.0]), 3.0);
        assert_eq!(minimum(&[2.0, f64::NAN, 1.0]), 1.0);
        assert!(maximum(&[f64::NAN]).is_nan());
    }
}
