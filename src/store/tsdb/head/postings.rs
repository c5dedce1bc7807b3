//! The inverted index of the head: which series carry which label value.

use crate::model::{Labels, Matcher};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};

/// Series slots by label name and value.
#[derive(Debug, Default)]
pub struct Postings {
    all: RoaringBitmap,
    names: HashMap<Box<str>, BTreeMap<Box<str>, RoaringBitmap>>,
}

impl Postings {
    pub fn insert(&mut self, slot: u32, labels: &Labels) {
        self.all.insert(slot);
        for (name, value) in labels.iter() {
            // Looked up before inserted: names and values are known far more often than not.
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), BTreeMap::new());
            }
            let values = self.names.get_mut(name).expect("just inserted");
            match values.get_mut(value) {
                Some(slots) => {
                    slots.insert(slot);
                }
                None => {
                    values.insert(value.into(), RoaringBitmap::from_iter([slot]));
                }
            }
        }
    }

    pub fn remove(&mut self, slot: u32, labels: &Labels) {
        self.all.remove(slot);
        for (name, value) in labels.iter() {
            let Some(values) = self.names.get_mut(name) else { continue };
            if let Some(slots) = values.get_mut(value) {
                slots.remove(slot);
                if slots.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The slots of the series that pass all matchers.
    pub fn find(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let mut found: Option<RoaringBitmap> = None;
        let (required, excluding): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| !m.matches_empty());
        for matcher in required {
            let slots = self.carrying(matcher, true);
            found = Some(match found {
                None => slots,
                Some(before) => before & slots,
            });
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                return RoaringBitmap::new();
            }
        }
        let mut found = found.unwrap_or_else(|| self.all.clone());
        for matcher in excluding {
            // Passes without the label: only the values that fail take series away.
            found -= self.carrying(matcher, false);
        }
        found
    }

    /// Slots that carry the matcher's label with a value that passes, or with one that fails.
    fn carrying(&self, matcher: &Matcher, passing: bool) -> RoaringBitmap {
        let Some(values) = self.names.get(matcher.name.as_str()) else { return RoaringBitmap::new() };
        match matcher.exact_values() {
            Some(exact) if passing => {
                exact.iter().filter_map(|value| values.get(*value)).fold(RoaringBitmap::new(), |all, slots| all | slots)
            }
            _ => values
                .iter()
                .filter(|(value, _)| matcher.matches(value) == passing)
                .fold(RoaringBitmap::new(), |all, (_, slots)| all | slots),
        }
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(AsRef::as_ref)
    }

    /// Values of a label and how many series carry each.
    pub fn values(&self, name: &str) -> impl Iterator<Item = (&str, u64)> {
        self.names.get(name).into_iter().flatten().map(|(value, slots)| (value.as_ref(), slots.len()))
    }

    /// How many series carry a value of a label.
    pub fn count(&self, name: &str, value: &str) -> u64 {
        self.names.get(name).and_then(|values| values.get(value)).map_or(0, RoaringBitmap::len)
    }

    pub fn pairs(&self) -> u64 {
        self.names.values().map(|values| values.len() as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MatchOp;

    #[test]
    fn matchers_find_what_a_scan_finds() {
        let sets: Vec<Labels> = [
            &[("__name__", "up"), ("job", "a")][..],
            &[("__name__", "up"), ("job", "b"), ("env", "prod")],
            &[("__name__", "down"), ("job", "a"), ("env", "dev")],
            &[("__name__", "down")],
        ]
        .iter()
        .map(|pairs| Labels::from_pairs(pairs.iter().copied()).unwrap())
        .collect();
        let mut postings = Postings::default();
        for (slot, labels) in sets.iter().enumerate() {
            postings.insert(slot as u32, labels);
        }
        for (op, name, value) in [
            (MatchOp::Equal, "job", "a"),
            (MatchOp::Equal, "env", ""),
            (MatchOp::NotEqual, "env", ""),
            (MatchOp::NotEqual, "job", "a"),
            (MatchOp::Regex, "job", "a|b"),
            (MatchOp::Regex, "job", "a|"),
            (MatchOp::Regex, "env", "p.*"),
            (MatchOp::Regex, "env", ".*"),
            (MatchOp::NotRegex, "env", "p.*"),
            (MatchOp::NotRegex, "env", ".+"),
            (MatchOp::Equal, "nosuch", "x"),
        ] {
            for other in [Matcher::new(MatchOp::Regex, "__name__", ".+").unwrap(), Matcher::equal("__name__", "up")] {
                let matchers = [Matcher::new(op, name, value).unwrap(), other];
                let scanned: Vec<u32> = (0..sets.len() as u32)
                    .filter(|slot| matchers.iter().all(|m| m.matches_labels(&sets[*slot as usize])))
                    .collect();
                assert_eq!(postings.find(&matchers).iter().collect::<Vec<_>>(), scanned, "{matchers:?}");
            }
        }
        postings.remove(1, &sets[1]);
        assert_eq!(postings.values("job").collect::<Vec<_>>(), [("a", 2)]);
        assert_eq!(postings.pairs(), 4);
    }
}
