//! Native histograms of remote write.

use crate::{
    model::{CountKind, Histogram, ResetHint, Span, Timestamp},
    protocol::{
        native_histogram::{HistogramError, WireHistogram},
        wire::{Value, WireError, next_field, unzigzag},
    },
    stdx::bytes::{take_array, take_varint},
};

/// Why a histogram message gives no histogram.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HistogramDecodeError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Invalid(#[from] HistogramError),
}

/// Decodes and checks one histogram message.
pub fn decode_histogram(message: &[u8]) -> Result<(Timestamp, Histogram), HistogramDecodeError> {
    let mut rest = message;
    let mut wire = WireHistogram { kind: CountKind::Integer, ..WireHistogram::default() };
    let mut timestamp = 0;
    while let Some((field, value)) = next_field(&mut rest)? {
        match field {
            15 => timestamp = value.varint(15)? as i64,
            _ => read_field(&mut wire, field, value)?,
        }
    }
    Ok((timestamp, wire.into_histogram()?))
}

fn read_field(wire: &mut WireHistogram, field: u32, value: Value<'_>) -> Result<(), WireError> {
    match field {
        1 => (wire.kind, wire.count) = (CountKind::Integer, value.varint(1)? as f64),
        2 => (wire.kind, wire.count) = (CountKind::Float, value.double(2)?),
        3 => wire.sum = value.double(3)?,
        4 => wire.schema = unzigzag(value.varint(4)?) as i32,
        5 => wire.zero_threshold = value.double(5)?,
        6 => wire.zero_count = value.varint(6)? as f64,
        7 => wire.zero_count = value.double(7)?,
        8 => wire.negative_spans.push(read_span(value.bytes(8)?)?),
        9 => read_deltas(&mut wire.negative_deltas, value)?,
        10 => read_doubles(&mut wire.negative_counts, value)?,
        11 => wire.positive_spans.push(read_span(value.bytes(11)?)?),
        12 => read_deltas(&mut wire.positive_deltas, value)?,
        13 => read_doubles(&mut wire.positive_counts, value)?,
        14 => {
            wire.reset_hint = match value.varint(14)? {
                1 => ResetHint::Reset,
                2 => ResetHint::NotReset,
                3 => ResetHint::Gauge,
                _ => ResetHint::Unknown,
            }
        }
        16 => read_doubles(&mut wire.custom_values, value)?,
        _ => {}
    }
    Ok(())
}

fn read_span(mut message: &[u8]) -> Result<Span, WireError> {
    let mut span = Span { offset: 0, length: 0 };
    while let Some((field, value)) = next_field(&mut message)? {
        match field {
            1 => span.offset = unzigzag(value.varint(1)?) as i32,
            2 => span.length = value.varint(2)? as u32,
            _ => {}
        }
    }
    Ok(span)
}

/// Packed, or one by one, as protobuf allows both.
fn read_deltas(deltas: &mut Vec<i64>, value: Value<'_>) -> Result<(), WireError> {
    match value {
        Value::Varint(raw) => deltas.push(unzigzag(raw)),
        other => {
            let mut packed = other.bytes(12)?;
            while !packed.is_empty() {
                deltas.push(unzigzag(take_varint(&mut packed).ok_or(WireError::Truncated)?));
            }
        }
    }
    Ok(())
}

fn read_doubles(doubles: &mut Vec<f64>, value: Value<'_>) -> Result<(), WireError> {
    match value {
        Value::Fixed64(bits) => doubles.push(f64::from_bits(bits)),
        other => {
            let mut packed = other.bytes(13)?;
            while !packed.is_empty() {
                doubles.push(f64::from_le_bytes(take_array(&mut packed).ok_or(WireError::Truncated)?));
            }
        }
    }
    Ok(())
}
