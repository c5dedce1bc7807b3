//! `POST /api/v1/write`: remote write 1.0.

use super::{
    body::read_body,
    error::ApiError,
    push::{INLINE_BYTES_MAX, decoding, off_thread_if, text},
    state::{Api, Caller, Ready},
};
use crate::{
    protocol::compression::{DecodeLimits, Encoding, decompress},
    stdx::bytes::take_varint,
};
use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

const MESSAGE: &str = "prometheus.WriteRequest";

pub async fn write(State(api): State<Arc<Api>>, Ready(parts): Ready, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let kind = text(&head.headers, header::CONTENT_TYPE);
    let encoding = text(&head.headers, header::CONTENT_ENCODING);
    if let Err(problem) = supported(kind, encoding) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("{problem}\n")).into_response();
    }
    let token = Caller::of(&head.extensions);
    let written = async {
        let body = read_body(&head.headers, body, api.config.body_bytes_max).await?;
        // The block form says at its head how long it will be; how far that is believed, `decompress` decides.
        let declared = take_varint(&mut &body[..]).unwrap_or_default();
        let memory = api.admission.body(usize::try_from(declared).unwrap_or(usize::MAX)).await?;
        let long = body.len() > INLINE_BYTES_MAX;
        let store = async move {
            let _memory = memory;
            let mut decoded = Vec::new();
            decompress(Encoding::SnappyBlock, &body, &DecodeLimits::default(), &mut decoded).map_err(decoding)?;
            parts.ingest.remote_write_by(token.as_deref(), &decoded).await.map_err(ApiError::from)
        };
        let report = off_thread_if(long, store).await?;
        match report.refused {
            0 => Ok(()),
            _ => Err(ApiError::bad_data(report.problem_text())),
        }
    };
    match written.await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.plain(),
    }
}

/// Whether this is remote write 1.0 in snappy's block form; absent headers mean so.
fn supported(kind: &str, encoding: &str) -> Result<(), String> {
    let mut parts = kind.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    if !media.is_empty() && !media.eq_ignore_ascii_case("application/x-protobuf") {
        return Err(format!("expected application/x-protobuf as media (content) type, got {media}"));
    }
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        if name.trim().eq_ignore_ascii_case("proto") && value.trim() != MESSAGE {
            return Err(format!("{} messages are not accepted; send {MESSAGE}", value.trim()));
        }
    }
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(format!("{encoding} encoding (compression) is not accepted; only snappy is"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remote_write_and_what_is_not() {
        for (kind, encoding, accepted) in [
            ("application/x-protobuf", "snappy", true),
            ("", "", true),
            ("Application/X-Protobuf; proto=prometheus.WriteRequest", "Snappy", true),
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", false),
            ("application/json", "snappy", false),
            ("application/x-protobuf", "zstd", false),
        ] {
            assert_eq!(supported(kind, encoding).is_ok(), accepted, "{kind} {encoding}");
        }
    }
}
