//! What a query answers, as `data`.

use super::{
    histogram::push_histogram,
    text::{push_labels, push_sample, push_text, push_time},
};
use crate::{
    model::{Samples, Timestamp, number, time::format_duration_ms},
    promql::value::{MatrixSeries, SampleValue, Stats, Value, VectorSample},
    store::TierUse,
};

/// About what one sample and one series take as text: a first guess that spares most of the copying.
const SAMPLE_BYTES: usize = 28;
const SERIES_BYTES: usize = 160;

/// About how long the text will be.
pub fn size_hint(value: &Value) -> usize {
    match value {
        Value::Scalar { .. } => 64,
        Value::Text { text, .. } => 64 + text.len(),
        Value::Vector(samples) => samples.len() * (SERIES_BYTES + SAMPLE_BYTES),
        Value::Matrix(series) => series.iter().map(|one| SERIES_BYTES + one.samples.len() * SAMPLE_BYTES).sum(),
    }
}

/// Writes `{"resultType":...,"result":...}`, with statistics where given.
pub fn push_data(out: &mut String, value: &Value, stats: Option<&Stats>) {
    out.push_str("{\"resultType\":");
    match value {
        Value::Scalar { at, value } => {
            out.push_str("\"scalar\",\"result\":[");
            push_seconds(out, *at);
            out.push_str(",\"");
            number::push_plain(out, *value);
            out.push_str("\"]");
        }
        Value::Text { at, text } => {
            out.push_str("\"string\",\"result\":[");
            push_seconds(out, *at);
            out.push(',');
            push_text(out, text);
            out.push(']');
        }
        Value::Vector(samples) => {
            out.push_str("\"vector\",\"result\":");
            push_list(out, samples, push_vector_sample);
        }
        Value::Matrix(series) => {
            out.push_str("\"matrix\",\"result\":");
            push_list(out, series, push_series);
        }
    }
    if let Some(stats) = stats {
        push_stats(out, stats);
    }
    out.push('}');
}

fn push_list<T>(out: &mut String, elements: &[T], push: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, element);
    }
    out.push(']');
}

/// Scalars and texts carry their time as a common float.
fn push_seconds(out: &mut String, at: Timestamp) {
    number::push_json(out, at as f64 / 1000.0);
}

fn push_vector_sample(out: &mut String, sample: &VectorSample) {
    out.push_str("{\"metric\":");
    push_labels(out, &sample.labels);
    match &sample.value {
        SampleValue::Float(value) => {
            out.push_str(",\"value\":");
            push_sample(out, sample.at, *value);
        }
        SampleValue::Histogram(histogram) => {
            out.push_str(",\"histogram\":[");
            push_time(out, sample.at);
            out.push(',');
            push_histogram(out, histogram);
            out.push(']');
        }
    }
    out.push('}');
}

fn push_series(out: &mut String, series: &MatrixSeries) {
    out.push_str("{\"metric\":");
    push_labels(out, &series.labels);
    let Samples { timestamps, values, histograms, .. } = &series.samples;
    if !timestamps.is_empty() {
        out.push_str(",\"values\":[");
        for (index, (at, value)) in timestamps.iter().zip(values).enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_sample(out, *at, *value);
        }
        out.push(']');
    }
    if !histograms.is_empty() {
        out.push_str(",\"histograms\":");
        push_list(out, histograms, |out, sample| {
            out.push('[');
            push_time(out, sample.timestamp);
            out.push(',');
            push_histogram(out, &sample.histogram);
            out.push(']');
        });
    }
    out.push('}');
}

fn push_stats(out: &mut String, stats: &Stats) {
    let timings = &stats.timings;
    out.push_str(",\"stats\":{\"timings\":{");
    for (index, (name, took)) in [
        ("evalTotalTime", timings.preparation + timings.evaluation + timings.sorting),
        ("resultSortTime", timings.sorting),
        ("queryPreparationTime", timings.preparation),
        ("innerEvalTime", timings.evaluation),
        ("execQueueTime", timings.queue),
        ("execTotalTime", timings.total),
    ]
    .into_iter()
    .enumerate()
    {
        out.push_str(if index > 0 { ",\"" } else { "\"" });
        out.push_str(name);
        out.push_str("\":");
        number::push_json(out, took.as_secs_f64());
    }
    out.push_str("},\"samples\":{");
    if !stats.samples_queryable_per_step.is_empty() {
        out.push_str("\"totalQueryableSamplesPerStep\":");
        push_list(out, &stats.samples_queryable_per_step, |out, (at, count)| {
            out.push('[');
            push_time(out, *at);
            out.push(',');
            out.push_str(itoa::Buffer::new().format(*count));
            out.push(']');
        });
        out.push(',');
    }
    let mut buffer = itoa::Buffer::new();
    out.push_str("\"totalQueryableSamples\":");
    out.push_str(buffer.format(stats.samples_queryable));
    out.push_str(",\"samplesRead\":");
    out.push_str(buffer.format(stats.samples_read));
    out.push_str(",\"peakSamples\":");
    out.push_str(buffer.format(stats.samples_peak));
    out.push('}');
    // Prometheus knows no such thing, so it is there only where there is something to say.
    if stats.sources.iter().any(|source| !source.tiers.is_empty()) {
        out.push_str(",\"tiers\":");
        let tiers = stats.sources.iter().flat_map(|source| source.tiers.iter().map(|tier| (source.span.start, *tier)));
        push_list(out, &tiers.collect::<Vec<(usize, TierUse)>>(), |out, (offset, tier)| {
            push_tier(out, *offset, tier);
        });
    }
    out.push('}');
}

