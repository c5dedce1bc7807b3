//! Reading request bodies: no longer, no slower than agreed.

use super::error::{ApiError, ErrorKind};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// What a body may take whatever its length; a client on a slow line sends 16 MiB in it at 4 Mbit/s.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Each KiB that has come earns another second: whoever sends slower than that holds the connection for nothing.
const BYTES_A_SECOND_MIN: u64 = 1 << 10;

/// Reads a whole body of at most `bytes_max` bytes on the wire.
pub async fn read_body(headers: &HeaderMap, mut body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        let message = format!("request body exceeds the {bytes_max} bytes limit; send it in smaller parts");
        ApiError::new(ErrorKind::TooLarge, message)
    };
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large());
    }
    let began = Instant::now();
    let mut first = Bytes::new();
    let mut collected: Vec<u8> = Vec::new();
    loop {
        let read = (first.len() + collected.len()) as u64;
        let deadline = began + BODY_TIME + Duration::from_secs(read / BYTES_A_SECOND_MIN);
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(ApiError::new(ErrorKind::BodyTimeout, "the request body came too slowly")),
            Ok(None) => break,
            Ok(Some(Err(cause))) => return Err(ApiError::bad_data(format!("the request body broke off: {cause}"))),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        if first.len() + collected.len() + data.len() > bytes_max {
            return Err(too_large());
        }
        // Most bodies come in one piece, which need not be copied.
        if first.is_empty() && collected.is_empty() {
            first = data;
            continue;
        }
        if collected.is_empty() {
            // A claimed length is believed up to a mebibyte.
            let expected = declared.map_or(first.len() * 4, |length| length as usize).min(1 << 20);
            collected.reserve(expected.max(first.len() + data.len()));
            collected.extend_from_slice(&first);
            first = Bytes::new();
        }
        collected.extend_from_slice(&data);
    }
    Ok(if collected.is_empty() { first } else { collected.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use hyper::body::{Body as HttpBody, Frame};
    use std::{
        convert::Infallible,
        future::Future,
        pin::Pin,
        task::{Context, Poll},
    };
    use tokio::time::{Sleep, sleep};

    /// Pieces of one size with a pause before each.
    struct Pieces {
        left: usize,
        bytes: usize,
        pause: Duration,
        timer: Pin<Box<Sleep>>,
    }

    fn pieces(left: usize, bytes: usize, pause: Duration) -> Body {
        Body::new(Pieces { left, bytes, pause, timer: Box::pin(sleep(pause)) })
    }

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.left -= 1;
            self.timer = Box::pin(sleep(self.pause));
            Poll::Ready(Some(Ok(Frame::data(vec![b'x'; self.bytes].into()))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_in_one_piece_and_in_many_are_read() {
        for (count, bytes) in [(0, 1), (1, 5), (7, 1_000)] {
            let read = read_body(&HeaderMap::new(), pieces(count, bytes, Duration::ZERO), 10_000).await.unwrap();
            assert_eq!(read.len(), count * bytes);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn too_long_is_refused_by_its_header_and_by_its_bytes() {
        let read = read_body(&HeaderMap::new(), pieces(3, 5, Duration::ZERO), 14).await.unwrap_err();
        assert_eq!(read.kind, ErrorKind::TooLarge);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("1099511627776"));
        let never = pieces(1, 1, Duration::from_secs(1_000_000));
        assert_eq!(read_body(&headers, never, 14).await.unwrap_err().kind, ErrorKind::TooLarge);
    }

    #[tokio::test(start_paused = true)]
    async fn too_slow_is_refused_and_slow_but_steady_is_not() {
        let trickle = pieces(1_000, 10, Duration::from_secs(1));
        assert_eq!(read_body(&HeaderMap::new(), trickle, 1 << 20).await.unwrap_err().kind, ErrorKind::BodyTimeout);
        let steady = pieces(100, 2_048, Duration::from_secs(1));
        assert_eq!(read_body(&HeaderMap::new(), steady, 1 << 20).await.unwrap().len(), 204_800);
    }
}
