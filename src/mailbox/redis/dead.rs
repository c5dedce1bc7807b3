//! The dead letters of the streams: a stream of their own, the entry as it was and why it lies there.

use super::{
    commands::Commands,
    entry,
    link::LinkError,
    producer::Producer,
    reply::{Entry, id_parts},
};
use crate::mailbox::{DeadLetter, Message, record::shortened};
use std::sync::Arc;
use tokio::time::Instant;

/// Fields beside those of the entry itself.
const STREAM: &str = "dead_stream";
const ENTRY: &str = "dead_entry";
const ATTEMPTS: &str = "dead_attempts";
const REASON: &str = "dead_reason";
const OURS: [&str; 4] = [STREAM, ENTRY, ATTEMPTS, REASON];
/// Letters of one look. The first are few: each may be as large as a message. While they are small, the next look takes
/// more of them.
const PAGE_MIN: usize = 10;
const PAGE_MAX: usize = 100;
/// Above this a look was large.
const PAGE_BYTES: usize = 4 << 20;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// The fields of a dead letter.
pub fn fields(stream: &str, entry: &Entry, attempts: u64, reason: &str) -> Fields {
    let mut fields = entry.fields.clone().unwrap_or_default();
    let attempts = attempts.to_string();
    for (name, value) in OURS.into_iter().zip([stream, &entry.id, &attempts, reason]) {
        fields.push((name.into(), value.into()));
    }
    fields
}

/// The letters of one server.
pub struct DeadStream {
    pub producer: Arc<Producer>,
    pub stream: String,
    pub stream_length: u64,
}

impl DeadStream {
    pub async fn count(&self) -> Result<u64, LinkError> {
        let mut commands = self.producer.commands().await?;
        self.heard(commands.length(&self.stream).await).await
    }

    /// Newest first, without payloads; those that are found before `deadline`.
    pub async fn list(&self, count: usize, deadline: Instant) -> Result<Vec<DeadLetter>, LinkError> {
        let mut commands = self.producer.commands().await?;
        let (mut pages, mut found) = (Pages::default(), Vec::new());
        while found.len() < count && Instant::now() < deadline {
            let entries = self.next(&mut commands, &mut pages).await?;
            if entries.is_empty() {
                break;
            }
            found.extend(entries.iter().take(count - found.len()).map(|entry| letter(entry, false)));
        }
        Ok(found)
    }

    /// The next older letters; none where there are no more.
    async fn next(&self, commands: &mut Commands, pages: &mut Pages) -> Result<Vec<Entry>, LinkError> {
        let entries = commands.range_back(&self.stream, "-", &pages.before, pages.size).await;
        let entries = self.heard(entries).await?;
        pages.turn(&entries);
        Ok(entries)
    }

    pub async fn show(&self, id: &str) -> Result<Option<DeadLetter>, LinkError> {
        let found = self.find(&mut self.producer.commands().await?, id).await?;
        Ok(found.map(|entry| letter(&entry, true)))
    }

    /// Puts letters back into their streams: this one, or all.
    pub async fn replay(&self, which: Option<&str>) -> Result<u64, LinkError> {
        let mut commands = self.producer.commands().await?;
        let mut done = 0;
        // New ones may die meanwhile: only those that are there now.
        let mut pages = Pages::default();
        loop {
            let entries = match which {
                Some(id) => self.find(&mut commands, id).await?.into_iter().collect(),
                None => self.next(&mut commands, &mut pages).await?,
            };
            for entry in &entries {
                let mut fields = entry.fields.clone().unwrap_or_default();
                let to = text_of(&fields, STREAM);
                if to.is_empty() {
                    // Somebody else's: nobody knows where it came from.
                    continue;
                }
                fields.retain(|(name, _)| !OURS.iter().any(|ours| name == ours.as_bytes()));
                let from = (self.stream.as_str(), entry.id.as_str());
                self.heard(commands.revive(from, (&to, self.stream_length), &fields).await).await?;
                done += 1;
            }
            if which.is_some() || entries.is_empty() {
                return Ok(done);
            }
        }
    }

