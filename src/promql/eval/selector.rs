//! Instant selectors: the newest sample of each series within the lookback, at every step.

use super::{
    column::Column,
    context::{Context, Counters, Grid, SourceUse},
    hints::Hinted,
    node::{Node, SeriesLabels},
    pool::Scratch,
    widened::whole_buckets,
    windows::Windows,
};
use crate::{
    model::{HistogramSample, METRIC_NAME, MatchOp, Matcher, Samples, TimeRange, Timestamp, is_stale},
    promql::{ast::Span, limits::QueryError},
    store::{Hints, SeriesSet},
};
use std::sync::{Arc, atomic::Ordering};

/// A typical distance of samples, to guess how many there are.
const SAMPLE_DISTANCE_MS: i64 = 15_000;

/// Series found in the store, and how much reading one of them may be.
#[derive(Clone)]
pub struct Source {
    pub context: Arc<Context>,
    pub set: Arc<dyn SeriesSet>,
    pub names_matter: bool,
    pub weight: usize,
    /// Where reads are counted, if they are.
    counters: Option<Arc<Counters>>,
}

impl Source {
    /// Finds the series that may have samples in `windows`.
    pub fn select(
        context: &Arc<Context>,
        matchers: &[Matcher],
        windows: &Windows,
        hints: &Hints,
    ) -> Result<Source, QueryError> {
        let (first, last) = windows.bounds();
        let range = TimeRange::new(first, last).unwrap_or(TimeRange::ALL);
        let mut set = context.select(range, matchers, hints)?;
        let plain_windows = hints.range_ms > 0 && windows.before_ms == hints.range_ms && windows.after_ms == 0;
        if plain_windows {
            // More time may reach into coarser buckets; there are not many sizes of them.
            let mut asked = range;
            while let Some(whole) = whole_buckets(windows, hints, asked, set.coarsest_ms().unwrap_or(0)) {
                set = context.select(whole, matchers, hints)?;
                asked = whole;
            }
        }
        let names_matter = !matchers.iter().any(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal)
            // What describes a metric could differ where the name does not.
            || (0..set.len()).any(|i| set.labels(i).iter().any(|(n, _)| n == "__type__" || n == "__unit__"));
        let weight = ((last - first) / SAMPLE_DISTANCE_MS).clamp(1, 1 << 24) as usize + windows.grid.count;
        Ok(Source { context: context.clone(), set, names_matter, weight, counters: None })
    }

    /// Told of as the selector at `span`: in annotations, and where the query is measured.
    pub fn told(mut self, span: Span, usage: SourceUse) -> Source {
        self.counters = self.context.add_source(span, usage, &self.set);
        self
    }

    /// Reads a series; the samples are accounted for.
    pub fn read(&self, index: usize, samples: &mut Samples) -> Result<(), QueryError> {
        samples.clear();
        self.set.read(index, samples)?;
        debug_assert!(samples.weights.is_empty() || samples.weights.len() == samples.values.len());
        debug_assert!(
            samples.histogram_weights.is_empty() || samples.histogram_weights.len() == samples.histograms.len()
        );
        if let Some(counters) = &self.counters {
            counters.samples.fetch_add(samples.len() as u64, Ordering::Relaxed);
        }
        self.context.budget.scan(samples.len())
    }

    /// Reads a series without its staleness markers, and without what is no sample.
    pub fn read_live(&self, index: usize, samples: &mut Samples) -> Result<(), QueryError> {
        self.read(index, samples)?;
        drop_stale(samples);
        drop_weightless(samples);
        Ok(())
    }
}

/// Removes staleness markers: windows do not see them.
pub fn drop_stale(samples: &mut Samples) {
    let stale = samples.values.iter().position(|value| is_stale(*value));
    if let Some(first) = stale {
        retain_floats(samples, first, |samples, at| !is_stale(samples.values[at]));
    }
    if samples.histograms.iter().any(|h| is_stale(h.histogram.sum)) {
        retain_histograms(samples, |sample, _| !is_stale(sample.histogram.sum));
    }
}

/// Removes the points that stand for no sample.
pub fn drop_weightless(samples: &mut Samples) {
    if let Some(first) = samples.weights.iter().position(|weight| *weight == 0) {
        retain_floats(samples, first, |samples, at| samples.weights[at] > 0);
    }
    if samples.histogram_weights.contains(&0) {
        retain_histograms(samples, |_, weight| weight > 0);
    }
}

/// Keeps the floats before `first`, and those after that `keeps` says.
#[inline]
fn retain_floats(samples: &mut Samples, first: usize, keeps: impl Fn(&Samples, usize) -> bool) {
    let weighed = !samples.weights.is_empty();
    let mut kept = first;
    for at in first..samples.values.len() {
        if keeps(samples, at) {
            samples.values[kept] = samples.values[at];
            samples.timestamps[kept] = samples.timestamps[at];
            if weighed {
                samples.weights[kept] = samples.weights[at];
            }
            kept += 1;
        }
    }
    samples.values.truncate(kept);
    samples.timestamps.truncate(kept);
    samples.weights.truncate(kept);
}

