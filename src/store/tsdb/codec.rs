//! Histograms and runs as bytes, the same in the log, the checkpoint and blocks.

use super::run::{Run, RunEnd};
use crate::{
    model::{CountKind, Histogram, ResetHint, Span},
    stdx::bytes::{push_varint, push_varint_signed, take, take_array, take_varint, take_varint_signed},
};

/// More buckets than any sender makes; bounds what damaged bytes can ask for.
const BUCKETS_MAX: u64 = 1 << 20;

pub fn push_histogram(out: &mut Vec<u8>, histogram: &Histogram) {
    let hint = match histogram.reset_hint {
        ResetHint::Unknown => 0,
        ResetHint::Reset => 1,
        ResetHint::NotReset => 2,
        ResetHint::Gauge => 3,
    };
    out.push(hint << 1 | u8::from(histogram.kind == CountKind::Integer));
    push_varint_signed(out, i64::from(histogram.schema));
    for value in [histogram.zero_threshold, histogram.zero_count, histogram.count, histogram.sum] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for spans in [&histogram.positive_spans, &histogram.negative_spans] {
        push_varint(out, spans.len() as u64);
        for span in spans {
            push_varint_signed(out, i64::from(span.offset));
            push_varint(out, u64::from(span.length));
        }
    }
    for values in [&histogram.positive_buckets, &histogram.negative_buckets, &histogram.custom_values] {
        push_varint(out, values.len() as u64);
        for value in values {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

pub fn take_histogram(input: &mut &[u8]) -> Option<Histogram> {
    let [head] = take_array(input)?;
    let reset_hint = match head >> 1 {
        0 => ResetHint::Unknown,
        1 => ResetHint::Reset,
        2 => ResetHint::NotReset,
        3 => ResetHint::Gauge,
        _ => return None,
    };
    let kind = if head & 1 == 1 { CountKind::Integer } else { CountKind::Float };
    let schema = i32::try_from(take_varint_signed(input)?).ok()?;
    let mut float = || take_array(input).map(f64::from_le_bytes);
    let (zero_threshold, zero_count, count, sum) = (float()?, float()?, float()?, float()?);
    Some(Histogram {
        kind,
        reset_hint,
        schema,
        zero_threshold,
        zero_count,
        count,
        sum,
        positive_spans: take_spans(input)?,
        negative_spans: take_spans(input)?,
        positive_buckets: take_floats(input)?,
        negative_buckets: take_floats(input)?,
        custom_values: take_floats(input)?,
    })
}

/// Goes past a histogram without making it; `None` where [`take_histogram`] would not find one by its lengths.
pub fn skip_histogram(input: &mut &[u8]) -> Option<()> {
    take(input, 1)?;
    take_varint(input)?;
    take(input, 4 * size_of::<f64>())?;
    for _ in ["positive spans", "negative spans"] {
        for _ in 0..take_varint(input).filter(|count| *count <= BUCKETS_MAX)? {
            take_varint(input)?;
            take_varint(input)?;
        }
    }
    for _ in ["positive buckets", "negative buckets", "custom values"] {
        let count = take_varint(input).filter(|count| *count <= BUCKETS_MAX)?;
        take(input, count as usize * size_of::<f64>())?;
    }
    Some(())
}

fn take_spans(input: &mut &[u8]) -> Option<Vec<Span>> {
    let count = take_varint(input).filter(|count| *count <= BUCKETS_MAX)?;
    let mut spans = Vec::new();
    for _ in 0..count {
        let offset = i32::try_from(take_varint_signed(input)?).ok()?;
        spans.push(Span { offset, length: u32::try_from(take_varint(input)?).ok()? });
    }
    Some(spans)
}

fn take_floats(input: &mut &[u8]) -> Option<Vec<f64>> {
    let count = take_varint(input).filter(|count| *count <= BUCKETS_MAX)?;
    (0..count).map(|_| take_array(input).map(f64::from_le_bytes)).collect()
}

/// Beside the end of a run: when it began stands there too, as its first points were cut away.
const BEGAN: u8 = 1 << 2;

pub fn push_run(out: &mut Vec<u8>, run: &Run) {
    out.extend_from_slice(&run.value.to_le_bytes());
    push_varint_signed(out, run.first);
    push_varint_signed(out, run.step_ms);
    let (end, at) = match run.end {
        RunEnd::Open => (0, None),
        RunEnd::Last(at) => (1, Some(at)),
        RunEnd::StaleAt(at) => (2, Some(at)),
        RunEnd::Continued(at) => (3, Some(at)),
    };
    let began = (run.began != run.first).then_some(run.began);
    out.push(end | if began.is_some() { BEGAN } else { 0 });
    began.into_iter().chain(at).for_each(|time| push_varint_signed(out, time));
}

pub fn take_run(input: &mut &[u8]) -> Option<Run> {
    let value = f64::from_le_bytes(take_array(input)?);
    let (first, step_ms) = (take_varint_signed(input)?, take_varint_signed(input)?);
    let [tag] = take_array(input)?;
    let began = if tag & BEGAN != 0 { take_varint_signed(input)? } else { first };
    let end = match tag & !BEGAN {
        0 => RunEnd::Open,
        1 => RunEnd::Last(take_varint_signed(input)?),
        2 => RunEnd::StaleAt(take_varint_signed(input)?),
        3 => RunEnd::Continued(take_varint_signed(input)?),
        _ => return None,
    };
    (step_ms > 0).then_some(Run { value, first, began, step_ms, end })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_histogram_is_skipped_to_where_reading_it_ends(
            schema in -60i32..60,
            spans in prop::collection::vec((any::<i32>(), any::<u32>()), 0..5),
            values in prop::collection::vec(any::<f64>(), 0..20),
            cut in 0usize..400,
        ) {
            let positive_spans = spans.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect();
            let (positive_buckets, custom_values) = (values.clone(), values);
            let histogram = Histogram { schema, positive_spans, positive_buckets, custom_values, ..Histogram::default() };
            let mut bytes = Vec::new();
            push_histogram(&mut bytes, &histogram);
            bytes.extend_from_slice(b"next");
            let (mut skipped, mut taken) = (&bytes[..], &bytes[..]);
            prop_assert_eq!((skip_histogram(&mut skipped), take_histogram(&mut taken).is_some()), (Some(()), true));
            prop_assert_eq!((skipped, taken), (&b"next"[..], &b"next"[..]));
            let short = &bytes[..cut.min(bytes.len())];
            prop_assert_eq!(skip_histogram(&mut { short }).is_some(), take_histogram(&mut { short }).is_some());
        }
    }
}
