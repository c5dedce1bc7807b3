//! Sizes of labels that every format respects.

/// How large a label set may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelLimits {
    /// Labels of one series, the metric name included. Beyond some dozens a label set is a mistake, such as a dump of
    /// the environment, and every query over it pays.
    pub labels_max: usize,
    /// Bytes of a metric or label name.
    pub name_bytes_max: usize,
    /// Bytes of a label value. Longer texts are logs, not labels.
    pub value_bytes_max: usize,
}

impl Default for LabelLimits {
    fn default() -> LabelLimits {
        LabelLimits { labels_max: 64, name_bytes_max: 512, value_bytes_max: 4096 }
    }
}

/// A label set that is larger than [`LabelLimits`] allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelLimitError {
    #[error("a series has {found} labels, the limit is {limit}; drop the labels nobody queries")]
    Labels { found: usize, limit: usize },
    #[error("the name \"{start}...\" is {found} bytes long, the limit is {limit}; use a shorter name")]
    Name { start: String, found: usize, limit: usize },
    #[error(
        "the value of label \"{name}\" is {found} bytes long, the limit is {limit}; shorten it or send it as a log"
    )]
    Value { name: String, found: usize, limit: usize },
}

impl LabelLimits {
    /// Checks the number of labels, the metric name included.
    pub fn check_count(&self, found: usize) -> Result<(), LabelLimitError> {
        match found > self.labels_max {
            true => Err(LabelLimitError::Labels { found, limit: self.labels_max }),
            false => Ok(()),
        }
    }

    /// Checks the length of a metric or label name.
    pub fn check_name(&self, name: &str) -> Result<(), LabelLimitError> {
        match name.len() > self.name_bytes_max {
            true => Err(LabelLimitError::Name {
                start: name.chars().take(32).collect(),
                found: name.len(),
                limit: self.name_bytes_max,
            }),
            false => Ok(()),
        }
    }

    /// Checks the length of a label value.
    pub fn check_value(&self, name: &str, value: &str) -> Result<(), LabelLimitError> {
        match value.len() > self.value_bytes_max {
            true => Err(LabelLimitError::Value {
                name: name.chars().take(64).collect(),
                found: value.len(),
                limit: self.value_bytes_max,
            }),
            false => Ok(()),
        }
    }
}
