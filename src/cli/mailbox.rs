//! `observatory mailbox`: what waits, what could not be handled, and what is done about it.

use super::{
    arguments::{Mailbox, MailboxCommand, SendMessage, WhichLetter},
    client::Client,
    dispatch::Failure,
    plain::plain,
};
use crate::stdx::size::format_bytes;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{Read, Write as _},
};

/// What a message may have, and some for its escapes.
const PAYLOAD_BYTES_MAX: u64 = 32 << 20;

/// Asks the server, and prints what it says.
pub fn mailbox(arguments: &Mailbox) -> Result<(), Failure> {
    let client = Client::of(&arguments.place)?;
    let text = match &arguments.command {
        None | Some(MailboxCommand::List) => overview(&client.get("mailbox?limit=1")?),
        Some(MailboxCommand::Dead) => dead(&client.get("mailbox?limit=10000")?),
        Some(MailboxCommand::Show { letter }) => pretty(&client.get(&format!("mailbox/dead/{}", encoded(letter)))?),
        Some(MailboxCommand::Replay(which)) => {
            let done = client.post(&format!("mailbox/replay?{}", query(which)))?;
            format!("{} put back, to be handled again\n", done["replayed"])
        }
        Some(MailboxCommand::Drop(which)) => {
            let done = client.post(&format!("mailbox/drop?{}", query(which)))?;
            format!("{} dropped\n", done["dropped"])
        }
        Some(MailboxCommand::Send(message)) => {
            let done = client.post_json("mailbox/send", &body(message)?)?;
            format!("put in as {}\n", done["id"].as_str().unwrap_or_default())
        }
    };
    // Whoever reads may have seen enough: `| head` is no failure.
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(cause.to_string())),
        _ => Ok(()),
    }
}

fn overview(report: &Value) -> String {
    let (queue, counts) = (&report["queue"], &report["counts"]);
    let bytes = |name: &str| format_bytes(queue[name].as_u64().unwrap_or(0));
    let mut out = String::new();
    // Writing to a text cannot fail.
    let _ = writeln!(out, "waiting   {} ({} in flight)", queue["waiting"], queue["in_flight"]);
    let _ = writeln!(out, "dead      {}", queue["dead"]);
    let _ = writeln!(out, "bytes     {} of {}", bytes("bytes"), bytes("bytes_max"));
    let _ = writeln!(
        out,
        "since the start: {} taken, {} handled, {} tried again, {} died, {} came twice",
        counts["taken"], counts["handled"], counts["retried"], counts["dead"], counts["duplicates"]
    );
    if let Some(redis) = report["redis"].as_object() {
        let _ = writeln!(out, "redis     {}", redis["server"].as_str().unwrap_or_default());
        for (stream, found) in redis["streams"].as_object().into_iter().flatten() {
            let state = if found["connected"] == true { "connected" } else { "NOT CONNECTED" };
            let _ = writeln!(
                out,
                "  {}  {state}, {} to read, {} pending, {} in the stream",
                plain(stream),
                found["lag"],
                found["pending"],
                found["length"]
            );
        }
        let _ = writeln!(out, "  dead {}, lost {}, sent {}", redis["dead"], redis["lost"], redis["sent"]);
        if let Some(error) = redis["last_error"].as_str() {
            let _ = writeln!(out, "  last error: {}", plain(error));
        }
    }
    for recent in report["recent"].as_array().into_iter().flatten() {
        let text = |name: &str| plain(recent[name].as_str().unwrap_or_default());
        let _ = writeln!(out, "{:<8} {} {} {}", text("outcome"), text("kind"), text("id"), text("reason"));
    }
    out
}

fn dead(report: &Value) -> String {
    let letters = report["deadLetters"].as_array().map_or(&[][..], Vec::as_slice);
    if letters.is_empty() {
        return "no dead letters\n".to_owned();
    }
    let mut out = String::new();
    for letter in letters {
        let text = |name: &str| plain(letter[name].as_str().unwrap_or_default());
        let (name, kind, sender) = (text("letter"), text("kind"), text("sender"));
        let _ = writeln!(out, "{name}  {kind} from {sender}, attempt {}: {}", letter["attempts"], text("reason"));
    }
    out
}

fn pretty(value: &Value) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap_or_default())
}

fn query(which: &WhichLetter) -> String {
    which.letter.as_ref().map_or_else(|| "all=true".to_owned(), |letter| format!("letter={}", encoded(letter)))
}

/// Letters are numbers and ids of stream entries; what else somebody types must not be read as more parameters.
fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

fn body(message: &SendMessage) -> Result<Value, Failure> {
    let text = match message.json.as_str() {
        "-" => {
            let mut text = String::new();
            let read = std::io::stdin().take(PAYLOAD_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|cause| Failure::wrong(format!("the payload cannot be read: {cause}")))?;
            text
        }
        text => text.to_owned(),
    };
    let payload: Value =
        serde_json::from_str(&text).map_err(|cause| Failure::wrong(format!("the payload is no JSON: {cause}")))?;
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok(json!({
        "kind": message.kind,
        "payload": payload,
        "id": or_empty(&message.id),
        "recipient": or_empty(&message.recipient),
        "sender": or_empty(&message.sender),
    }))
}
