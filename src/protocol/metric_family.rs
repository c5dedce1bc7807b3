//! Delimited protobuf `MetricFamily` messages, as client libraries push them, into the form the text format gives.

use super::{
    exposition::{Exposition, Family, Label, Limits, Value},
    limits::LabelLimitError,
    native_histogram::{HistogramError, WireHistogram},
    wire::take_length_delimited,
};
use crate::model::{CountKind, METRIC_NAME, MetricType, Span, number::format_general};
use prost::Message;
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// A body that holds no valid metric families.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FamilyError {
    #[error("the body is no sequence of delimited MetricFamily messages: {0}")]
    Damaged(String),
    #[error("a metric family has no name")]
    NoName,
    #[error("metric family \"{0}\" has an unknown type")]
    UnknownType(String),
    #[error("a metric of family \"{family}\" holds no {expected} value")]
    WrongValue { family: String, expected: &'static str },
    #[error("metric family \"{0}\" has a label without a name or named __name__")]
    LabelName(String),
    #[error("metric family \"{family}\" has the label name \"{label}\" twice in one metric")]
    DuplicateLabel { family: String, label: String },
    #[error("metric family \"{family}\": {error}")]
    Histogram { family: String, error: HistogramError },
    #[error("metric family \"{family}\": {error}")]
    LabelLimit { family: String, error: LabelLimitError },
    #[error("the body has more than {limit} samples; push it in parts, under more specific grouping keys")]
    TooManySamples { limit: usize },
}

/// Decodes a body. A family that comes twice counts as it came last. Classic histograms and summaries become their
/// `_bucket`, `_sum` and `_count` series; native histograms stay whole.
pub fn decode(body: &[u8], limits: &Limits) -> Result<Exposition<'static>, FamilyError> {
    let mut rest = body;
    let mut families: Vec<MetricFamily> = Vec::new();
    let mut by_name: HashMap<String, usize> = HashMap::new();
    while !rest.is_empty() {
        let message = take_length_delimited(&mut rest).map_err(|e| FamilyError::Damaged(e.to_string()))?;
        let family = MetricFamily::decode(message).map_err(|e| FamilyError::Damaged(e.to_string()))?;
        match by_name.get(&family.name) {
            Some(&index) => families[index] = family,
            None => {
                by_name.insert(family.name.clone(), families.len());
                families.push(family);
            }
        }
    }
    let mut writer = Writer { limits, exposition: Exposition::default() };
    for family in families {
        writer.family(family)?;
    }
    Ok(writer.exposition)
}

struct Writer<'l> {
    limits: &'l Limits,
    exposition: Exposition<'static>,
}

/// A metric whose labels are checked, on its way into samples.
struct Series<'a> {
    family: &'a str,
    labels: &'a [Label<'static>],
    timestamp: Option<i64>,
}

