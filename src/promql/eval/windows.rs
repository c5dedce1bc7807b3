//! Windows: which samples belong to which step, found by two indexes that only move forward.

use super::context::Grid;
use crate::model::{HistogramSample, Timestamp};
use std::ops::Range;

/// Where the samples of a step are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    pub grid: Grid,
    /// `@`: the same for every step.
    pub at: Option<Timestamp>,
    /// Positive looks back.
    pub offset_ms: i64,
    /// The window is `(reference - before, reference + after]`.
    pub before_ms: i64,
    /// Only the `smoothed` modifier looks ahead.
    pub after_ms: i64,
}

impl Windows {
    /// The time whose window belongs to a step.
    #[inline]
    pub fn reference(&self, step: usize) -> Timestamp {
        self.at.unwrap_or_else(|| self.grid.at(step)).saturating_sub(self.offset_ms)
    }

    /// The first and the last time that can be in any window, both inclusive.
    pub fn bounds(&self) -> (Timestamp, Timestamp) {
        let first = self.reference(0).saturating_sub(self.before_ms).saturating_add(1);
        let last = self.reference(self.grid.count.saturating_sub(1)).saturating_add(self.after_ms);
        (first, last.max(first))
    }

    /// Calls `each(step, range)` for every step with the indexes of `times` in its window, empty ones included.
    #[inline]
    pub fn walk(&self, times: &[Timestamp], mut each: impl FnMut(usize, Range<usize>)) {
        let (mut low, mut high) = (0, 0);
        for step in 0..self.grid.count {
            let reference = self.reference(step);
            let (after, until) = (reference - self.before_ms, reference + self.after_ms);
            while low < times.len() && times[low] <= after {
                low += 1;
            }
            high = high.max(low);
            while high < times.len() && times[high] <= until {
                high += 1;
            }
            each(step, low..high);
        }
    }

    /// As [`Windows::walk`], over floats and histograms together.
    pub fn walk_both(
        &self,
        times: &[Timestamp],
        histograms: &[HistogramSample],
        mut each: impl FnMut(usize, Range<usize>, Range<usize>),
    ) {
        let (mut low, mut high) = (0, 0);
        self.walk(times, |step, floats| {
            let reference = self.reference(step);
            while low < histograms.len() && histograms[low].timestamp <= reference - self.before_ms {
                low += 1;
            }
            high = high.max(low);
            while high < histograms.len() && histograms[high].timestamp <= reference + self.after_ms {
                high += 1;
            }
            each(step, floats, low..high);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(before_ms: i64, offset_ms: i64) -> Windows {
        Windows { grid: Grid { start: 100, step: 50, count: 3 }, at: None, offset_ms, before_ms, after_ms: 0 }
    }

    fn ranges(windows: &Windows, times: &[i64]) -> Vec<Range<usize>> {
        let mut all = Vec::new();
        windows.walk(times, |_, range| all.push(range));
        all
    }

    #[test]
    fn a_window_is_open_at_its_left_edge() {
        let times = [0, 50, 100, 150, 200, 250];
        assert_eq!(ranges(&windows(100, 0), &times), [1..3, 2..4, 3..5]);
        assert_eq!(ranges(&windows(50, 100), &times), [0..1, 1..2, 2..3]);
        assert_eq!(windows(100, 0).bounds(), (1, 200));
    }

    #[test]
    fn a_fixed_time_gives_every_step_the_same_window() {
        let fixed = Windows { at: Some(150), ..windows(100, 0) };
        assert_eq!(ranges(&fixed, &[40, 60, 150, 160]), [1..3, 1..3, 1..3]);
    }

    #[test]
    fn gaps_larger_than_the_window_leave_it_empty() {
        assert_eq!(ranges(&windows(10, 0), &[5, 95, 300]), [1..2, 2..2, 2..2]);
    }
}
