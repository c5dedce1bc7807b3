//! Puts samples read from several places in order of time.

use crate::model::{HistogramSample, Samples};

/// Sorts by time and keeps one sample a time: the last in reading order if `last_wins`, else the first. Histograms
/// are ordered in the same way, weights go with their samples. Free where the order is right already.
pub fn sort_samples(samples: &mut Samples, last_wins: bool) {
    if !samples.timestamps.is_sorted_by(|a, b| a < b) {
        let weights = samples.weights.iter().copied().chain(std::iter::repeat(1));
        let points = samples.timestamps.iter().copied().zip(samples.values.iter().copied()).zip(weights);
        let mut points: Vec<((i64, f64), u32)> = points.collect();
        // Stable, so that reading order decides between equals.
        points.sort_by_key(|((at, _), _)| *at);
        keep_one(&mut points, last_wins, |((at, _), _)| *at);
        samples.timestamps.clear();
        samples.values.clear();
        samples.timestamps.extend(points.iter().map(|((at, _), _)| *at));
        samples.values.extend(points.iter().map(|((_, value), _)| *value));
        if !samples.weights.is_empty() {
            samples.weights.clear();
            samples.weights.extend(points.iter().map(|(_, weight)| *weight));
        }
    }
    if !samples.histograms.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
        let weights = samples.histogram_weights.iter().copied().chain(std::iter::repeat(1));
        let mut points: Vec<(HistogramSample, u32)> = samples.histograms.drain(..).zip(weights).collect();
        points.sort_by_key(|(sample, _)| sample.timestamp);
        keep_one(&mut points, last_wins, |(sample, _)| sample.timestamp);
        let weighted = !samples.histogram_weights.is_empty();
        samples.histogram_weights.clear();
        for (sample, weight) in points {
            samples.histograms.push(sample);
            if weighted {
                samples.histogram_weights.push(weight);
            }
        }
    }
    samples.complete_weights();
}

fn keep_one<T>(items: &mut Vec<T>, last_wins: bool, time: impl Fn(&T) -> i64) {
    items.dedup_by(|next, kept| {
        let same = time(next) == time(kept);
        if same && last_wins {
            std::mem::swap(next, kept);
        }
        same
    });
}