impl Writer<'_> {
    fn family(&mut self, family: MetricFamily) -> Result<(), FamilyError> {
        let name = family.name;
        if name.is_empty() {
            return Err(FamilyError::NoName);
        }
        let over = |error| FamilyError::LabelLimit { family: name.clone(), error };
        self.limits.labels.check_name(&name).map_err(over)?;
        let metric_type = match family.metric_type {
            0 => MetricType::Counter,
            1 => MetricType::Gauge,
            2 => MetricType::Summary,
            3 => MetricType::Unknown,
            4 => MetricType::Histogram,
            5 => MetricType::GaugeHistogram,
            _ => return Err(FamilyError::UnknownType(name)),
        };
        self.exposition.families.push(Family {
            name: Cow::Owned(name.clone()),
            metric_type,
            help: Cow::Owned(family.help),
            samples: 0,
        });
        for metric in family.metric {
            let labels = self.labels(&name, metric.label)?;
            let series = Series { family: &name, labels: &labels, timestamp: metric.timestamp_ms };
            let wrong = |expected| FamilyError::WrongValue { family: name.clone(), expected };
            match metric_type {
                MetricType::Counter => {
                    self.float(&series, "", metric.counter.ok_or_else(|| wrong("counter"))?.value)?
                }
                MetricType::Gauge => self.float(&series, "", metric.gauge.ok_or_else(|| wrong("gauge"))?.value)?,
                MetricType::Summary => self.summary(&series, metric.summary.ok_or_else(|| wrong("summary"))?)?,
                MetricType::Histogram | MetricType::GaugeHistogram => {
                    self.histogram(&series, metric.histogram.ok_or_else(|| wrong("histogram"))?)?;
                }
                _ => self.float(&series, "", metric.untyped.ok_or_else(|| wrong("untyped"))?.value)?,
            }
        }
        Ok(())
    }

    fn labels(&self, family: &str, pairs: Vec<LabelPair>) -> Result<Vec<Label<'static>>, FamilyError> {
        let limits = &self.limits.labels;
        let over = |error| FamilyError::LabelLimit { family: family.to_owned(), error };
        limits.check_count(pairs.len() + 1).map_err(over)?;
        let mut labels: Vec<Label<'static>> = Vec::with_capacity(pairs.len());
        for LabelPair { name, value } in pairs {
            if name.is_empty() || name == METRIC_NAME {
                return Err(FamilyError::LabelName(family.to_owned()));
            }
            limits.check_name(&name).map_err(over)?;
            limits.check_value(&name, &value).map_err(over)?;
            if labels.iter().any(|label| label.name == name) {
                return Err(FamilyError::DuplicateLabel { family: family.to_owned(), label: name });
            }
            labels.push(Label { name: Cow::Owned(name), value: Cow::Owned(value) });
        }
        Ok(labels)
    }

    fn float(&mut self, series: &Series<'_>, suffix: &str, value: f64) -> Result<(), FamilyError> {
        self.push(series, suffix, None, Value::Float(quiet(value)))
    }

    fn summary(&mut self, series: &Series<'_>, summary: Summary) -> Result<(), FamilyError> {
        for quantile in summary.quantile {
            let at = Label { name: "quantile".into(), value: format_general(quantile.quantile).into() };
            self.push(series, "", Some(at), Value::Float(quiet(quantile.value)))?;
        }
        self.float(series, "_sum", summary.sample_sum)?;
        self.float(series, "_count", summary.sample_count as f64)
    }

    fn histogram(&mut self, series: &Series<'_>, histogram: Histogram) -> Result<(), FamilyError> {
        let is_float = histogram.sample_count_float != 0.0;
        let count = if is_float { histogram.sample_count_float } else { histogram.sample_count as f64 };
        let native = !histogram.positive_span.is_empty()
            || !histogram.negative_span.is_empty()
            || histogram.zero_threshold != 0.0
            || histogram.zero_count != 0
            || histogram.zero_count_float != 0.0;
        if !native || !histogram.bucket.is_empty() {
            let mut has_infinity = false;
            for bucket in &histogram.bucket {
                has_infinity |= bucket.upper_bound == f64::INFINITY;
                let exact = bucket.cumulative_count_float != 0.0;
                let value = if exact { bucket.cumulative_count_float } else { bucket.cumulative_count as f64 };
                self.bucket(series, bucket.upper_bound, value)?;
            }
            if !has_infinity {
                self.bucket(series, f64::INFINITY, count)?;
            }
            self.float(series, "_sum", histogram.sample_sum)?;
            self.float(series, "_count", count)?;
        }
        if native {
            let wire = into_wire(histogram, is_float, count);
            let whole = wire
                .into_histogram()
                .map_err(|error| FamilyError::Histogram { family: series.family.to_owned(), error })?;
            self.push(series, "", None, Value::Histogram(Arc::new(whole)))?;
        }
        Ok(())
    }

    fn bucket(&mut self, series: &Series<'_>, upper_bound: f64, count: f64) -> Result<(), FamilyError> {
        let bound = Label { name: "le".into(), value: format_general(upper_bound).into() };
        self.push(series, "_bucket", Some(bound), Value::Float(count))
    }

    fn push(
        &mut self,
        series: &Series<'_>,
        suffix: &str,
        extra: Option<Label<'static>>,
        value: Value,
    ) -> Result<(), FamilyError> {
        if self.exposition.samples.len() == self.limits.series_max {
            return Err(FamilyError::TooManySamples { limit: self.limits.series_max });
        }
        let name = Cow::Owned(format!("{}{suffix}", series.family));
        // A label `le` or `quantile` of the metric itself gives way to the one its part of the family carries.
        let replaced = extra.as_ref().map(|label| label.name.clone());
        let own = series.labels.iter().filter(|label| Some(&label.name) != replaced.as_ref()).cloned();
        let family = self.exposition.families.len() - 1;
        self.exposition.push_sample(family, name, own.chain(extra), value, series.timestamp);
        Ok(())
    }
}

