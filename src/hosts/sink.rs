//! Where collectors put what they read.

use crate::ingest::{Family, InternalSource};

/// Takes samples of one round.
pub(super) trait Sink {
    /// One sample of a family; `labels` in any order, empty values are absent labels.
    fn sample(&mut self, family: &Family<'_>, labels: &[(&str, &str)], value: f64);
}

impl Sink for InternalSource {
    fn sample(&mut self, family: &Family<'_>, labels: &[(&str, &str)], value: f64) {
        InternalSource::sample(self, family, labels, value);
    }
}

/// Samples as lines of the text format, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Lines(pub Vec<String>);

#[cfg(test)]
impl Sink for Lines {
    fn sample(&mut self, family: &Family<'_>, labels: &[(&str, &str)], value: f64) {
        let mut labels: Vec<String> =
            labels.iter().filter(|(_, v)| !v.is_empty()).map(|(name, value)| format!("{name}={value:?}")).collect();
        labels.sort();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        self.0.push(format!("{}{labels} {value}", family.name));
    }
}

#[cfg(test)]
impl Lines {
    /// Panics where one of `expected` is missing.
    pub(super) fn has(&self, expected: &[&str]) {
        for line in expected {
            assert!(self.0.iter().any(|found| found == line), "{line} is missing in\n{}", self.0.join("\n"));
        }
    }

    /// Whether no line begins with `start`.
    pub(super) fn lacks(&self, start: &str) -> bool {
        !self.0.iter().any(|line| line.starts_with(start))
    }
}
