//! Decompression of request bodies under limits: what a body declares or expands to is bounded before it is allocated.

use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::Read;

/// Output grows by at most this much before the limits are looked at again.
const STEP_BYTES: usize = 64 * 1024;

/// A body that becomes longer than this is counted to its end before more of it is kept: what is refused in the end
/// should not have taken the memory of what is not.
const COUNTED_FROM_BYTES: usize = 16 << 20;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Gzip,
    /// HTTP's `deflate`: zlib, or the bare stream some clients send in its place.
    Deflate,
    /// Remote write's form: one block with its length in front.
    SnappyBlock,
    /// The stream form that pushes use.
    SnappyFramed,
}

impl Encoding {
    /// As users know it.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::SnappyBlock => "snappy",
            Encoding::SnappyFramed => "snappy (framed)",
        }
    }
}

/// How far a body may expand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes after decompression; bounds the memory one request can take.
    pub decoded_bytes_max: usize,
    /// Decoded bytes for each compressed one. Metrics compress 10 to 30 times; a bomb 1000 times.
    pub ratio_max: usize,
    /// Bodies that stay below this pass whatever their ratio: a small, very regular body is no attack.
    pub ratio_exempt_bytes: usize,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits { decoded_bytes_max: 128 << 20, ratio_max: 100, ratio_exempt_bytes: 1 << 20 }
    }
}

/// Why a body could not be decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is larger than {limit} bytes after decompression; send it in smaller parts")]
    TooLarge { limit: usize },
    #[error(
        "the body expands more than {limit} times, to over {decoded_bytes} bytes; send it uncompressed or in smaller parts"
    )]
    Ratio { limit: usize, decoded_bytes: usize },
    #[error("the body is no valid {encoding}: {detail}")]
    Corrupt { encoding: &'static str, detail: String },
}

/// Decompresses `input` into `out`, whose former content is replaced and whose memory is reused.
pub fn decompress(
    encoding: Encoding,
    input: &[u8],
    limits: &DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    match encoding {
        Encoding::Gzip => {
            reserve_announced(input, limits, out);
            read_all(|| MultiGzDecoder::new(input), encoding, input.len(), limits, out)
        }
        Encoding::Deflate if is_zlib(input) => read_all(|| ZlibDecoder::new(input), encoding, input.len(), limits, out),
        Encoding::Deflate => read_all(|| DeflateDecoder::new(input), encoding, input.len(), limits, out),
        Encoding::SnappyFramed => read_all(|| snap::read::FrameDecoder::new(input), encoding, input.len(), limits, out),
        Encoding::SnappyBlock => snappy_block(input, limits, out),
    }
}

/// The bytes a body of `input_bytes` may become, and the error for going beyond.
fn allowed(input_bytes: usize, limits: &DecodeLimits) -> (usize, DecodeError) {
    let by_ratio = input_bytes.saturating_mul(limits.ratio_max).max(limits.ratio_exempt_bytes);
    if by_ratio < limits.decoded_bytes_max {
        (by_ratio, DecodeError::Ratio { limit: limits.ratio_max, decoded_bytes: by_ratio })
    } else {
        (limits.decoded_bytes_max, DecodeError::TooLarge { limit: limits.decoded_bytes_max })
    }
}

fn corrupt(encoding: Encoding, detail: impl ToString) -> DecodeError {
    DecodeError::Corrupt { encoding: encoding.as_str(), detail: detail.to_string() }
}

fn snappy_block(input: &[u8], limits: &DecodeLimits, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let encoding = Encoding::SnappyBlock;
    let declared = snap::raw::decompress_len(input).map_err(|e| corrupt(encoding, e))?;
    let (bytes_max, too_large) = allowed(input.len(), limits);
    if declared > bytes_max {
        return Err(too_large);
    }
    // Growing only, so that a reused buffer is not zeroed again.
    if out.len() < declared {
        out.resize(declared, 0);
    }
    let written = snap::raw::Decoder::new().decompress(input, out).map_err(|e| corrupt(encoding, e))?;
    out.truncate(written);
    Ok(())
}

/// Makes room in one piece for what the end of a gzip body announces: growing step by step copies, and leaves two to
/// three times the memory behind. A lie reserves no more than the limits allow, and only what is written is resident.
fn reserve_announced(input: &[u8], limits: &DecodeLimits, out: &mut Vec<u8>) {
    let Some(announced) = input.last_chunk().map(|length| u32::from_le_bytes(*length) as usize) else { return };
    out.clear();
    out.reserve_exact(announced.min(allowed(input.len(), limits).0) + STEP_BYTES);
}

/// `open` begins at the start of the body, each time it is called.
fn read_all<R: Read>(
    open: impl Fn() -> R,
    encoding: Encoding,
    input_bytes: usize,
    limits: &DecodeLimits,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    let (bytes_max, too_large) = allowed(input_bytes, limits);
    out.clear();
    let mut reader = open();
    let mut counted = false;
    loop {
        if out.len() > COUNTED_FROM_BYTES && !counted {
            counted = true;
            match count(open(), bytes_max).map_err(|error| broken(encoding, &error))? {
                None => {
                    *out = Vec::new();
                    return Err(too_large);
                }
                Some(whole) => out.reserve_exact(whole.saturating_sub(out.len()) + STEP_BYTES),
            }
        }
        let filled = out.len();
        out.resize(filled + STEP_BYTES, 0);
        let count = reader.read(&mut out[filled..]).map_err(|error| broken(encoding, &error))?;
        out.truncate(filled + count);
        if out.len() > bytes_max {
            return Err(too_large);
        }
        if count == 0 {
            return Ok(());
        }
    }
}

