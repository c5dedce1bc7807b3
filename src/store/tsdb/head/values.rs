//! A column of values that is compressed as it grows.
//!
//! Values are decimals more often than not: a block of 32 becomes whole numbers at one power of ten, then bit-packed
//! differences to a common minimum. Equal values in a row are counted, not stored. What is no short decimal is kept
//! raw. The same bytes go to disk when a window is sealed; `docs/formats/block.md` describes them field by field.

use crate::stdx::bytes::{push_varint, push_varint_signed, take, take_array, take_varint, take_varint_signed};

/// Values in a full block. Larger blocks have less header a value but hold more raw values in memory.
const BLOCK: usize = 32;
/// Equal values from here on become a counted run; fewer are cheaper inside a block.
const RUN_MIN: u32 = 16;
/// Decimals with more fractional digits than this stay raw.
const EXPONENT_MAX: u8 = 12;
/// Wider differences stay raw: a reader loads one word for a value.
const WIDTH_MAX: u32 = 56;

pub const POWERS: [f64; EXPONENT_MAX as usize + 1] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12];
/// Adding and subtracting this rounds to a whole number, for sizes below 2^51.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
const WHOLE_MAX: f64 = 2_251_799_813_685_248.0;

/// Block kinds, the low two bits of the tag.
const CONSTANT: u8 = 0;
const DELTA: u8 = 1;
const OFFSET: u8 = 2;
const RAW: u8 = 3;
/// The block holds [`BLOCK`] values; otherwise a count follows the tag.
const FULL: u8 = 1 << 2;
/// The block gives its first value itself; otherwise it goes on from the block before.
const REBASE: u8 = 1 << 3;
const EXPONENT_SHIFT: u32 = 4;

/// An append-only column of `f64`, bit-exact.
#[derive(Debug, Default)]
pub struct ValueColumn {
    packed: Vec<u8>,
    /// Values not packed yet.
    tail: Vec<f64>,
    /// Equal values between `packed` and `tail`; `tail` is empty while this grows.
    run_value: f64,
    run_count: u32,
    count: u32,
    /// Where the next difference block goes on: exponent and last whole number.
    chain: Option<(u8, i64)>,
}

