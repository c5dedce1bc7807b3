//! Groups as `GET /api/v1/metrics` shows them.

use super::{
    group::{Family, Group, GroupSample, PUSH_FAILURE_TIME, PUSH_TIME},
    groups::type_name,
};
use crate::{
    ingest::Ingest,
    model::{Histogram, Labels, METRIC_NAME, MetricType, Timestamp, number::format_general},
    protocol::exposition::Value as SampleValue,
};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

impl Ingest {
    /// The push groups as a JSON array: the `data` of a Pushgateway's `/api/v1/metrics`. Numbers are texts, as there.
    pub fn groups(&self) -> Value {
        self.groups_since(Timestamp::MIN)
    }

    /// Those of [`groups`](Ingest::groups) that were pushed to at `since_ms` or later, whether it was taken or refused.
    pub fn groups_since(&self, since_ms: Timestamp) -> Value {
        let groups = self.shared.gateway.snapshot();
        groups
            .iter()
            .filter(|group| group.pushed_ms.max(group.failed_ms) >= since_ms)
            .map(|group| group_json(group))
            .collect()
    }
}

fn group_json(group: &Group) -> Value {
    let labels: Map<String, Value> = group.grouping.labels().map(|(n, v)| (n.to_owned(), v.into())).collect();
    let mut out = Map::new();
    out.insert("labels".to_owned(), labels.into());
    out.insert("last_push_successful".to_owned(), (group.failed_ms <= group.pushed_ms).into());
    for (metric, at_ms, what) in
        [(PUSH_TIME, group.pushed_ms, "succeeded"), (PUSH_FAILURE_TIME, group.failed_ms, "failed")]
    {
        let family = Family {
            metric_type: MetricType::Gauge,
            help: format!("Last Unix time when changing this group in the Pushgateway {what}."),
            pushed_ms: group.pushed_ms.max(group.failed_ms),
            samples: vec![GroupSample {
                labels: Group::time_labels(&group.grouping, metric),
                value: SampleValue::Float(at_ms as f64 / 1000.0),
            }],
        };
        out.insert(metric.to_owned(), family_json(metric, &family));
    }
    for (name, family) in &group.families {
        out.insert(name.clone(), family_json(name, family));
    }
    out.into()
}

fn family_json(name: &str, family: &Family) -> Value {
    let metrics: Vec<Value> = match family.metric_type {
        MetricType::Summary => whole_metrics(name, family, "quantile", "quantiles"),
        MetricType::Histogram | MetricType::GaugeHistogram => whole_metrics(name, family, "le", "buckets"),
        _ => family.samples.iter().map(scalar_json).collect(),
    };
    let mut out = Map::new();
    out.insert("time_stamp".to_owned(), rfc3339(family.pushed_ms).into());
    out.insert("type".to_owned(), type_name(family.metric_type).into());
    if !family.help.is_empty() {
        out.insert("help".to_owned(), family.help.clone().into());
    }
    out.insert("metrics".to_owned(), metrics.into());
    out.into()
}

fn scalar_json(sample: &GroupSample) -> Value {
    json!({ "labels": labels_json(&sample.labels), "value": number(&sample.value) })
}

