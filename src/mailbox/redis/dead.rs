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

/// Fields beside those of the entry itself.
const STREAM: &str = "dead_stream";
const ENTRY: &str = "dead_entry";
const ATTEMPTS: &str = "dead_attempts";
const REASON: &str = "dead_reason";
const OURS: [&str; 4] = [STREAM, ENTRY, ATTEMPTS, REASON];
/// Of what is replayed or dropped at once between two looks.
const PAGE: usize = 100;

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

    /// Newest first, without payloads.
    pub async fn list(&self, count: usize) -> Result<Vec<DeadLetter>, LinkError> {
        let mut commands = self.producer.commands().await?;
        let entries = self.heard(commands.range_back(&self.stream, "-", "+", count.max(1)).await).await?;
        Ok(entries.iter().take(count).map(|entry| letter(entry, false)).collect())
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
        let mut before = "+".to_owned();
        loop {
            let entries = match which {
                Some(id) => self.find(&mut commands, id).await?.into_iter().collect(),
                None => self.heard(commands.range_back(&self.stream, "-", &before, PAGE).await).await?,
            };
            let Some(last) = entries.last().map(|entry| entry.id.clone()) else { return Ok(done) };
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
            if which.is_some() {
                return Ok(done);
            }
            before = format!("({last}");
        }
    }

    /// Lets go of letters: this one, or all.
    pub async fn discard(&self, which: Option<&str>) -> Result<u64, LinkError> {
        let mut commands = self.producer.commands().await?;
        let mut done = 0;
        let mut before = "+".to_owned();
        loop {
            let ids = match which {
                Some(id) => vec![id.to_owned()],
                None => {
                    let entries = self.heard(commands.range_back(&self.stream, "-", &before, PAGE).await).await?;
                    entries.into_iter().map(|entry| entry.id).collect()
                }
            };
            let Some(last) = ids.last().cloned() else { return Ok(done) };
            for id in &ids {
                done += self.heard(commands.delete(&self.stream, id).await).await?;
            }
            if which.is_some() {
                return Ok(done);
            }
            before = format!("({last}");
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
