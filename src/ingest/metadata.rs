//! What was last said of each metric family, in memory: senders repeat it.

use crate::model::Metadata;
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// Longer help texts are cut: they are shown in a tooltip.
const HELP_BYTES_MAX: usize = 1024;
/// Longer family names are no names.
const NAME_BYTES_MAX: usize = 512;

/// Type, help and unit by family name; bounded.
#[derive(Debug)]
pub struct MetadataTable {
    families: RwLock<BTreeMap<String, Metadata>>,
    families_max: usize,
}

impl MetadataTable {
    pub(super) fn new(families_max: usize) -> MetadataTable {
        MetadataTable { families: RwLock::default(), families_max }
    }

    /// Remembers the latest word on a family.
    pub(super) fn set(&self, family: &str, mut metadata: Metadata) {
        if family.is_empty() || family.len() > NAME_BYTES_MAX {
            return;
        }
        for text in [&mut metadata.help, &mut metadata.unit] {
            text.truncate(text.floor_char_boundary(HELP_BYTES_MAX));
        }
        if self.families.read().get(family) == Some(&metadata) {
            return;
        }
        let mut families = self.families.write();
        // Who keeps sending fills it again: better than to keep names that were sent once and refuse the rest.
        if families.len() >= self.families_max && !families.contains_key(family) {
            families.clear();
        }
        families.insert(family.to_owned(), metadata);
    }

    /// The families in order of name, at most `limit`; 0 means all.
    pub fn all(&self, limit: usize) -> Vec<(String, Metadata)> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        self.families.read().iter().take(limit).map(|(name, metadata)| (name.clone(), metadata.clone())).collect()
    }

    /// What is known of one family.
    pub fn get(&self, family: &str) -> Option<Metadata> {
        self.families.read().get(family).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_and_the_last_word_counts() {
        let table = MetadataTable::new(10);
        for number in 0..35 {
            table.set(&format!("m{number}"), Metadata { help: "é".repeat(5000), ..Metadata::default() });
        }
        assert!(table.all(0).len() <= 10);
        assert_eq!(table.get("m34").map(|m| m.help.len()), Some(HELP_BYTES_MAX));
        table.set("m34", Metadata { help: "new".to_owned(), ..Metadata::default() });
        assert_eq!(table.get("m34").map(|m| m.help), Some("new".to_owned()));
        assert_eq!(table.all(2).len(), 2);
    }
}
