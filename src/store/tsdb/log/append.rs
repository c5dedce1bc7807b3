//! The log's handle and its pending buffer: encoding under a short lock, one ticket a call.

use super::{
    LogOptions, Position, ReplayStats,
    commit::Committer,
    record::{self, FLAG_GROUP_START, PAYLOAD_BYTES_MAX},
    segment::{HEADER_BYTES, Segments},
};
use crate::store::{StoreError, Ticket};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// The log. Shared by reference; all calls may come from several threads. Dropping it is [`Log::close`].
pub struct Log {
    pub(super) shared: Arc<Shared>,
    committer: Mutex<Option<JoinHandle<()>>>,
    replay: ReplayStats,
}

/// Figures for `/metrics` and the status page.
#[derive(Debug, Clone, Default)]
pub struct LogStats {
    /// Bytes on disk, spare segments included.
    pub bytes: u64,
    pub segments: usize,
    pub spare_segments: usize,
    pub syncs: u64,
    /// Groups refused because a write or sync failed. Where this has grown, records whose ticket failed are not in
    /// the log: what must be durable has to be appended again.
    pub failed_groups: u64,
    pub pending_bytes: usize,
    /// What the replay met.
    pub replay: ReplayStats,
    /// The last failure since the start, also when writing has worked again since.
    pub last_error: Option<StoreError>,
}

pub(super) type Sender = oneshot::Sender<Result<(), StoreError>>;

pub(super) struct Shared {
    pub state: Mutex<State>,
    /// There is something to write, or the log is closing.
    pub work: Condvar,
    /// The pending buffer was taken.
    pub room: Condvar,
    /// Taken by the committer for each new segment, never while it holds `state`.
    pub segments: Mutex<Segments>,
    pub options: LogOptions,
    /// Who reads the segments as they are: none is given up meanwhile.
    pub holds: AtomicUsize,
}

pub(super) struct State {
    pub pending: Pending,
    /// The segment new records go to, the position of its first byte, and the next position.
    pub segment: u64,
    pub base: u64,
    pub end: u64,
    pub idle: bool,
    pub closing: bool,
    pub durable: u64,
    /// Where the last record ends that is known to be on disk.
    pub synced: u64,
    pub syncs: u64,
    pub failed_groups: u64,
    pub last_error: Option<StoreError>,
}

/// Encoded records that wait for the committer.
#[derive(Default)]
pub(super) struct Pending {
    pub bytes: Vec<u8>,
    pub tickets: Vec<Sender>,
    /// One for each segment that the bytes go to; empty where there are neither bytes nor tickets.
    pub parts: Vec<Part>,
}

/// The part of the pending bytes and tickets, up to the next part, that goes to one segment.
pub(super) struct Part {
    pub segment: u64,
    pub base: u64,
    /// The position of its first byte.
    pub position: u64,
    pub bytes_start: usize,
    pub tickets_start: usize,
}

/// Where a log goes on after its replay.
pub(super) struct Start {
    pub number: u64,
    pub base: u64,
    pub acknowledged: u64,
    pub intact: u64,
    pub replay: ReplayStats,
}

/// Encodes the records of one append.
pub struct RecordWriter<'a> {
    state: &'a mut State,
    /// Length of the pending bytes and the position before this append; restored where its closure panics.
    before: (usize, u64),
    oversized: Option<usize>,
    finished: bool,
}

