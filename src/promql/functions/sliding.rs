//! Long windows that overlap: what a window shares with the one before it is not computed again.
//!
//! Sums, averages and deviations use two stacks: the samples before a split are kept as sums of every suffix, those
//! behind it as one running sum, and a window is the merge of two of them. Nothing is ever subtracted, so a result holds
//! no rounding of samples that have left the window; it differs from adding one by one in the last digit at most.
//! Extremes, quantiles and counts are the same bit by bit.

use super::over_time::{self, Sum};
use std::{collections::VecDeque, ops::Range};

/// What samples add up to, in any grouping.
pub trait State: Default + Copy {
    fn add(&mut self, value: f64);

    /// Puts `other`, whose samples come later, behind `self`.
    fn merged(self, other: Self) -> Self;
}

impl State for Sum {
    #[inline]
    fn add(&mut self, value: f64) {
        Sum::add(self, value);
    }

    #[inline]
    fn merged(mut self, other: Sum) -> Sum {
        Sum::add(&mut self, other.sum);
        self.lost += other.lost;
        self
    }
}

/// Mean and squared deviations. Values are taken relative to one of them, so a spread that is small beside its mean
/// keeps its digits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread {
    count: f64,
    shift: f64,
    mean: f64,
    squares: f64,
}

impl State for Spread {
    #[inline]
    fn add(&mut self, value: f64) {
        if self.count == 0.0 {
            // What is no number or infinite deviates by what is no number.
            let squares = if value.is_finite() { 0.0 } else { f64::NAN };
            *self = Spread { count: 1.0, shift: value, mean: 0.0, squares };
            return;
        }
        let value = value - self.shift;
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    #[inline]
    fn merged(self, other: Spread) -> Spread {
        if self.count == 0.0 || other.count == 0.0 {
            return if self.count == 0.0 { other } else { self };
        }
        let count = self.count + other.count;
        let delta = (other.mean - self.mean) + (other.shift - self.shift);
        Spread {
            count,
            shift: self.shift,
            mean: self.mean + delta * other.count / count,
            squares: self.squares + other.squares + delta * delta * self.count * other.count / count,
        }
    }
}

impl Spread {
    pub fn variance(self) -> f64 {
        self.squares / self.count
    }
}

/// A window that moves over values and knows the state of what it holds. Bounds must not fall from call to call.
#[derive(Debug, Default)]
pub struct TwoStacks<S> {
    /// `suffixes[i]` holds the values from `split - 1 - i` up to the split.
    suffixes: Vec<S>,
    split: usize,
    behind: S,
    end: usize,
}

impl<S: State> TwoStacks<S> {
    pub fn of(&mut self, values: &[f64], window: Range<usize>) -> S {
        if window.start >= self.split {
            self.suffixes.clear();
            let mut state = S::default();
            for value in values[window.clone()].iter().rev() {
                state.add(*value);
                self.suffixes.push(state);
            }
            (self.split, self.end, self.behind) = (window.end, window.end, S::default());
        }
        for value in &values[self.end..window.end] {
            self.behind.add(*value);
        }
        self.end = window.end;
        match self.suffixes.get(self.split.wrapping_sub(window.start + 1)) {
            Some(before) if self.end > self.split => before.merged(self.behind),
            Some(before) => *before,
            None => self.behind,
        }
    }
}

/// `sum_over_time`; a sum beyond a float's range is added one by one.
pub fn sum(sums: &mut TwoStacks<Sum>, values: &[f64], window: Range<usize>) -> f64 {
    let sum = sums.of(values, window.clone());
    if sum.sum.is_finite() { sum.total() } else { over_time::sum(&values[window]) }
}

/// `avg_over_time`, likewise.
pub fn average(sums: &mut TwoStacks<Sum>, values: &[f64], window: Range<usize>) -> f64 {
    let (sum, count) = (sums.of(values, window.clone()), window.len() as f64);
    if sum.sum.is_finite() { sum.sum / count + sum.lost / count } else { over_time::average(&values[window]) }
}

/// `avg_over_time` of values that are sums of `count` samples.
pub fn average_of_sums(sums: &mut TwoStacks<Sum>, values: &[f64], window: Range<usize>, count: f64) -> f64 {
    over_time::mean_of_sums(sums.of(values, window.clone()), &values[window], count)
}

/// The extreme of a moving window: candidates that a later one has not beaten, best first.
#[derive(Debug, Default)]
pub struct Extreme {
    largest: bool,
    candidates: VecDeque<usize>,
    end: usize,
}

impl Extreme {
    pub fn new(largest: bool) -> Extreme {
        Extreme { largest, ..Extreme::default() }
    }