impl ValueColumn {
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes held on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.packed.capacity() + self.tail.capacity() * 8
    }

    /// The newest value; `None` while empty.
    pub fn last(&self) -> Option<f64> {
        match self.tail.last() {
            Some(value) => Some(*value),
            None if self.run_count > 0 => Some(self.run_value),
            // Packing leaves the run or the tail with the newest value only when one is there: decode the rest.
            None if self.count > 0 => {
                let mut values = Vec::with_capacity(self.count());
                self.read(&mut values);
                values.pop()
            }
            None => None,
        }
    }

    /// The one value that all have; `None` where they are not known to be the same.
    pub fn constant(&self) -> Option<f64> {
        (self.count > 0 && self.run_count == self.count).then_some(self.run_value)
    }

    #[inline]
    pub fn push(&mut self, value: f64) {
        self.count += 1;
        if self.tail.is_empty() {
            if self.run_count == 0 {
                (self.run_value, self.run_count) = (value, 1);
                return;
            }
            if self.run_value.to_bits() == value.to_bits() {
                self.run_count += 1;
                return;
            }
            self.end_run();
        }
        if !value.is_finite() {
            // A marker must not turn a whole block raw.
            self.pack_tail();
            (self.run_value, self.run_count) = (value, 1);
            return;
        }
        if self.tail.capacity() == self.tail.len() {
            let more = if self.tail.is_empty() { 4 } else { self.tail.len() };
            self.tail.reserve_exact(more.min(BLOCK - self.tail.len()).max(1));
        }
        self.tail.push(value);
        if self.tail.len() == BLOCK {
            self.pack_tail();
        }
    }

    /// Appends all values to `out`.
    pub fn read(&self, out: &mut Vec<f64>) {
        out.reserve(self.count());
        // Own bytes decode; should they not, the rest is missing rather than wrong.
        let _ = read_blocks(&self.packed, self.count() - self.tail.len() - self.run_count as usize, out);
        out.extend(std::iter::repeat_n(self.run_value, self.run_count as usize));
        out.extend_from_slice(&self.tail);
    }

    /// Packs what is left and gives the bytes that [`read_blocks`] reads.
    pub fn finish(mut self) -> Vec<u8> {
        self.pack_all();
        self.packed
    }

    /// Packs what is left, in place.
    fn pack_all(&mut self) {
        if self.run_count > 0 {
            self.push_constant();
        }
        self.pack_tail();
    }

    /// The bytes of the column as it stands, without changing it.
    pub fn encoded(&self) -> Vec<u8> {
        let mut copy = ValueColumn {
            packed: self.packed.clone(),
            tail: self.tail.clone(),
            run_value: self.run_value,
            run_count: self.run_count,
            count: self.count,
            chain: self.chain,
        };
        copy.pack_all();
        copy.packed
    }

    fn end_run(&mut self) {
        if self.run_count >= RUN_MIN || !self.run_value.is_finite() {
            self.push_constant();
        } else {
            let run = std::iter::repeat_n(self.run_value, self.run_count as usize);
            self.tail.extend(run);
            self.run_count = 0;
        }
    }

    fn push_constant(&mut self) {
        self.packed.push(CONSTANT);
        push_varint(&mut self.packed, u64::from(self.run_count));
        self.packed.extend_from_slice(&self.run_value.to_le_bytes());
        self.run_count = 0;
        self.chain = None;
    }

    fn pack_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        self.packed.reserve_exact(self.tail.len() + 24);
        let mut whole = [0i64; BLOCK];
        let whole = &mut whole[..self.tail.len()];
        match to_whole(&self.tail, self.chain.map_or(0, |(exponent, _)| exponent), whole) {
            Some(exponent) if self.push_whole(exponent, whole) => {
                self.chain = Some((exponent, whole[whole.len() - 1]));
            }
            _ => {
                self.push_tag(RAW, self.tail.len());
                for value in &self.tail {
                    self.packed.extend_from_slice(&value.to_le_bytes());
                }
                self.chain = None;
            }
        }
        self.packed.shrink_to(self.packed.len() + 24);
        self.tail.clear();
    }

    fn push_tag(&mut self, tag: u8, count: usize) {
        if count == BLOCK {
            self.packed.push(tag | FULL);
        } else {
            self.packed.extend_from_slice(&[tag, count as u8]);
        }
    }

    /// Packs whole numbers by the narrower of differences and offsets; `false` where neither is narrow enough.
    fn push_whole(&mut self, exponent: u8, whole: &[i64]) -> bool {
        let base = self.chain.filter(|(e, _)| *e == exponent).map(|(_, last)| last);
        let first_delta = usize::from(base.is_none());
        let mut before = base.unwrap_or(whole[0]);
        let (mut delta_min, mut delta_max) = (i64::MAX, i64::MIN);
        let (mut min, mut max) = (i64::MAX, i64::MIN);
        let mut deltas = [0i64; BLOCK];
        for (index, &number) in whole.iter().enumerate() {
            (min, max) = (min.min(number), max.max(number));
            deltas[index] = number - before;
            before = number;
            if index >= first_delta {
                delta_min = delta_min.min(deltas[index]);
                delta_max = delta_max.max(deltas[index]);
            }
        }
        let deltas = &deltas[first_delta..whole.len()];
        if deltas.is_empty() {
            (delta_min, delta_max) = (0, 0);
        }
        let (delta_width, width) = (bits(delta_min, delta_max), bits(min, max));
        if delta_width.min(width) > WIDTH_MAX {
            return false;
        }
        if delta_width <= width {
            let rebase = if base.is_none() { REBASE } else { 0 };
            self.push_tag(DELTA | rebase | exponent << EXPONENT_SHIFT, whole.len());
            if base.is_none() {
                push_varint_signed(&mut self.packed, whole[0]);
            }
            pack(&mut self.packed, deltas, delta_min, delta_width);
        } else {
            self.push_tag(OFFSET | exponent << EXPONENT_SHIFT, whole.len());
            pack(&mut self.packed, whole, min, width);
        }
        true
    }
}

/// Bits a difference to `min` needs.
fn bits(min: i64, max: i64) -> u32 {
    64 - max.wrapping_sub(min).leading_zeros()
}

/// Turns decimals into whole numbers at the smallest power of ten, from `hint` on, at which all are exact.
pub fn to_whole(values: &[f64], hint: u8, whole: &mut [i64]) -> Option<u8> {
    let mut exponent = hint;
    let mut index = 0;
    while index < values.len() {
        let power = POWERS[usize::from(exponent)];
        let value = values[index];
        let scaled = value * power;
        let rounded = (scaled + ROUNDER) - ROUNDER;
        let exact = scaled.abs() < WHOLE_MAX && (rounded / power).to_bits() == value.to_bits();
        if exact {
            whole[index] = rounded as i64;
            index += 1;
        } else if exponent == EXPONENT_MAX || scaled.abs() >= WHOLE_MAX {
            return None;
        } else {
            exponent += 1;
            index = 0;
        }
    }
    Some(exponent)
}

/// Appends minimum, width and the packed differences to the minimum.
fn pack(out: &mut Vec<u8>, numbers: &[i64], min: i64, width: u32) {
    push_varint_signed(out, min);
    out.push(width as u8);
    let (mut word, mut filled) = (0u128, 0);
    for number in numbers {
        word |= u128::from(number.wrapping_sub(min) as u64) << filled;
        filled += width;
        while filled >= 8 {
            out.push(word as u8);
            word >>= 8;
            filled -= 8;
        }
    }
    if filled > 0 {
        out.push(word as u8);
    }
}

