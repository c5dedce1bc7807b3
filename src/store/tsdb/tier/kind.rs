//! What kind of metric a series is: it decides which columns its buckets have.

use super::columns::Columns;
use crate::model::{Labels, METRIC_NAME};

/// What is known of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricKind {
    Counter,
    Gauge,
    Unknown,
}

impl MetricKind {
    /// What its buckets keep.
    pub fn columns(self) -> Columns {
        match self {
            MetricKind::Counter => Columns::COUNTER,
            MetricKind::Gauge => Columns::GAUGE,
            MetricKind::Unknown => Columns::ALL,
        }
    }
}

/// The kind that a metric's name tells where nobody said it: by convention these endings are those of counters.
pub fn kind_by_name(labels: &Labels) -> MetricKind {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    let is_counter = ["_total", "_count", "_sum", "_bucket"].iter().any(|ending| name.ends_with(ending));
    if is_counter { MetricKind::Counter } else { MetricKind::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_of_counters_tell_them() {
        let kind = |name: &str| kind_by_name(&Labels::from_pairs([("__name__", name)]).unwrap());
        assert_eq!(kind("requests_total"), MetricKind::Counter);
        assert_eq!(kind("latency_seconds_bucket"), MetricKind::Counter);
        assert_eq!(kind("temperature_celsius"), MetricKind::Unknown);
        assert_eq!(kind_by_name(&Labels::empty()), MetricKind::Unknown);
    }
}
