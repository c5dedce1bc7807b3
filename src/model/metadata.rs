//! What an exposition says of a metric family.

/// The type a family was declared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub enum MetricType {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    #[default]
    Unknown,
}

impl MetricType {
    /// In the order of [`MetricType::number`].
    const NUMBERED: [MetricType; 8] = [
        MetricType::Unknown,
        MetricType::Counter,
        MetricType::Gauge,
        MetricType::Histogram,
        MetricType::GaugeHistogram,
        MetricType::Summary,
        MetricType::Info,
        MetricType::StateSet,
    ];

    /// The number remote write has for the type; our own formats use it too.
    pub fn number(self) -> u8 {
        let at = MetricType::NUMBERED.iter().position(|listed| *listed == self);
        at.expect("every type is numbered") as u8
    }

    /// The type of a number; `None` for one that has none.
    pub fn from_number(number: u64) -> Option<MetricType> {
        MetricType::NUMBERED.get(usize::try_from(number).ok()?).copied()
    }

    /// As the Prometheus API names it. The text format 0.0.4 says `untyped` where this says `unknown`.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricType::Counter => "counter",
            MetricType::Gauge => "gauge",
            MetricType::Histogram => "histogram",
            MetricType::GaugeHistogram => "gaugehistogram",
            MetricType::Summary => "summary",
            MetricType::Info => "info",
            MetricType::StateSet => "stateset",
            MetricType::Unknown => "unknown",
        }
    }
}

/// Type, help and unit of a family; empty text where nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash, PartialOrd, Ord)]
pub struct Metadata {
    pub metric_type: MetricType,
    pub help: String,
    pub unit: String,
}
