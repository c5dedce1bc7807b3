//! The values of one chunk as bytes.
//!
//! Values are decimals more often than not: a chunk becomes whole numbers at one power of ten, which `pco` packs near
//! their entropy. What is no short decimal goes to `pco` as it is. Markers that are no numbers stand beside it, so that
//! one of them does not turn a chunk of decimals into something else.

use crate::{
    stdx::bytes::{push_varint, take, take_array, take_varint},
    store::tsdb::head::values::{POWERS, ValueColumn, read_blocks, to_whole},
};
use pco::{
    ChunkConfig, DecompressorScratch,
    data_types::Number,
    wrapped::{FileCompressor, FileDecompressor},
};
use std::{cell::RefCell, sync::OnceLock};

/// Above level 4 a sixth of a per cent is won at twice the time and more.
const LEVEL: usize = 4;
/// Values in a chunk at most: enough that what `pco` says about itself is small beside them, few enough that reading
/// one value of a day does not decode the day.
pub const VALUES_MAX: usize = 2048;
/// Fewer values than this are not worth what `pco` says about itself.
const PCO_MIN: usize = 64;

/// How the values of a chunk are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// All the same, bit by bit.
    Constant(f64),
    /// As the head packs them.
    Blocks,
    /// Whole numbers at a power of ten.
    Whole,
    /// As they are.
    Floats,
}

thread_local! {
    /// Whole numbers on their way to values and back: one buffer a thread.
    static WHOLE: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
    /// What `pco` works in: a small chunk takes less time than making it anew.
    static SCRATCH: RefCell<Box<DecompressorScratch>> = RefCell::default();
}

/// Appends the bytes of at most [`VALUES_MAX`] values to `out`.
pub fn encode(values: &[f64], out: &mut Vec<u8>) -> Kind {
    let Some(first) = values.first() else { return Kind::Constant(0.0) };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        return Kind::Constant(*first);
    }
    if values.len() < PCO_MIN {
        return encode_blocks(values, out);
    }
    let (exceptions, filled) = split_markers(values);
    let numbers = filled.as_deref().unwrap_or(values);
    let before = out.len();
    let kind = WHOLE.with_borrow_mut(|whole| {
        whole.clear();
        whole.resize(numbers.len(), 0);
        match to_whole(numbers, 0, whole) {
            Some(exponent) => {
                out.push(exponent);
                push_exceptions(out, &exceptions);
                pack(whole, out).then_some(Kind::Whole)
            }
            None => {
                push_exceptions(out, &exceptions);
                pack(numbers, out).then_some(Kind::Floats)
            }
        }
    });
    kind.unwrap_or_else(|| {
        // Only a chunk larger than `pco` takes could come here; the head's way takes any.
        out.truncate(before);
        encode_blocks(values, out)
    })
}

fn encode_blocks(values: &[f64], out: &mut Vec<u8>) -> Kind {
    let mut column = ValueColumn::default();
    values.iter().for_each(|value| column.push(*value));
    out.extend_from_slice(&column.finish());
    Kind::Blocks
}

/// What is no number, by its place, and the values with the number before it in its place; `None` where all are numbers.
fn split_markers(values: &[f64]) -> (Vec<(usize, u64)>, Option<Vec<f64>>) {
    if values.iter().all(|value| value.is_finite()) {
        return (Vec::new(), None);
    }
    let mut exceptions = Vec::new();
    let mut filled = values.to_vec();
    let mut before = values.iter().copied().find(|value| value.is_finite()).unwrap_or_default();
    for (index, value) in filled.iter_mut().enumerate() {
        if value.is_finite() {
            before = *value;
        } else {
            exceptions.push((index, value.to_bits()));
            *value = before;
        }
    }
    (exceptions, Some(filled))
}

