//! A stream entry as a message, read as forgivingly as the library reads it, and more so where the library would choke.

use super::reply::{Entry, id_parts};
use crate::mailbox::{MESSAGE_BYTES_MAX, Message};
use serde::de::IgnoredAny;

/// The fields, in the order in which the library writes them.
pub const FIELDS: [&str; 6] = ["message_id", "sender", "recipient", "payload", "message_type", "timestamp"];

/// An entry that is no message, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    #[error("the field `{0}` is not UTF-8")]
    NotUtf8(&'static str),
    #[error("the payload is no JSON: {0}")]
    NotJson(String),
    #[error("it has {0} bytes, and a message has at most {MESSAGE_BYTES_MAX}")]
    TooLarge(usize),
}

/// Reads an entry of `stream`. What is missing gets the library's defaults, but for the id: that is the entry's own, so
/// that an entry that comes again is the same message. Timestamps of senders are the seconds since their start; the
/// entry's time is taken instead.
pub fn message(stream: &str, entry: &Entry) -> Result<Message, Poison> {
    let fields = entry.fields.as_deref().unwrap_or_default();
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MESSAGE_BYTES_MAX {
        return Err(Poison::TooLarge(bytes));
    }
    let field = |name: &'static str, default: &str| {
        let found = fields.iter().find(|(found, _)| found == name.as_bytes());
        let text = found.map_or(Ok(default), |(_, value)| std::str::from_utf8(value));
        text.map(str::to_owned).map_err(|_| Poison::NotUtf8(name))
    };
    let id = field("message_id", "")?;
    let payload = strict(field("payload", "{}")?);
    if let Err(error) = serde_json::from_str::<IgnoredAny>(&payload) {
        return Err(Poison::NotJson(error.to_string()));
    }
    Ok(Message {
        id: if id.is_empty() { format!("{stream}/{}", entry.id) } else { id },
        kind: field("message_type", "direct_message")?,
        sender: field("sender", "unknown")?,
        recipient: field("recipient", "unknown")?,
        payload,
        created_ms: id_parts(&entry.id).and_then(|(ms, _)| i64::try_from(ms).ok()).unwrap_or(0),
    })
}

/// The fields of a message, to be written.
pub fn fields(message: &Message) -> [(&'static str, String); 6] {
    let seconds = format!("{}.{:03}", message.created_ms.max(0) / 1000, message.created_ms.max(0) % 1000);
    let texts = [&message.id, &message.sender, &message.recipient, &message.payload, &message.kind, &seconds];
    let mut texts = texts.into_iter();
    FIELDS.map(|name| (name, texts.next().cloned().unwrap_or_default()))
}

/// JSON as Python writes it may have bare `NaN`, `Infinity` and `-Infinity`, which no other reader takes: `null` stands
/// for them.
fn strict(text: String) -> String {
    const WORDS: [&str; 3] = ["NaN", "-Infinity", "Infinity"];
    if !WORDS.iter().any(|word| text.contains(word)) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let (mut quoted, mut escaped) = (false, false);
    while let Some(first) = rest.chars().next() {
        if !quoted && let Some(word) = WORDS.iter().find(|word| rest.starts_with(**word)) {
            out.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        match first {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && first == '\\' && !escaped;
        out.push(first);
        rest = &rest[first.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(fields: &[(&str, &[u8])]) -> Entry {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.to_vec())).collect();
        Entry { id: "1700000000123-4".to_owned(), fields: Some(fields) }
    }

    #[test]
    fn what_is_missing_gets_the_defaults_of_the_library() {
        let message = message("s:in", &entry(&[("extra", b"x")])).unwrap();
        assert_eq!(message.id, "s:in/1700000000123-4");
        assert_eq!((message.sender.as_str(), message.recipient.as_str()), ("unknown", "unknown"));
        assert_eq!((message.kind.as_str(), message.payload.as_str()), ("direct_message", "{}"));
        assert_eq!(message.created_ms, 1_700_000_000_123);
    }

    #[test]
    fn what_the_library_chokes_on_is_read_or_said() {
        let read =
            |payload: &[u8]| message("s", &entry(&[("payload", payload), ("timestamp", b"2026-01-01T00:00:00")]));
        assert_eq!(
            read(br#"{"a": NaN, "b": [-Infinity, Infinity], "c": "NaN \" NaN"}"#).unwrap().payload,
            r#"{"a": null, "b": [null, null], "c": "NaN \" NaN"}"#
        );
        assert_eq!(read(b"[1]").unwrap().payload, "[1]");
        assert!(matches!(read(b"{"), Err(Poison::NotJson(_))));
        assert!(matches!(read(b""), Err(Poison::NotJson(_))));
        assert_eq!(read(b"\"\xff\""), Err(Poison::NotUtf8("payload")));
        assert!(matches!(read(&vec![b' '; MESSAGE_BYTES_MAX]), Err(Poison::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn a_message_survives_and_any_fields_are_read_without_panic(
            texts in prop::collection::vec("\\PC{1,10}", 4), number: f64, bytes: Vec<u8>, text in "[\\\\\"NaN,I -]{0,30}",
        ) {
            let [id, kind, sender, recipient] = <[String; 4]>::try_from(texts).unwrap();
            let payload = serde_json::json!({ "n": number, "t": text }).to_string();
            let sent = Message { id, kind, sender, recipient, payload, created_ms: 1_700_000_000_123 };
            let fields = fields(&sent);
            let written: Vec<(&str, &[u8])> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            prop_assert_eq!(message("s", &entry(&written)), Ok(sent));
            let _ = message("s", &entry(&[("payload", &bytes), ("message_id", &bytes)]));
            let _ = message("s", &entry(&[("payload", text.as_bytes())]));
        }
    }
}
