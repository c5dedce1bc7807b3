//! What the log's records say: series, layouts and batches. `docs/formats/log.md` describes them field by field.
//!
//! A batch does not repeat its series: it names a *layout*, an ordered list of series ids written once a segment.

use super::codec::{push_histogram, take_histogram};
use crate::{
    model::Labels,
    stdx::bytes::{
        push_slice, push_varint, push_varint_signed, take, take_array, take_slice, take_varint, take_varint_signed,
    },
    store::{Conflict, RunChange, SeriesId, StateChange, Tree, WriteBatch},
};
use std::{collections::HashMap, sync::Arc};

/// Record kinds.
pub const SERIES: u8 = 1;
pub const LAYOUT: u8 = 2;
pub const BATCH: u8 = 3;
pub const EXEMPLARS: u8 = 4;

/// Layouts remembered in a segment. Senders with ever-changing batches write theirs each time.
const LAYOUTS_MAX: usize = 4096;

/// What the writer remembers of the segment it is in.
#[derive(Default)]
pub struct Layouts {
    known: HashMap<u128, u64>,
    last: u64,
}

impl Layouts {
    /// Forgets everything: a segment stands alone.
    pub fn clear(&mut self) {
        self.known.clear();
        self.last = 0;
    }

    /// The number of the layout of these series, and whether it has to be written first.
    pub fn number_of(&mut self, series: &[SeriesId]) -> (u64, bool) {
        let mut hasher = xxhash_rust::xxh3::Xxh3::new();
        for id in series {
            hasher.update(&id.0.to_le_bytes());
        }
        let hash = hasher.digest128();
        if let Some(number) = self.known.get(&hash) {
            return (*number, false);
        }
        self.last += 1;
        if self.known.len() < LAYOUTS_MAX {
            self.known.insert(hash, self.last);
        }
        (self.last, true)
    }
}

pub fn push_series(out: &mut Vec<u8>, id: SeriesId, labels: &Labels) {
    push_varint(out, id.0);
    push_slice(out, labels.as_bytes());
}

/// Reads one series; `None` where damaged or at the end.
pub fn take_series(input: &mut &[u8]) -> Option<(SeriesId, Labels)> {
    let id = SeriesId(take_varint(input)?);
    Some((id, Labels::from_bytes(take_slice(input)?).ok()?))
}

pub fn push_layout(out: &mut Vec<u8>, number: u64, series: &[SeriesId]) {
    push_varint(out, number);
    push_varint(out, series.len() as u64);
    let mut before = 0i64;
    for id in series {
        push_varint_signed(out, (id.0 as i64).wrapping_sub(before));
        before = id.0 as i64;
    }
}

pub fn take_layout(mut input: &[u8]) -> Option<(u64, Arc<[SeriesId]>)> {
    let (number, count) = (take_varint(&mut input)?, take_varint(&mut input)?);
    let mut before = 0i64;
    let ids: Option<Vec<SeriesId>> = (0..count)
        .map(|_| {
            before = before.wrapping_add(take_varint_signed(&mut input)?);
            Some(SeriesId(before as u64))
        })
        .collect();
    Some((number, ids?.into()))
}