/// Puts the series of histograms or summaries together again: one element for each label set without `le` or
/// `quantile`.
fn whole_metrics(name: &str, family: &Family, part_label: &str, parts_key: &str) -> Vec<Value> {
    let mut order: Vec<Map<String, Value>> = Vec::new();
    let mut by_labels: HashMap<Labels, usize> = HashMap::new();
    for sample in &family.samples {
        let part = sample.labels.get(part_label);
        let key = sample.labels.filtered(|label| label != METRIC_NAME && (part.is_none() || label != part_label));
        let index = *by_labels.entry(key).or_insert_with_key(|key| {
            let mut metric = Map::new();
            metric.insert("labels".to_owned(), labels_json(key));
            metric.insert(parts_key.to_owned(), Map::new().into());
            order.push(metric);
            order.len() - 1
        });
        let metric = &mut order[index];
        let suffix = sample.labels.metric_name().and_then(|metric| metric.strip_prefix(name)).unwrap_or_default();
        match (suffix, &sample.value) {
            (_, SampleValue::Histogram(histogram)) => add_native(metric, histogram),
            ("_sum", value) => _ = metric.insert("sum".to_owned(), number(value)),
            ("_count", value) => _ = metric.insert("count".to_owned(), number(value)),
            (_, value) => {
                if let (Some(part), Some(Value::Object(parts))) = (part, metric.get_mut(parts_key)) {
                    parts.insert(part.to_owned(), number(value));
                }
            }
        }
    }
    order.into_iter().map(Value::Object).collect()
}

fn number(value: &SampleValue) -> Value {
    match value {
        SampleValue::Float(value) => format_general(*value).into(),
        SampleValue::Histogram(histogram) => format_general(histogram.count).into(),
    }
}

/// A native histogram beside its classic form: the finer buckets replace the coarse ones.
fn add_native(metric: &mut Map<String, Value>, histogram: &Histogram) {
    let buckets: Vec<Value> = native_buckets(histogram)
        .into_iter()
        .map(|(rule, lower, upper, count)| {
            json!([rule, format_general(lower), format_general(upper), format_general(count)])
        })
        .collect();
    metric.insert("buckets".to_owned(), buckets.into());
    metric.insert("count".to_owned(), format_general(histogram.count).into());
    metric.insert("sum".to_owned(), format_general(histogram.sum).into());
}

/// Filled buckets in rising order as (boundary rule, lower, upper, count): 0 open to the left, 1 to the right, 3 closed.
fn native_buckets(histogram: &Histogram) -> Vec<(u8, f64, f64, f64)> {
    let bound = |index: i64| (index as f64 * (-histogram.schema as f64).exp2()).exp2();
    let side = |spans: &[crate::model::Span], counts: &[f64]| {
        let mut index = 0i64;
        let mut counts = counts.iter();
        let mut found = Vec::new();
        for span in spans {
            index += i64::from(span.offset);
            for count in counts.by_ref().take(span.length as usize) {
                found.push((index, *count));
                index += 1;
            }
        }
        found.retain(|(_, count)| *count > 0.0);
        found
    };
    let positive = side(&histogram.positive_spans, &histogram.positive_buckets);
    if histogram.schema == crate::model::CUSTOM_BUCKETS_SCHEMA {
        let custom = |index: i64| match usize::try_from(index) {
            Err(_) => f64::NEG_INFINITY,
            Ok(index) => histogram.custom_values.get(index).copied().unwrap_or(f64::INFINITY),
        };
        return positive.into_iter().map(|(index, count)| (0, custom(index - 1), custom(index), count)).collect();
    }
    let negative = side(&histogram.negative_spans, &histogram.negative_buckets);
    let mut buckets: Vec<(u8, f64, f64, f64)> =
        negative.into_iter().rev().map(|(index, count)| (1, -bound(index), -bound(index - 1), count)).collect();
    if histogram.zero_count > 0.0 {
        buckets.push((3, -histogram.zero_threshold, histogram.zero_threshold, histogram.zero_count));
    }
    buckets.extend(positive.into_iter().map(|(index, count)| (0, bound(index - 1), bound(index), count)));
    buckets
}

/// The labels of a metric; a Pushgateway shows an absent instance as an empty one.
fn labels_json(labels: &Labels) -> Value {
    let mut out: Map<String, Value> = Map::new();
    out.insert("instance".to_owned(), "".into());
    out.extend(labels.iter().filter(|(name, _)| *name != METRIC_NAME).map(|(n, v)| (n.to_owned(), v.into())));
    out.into()
}

fn rfc3339(at_ms: Timestamp) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_default()
}
