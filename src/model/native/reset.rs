//! Whether a counter began anew between two histograms.

use super::buckets::uses_custom_buckets;
use super::layout::{Layout, common_layout, paired, project, widened_threshold};
use crate::model::{Histogram, ResetHint, is_stale};

/// Whether `current` cannot be `previous` with observations added: a count fell, a populated bucket vanished, or the
/// resolution rose. The sum may fall. A hint that knows is believed.
pub fn detect_reset(current: &Histogram, previous: &Histogram) -> bool {
    match current.reset_hint {
        ResetHint::Reset => return true,
        ResetHint::NotReset => return false,
        // Gauges are compared as counters: whoever asks was warned.
        ResetHint::Unknown | ResetHint::Gauge => {}
    }
    if current.count < previous.count {
        return true;
    }
    let layout = match (uses_custom_buckets(current), uses_custom_buckets(previous)) {
        (true, true) => match common_layout(current, previous) {
            Ok(layout) => layout,
            Err(_) => return true,
        },
        (false, false) => {
            let threshold = current.zero_threshold;
            if current.schema > previous.schema || threshold < previous.zero_threshold {
                return true;
            }
            // Only a reset can move the edge of the zero bucket into a bucket that holds something.
            if threshold > previous.zero_threshold && widened_threshold(previous, threshold) != threshold {
                return true;
            }
            Layout { schema: current.schema, zero_threshold: threshold, custom_values: None }
        }
        _ => return true,
    };
    let (now, before) = (project(current, &layout), project(previous, &layout));
    now.zero_count < before.zero_count
        || paired(&now.positive, &before.positive).any(|(_, now, before)| now < before)
        || paired(&now.negative, &before.negative).any(|(_, now, before)| now < before)
}

/// The hint a store that keeps counters in chunks would give on reading `current`, `previous` being the sample right
/// before it: a chunk goes on while the layout stays and nothing falls, and the one after a reset says so. Whoever adds
/// histograms is warned by these hints, so they must not depend on how samples happen to be stored here.
pub fn chunked_hint(current: &Histogram, previous: Option<&Histogram>) -> ResetHint {
    if matches!(current.reset_hint, ResetHint::Gauge | ResetHint::Reset) {
        return current.reset_hint;
    }
    let Some(previous) = previous.filter(|before| !is_stale(before.sum) && before.reset_hint != ResetHint::Gauge)
    else {
        return ResetHint::Unknown;
    };
    if is_stale(current.sum) {
        return ResetHint::Unknown;
    }
    if current.count < previous.count {
        return ResetHint::Reset;
    }
    let same_layout = current.schema == previous.schema
        && current.zero_threshold == previous.zero_threshold
        && current.custom_values == previous.custom_values;
    if !same_layout {
        return ResetHint::Unknown;
    }
    let fell = if current.reset_hint == ResetHint::NotReset {
        detect_reset(&Histogram { reset_hint: ResetHint::Unknown, ..current.clone() }, previous)
    } else {
        detect_reset(current, previous)
    };
    if fell { ResetHint::Reset } else { ResetHint::NotReset }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CUSTOM_BUCKETS_SCHEMA, Span};

    fn counter(schema: i32, threshold: f64, zero: f64, counts: &[f64]) -> Histogram {
        Histogram {
            schema,
            zero_threshold: threshold,
            zero_count: zero,
            count: zero + counts.iter().sum::<f64>(),
            positive_spans: vec![Span { offset: 0, length: counts.len() as u32 }],
            positive_buckets: counts.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn every_sign_of_a_reset_is_seen() {
        let before = counter(1, 0.001, 1.0, &[1.0, 2.0, 3.0]);
        for (name, now, reset) in [
            ("the same", before.clone(), false),
            ("more", counter(1, 0.001, 2.0, &[1.0, 2.0, 4.0, 5.0]), false),
            ("a bucket fell", counter(1, 0.001, 9.0, &[1.0, 1.0, 3.0]), true),
            ("a bucket vanished", counter(1, 0.001, 9.0, &[1.0, 2.0]), true),
            ("the zero bucket fell", counter(1, 0.001, 0.0, &[1.0, 2.0, 9.0]), true),
            ("the count fell", counter(1, 0.001, 1.0, &[1.0, 2.0, 2.0]), true),
            ("coarser", counter(0, 0.001, 1.0, &[1.0, 5.0]), false),
            ("coarser and less", counter(0, 0.001, 3.0, &[1.0, 4.0]), true),
            ("finer", counter(2, 0.001, 9.0, &[9.0; 9]), true),
            ("a narrower zero bucket", counter(1, 0.0001, 9.0, &[1.0, 2.0, 3.0]), true),
            ("a zero bucket up to a boundary", counter(1, 1.0, 2.0, &[0.0, 2.0, 3.0]), false),
            ("a zero bucket into a bucket", counter(1, 0.9, 9.0, &[1.0, 2.0, 3.0]), true),
            ("told so", Histogram { reset_hint: ResetHint::Reset, ..before.clone() }, true),
            ("told not", Histogram { reset_hint: ResetHint::NotReset, ..counter(1, 0.0, 0.0, &[]) }, false),
        ] {
            assert_eq!(detect_reset(&now, &before), reset, "{name}");
        }
    }

    #[test]
    fn custom_bounds_are_compared_over_those_in_both() {
        let custom = |bounds: &[f64], counts: &[f64]| Histogram {
            custom_values: bounds.to_vec(),
            ..counter(CUSTOM_BUCKETS_SCHEMA, 0.0, 0.0, counts)
        };
        let before = custom(&[2.0, 4.0, 6.0], &[1.0, 2.0, 5.0, 7.0]);
        assert!(!detect_reset(&custom(&[2.0, 3.0, 4.0, 6.0], &[1.0, 0.0, 2.0, 5.0, 8.0]), &before));
        assert!(detect_reset(&custom(&[2.0, 3.0, 4.0, 6.0], &[1.0, 0.0, 1.0, 5.0, 9.0]), &before));
        assert!(detect_reset(&counter(0, 0.0, 0.0, &[99.0]), &before));
    }

    #[test]
    fn hints_are_those_of_a_store_of_chunks() {
        let first = counter(1, 0.0, 0.0, &[1.0, 2.0]);
        let hint = |current: &Histogram, previous: &Histogram| chunked_hint(current, Some(previous));
        let stale = Histogram { sum: crate::model::STALE_NAN, ..Histogram::default() };
        let gauge = Histogram { reset_hint: ResetHint::Gauge, ..first.clone() };
        assert_eq!(chunked_hint(&first, None), ResetHint::Unknown);
        assert_eq!(hint(&first, &first), ResetHint::NotReset);
        assert_eq!(hint(&counter(1, 0.0, 0.0, &[1.0, 1.0]), &first), ResetHint::Reset);
        assert_eq!(hint(&counter(1, 0.0, 0.0, &[0.0, 9.0]), &first), ResetHint::Reset);
        assert_eq!(hint(&counter(0, 0.0, 0.0, &[9.0, 9.0]), &first), ResetHint::Unknown);
        assert_eq!(hint(&first, &stale), ResetHint::Unknown);
        assert_eq!(hint(&first, &gauge), ResetHint::Unknown);
        assert_eq!(hint(&gauge, &first), ResetHint::Gauge);
        let told = Histogram { reset_hint: ResetHint::NotReset, ..counter(1, 0.0, 0.0, &[0.0, 9.0]) };
        assert_eq!(hint(&told, &first), ResetHint::Reset);
    }
}
