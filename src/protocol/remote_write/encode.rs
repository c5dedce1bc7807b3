//! Write requests as bytes.

use crate::{
    model::{CountKind, Histogram, Metadata, ResetHint, Span, Timestamp},
    protocol::wire::zigzag,
    stdx::bytes::{push_slice, push_varint},
};

/// Builds a `WriteRequest` series by series.
#[derive(Debug, Clone, Default)]
pub struct RequestEncoder {
    out: Vec<u8>,
    message: Vec<u8>,
    part: Vec<u8>,
}

impl RequestEncoder {
    pub fn new() -> RequestEncoder {
        RequestEncoder::default()
    }

    /// Adds a series with its labels in the order given, float samples and histograms.
    pub fn series<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: &[(Timestamp, f64)],
        histograms: &[(Timestamp, Histogram)],
    ) -> &mut Self {
        self.message.clear();
        for (name, value) in labels {
            self.part.clear();
            push_bytes(&mut self.part, 1, name.as_bytes());
            push_bytes(&mut self.part, 2, value.as_bytes());
            push_bytes(&mut self.message, 1, &self.part);
        }
        for (timestamp, value) in samples {
            self.part.clear();
            push_double(&mut self.part, 1, *value);
            push_number(&mut self.part, 2, *timestamp as u64);
            push_bytes(&mut self.message, 2, &self.part);
        }
        for (timestamp, histogram) in histograms {
            self.part.clear();
            encode_histogram(&mut self.part, *timestamp, histogram);
            push_bytes(&mut self.message, 4, &self.part);
        }
        push_bytes(&mut self.out, 1, &self.message);
        self
    }

    /// Adds what is known of a metric family.
    pub fn metadata(&mut self, family: &str, metadata: &Metadata) -> &mut Self {
        self.message.clear();
        push_number(&mut self.message, 1, u64::from(metadata.metric_type.number()));
        push_text(&mut self.message, 2, family);
        push_text(&mut self.message, 4, &metadata.help);
        push_text(&mut self.message, 5, &metadata.unit);
        push_bytes(&mut self.out, 3, &self.message);
        self
    }

    /// The request, uncompressed.
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

/// Appends the fields of a histogram message.
pub fn encode_histogram(out: &mut Vec<u8>, timestamp: Timestamp, histogram: &Histogram) {
    let integer = histogram.kind == CountKind::Integer;
    if integer {
        push_tag(out, 1, 0);
        push_varint(out, histogram.count as u64);
    } else {
        push_tag(out, 2, 1);
        out.extend_from_slice(&histogram.count.to_le_bytes());
    }
    push_double(out, 3, histogram.sum);
    push_number(out, 4, zigzag(i64::from(histogram.schema)));
    push_double(out, 5, histogram.zero_threshold);
    if integer {
        push_number(out, 6, histogram.zero_count as u64);
    } else {
        push_double(out, 7, histogram.zero_count);
    }
    push_side(out, 8, &histogram.negative_spans, &histogram.negative_buckets, integer);
    push_side(out, 11, &histogram.positive_spans, &histogram.positive_buckets, integer);
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    push_number(out, 14, hint);
    push_number(out, 15, timestamp as u64);
    push_doubles(out, 16, &histogram.custom_values);
}

/// Spans at field `first`, integer deltas at the next and float counts at the one after.
fn push_side(out: &mut Vec<u8>, first: u32, spans: &[Span], buckets: &[f64], integer: bool) {
    let mut part = Vec::new();
    for span in spans {
        part.clear();
        push_number(&mut part, 1, zigzag(i64::from(span.offset)));
        push_number(&mut part, 2, u64::from(span.length));
        push_bytes(out, first, &part);
    }
    if !integer {
        return push_doubles(out, first + 2, buckets);
    }
    part.clear();
    let mut before = 0i64;
    for count in buckets {
        let count = *count as i64;
        push_varint(&mut part, zigzag(count.wrapping_sub(before)));
        before = count;
    }
    if !part.is_empty() {
        push_bytes(out, first + 1, &part);
    }
}

