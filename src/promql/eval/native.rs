//! Range functions on windows that hold native histograms, or samples beyond the window.

use crate::{
    model::{Histogram, HistogramSample, ResetHint},
    promql::{
        ast::Extension,
        functions::{
            over_time,
            rate::{self, Ends, RateKind},
            window::{Outcome, Remarks, Window, count_from_first},
        },
        histogram::{self, HistogramSum, MixedSchemas, detect_reset, uses_custom_buckets},
    },
};
use std::sync::Arc;

/// `rate`, `increase` and `delta` for windows with histograms or a modifier.
pub fn rate(kind: RateKind, window: &Window<'_>, remarks: &mut Remarks) -> Outcome {
    if rate::refuse_mixed(window, remarks) {
        return Outcome::Nothing;
    }
    match (window.extension == Extension::None, window.histograms.is_empty()) {
        (false, true) => rate::extended_rate(window, kind),
        (false, false) => super::native_edges::extended_rate(window, kind, remarks),
        (true, true) => float_rate(kind, window),
        (true, false) => histogram_rate(kind, window, remarks),
    }
}

fn float_rate(kind: RateKind, window: &Window<'_>) -> Outcome {
    let [first, .., last] = *window.values else { return Outcome::Nothing };
    let mut resets = rate::Resets::default();
    if kind.counter {
        resets.find(window.values);
    }
    let increase = resets.correct(last - first, 0, window.values.len());
    let (first_at, last_at) = (window.times[0], window.times[window.times.len() - 1]);
    let samples = count_from_first(window.times.len(), window.weights);
    if samples < 2 {
        return Outcome::Nothing;
    }
    let ends = Ends { first_at, last_at, samples };
    Outcome::Float(rate::extrapolated(increase, first, ends, window.start, window.end, kind))
}

fn histogram_rate(kind: RateKind, window: &Window<'_>, remarks: &mut Remarks) -> Outcome {
    let [first, .., last] = window.histograms else { return Outcome::Nothing };
    let samples = count_from_first(window.histograms.len(), window.histogram_weights);
    if samples < 2 {
        return Outcome::Nothing;
    }
    let Some(mut increase) = growth(kind.counter, window.histograms, remarks) else { return Outcome::Nothing };
    let ends = Ends { first_at: first.timestamp, last_at: last.timestamp, samples };
    let zero = Some((first.histogram.count, increase.count));
    histogram::mul(&mut increase, rate::extrapolation(ends, window.start, window.end, kind, zero));
    Outcome::Histogram(Arc::new(increase))
}

/// The difference between the last and the first of two histograms at least, resets taken back for a counter.
fn growth(counter: bool, samples: &[HistogramSample], remarks: &mut Remarks) -> Option<Histogram> {
    note_kinds(counter, samples, remarks);
    let (first, last) = (&*samples[0].histogram, &*samples[samples.len() - 1].histogram);
    let second = &*samples[1].histogram;
    // What was before a reset does not count, so neither does how it was laid out.
    let nothing = Histogram { schema: second.schema, custom_values: second.custom_values.clone(), ..empty() };
    let start = if counter && detect_reset(second, first) { &nothing } else { first };
    let custom = uses_custom_buckets(start);
    let inner = &samples[1..samples.len() - 1];
    if uses_custom_buckets(last) != custom
        || (counter && inner.iter().any(|s| uses_custom_buckets(&s.histogram) != custom))
    {
        remarks.mixed_exponential_custom = true;
        return None;
    }
    let mut result = last.clone();
    let outcome = subtract_and_correct(&mut result, start, counter, samples, remarks);
    if outcome.is_err() {
        remarks.mixed_exponential_custom = true;
        return None;
    }
    result.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut result);
    Some(result)
}

