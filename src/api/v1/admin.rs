//! What whoever runs the server asks for: a backup as one file, and Prometheus' snapshots.

use crate::{
    api::{
        error::{ApiError, ErrorKind},
        params::Params,
        render::envelope::answer,
        state::{Api, Parts, Ready},
    },
    jobs::{JobHandle, JobsError, WorkError},
    store::backup::{BackupError, Part, Snapshot, file_bytes, part_name, snapshot_directory, stamp, write},
};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde_json::json;
use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::mpsc;

/// Chunks on their way to a client, of 256 KiB: all that waits in memory.
const CHUNKS_WAITING_MAX: usize = 8;
/// How soon a slow client's next chunk is tried, and whether the backup was cancelled is asked.
const WAIT: Duration = Duration::from_millis(2);
const JOB_HEADER: HeaderName = HeaderName::from_static("x-observatory-job");

/// `POST /api/v1/admin/backup`: everything acknowledged until now as one file, streamed. The job of it can be followed
/// and cancelled; a stream that ends early has less bytes than its head said.
pub async fn backup(State(api): State<Arc<Api>>, Ready(parts): Ready) -> Result<Response, ApiError> {
    let config = api.about.in_force.read().file.clone();
    let begun = tokio::task::spawn_blocking(move || begin(&parts, config)).await;
    let (body, job, name) = begun.map_err(|cause| ApiError::new(ErrorKind::Internal, cause.to_string()))??;
    let disposition = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::CONTENT_LENGTH, HeaderValue::from(body.left)),
        (JOB_HEADER, HeaderValue::from(job)),
        (header::CONTENT_DISPOSITION, disposition.unwrap_or_else(|_| HeaderValue::from_static("attachment"))),
    ];
    Ok((headers, Body::new(body)).into_response())
}

fn begin(parts: &Parts, config: String) -> Result<(Download, u64, String), ApiError> {
    let mut snapshot = parts.snapshots.snapshot()?;
    if !config.is_empty() {
        snapshot.parts.insert(0, Part::of_bytes(part_name::CONFIG, config.into_bytes()));
    }
    let (left, name) = (file_bytes(&snapshot), format!("observatory-{}.backup", stamp(snapshot.taken_ms)));
    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
    let work = Box::new(move |handle: &JobHandle| send(snapshot, sender, handle));
    let job = parts.jobs.start("backup", "Backup, sent to who asked for it", Vec::new(), work);
    let job = job.map_err(|error| match error {
        JobsError::TooMany | JobsError::Stopping => ApiError::new(ErrorKind::Overloaded, error.to_string()),
        error => ApiError::new(ErrorKind::Internal, error.to_string()),
    })?;
    Ok((Download { receiver, left }, job, name))
}

fn send(snapshot: Snapshot, sender: mpsc::Sender<Bytes>, handle: &JobHandle) -> Result<(), WorkError> {
    let mut out = Sending { sender, handle };
    let mut progress = |done, total| {
        handle.progress(done, total, "bytes");
        !handle.is_cancelled()
    };
    write(snapshot, &mut out, &mut progress)?;
    handle.message("sent");
    Ok(())
}

/// Hands what is written to the client, no faster than that takes it.
struct Sending<'a> {
    sender: mpsc::Sender<Bytes>,
    handle: &'a JobHandle,
}

impl Write for Sending<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut chunk = Bytes::copy_from_slice(bytes);
        loop {
            match self.sender.try_send(chunk) {
                Ok(()) => return Ok(bytes.len()),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"));
                }
                // One that takes nothing for long loses its connection, and then this one is closed.
                Err(mpsc::error::TrySendError::Full(back)) => chunk = back,
            }
            if self.handle.is_cancelled() {
                return Err(io::Error::other("it was cancelled"));
            }
            std::thread::sleep(WAIT);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of a length that is known, or an error.
struct Download {
    receiver: mpsc::Receiver<Bytes>,
    left: u64,
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.receiver.poll_recv(context).map(|chunk| match chunk {
            Some(chunk) => {
                self.left = self.left.saturating_sub(chunk.len() as u64);
                Some(Ok(Frame::data(chunk)))
            }
            None if self.left == 0 => None,
            None => Some(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the backup ended early"))),
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// `POST /api/v1/admin/tsdb/snapshot`, as Prometheus: a directory below the data directory, by its name.
pub async fn snapshot(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    if !api.config.admin_api {
        return Err(ApiError::new(ErrorKind::Unavailable, "admin APIs disabled"));
    }
    let skip_head = match params.get("skip_head") {
        "" => false,
        text => parse_bool(text).ok_or_else(|| {
            let problem = format!("unable to parse boolean: strconv.ParseBool: parsing {text:?}: invalid syntax");
            ApiError::parameter("skip_head", problem)
        })?,
    };
    let made = tokio::task::spawn_blocking(move || snapshot_directory(&*parts.snapshots, skip_head)).await;
    let failed = |cause: &dyn std::fmt::Display| {
        tracing::error!(%cause, "A snapshot could not be made.");
        ApiError::new(ErrorKind::Internal, format!("create snapshot: {cause}"))
    };
    let name = made.map_err(|cause| failed(&cause))?.map_err(|cause: BackupError| failed(&cause))?;
    Ok(answer(&json!({ "name": name })))
}

/// The spellings that Go takes.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
