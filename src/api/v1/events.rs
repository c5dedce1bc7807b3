//! `GET /api/v1/events`: what changes, as it changes, as server-sent events.
//!
//! `event: job` carries a job after each of its changes, `event: store` what the store holds: soon after something came
//! in, and every few seconds in any case.

use super::jobs::tree;
use crate::api::{
    error::{ApiError, ErrorKind},
    render::envelope::push_value,
    state::{Api, Parts, Ready},
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError, mpsc},
    time::{Instant, MissedTickBehavior, interval},
};

/// The first sample of a new installation is seen within this time by the person who waits for it.
const CHANGES_EVERY: Duration = Duration::from_millis(500);
/// Also tells proxies and clients that the connection lives.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// Events on their way to one client; a slower one is told the newest state of each job later.
const EVENTS_WAITING_MAX: usize = 64;

pub async fn events(State(api): State<Arc<Api>>, Ready(parts): Ready) -> Result<Response, ApiError> {
    let Ok(place) = api.admission.listeners.clone().try_acquire_owned() else {
        let message = "too many clients listen to events already; ask /api/v1/jobs now and then instead";
        return Err(ApiError::new(ErrorKind::Overloaded, message));
    };
    let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
    let stop = api.stop.clone();
    tokio::spawn(async move {
        // Ends with the process, or when the client is gone and sending fails.
        let _ = stop.run_until_cancelled(tell(parts, sender, place)).await;
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::new(Events(receiver))).into_response())
}

async fn tell(parts: Arc<Parts>, sender: mpsc::Sender<Bytes>, _place: OwnedSemaphorePermit) {
    let mut changes = parts.jobs.subscribe();
    let mut ticks = interval(CHANGES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told: Option<(Instant, [u64; 4])> = None;
    loop {
        let event = tokio::select! {
            _ = ticks.tick() => {
                let came_in = came_in(&parts);
                if told.is_some_and(|(at, before)| before == came_in && at.elapsed() < STORE_EVERY) {
                    continue;
                }
                let Some(store) = store(&parts) else { continue };
                told = Some((Instant::now(), came_in));
                event("store", &store)
            },
            change = changes.recv() => match change {
                Ok(job) => event("job", &tree(&job)),
                // The next change of each job tells what was missed.
                Err(RecvError::Lagged(_)) => continue,
                Err(RecvError::Closed) => return,
            },
            () = sender.closed() => return,
        };
        if sender.send(event).await.is_err() {
            return;
        }
    }
}

/// What tells that something came in; cheap enough to ask often.
fn came_in(parts: &Parts) -> [u64; 4] {
    let stats = parts.ingest.stats();
    [stats.samples.get(), stats.histograms.get(), stats.push_samples.get(), stats.push_deletes.get()]
}

fn store(parts: &Parts) -> Option<Value> {
    let status = parts.store.status(0).ok()?;
    let stats = parts.ingest.stats();
    Some(json!({
        "series": status.series,
        "samples_written": stats.samples.get() + stats.histograms.get(),
        "samples_pushed": stats.push_samples.get(),
        "push_groups": parts.ingest.push_groups(),
        "log_bytes": status.log_bytes,
        "window_files": status.window_files,
        "window_file_bytes": status.window_file_bytes,
        "damaged": status.damaged,
    }))
}

fn event(name: &str, data: &Value) -> Bytes {
    let mut out = format!("event: {name}\ndata: ");
    // One line: the escapes of JSON leave no line break in it.
    push_value(&mut out, data);
    out.push_str("\n\n");
    out.into()
}

/// Events as a body that ends when their sender does.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}