    /// NaN where there is nothing else in the window.
    pub fn of(&mut self, values: &[f64], window: Range<usize>) -> f64 {
        for (at, value) in values.iter().enumerate().take(window.end).skip(self.end.max(window.start)) {
            if value.is_nan() {
                continue;
            }
            let beaten = |other: f64| if self.largest { *value > other } else { *value < other };
            while self.candidates.back().is_some_and(|last| beaten(values[*last])) {
                self.candidates.pop_back();
            }
            self.candidates.push_back(at);
        }
        self.end = self.end.max(window.end);
        while self.candidates.front().is_some_and(|first| *first < window.start) {
            self.candidates.pop_front();
        }
        self.candidates.front().map_or(f64::NAN, |best| values[*best])
    }
}

/// The values of a moving window in order, as whole numbers that compare faster than floats.
#[derive(Debug, Default)]
pub struct Sorted {
    keys: Vec<u64>,
    start: usize,
    end: usize,
}

const SIGN: u64 = 1 << 63;

/// A number that rises as floats do: NaN first, negative zero before zero.
#[inline]
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if value.is_nan() {
        0
    } else if bits & SIGN != 0 {
        !bits
    } else {
        bits | SIGN
    }
}

fn value_of(key: u64) -> f64 {
    match key {
        0 => f64::NAN,
        _ if key & SIGN != 0 => f64::from_bits(key & !SIGN),
        _ => f64::from_bits(!key),
    }
}

impl Sorted {
    pub fn quantile(&mut self, q: f64, values: &[f64], window: Range<usize>) -> f64 {
        if window.start >= self.end {
            self.keys.clear();
            self.keys.extend(values[window.clone()].iter().map(|value| key(*value)));
            self.keys.sort_unstable();
        } else {
            let (leaving, entering) = (&values[self.start..window.start], &values[self.end..window.end]);
            let both = leaving.len().min(entering.len());
            for (leaving, entering) in leaving.iter().zip(entering) {
                self.replace(key(*leaving), key(*entering));
            }
            for leaving in &leaving[both..] {
                let at = self.place_of(key(*leaving));
                self.keys.remove(at);
            }
            for entering in &entering[both..] {
                let at = self.place_of(key(*entering));
                self.keys.insert(at, key(*entering));
            }
        }
        (self.start, self.end) = (window.start, window.end);
        over_time::quantile_of_sorted(q, self.keys.len(), |at| value_of(self.keys[at]))
    }

    fn place_of(&self, key: u64) -> usize {
        self.keys.partition_point(|other| *other < key)
    }

    /// Only what lies between the two is moved.
    fn replace(&mut self, leaving: u64, entering: u64) {
        let (from, to) = (self.place_of(leaving), self.place_of(entering));
        if to > from {
            self.keys.copy_within(from + 1..to, from);
            self.keys[to - 1] = entering;
        } else {
            self.keys.copy_within(to..from, to + 1);
            self.keys[to] = entering;
        }
    }
}

/// How many neighbours differ up to each sample: a window is the difference of two counts.
#[derive(Debug, Default)]
pub struct PairCounts(Vec<u32>);

impl PairCounts {
    pub fn count(values: &[f64], differs: impl Fn(f64, f64) -> bool) -> PairCounts {
        let mut count = 0;
        let pairs = values.windows(2).map(|pair| {
            count += u32::from(differs(pair[0], pair[1]));
            count
        });
        PairCounts(std::iter::once(0).chain(pairs).collect())
    }

