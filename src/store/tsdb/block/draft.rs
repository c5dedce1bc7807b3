//! A series on its way into a block.

use super::{
    clocks::{ClockSet, Placement},
    series::{Body, Chunk, SeriesHead, Weight},
    values::{self, Kind, VALUES_MAX},
};
use crate::{
    model::{Histogram, Samples, Timestamp},
    stdx::bytes::{push_varint, push_varint_signed},
    store::tsdb::{codec::push_histogram, run::Run},
};
use std::sync::Arc;

/// What the record of a series will say, and the bytes it speaks of. Used again for the next.
#[derive(Default)]
pub struct Draft {
    pub head: SeriesHead,
    pub bodies: Vec<u8>,
    ticks: Vec<u32>,
}

impl Draft {
    pub fn clear(&mut self) {
        self.head = SeriesHead::default();
        self.bodies.clear();
    }

    /// Adds a chunk whose values are encoded already.
    pub fn chunk(&mut self, placement: Placement, count: u32, kind: Kind, body: &[u8]) {
        self.head.chunks.push(Chunk { column: 0, placement, count, kind, body: Body::of(body) });
        self.bodies.extend_from_slice(body);
    }

    /// Adds samples in order of time, each time once, all at or after `start` and within what a tick can say.
    pub fn samples(&mut self, start: Timestamp, samples: &Samples, clocks: &mut ClockSet) {
        if !samples.values.is_empty() {
            let placed = self.place(start, &samples.timestamps, clocks);
            self.values(0, &samples.values, &placed);
        }
        self.histograms(samples.histograms.iter().map(|sample| (sample.timestamp, &sample.histogram)));
    }

    /// Where values at these times will lie, in order and at least one.
    pub fn place(&mut self, start: Timestamp, timestamps: &[Timestamp], clocks: &mut ClockSet) -> Placed {
        self.ticks.clear();
        self.ticks.extend(timestamps.iter().map(|at| (at - start) as u32));
        cut(&clocks.place(&self.ticks))
    }

    /// The same for the first or last samples of buckets: a series that begins or ends within a bucket shares all but
    /// the outermost of its times with others.
    pub fn place_ragged(&mut self, start: Timestamp, timestamps: &[Timestamp], clocks: &mut ClockSet) -> Placed {
        self.ticks.clear();
        self.ticks.extend(timestamps.iter().map(|at| (at - start) as u32));
        let count = self.ticks.len();
        let inner = [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().filter(|(before, behind)| before + behind < count);
        for (before, behind) in inner {
            let (first, rest) = self.ticks.split_at(before);
            let (middle, last) = rest.split_at(rest.len() - behind);
            if let Some(placement) = clocks.find(middle) {
                let ends = [first, last].map(|ticks| (!ticks.is_empty()).then(|| clocks.place(ticks)));
                let [first, last] = ends.map(|end| end.map(|placement| cut(&placement).0).unwrap_or_default());
                return Placed([first, cut(&placement).0, last].concat());
            }
        }
        cut(&clocks.place(&self.ticks))
    }

    /// Adds the values of a column, as many as were placed; column 0 is samples.
    pub fn values(&mut self, column: u8, values: &[f64], placed: &Placed) {
        self.head.has_columns |= column > 0;
        let mut rest = values;
        for (placement, count) in &placed.0 {
            let (values, behind) = rest.split_at(*count as usize);
            rest = behind;
            let before = self.bodies.len();
            let kind = values::encode(values, &mut self.bodies);
            let body = Body::of(&self.bodies[before..]);
            self.head.chunks.push(Chunk { column, placement: placement.clone(), count: *count, kind, body });
        }
    }

    /// Adds all histograms of buckets, in order of time, behind all chunks.
    pub fn weighted_histograms<'a>(&mut self, histograms: impl Iterator<Item = (Timestamp, Weight, &'a Histogram)>) {
        self.head.has_columns = true;
        let before = self.bodies.len();
        for (at, weight, histogram) in histograms {
            push_varint_signed(&mut self.bodies, at);
            push_varint(&mut self.bodies, weight.to_bits());
            push_histogram(&mut self.bodies, histogram);
            self.head.histograms += 1;
        }
        self.head.histograms_body = Body::of(&self.bodies[before..]);
    }

    /// Adds all histograms, in order of time, behind all chunks.
    pub fn histograms<'a>(&mut self, histograms: impl Iterator<Item = (Timestamp, &'a Arc<Histogram>)>) {
        let before = self.bodies.len();
        for (at, histogram) in histograms {
            push_varint_signed(&mut self.bodies, at);
            push_histogram(&mut self.bodies, histogram);
            self.head.histograms += 1;
        }
        self.head.histograms_body = Body::of(&self.bodies[before..]);
    }

    pub fn runs(&mut self, runs: &[Run]) {
        self.head.runs.extend_from_slice(runs);
    }
}

