//! Protobuf on the wire: one field after the other, borrowed from the input.

use crate::stdx::bytes::{take, take_array, take_varint};

/// The bytes are no protobuf message of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the protobuf message ends in the middle of a field")]
    Truncated,
    #[error("the protobuf message uses wire type {0}, which no field of it has")]
    WireType(u8),
    #[error("field {0} of the protobuf message has the wrong wire type")]
    FieldType(u32),
    #[error("a protobuf field has the number 0 or one out of range")]
    FieldNumber,
}

/// What a field holds, by wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    /// The bytes of a length-delimited field.
    pub fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(WireError::FieldType(field)),
        }
    }

    pub fn varint(self, field: u32) -> Result<u64, WireError> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(WireError::FieldType(field)),
        }
    }

    pub fn double(self, field: u32) -> Result<f64, WireError> {
        match self {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(WireError::FieldType(field)),
        }
    }
}

/// Takes the next field: its number and value; `None` at the end.
#[inline]
pub fn next_field<'a>(input: &mut &'a [u8]) -> Result<Option<(u32, Value<'a>)>, WireError> {
    if input.is_empty() {
        return Ok(None);
    }
    let tag = take_varint(input).ok_or(WireError::Truncated)?;
    let field = u32::try_from(tag >> 3).map_err(|_| WireError::FieldNumber)?;
    if field == 0 {
        return Err(WireError::FieldNumber);
    }
    let value = match tag & 7 {
        0 => Value::Varint(take_varint(input).ok_or(WireError::Truncated)?),
        1 => Value::Fixed64(u64::from_le_bytes(take_array(input).ok_or(WireError::Truncated)?)),
        2 => Value::Bytes(take_length_delimited(input)?),
        5 => Value::Fixed32(u32::from_le_bytes(take_array(input).ok_or(WireError::Truncated)?)),
        other => return Err(WireError::WireType(other as u8)),
    };
    Ok(Some((field, value)))
}

/// Takes a length and that many bytes.
#[inline]
pub fn take_length_delimited<'a>(input: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    // Nearly every message of a write request is shorter than 128 bytes: its length is one byte.
    if let Some((&length, rest)) = input.split_first()
        && length < 0x80
    {
        let (part, rest) = rest.split_at_checked(usize::from(length)).ok_or(WireError::Truncated)?;
        *input = rest;
        return Ok(part);
    }
    let length = take_varint(input).ok_or(WireError::Truncated)?;
    let length = usize::try_from(length).map_err(|_| WireError::Truncated)?;
    take(input, length).ok_or(WireError::Truncated)
}

/// Undoes the zigzag of `sint32` and `sint64`.
pub fn unzigzag(raw: u64) -> i64 {
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

/// The zigzag of `sint32` and `sint64`: small sizes of either sign stay short.
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_wire_type_is_read() {
        let mut input =
            &[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f][..];
        assert_eq!(next_field(&mut input), Ok(Some((1, Value::Varint(150)))));
        assert_eq!(next_field(&mut input), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(next_field(&mut input), Ok(Some((3, Value::Fixed32(1)))));
        assert_eq!(next_field(&mut input).unwrap().unwrap().1.double(4), Ok(1.0));
        assert_eq!(next_field(&mut input), Ok(None));
    }

    #[test]
    fn damaged_fields_are_told_apart() {
        assert_eq!(next_field(&mut &[0x12, 9, 1][..]), Err(WireError::Truncated));
        assert_eq!(next_field(&mut &[0x0b][..]), Err(WireError::WireType(3)));
        assert_eq!(next_field(&mut &[0x00, 1][..]), Err(WireError::FieldNumber));
        assert_eq!(
            next_field(&mut &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1][..]),
            Err(WireError::Truncated)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
            let mut input = &bytes[..];
            while let Ok(Some(_)) = next_field(&mut input) {}
        }

        #[test]
        fn zigzag_survives(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