/// Any NaN as the one of Prometheus: a pushed value is never a staleness marker.
fn quiet(value: f64) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8_0000_0000_0001) } else { value }
}

fn into_wire(histogram: Histogram, is_float: bool, count: f64) -> WireHistogram {
    let spans = |spans: Vec<BucketSpan>| spans.iter().map(|s| Span { offset: s.offset, length: s.length }).collect();
    WireHistogram {
        kind: if is_float { CountKind::Float } else { CountKind::Integer },
        count,
        sum: quiet(histogram.sample_sum),
        schema: histogram.schema,
        zero_threshold: histogram.zero_threshold,
        zero_count: if is_float { histogram.zero_count_float } else { histogram.zero_count as f64 },
        negative_spans: spans(histogram.negative_span),
        negative_deltas: histogram.negative_delta,
        negative_counts: histogram.negative_count,
        positive_spans: spans(histogram.positive_span),
        positive_deltas: histogram.positive_delta,
        positive_counts: histogram.positive_count,
        ..WireHistogram::default()
    }
}

#[derive(Clone, PartialEq, Message)]
struct MetricFamily {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    help: String,
    #[prost(int32, tag = "3")]
    metric_type: i32,
    #[prost(message, repeated, tag = "4")]
    metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
struct Metric {
    #[prost(message, repeated, tag = "1")]
    label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    gauge: Option<Single>,
    #[prost(message, optional, tag = "3")]
    counter: Option<Single>,
    #[prost(message, optional, tag = "4")]
    summary: Option<Summary>,
    #[prost(message, optional, tag = "5")]
    untyped: Option<Single>,
    #[prost(int64, optional, tag = "6")]
    timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "7")]
    histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// Counter, gauge and untyped alike.
#[derive(Clone, PartialEq, Message)]
struct Single {
    #[prost(double, tag = "1")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    quantile: Vec<Quantile>,
}

#[derive(Clone, PartialEq, Message)]
struct Quantile {
    #[prost(double, tag = "1")]
    quantile: f64,
    #[prost(double, tag = "2")]
    value: f64,
}

#[derive(Clone, PartialEq, Message)]
struct Histogram {
    #[prost(uint64, tag = "1")]
    sample_count: u64,
    #[prost(double, tag = "2")]
    sample_sum: f64,
    #[prost(message, repeated, tag = "3")]
    bucket: Vec<Bucket>,
    #[prost(double, tag = "4")]
    sample_count_float: f64,
    #[prost(sint32, tag = "5")]
    schema: i32,
    #[prost(double, tag = "6")]
    zero_threshold: f64,
    #[prost(uint64, tag = "7")]
    zero_count: u64,
    #[prost(double, tag = "8")]
    zero_count_float: f64,
    #[prost(message, repeated, tag = "9")]
    negative_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "10")]
    negative_delta: Vec<i64>,
    #[prost(double, repeated, tag = "11")]
    negative_count: Vec<f64>,
    #[prost(message, repeated, tag = "12")]
    positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    positive_delta: Vec<i64>,
    #[prost(double, repeated, tag = "14")]
    positive_count: Vec<f64>,
}