/// Keeps the histograms that `keeps` says of them and their weights, which are 1 where there are none.
fn retain_histograms(samples: &mut Samples, keeps: impl Fn(&HistogramSample, u32) -> bool) {
    let weights = std::mem::take(&mut samples.histogram_weights);
    let weight = |at: usize| weights.get(at).copied().unwrap_or(1);
    let kept: Vec<bool> = samples.histograms.iter().enumerate().map(|(at, one)| keeps(one, weight(at))).collect();
    let (mut histogram, mut own) = (kept.iter(), kept.iter());
    samples.histograms.retain(|_| histogram.next().is_some_and(|kept| *kept));
    samples.histogram_weights = weights;
    samples.histogram_weights.retain(|_| own.next().is_some_and(|kept| *kept));
}

/// What an instant selector yields of the sample it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yield {
    Value,
    /// `timestamp(selector)`: when it was taken, in seconds.
    Time,
}

/// An instant selector.
pub struct InstantSelector {
    pub source: Source,
    pub windows: Windows,
    pub yields: Yield,
    /// Only figures of histograms are asked for.
    pub figures: bool,
}

impl Node for InstantSelector {
    fn len(&self) -> usize {
        self.source.set.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        SeriesLabels::plain(self.source.set.labels(index))
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let mut samples = scratch.samples();
        self.source.read(index, &mut samples)?;
        out.reset(self.windows.grid.count);
        if samples.histograms.is_empty() {
            self.look_up(&samples, out);
        } else {
            self.look_up_both(&samples, out);
        }
        scratch.give_samples(samples);
        let context = &self.source.context;
        context.budget.offer(out.samples() as u64);
        if context.counts_steps() {
            (0..out.steps()).filter(|s| out.has(*s)).for_each(|s| context.offer_at(&self.windows.grid, s, 1));
        }
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.source.names_matter
    }

    fn weight(&self) -> usize {
        self.source.weight
    }
}

impl InstantSelector {
    fn look_up(&self, samples: &Samples, out: &mut Column) {
        let (times, values) = (&samples.timestamps[..], &samples.values[..]);
        let mut next = 0;
        for step in 0..self.windows.grid.count {
            let reference = self.windows.reference(step);
            while next < times.len() && times[next] <= reference {
                next += 1;
            }
            if next == 0 {
                continue;
            }
            let (at, value) = (times[next - 1], values[next - 1]);
            if at > reference - self.windows.before_ms && !is_stale(value) {
                out.set(step, self.float(at, value));
            }
        }
    }

    fn float(&self, at: Timestamp, value: f64) -> f64 {
        match self.yields {
            Yield::Value => value,
            Yield::Time => at as f64 / 1000.0,
        }
    }

    fn look_up_both(&self, samples: &Samples, out: &mut Column) {
        let (times, values, histograms) = (&samples.timestamps, &samples.values, &samples.histograms);
        let (mut float, mut native) = (0, 0);
        let mut hinted = Hinted::new(self.figures);
        for step in 0..self.windows.grid.count {
            let reference = self.windows.reference(step);
            while float < times.len() && times[float] <= reference {
                float += 1;
            }
            while native < histograms.len() && histograms[native].timestamp <= reference {
                native += 1;
            }
            let oldest = reference - self.windows.before_ms;
            let found_float = float.checked_sub(1).filter(|at| times[*at] > oldest);
            let found_native = native.checked_sub(1).filter(|at| histograms[*at].timestamp > oldest);
            // At equal times the marker that ends a histogram series stands in the float column.
            let float_wins = match (found_float, found_native) {
                (Some(f), Some(n)) => {
                    times[f] > histograms[n].timestamp || (times[f] == histograms[n].timestamp && is_stale(values[f]))
                }
                (Some(_), None) => true,
                (None, _) => false,
            };
            match (found_float, found_native) {
                (Some(f), _) if float_wins && is_stale(values[f]) => {}
                (Some(f), _) if float_wins => out.set(step, self.float(times[f], values[f])),
                (_, Some(n)) if !is_stale(histograms[n].histogram.sum) => match self.yields {
                    Yield::Value => hinted.set(out, step, samples, n),
                    Yield::Time => out.set(step, histograms[n].timestamp as f64 / 1000.0),
                },
                _ => {}
            }
        }
    }
}

/// Windows of an instant selector.
pub fn lookback_windows(grid: Grid, at: Option<Timestamp>, offset_ms: i64, lookback_ms: i64) -> Windows {
    Windows { grid, at, offset_ms, before_ms: lookback_ms, after_ms: 0 }
}