fn subtract_and_correct(
    result: &mut Histogram,
    start: &Histogram,
    counter: bool,
    samples: &[HistogramSample],
    remarks: &mut Remarks,
) -> Result<(), MixedSchemas> {
    if histogram::sub(result, start)?.bounds_reconciled {
        remarks.reconciled_during("subtraction");
    }
    if !counter {
        return Ok(());
    }
    // The coarsest of all resolutions is that of the result.
    let coarsest = samples.iter().map(|s| s.histogram.schema).min().unwrap_or(result.schema);
    if !uses_custom_buckets(result) && coarsest < result.schema {
        histogram::add(result, &Histogram { schema: coarsest, ..empty() })?;
    }
    let mut previous = start;
    for sample in &samples[1..] {
        if detect_reset(&sample.histogram, previous) && histogram::add(result, previous)?.bounds_reconciled {
            remarks.reconciled_during("addition");
        }
        previous = &sample.histogram;
    }
    Ok(())
}

fn empty() -> Histogram {
    Histogram::default()
}

/// Notes histograms that are not what the function is for.
pub fn note_kinds(counter: bool, samples: &[HistogramSample], remarks: &mut Remarks) {
    let is_gauge = |sample: &HistogramSample| sample.histogram.reset_hint == ResetHint::Gauge;
    if counter {
        remarks.not_counter |= samples.iter().any(is_gauge);
    } else {
        remarks.not_gauge |= !samples.first().is_none_or(is_gauge) || !samples.last().is_none_or(is_gauge);
    }
}

/// `irate` and `idelta`: the two newest samples.
pub fn instant_rate(window: &Window<'_>, counter: bool, remarks: &mut Remarks) -> Outcome {
    if window.histograms.is_empty() {
        return rate::instant_rate(window, counter);
    }
    let newest = |floats: usize, natives: usize| -> Option<(bool, usize)> {
        let float = window.times[..floats].last();
        let native = window.histograms[..natives].last().map(|s| s.timestamp);
        match (float, native) {
            (Some(f), Some(n)) => Some(if *f > n { (true, floats - 1) } else { (false, natives - 1) }),
            (Some(_), None) => Some((true, floats - 1)),
            (None, Some(_)) => Some((false, natives - 1)),
            (None, None) => None,
        }
    };
    let (floats, natives) = (window.values.len(), window.histograms.len());
    let Some((last_is_float, last)) = newest(floats, natives) else { return Outcome::Nothing };
    let before = if last_is_float { newest(last, natives) } else { newest(floats, last) };
    let Some((before_is_float, before)) = before else { return Outcome::Nothing };
    match (before_is_float, last_is_float) {
        (true, true) => rate::instant_rate(window, counter),
        (false, false) => instant_histograms(&window.histograms[before], &window.histograms[last], counter, remarks),
        _ => {
            remarks.mixed_floats_histograms = true;
            Outcome::Nothing
        }
    }
}

fn instant_histograms(
    before: &HistogramSample,
    last: &HistogramSample,
    counter: bool,
    remarks: &mut Remarks,
) -> Outcome {
    let interval_ms = last.timestamp - before.timestamp;
    if interval_ms == 0 {
        return Outcome::Nothing;
    }
    note_kinds(counter, &[before.clone(), last.clone()], remarks);
    let mut result = (*last.histogram).clone();
    if !counter || !detect_reset(&last.histogram, &before.histogram) {
        match histogram::sub(&mut result, &before.histogram) {
            Err(MixedSchemas) => {
                remarks.mixed_exponential_custom = true;
                return Outcome::Nothing;
            }
            Ok(combined) if combined.bounds_reconciled => remarks.reconciled_during("subtraction"),
            Ok(_) => {}
        }
    }
    result.reset_hint = ResetHint::Gauge;
    histogram::compact(&mut result);
    if counter {
        histogram::div(&mut result, over_time::seconds(interval_ms));
    }
    Outcome::Histogram(Arc::new(result))
}

pub fn sum_over_time(window: &Window<'_>, remarks: &mut Remarks) -> Outcome {
    match sum(window.histograms, remarks) {
        Some(sum) => Outcome::Histogram(Arc::new(sum.finish())),
        None => Outcome::Nothing,
    }
}