impl Log {
    pub(super) fn start(segments: Segments, options: LogOptions, start: Start) -> Result<Log, StoreError> {
        let state = State {
            pending: Pending::default(),
            segment: start.number,
            base: start.base,
            end: start.base + HEADER_BYTES as u64,
            idle: false,
            closing: false,
            durable: start.base + HEADER_BYTES as u64,
            synced: start.acknowledged,
            syncs: 0,
            failed_groups: 0,
            last_error: None,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            room: Condvar::new(),
            segments: Mutex::new(segments),
            options,
            holds: AtomicUsize::new(0),
        });
        let committer = Committer::new(shared.clone(), start.acknowledged, start.intact);
        let thread = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || committer.run())
            .map_err(StoreError::io("starting the log's thread"))?;
        Ok(Log { shared, committer: Mutex::new(Some(thread)), replay: start.replay })
    }

    /// Appends the records that `encode` writes, contiguously and in one segment; they are durable, all of them, when
    /// the ticket is done. Calls are ordered as they enter; `encode` runs under the log's lock, so it should only
    /// encode, and must not call the log.
    ///
    /// Waits while too much is pending. After a failure the ticket of every append that was encoded for the same
    /// segment fails too, and the next append goes to a new segment.
    pub fn append(&self, encode: impl FnOnce(&mut RecordWriter<'_>)) -> Ticket {
        let mut state = self.shared.state.lock();
        while state.pending.bytes.len() >= self.shared.options.pending_bytes_max && !state.closing {
            self.shared.room.wait(&mut state);
        }
        let (sender, ticket) = Ticket::pending();
        if state.closing {
            return ticket;
        }
        if state.end - state.base >= self.shared.options.segment_bytes {
            state.begin_segment();
        }
        match state.encode(encode) {
            Err(error) => {
                let _ = sender.send(Err(error));
            }
            Ok(false) => return Ticket::done(),
            Ok(true) => {
                state.pending.tickets.push(sender);
                self.wake(&state);
            }
        }
        ticket
    }

    /// A ticket for everything appended before: done when that is durable, failed where the group that is pending
    /// fails. For those who found what they wanted to write already written, but perhaps not yet synced.
    pub fn barrier(&self) -> Ticket {
        let mut state = self.shared.state.lock();
        if state.durable >= state.end || state.closing && state.pending.parts.is_empty() {
            return Ticket::done();
        }
        let (sender, ticket) = Ticket::pending();
        state.part();
        state.pending.tickets.push(sender);
        self.wake(&state);
        ticket
    }

    /// The next record begins a segment, so that the one before can be given up whole.
    pub fn leave_segment(&self) {
        let mut state = self.shared.state.lock();
        if state.end > state.base + HEADER_BYTES as u64 {
            state.begin_segment();
        }
    }

    fn wake(&self, state: &State) {
        if state.idle {
            self.shared.work.notify_one();
        }
    }

    /// The position the next record gets, or a later one.
    pub fn end(&self) -> Position {
        Position(self.shared.state.lock().end)
    }

    /// Where the oldest segment begins; the end where there is none.
    pub fn begin(&self) -> Position {
        let oldest = self.shared.segments.lock().list().first().map(|segment| segment.base);
        oldest.map_or_else(|| self.end(), Position)
    }

    /// Where the last record ends that is on disk: a log that is found to end before this has lost something.
    pub fn synced_end(&self) -> Position {
        Position(self.shared.state.lock().synced)
    }

    /// Everything before this position that was not refused is durable.
    pub fn durable_end(&self) -> Position {
        Position(self.shared.state.lock().durable)
    }

    /// Groups refused since the start; cheap. See [`LogStats::failed_groups`].
    pub fn failed_groups(&self) -> u64 {
        self.shared.state.lock().failed_groups
    }

    /// Gives up the segments that lie wholly before `position`: call it when their content is durable elsewhere. While
    /// somebody holds them it does nothing; the next call gives them up too.
    pub fn truncate_before(&self, position: Position) -> Result<(), StoreError> {
        if self.shared.holds.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        self.shared.segments.lock().retire_before(position.0).map_err(StoreError::io("removing old log segments"))
    }

    pub fn stats(&self) -> LogStats {
        let (bytes, segments, spare_segments) = {
            let segments = self.shared.segments.lock();
            (segments.bytes(), segments.list().len(), segments.spares())
        };
        let state = self.shared.state.lock();
        LogStats {
            bytes,
            segments,
            spare_segments,
            syncs: state.syncs,
            failed_groups: state.failed_groups,
            pending_bytes: state.pending.bytes.len(),
            replay: self.replay,
            last_error: state.last_error.clone(),
        }
    }

    /// Writes and syncs what is pending, and ends the thread. Appends after it fail with `Stopped`.
    pub fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_all();
        if let Some(thread) = self.committer.lock().take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// Leaves the segment: the next record opens the one after it.
    pub fn begin_segment(&mut self) {
        self.segment += 1;
        self.base = self.end;
        self.end += HEADER_BYTES as u64;
    }

    /// Makes sure the pending bytes have a part for the current segment.
    fn part(&mut self) {
        if self.pending.parts.last().is_none_or(|part| part.segment != self.segment) {
            self.pending.parts.push(Part {
                segment: self.segment,
                base: self.base,
                position: self.end,
                bytes_start: self.pending.bytes.len(),
                tickets_start: self.pending.tickets.len(),
            });
        }
    }

    /// True where records were written. Nothing of the append stays where it fails or panics.
    fn encode(&mut self, encode: impl FnOnce(&mut RecordWriter<'_>)) -> Result<bool, StoreError> {
        let before = (self.pending.bytes.len(), self.end);
        let mut writer = RecordWriter { state: self, before, oversized: None, finished: false };
        encode(&mut writer);
        match writer.oversized {
            Some(bytes) => Err(StoreError::Damaged(format!(
                "a log record of {bytes} bytes is above the limit of {PAYLOAD_BYTES_MAX}; send less at once"
            ))),
            None => {
                writer.finished = true;
                Ok(writer.state.end > before.1)
            }
        }
    }
}

impl RecordWriter<'_> {
    /// The number of the segment that all records of this append go to.
    pub fn segment(&self) -> u64 {
        self.state.segment
    }

    /// As [`Log::failed_groups`].
    pub fn failed_groups(&self) -> u64 {
        self.state.failed_groups
    }

    /// As [`Log::durable_end`].
    pub fn durable_end(&self) -> Position {
        Position(self.state.durable)
    }

    /// The position of the next record.
    pub fn position(&self) -> Position {
        Position(self.state.end)
    }

    /// Adds a record, whose payload `write` appends to the buffer: what the buffer holds already is not its own.
    pub fn record(&mut self, kind: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.state.part();
        let part_start = self.state.pending.parts.last().map_or(0, |part| part.bytes_start);
        let bytes = &mut self.state.pending.bytes;
        let start = bytes.len();
        bytes.resize(start + record::HEADER_BYTES, 0);
        write(bytes);
        let payload_bytes = bytes.len().saturating_sub(start + record::HEADER_BYTES);
        if payload_bytes > PAYLOAD_BYTES_MAX {
            self.oversized = Some(payload_bytes);
            bytes.truncate(start);
            return;
        }
        let flags = if start == part_start { FLAG_GROUP_START } else { 0 };
        record::seal(bytes, start, self.state.end, kind, flags);
        self.state.end += (bytes.len() - start) as u64;
    }
}

impl Drop for RecordWriter<'_> {
    fn drop(&mut self) {
        if !self.finished {
            let (bytes, end) = self.before;
            self.state.pending.bytes.truncate(bytes);
            self.state.end = end;
        }
    }
}
