//! One record: a header of 16 bytes and a payload. `docs/formats/log.md` has the fields.

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 16;

/// A payload above this is refused: no batch comes near it, and a reader may rely on it.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// The first record of a group that was written and synced at once. Finding one proves that all before was synced.
pub const FLAG_GROUP_START: u8 = 1;

/// The kind of the log's own note behind the last record of a segment: a later one holds something acknowledged. Writers
/// use other kinds.
pub const FOLLOWED: u8 = 255;

const MAGIC: [u8; 2] = [0xb7, 0x0b];

/// What stands at a place of a segment.
pub enum Found<'a> {
    Whole {
        kind: u8,
        flags: u8,
        payload: &'a [u8],
    },
    /// The header can be trusted, so the next record is known to be `HEADER_BYTES + length` further.
    PayloadDamaged {
        length: usize,
    },
    Nothing,
}

/// Writes the header of the record that begins at `out[start]` and whose payload is already behind it.
pub fn seal(out: &mut [u8], start: usize, position: u64, kind: u8, flags: u8) {
    let (header, payload) = out[start..].split_at_mut(HEADER_BYTES);
    header[0..2].copy_from_slice(&MAGIC);
    header[2] = kind;
    header[3] = flags;
    // The writer refuses payloads above PAYLOAD_BYTES_MAX, so the length fits.
    header[4..8].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[8..12].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = header_crc(&header[..12], position);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the record that would begin at `bytes[0]`, which is `position` of the log.
pub fn read(bytes: &[u8], position: u64) -> Found<'_> {
    let Some(length) = header_length(bytes, position) else {
        return Found::Nothing;
    };
    match bytes[HEADER_BYTES..].get(..length) {
        None => Found::Nothing,
        Some(payload) if crc32c::crc32c(payload).to_le_bytes() == bytes[8..12] => {
            Found::Whole { kind: bytes[2], flags: bytes[3], payload }
        }
        Some(_) => Found::PayloadDamaged { length },
    }
}

/// The offset, `from` or later, of the next valid header in a segment whose first byte is at position `base`.
pub fn find(bytes: &[u8], from: usize, base: u64) -> Option<usize> {
    let candidates = bytes.get(from..)?.windows(HEADER_BYTES).enumerate();
    candidates
        .map(|(index, window)| (from + index, window))
        .find(|(offset, window)| window[..2] == MAGIC && header_length(window, base + *offset as u64).is_some())
        .map(|(offset, _)| offset)
}

/// The payload's length, where a valid header of just this position begins.
fn header_length(bytes: &[u8], position: u64) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let valid = header[..2] == MAGIC && header[12..] == header_crc(&header[..12], position).to_le_bytes();
    let length = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
    (valid && length <= PAYLOAD_BYTES_MAX).then_some(length)
}

fn header_crc(header: &[u8], position: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&position.to_le_bytes()), header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sealed(position: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES];
        out.extend_from_slice(payload);
        seal(&mut out, 0, position, kind, 0);
        out
    }

    proptest! {
        #[test]
        fn a_record_is_read_at_its_own_position_only(position: u64, other: u64, kind: u8, payload: Vec<u8>) {
            let bytes = sealed(position, kind, &payload);
            let Found::Whole { kind: read_kind, payload: read_payload, .. } = read(&bytes, position) else {
                return Err(TestCaseError::fail("not read"));
            };
            prop_assert_eq!(read_kind, kind);
            prop_assert_eq!(read_payload, payload);
            if other != position {
                prop_assert!(matches!(read(&bytes, other), Found::Nothing));
            }
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, position: u64) {
            prop_assert!(matches!(read(&bytes, position), Found::Nothing));
            prop_assert_eq!(find(&bytes, bytes.len() / 2, position >> 1), None);
        }

        #[test]
        fn the_next_record_is_found_behind_rubbish(rubbish in prop::collection::vec(any::<u8>(), 0..200), payload: Vec<u8>) {
            let mut bytes = rubbish.clone();
            bytes.extend(sealed(1000 + rubbish.len() as u64, 3, &payload));
            prop_assert_eq!(find(&bytes, 0, 1000), Some(rubbish.len()));
        }
    }
}