/// Decodes `count` values appended to `out`. `None` where the bytes are damaged; `out` then holds what came before.
pub fn read_blocks(mut input: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let mut left = count;
    let (mut chain_exponent, mut chain_last) = (0u8, 0i64);
    while left > 0 {
        let [tag] = take_array(&mut input)?;
        if tag & 3 == CONSTANT {
            let run = usize::try_from(take_varint(&mut input)?).ok()?;
            let value = f64::from_le_bytes(take_array(&mut input)?);
            if run > left {
                return None;
            }
            out.extend(std::iter::repeat_n(value, run));
            left -= run;
            continue;
        }
        let block = if tag & FULL != 0 { BLOCK } else { usize::from(take_array::<1>(&mut input)?[0]) };
        if block > left || block == 0 {
            return None;
        }
        left -= block;
        let exponent = tag >> EXPONENT_SHIFT;
        match tag & 3 {
            RAW => {
                let bytes = take(&mut input, block * 8)?;
                let (words, _) = bytes.as_chunks::<8>();
                out.extend(words.iter().map(|word| f64::from_le_bytes(*word)));
            }
            DELTA => {
                let mut deltas = block;
                let power = *POWERS.get(usize::from(exponent))?;
                if tag & REBASE != 0 {
                    chain_last = take_varint_signed(&mut input)?;
                    out.push(to_value(chain_last, power));
                    deltas -= 1;
                } else if exponent != chain_exponent {
                    return None;
                }
                let (min, width) = (take_varint_signed(&mut input)?, take_array::<1>(&mut input)?[0]);
                let mut last = chain_last;
                unpack(&mut input, width, deltas, |number| {
                    last = last.wrapping_add(min).wrapping_add(number as i64);
                    out.push(to_value(last, power));
                })?;
                (chain_exponent, chain_last) = (exponent, last);
            }
            _ => {
                let power = *POWERS.get(usize::from(exponent))?;
                let (min, width) = (take_varint_signed(&mut input)?, take_array::<1>(&mut input)?[0]);
                unpack(&mut input, width, block, |number| {
                    chain_last = min.wrapping_add(number as i64);
                    out.push(to_value(chain_last, power));
                })?;
                chain_exponent = exponent;
            }
        }
    }
    Some(())
}

#[inline(always)]
fn to_value(whole: i64, power: f64) -> f64 {
    // Divided, never multiplied by the inverse: the writer checked that this gives the very bits back.
    if power == 1.0 { whole as f64 } else { whole as f64 / power }
}

/// Takes `count` numbers of `width` bits.
#[inline(always)]
fn unpack(input: &mut &[u8], width: u8, count: usize, mut visit: impl FnMut(u64)) -> Option<()> {
    let width = u32::from(width);
    if width > WIDTH_MAX {
        return None;
    }
    let bytes = take(input, (count * width as usize).div_ceil(8))?;
    let mask = (1u64 << width) - 1;
    let mut bit = 0usize;
    for _ in 0..count {
        let at = bit >> 3;
        let word = match bytes.get(at..at + 8) {
            Some(word) => u64::from_le_bytes(word.try_into().ok()?),
            None => {
                let mut word = [0u8; 8];
                let rest = bytes.get(at..).unwrap_or_default();
                word[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(word)
            }
        };
        visit((word >> (bit & 7)) & mask);
        bit += width as usize;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::STALE_NAN;
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> usize {
        let mut column = ValueColumn::default();
        for (index, value) in values.iter().enumerate() {
            column.push(*value);
            assert_eq!(column.last().map(f64::to_bits), Some(value.to_bits()), "last after {index}");
        }
        let mut live = Vec::new();
        column.read(&mut live);
        let bits = |v: &[f64]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&live), bits(values));
        let copied = column.encoded();
        let bytes = column.finish();
        assert_eq!(copied, bytes);
        let mut read = Vec::new();
        read_blocks(&bytes, values.len(), &mut read).unwrap();
        assert_eq!(bits(&read), bits(values));
        bytes.len()
    }

    #[test]
    fn constants_counters_and_decimals_are_small() {
        assert!(round_trip(&[42.5; 480]) <= 12);
        let counter: Vec<f64> = (0..480).map(|i| 1e6 + f64::from(i * 7 % 100) + f64::from(i) * 100.0).collect();
        assert!(round_trip(&counter) < 600);
        let decimals: Vec<f64> = (0..480).map(|i| f64::from((i * 37) % 200) / 1000.0 + 10.0).collect();
        assert!(round_trip(&decimals) < 600);
    }

    #[test]
    fn markers_infinities_and_negative_zero_keep_their_bits() {
        round_trip(&[1.0, 2.0, STALE_NAN, STALE_NAN, 3.0, f64::INFINITY, f64::NAN, -0.0, 0.0, 1e300, 5e-324]);
        round_trip(&[STALE_NAN]);
        round_trip(&[]);
    }

    fn any_value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000i32..1000).prop_map(f64::from),
            (-100_000i32..100_000).prop_map(|v| f64::from(v) / 1000.0),
            Just(7.0),
        ]
    }

    proptest! {
        #[test]
        fn any_values_survive(values in prop::collection::vec(any_value(), 0..300)) {
            round_trip(&values);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, count in 0usize..200) {
            let _ = read_blocks(&bytes, count, &mut Vec::new());
        }
    }
}
