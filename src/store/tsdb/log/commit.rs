//! The committer: the one thread that writes and syncs.

use super::{
    append::{Part, Pending, Sender, Shared},
    segment::{Header, Segment},
};
use crate::{stdx::vfs::VfsFile, store::StoreError};
use std::{mem, sync::Arc};

/// A buffer that a burst has made larger than this is given back when the burst is over.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

pub(super) struct Committer {
    shared: Arc<Shared>,
    /// The open segment's number, base and file.
    open: Option<(u64, u64, Arc<dyn VfsFile>)>,
    /// Where acknowledged records end, and from where on the segment before was already torn.
    acknowledged: u64,
    intact: u64,
    /// The segment before the open one and where its records end, until the open one holds something acknowledged.
    before: Option<(Segment, u64)>,
    failing: bool,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, acknowledged: u64, intact: u64) -> Committer {
        Committer { shared, open: None, acknowledged, intact, before: None, failing: false }
    }

    /// Takes group after group, until the log is closing and nothing is left.
    pub fn run(mut self) {
        let mut group = Pending::default();
        while self.take(&mut group) {
            self.commit(&mut group);
            group.clear();
        }
        if let Some((number, ..)) = self.open {
            let segments = self.shared.segments.lock();
            if let Some(segment) = segments.list().last().filter(|segment| segment.number == number) {
                segments.trim(*segment, self.acknowledged);
            }
        }
    }

    /// Waits for work and exchanges the buffers. False at the end.
    fn take(&mut self, group: &mut Pending) -> bool {
        let mut state = self.shared.state.lock();
        while state.pending.parts.is_empty() {
            if state.closing {
                return false;
            }
            state.idle = true;
            self.shared.work.wait(&mut state);
            state.idle = false;
        }
        mem::swap(&mut state.pending, group);
        self.shared.room.notify_all();
        true
    }

    fn commit(&mut self, group: &mut Pending) {
        let Pending { bytes: all, tickets, parts } = group;
        let mut tickets = tickets.drain(..);
        for (index, part) in parts.iter().enumerate() {
            let next = parts.get(index + 1);
            let bytes = &all[part.bytes_start..next.map_or(all.len(), |next| next.bytes_start)];
            match self.write(part, bytes) {
                Ok(()) => {
                    let end = part.position + bytes.len() as u64;
                    let count = next.map_or(tickets.len(), |next| next.tickets_start - part.tickets_start);
                    self.succeeded(end);
                    answer(tickets.by_ref().take(count), &Ok(()));
                    if let Some((before, end)) = self.before.take() {
                        let open = Segment { number: part.segment, base: part.base };
                        self.shared.segments.lock().note_next(before, end, open);
                    }
                }
                Err(error) => {
                    self.fail(part, error, tickets);
                    return;
                }
            }
        }
    }

    fn write(&mut self, part: &Part, bytes: &[u8]) -> Result<(), StoreError> {
        let file = match &self.open {
            Some((number, _, file)) if *number == part.segment => file,
            _ => {
                let header = Header {
                    number: part.segment,
                    base: part.base,
                    previous_end: self.acknowledged,
                    previous_intact: self.intact,
                };
                let mut segments = self.shared.segments.lock();
                let before = segments.list().last().copied();
                let file = segments.begin(header).map_err(StoreError::io("making a log segment"))?;
                drop(segments);
                self.before = before.map(|before| (before, self.acknowledged));
                &self.open.insert((part.segment, part.base, file)).2
            }
        };
        file.write_all_at(bytes, part.position - part.base).map_err(StoreError::io("writing the log"))?;
        file.sync_data().map_err(StoreError::io("syncing the log"))
    }

    fn succeeded(&mut self, end: u64) {
        (self.acknowledged, self.intact) = (end, end);
        if mem::take(&mut self.failing) {
            tracing::info!("The log can be written again.");
        }
        let mut state = self.shared.state.lock();
        (state.durable, state.synced) = (end, end);
        state.syncs += 1;
    }

    /// Refuses the rest of the group and all that was encoded behind it, whose records may lean on those that are
    /// lost, and leaves the segment.
    fn fail(&mut self, part: &Part, error: StoreError, tickets: impl Iterator<Item = Sender>) {
        if let Some((number, ..)) = self.open.take() {
            self.shared.segments.lock().abandon(number, self.acknowledged);
        }
        let behind = {
            let mut state = self.shared.state.lock();
            let behind = mem::take(&mut state.pending.tickets);
            state.pending.clear();
            state.begin_segment();
            state.failed_groups += 1;
            state.last_error = Some(error.clone());
            self.shared.room.notify_all();
            behind
        };
        // Whoever asked is told each time; the operator once, and when it is over.
        if !mem::replace(&mut self.failing, true) {
            tracing::error!(%error, segment = part.segment, "The log could not be written; appends fail until it can.");
        }
        answer(tickets.chain(behind), &Err(error));
    }
}

impl Pending {
    /// Empties it and keeps its memory, within reason.
    fn clear(&mut self) {
        let used = self.bytes.len();
        self.bytes.clear();
        // Only when the group was small: under a steady load the buffer would be allocated anew each time.
        if used < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(BUFFER_BYTES_KEPT.max(2 * used));
        }
        self.tickets.clear();
        self.parts.clear();
    }
}

fn answer(tickets: impl Iterator<Item = Sender>, result: &Result<(), StoreError>) {
    for ticket in tickets {
        // Nobody waits any more: that is theirs to decide.
        let _ = ticket.send(result.clone());
    }
}
