//! The accept loop.

use super::{
    connection::{End, serve},
    phase::{Phase, Timeouts},
    slots::Slots,
};
use crate::telemetry::{Metrics, Reading};
use axum::{
    body::Body,
    http::{Request, Response},
};
use prometheus::IntCounterVec;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service;

/// Between tries to accept while file descriptors are short: those in use end, and each end frees one.
const ACCEPT_RETRY: Duration = Duration::from_millis(20);

/// While no more than this part of the connections is taken, each may hold more memory.
const ROOMY_PART: usize = 8;

/// What is counted of connections.
#[derive(Clone)]
pub struct ServerMetrics {
    ended: IntCounterVec,
    registry: Metrics,
}

impl ServerMetrics {
    pub fn new(metrics: &Metrics) -> ServerMetrics {
        let help = "Connections that ended, by how: closed, failed, timed_out, evicted (made room), refused (no room).";
        let ended = metrics.counters("observatory_http_connections_ended_total", help, &["end"]);
        for end in ["closed", "failed", "timed_out", "evicted", "refused"] {
            ended.with_label_values(&[end]);
        }
        ServerMetrics { ended, registry: metrics.clone() }
    }
}

/// A listener that is served.
pub struct Server {
    pub connections_max: usize,
    /// Of one address that is not this machine's.
    pub connections_per_address_max: usize,
    pub timeouts: Timeouts,
    pub metrics: ServerMetrics,
}

impl Server {
    /// Accepts until `stop`, then waits until the requests in hand are answered, at most `drain`; what is left then is
    /// cut off.
    pub async fn run<S>(self, listener: TcpListener, service: S, stop: CancellationToken, drain: Duration)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let slots = Slots::new(self.connections_max, self.connections_per_address_max);
        self.observe(&slots);
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, address) = match accepted {
                Ok((stream, address)) => (stream, address.ip()),
                Err(cause) => {
                    // Seldom about the listener: a client that left, or no free file descriptor.
                    tracing::debug!(%cause, "A connection could not be accepted.");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Some(slot) = slots.take(address) else {
                self.metrics.ended.with_label_values(&["refused"]).inc();
                continue;
            };
            // Answers are written whole, so waiting for more to send with them gains nothing.
            let _ = stream.set_nodelay(true);
            let phase = Phase::begin(self.timeouts, slot);
            let roomy = slots.taken() <= self.connections_max / ROOMY_PART;
            let (service, stop, cut, ended) = (service.clone(), stop.clone(), cut.clone(), self.metrics.ended.clone());
            tasks.spawn(async move {
                let end = cut.run_until_cancelled(serve(stream, phase, service, stop, roomy)).await;
                ended.with_label_values(&[name(end.unwrap_or(End::Failed))]).inc();
            });
        }
        drop(listener);
        tasks.close();
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(connections = slots.taken(), "Connections did not end in time and are cut off.");
            cut.cancel();
            tasks.wait().await;
        }
    }

    fn observe(&self, slots: &Arc<Slots>) {
        let slots = slots.clone();
        self.metrics.registry.readings(move || {
            let help = "Connections that are open now.";
            vec![Reading::gauge("observatory_http_connections", help, slots.taken() as f64)]
        });
    }
}