    /// Lets go of letters: this one, or all.
    pub async fn discard(&self, which: Option<&str>) -> Result<u64, LinkError> {
        let mut commands = self.producer.commands().await?;
        let mut done = 0;
        let mut pages = Pages::default();
        loop {
            let ids: Vec<String> = match which {
                Some(id) => vec![id.to_owned()],
                None => self.next(&mut commands, &mut pages).await?.into_iter().map(|entry| entry.id).collect(),
            };
            for id in &ids {
                done += self.heard(commands.delete(&self.stream, id).await).await?;
            }
            if which.is_some() || ids.is_empty() {
                return Ok(done);
            }
        }
    }

    async fn find(&self, commands: &mut Commands, id: &str) -> Result<Option<Entry>, LinkError> {
        if id_parts(id).is_none() {
            return Ok(None);
        }
        Ok(self.heard(commands.range_back(&self.stream, id, id, 1).await).await?.into_iter().next())
    }

    /// Has the connection given up where it broke.
    async fn heard<T>(&self, answer: Result<T, LinkError>) -> Result<T, LinkError> {
        if let Err(error) = &answer {
            self.producer.failed(error).await;
        }
        answer
    }
}

/// A walk from the newest letter to the oldest.
struct Pages {
    before: String,
    size: usize,
}

impl Default for Pages {
    fn default() -> Pages {
        Pages { before: "+".to_owned(), size: PAGE_MIN }
    }
}

impl Pages {
    /// Goes on behind what was seen, with more at once or with less.
    fn turn(&mut self, seen: &[Entry]) {
        let Some(last) = seen.last() else { return };
        self.before = format!("({}", last.id);
        let fields = seen.iter().flat_map(|entry| entry.fields.iter().flatten());
        let bytes: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
        let size = if bytes > PAGE_BYTES { PAGE_MIN } else { self.size * 2 };
        self.size = size.clamp(PAGE_MIN, PAGE_MAX);
    }
}

fn text_of(fields: &Fields, name: &str) -> String {
    let found = fields.iter().rev().find(|(found, _)| found == name.as_bytes());
    found.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// Whatever it was: what is no message is shown as far as it can be.
fn letter(entry: &Entry, with_payload: bool) -> DeadLetter {
    const SHOWN_BYTES_MAX: usize = 1024;
    let no_fields = Vec::new();
    let fields = entry.fields.as_ref().unwrap_or(&no_fields);
    let text = |name| shortened(&text_of(fields, name), SHOWN_BYTES_MAX).to_owned();
    let raw = |name: &str| fields.iter().find(|(found, _)| found == name.as_bytes()).map(|(_, value)| value);
    let original = Entry { id: text(ENTRY), fields: entry.fields.clone() };
    let created_ms = id_parts(&original.id).and_then(|(ms, _)| i64::try_from(ms).ok()).unwrap_or(0);
    let read: Option<Message> = entry::message(&text(STREAM), &original).ok();
    let id = read.map_or_else(|| text("message_id"), |message| message.id);
    DeadLetter {
        letter: entry.id.clone(),
        id,
        kind: text("message_type"),
        sender: text("sender"),
        recipient: text("recipient"),
        created_ms,
        dead_ms: id_parts(&entry.id).and_then(|(ms, _)| i64::try_from(ms).ok()).unwrap_or(0),
        attempts: text(ATTEMPTS).parse().unwrap_or(0),
        reason: text(REASON),
        payload_bytes: raw("payload").map_or(0, Vec::len),
        payload: with_payload.then(|| text_of(fields, "payload")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_letters_are_looked_at_in_small_pages_and_small_ones_in_large_pages() {
        let entry = |bytes: usize| Entry { id: "5-1".to_owned(), fields: Some(vec![(vec![], vec![b'x'; bytes])]) };
        let mut pages = Pages::default();
        let sizes: Vec<usize> = (0..9)
            .map(|_| {
                pages.turn(&[entry(100)]);
                pages.size
            })
            .collect();
        assert_eq!((sizes[0], sizes[8], pages.before.as_str()), (2 * PAGE_MIN, PAGE_MAX, "(5-1"));
        pages.turn(&[entry(PAGE_BYTES + 1)]);
        assert_eq!(pages.size, PAGE_MIN);
    }
}
