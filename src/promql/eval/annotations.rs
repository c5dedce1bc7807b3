//! Warnings and infos: what a user should know about an answer, in Prometheus' words and with a position.

use crate::{model::number::format_general, promql::ast::Span};
use parking_lot::Mutex;
use std::collections::BTreeSet;

/// What is noted. The words are those clients and tests of Prometheus know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Note {
    InvalidRatio {
        got: String,
        capped_to: &'static str,
    },
    InvalidQuantile {
        got: String,
    },
    BadBucketLabel {
        metric: String,
        value: String,
    },
    MixedFloatsHistograms {
        metric: String,
    },
    MixedFloatsHistogramsAggregation,
    MixedClassicNative {
        metric: String,
    },
    NotCounter {
        metric: String,
    },
    NotGauge {
        metric: String,
    },
    MixedExponentialCustom {
        metric: String,
    },
    IncompatibleBuckets {
        operator: &'static str,
    },
    CounterResetCollision {
        operation: &'static str,
    },
    SortIneffective,
    PossibleNonCounter {
        metric: String,
    },
    ForcedMonotonicity {
        metric: String,
    },
    IncompatibleTypes {
        left: &'static str,
        operator: &'static str,
        right: &'static str,
    },
    HistogramIgnoredInAggregation {
        operator: &'static str,
    },
    HistogramIgnoredInMixedRange {
        metric: String,
    },
    QuantileNanResult {
        metric: String,
    },
    QuantileNanSkew {
        metric: String,
    },
    FractionNan {
        metric: String,
    },
    ReconciledBuckets {
        operation: &'static str,
    },
    /// `kept` says from when to when samples are kept in buckets of what size.
    BucketsWidened {
        windows: bool,
        ranged: bool,
        kept: String,
        resolution: String,
    },
    BucketsApproximate {
        function: Option<&'static str>,
        kept: String,
    },
}

impl Note {
    pub fn invalid_quantile(got: f64) -> Note {
        Note::InvalidQuantile { got: format_general(got) }
    }

    pub fn invalid_ratio(got: f64, capped_to: &'static str) -> Note {
        Note::InvalidRatio { got: format_general(got), capped_to }
    }

    fn is_warning(&self) -> bool {
        use Note::*;
        !matches!(
            self,
            PossibleNonCounter { .. }
                | ForcedMonotonicity { .. }
                | IncompatibleTypes { .. }
                | HistogramIgnoredInAggregation { .. }
                | HistogramIgnoredInMixedRange { .. }
                | QuantileNanResult { .. }
                | QuantileNanSkew { .. }
                | FractionNan { .. }
                | ReconciledBuckets { .. }
                | BucketsWidened { .. }
                | BucketsApproximate { .. }
        )
    }

    fn text(&self) -> String {
        use Note::*;
        let named = |text: &str, metric: &str| match metric {
            "" => text.to_owned(),
            _ => format!("{text} for metric name {metric:?}"),
        };
        match self {
            InvalidRatio { got, capped_to } => {
                format!("ratio value should be between -1 and 1, got {got}, capping to {capped_to}")
            }
            InvalidQuantile { got } => format!("quantile value should be between 0 and 1, got {got}"),
            BadBucketLabel { metric, value } => {
                named(&format!("bucket label \"le\" is missing or has a malformed value of {value:?}"), metric)
            }
            MixedFloatsHistograms { metric } => {
                format!("encountered a mix of histograms and floats for metric name {metric:?}")
            }
            MixedFloatsHistogramsAggregation => "encountered a mix of histograms and floats for aggregation".to_owned(),
            MixedClassicNative { metric } => named("vector contains a mix of classic and native histograms", metric),
            NotCounter { metric } => format!("this native histogram metric is not a counter: {metric:?}"),
            NotGauge { metric } => format!("this native histogram metric is not a gauge: {metric:?}"),
            MixedExponentialCustom { metric } => format!(
                "vector contains a mix of histograms with exponential and custom buckets schemas for metric name {metric:?}"
            ),
            IncompatibleBuckets { operator } => {
                format!("incompatible bucket layout encountered for binary operator {operator}")
            }
            CounterResetCollision { operation } => {
                format!("conflicting counter resets during histogram {operation}")
            }
            SortIneffective => {
                "sort is ineffective for range queries since results are always ordered by labels".to_owned()
            }
            PossibleNonCounter { metric } => {
                format!("metric might not be a counter, name does not end in _total/_sum/_count/_bucket: {metric:?}")
            }
            ForcedMonotonicity { metric } => named(
                "input to histogram_quantile needed to be fixed for monotonicity (see \
                 https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)",
                metric,
            ),
            IncompatibleTypes { left, operator, right } => format!(
                "incompatible sample types encountered for binary operator {operator:?}: {left} {operator} {right}"
            ),
            HistogramIgnoredInAggregation { operator } => format!("ignored histogram in {operator} aggregation"),
            HistogramIgnoredInMixedRange { metric } => format!(
                "ignored histograms in a range containing both floats and histograms for metric name {metric:?}"
            ),
            QuantileNanResult { metric } => {
                named("input to histogram_quantile has NaN observations, result is NaN", metric)
            }
            QuantileNanSkew { metric } => {
                named("input to histogram_quantile has NaN observations, result is skewed higher", metric)
            }
            FractionNan { metric } => {
                named("input to histogram_fraction has NaN observations, which are excluded from all fractions", metric)
            }
            ReconciledBuckets { operation } => format!("mismatched custom buckets were reconciled during {operation}"),
            BucketsWidened { windows, ranged, kept, resolution } => widened(*windows, *ranged, kept, resolution),
            BucketsApproximate { function, kept } => format!(
                "{} approximate, because samples are kept {kept}, which do not hold all it asks for; what came after \
                 is answered exactly",
                function.map_or_else(|| "values are".to_owned(), |function| format!("{function} is"))
            ),
        }
    }
}

