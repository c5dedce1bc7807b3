//! The record of one series in the data: what chunks it has, and these.
//!
//! A record is a varint length, a head of that many bytes, the head's CRC32C, then the bodies that the head speaks of.
//! Records stand one after the other, so all can be found by walking.

use super::{
    clocks::Placement,
    values::{Kind, VALUES_MAX},
};
use crate::{
    stdx::bytes::{push_varint, take, take_array, take_slice, take_varint},
    store::tsdb::{
        codec::{push_run, take_run},
        run::Run,
    },
};

/// Values in a chunk that was sealed as it was in memory: a window has this many milliseconds.
const COUNT_MAX: u64 = 2 * 3_600_000;

/// Bytes in a record's bodies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Body {
    pub length: u64,
    pub crc: u32,
}

impl Body {
    pub fn of(bytes: &[u8]) -> Body {
        Body { length: bytes.len() as u64, crc: crc32c::crc32c(bytes) }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    pub placement: Placement,
    pub count: u32,
    pub kind: Kind,
    pub body: Body,
}

/// What a record's head says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeriesHead {
    /// Samples replace those of the same time in older blocks.
    pub overwrites: bool,
    pub chunks: Vec<Chunk>,
    pub histograms: u64,
    /// All histograms together.
    pub histograms_body: Body,
    pub runs: Vec<Run>,
}

impl SeriesHead {
    pub fn push(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.overwrites));
        push_varint(out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            let Placement { clock, first, ticks, gaps } = &chunk.placement;
            push_varint(out, u64::from(*clock));
            push_varint(out, u64::from(*first));
            push_varint(out, u64::from(*ticks));
            push_varint(out, gaps.len() as u64);
            for (at, length) in gaps {
                push_varint(out, u64::from(*at));
                push_varint(out, u64::from(*length));
            }
            push_varint(out, u64::from(chunk.count));
            match chunk.kind {
                Kind::Constant(value) => {
                    out.push(0);
                    out.extend_from_slice(&value.to_le_bytes());
                    continue;
                }
                Kind::Blocks => out.push(1),
                Kind::Whole => out.push(2),
                Kind::Floats => out.push(3),
            }
            push_body(out, chunk.body);
        }
        push_varint(out, self.histograms);
        if self.histograms > 0 {
            push_body(out, self.histograms_body);
        }
        push_varint(out, self.runs.len() as u64);
        self.runs.iter().for_each(|run| push_run(out, run));
    }

    fn take(mut input: &[u8]) -> Option<SeriesHead> {
        let input = &mut input;
        let mut head = SeriesHead { overwrites: take(input, 1)?[0] == 1, ..SeriesHead::default() };
        for _ in 0..take_varint(input)? {
            head.chunks.push(take_chunk(input)?);
        }
        head.histograms = take_varint(input)?;
        if head.histograms > 0 {
            head.histograms_body = take_body(input)?;
        }
        for _ in 0..take_varint(input)? {
            head.runs.push(take_run(input)?);
        }
        input.is_empty().then_some(head)
    }

    /// Bytes of all bodies.
    pub fn body_bytes(&self) -> u64 {
        let chunks = self.chunks.iter().map(|chunk| chunk.body.length);
        chunks.fold(self.histograms_body.length, u64::saturating_add)
    }

    /// Float samples and histograms.
    pub fn samples(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.count)).fold(self.histograms, u64::saturating_add)
    }
}

fn push_body(out: &mut Vec<u8>, body: Body) {
    push_varint(out, body.length);
    out.extend_from_slice(&body.crc.to_le_bytes());
}

fn take_body(input: &mut &[u8]) -> Option<Body> {
    Some(Body { length: take_varint(input)?, crc: u32::from_le_bytes(take_array(input)?) })
}

fn take_chunk(input: &mut &[u8]) -> Option<Chunk> {
    let mut number = || take_varint(input).and_then(|number| u32::try_from(number).ok());
    let (clock, first, ticks, gap_count) = (number()?, number()?, number()?, number()?);
    let mut gaps = Vec::new();
    for _ in 0..gap_count {
        let gap = (number()?, number()?);
        if gap.0.checked_add(gap.1)? > ticks {
            return None;
        }
        gaps.push(gap);
    }
    let count = number().filter(|count| *count <= ticks)?;
    let kind = match take(input, 1)?[0] {
        0 => {
            let kind = Kind::Constant(f64::from_le_bytes(take_array(input)?));
            let placement = Placement { clock, first, ticks, gaps };
            return Some(Chunk { placement, count, kind, body: Body::default() });
        }
        1 => Kind::Blocks,
        2 => Kind::Whole,
        3 => Kind::Floats,
        _ => return None,
    };
    let count_max = if kind == Kind::Blocks { COUNT_MAX } else { VALUES_MAX as u64 };
    let body = take_body(input)?;
    let placement = Placement { clock, first, ticks, gaps };
    (u64::from(count) <= count_max).then_some(Chunk { placement, count, kind, body })
}

/// Appends a record.
pub fn push_record(out: &mut Vec<u8>, head: &[u8], bodies: &[u8]) {
    push_varint(out, head.len() as u64);
    out.extend_from_slice(head);
    out.extend_from_slice(&crc32c::crc32c(head).to_le_bytes());
    out.extend_from_slice(bodies);
}

/// Reads the head of the record that `input` begins with, and leaves the bodies and what follows; `None` where the head
/// is damaged.
pub fn take_record(input: &mut &[u8]) -> Option<SeriesHead> {
    let head = take_slice(input)?;
    let crc = u32::from_le_bytes(take_array(input)?);
    (crc32c::crc32c(head) == crc).then(|| SeriesHead::take(head))?
}
