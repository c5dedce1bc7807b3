//! Exemplars: one event behind a sample, such as the trace of a slow request.

use super::{Labels, Timestamp};

/// Characters of all names and values together, as OpenMetrics allows: an exemplar points at something, it does not
/// describe it.
const CHARACTERS_MAX: usize = 128;

/// An event, what was measured with it, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// Not those of the series: `trace_id` and the like.
    pub labels: Labels,
    pub value: f64,
    pub timestamp: Timestamp,
}

impl Exemplar {
    /// Whether its labels are short enough to be kept.
    pub fn fits(&self) -> bool {
        let characters = self.labels.iter().map(|(name, value)| name.chars().count() + value.chars().count());
        characters.sum::<usize>() <= CHARACTERS_MAX
    }

    /// Whether it comes behind `before` of the same series: later, or at the same time with a greater value or other
    /// labels of a greater order.
    pub fn follows(&self, before: &Exemplar) -> bool {
        let by_value = || self.value.total_cmp(&before.value).then_with(|| self.labels.cmp(&before.labels));
        self.timestamp.cmp(&before.timestamp).then_with(by_value).is_gt()
    }
}