/// Appends a batch whose float columns follow layout `layout` (0 where there are none).
pub fn push_batch(out: &mut Vec<u8>, batch: &WriteBatch, layout: u64) {
    out.push(u8::from(batch.conflict == Conflict::Overwrite));
    push_varint(out, layout);
    if layout > 0 {
        push_timestamps(out, &batch.timestamps);
        out.reserve(batch.values.len() * 8);
        for value in &batch.values {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
    push_varint(out, batch.histograms.len() as u64);
    for (series, at, histogram) in &batch.histograms {
        push_varint(out, series.0);
        push_varint_signed(out, *at);
        push_histogram(out, histogram);
    }
    push_varint(out, batch.runs.len() as u64);
    for change in &batch.runs {
        match *change {
            RunChange::Open { series, value, first, step_ms } => {
                out.push(0);
                push_varint(out, series.0);
                out.extend_from_slice(&value.to_le_bytes());
                push_varint_signed(out, first);
                push_varint_signed(out, step_ms);
            }
            RunChange::Close { series, at } => {
                out.push(1);
                push_varint(out, series.0);
                push_varint_signed(out, at);
            }
            RunChange::Whole { series, value, first, last, step_ms } => {
                out.push(2);
                push_varint(out, series.0);
                out.extend_from_slice(&value.to_le_bytes());
                for number in [first, last, step_ms] {
                    push_varint_signed(out, number);
                }
            }
        }
    }
    push_varint(out, batch.state.len() as u64);
    for change in &batch.state {
        out.push(change.tree as u8);
        push_slice(out, &change.key);
        match &change.value {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                push_slice(out, value);
            }
        }
    }
}

/// Timestamps as stretches of equal ones: one stretch where a scrape is alone in its batch.
fn push_timestamps(out: &mut Vec<u8>, timestamps: &[i64]) {
    let mut before = 0i64;
    for stretch in timestamps.chunk_by(|a, b| a == b) {
        push_varint(out, stretch.len() as u64);
        push_varint_signed(out, stretch[0].wrapping_sub(before));
        before = stretch[0];
    }
}

/// Reads a batch into `batch`, which is cleared first. `None` where damaged or where its layout is unknown.
pub fn take_batch(mut input: &[u8], layouts: &HashMap<u64, Arc<[SeriesId]>>, batch: &mut WriteBatch) -> Option<()> {
    batch.clear();
    let [conflict] = take_array(&mut input)?;
    batch.conflict = if conflict == 1 { Conflict::Overwrite } else { Conflict::Refuse };
    let layout = take_varint(&mut input)?;
    if layout > 0 {
        let series = layouts.get(&layout)?;
        batch.series.extend_from_slice(series);
        let mut at = 0i64;
        while batch.timestamps.len() < series.len() {
            let length = usize::try_from(take_varint(&mut input)?).ok()?;
            at = at.wrapping_add(take_varint_signed(&mut input)?);
            if length == 0 || length > series.len() - batch.timestamps.len() {
                return None;
            }
            batch.timestamps.extend(std::iter::repeat_n(at, length));
        }
        let (words, _) = take(&mut input, series.len() * 8)?.as_chunks::<8>();
        batch.values.extend(words.iter().map(|word| f64::from_le_bytes(*word)));
    }
    for _ in 0..take_varint(&mut input)? {
        let series = SeriesId(take_varint(&mut input)?);
        let at = take_varint_signed(&mut input)?;
        batch.histograms.push((series, at, Arc::new(take_histogram(&mut input)?)));
    }
    for _ in 0..take_varint(&mut input)? {
        let [kind] = take_array(&mut input)?;
        let series = SeriesId(take_varint(&mut input)?);
        batch.runs.push(match kind {
            0 => RunChange::Open {
                series,
                value: f64::from_le_bytes(take_array(&mut input)?),
                first: take_varint_signed(&mut input)?,
                step_ms: take_varint_signed(&mut input)?,
            },
            1 => RunChange::Close { series, at: take_varint_signed(&mut input)? },
            2 => RunChange::Whole {
                series,
                value: f64::from_le_bytes(take_array(&mut input)?),
                first: take_varint_signed(&mut input)?,
                last: take_varint_signed(&mut input)?,
                step_ms: take_varint_signed(&mut input)?,
            },
            _ => return None,
        });
    }
    for _ in 0..take_varint(&mut input)? {
        let tree = Tree::from_number(take_array::<1>(&mut input)?[0])?;
        let key = take_slice(&mut input)?.to_vec();
        let value = match take_array::<1>(&mut input)?[0] {
            0 => None,
            _ => Some(take_slice(&mut input)?.to_vec()),
        };
        batch.state.push(StateChange { tree, key, value });
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CountKind, Histogram, ResetHint, Span};
    use proptest::prelude::*;

    #[test]
    fn a_batch_of_every_kind_survives() {
        let ids = [SeriesId(900), SeriesId(3), SeriesId(u64::MAX >> 1)];
        let mut batch = WriteBatch { conflict: Conflict::Overwrite, ..WriteBatch::default() };
        for (id, at) in ids.iter().zip([-5, -5, 70_000]) {
            batch.push(*id, at, at as f64);
        }
        let histogram = Histogram {
            kind: CountKind::Integer,
            reset_hint: ResetHint::Gauge,
            schema: -53,
            sum: f64::NAN,
            positive_spans: vec![Span { offset: -3, length: 2 }],
            positive_buckets: vec![1.0, 2.5],
            custom_values: vec![0.1],
            ..Histogram::default()
        };
        batch.histograms.push((ids[1], 9, Arc::new(histogram)));
        batch.runs.push(RunChange::Open { series: ids[0], value: -0.0, first: 1, step_ms: 15_000 });
        batch.runs.push(RunChange::Close { series: ids[1], at: i64::MIN });
        batch.runs.push(RunChange::Whole { series: ids[0], value: 7.5, first: -1, last: i64::MAX, step_ms: 60_000 });
        batch.state.push(StateChange { tree: Tree::Jobs, key: b"k".to_vec(), value: None });
        batch.state.push(StateChange { tree: Tree::PushGroups, key: vec![], value: Some(vec![0; 300]) });

        let mut layouts = Layouts::default();
        assert_eq!((layouts.number_of(&ids), layouts.number_of(&ids)), ((1, true), (1, false)));
        let (mut layout, mut bytes) = (Vec::new(), Vec::new());
        push_layout(&mut layout, 1, &ids);
        push_batch(&mut bytes, &batch, 1);
        let known = HashMap::from([take_layout(&layout).unwrap()]);
        let mut read = WriteBatch::default();
        take_batch(&bytes, &known, &mut read).unwrap();
        assert_eq!(format!("{read:?}"), format!("{batch:?}"));
        assert!(take_batch(&bytes, &HashMap::new(), &mut read).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let known = HashMap::from([(1, Arc::from([SeriesId(1), SeriesId(2)]))]);
            let _ = take_batch(&bytes, &known, &mut WriteBatch::default());
            let _ = take_layout(&bytes);
            let _ = take_series(&mut &bytes[..]);
        }
    }
}