/// How long a body is, without keeping it; `None` where it is longer than `bytes_max`.
fn count(mut reader: impl Read, bytes_max: usize) -> std::io::Result<Option<usize>> {
    let mut passing = vec![0; STEP_BYTES];
    let mut whole = 0;
    loop {
        match reader.read(&mut passing)? {
            0 => return Ok(Some(whole)),
            count => whole += count,
        }
        if whole > bytes_max {
            return Ok(None);
        }
    }
}

fn broken(encoding: Encoding, error: &std::io::Error) -> DecodeError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return corrupt(encoding, "unexpected EOF");
    }
    corrupt(encoding, error)
}

/// Whether a deflate body has the two header bytes of zlib.
fn is_zlib(input: &[u8]) -> bool {
    matches!(input, [method, flags, ..] if method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{
        Compression,
        write::{DeflateEncoder, GzEncoder, ZlibEncoder},
    };
    use proptest::prelude::*;
    use std::io::Write;

    const ALL: [Encoding; 4] = [Encoding::Gzip, Encoding::Deflate, Encoding::SnappyBlock, Encoding::SnappyFramed];

    fn compress(encoding: Encoding, data: &[u8]) -> Vec<u8> {
        match encoding {
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::SnappyBlock => snap::raw::Encoder::new().compress_vec(data).unwrap(),
            Encoding::SnappyFramed => {
                let mut encoder = snap::write::FrameEncoder::new(Vec::new());
                encoder.write_all(data).unwrap();
                encoder.into_inner().unwrap()
            }
        }
    }

    #[test]
    fn bombs_are_refused_by_ratio_and_by_size() {
        let zeros = vec![0u8; 8 << 20];
        let mut out = Vec::new();
        for encoding in [Encoding::Gzip, Encoding::Deflate] {
            let error = decompress(encoding, &compress(encoding, &zeros), &DecodeLimits::default(), &mut out);
            assert!(matches!(error, Err(DecodeError::Ratio { limit: 100, .. })), "{error:?}");
        }
        let small = DecodeLimits { decoded_bytes_max: 1 << 20, ..DecodeLimits::default() };
        for encoding in ALL {
            let error = decompress(encoding, &compress(encoding, &zeros), &small, &mut out);
            assert_eq!(error, Err(DecodeError::TooLarge { limit: 1 << 20 }));
        }
    }

    #[test]
    fn what_is_refused_never_took_much_memory_and_what_is_large_arrives_whole() {
        let large: Vec<u8> = (0..40u32 << 20).map(|at| if at % 61 == 0 { (at >> 8) as u8 } else { b'x' }).collect();
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::SnappyFramed] {
            let body = compress(encoding, &large);
            let mut out = Vec::new();
            decompress(encoding, &body, &DecodeLimits::default(), &mut out).unwrap();
            assert!(out == large, "{encoding:?}");
            let less = DecodeLimits { decoded_bytes_max: 30 << 20, ..DecodeLimits::default() };
            let error = decompress(encoding, &body, &less, &mut Vec::new());
            assert_eq!(error, Err(DecodeError::TooLarge { limit: 30 << 20 }));
        }
    }

    #[test]
    fn a_declared_snappy_length_is_not_believed() {
        let mut body = Vec::new();
        crate::stdx::bytes::push_varint(&mut body, 100 << 20);
        body.push(0);
        let mut out = Vec::new();
        let error = decompress(Encoding::SnappyBlock, &body, &DecodeLimits::default(), &mut out).unwrap_err();
        assert!(matches!(error, DecodeError::Ratio { .. }));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn a_small_regular_body_passes_whatever_its_ratio() {
        let body = vec![b'a'; 900_000];
        let mut out = Vec::new();
        decompress(Encoding::Gzip, &compress(Encoding::Gzip, &body), &DecodeLimits::default(), &mut out).unwrap();
        assert_eq!(out, body);
    }

    #[test]
    fn a_bare_deflate_stream_is_accepted() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"a 1\n").unwrap();
        let mut out = Vec::new();
        decompress(Encoding::Deflate, &encoder.finish().unwrap(), &DecodeLimits::default(), &mut out).unwrap();
        assert_eq!(out, b"a 1\n");
    }

    #[test]
    fn a_cut_body_is_corrupt() {
        let data: Vec<u8> = (0..4000u32).flat_map(u32::to_le_bytes).collect();
        for encoding in ALL {
            let whole = compress(encoding, &data);
            let mut out = Vec::new();
            let error = decompress(encoding, &whole[..whole.len() / 2], &DecodeLimits::default(), &mut out);
            assert!(matches!(error, Err(DecodeError::Corrupt { .. })), "{encoding:?}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn bodies_survive_in_a_used_buffer(data: Vec<u8>, before in 0usize..200) {
            for encoding in ALL {
                let mut out = vec![7; before];
                decompress(encoding, &compress(encoding, &data), &DecodeLimits::default(), &mut out).unwrap();
                prop_assert_eq!(&out, &data);
            }
        }

        #[test]
        fn any_bytes_are_refused_without_panic(data: Vec<u8>) {
            for encoding in ALL {
                let _ = decompress(encoding, &data, &DecodeLimits::default(), &mut Vec::new());
            }
        }
    }
}
