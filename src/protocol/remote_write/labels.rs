//! The label fields of a series, looked into: only for a series not seen before.

use crate::{
    model::{Labels, METRIC_NAME},
    protocol::{
        limits::{LabelLimitError, LabelLimits},
        wire::{WireError, next_field},
    },
};

/// Why raw label fields name no series.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LabelProblem {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("a label name or value is not UTF-8")]
    Utf8,
    #[error("the series has no metric name")]
    MissingName,
    #[error("a label name is empty")]
    EmptyName,
    #[error("label name \"{0}\" is not unique")]
    DuplicateName(String),
    #[error(transparent)]
    Limit(#[from] LabelLimitError),
}

/// Decodes the label fields of a series. Any order is accepted; a label with an empty value equals its absence.
pub fn decode_labels(raw: &[u8], limits: &LabelLimits) -> Result<Labels, LabelProblem> {
    let mut rest = raw;
    let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
    while let Some((field, value)) = next_field(&mut rest)? {
        if field != 1 {
            continue;
        }
        let (name, value) = decode_pair(value.bytes(1)?)?;
        if name.is_empty() {
            return Err(LabelProblem::EmptyName);
        }
        limits.check_name(name)?;
        limits.check_value(name, value)?;
        pairs.push((name, value));
        limits.check_count(pairs.len())?;
    }
    pairs.sort_unstable();
    if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(LabelProblem::DuplicateName(pair[0].0.to_owned()));
    }
    let metric = pairs.iter().find(|(name, _)| *name == METRIC_NAME).map_or("", |(_, value)| value);
    if metric.is_empty() {
        return Err(LabelProblem::MissingName);
    }
    limits.check_name(metric)?;
    Labels::from_pairs(pairs).map_err(|_| LabelProblem::EmptyName)
}

fn decode_pair(mut message: &[u8]) -> Result<(&str, &str), LabelProblem> {
    let (mut name, mut value) = ("", "");
    while let Some((field, found)) = next_field(&mut message)? {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| LabelProblem::Utf8);
        match field {
            1 => name = text(found.bytes(1)?)?,
            2 => value = text(found.bytes(2)?)?,
            _ => {}
        }
    }
    Ok((name, value))
}
