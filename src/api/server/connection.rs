//! One connection: HTTP/1.1 over a stream that reports what passes, closed where its time is over.

use super::{peer::Peer, phase::Phase};
use axum::{
    body::{Body, Bytes},
    http::{Request, Response, StatusCode, header},
    response::IntoResponse,
};
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

/// All headers of a request and its target. Browsers, Grafana and proxies together stay below 8 KiB.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// What is read of longer ones while there is room, only to answer in words what is wrong with them.
const HEADER_BYTES_READ_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 64;

/// Why a connection ended, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Either side closed it in order.
    Closed,
    /// It broke, or spoke no HTTP.
    Failed,
    TimedOut,
    /// It made room for another one.
    Evicted,
}

/// Serves one connection to its end. Once `stop` is cancelled, the request in hand is finished and no more. `roomy` says
/// that there are few connections, so that this one may take more memory.
pub async fn serve<S>(stream: TcpStream, phase: Arc<Phase>, service: S, stop: CancellationToken, roomy: bool) -> End
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    let watched = TokioIo::new(Watched { stream, phase: phase.clone() });
    let buffer_bytes_max = if roomy { HEADER_BYTES_READ_MAX } else { HEADER_BYTES_MAX };
    let shared = phase.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        answer(request, service.clone(), shared.clone())
    });
    let connection = http1::Builder::new()
        .max_headers(HEADERS_MAX)
        .max_buf_size(buffer_bytes_max)
        .serve_connection(watched, service);
    let mut connection = pin!(connection);
    let mut stopping = pin!(stop.cancelled());
    let mut evicted = pin!(phase.slot().evicted().cancelled());
    let mut timer = pin!(sleep_until(tokio::time::Instant::now()));
    let mut told_to_stop = false;
    poll_fn(|context| {
        if !told_to_stop && stopping.as_mut().poll(context).is_ready() {
            told_to_stop = true;
            connection.as_mut().graceful_shutdown();
        }
        // Everything that moves the deadline happens within this poll, so looking after it is enough.
        if let Poll::Ready(ended) = connection.as_mut().poll(context) {
            return Poll::Ready(if ended.is_ok() { End::Closed } else { End::Failed });
        }
        // hyper would still wait for a first request.
        if told_to_stop && phase.is_waiting() {
            return Poll::Ready(End::Closed);
        }
        if evicted.as_mut().poll(context).is_ready() {
            return Poll::Ready(End::Evicted);
        }
        let Some(deadline) = phase.deadline() else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context).map(|()| End::TimedOut)
    })
    .await
}

async fn answer<S>(request: Request<Incoming>, service: S, phase: Arc<Phase>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    phase.serve();
    let served = Served(phase);
    if header_bytes(&request) > HEADER_BYTES_MAX {
        return Ok(headers_too_large());
    }
    let response = service.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| Body::new(Guarded { body, served })))
}

fn header_bytes(request: &Request<Incoming>) -> usize {
    let uri = request.uri().path_and_query().map_or(0, |path| path.as_str().len());
    let headers = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    uri + headers.sum::<usize>()
}

fn headers_too_large() -> Response<Body> {
    let message = format!(
        "the target and headers of the request are longer than {HEADER_BYTES_MAX} bytes; send long queries as a form \
         with POST\n"
    );
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CONNECTION, "close")];
    (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, headers, message).into_response()
}

/// Says that the answer is given, when dropped: after its last byte was handed to the stream, or when it broke off.
struct Served(Arc<Phase>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// A body that holds [`Served`] until it is through.
struct Guarded {
    body: Body,
    #[allow(dead_code, reason = "held for its drop")]
    served: Served,
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that tells its phase what passes.
struct Watched {
    stream: TcpStream,
    phase: Arc<Phase>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_ready() && buffer.filled().len() > before {
            self.phase.received();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.phase.wrote(wrote.is_ready());
        wrote
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.phase.wrote(wrote.is_ready());
        wrote
    }
}
