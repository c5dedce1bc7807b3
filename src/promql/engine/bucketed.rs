//! A store whose older samples are in buckets, built from the samples by the plainest means: what the evaluator is
//! tested against.

use crate::{
    model::{Histogram, HistogramSample, Labels, Matcher, Samples, TimeRange, is_stale},
    promql::histogram::{HistogramSum, detect_reset},
    store::{Fidelity, Hints, Queryable, SeriesSet, StoreError, StoreStatus, TierUse},
};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

#[derive(Debug, Clone)]
pub struct Series {
    pub labels: Labels,
    pub kind: Kind,
    pub floats: Vec<(i64, f64)>,
    pub histograms: Vec<(i64, Arc<Histogram>)>,
}

/// Samples up to and with `until_ms`, a multiple of the resolution, that no coarser tier has.
#[derive(Debug, Clone, Copy)]
pub struct Tier {
    pub resolution_ms: i64,
    pub until_ms: i64,
}

#[derive(Debug, Clone)]
pub struct Bucketed {
    pub series: Vec<Series>,
    /// Coarsest and oldest first.
    pub tiers: Vec<Tier>,
    /// Whether the samples of the tiers are there no more.
    pub gone: bool,
}

struct Found {
    store: Bucketed,
    range: TimeRange,
    hints: Hints,
    used: Mutex<Vec<TierUse>>,
}

/// The functions a kind's columns answer as samples do.
pub fn is_exact(function: Option<&str>, is_range: bool, kind: Kind) -> bool {
    let both = ["last_over_time", "count_over_time", "present_over_time", "absent_over_time", "ts_of_last_over_time"];
    let counters = ["rate", "increase", "delta", "first_over_time", "ts_of_first_over_time"];
    let gauges = ["sum_over_time", "avg_over_time", "min_over_time", "max_over_time"];
    match function {
        _ if !is_range => true,
        Some(name) if both.contains(&name) => true,
        Some(name) => if kind == Kind::Counter { &counters[..] } else { &gauges[..] }.contains(&name),
        None => false,
    }
}

impl Queryable for Bucketed {
    fn select(&self, range: TimeRange, matchers: &[Matcher], hints: &Hints) -> Result<Arc<dyn SeriesSet>, StoreError> {
        let mut store = self.clone();
        store.series.retain(|series| matchers.iter().all(|matcher| matcher.matches_labels(&series.labels)));
        store.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(Arc::new(Found { store, range, hints: hints.clone(), used: Mutex::default() }))
    }

    fn label_names(&self, _: TimeRange, _: &[Matcher]) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn label_values(&self, _: &str, _: TimeRange, _: &[Matcher]) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }

    fn status(&self, _: usize) -> Result<StoreStatus, StoreError> {
        Ok(StoreStatus::default())
    }
}

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.store.series.len()
    }

    fn labels(&self, index: usize) -> &Labels {
        &self.store.series[index].labels
    }

    fn coarsest_ms(&self) -> Option<i64> {
        let chosen = self.stretches().into_iter().filter(|(tier, range)| self.store.gone || self.fits(tier, range));
        Some(chosen.map(|(tier, _)| tier.resolution_ms).max().unwrap_or(0))
    }

    fn tiers(&self) -> Vec<TierUse> {
        self.used.lock().clone()
    }

    fn read(&self, index: usize, samples: &mut Samples) -> Result<(), StoreError> {
        samples.clear();
        let series = &self.store.series[index];
        let mut from = i64::MIN;
        for (tier, range) in self.stretches() {
            let exact = self.is_aligned(&tier) && is_exact(self.hints.function, self.hints.range_ms > 0, series.kind);
            let in_tier = |at: i64| from <= at && at <= tier.until_ms;
            let buckets = self.buckets(series, &tier, in_tier);
            let sparse = buckets.iter().all(|bucket| bucket.floats.len() + bucket.histograms.len() < 2);
            if buckets.is_empty() || sparse || !(self.store.gone || (exact && self.fits(&tier, &range))) {
                push_raw(series, |at| in_tier(at) && self.range.contains(at), samples);
            } else {
                buckets.iter().for_each(|bucket| self.present(series.kind, bucket, &tier, samples));
                let fidelity = match (self.is_aligned(&tier), exact) {
                    (true, true) => Fidelity::Exact,
                    (false, _) => Fidelity::Widened,
                    (true, false) => Fidelity::Approximate,
                };
                self.used.lock().push(TierUse { resolution_ms: tier.resolution_ms, range, fidelity });
            }
            from = from.max(tier.until_ms + 1);
        }
        push_raw(series, |at| at >= from && self.range.contains(at), samples);
        if samples.weights.iter().chain(&samples.histogram_weights).all(|weight| *weight == 1) {
            samples.weights.clear();
            samples.histogram_weights.clear();
        }
        Ok(())
    }
}