fn push_exceptions(out: &mut Vec<u8>, exceptions: &[(usize, u64)]) {
    push_varint(out, exceptions.len() as u64);
    for (index, bits) in exceptions {
        push_varint(out, *index as u64);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

fn pack<T: Number>(numbers: &[T], out: &mut Vec<u8>) -> bool {
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let Ok(mut chunk) = FileCompressor::default().chunk_compressor(numbers, &config) else { return false };
    // Writing into memory does not fail.
    chunk.write_meta(&mut *out).is_ok() && chunk.write_page(0, &mut *out).is_ok()
}

/// Appends the `count` values of a chunk to `out`; `None` where the bytes are not what [`encode`] wrote. Their checksum
/// has been looked at. The chunk is the first `length` of `bytes`; whatever stands behind it is better not cut off, since
/// `pco` looks further than it reads and copies the end of what is short.
pub fn decode(kind: Kind, bytes: &[u8], length: usize, count: usize, out: &mut Vec<f64>) -> Option<()> {
    let mut input = bytes.get(..length)?;
    match kind {
        Kind::Constant(value) => {
            out.extend(std::iter::repeat_n(value, count));
            Some(())
        }
        Kind::Blocks => read_blocks(input, count, out),
        Kind::Whole => {
            let power = *POWERS.get(usize::from(take(&mut input, 1)?[0]))?;
            let exceptions = take_exceptions(&mut input, count)?;
            let start = out.len();
            WHOLE.with_borrow_mut(|whole| {
                whole.clear();
                whole.resize(count, 0);
                unpack(&bytes[length - input.len()..], input.len(), whole)?;
                if power == 1.0 {
                    out.extend(whole.iter().map(|number| *number as f64));
                } else {
                    out.extend(whole.iter().map(|number| *number as f64 / power));
                }
                Some(())
            })?;
            put_back(&exceptions, &mut out[start..]);
            Some(())
        }
        Kind::Floats => {
            let exceptions = take_exceptions(&mut input, count)?;
            let start = out.len();
            out.resize(start + count, 0.0);
            unpack(&bytes[length - input.len()..], input.len(), &mut out[start..])?;
            put_back(&exceptions, &mut out[start..]);
            Some(())
        }
    }
}

fn take_exceptions(input: &mut &[u8], count: usize) -> Option<Vec<(usize, u64)>> {
    let listed = take_varint(input)?;
    let mut exceptions = Vec::new();
    for _ in 0..listed {
        let index = usize::try_from(take_varint(input)?).ok().filter(|index| *index < count)?;
        exceptions.push((index, u64::from_le_bytes(take_array(input)?)));
    }
    Some(exceptions)
}

fn put_back(exceptions: &[(usize, u64)], values: &mut [f64]) {
    for (index, bits) in exceptions {
        values[*index] = f64::from_bits(*bits);
    }
}

/// Unpacks what the first `length` of `bytes` are.
fn unpack<T: Number>(bytes: &[u8], length: usize, numbers: &mut [T]) -> Option<()> {
    let (chunk, rest) = file()?.chunk_decompressor::<T, _>(bytes).ok()?;
    SCRATCH.with_borrow_mut(|scratch| {
        let mut page = chunk.page_decompressor_with_scratch(rest, numbers.len(), scratch).ok()?;
        let progress = page.read(numbers).ok()?;
        let is_within = bytes.len() - page.into_src().len() <= length;
        (is_within && progress.n_processed == numbers.len()).then_some(())
    })
}

/// What a file of `pco` begins with, its version, read. It is the same for every chunk, so it stands in none.
fn file() -> Option<&'static FileDecompressor> {
    static FILE: OnceLock<Option<FileDecompressor>> = OnceLock::new();
    let read = || {
        let header = FileCompressor::default().write_header(Vec::new()).ok()?;
        FileDecompressor::new(&header[..]).ok().map(|(file, _)| file)
    };
    FILE.get_or_init(read).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{STALE_NAN, STALE_NAN_BITS};
    use proptest::prelude::*;

    fn round_trip(values: &[f64]) -> (Kind, usize) {
        let mut bytes = vec![7];
        let kind = encode(values, &mut bytes);
        let mut read = vec![1.0];
        decode(kind, &bytes[1..], bytes.len() - 1, values.len(), &mut read).unwrap();
        let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read[1..]), bits(values));
        (kind, bytes.len() - 1)
    }

    #[test]
    fn each_kind_of_values_is_kept_in_its_own_way() {
        assert_eq!(round_trip(&[]).0, Kind::Constant(0.0));
        assert_eq!(round_trip(&[5.5; 2000]), (Kind::Constant(5.5), 0));
        assert_eq!(round_trip(&[1.0, 2.0]).0, Kind::Blocks);
        let counter: Vec<f64> = (0..1440).map(|index| f64::from(index * 15)).collect();
        let (kind, bytes) = round_trip(&counter);
        assert!(kind == Kind::Whole && bytes < 48, "{bytes}");
        let decimals: Vec<f64> = (0..1440).map(|index| f64::from(index % 97) / 100.0).collect();
        assert_eq!(round_trip(&decimals).0, Kind::Whole);
        let floats: Vec<f64> = (0..1440).map(|index| f64::from(index).sqrt()).collect();
        assert_eq!(round_trip(&floats).0, Kind::Floats);
    }

    #[test]
    fn a_marker_costs_its_own_bytes_and_nothing_else() {
        let mut values: Vec<f64> = (0..1440).map(f64::from).collect();
        let without = round_trip(&values).1;
        values[700] = STALE_NAN;
        values[1439] = f64::NEG_INFINITY;
        let (kind, with) = round_trip(&values);
        assert!(kind == Kind::Whole && with < without + 64, "{without} {with}");
        assert_eq!(values[700].to_bits(), STALE_NAN_BITS);
        round_trip(&[STALE_NAN; 100]);
        round_trip(&[&[f64::NAN; 70][..], &[f64::INFINITY; 3]].concat());
    }

    #[test]
    fn bytes_cut_short_are_refused() {
        let values: Vec<f64> = (0..300).map(|index| f64::from(index * index)).collect();
        let mut bytes = Vec::new();
        let kind = encode(&values, &mut bytes);
        let half = bytes.len() / 2;
        assert_eq!(decode(kind, &bytes[..half], half, values.len(), &mut Vec::new()), None);
        assert_eq!(
            decode(kind, &bytes, bytes.len() - 1, values.len(), &mut Vec::new()),
            None,
            "what follows is not read"
        );
        assert_eq!(decode(kind, &bytes, bytes.len() + 1, values.len(), &mut Vec::new()), None);
    }

    proptest! {
        /// Their checksum may be right all the same.
        #[test]
        fn bytes_that_nobody_wrote_are_refused_or_read_without_panic(
            changes in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..20),
            random in proptest::collection::vec(any::<u8>(), 0..200),
            is_whole: bool,
        ) {
            let value = |index: i32| if is_whole { f64::from(index * 7 % 100) } else { f64::from(index).sqrt() };
            let values: Vec<f64> = (0..300).map(value).collect();
            let mut bytes = Vec::new();
            let kind = encode(&values, &mut bytes);
            for (at, byte) in changes {
                let at = usize::from(at) % bytes.len();
                bytes[at] = byte;
            }
            let _ = decode(kind, &bytes, bytes.len(), values.len(), &mut Vec::new());
            let _ = decode(kind, &random, random.len(), values.len(), &mut Vec::new());
        }

        #[test]
        fn any_values_come_back_bit_by_bit(
            bits in proptest::collection::vec(prop_oneof![any::<u64>(), (0u64..1000).prop_map(|n| (n as f64).to_bits()), Just(STALE_NAN_BITS)], 0..400),
        ) {
            let values: Vec<f64> = bits.into_iter().map(f64::from_bits).collect();
            round_trip(&values);
        }
    }
}