fn widened(windows: bool, ranged: bool, kept: &str, resolution: &str) -> String {
    let (what, range) = match windows {
        true => ("windows were widened to whole buckets", "a range and "),
        false => ("values are those at the last edge of a bucket", ""),
    };
    let times = if ranged { "a start and a step that are multiples" } else { "a time that is a multiple" };
    format!("{what}, because samples are kept {kept}; {range}{times} of {resolution} give the exact answer")
}

/// The notes of one query, each once per text.
#[derive(Debug, Default)]
pub struct Annotations {
    notes: Mutex<BTreeSet<(Note, usize)>>,
    repeats: Mutex<Vec<(Span, usize)>>,
}

impl Annotations {
    pub fn add(&self, note: Note, span: Span) {
        self.notes.lock().insert((note, span.start));
    }

    /// What is noted within `first` holds for an equal expression at `start` as well.
    pub fn repeat(&self, first: Span, start: usize) {
        self.repeats.lock().push((first, start));
    }

    /// All notes with their places, those of repeated expressions at each of them.
    fn everywhere(&self) -> BTreeSet<(Note, usize)> {
        let mut notes = self.notes.lock().clone();
        // An expression is repeated after its parts have been, so that one pass in order is enough.
        for (first, start) in self.repeats.lock().iter() {
            let within = notes.iter().filter(|(_, at)| (first.start..first.end).contains(at));
            let moved: Vec<(Note, usize)> = within.map(|(note, at)| (note.clone(), at - first.start + start)).collect();
            notes.extend(moved);
        }
        notes
    }

    /// Warnings and infos as shown, sorted.
    pub fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (BTreeSet::new(), BTreeSet::new());
        for (note, start) in self.everywhere() {
            let (line, column) = position(query, start);
            if note.is_warning() {
                warnings.insert(format!("PromQL warning: {} ({line}:{column})", note.text()));
            } else {
                infos.insert(format!("PromQL info: {} ({line}:{column})", note.text()));
            }
        }
        (warnings.into_iter().collect(), infos.into_iter().collect())
    }
}

/// Line and column, from 1, of a byte offset.
pub fn position(query: &str, offset: usize) -> (usize, usize) {
    let before = query.as_bytes().get(..offset).unwrap_or(query.as_bytes());
    let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    (before.iter().filter(|b| **b == b'\n').count() + 1, before.len() - line_start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_carry_prefix_and_position_and_come_once() {
        let notes = Annotations::default();
        let span = Span { start: 9, end: 12 };
        notes.add(Note::invalid_quantile(1.5), span);
        notes.add(Note::invalid_quantile(1.5), span);
        notes.add(Note::PossibleNonCounter { metric: "up".into() }, span);
        let (warnings, infos) = notes.texts("quantile\n(1.5, up)");
        assert_eq!(warnings, ["PromQL warning: quantile value should be between 0 and 1, got 1.5 (2:1)"]);
        assert_eq!(infos.len(), 1);
        assert!(infos[0].starts_with("PromQL info: metric might not be a counter"));
    }
}
