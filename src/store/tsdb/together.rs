//! Which windows are sealed, and which of them together.
//!
//! Windows are sealed one by one as their time passes. History is another thing: an import, a backfill or a first sync
//! writes a little into each of hundreds of windows. Those that lie in one stretch of time that is over become one block,
//! as they would by a merge; so they can be sealed long before they are quiet, again and again, and memory holds little of
//! a history of any length.

use super::{
    block::MergeTarget,
    compact::SPANS_MS,
    engine::{Places, Shared},
    head::{FrozenWindow, WindowUse},
    options::WINDOW_MS,
};
use crate::{model::Timestamp, store::SeriesId};
use std::collections::{BTreeMap, HashMap};

/// What history may take in memory before it is sealed early: little beside what an idle program has.
const HISTORY_BYTES_MIN: usize = 4 << 20;
/// As history goes on it may take this part of what came of it: blocks that are merged again and again grow with it, and
/// each round costs some.
const HISTORY_PART: usize = 16;
/// Fewer windows are a sender that catches up: all of its series write into a window or two, and a block with a few
/// samples of each would be mostly index.
const HISTORY_WINDOWS_MIN: usize = 8;
/// Memory of windows that are sealed together. What is more is a large block anyway, and would need room to be sorted.
const TOGETHER_BYTES_MAX: usize = 64 << 20;

/// What came of a history, from its first sample until it has been quiet for a while.
#[derive(Debug, Default)]
pub struct History {
    sealed_bytes: usize,
    /// When there was some in memory, by our clock.
    seen_ms: i64,
}

impl History {
    /// Takes the windows out of `windows` that are sealed early, because history takes too much memory.
    pub fn take_due(&mut self, windows: &mut Vec<WindowUse>, now_ms: i64, quiet_ms: i64) -> Vec<WindowUse> {
        let is_past = |window: &WindowUse| window.window.saturating_add(WINDOW_MS).saturating_add(quiet_ms) <= now_ms;
        let past = windows.iter().filter(|window| is_past(window));
        let (count, bytes) = past.fold((0, 0usize), |(count, bytes), window| (count + 1, bytes + window.bytes));
        if count > 0 {
            self.seen_ms = now_ms;
        } else if self.seen_ms.saturating_add(quiet_ms) <= now_ms {
            self.sealed_bytes = 0;
        }
        if count < HISTORY_WINDOWS_MIN || bytes <= HISTORY_BYTES_MIN.max(self.sealed_bytes / HISTORY_PART) {
            return Vec::new();
        }
        self.sealed_bytes += bytes;
        windows.extract_if(.., |window| is_past(window)).collect()
    }
}

impl Shared {
    /// Windows in groups that become one block each, in order of time.
    pub fn groups(&self, windows: &[WindowUse], now_ms: i64) -> Vec<(MergeTarget, Vec<Timestamp>)> {
        let mut stretches: BTreeMap<Timestamp, (MergeTarget, Vec<&WindowUse>)> = BTreeMap::new();
        {
            let places = self.places.read();
            for window in windows {
                let target = self.stretch_around(&places, window.window, now_ms);
                stretches.entry(target.start).or_insert((target, Vec::new())).1.push(window);
            }
        }
        let mut groups: Vec<(MergeTarget, Vec<Timestamp>)> = Vec::new();
        for (target, mut windows) in stretches.into_values() {
            windows.sort_unstable_by_key(|window| window.window);
            let mut bytes = usize::MAX;
            for window in windows {
                bytes = bytes.saturating_add(window.bytes);
                match groups.last_mut() {
                    Some((_, group)) if bytes <= TOGETHER_BYTES_MAX => group.push(window.window),
                    _ => {
                        groups.push((target, vec![window.window]));
                        bytes = window.bytes;
                    }
                }
            }
        }
        groups
    }

    /// The largest stretch around a window that its samples may be in one block with: it is over, or what is sealed in it
    /// tomorrow would have to wait for its end to be merged, and its tiers have no shorter files.
    fn stretch_around(&self, places: &Places, window: Timestamp, now_ms: i64) -> MergeTarget {
        let targets = SPANS_MS.into_iter().rev().filter(|span_ms| self.may_grow_to(*span_ms));
        let mut targets = targets.filter_map(|span_ms| {
            let start = window.checked_sub(window.checked_rem_euclid(span_ms)?)?;
            Some(MergeTarget { start, span_ms })
        });
        let may_be = |target: &MergeTarget| {
            let end = target.start.saturating_add(target.span_ms);
            let files = places.tiers.iter().flatten().map(|file| &file.footer);
            let mut shorter = files.filter(|footer| footer.span_ms < target.span_ms);
            end.saturating_add(self.options.quiet_ms) <= now_ms
                && !shorter.any(|footer| (target.start..end).contains(&footer.start))
        };
        targets.find(may_be).unwrap_or_else(|| alone(window))
    }
}

/// A block of one window.
pub fn alone(window: Timestamp) -> MergeTarget {
    MergeTarget { start: window, span_ms: WINDOW_MS }
}

/// Cuts windows into pieces in which no series overwrites what is older in one window and does not in another: of a series
/// in a block only one of the two can be said.
pub fn agreeing(windows: &[FrozenWindow]) -> Vec<&[FrozenWindow]> {
    let mut pieces = Vec::new();
    let mut rest = windows;
    while rest.len() > 1 {
        let mut overwrites = HashMap::new();
        let count = rest.iter().take_while(|window| agrees(window, &mut overwrites)).count();
        let (piece, behind) = rest.split_at(count.max(1));
        pieces.push(piece);
        rest = behind;
    }
    pieces.extend((!rest.is_empty()).then_some(rest));
    pieces
}

/// Whether no series of the window differs from what is known of it, which is added to.
fn agrees(window: &FrozenWindow, overwrites: &mut HashMap<SeriesId, bool>) -> bool {
    window.partitions.iter().all(|partition| {
        let held = partition.lock();
        let mut filled = held.columns.iter().filter(|column| column.is_filled());
        filled.all(|column| *overwrites.entry(column.series).or_insert(column.overwrites) == column.overwrites)
    })
}