/// The samples of one bucket, markers included.
struct Bucket {
    end: i64,
    floats: Vec<(i64, f64)>,
    histograms: Vec<(i64, Arc<Histogram>)>,
}

impl Found {
    /// The tiers within the range and what of it they cover.
    fn stretches(&self) -> Vec<(Tier, TimeRange)> {
        let mut from = i64::MIN;
        let mut all = Vec::new();
        for tier in &self.store.tiers {
            let covered = TimeRange::new(self.range.start().max(from), self.range.end().min(tier.until_ms));
            all.extend(covered.map(|range| (*tier, range)));
            from = tier.until_ms + 1;
        }
        all
    }

    fn is_aligned(&self, tier: &Tier) -> bool {
        let hints = &self.hints;
        [hints.first_ms, hints.step_ms, hints.range_ms].iter().all(|ms| ms % tier.resolution_ms == 0)
    }

    /// Whether buckets may be chosen where samples are there too.
    fn fits(&self, tier: &Tier, _range: &TimeRange) -> bool {
        self.hints.allows_buckets && self.is_aligned(tier)
    }

    fn buckets(&self, series: &Series, tier: &Tier, in_tier: impl Fn(i64) -> bool) -> Vec<Bucket> {
        let end_of = |at: i64| (at - 1).div_euclid(tier.resolution_ms) * tier.resolution_ms + tier.resolution_ms;
        let (first, last) = (end_of(self.range.start()), end_of(self.range.end()));
        let mut buckets: Vec<Bucket> = Vec::new();
        for end in (first..=last).step_by(tier.resolution_ms as usize) {
            let within = |at: i64| end_of(at) == end && in_tier(at);
            let floats: Vec<_> = series.floats.iter().filter(|(at, _)| within(*at)).copied().collect();
            let histograms: Vec<_> = series.histograms.iter().filter(|(at, _)| within(*at)).cloned().collect();
            if !floats.is_empty() || !histograms.is_empty() {
                buckets.push(Bucket { end, floats, histograms });
            }
        }
        buckets
    }

    fn present(&self, kind: Kind, bucket: &Bucket, tier: &Tier, samples: &mut Samples) {
        self.present_histograms(kind, &bucket.histograms, samples);
        let live: Vec<(i64, f64)> = bucket.floats.iter().filter(|(_, value)| !is_stale(*value)).copied().collect();
        if let ([first, ..], [.., last]) = (&live[..], &live[..]) {
            self.present_floats(kind, &live, *first, *last, samples);
        }
        let ended = bucket.floats.last().filter(|(_, value)| is_stale(*value));
        if self.hints.range_ms == 0 {
            samples_push(samples, ended.copied(), 0);
            self.present_last_edges(bucket, tier, samples);
        }
    }

    /// Instant selectors that do not look at edges alone see, within a bucket, what was to be seen at its begin.
    fn present_last_edges(&self, bucket: &Bucket, tier: &Tier, samples: &mut Samples) {
        let step = self.hints.step_ms.max(1);
        let begin = bucket.end - tier.resolution_ms;
        let times = (0..10_000).map(|step_index| self.hints.first_ms + step_index * step);
        let inside: Vec<i64> =
            times.take_while(|at| *at <= self.range.end()).filter(|at| begin < *at && *at < bucket.end).collect();
        let seen = samples.timestamps.iter().rposition(|at| *at <= begin);
        let seen = seen.map(|at| (samples.timestamps[at], samples.values[at]));
        let Some((_, value)) = seen.filter(|(at, value)| *at > begin - self.hints.lookback_ms && !is_stale(*value))
        else {
            return;
        };
        for at in inside {
            let place = samples.timestamps.partition_point(|other| *other < at);
            if samples.timestamps.get(place) != Some(&at) {
                samples.timestamps.insert(place, at);
                samples.values.insert(place, value);
                samples.weights.insert(place, 0);
            }
        }
    }

