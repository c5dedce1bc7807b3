//! The record of one series in the data: what chunks it has, and these.
//!
//! A record is a varint length, a head of that many bytes, the head's CRC32C, then the bodies that the head speaks of.
//! Records stand one after the other, so all can be found by walking.

use super::{
    clocks::Placement,
    values::{Kind, VALUES_MAX},
};
use crate::{
    stdx::bytes::{push_varint, push_varint_signed, take, take_array, take_slice, take_varint, take_varint_signed},
    store::tsdb::{
        codec::{push_run, take_run},
        run::Run,
    },
};

/// Flags of a head.
const OVERWRITES: u8 = 1;
const HAS_HISTOGRAMS: u8 = 1 << 1;
const HAS_RUNS: u8 = 1 << 2;
/// There is one chunk, and no count of them.
const ONE_CHUNK: u8 = 1 << 3;
/// Each chunk says which column of buckets it holds, each histogram how many it stands for.
const HAS_COLUMNS: u8 = 1 << 4;

/// How the values are kept, and a flag beside it.
const CONSTANT: u8 = 0;
const BLOCKS: u8 = 1;
const WHOLE: u8 = 2;
const FLOATS: u8 = 3;
const CONSTANT_WHOLE: u8 = 4;
const HAS_GAPS: u8 = 1 << 3;

/// Whole numbers below this are floats without loss, and fit where they stand.
const WHOLE_MAX: f64 = (1u64 << 51) as f64;

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

/// What a histogram of a bucket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// How many samples it stands for.
    pub samples: u32,
    /// It is the sum of them and no sample.
    pub is_sum: bool,
}

impl Weight {
    pub fn to_bits(self) -> u64 {
        u64::from(self.samples) << 1 | u64::from(self.is_sum)
    }

    pub fn from_bits(bits: u64) -> Option<Weight> {
        Some(Weight { samples: u32::try_from(bits >> 1).ok()?, is_sum: bits & 1 == 1 })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// What the values are where the record has columns, else 0: samples.
    pub column: u8,
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
    /// It holds buckets, not samples.
    pub has_columns: bool,
    pub chunks: Vec<Chunk>,
    pub histograms: u64,
    /// All histograms together.
    pub histograms_body: Body,
    pub runs: Vec<Run>,
}

impl SeriesHead {
    pub fn push(&self, out: &mut Vec<u8>) {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        out.push(
            flag(self.overwrites, OVERWRITES)
                | flag(self.histograms > 0, HAS_HISTOGRAMS)
                | flag(!self.runs.is_empty(), HAS_RUNS)
                | flag(self.chunks.len() == 1, ONE_CHUNK)
                | flag(self.has_columns, HAS_COLUMNS),
        );
        if self.chunks.len() != 1 {
            push_varint(out, self.chunks.len() as u64);
        }
        for chunk in &self.chunks {
            if self.has_columns {
                out.push(chunk.column);
            }
            push_chunk(out, chunk);
        }
        if self.histograms > 0 {
            push_varint(out, self.histograms);
            push_body(out, self.histograms_body);
        }
        if !self.runs.is_empty() {
            push_varint(out, self.runs.len() as u64);
            self.runs.iter().for_each(|run| push_run(out, run));
        }
    }

    fn take(mut input: &[u8]) -> Option<SeriesHead> {
        let input = &mut input;
        let flags = take(input, 1)?[0];
        let (overwrites, has_columns) = (flags & OVERWRITES != 0, flags & HAS_COLUMNS != 0);
        let mut head = SeriesHead { overwrites, has_columns, ..SeriesHead::default() };
        let chunks = if flags & ONE_CHUNK != 0 { 1 } else { take_varint(input)? };
        for _ in 0..chunks {
            let column = if has_columns { take(input, 1)?[0] } else { 0 };
            head.chunks.push(Chunk { column, ..take_chunk(input)? });
        }
        if flags & HAS_HISTOGRAMS != 0 {
            head.histograms = take_varint(input)?;
            head.histograms_body = take_body(input)?;
        }
        if flags & HAS_RUNS != 0 {
            for _ in 0..take_varint(input)? {
                head.runs.push(take_run(input)?);
            }
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

fn push_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    let Placement { clock, first, ticks, gaps } = &chunk.placement;
    let kind = match chunk.kind {
        Kind::Constant(value) if is_whole(value) => CONSTANT_WHOLE,
        Kind::Constant(_) => CONSTANT,
        Kind::Blocks => BLOCKS,
        Kind::Whole => WHOLE,
        Kind::Floats => FLOATS,
    };
    out.push(kind | if gaps.is_empty() { 0 } else { HAS_GAPS });
    for number in [clock, first, ticks] {
        push_varint(out, u64::from(*number));
    }
    if !gaps.is_empty() {
        push_varint(out, gaps.len() as u64);
        for (at, length) in gaps {
            push_varint(out, u64::from(*at));
            push_varint(out, u64::from(*length));
        }
    }
    match chunk.kind {
        Kind::Constant(value) if is_whole(value) => push_varint_signed(out, value as i64),
        Kind::Constant(value) => out.extend_from_slice(&value.to_le_bytes()),
        _ => push_body(out, chunk.body),
    }
}

fn is_whole(value: f64) -> bool {
    value.abs() < WHOLE_MAX && (value as i64 as f64).to_bits() == value.to_bits()
}

fn take_chunk(input: &mut &[u8]) -> Option<Chunk> {
    let tag = take(input, 1)?[0];
    let mut number = || take_varint(input).and_then(|number| u32::try_from(number).ok());
    let (clock, first, ticks) = (number()?, number()?, number()?);
    let (mut gaps, mut missing) = (Vec::new(), 0u32);
    if tag & HAS_GAPS != 0 {
        for _ in 0..number()? {
            let gap = (number()?, number()?);
            if gap.0.checked_add(gap.1)? > ticks {
                return None;
            }
            missing = missing.checked_add(gap.1)?;
            gaps.push(gap);
        }
    }
    let count = ticks.checked_sub(missing)?;
    let kind = match tag & !HAS_GAPS {
        CONSTANT => Kind::Constant(f64::from_le_bytes(take_array(input)?)),
        CONSTANT_WHOLE => Kind::Constant(take_varint_signed(input)? as f64),
        BLOCKS => Kind::Blocks,
        WHOLE => Kind::Whole,
        FLOATS => Kind::Floats,
        _ => return None,
    };
    let body = if matches!(kind, Kind::Constant(_)) { Body::default() } else { take_body(input)? };
    let count_max = match kind {
        Kind::Whole | Kind::Floats => VALUES_MAX as u64,
        Kind::Blocks | Kind::Constant(_) => COUNT_MAX,
    };
    let placement = Placement { clock, first, ticks, gaps };
    (u64::from(count) <= count_max).then_some(Chunk { column: 0, placement, count, kind, body })
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