fn push_doubles(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        push_tag(out, field, 2);
        push_varint(out, values.len() as u64 * 8);
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

fn push_tag(out: &mut Vec<u8>, field: u32, wire_type: u8) {
    push_varint(out, u64::from(field) << 3 | u64::from(wire_type));
}

fn push_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    push_tag(out, field, 2);
    push_slice(out, bytes);
}

fn push_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        push_bytes(out, field, text.as_bytes());
    }
}

/// Left out at its default, as proto3 does.
fn push_number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        push_tag(out, field, 0);
        push_varint(out, value);
    }
}

/// Left out at its default, as proto3 does; minus zero is not the default.
fn push_double(out: &mut Vec<u8>, field: u32, value: f64) {
    if value.to_bits() != 0 {
        push_tag(out, field, 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Entry, LabelProblem, decode_histogram, decode_labels, entries, read_metadata, read_time_series,
    };
    use super::*;
    use crate::{
        model::{MetricType, STALE_NAN_BITS},
        protocol::{limits::LabelLimits, wire::WireError},
    };
    use proptest::prelude::*;

    type Read = (Vec<u8>, Vec<(Timestamp, u64)>, usize);

    /// Labels, samples by bits, histograms.
    fn read_all(request: &[u8]) -> Result<Vec<Read>, WireError> {
        let mut found = Vec::new();
        for entry in entries(request) {
            match entry? {
                Entry::Series(message) => {
                    let (mut timestamps, mut values) = (Vec::new(), Vec::new());
                    let series = read_time_series(message, &mut timestamps, &mut values);
                    assert_eq!(timestamps.len(), values.len());
                    let series = series?;
                    for histogram in &series.histograms {
                        let _ = decode_histogram(histogram);
                    }
                    let _ = decode_labels(&series.labels, &LabelLimits::default());
                    let samples = timestamps.into_iter().zip(values.iter().map(|v| v.to_bits())).collect();
                    found.push((series.labels.into_owned(), samples, series.histograms.len()));
                }
                Entry::Metadata(message) => drop(read_metadata(message)?),
            }
        }
        Ok(found)
    }

    fn labels_of(pairs: &[(&str, &str)]) -> Result<String, LabelProblem> {
        let mut encoder = RequestEncoder::new();
        encoder.series(pairs.iter().copied(), &[], &[]);
        let raw = read_all(&encoder.finish()).unwrap().remove(0).0;
        decode_labels(&raw, &LabelLimits::default()).map(|labels| labels.to_string())
    }

    #[test]
    fn samples_keep_their_bits() {
        let samples =
            [(0, 0.0), (1, -0.0), (-5, f64::from_bits(STALE_NAN_BITS)), (i64::MIN, 1.5), (i64::MAX, f64::INFINITY)];
        let mut encoder = RequestEncoder::new();
        encoder.series([("__name__", "a")], &samples, &[]);
        let read = read_all(&encoder.finish()).unwrap();
        assert_eq!(read[0].1, samples.map(|(t, v)| (t, v.to_bits())));
    }

    #[test]
    fn every_edge_of_labels() {
        assert_eq!(labels_of(&[("z", "1"), ("__name__", "a"), ("b", "")]).unwrap(), "a{z=\"1\"}");
        assert_eq!(labels_of(&[("z", "1")]), Err(LabelProblem::MissingName));
        assert_eq!(labels_of(&[]), Err(LabelProblem::MissingName));
        assert_eq!(labels_of(&[("__name__", "")]), Err(LabelProblem::MissingName));
        assert_eq!(labels_of(&[("__name__", "a"), ("", "x")]), Err(LabelProblem::EmptyName));
        let twice = labels_of(&[("__name__", "a"), ("x", "1"), ("y", "1"), ("x", "2")]);
        assert_eq!(twice, Err(LabelProblem::DuplicateName("x".to_owned())));
        let long = "v".repeat(5000);
        assert!(matches!(labels_of(&[("__name__", "a"), ("x", &long)]), Err(LabelProblem::Limit(_))));
        let raw = [0x0a, 4, 0x0a, 2, 0xff, 0xfe];
        assert_eq!(decode_labels(&raw, &LabelLimits::default()), Err(LabelProblem::Utf8));
    }

    #[test]
    fn labels_scattered_among_samples_are_gathered() {
        let mut message = Vec::new();
        let pair = |name: &str, value: &str| {
            let mut part = Vec::new();
            push_bytes(&mut part, 1, name.as_bytes());
            push_bytes(&mut part, 2, value.as_bytes());
            part
        };
        push_bytes(&mut message, 1, &pair("__name__", "a"));
        push_bytes(&mut message, 2, &[0x10, 5]);
        push_bytes(&mut message, 1, &pair("x", "1"));
        let mut request = Vec::new();
        push_bytes(&mut request, 1, &message);
        let read = read_all(&request).unwrap();
        assert_eq!(read[0].1, [(5, 0)]);
        assert_eq!(decode_labels(&read[0].0, &LabelLimits::default()).unwrap().to_string(), "a{x=\"1\"}");
    }

    #[test]
    fn metadata_survives() {
        let metadata =
            Metadata { metric_type: MetricType::Summary, help: "what it is".to_owned(), unit: "seconds".to_owned() };
        let mut encoder = RequestEncoder::new();
        encoder.metadata("a_seconds", &metadata);
        let request = encoder.finish();
        let Some(Ok(Entry::Metadata(message))) = entries(&request).next() else { panic!("no metadata") };
        let entry = read_metadata(message).unwrap();
        assert_eq!((entry.family.as_ref(), entry.metric_type), ("a_seconds", MetricType::Summary));
        assert_eq!((entry.help.as_ref(), entry.unit.as_ref()), ("what it is", "seconds"));
    }

    fn histogram(integer: bool, counts: Vec<u32>) -> Histogram {
        let sum: f64 = counts.iter().map(|c| f64::from(*c)).sum();
        Histogram {
            kind: if integer { CountKind::Integer } else { CountKind::Float },
            reset_hint: ResetHint::NotReset,
            schema: -2,
            zero_threshold: 0.25,
            zero_count: 2.0,
            count: sum + 2.0,
            sum: -1.5,
            negative_spans: vec![Span { offset: -3, length: counts.len() as u32 }],
            negative_buckets: counts.iter().map(|c| f64::from(*c)).collect(),
            ..Histogram::default()
        }
    }

    proptest! {
        #[test]
        fn histograms_survive(integer: bool, counts in proptest::collection::vec(any::<u32>(), 0..20), at: i64) {
            let histogram = histogram(integer, counts);
            let mut out = Vec::new();
            encode_histogram(&mut out, at, &histogram);
            prop_assert_eq!(decode_histogram(&out).unwrap(), (at, histogram));
        }

        #[test]
        fn requests_survive(series in proptest::collection::vec(("[a-z]{1,300}", proptest::collection::vec((any::<i64>(), any::<u64>()), 0..4)), 0..5)) {
            let mut encoder = RequestEncoder::new();
            for (name, samples) in &series {
                let samples: Vec<(i64, f64)> = samples.iter().map(|(t, v)| (*t, f64::from_bits(*v))).collect();
                encoder.series([("__name__", name.as_str())], &samples, &[]);
            }
            let read = read_all(&encoder.finish()).unwrap();
            prop_assert_eq!(read.len(), series.len());
            for ((raw, samples, _), (name, expected)) in read.iter().zip(&series) {
                let labels = decode_labels(raw, &LabelLimits::default()).unwrap();
                prop_assert_eq!(labels.metric_name(), Some(name.as_str()));
                prop_assert_eq!(samples, expected);
            }
        }

        #[test]
        fn any_and_changed_bytes_are_read_without_panic(bytes: Vec<u8>, at: usize, with: u8) {
            let _ = read_all(&bytes);
            let mut encoder = RequestEncoder::new();
            encoder.series([("__name__", "a"), ("b", "c")], &[(1_700_000_000_000, 1.0), (5, 2.0)], &[(7, histogram(true, vec![1, 2, 3]))]);
            encoder.metadata("a", &Metadata { help: "h".to_owned(), ..Metadata::default() });
            let mut request = encoder.finish();
            let at = at % request.len();
            request[at] = with;
            let _ = read_all(&request);
            let _ = read_all(&request[..at]);
        }
    }
}