    /// Of a window that is not empty.
    pub fn of(&self, window: Range<usize>) -> f64 {
        f64::from(self.0[window.end - 1] - self.0[window.start])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => -1e6..1e6,
            4 => (-5i32..5).prop_map(f64::from),
            1 => Just(f64::NAN),
            1 => Just(-0.0),
            1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(1e300)],
        ]
    }

    /// Windows that move forward by `step`, `width` long at most.
    fn windows(len: usize, width: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
        (0..len + width).step_by(step).map(move |end| (end.saturating_sub(width)).min(len)..end.min(len))
    }

    fn same(a: f64, b: f64) -> bool {
        a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
    }

    proptest! {
        #[test]
        fn a_moving_window_gives_what_each_window_gives_alone(
            values in prop::collection::vec(value(), 1..200),
            width in 1usize..60,
            step in 1usize..20,
        ) {
            let (mut sums, mut means) = (TwoStacks::default(), TwoStacks::default());
            let (mut largest, mut smallest) = (Extreme::new(true), Extreme::new(false));
            let mut sorted = Sorted::default();
            let changes = PairCounts::count(&values, |a, b| a != b && !(a.is_nan() && b.is_nan()));
            for window in windows(values.len(), width, step).filter(|window| !window.is_empty()) {
                let held = &values[window.clone()];
                let scale: f64 = held.iter().map(|v| v.abs()).sum::<f64>() * f64::EPSILON;
                let close = |a: f64, b: f64| same(a, b) || (a - b).abs() <= scale;
                prop_assert!(close(sum(&mut sums, &values, window.clone()), over_time::sum(held)));
                prop_assert!(close(average(&mut means, &values, window.clone()), over_time::average(held)));
                prop_assert!(same(largest.of(&values, window.clone()), over_time::maximum(held)));
                prop_assert!(same(smallest.of(&values, window.clone()), over_time::minimum(held)));
                let quantile = sorted.quantile(0.3, &values, window.clone());
                prop_assert!(same(quantile + 0.0, over_time::quantile(0.3, &mut held.to_vec()) + 0.0));
                let changed = held.windows(2).filter(|p| p[0] != p[1] && !(p[0].is_nan() && p[1].is_nan())).count();
                prop_assert_eq!(changes.of(window), changed as f64);
            }
        }

        #[test]
        fn whole_numbers_add_up_bit_by_bit(values in prop::collection::vec(-1_000_000i64..1_000_000, 1..300)) {
            let values: Vec<f64> = values.into_iter().map(|v| v as f64).collect();
            let mut sums = TwoStacks::default();
            for window in windows(values.len(), 50, 3).filter(|window| !window.is_empty()) {
                prop_assert!(same(sum(&mut sums, &values, window.clone()), over_time::sum(&values[window])));
            }
        }

        #[test]
        fn deviations_keep_their_digits_beside_a_large_mean(
            offset in prop_oneof![Just(0.0), Just(1e9), Just(-1e12)],
            values in prop::collection::vec(-10.0f64..10.0, 2..200),
        ) {
            let values: Vec<f64> = values.into_iter().map(|v| offset + v).collect();
            let mut spreads = TwoStacks::<Spread>::default();
            for window in windows(values.len(), 50, 3).filter(|window| window.len() > 1) {
                let got = spreads.of(&values, window.clone()).variance();
                // Exact: taking away what was added leaves what adding it kept.
                let near: Vec<f64> = values[window].iter().map(|v| v - offset).collect();
                let want = over_time::variance(&near);
                prop_assert!((got - want).abs() <= want * 1e-9, "{got} {want}");
            }
        }
    }

    #[test]
    fn equal_values_do_not_deviate_and_infinite_ones_have_no_deviation() {
        let mut spreads = TwoStacks::<Spread>::default();
        assert_eq!(spreads.of(&[0.1; 9], 0..5).variance(), 0.0);
        assert_eq!(spreads.of(&[0.1; 9], 3..9).variance(), 0.0);
        assert!(TwoStacks::<Spread>::default().of(&[f64::INFINITY], 0..1).variance().is_nan());
    }
}
