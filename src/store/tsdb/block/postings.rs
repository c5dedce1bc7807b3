//! Lists of series numbers: one or two stand in the entry of their value, few as differences, many as a bitmap.

use crate::stdx::bytes::{push_varint, take_varint};
use roaring::RoaringBitmap;

/// Up to here a list stands in its entry, four bytes each.
const INLINE_MAX: usize = 2;
/// From here on a bitmap is smaller or quicker than differences.
const BITMAP_MIN: usize = 128;

/// Adds an ascending list to `out` where it does not fit into an entry; gives what the entry says.
pub fn push_list(out: &mut Vec<u8>, numbers: &[u32]) -> u64 {
    if numbers.len() <= INLINE_MAX {
        let word = |index: usize| u64::from(numbers.get(index).copied().unwrap_or_default());
        return word(0) | word(1) << 32;
    }
    let offset = out.len() as u64;
    if numbers.len() < BITMAP_MIN {
        let mut before = 0;
        for number in numbers {
            push_varint(out, u64::from(number - before));
            before = *number;
        }
    } else {
        let mut bitmap = RoaringBitmap::from_sorted_iter(numbers.iter().copied()).unwrap_or_default();
        bitmap.optimize();
        // Writing into memory does not fail.
        let _ = bitmap.serialize_into(&mut *out);
    }
    offset
}

/// Adds the list of an entry to `found`, numbers below `series` only.
pub fn add_list(postings: &[u8], count: u32, entry: u64, series: u32, found: &mut RoaringBitmap) {
    let count = count as usize;
    if count <= INLINE_MAX {
        let numbers = [entry as u32, (entry >> 32) as u32];
        found.extend(numbers.into_iter().take(count).filter(|number| *number < series));
        return;
    }
    let Some(mut bytes) = postings.get(entry as usize..) else { return };
    if count < BITMAP_MIN {
        let mut number = 0u64;
        for _ in 0..count {
            let Some(step) = take_varint(&mut bytes) else { return };
            number = number.saturating_add(step);
            if let Ok(number) = u32::try_from(number)
                && number < series
            {
                found.insert(number);
            }
        }
    } else if let Ok(mut bitmap) = RoaringBitmap::deserialize_from(bytes) {
        if bitmap.max().is_some_and(|max| max >= series) {
            bitmap.remove_range(series..);
        }
        if found.is_empty() {
            *found = bitmap;
        } else {
            *found |= bitmap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_list_is_read_back(lists in proptest::collection::vec(proptest::collection::btree_set(0u32..5000, 1..400), 1..6)) {
            let mut bytes = Vec::new();
            let written: Vec<(Vec<u32>, u64)> = lists.into_iter().map(|list| {
                let list: Vec<u32> = list.into_iter().collect();
                let entry = push_list(&mut bytes, &list);
                (list, entry)
            }).collect();
            for (list, entry) in written {
                let mut found = RoaringBitmap::new();
                add_list(&bytes, list.len() as u32, entry, 5000, &mut found);
                prop_assert_eq!(found.iter().collect::<Vec<_>>(), list);
            }
        }

        #[test]
        fn random_bytes_give_no_number_that_there_is_not(bytes in proptest::collection::vec(any::<u8>(), 0..200), count in 0u32..300, entry in 0u64..300) {
            let mut found = RoaringBitmap::new();
            add_list(&bytes, count, entry, 77, &mut found);
            prop_assert!(found.max().is_none_or(|max| max < 77));
        }
    }
}
