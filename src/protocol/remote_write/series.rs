//! Requests and their series: the hot path.

use crate::{
    model::{MetricType, Timestamp},
    protocol::wire::{WireError, next_field, take_length_delimited},
    stdx::bytes::take_varint,
};
use std::borrow::Cow;

// Whole tags (field number and wire type) of what nearly every request consists of.
const REQUEST_SERIES: u8 = 0x0a;
const SERIES_LABEL: u8 = 0x0a;
const SERIES_SAMPLE: u8 = 0x12;
const SAMPLE_VALUE: u8 = 0x09;
const SAMPLE_TIMESTAMP: u8 = 0x10;

/// One element of a request, its bytes not looked into yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// For [`read_time_series`].
    Series(&'a [u8]),
    /// For [`read_metadata`].
    Metadata(&'a [u8]),
}

/// Walks the entries of a `WriteRequest`.
pub fn entries(request: &[u8]) -> Entries<'_> {
    Entries { rest: request }
}

/// Iterator of [`entries`]; ends after the first error.
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    fn step(&mut self) -> Result<Option<Entry<'a>>, WireError> {
        loop {
            if let Some((&REQUEST_SERIES, rest)) = self.rest.split_first() {
                self.rest = rest;
                return take_length_delimited(&mut self.rest).map(|bytes| Some(Entry::Series(bytes)));
            }
            match next_field(&mut self.rest)? {
                None => return Ok(None),
                Some((1, value)) => return Ok(Some(Entry::Series(value.bytes(1)?))),
                Some((3, value)) => return Ok(Some(Entry::Metadata(value.bytes(3)?))),
                Some(_) => {}
            }
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.rest = &[];
        }
        step.transpose()
    }
}

/// A series of a request; its float samples are in the columns given to [`read_time_series`].
#[derive(Debug, Clone, PartialEq)]
pub struct TimeSeries<'a> {
    /// The label fields as they stand in the message; borrowed unless a sender scatters them.
    pub labels: Cow<'a, [u8]>,
    /// Native histograms, for [`super::decode_histogram`].
    pub histograms: Vec<&'a [u8]>,
    /// Exemplars, for [`super::decode_exemplar`].
    pub exemplars: Vec<&'a [u8]>,
}

/// Reads one series message: appends its float samples to the two columns, which stay of equal length, also after an
/// error.
#[inline]
pub fn read_time_series<'a>(
    message: &'a [u8],
    timestamps: &mut Vec<Timestamp>,
    values: &mut Vec<f64>,
) -> Result<TimeSeries<'a>, WireError> {
    let mut rest = message;
    while let Some((&SERIES_LABEL, after)) = rest.split_first() {
        rest = after;
        take_length_delimited(&mut rest)?;
    }
    let labels = &message[..message.len() - rest.len()];
    let mut series = TimeSeries { labels: Cow::Borrowed(labels), histograms: Vec::new(), exemplars: Vec::new() };
    while let Some((&tag, after)) = rest.split_first() {
        if tag == SERIES_SAMPLE {
            rest = after;
            let (timestamp, value) = read_sample(take_length_delimited(&mut rest)?)?;
            timestamps.push(timestamp);
            values.push(value);
        } else {
            read_rare_field(&mut rest, &mut series)?;
        }
    }
    Ok(series)
}

/// A field that is neither a leading label nor a sample.
#[cold]
fn read_rare_field<'a>(rest: &mut &'a [u8], series: &mut TimeSeries<'a>) -> Result<(), WireError> {
    let before = *rest;
    match next_field(rest)? {
        Some((1, value)) => {
            value.bytes(1)?;
            let field = &before[..before.len() - rest.len()];
            series.labels.to_mut().extend_from_slice(field);
        }
        // A sample comes here only with a tag of more bytes than it needs, or with the wrong type.
        Some((2, _)) => return Err(WireError::FieldType(2)),
        Some((3, value)) => series.exemplars.push(value.bytes(3)?),
        Some((4, value)) => series.histograms.push(value.bytes(4)?),
        _ => {}
    }
    Ok(())
}

#[inline]
fn read_sample(message: &[u8]) -> Result<(Timestamp, f64), WireError> {
    // What every sender writes for a value and a time that are not zero: two fields in order.
    if let Some((head, mut rest)) = message.split_first_chunk::<10>()
        && head[0] == SAMPLE_VALUE
        && head[9] == SAMPLE_TIMESTAMP
        && let Some(timestamp) = take_varint(&mut rest)
        && rest.is_empty()
    {
        let value = f64::from_le_bytes([head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8]]);
        return Ok((timestamp as i64, value));
    }
    read_sample_slowly(message)
}

#[cold]
fn read_sample_slowly(mut message: &[u8]) -> Result<(Timestamp, f64), WireError> {
    let (mut timestamp, mut value) = (0, 0.0);
    while let Some((field, found)) = next_field(&mut message)? {
        match field {
            1 => value = found.double(1)?,
            2 => timestamp = found.varint(2)? as i64,
            _ => {}
        }
    }
    Ok((timestamp, value))
}

/// What a sender says of a metric family.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetadataEntry<'a> {
    pub metric_type: MetricType,
    pub family: Cow<'a, str>,
    pub help: Cow<'a, str>,
    pub unit: Cow<'a, str>,
}

/// Reads one metadata message. Text that is not UTF-8 is shown as far as it is.
pub fn read_metadata(mut message: &[u8]) -> Result<MetadataEntry<'_>, WireError> {
    let mut entry = MetadataEntry::default();
    while let Some((field, value)) = next_field(&mut message)? {
        match field {
            1 => entry.metric_type = MetricType::from_number(value.varint(1)?).unwrap_or_default(),
            2 => entry.family = String::from_utf8_lossy(value.bytes(2)?),
            4 => entry.help = String::from_utf8_lossy(value.bytes(4)?),
            5 => entry.unit = String::from_utf8_lossy(value.bytes(5)?),
            _ => {}
        }
    }
    Ok(entry)
}
