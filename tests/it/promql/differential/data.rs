//! Two hours of random series, in slices of ten minutes so that both servers take them in order.

use super::super::super::support::wire::{STALE_BITS, Series};
use super::random::Random;
use std::collections::BTreeMap;

/// 2023-11-14, a whole hour.
pub const BEGIN_MS: i64 = 1_699_970_400_000;
pub const SPAN_MS: i64 = 2 * 3_600_000;
const SLICE_MS: i64 = 600_000;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    /// Has gaps and ends, and stays far from zero.
    HighCounter,
    Gauge,
    /// Has gaps and staleness markers.
    PatchyGauge,
    /// Not numbers and infinite ones among others.
    Odd,
    Info,
}

const METRICS: [(&str, Kind); 7] = [
    ("requests_total", Kind::Counter),
    ("errors_total", Kind::HighCounter),
    ("temperature_celsius", Kind::Gauge),
    ("memory_bytes", Kind::PatchyGauge),
    ("queue_length", Kind::PatchyGauge),
    ("odd_value", Kind::Odd),
    ("build_info", Kind::Info),
];
pub const BOUNDS: [&str; 5] = ["0.1", "0.5", "1", "5", "+Inf"];

/// Requests in order of time.
pub fn slices(seed: u64) -> Vec<Vec<Series>> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    for job in ["api", "db", "web"] {
        for instance in 0..4 {
            let instance = format!("host{instance}:9100");
            let place = [("instance", instance.as_str()), ("job", job)];
            for (name, kind) in METRICS {
                let variants: &[Option<(&str, &str)>] = match kind {
                    Kind::Counter => &[Some(("code", "200")), Some(("code", "500"))],
                    Kind::Info => &[Some(("version", if random.chance(50) { "1.2" } else { "1.3" }))],
                    _ => &[None],
                };
                for variant in variants {
                    let mut labels = place.to_vec();
                    labels.extend(variant);
                    all.push(Series::new(name, &labels, &samples(kind, &mut random)));
                }
            }
            all.extend(histogram(&place, &mut random));
        }
    }
    let mut by_slice: BTreeMap<i64, Vec<Series>> = BTreeMap::new();
    for series in all {
        for (at, value) in &series.samples {
            let slice = by_slice.entry((at - BEGIN_MS) / SLICE_MS).or_default();
            if slice.last().is_none_or(|last| last.labels != series.labels) {
                slice.push(Series { labels: series.labels.clone(), ..Series::default() });
            }
            slice.last_mut().expect("pushed above").samples.push((*at, *value));
        }
    }
    by_slice.into_values().collect()
}

/// Times every 15 s with jitter, never at a whole second nor 7 ms after one.
fn times(random: &mut Random) -> Vec<i64> {
    let offset = random.below(14) as i64 * 1_000;
    let times = (0..SPAN_MS / 15_000).map(|n| BEGIN_MS + n * 15_000 + offset + 100 + random.below(800) as i64);
    times.collect()
}

fn samples(kind: Kind, random: &mut Random) -> Vec<(i64, f64)> {
    let mut value = match kind {
        Kind::HighCounter => 1e6 + random.below(1_000_000) as f64,
        Kind::Gauge | Kind::PatchyGauge | Kind::Odd => random.below(4_000) as f64 / 4.0 - 300.0,
        Kind::Counter => 1e5 + random.below(1_000) as f64,
        Kind::Info => 1.0,
    };
    let patchy = matches!(kind, Kind::HighCounter | Kind::PatchyGauge | Kind::Odd);
    let (mut gap, mut samples) = (0, Vec::new());
    for at in times(random) {
        if gap > 0 {
            gap -= 1;
            continue;
        }
        if patchy && random.chance(2) {
            gap = 1 + random.below(40);
            if random.chance(50) {
                samples.push((at, f64::from_bits(STALE_BITS)));
            }
            continue;
        }
        if !samples.is_empty() {
            value = next(kind, value, random);
        }
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0];
        let shown = if kind == Kind::Odd && random.chance(6) { *random.of(&odd) } else { value };
        samples.push((at, shown));
    }
    samples
}

fn next(kind: Kind, value: f64, random: &mut Random) -> f64 {
    match kind {
        Kind::Counter if random.chance(1) => random.below(10) as f64,
        Kind::HighCounter if random.chance(1) => 3e5 + random.below(1_000) as f64,
        Kind::Counter | Kind::HighCounter => value + random.below(200) as f64 / 4.0,
        Kind::Gauge | Kind::PatchyGauge | Kind::Odd if random.chance(70) => {
            value + (random.below(81) as f64 - 40.0) / 4.0
        }
        Kind::Gauge | Kind::PatchyGauge | Kind::Odd | Kind::Info => value,
    }
}

/// A classic histogram; all its buckets are sampled together and begin anew together.
fn histogram(place: &[(&str, &str)], random: &mut Random) -> Vec<Series> {
    let mut buckets = vec![Vec::new(); BOUNDS.len()];
    let (mut counts, mut sums) = ([1e5, 2e5, 3e5, 4e5, 5e5], Vec::new());
    let mut sum = 1e5;
    for at in times(random) {
        if !sums.is_empty() && random.chance(1) {
            (counts, sum) = ([0.0; BOUNDS.len()], 0.0);
        }
        let mut more = 0.0;
        for (count, bucket) in counts.iter_mut().zip(&mut buckets) {
            more += random.below(12) as f64;
            *count += more;
            bucket.push((at, *count));
        }
        sum += more * 0.75;
        sums.push((at, sum));
    }
    let counts = buckets.last().cloned().unwrap_or_default();
    let mut series =
        vec![Series::new("latency_seconds_sum", place, &sums), Series::new("latency_seconds_count", place, &counts)];
    for (bound, samples) in BOUNDS.iter().zip(&buckets) {
        let mut labels = place.to_vec();
        labels.push(("le", bound));
        series.push(Series::new("latency_seconds_bucket", &labels, samples));
    }
    series
}
