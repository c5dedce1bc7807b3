//! Puts samples read from several places in order of time.

use crate::model::Samples;

/// Sorts by time and keeps one sample a time: the last in reading order if `last_wins`, else the first. Histograms
/// are ordered in the same way. Free where the order is right already.
pub fn sort_samples(samples: &mut Samples, last_wins: bool) {
    if !samples.timestamps.is_sorted_by(|a, b| a < b) {
        let mut pairs: Vec<(i64, f64)> =
            samples.timestamps.iter().copied().zip(samples.values.iter().copied()).collect();
        // Stable, so that reading order decides between equals.
        pairs.sort_by_key(|(at, _)| *at);
        keep_one(&mut pairs, last_wins, |pair| pair.0);
        samples.timestamps.clear();
        samples.values.clear();
        samples.timestamps.extend(pairs.iter().map(|(at, _)| *at));
        samples.values.extend(pairs.iter().map(|(_, value)| *value));
    }
    if !samples.histograms.is_sorted_by(|a, b| a.timestamp < b.timestamp) {
        samples.histograms.sort_by_key(|sample| sample.timestamp);
        keep_one(&mut samples.histograms, last_wins, |sample| sample.timestamp);
    }
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
