//! Little-endian numbers and varints to and from byte slices. Readers give `None` at the end, never panic.

/// Appends an unsigned number in 7-bit groups, least first.
pub fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a signed number: small sizes of either sign stay short.
pub fn push_varint_signed(out: &mut Vec<u8>, value: i64) {
    push_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a length and the bytes.
pub fn push_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Takes a number written by [`push_varint`].
#[inline]
pub fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0u64, 0);
    for (index, &byte) in input.iter().enumerate() {
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *input = &input[index + 1..];
            return Some(value);
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
    None
}

/// Takes a number written by [`push_varint_signed`].
#[inline]
pub fn take_varint_signed(input: &mut &[u8]) -> Option<i64> {
    let raw = take_varint(input)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Takes bytes written by [`push_slice`].
pub fn take_slice<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(input)?).ok()?;
    take(input, length)
}

/// Takes the next `length` bytes.
pub fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(part)
}

/// Takes the next `N` bytes as an array, for `from_le_bytes`.
#[inline]
pub fn take_array<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (part, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(unsigned: u64, signed: i64, bytes: Vec<u8>) {
            let mut out = Vec::new();
            push_varint(&mut out, unsigned);
            push_varint_signed(&mut out, signed);
            push_slice(&mut out, &bytes);
            let mut input = &out[..];
            prop_assert_eq!(take_varint(&mut input), Some(unsigned));
            prop_assert_eq!(take_varint_signed(&mut input), Some(signed));
            prop_assert_eq!(take_slice(&mut input), Some(&bytes[..]));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            while take_varint(&mut input).is_some() {}
            let _ = take_slice(&mut input);
        }
    }
}