pub fn average_over_time(window: &Window<'_>, remarks: &mut Remarks) -> Outcome {
    let Some(sum) = sum(window.histograms, remarks) else { return Outcome::Nothing };
    let count = window.histogram_count() as f64;
    let mut mean = sum.finish();
    histogram::div(&mut mean, count);
    if is_finite(&mean) || window.histograms.iter().any(|s| !is_finite(&s.histogram)) {
        return Outcome::Histogram(Arc::new(mean));
    }
    // The sum went beyond a float's range: add shares instead.
    let share = |sample: &HistogramSample| {
        let mut share = (*sample.histogram).clone();
        histogram::div(&mut share, count);
        HistogramSample { timestamp: sample.timestamp, histogram: Arc::new(share) }
    };
    let shares: Vec<HistogramSample> = window.histograms.iter().map(share).collect();
    sum_over_time(&Window { histograms: &shares, ..*window }, remarks)
}

/// Whether every number of a histogram is one.
pub fn is_finite(histogram: &Histogram) -> bool {
    let counts = histogram.positive_buckets.iter().chain(&histogram.negative_buckets);
    counts.chain([&histogram.count, &histogram.sum, &histogram.zero_count]).all(|value| value.is_finite())
}

fn sum(samples: &[HistogramSample], remarks: &mut Remarks) -> Option<HistogramSum> {
    let (first, rest) = samples.split_first()?;
    let mut sum = HistogramSum::new((*first.histogram).clone());
    for sample in rest {
        match sum.add(&sample.histogram) {
            Err(MixedSchemas) => {
                remarks.mixed_exponential_custom = true;
                return None;
            }
            Ok(combined) if combined.bounds_reconciled => remarks.reconciled_during("aggregation"),
            Ok(_) => {}
        }
    }
    let has = |hint: ResetHint| samples.iter().any(|s| s.histogram.reset_hint == hint);
    remarks.conflicting_resets |= has(ResetHint::Reset) && has(ResetHint::NotReset);
    Some(sum)
}

/// A sample as `changes` and `resets` compare it.
#[derive(Clone, Copy)]
pub enum Seen<'a> {
    Float(f64),
    Histogram(&'a Histogram),
}

/// How often `differs` holds between neighbours. A sample at or before the start of an anchored window only serves
/// to compare with.
pub fn count_pairs(window: &Window<'_>, differs: fn(Seen<'_>, Seen<'_>) -> bool) -> Outcome {
    let (mut float, mut native, mut count, mut inside) = (0, 0, 0u32, false);
    let mut previous: Option<Seen<'_>> = None;
    while float < window.values.len() || native < window.histograms.len() {
        let take_float = native >= window.histograms.len()
            || (float < window.values.len() && window.times[float] < window.histograms[native].timestamp);
        let (at, current) = if take_float {
            float += 1;
            (window.times[float - 1], Seen::Float(window.values[float - 1]))
        } else {
            native += 1;
            let sample = &window.histograms[native - 1];
            (sample.timestamp, Seen::Histogram(&sample.histogram))
        };
        if at > window.start {
            inside = true;
            count += u32::from(previous.is_some_and(|previous| differs(previous, current)));
        }
        previous = Some(current);
    }
    if inside { Outcome::Float(f64::from(count)) } else { Outcome::Nothing }
}

pub fn changed(previous: Seen<'_>, current: Seen<'_>) -> bool {
    match (previous, current) {
        (Seen::Float(a), Seen::Float(b)) => a != b && !(a.is_nan() && b.is_nan()),
        (Seen::Histogram(a), Seen::Histogram(b)) => !histogram::equal(a, b),
        _ => true,
    }
}

pub fn fell(previous: Seen<'_>, current: Seen<'_>) -> bool {
    match (previous, current) {
        (Seen::Float(a), Seen::Float(b)) => b < a,
        (Seen::Histogram(a), Seen::Histogram(b)) => detect_reset(b, a),
        _ => true,
    }
}
