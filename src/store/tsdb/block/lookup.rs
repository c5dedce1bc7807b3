//! Finds series of a block by matchers, and their labels, from its index alone.

use super::{
    format::{NameEntry, Table, ValueEntry},
    postings::add_list,
};
use crate::{
    model::{Labels, Matcher},
    stdx::bytes::{push_slice, take_varint},
};
use roaring::RoaringBitmap;
use std::cmp::Ordering;

/// The label index of one block.
#[derive(Clone, Copy)]
pub struct LabelIndex<'a> {
    pub names: Table<'a>,
    pub values: Table<'a>,
    pub texts: &'a [u8],
    pub labels: &'a [u8],
    pub postings: &'a [u8],
    pub series: u32,
}

impl<'a> LabelIndex<'a> {
    fn text(&self, offset: u32, length: u32) -> &'a str {
        let bytes = self.texts.get(offset as usize..(offset as usize).saturating_add(length as usize));
        std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
    }

    /// Sorted label names.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.names.len::<NameEntry>()).filter_map(|at| {
            let entry: NameEntry = self.names.get(at)?;
            Some(self.text(entry.text_offset, entry.text_length))
        })
    }

    fn name(&self, name: &str) -> Option<NameEntry> {
        let (mut low, mut high) = (0, self.names.len::<NameEntry>());
        while low < high {
            let middle = (low + high) / 2;
            let entry: NameEntry = self.names.get(middle)?;
            match self.text(entry.text_offset, entry.text_length).cmp(name) {
                Ordering::Equal => return Some(entry),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Sorted values of a label, each with its entry.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&'a str, ValueEntry)> + '_ {
        let (first, count) = self.name(name).map_or((0, 0), |entry| (entry.first_value, entry.values));
        (0..count).filter_map(move |at| {
            let entry: ValueEntry = self.values.get(first.saturating_add(at) as usize)?;
            Some((self.text(entry.text_offset, entry.text_length), entry))
        })
    }

    fn value(&self, name: &str, value: &str) -> Option<ValueEntry> {
        let entry = self.name(name)?;
        let (mut low, mut high) = (entry.first_value, entry.first_value.saturating_add(entry.values));
        while low < high {
            let middle = low + (high - low) / 2;
            let entry: ValueEntry = self.values.get(middle as usize)?;
            match self.text(entry.text_offset, entry.text_length).cmp(value) {
                Ordering::Equal => return Some(entry),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// The labels that stand at an offset of theirs; `None` where what is there makes no sense.
    pub fn labels(&self, offset: u32) -> Option<Labels> {
        let mut input = self.labels.get(offset as usize..)?;
        let mut bytes = Vec::with_capacity(160);
        for _ in 0..take_varint(&mut input)? {
            let value: ValueEntry = self.values.get(usize::try_from(take_varint(&mut input)?).ok()?)?;
            let name: NameEntry = self.names.get(value.name as usize)?;
            push_slice(&mut bytes, self.text(name.text_offset, name.text_length).as_bytes());
            push_slice(&mut bytes, self.text(value.text_offset, value.text_length).as_bytes());
        }
        Labels::from_bytes(&bytes).ok()
    }

    fn add(&self, entry: &ValueEntry, found: &mut RoaringBitmap) {
        add_list(self.postings, entry.series, entry.postings, self.series, found);
    }

    /// Numbers of the series that have a value.
    pub fn series_of(&self, entry: &ValueEntry) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.add(entry, &mut found);
        found
    }

    /// Numbers of the series that pass all matchers.
    pub fn find(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(|m| !m.matches_empty()) {
            let passing = self.carrying(matcher, true);
            found = Some(match found {
                None => passing,
                Some(before) => before & passing,
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return RoaringBitmap::new();
            }
        }
        let mut found = found.unwrap_or_else(|| RoaringBitmap::from_iter(0..self.series));
        for matcher in matchers.iter().filter(|m| m.matches_empty()) {
            found -= self.carrying(matcher, false);
        }
        found
    }

    /// Series that have the label with a value that the matcher passes, or one it does not.
    fn carrying(&self, matcher: &Matcher, passing: bool) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        match matcher.exact_values() {
            Some(exact) if passing => {
                for entry in exact.iter().filter_map(|value| self.value(&matcher.name, value)) {
                    self.add(&entry, &mut found);
                }
            }
            _ => {
                for (_, entry) in self.values(&matcher.name).filter(|(value, _)| matcher.matches(value) == passing) {
                    self.add(&entry, &mut found);
                }
            }
        }
        found
    }
}
