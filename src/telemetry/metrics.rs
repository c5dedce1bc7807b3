//! The registry of our own metrics and its exposition.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
    core::{Collector, Desc},
    proto,
};
use std::collections::HashMap;

/// What a [`Reading`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// A figure that is looked up when somebody asks for it.
#[derive(Debug, Clone)]
pub struct Reading {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    pub value: f64,
}

impl Reading {
    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Reading {
        Reading { name, help, kind: Kind::Counter, value }
    }

    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Reading {
        Reading { name, help, kind: Kind::Gauge, value }
    }
}

/// The metrics of this process. Cheap to clone; every clone is the same registry.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub fn new() -> Metrics {
        Metrics::default()
    }

    /// A new counter. Names are constants of the code, so a second use of one is a mistake in it.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help).expect("metric names are constants"))
    }

    /// A new counter by labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(Opts::new(name, help), labels).expect("metric names are constants"))
    }

    /// A new gauge.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help).expect("metric names are constants"))
    }

    /// A gauge that is 1 for ever and says something in its labels.
    pub fn info(&self, name: &str, help: &str, labels: &[(&str, &str)]) {
        let constant = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = Opts::new(name, help).const_labels(constant.collect());
        self.register(IntGauge::with_opts(options).expect("metric names are constants")).set(1);
    }

    /// A new histogram; `bounds` are the upper bounds of its buckets, rising.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        self.register(Histogram::with_opts(options).expect("metric names and bounds are constants"))
    }

    /// Adds figures that `read` looks up at every exposition. It is called once now, to learn their names: the list
    /// must be the same every time.
    pub fn readings(&self, read: impl Fn() -> Vec<Reading> + Send + Sync + 'static) {
        let describe = |reading: &Reading| Desc::new(reading.name.into(), reading.help.into(), vec![], HashMap::new());
        let descriptions =
            read().iter().map(|reading| describe(reading).expect("metric names are constants")).collect();
        self.register_only(Looked { descriptions, read });
    }

    /// All metrics in the text format 0.0.4, sorted by name.
    pub fn exposition(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 << 10);
        // Writing to memory fails for nothing but a family without a metric, which a registry does not hand out.
        if let Err(cause) = TextEncoder::new().encode(&self.registry.gather(), &mut out) {
            tracing::error!(%cause, "Our own metrics cannot be written.");
        }
        out
    }

    fn register<C: Collector + Clone + 'static>(&self, collector: C) -> C {
        self.register_only(collector.clone());
        collector
    }

    fn register_only(&self, collector: impl Collector + 'static) {
        if let Err(cause) = self.registry.register(Box::new(collector)) {
            tracing::error!(%cause, "A metric of our own is registered twice.");
        }
    }
}

/// Figures looked up at exposition.
struct Looked<F> {
    descriptions: Vec<Desc>,
    read: F,
}

impl<F: Fn() -> Vec<Reading> + Send + Sync> Collector for Looked<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        (self.read)().iter().map(family).collect()
    }
}

fn family(reading: &Reading) -> proto::MetricFamily {
    let mut metric = proto::Metric::default();
    let mut family = proto::MetricFamily::default();
    match reading.kind {
        Kind::Counter => {
            let mut counter = proto::Counter::default();
            counter.set_value(reading.value);
            metric.set_counter(counter);
            family.set_field_type(proto::MetricType::COUNTER);
        }
        Kind::Gauge => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(reading.value);
            metric.set_gauge(gauge);
            family.set_field_type(proto::MetricType::GAUGE);
        }
    }
    family.set_name(reading.name.to_owned());
    family.set_help(reading.help.to_owned());
    family.set_metric(vec![metric]);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_metric_is_exposed_with_help_and_type() {
        let metrics = Metrics::new();
        metrics.counter("a_total", "Counted.").inc_by(2);
        metrics.counters("b_total", "Counted by code.", &["code"]).with_label_values(&["200"]).inc();
        metrics.gauge("c", "Now.").set(-1);
        metrics.info("d_info", "Said.", &[("version", "1")]);
        metrics.histogram("e_seconds", "Took.", &[1.0]).observe(0.5);
        metrics.readings(|| vec![Reading::gauge("f_bytes", "Read.", 3.0), Reading::counter("g_total", "Sum.", 4.0)]);
        let text = String::from_utf8(metrics.exposition()).unwrap();
        for line in [
            "# HELP a_total Counted.",
            "# TYPE a_total counter",
            "a_total 2",
            "b_total{code=\"200\"} 1",
            "c -1",
            "d_info{version=\"1\"} 1",
            "e_seconds_bucket{le=\"+Inf\"} 1",
            "# TYPE f_bytes gauge",
            "f_bytes 3",
            "# TYPE g_total counter",
            "g_total 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }
}
