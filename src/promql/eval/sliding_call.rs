//! Functions over long windows that overlap: one pass over the samples in place of one a step.

use super::range_call::{RangeCall, Run};
use crate::{
    model::Samples,
    promql::{
        functions::{
            FunctionId,
            sliding::{self, Extreme, PairCounts, Sorted, Spread, TwoStacks},
            window::Counts,
        },
        limits::QueryError,
    },
};
use std::ops::Range;

/// Windows must overlap the next ones so often; below it nothing is gained.
const OVERLAP_MIN: i64 = 4;
/// Shorter windows, in samples, are computed one by one: it costs no more, and sums then are those of Prometheus to
/// the last digit.
const SAMPLES_MIN: i64 = 32;

/// Whether the windows of `call` over these samples, floats alone, are worth sliding.
pub fn is_worth_it(call: &RangeCall, samples: &Samples) -> bool {
    let times = &samples.timestamps;
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return false };
    let step = call.windows.grid.step;
    if call.windows.grid.count < 2 || call.windows.at.is_some() || call.range_ms / step.max(1) < OVERLAP_MIN {
        return false;
    }
    // As many as fit into a window on average.
    let fit = (times.len() as i64 - 1).saturating_mul(call.range_ms) / (last - first).max(1);
    fit.min(times.len() as i64) >= SAMPLES_MIN
}

/// Computes all steps; `None` where the function has no such way.
pub fn slide(run: &mut Run<'_>) -> Option<Result<(), QueryError>> {
    use FunctionId::*;
    let values = &run.samples.values[..];
    Some(match run.call.function {
        SumOverTime => {
            let mut sums = TwoStacks::default();
            all_windows(run, |_, window| sliding::sum(&mut sums, values, window))
        }
        AvgOverTime if !run.samples.weights.is_empty() => {
            let (mut sums, counts) = (TwoStacks::default(), Counts::of(&run.samples.weights));
            all_windows(run, |_, window| {
                let count = counts.within(window.clone()) as f64;
                sliding::average_of_sums(&mut sums, values, window, count)
            })
        }
        AvgOverTime => {
            let mut sums = TwoStacks::default();
            all_windows(run, |_, window| sliding::average(&mut sums, values, window))
        }
        MinOverTime => extreme(run, values, false),
        MaxOverTime => extreme(run, values, true),
        StddevOverTime => {
            let mut spreads = TwoStacks::<Spread>::default();
            all_windows(run, |_, window| spreads.of(values, window).variance().sqrt())
        }
        StdvarOverTime => {
            let mut spreads = TwoStacks::<Spread>::default();
            all_windows(run, |_, window| spreads.of(values, window).variance())
        }
        QuantileOverTime => {
            let (mut sorted, quantiles) = (Sorted::default(), &run.call.parameters[0]);
            let mut invalid = None;
            let done = all_windows(run, |step, window| {
                let q = quantiles.at(step);
                if !(0.0..=1.0).contains(&q) {
                    invalid = Some(q);
                }
                sorted.quantile(q, values, window)
            });
            run.remarks.invalid_quantile = invalid.or(run.remarks.invalid_quantile);
            done
        }
        Changes => {
            let counts = PairCounts::count(values, |a, b| a != b && !(a.is_nan() && b.is_nan()));
            all_windows(run, |_, window| counts.of(window))
        }
        Resets => {
            let counts = PairCounts::count(values, |a, b| b < a);
            all_windows(run, |_, window| counts.of(window))
        }
        _ => return None,
    })
}

fn extreme(run: &mut Run<'_>, values: &[f64], largest: bool) -> Result<(), QueryError> {
    let mut extreme = Extreme::new(largest);
    all_windows(run, |_, window| extreme.of(values, window))
}

fn all_windows(run: &mut Run<'_>, mut value: impl FnMut(usize, Range<usize>) -> f64) -> Result<(), QueryError> {
    let (call, samples) = (run.call, run.samples);
    let mut failure = None;
    call.windows.walk(&samples.timestamps, |step, window| {
        if failure.is_none() {
            failure = call.context.look(step).err();
        }
        if failure.is_none() && !window.is_empty() {
            run.offer(step, window.len());
            run.out.set(step, value(step, window));
        }
    });
    failure.map_or(Ok(()), Err)
}