#[derive(Clone, PartialEq, Message)]
struct Bucket {
    #[prost(uint64, tag = "1")]
    cumulative_count: u64,
    #[prost(double, tag = "2")]
    upper_bound: f64,
    #[prost(double, tag = "4")]
    cumulative_count_float: f64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct BucketSpan {
    #[prost(sint32, tag = "1")]
    offset: i32,
    #[prost(uint32, tag = "2")]
    length: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn family(name: &str, metric_type: i32, metric: Metric) -> MetricFamily {
        MetricFamily { name: name.to_owned(), help: "text".to_owned(), metric_type, metric: vec![metric] }
    }

    fn body(families: &[MetricFamily]) -> Vec<u8> {
        families.iter().flat_map(Message::encode_length_delimited_to_vec).collect()
    }

    fn shown(exposition: &Exposition<'static>) -> Vec<String> {
        let samples = exposition.samples.iter().map(|sample| {
            let labels: Vec<String> =
                exposition.labels(sample).iter().map(|l| format!("{}={}", l.name, l.value)).collect();
            match &sample.value {
                Value::Float(value) => format!("{}{{{}}} {value}", sample.name, labels.join(",")),
                Value::Histogram(histogram) => {
                    format!("{}{{{}}} native {}", sample.name, labels.join(","), histogram.count)
                }
            }
        });
        samples.collect()
    }

    fn gauge(value: f64) -> Metric {
        let label = vec![LabelPair { name: "x".to_owned(), value: "y".to_owned() }];
        Metric { label, gauge: Some(Single { value }), ..Metric::default() }
    }

    #[test]
    fn the_last_family_of_a_name_counts() {
        let body = body(&[family("a", 1, gauge(1.0)), family("b", 1, gauge(2.0)), family("a", 1, gauge(3.0))]);
        assert_eq!(shown(&decode(&body, &Limits::default()).unwrap()), ["a{x=y} 3", "b{x=y} 2"]);
    }

    #[test]
    fn classic_histograms_and_summaries_become_their_series() {
        let histogram = Histogram {
            sample_count: 3,
            sample_sum: 4.5,
            bucket: vec![Bucket { cumulative_count: 2, upper_bound: 1e6, ..Bucket::default() }],
            ..Histogram::default()
        };
        let summary =
            Summary { sample_count: 1, sample_sum: 2.0, quantile: vec![Quantile { quantile: 0.5, value: f64::NAN }] };
        let body = body(&[
            family("h", 4, Metric { histogram: Some(histogram), ..Metric::default() }),
            family("s", 2, Metric { summary: Some(summary), ..Metric::default() }),
        ]);
        let expected = [
            "h_bucket{le=1e+06} 2",
            "h_bucket{le=+Inf} 3",
            "h_sum{} 4.5",
            "h_count{} 3",
            "s{quantile=0.5} NaN",
            "s_sum{} 2",
            "s_count{} 1",
        ];
        assert_eq!(shown(&decode(&body, &Limits::default()).unwrap()), expected);
    }

    #[test]
    fn native_histograms_stay_whole() {
        let histogram = Histogram {
            sample_count: 3,
            zero_threshold: 0.001,
            positive_span: vec![BucketSpan { offset: 0, length: 2 }],
            positive_delta: vec![1, 1],
            ..Histogram::default()
        };
        let body = body(&[family("h", 4, Metric { histogram: Some(histogram), ..Metric::default() })]);
        assert_eq!(shown(&decode(&body, &Limits::default()).unwrap()), ["h{} native 3"]);
    }

    #[test]
    fn contradictions_are_refused() {
        let error = |family: MetricFamily| decode(&body(&[family]), &Limits::default()).unwrap_err().to_string();
        assert!(error(family("a", 0, gauge(1.0))).contains("holds no counter value"));
        assert!(error(family("a", 9, gauge(1.0))).contains("unknown type"));
        assert!(error(family("", 1, gauge(1.0))).contains("no name"));
        let mut twice = gauge(1.0);
        twice.label.push(twice.label[0].clone());
        assert!(error(family("a", 1, twice)).contains("label name \"x\" twice"));
        assert!(decode(&[9, 1], &Limits::default()).unwrap_err().to_string().contains("delimited MetricFamily"));
    }

    proptest! {
        #[test]
        fn any_and_changed_bytes_are_read_without_panic(bytes: Vec<u8>, at: usize, with: u8) {
            let _ = decode(&bytes, &Limits::default());
            let mut body = body(&[family("a", 1, gauge(1.0)), family("b", 4, Metric { histogram: Some(Histogram {
                positive_span: vec![BucketSpan { offset: 3, length: 2 }], positive_count: vec![1.0, 2.0],
                ..Histogram::default() }), ..Metric::default() })]);
            let at = at % body.len();
            body[at] = with;
            let _ = decode(&body, &Limits::default());
        }
    }
}