    fn present_floats(
        &self,
        kind: Kind,
        live: &[(i64, f64)],
        first: (i64, f64),
        last: (i64, f64),
        samples: &mut Samples,
    ) {
        let values = || live.iter().map(|(_, value)| *value);
        let count = live.len() as u32;
        let function = self.hints.function.filter(|_| self.hints.range_ms > 0).unwrap_or_default();
        let value = match (function, kind) {
            ("sum_over_time" | "avg_over_time", Kind::Gauge) => values().sum(),
            ("min_over_time", Kind::Gauge) => values().fold(f64::INFINITY, f64::min),
            ("max_over_time", Kind::Gauge) => values().fold(f64::NEG_INFINITY, f64::max),
            ("sum_over_time" | "avg_over_time", Kind::Counter) => (first.1 + last.1) / 2.0 * f64::from(count),
            ("" | "last_over_time" | "count_over_time" | "present_over_time", _) | (_, Kind::Gauge) => last.1,
            (_, Kind::Counter) if count == 1 => last.1,
            (_, Kind::Counter) => {
                samples_push(samples, Some(first), 1);
                let resets: f64 = live.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[0].1).sum();
                if resets > 0.0 {
                    samples_push(samples, Some((first.0 + 1, resets)), 0);
                    samples_push(samples, Some((first.0 + 2, 0.0)), 0);
                }
                samples_push(samples, Some(last), count - 1);
                return;
            }
        };
        samples_push(samples, Some((last.0, value)), count);
    }

    fn present_histograms(&self, kind: Kind, histograms: &[(i64, Arc<Histogram>)], samples: &mut Samples) {
        let Some((last, _)) = histograms.split_last() else { return };
        let mut push = |(at, histogram): &(i64, Arc<Histogram>), weight: usize| {
            samples.histograms.push(HistogramSample { timestamp: *at, histogram: histogram.clone() });
            samples.histogram_weights.push(weight as u32);
        };
        let function = self.hints.function.filter(|_| self.hints.range_ms > 0).unwrap_or_default();
        if kind == Kind::Gauge && matches!(function, "sum_over_time" | "avg_over_time") {
            let mut sum = HistogramSum::new((*histograms[0].1).clone());
            for (_, histogram) in &histograms[1..] {
                sum.add(histogram).unwrap();
            }
            push(&(last.0, Arc::new(sum.finish())), histograms.len());
            return;
        }
        if kind == Kind::Gauge || !matches!(function, "rate" | "increase" | "delta") {
            push(last, histograms.len());
            return;
        }
        let falls = |at: usize| at > 0 && detect_reset(&histograms[at].1, &histograms[at - 1].1);
        let mut stands_for = 0;
        for at in 0..histograms.len() {
            stands_for += 1;
            if at == 0 || at + 1 == histograms.len() || falls(at) || falls(at + 1) {
                push(&histograms[at], stands_for);
                stands_for = 0;
            }
        }
    }
}

fn samples_push(samples: &mut Samples, point: Option<(i64, f64)>, weight: u32) {
    if let Some((at, value)) = point {
        samples.push(at, value);
        samples.weights.push(weight);
    }
}

fn push_raw(series: &Series, takes: impl Fn(i64) -> bool, samples: &mut Samples) {
    for point in series.floats.iter().filter(|(at, _)| takes(*at)) {
        samples_push(samples, Some(*point), 1);
    }
    for (at, histogram) in series.histograms.iter().filter(|(at, _)| takes(*at)) {
        samples.histograms.push(HistogramSample { timestamp: *at, histogram: histogram.clone() });
        samples.histogram_weights.push(1);
    }
}
