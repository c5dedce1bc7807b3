//! The clocks of a block: timestamps that many series share, kept once.

use crate::stdx::bytes::{push_varint_signed, take_varint_signed};
use std::collections::HashMap;

/// Clocks a series with missing samples is tried on before it gets its own: those used last come first, and the series
/// of one source stand together.
const TRIED_MAX: usize = 32;

/// Where the samples of a series lie on a clock: ticks `first..first + ticks` without `gaps`, which are relative to
/// `first`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    pub clock: u32,
    pub first: u32,
    pub ticks: u32,
    pub gaps: Vec<(u32, u32)>,
}

/// Collects the clocks of a block that is being written. A tick is milliseconds since the block's start.
#[derive(Default)]
pub struct ClockSet {
    clocks: Vec<Vec<u32>>,
    by_content: HashMap<u64, Vec<u32>>,
    /// Numbers of clocks, the one used last at the end.
    recent: Vec<u32>,
    /// Ticks as bytes, to be hashed.
    bytes: Vec<u8>,
}

impl ClockSet {
    /// Adds a clock as it is; gives its number.
    fn add(&mut self, ticks: Vec<u32>) -> u32 {
        self.clocks.push(ticks);
        self.clocks.len() as u32 - 1
    }

    /// Adds a clock as it is, once; gives its number.
    pub fn add_once(&mut self, ticks: Vec<u32>) -> u32 {
        let hash = self.hash(&ticks);
        let mut same = self.by_content.get(&hash).into_iter().flatten().copied();
        same.find(|clock| self.clocks[*clock as usize] == ticks).unwrap_or_else(|| {
            let clock = self.add(ticks);
            self.by_content.entry(hash).or_default().push(clock);
            clock
        })
    }

    /// Finds a clock that has all of `ticks`, which ascend, or makes it one.
    pub fn place(&mut self, ticks: &[u32]) -> Placement {
        self.find(ticks).unwrap_or_else(|| {
            let hash = self.hash(ticks);
            let clock = self.add(ticks.to_vec());
            self.by_content.entry(hash).or_default().push(clock);
            self.touch(clock);
            Placement { clock, first: 0, ticks: ticks.len() as u32, gaps: Vec::new() }
        })
    }

    fn hash(&mut self, ticks: &[u32]) -> u64 {
        self.bytes.clear();
        self.bytes.extend(ticks.iter().flat_map(|tick| tick.to_le_bytes()));
        xxhash_rust::xxh3::xxh3_64(&self.bytes)
    }

    /// Finds a clock that has all of `ticks`, which ascend.
    pub fn find(&mut self, ticks: &[u32]) -> Option<Placement> {
        let hash = self.hash(ticks);
        let same = self.by_content.get(&hash).into_iter().flatten().copied();
        let mut same = same.filter(|clock| self.clocks[*clock as usize] == ticks);
        if let Some(clock) = same.next() {
            self.touch(clock);
            return Some(Placement { clock, first: 0, ticks: ticks.len() as u32, gaps: Vec::new() });
        }
        let tried = self.recent.iter().rev().take(TRIED_MAX);
        let found = tried.filter_map(|clock| within(*clock, &self.clocks[*clock as usize], ticks)).next()?;
        self.touch(found.clock);
        Some(found)
    }

