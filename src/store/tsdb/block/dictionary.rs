//! The labels of a block: each name and value once, series as lists of numbers.

use super::{
    format::{Entry, NameEntry, SeriesEntry, ValueEntry},
    postings::push_list,
};
use crate::{
    model::Labels,
    stdx::bytes::{push_varint, take_varint},
};
use std::collections::HashMap;

/// Collects the labels of series in their order.
#[derive(Default)]
pub struct Dictionary {
    names: HashMap<Box<str>, HashMap<Box<str>, u32>>,
    /// Values by the order they were met in.
    values: u32,
    /// For each series the numbers of its values, ascending by name, behind their count.
    labels: Vec<u32>,
    series: u32,
}

/// The parts of the essentials, the label offsets of all series, and the postings.
pub struct Written {
    pub names: Vec<u8>,
    pub values: Vec<u8>,
    pub texts: Vec<u8>,
    pub labels: Vec<u8>,
    pub labels_offsets: Vec<u32>,
    pub postings: Vec<u8>,
}

impl Dictionary {
    pub fn push(&mut self, labels: &Labels) {
        self.labels.push(labels.len() as u32);
        for (name, value) in labels.iter() {
            let values = match self.names.get_mut(name) {
                Some(values) => values,
                None => self.names.entry(name.into()).or_default(),
            };
            let number = match values.get(value) {
                Some(number) => *number,
                None => {
                    values.insert(value.into(), self.values);
                    self.values += 1;
                    self.values - 1
                }
            };
            self.labels.push(number);
        }
        self.series += 1;
    }

    /// Sorts names and values and writes everything.
    pub fn finish(self) -> Written {
        let mut names: Vec<_> = self.names.iter().collect();
        names.sort_unstable_by_key(|(name, _)| *name);
        // From the number in order of meeting to the number in order of sorting.
        let mut sorted = vec![0u32; self.values as usize];
        let mut ordered: Vec<(&str, u32)> = Vec::with_capacity(self.values as usize);
        let (mut name_bytes, mut texts) = (Vec::new(), Vec::new());
        for (number, (name, values)) in names.iter().enumerate() {
            let mut values: Vec<(&str, u32)> = values.iter().map(|(value, met)| (value.as_ref(), *met)).collect();
            values.sort_unstable();
            NameEntry {
                text_offset: texts.len() as u32,
                text_length: name.len() as u32,
                values: values.len() as u32,
                first_value: ordered.len() as u32,
            }
            .encode(&mut name_bytes);
            texts.extend_from_slice(name.as_bytes());
            for (value, met) in values {
                sorted[met as usize] = ordered.len() as u32;
                ordered.push((value, number as u32));
            }
        }
        let lists = Lists::new(&self.labels, &sorted);
        let (mut value_bytes, mut postings) = (Vec::with_capacity(ordered.len() * ValueEntry::BYTES), Vec::new());
        for (number, (text, name)) in ordered.iter().enumerate() {
            let list = lists.of(number);
            ValueEntry {
                text_offset: texts.len() as u32,
                text_length: text.len() as u32,
                name: *name,
                series: list.len() as u32,
                postings: push_list(&mut postings, list),
            }
            .encode(&mut value_bytes);
            texts.extend_from_slice(text.as_bytes());
        }
        let (mut labels, mut labels_offsets) = (Vec::new(), Vec::with_capacity(self.series as usize));
        for_each_series(&self.labels, |_, numbers| {
            labels_offsets.push(labels.len() as u32);
            push_varint(&mut labels, numbers.len() as u64);
            numbers.iter().for_each(|met| push_varint(&mut labels, u64::from(sorted[*met as usize])));
        });
        Written { names: name_bytes, values: value_bytes, texts, labels, labels_offsets, postings }
    }
}

fn for_each_series<'a>(mut labels: &'a [u32], mut visit: impl FnMut(u32, &'a [u32])) {
    let mut series = 0;
    while let Some((count, rest)) = labels.split_first() {
        let (numbers, rest) = rest.split_at(*count as usize);
        visit(series, numbers);
        series += 1;
        labels = rest;
    }
}

/// For each value the series that have it, by counting.
struct Lists {
    starts: Vec<u32>,
    series: Vec<u32>,
}

impl Lists {
    fn new(labels: &[u32], sorted: &[u32]) -> Lists {
        let mut starts = vec![0u32; sorted.len() + 1];
        for_each_series(labels, |_, numbers| {
            numbers.iter().for_each(|met| starts[sorted[*met as usize] as usize + 1] += 1);
        });
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut series = vec![0; starts.last().copied().unwrap_or_default() as usize];
        for_each_series(labels, |number, numbers| {
            for met in numbers {
                let at = &mut next[sorted[*met as usize] as usize];
                series[*at as usize] = number;
                *at += 1;
            }
        });
        Lists { starts, series }
    }

    fn of(&self, value: usize) -> &[u32] {
        &self.series[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

/// Calls `visit(series, offset, numbers)` for the labels of each series; `None` where the bytes are not whole.
pub fn walk_labels(labels: &[u8], mut visit: impl FnMut(u32, u32, &[u32])) -> Option<u32> {
    let mut input = labels;
    let mut numbers = Vec::new();
    let mut series = 0;
    while !input.is_empty() {
        let offset = u32::try_from(labels.len() - input.len()).ok()?;
        numbers.clear();
        for _ in 0..take_varint(&mut input)? {
            numbers.push(u32::try_from(take_varint(&mut input)?).ok()?);
        }
        visit(series, offset, &numbers);
        series += 1;
    }
    Some(series)
}

/// Finds the postings again, in the very bytes that were written, from the labels; `None` where these are not whole.
pub fn rebuild_postings(labels: &[u8], values: usize) -> Option<Vec<u8>> {
    let mut lists = vec![Vec::new(); values];
    walk_labels(labels, |series, _, numbers| {
        for list in numbers.iter() {
            if let Some(list) = lists.get_mut(*list as usize) {
                list.push(series);
            }
        }
    })?;
    let mut postings = Vec::new();
    lists.iter().for_each(|list| {
        push_list(&mut postings, list);
    });
    Some(postings)
}

/// Puts the places of records and labels together.
pub fn push_table(out: &mut Vec<u8>, records: &[u64], labels_offsets: &[u32]) {
    for (record, labels_offset) in records.iter().zip(labels_offsets) {
        SeriesEntry { record: *record, labels_offset: *labels_offset }.encode(out);
    }
}