fn name(end: End) -> &'static str {
    match end {
        End::Closed => "closed",
        End::Failed => "failed",
        End::TimedOut => "timed_out",
        End::Evicted => "evicted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinHandle,
        time::Instant,
    };

    const SHORT: Duration = Duration::from_millis(150);
    const LONG: Duration = Duration::from_secs(20);

    struct Running {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<()>,
    }

    /// Answers with the length of the body, after reading it; `/slow` takes a while.
    async fn echo(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        if request.uri().path() == "/slow" {
            tokio::time::sleep(SHORT * 3).await;
        }
        if request.uri().path() == "/large" {
            return Ok(Response::new(Body::from(vec![b'x'; 64 << 20])));
        }
        let length = axum::body::to_bytes(request.into_body(), usize::MAX).await.map_or(0, |bytes| bytes.len());
        Ok(Response::new(Body::from(length.to_string())))
    }

    async fn start(connections_max: usize, timeouts: Timeouts) -> Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = Server {
            connections_max,
            connections_per_address_max: 10,
            timeouts,
            metrics: ServerMetrics::new(&Metrics::new()),
        };
        let task = tokio::spawn(server.run(listener, tower::service_fn(echo), stop.clone(), LONG));
        Running { address, stop, task }
    }

    fn patient() -> Timeouts {
        Timeouts { first_byte: LONG, headers: LONG, idle: LONG, write_stall: LONG }
    }

    async fn ask(stream: &mut TcpStream, request: &str) -> String {
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = tokio::time::timeout(LONG, stream.read(&mut answer)).await.expect("an answer in time");
        String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned()
    }

    /// How long until the other side closes.
    async fn closed_after(stream: &mut TcpStream) -> Duration {
        let began = Instant::now();
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut rest)).await.expect("closed in time");
        began.elapsed()
    }

    #[tokio::test]
    async fn requests_follow_each_other_on_one_connection() {
        let server = start(10, patient()).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let first = ask(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
        assert!(first.starts_with("HTTP/1.1 200") && first.ends_with('3'), "{first}");
        let second = ask(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(second.ends_with('0'), "{second}");
    }

    #[tokio::test]
    async fn the_silent_the_slow_and_the_idle_are_closed() {
        let silent = start(10, Timeouts { first_byte: SHORT, ..patient() }).await;
        let mut stream = TcpStream::connect(silent.address).await.unwrap();
        assert!(closed_after(&mut stream).await >= SHORT / 2);

        let slow = start(10, Timeouts { headers: SHORT, ..patient() }).await;
        let mut stream = TcpStream::connect(slow.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        assert!(closed_after(&mut stream).await >= SHORT / 2);

        let idle = start(10, Timeouts { idle: SHORT, ..patient() }).await;
        let mut stream = TcpStream::connect(idle.address).await.unwrap();
        assert!(ask(&mut stream, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("200"), "serving has no end");
        assert!(closed_after(&mut stream).await >= SHORT / 2);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_of_its_answer_is_closed() {
        let server = start(10, Timeouts { write_stall: SHORT, ..patient() }).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(SHORT * 4).await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() < 64 << 20, "the answer was cut");
    }

    #[tokio::test]
    async fn at_the_cap_the_waiting_make_room_and_the_served_stay() {
        let server = start(3, patient()).await;
        let mut served = TcpStream::connect(server.address).await.unwrap();
        served.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(SHORT).await;
        let mut oldest = TcpStream::connect(server.address).await.unwrap();
        oldest.write_all(b"GET / HT").await.unwrap();
        let _younger = TcpStream::connect(server.address).await.unwrap();
        tokio::time::sleep(SHORT / 3).await;
        let mut newcomer = TcpStream::connect(server.address).await.unwrap();
        assert!(ask(&mut newcomer, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.contains("200"));
        assert!(closed_after(&mut oldest).await < LONG);
        assert!(ask(&mut served, "").await.contains("200"));
    }

    #[tokio::test]
    async fn too_long_and_too_many_headers_are_refused() {
        let server = start(10, patient()).await;
        let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20 << 10));
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(70));
        for request in [long, many] {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            let answer = ask(&mut stream, &request).await;
            assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
        }
    }

    #[tokio::test]
    async fn stopping_finishes_what_is_in_hand_and_lets_the_idle_go() {
        let server = start(10, patient()).await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        ask(&mut idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let mut busy = TcpStream::connect(server.address).await.unwrap();
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        tokio::time::sleep(SHORT).await;
        server.stop.cancel();
        assert!(ask(&mut busy, "").await.contains("200"));
        tokio::time::timeout(LONG / 2, server.task).await.expect("stopped in time").unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }
}
