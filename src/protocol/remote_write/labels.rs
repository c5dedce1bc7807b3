//! The label fields of a series, looked into: only for a series not seen before.

use crate::{
    model::{Exemplar, Labels, METRIC_NAME},
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

/// Decodes an exemplar. It needs no name, and may have no label at all.
pub fn decode_exemplar(mut message: &[u8]) -> Result<Exemplar, LabelProblem> {
    let (mut pairs, mut value, mut timestamp) = (Vec::new(), 0.0, 0);
    while let Some((field, found)) = next_field(&mut message)? {
        match field {
            1 => pairs.push(decode_pair(found.bytes(1)?)?),
            2 => value = found.double(2)?,
            3 => timestamp = found.varint(3)? as i64,
            _ => {}
        }
    }
    let labels = Labels::from_pairs(pairs).map_err(|_| LabelProblem::EmptyName)?;
    Ok(Exemplar { labels, value, timestamp })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_is_read_and_one_without_text_is_not() {
        // value 2.5, timestamp 7, then the label a="b".
        let mut message = vec![0x11];
        message.extend_from_slice(&2.5f64.to_le_bytes());
        message.extend_from_slice(&[0x18, 7, 0x0a, 6, 0x0a, 1, b'a', 0x12, 1, b'b']);
        let exemplar = decode_exemplar(&message).unwrap();
        assert_eq!((exemplar.value, exemplar.timestamp, exemplar.labels.get("a")), (2.5, 7, Some("b")));
        assert!(matches!(decode_exemplar(&[0x0a, 3, 0x0a, 1, 0xff]), Err(LabelProblem::Utf8)));
        assert!(matches!(decode_exemplar(&[0x0a, 9]), Err(LabelProblem::Wire(_))));
    }
}