/// Chunks that values are to be cut into, each with how many it takes.
pub struct Placed(Vec<(Placement, u32)>);

/// Cuts a placement into chunks of about the same size.
fn cut(whole: &Placement) -> Placed {
    let missing: u32 = whole.gaps.iter().map(|(_, length)| length).sum();
    let values = whole.ticks - missing;
    let piece = values.div_ceil(values.div_ceil(VALUES_MAX as u32));
    let placements = split(whole, piece).into_iter().enumerate();
    Placed(placements.map(|(at, part)| (part, piece.min(values - at as u32 * piece))).collect())
}

/// Cuts a placement after every `values` ticks that are in no gap.
fn split(whole: &Placement, values: u32) -> Vec<Placement> {
    let mut parts = Vec::new();
    let fresh = |first: u32| Placement { clock: whole.clock, first, ..Placement::default() };
    let (mut part, mut taken) = (fresh(whole.first), 0);
    let mut last_end = 0;
    crate::store::tsdb::head::clock::stretches(whole.ticks, &whole.gaps, |from, to| {
        if taken > 0 && from > last_end {
            part.gaps.push((part.ticks, from - last_end));
            part.ticks += from - last_end;
        } else if taken == 0 {
            part.first = whole.first + from;
        }
        last_end = to;
        let mut left = to - from;
        while left > 0 {
            let more = left.min(values - taken);
            (part.ticks, taken, left) = (part.ticks + more, taken + more, left - more);
            if taken == values {
                let next = fresh(whole.first + to - left);
                parts.push(std::mem::replace(&mut part, next));
                taken = 0;
            }
        }
    });
    if taken > 0 {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticks_of(placement: &Placement) -> Vec<u32> {
        let mut ticks = Vec::new();
        crate::store::tsdb::head::clock::stretches(placement.ticks, &placement.gaps, |from, to| {
            ticks.extend(placement.first + from..placement.first + to);
        });
        ticks
    }

    proptest! {
        #[test]
        fn pieces_have_the_ticks_of_the_whole(ticks in proptest::collection::btree_set(0u32..300, 1..120), values in 1u32..50) {
            let ticks: Vec<u32> = ticks.into_iter().collect();
            let (first, last) = (ticks[0], ticks[ticks.len() - 1]);
            let mut gaps: Vec<(u32, u32)> = Vec::new();
            for pair in ticks.windows(2).filter(|pair| pair[1] > pair[0] + 1) {
                gaps.push((pair[0] + 1 - first, pair[1] - pair[0] - 1));
            }
            let whole = Placement { clock: 3, first, ticks: last - first + 1, gaps };
            let parts = split(&whole, values);
            let again: Vec<u32> = parts.iter().flat_map(ticks_of).collect();
            prop_assert_eq!(&again, &ticks);
            let full = ticks.len() / values as usize;
            prop_assert!(parts.iter().take(full).all(|part| ticks_of(part).len() == values as usize));
        }
    }
}
