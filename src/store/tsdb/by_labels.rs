//! Puts many series into the order of their labels.
//!
//! Comparing label sets that lie anywhere in memory waits for memory. So series are first sorted by the beginning of
//! their metric names, which is copied beside them, and then within groups that fit into the processor's caches.

use crate::{
    model::{Labels, METRIC_NAME},
    stdx::cancel::Cancel,
    store::StoreError,
};

/// Below this everything is in the caches anyway.
const KEYED_MIN: usize = 4096;
/// Series sorted between two looks at the cancel flag: a few milliseconds.
const LOOK_SERIES: usize = 8192;

/// What comes before, with or behind the metric name among label names, then the first bytes of that name's value.
type Key = (u8, u128);

/// Numbers of the series in the order of their labels. Fails where it is cancelled.
pub fn order<'a>(count: usize, labels: impl Fn(u32) -> &'a Labels, cancel: &Cancel) -> Result<Vec<u32>, StoreError> {
    // More series than this do not fit into memory.
    let numbers = 0..count as u32;
    if count < KEYED_MIN {
        let mut order: Vec<u32> = numbers.collect();
        order.sort_unstable_by(|a, b| labels(*a).cmp(labels(*b)));
        return Ok(order);
    }
    let mut keyed: Vec<(Key, u32)> = Vec::with_capacity(count);
    for number in numbers {
        if (number as usize).is_multiple_of(LOOK_SERIES) {
            check(cancel)?;
        }
        keyed.push((key(labels(number)), number));
    }
    keyed.sort_unstable_by_key(|(key, _)| *key);
    let mut since_look = 0;
    for group in keyed.chunk_by_mut(|a, b| a.0 == b.0) {
        since_look += group.len();
        if since_look >= LOOK_SERIES {
            check(cancel)?;
            since_look = 0;
        }
        group.sort_unstable_by(|a, b| labels(a.1).cmp(labels(b.1)));
    }
    Ok(keyed.into_iter().map(|(_, number)| number).collect())
}

/// Fails where the work is cancelled.
pub fn check(cancel: &Cancel) -> Result<(), StoreError> {
    if cancel.is_canceled() { Err(StoreError::Canceled) } else { Ok(()) }
}

/// Never greater for a lesser label set.
fn key(labels: &Labels) -> Key {
    match labels.iter().next() {
        None => (0, 0),
        Some((name, value)) => match name.cmp(METRIC_NAME) {
            std::cmp::Ordering::Less => (0, 0),
            std::cmp::Ordering::Greater => (2, 0),
            std::cmp::Ordering::Equal => {
                let mut bytes = [0; 16];
                let length = value.len().min(16);
                bytes[..length].copy_from_slice(&value.as_bytes()[..length]);
                (1, u128::from_be_bytes(bytes))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

        #[test]
        fn many_series_come_in_the_order_of_their_labels(
            seeds in proptest::collection::vec((0u8..3, "[a-c\u{0}é]{0,20}", "[A-C_a-c]{1,2}", 0u32..9), 1..60),
        ) {
            let many = seeds.iter().cycle().take(KEYED_MIN + 100).enumerate().map(|(at, (kind, name, label, value))| {
                let (number, value) = ((at % 1000).to_string(), value.to_string());
                let pairs = match kind {
                    0 => vec![(label.as_str(), value.as_str())],
                    _ => vec![("__name__", name.as_str()), (label.as_str(), value.as_str()), ("zz", number.as_str())],
                };
                Labels::from_pairs(pairs).unwrap()
            });
            let many: Vec<Labels> = many.collect();
            let found = order(many.len(), |number| &many[number as usize], &Cancel::new()).unwrap();
            prop_assert!(found.windows(2).all(|pair| many[pair[0] as usize] <= many[pair[1] as usize]));
            let mut sorted = found;
            sorted.sort_unstable();
            prop_assert!(sorted.into_iter().eq(0..many.len() as u32));
        }
    }

    #[test]
    fn what_is_cancelled_ends() {
        let cancel = Cancel::new();
        cancel.cancel();
        let labels = Labels::empty();
        assert!(matches!(order(KEYED_MIN, |_| &labels, &cancel), Err(StoreError::Canceled)));
    }
}
