//! Finds series of a window file by matchers, from its index alone.

use super::format::{Entry, NameEntry, Section, ValueEntry};
use crate::model::Matcher;
use roaring::RoaringBitmap;
use std::cmp::Ordering;

/// A table of fixed-width entries inside the mapped file.
#[derive(Clone, Copy)]
pub struct Table<'a>(pub &'a [u8]);

impl<'a> Table<'a> {
    pub fn new(file: &'a [u8], section: Section) -> Table<'a> {
        let bytes = file.get(section.offset as usize..section.offset.saturating_add(section.length) as usize);
        Table(bytes.unwrap_or_default())
    }

    pub fn len<E: Entry>(&self) -> usize {
        self.0.len() / E::BYTES
    }

    pub fn get<E: Entry>(&self, index: usize) -> Option<E> {
        E::decode(self.0.get(index.checked_mul(E::BYTES)?..)?)
    }
}

/// The label index of one file.
pub struct LabelIndex<'a> {
    pub names: Table<'a>,
    pub values: Table<'a>,
    pub texts: &'a [u8],
    pub postings: &'a [u8],
    pub series: u32,
}

impl<'a> LabelIndex<'a> {
    fn text(&self, offset: u64, length: u32) -> &'a str {
        let end = offset.saturating_add(u64::from(length)) as usize;
        let bytes = self.texts.get(offset as usize..end).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Sorted label names.
    pub fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        (0..self.names.len::<NameEntry>()).filter_map(|at| {
            let entry: NameEntry = self.names.get(at)?;
            Some(self.text(entry.offset, entry.length))
        })
    }

    fn name(&self, name: &str) -> Option<NameEntry> {
        let (mut low, mut high) = (0, self.names.len::<NameEntry>());
        while low < high {
            let middle = (low + high) / 2;
            let entry: NameEntry = self.names.get(middle)?;
            match self.text(entry.offset, entry.length).cmp(name) {
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
        (0..u64::from(count)).filter_map(move |at| {
            let entry: ValueEntry = self.values.get(first.saturating_add(at) as usize)?;
            Some((self.text(entry.offset, entry.length), entry))
        })
    }

    fn value(&self, name: &str, value: &str) -> Option<ValueEntry> {
        let entry = self.name(name)?;
        let (mut low, mut high) = (entry.first_value, entry.first_value.saturating_add(u64::from(entry.values)));
        while low < high {
            let middle = (low + high) / 2;
            let entry: ValueEntry = self.values.get(middle as usize)?;
            match self.text(entry.offset, entry.length).cmp(value) {
                Ordering::Equal => return Some(entry),
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
            }
        }
        None
    }

    fn add(&self, entry: &ValueEntry, found: &mut RoaringBitmap) {
        let from = entry.postings_offset as usize;
        let bytes = self.postings.get(from..from.saturating_add(entry.series as usize * 4)).unwrap_or_default();
        let (words, _) = bytes.as_chunks::<4>();
        found.extend(words.iter().map(|word| u32::from_le_bytes(*word)).filter(|number| *number < self.series));
    }

    /// Numbers of the series that pass all matchers.
    pub fn find(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(|m| !m.matches_empty()) {
            let slots = self.carrying(matcher, true);
            found = Some(match found {
                None => slots,
                Some(before) => before & slots,
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
