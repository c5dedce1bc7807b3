//! The order in which the parts of one series are read.

use crate::model::Timestamp;

/// Where a part lies in time, and how it stands to others of the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub start: Timestamp,
    /// The moment behind the last.
    pub end: Timestamp,
    /// Its samples replace those of the same time in parts of older generations.
    pub overwrites: bool,
    /// Grows with the time of writing.
    pub generation: u64,
    /// How often it was merged: of one generation, what was merged is older than what was not.
    pub level: u64,
}

/// Orders parts so that of two samples of one time the later in order wins: by time, and where parts overlap, those that
/// do not overwrite newest first, then those that do oldest first.
pub fn put_in_order<T>(parts: &mut [T], place: impl Fn(&T) -> Place) {
    if parts.len() < 2 {
        return;
    }
    parts.sort_by_key(|part| place(part).start);
    let mut from = 0;
    while from < parts.len() {
        let mut end = place(&parts[from]).end;
        let mut to = from + 1;
        while to < parts.len() && place(&parts[to]).start < end {
            end = end.max(place(&parts[to]).end);
            to += 1;
        }
        if to - from > 1 {
            parts[from..to].sort_by_key(|part| {
                let Place { overwrites, generation, level, .. } = place(part);
                if overwrites { (true, generation, !level) } else { (false, !generation, level) }
            });
        }
        from = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_overlap_are_ordered_by_who_wins_and_others_by_time() {
        let part = |start, end, overwrites, generation| Place { start, end, overwrites, generation, level: 0 };
        let first = part(0, 10, false, 9);
        let (older, newer) = (part(10, 40, false, 3), part(20, 30, false, 5));
        let (replaces, replaces_again) = (part(30, 40, true, 4), part(10, 20, true, 6));
        let last = part(40, 50, false, 1);
        let mut parts = [last, replaces_again, newer, replaces, older, first];
        put_in_order(&mut parts, |part| *part);
        assert_eq!(parts, [first, newer, older, replaces, replaces_again, last]);
    }

    #[test]
    fn what_was_merged_is_older_than_what_was_sealed_at_the_same_position_of_the_log() {
        let merged = Place { start: 0, end: 40, overwrites: false, generation: 5, level: 1 };
        let late = Place { start: 10, end: 20, level: 0, ..merged };
        let (late_replaces, replaces) = (Place { overwrites: true, ..late }, Place { overwrites: true, ..merged });
        let mut parts = [merged, late, late_replaces, replaces];
        put_in_order(&mut parts, |part| *part);
        assert_eq!(parts, [late, merged, replaces, late_replaces]);
    }
}
