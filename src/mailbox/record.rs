//! The queue's keys and values in small state. `docs/formats/state.md` has them field by field.
//!
//! A message is written once, its payload compressed. What changes while it is worked on stands under a key of its own,
//! so that a hundred attempts at a mebibyte do not write a hundred mebibytes.

use super::{Message, limits::MESSAGE_BYTES_MAX};
use crate::{
    model::Timestamp,
    stdx::bytes::{push_slice, push_varint, push_varint_signed, take_slice, take_varint, take_varint_signed},
};
use sha2::{Digest, Sha256};

/// First bytes of the keys.
pub const MESSAGE: u8 = b'm';
pub const STATUS: u8 = b's';
pub const HANDLED: u8 = b'h';
pub const CONSUMER: &[u8] = b"c";
pub const LOSS: u8 = b'l';

const VERSION: u64 = 1;
/// Text such as payloads shrinks to a tenth with it, at 300 MB/s.
const COMPRESSION_LEVEL: i32 = 1;

/// What stands for a message's id: ids are as long as their senders like, and these are not, and cannot be made to meet.
pub type IdDigest = [u8; 16];

pub fn digest(id: &str) -> IdDigest {
    let hash = Sha256::digest(id.as_bytes());
    std::array::from_fn(|at| hash[at])
}

/// A key of something numbered; the numbers sort as they grow.
pub fn numbered(first: u8, number: u64) -> Vec<u8> {
    let mut key = vec![first];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// A key of something that belongs to an id.
pub fn of_id(first: u8, digest: &IdDigest) -> Vec<u8> {
    let mut key = vec![first];
    key.extend_from_slice(digest);
    key
}

/// The number or the digest of a key.
pub fn rest_of<const N: usize>(key: &[u8]) -> Option<[u8; N]> {
    key.get(1..)?.try_into().ok()
}

/// A message at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// When it was taken, by our clock.
    pub put_ms: Timestamp,
    pub message: Message,
}

impl Stored {
    pub fn encode(&self) -> Vec<u8> {
        let message = &self.message;
        let mut out = Vec::new();
        push_varint(&mut out, VERSION);
        push_varint_signed(&mut out, self.put_ms);
        push_varint_signed(&mut out, message.created_ms);
        for field in [&message.id, &message.kind, &message.sender, &message.recipient] {
            push_slice(&mut out, field.as_bytes());
        }
        push_varint(&mut out, message.payload.len() as u64);
        // Fails for want of memory only; then the payload stands as it is, which decoding tells by its length.
        let packed = zstd::bulk::compress(message.payload.as_bytes(), COMPRESSION_LEVEL).ok();
        match packed.filter(|packed| packed.len() < message.payload.len()) {
            Some(packed) => push_slice(&mut out, &packed),
            None => push_slice(&mut out, message.payload.as_bytes()),
        }
        out
    }

    /// `None` for bytes that are not a message of a version this program knows.
    pub fn decode(bytes: &[u8]) -> Option<Stored> {
        let (mut stored, length, packed) = Stored::decode_head(bytes)?;
        let payload = match packed.len() == length {
            true => packed.to_vec(),
            false => zstd::bulk::decompress(packed, length).ok()?,
        };
        stored.message.payload = String::from_utf8(payload).ok().filter(|payload| payload.len() == length)?;
        Some(stored)
    }

    /// As [`Stored::decode`], with the payload's length in place of the payload.
    pub fn decode_without_payload(bytes: &[u8]) -> Option<(Stored, usize)> {
        Stored::decode_head(bytes).map(|(stored, length, _)| (stored, length))
    }

    fn decode_head(mut bytes: &[u8]) -> Option<(Stored, usize, &[u8])> {
        let input = &mut bytes;
        if take_varint(input)? != VERSION {
            return None;
        }
        let (put_ms, created_ms) = (take_varint_signed(input)?, take_varint_signed(input)?);
        let mut text = || String::from_utf8(take_slice(input)?.to_vec()).ok();
        let (id, kind, sender, recipient) = (text()?, text()?, text()?, text()?);
        let length = usize::try_from(take_varint(input)?).ok().filter(|length| *length <= MESSAGE_BYTES_MAX)?;
        let packed = take_slice(input)?;
        let message = Message { id, kind, sender, recipient, payload: String::new(), created_ms };
        Some((Stored { put_ms, message }, length, packed))
    }
}

/// How far the work on a message has come; one that was not begun has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// How often it was given to a handler.
    pub attempts: u64,
    /// Not before this.
    pub due_ms: Timestamp,
    /// When it became a dead letter.
    pub dead_ms: Option<Timestamp>,
    /// Why it was not handled, the last time.
    pub reason: String,
}

/// Of a reason: what a person reads.
const REASON_BYTES_MAX: usize = 1024;

impl Status {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        push_varint(&mut out, VERSION);
        push_varint(&mut out, self.attempts);
        push_varint_signed(&mut out, self.due_ms);
        push_varint(&mut out, u64::from(self.dead_ms.is_some()));
        push_varint_signed(&mut out, self.dead_ms.unwrap_or(0));
        push_slice(&mut out, shortened(&self.reason, REASON_BYTES_MAX).as_bytes());
        out
    }

    /// `None` for bytes that are not a status of a version this program knows.
    pub fn decode(mut bytes: &[u8]) -> Option<Status> {
        let input = &mut bytes;
        if take_varint(input)? != VERSION {
            return None;
        }
        let (attempts, due_ms) = (take_varint(input)?, take_varint_signed(input)?);
        let (is_dead, dead_ms) = (take_varint(input)? != 0, take_varint_signed(input)?);
        let reason = String::from_utf8(take_slice(input)?.to_vec()).ok()?;
        Some(Status { attempts, due_ms, dead_ms: is_dead.then_some(dead_ms), reason })
    }
}

/// A moment alone.
pub fn encode_time(at_ms: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    push_varint_signed(&mut out, at_ms);
    out
}

pub fn decode_time(mut bytes: &[u8]) -> Option<Timestamp> {
    take_varint_signed(&mut bytes)
}

/// The beginning of a text, cut between characters.
pub fn shortened(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_and_statuses_survive_and_any_bytes_are_read_without_panic(
            texts in prop::collection::vec("\\PC{0,20}", 6),
            payload in "([a-z]{1,5}\\PC?){0,200}",
            put_ms: i64, created_ms: i64, attempts: u64, dead_ms: Option<i64>,
            bytes: Vec<u8>,
        ) {
            let [id, kind, sender, recipient, reason, _] = <[String; 6]>::try_from(texts).unwrap();
            let message = Message { id, kind, sender, recipient, payload, created_ms };
            let stored = Stored { put_ms, message };
            prop_assert_eq!(Stored::decode(&stored.encode()), Some(stored));
            let status = Status { attempts, due_ms: put_ms, dead_ms, reason };
            prop_assert_eq!(Status::decode(&status.encode()), Some(status));
            let _ = (Stored::decode(&bytes), Status::decode(&bytes), decode_time(&bytes));
            let versioned = [vec![1], bytes].concat();
            let _ = (Stored::decode(&versioned), Status::decode(&versioned));
        }
    }

    #[test]
    fn a_payload_that_claims_to_be_huge_is_not_believed() {
        let mut bytes = vec![1, 0, 0, 0, 0, 0, 0];
        push_varint(&mut bytes, u64::MAX);
        push_slice(&mut bytes, b"x");
        assert_eq!(Stored::decode(&bytes), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(shortened("aé", 2), "a");
        assert_eq!(shortened("aé", 3), "aé");
    }
}