/// What the selector at `offset`, in bytes, read from buckets.
fn push_tier(out: &mut String, offset: usize, tier: &TierUse) {
    out.push_str("{\"offset\":");
    out.push_str(itoa::Buffer::new().format(offset));
    out.push_str(",\"resolution\":");
    push_text(out, &format_duration_ms(tier.resolution_ms));
    out.push_str(",\"start\":");
    push_time(out, tier.range.start());
    out.push_str(",\"end\":");
    push_time(out, tier.range.end());
    out.push_str(",\"fidelity\":");
    push_text(out, tier.fidelity.as_str());
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Histogram, HistogramSample, Labels, TimeRange},
        promql::{ast::Span, value::SourceStats},
        store::{Fidelity, Origin},
    };
    use std::{sync::Arc, time::Duration};

    fn written(value: &Value, stats: Option<&Stats>) -> String {
        let mut out = String::new();
        push_data(&mut out, value, stats);
        out
    }

    #[test]
    fn every_kind_of_answer_has_prometheus_shape() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]).unwrap();
        assert_eq!(
            written(&Value::Scalar { at: -1_500, value: 1e30 }, None),
            r#"{"resultType":"scalar","result":[-1.5,"1000000000000000000000000000000"]}"#
        );
        assert_eq!(
            written(&Value::Text { at: 4_000, text: "a\"".into() }, None),
            r#"{"resultType":"string","result":[4,"a\""]}"#
        );
        let vector = vec![
            VectorSample { labels: labels.clone(), at: 4_090, value: SampleValue::Float(f64::NAN) },
            VectorSample { labels: Labels::empty(), at: 4_090, value: SampleValue::Histogram(Arc::default()) },
        ];
        assert_eq!(
            written(&Value::Vector(vector), None),
            "{\"resultType\":\"vector\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\
             \"value\":[4.090,\"NaN\"]},{\"metric\":{},\"histogram\":[4.090,{\"count\":\"0\",\"sum\":\"0\"}]}]}"
        );
        let histogram = HistogramSample { timestamp: 2_000, histogram: Arc::new(Histogram::default()) };
        let samples = Samples {
            timestamps: vec![0, 1_000],
            values: vec![1.0, 1e-7],
            histograms: vec![histogram],
            ..Samples::default()
        };
        assert_eq!(
            written(&Value::Matrix(vec![MatrixSeries { labels, samples }]), None),
            "{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":\"up\",\"job\":\"a\"},\
             \"values\":[[0,\"1\"],[1,\"1e-07\"]],\"histograms\":[[2,{\"count\":\"0\",\"sum\":\"0\"}]]}]}"
        );
        assert_eq!(written(&Value::Vector(vec![]), None), r#"{"resultType":"vector","result":[]}"#);
    }

    #[test]
    fn statistics_stand_beside_the_result() {
        let mut stats = Stats { samples_queryable: 7, samples_read: 5, samples_peak: 3, ..Stats::default() };
        stats.timings.total = Duration::from_millis(1_500);
        stats.samples_queryable_per_step = vec![(1_000, 7)];
        let text = written(&Value::Vector(vec![]), Some(&stats));
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(tree["stats"]["timings"]["execTotalTime"], 1.5);
        assert_eq!(tree["stats"]["samples"]["totalQueryableSamplesPerStep"], serde_json::json!([[1, 7]]));
        assert_eq!(tree["stats"]["samples"]["peakSamples"], 3);
        assert_eq!(tree["stats"]["tiers"], serde_json::Value::Null);
    }

    #[test]
    fn buckets_that_were_read_are_told_with_their_selector() {
        let tier = TierUse {
            resolution_ms: 300_000,
            range: TimeRange::new(1_500, 600_000).unwrap(),
            fidelity: Fidelity::Widened,
        };
        let source = SourceStats {
            span: Span { start: 5, end: 9 },
            series: 1,
            samples: 2,
            origin: Origin::default(),
            tiers: vec![tier],
        };
        let text = written(&Value::Vector(vec![]), Some(&Stats { sources: vec![source], ..Stats::default() }));
        let tree: serde_json::Value = serde_json::from_str(&text).unwrap();
        let told = serde_json::json!([
            { "offset": 5, "resolution": "5m", "start": 1.5, "end": 600, "fidelity": "widened" }
        ]);
        assert_eq!(tree["stats"]["tiers"], told);
    }
}