    fn touch(&mut self, clock: u32) {
        if self.recent.last() == Some(&clock) {
            return;
        }
        self.recent.retain(|other| *other != clock);
        self.recent.push(clock);
        if self.recent.len() > 2 * TRIED_MAX {
            self.recent.drain(..TRIED_MAX);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.clocks.iter().map(Vec::as_slice)
    }
}

/// The place of `ticks` on a clock that has all of them and not many more between.
fn within(number: u32, clock: &[u32], ticks: &[u32]) -> Option<Placement> {
    let first = clock.binary_search(ticks.first()?).ok()?;
    let last = clock.binary_search(ticks.last()?).ok()?;
    let gaps_max = 1 + ticks.len() / 8;
    let mut gaps = Vec::new();
    let mut at = first;
    for tick in ticks {
        let from = at;
        while *clock.get(at)? < *tick {
            at += 1;
        }
        if clock[at] != *tick {
            return None;
        }
        if at > from {
            if gaps.len() == gaps_max {
                return None;
            }
            gaps.push(((from - first) as u32, (at - from) as u32));
        }
        at += 1;
    }
    Some(Placement { clock: number, first: first as u32, ticks: (last - first + 1) as u32, gaps })
}

/// Appends a clock: each tick as the difference of its difference to the one before, which is a byte for a steady one.
pub fn push_clock(out: &mut Vec<u8>, ticks: &[u32]) {
    let (mut before, mut step) = (0, 0);
    for tick in ticks {
        let next = i64::from(*tick) - before;
        push_varint_signed(out, next - step);
        (before, step) = (i64::from(*tick), next);
    }
}

/// Reads `count` ticks; `None` where they do not ascend or the bytes end.
pub fn take_clock(mut input: &[u8], count: usize) -> Option<Box<[u32]>> {
    if count > input.len() {
        return None;
    }
    let (mut before, mut step) = (0i64, 0i64);
    let ticks = (0..count).map(|index| {
        step = step.checked_add(take_varint_signed(&mut input)?)?;
        let tick = before.checked_add(step)?;
        let ascends = index == 0 || tick > before;
        before = tick;
        u32::try_from(tick).ok().filter(|_| ascends)
    });
    ticks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticks_of(clock: &[u32], placement: &Placement) -> Vec<u32> {
        let mut ticks = Vec::new();
        crate::store::tsdb::head::clock::stretches(placement.ticks, &placement.gaps, |from, to| {
            let first = placement.first as usize;
            ticks.extend_from_slice(&clock[first + from as usize..first + to as usize]);
        });
        ticks
    }

    #[test]
    fn series_of_one_source_share_a_clock_although_some_begin_late_or_miss_samples() {
        let mut clocks = ClockSet::default();
        let whole: Vec<u32> = (0..1000).map(|tick| tick * 15_000 + tick % 7).collect();
        assert_eq!(clocks.place(&whole).clock, 0);
        assert_eq!(clocks.place(&whole[300..]), Placement { clock: 0, first: 300, ticks: 700, gaps: Vec::new() });
        let holes: Vec<u32> = whole.iter().copied().filter(|tick| tick % 11 > 0).collect();
        let placement = clocks.place(&holes);
        assert_eq!((placement.clock, ticks_of(&whole, &placement)), (0, holes));
        let every_second: Vec<u32> = whole.iter().copied().step_by(2).collect();
        assert_eq!(clocks.place(&every_second).clock, 1, "half of the ticks would be gaps");
        assert_eq!(clocks.place(&[1]).clock, 2);
        assert_eq!(clocks.iter().count(), 3);
    }

    proptest! {
        #[test]
        fn any_ticks_are_placed_and_read_back(sources in proptest::collection::vec(proptest::collection::btree_set(0u32..200, 1..40), 1..20)) {
            let mut clocks = ClockSet::default();
            let placed: Vec<(Vec<u32>, Placement)> = sources.into_iter().map(|ticks| {
                let ticks: Vec<u32> = ticks.into_iter().collect();
                let placement = clocks.place(&ticks);
                (ticks, placement)
            }).collect();
            let written: Vec<Box<[u32]>> = clocks.iter().map(|clock| {
                let mut bytes = Vec::new();
                push_clock(&mut bytes, clock);
                take_clock(&bytes, clock.len()).unwrap()
            }).collect();
            for (ticks, placement) in placed {
                prop_assert_eq!(ticks_of(&written[placement.clock as usize], &placement), ticks);
            }
        }

        #[test]
        fn random_bytes_are_no_clock_or_one_that_ascends(bytes in proptest::collection::vec(any::<u8>(), 0..64), count in 0usize..80) {
            if let Some(ticks) = take_clock(&bytes, count) {
                prop_assert!(ticks.is_sorted_by(|a, b| a < b));
            }
        }
    }
}
