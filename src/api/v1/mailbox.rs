//! The mailbox: what waits in it, what became of the last messages, and what is done with those nobody could handle.

use crate::{
    api::{
        body::read_body,
        error::{ApiError, ErrorKind},
        params::Params,
        render::envelope::answer,
        state::{Api, Ready},
    },
    mailbox::{LetterError, MESSAGE_BYTES_MAX, Message, PutError, Which},
    stdx::hex::hex,
};
use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use serde::Deserialize;
use serde_json::{Value, json, value::to_value};
use std::sync::Arc;

/// Dead letters listed where nobody says how many.
const LETTERS_DEFAULT: usize = 100;
const LETTERS_MAX: usize = 10_000;
/// A payload as JSON text within JSON: each quote and backslash is two bytes.
const BODY_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;
/// Random bytes of an id where the sender gives none.
const ID_BYTES: usize = 16;

/// `GET /api/v1/mailbox`: depth, counts, the last messages, and so many (`limit`) dead letters without their payloads.
pub async fn overview(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = match params.limit()? {
        0 => LETTERS_DEFAULT,
        limit => limit.min(LETTERS_MAX),
    };
    let report = parts.mailroom.report(limit).await;
    Ok(answer(&to_value(report).unwrap_or_default()))
}

/// `GET /api/v1/mailbox/dead/<letter>`: one dead letter with its payload.
pub async fn letter(Ready(parts): Ready, Path(letter): Path<String>) -> Result<Response, ApiError> {
    let letter = parts.mailroom.dead_letter(&letter).await?;
    Ok(answer(&to_value(letter).unwrap_or_default()))
}

/// `POST /api/v1/mailbox/replay?letter=<letter>` or `?all=true`: has dead letters handled again.
pub async fn replay(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let count = parts.mailroom.replay(which(&params)?).await?;
    Ok(answer(&json!({ "replayed": count })))
}

/// `POST /api/v1/mailbox/drop?letter=<letter>` or `?all=true`: lets go of dead letters.
pub async fn discard(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let count = parts.mailroom.discard(which(&params)?).await?;
    Ok(answer(&json!({ "dropped": count })))
}

/// The body of `send`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    kind: String,
    payload: Value,
    #[serde(default)]
    id: String,
    #[serde(default)]
    sender: String,
    #[serde(default)]
    recipient: String,
}

/// `POST /api/v1/mailbox/send` with `{"kind", "payload", "id"?, "sender"?, "recipient"?}`: puts a message in. Once it is
/// answered the message is durable.
pub async fn send(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, BODY_BYTES_MAX.max(api.config.body_bytes_max)).await?;
    let sent: Sent = serde_json::from_slice(&bytes).map_err(|error| ApiError::bad_data(error.to_string()))?;
    let id = if sent.id.is_empty() { random_id()? } else { sent.id };
    let message = Message {
        id: id.clone(),
        kind: sent.kind,
        sender: if sent.sender.is_empty() { "observatory-api".to_owned() } else { sent.sender },
        recipient: sent.recipient,
        payload: sent.payload.to_string(),
        created_ms: parts.clock.now_ms(),
    };
    parts.mailroom.mailbox().put(message).await?;
    Ok(answer(&json!({ "id": id })))
}

fn which(params: &Params) -> Result<Which<'_>, ApiError> {
    match (params.get("letter"), params.get("all")) {
        ("", "true") => Ok(Which::All),
        (letter, "" | "false") if !letter.is_empty() => Ok(Which::One(letter)),
        _ => Err(ApiError::bad_data("say which: letter=<letter>, or all=true")),
    }
}

fn random_id() -> Result<String, ApiError> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| ApiError::new(ErrorKind::Internal, error.to_string()))?;
    Ok(hex(&bytes))
}

impl From<LetterError> for ApiError {
    fn from(error: LetterError) -> ApiError {
        let kind = match &error {
            LetterError::Unknown(_) => ErrorKind::NotFound,
            LetterError::Store(_) | LetterError::Redis(_) => ErrorKind::Overloaded,
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<PutError> for ApiError {
    fn from(error: PutError) -> ApiError {
        let kind = match &error {
            PutError::TooLarge { .. } => ErrorKind::TooLarge,
            PutError::Full { .. } | PutError::Unavailable(_) => ErrorKind::Overloaded,
        };
        ApiError::new(kind, error.to_string())
    }
}
