//! Reading the log back at the start. Whatever the disk did, every record that is still whole is read.

use super::{
    Log, LogOptions, Position,
    append::Start,
    record::{self, FLAG_GROUP_START, FOLLOWED, Found},
    segment::{HEADER_BYTES, Header, Segment, Segments},
};
use crate::{
    stdx::vfs::{Vfs, VfsFile},
    store::StoreError,
};
use std::{path::Path, sync::Arc};

/// A record as replay meets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub position: Position,
    /// The number of its segment: a dictionary reaches no further.
    pub segment: u64,
    pub kind: u8,
    pub payload: &'a [u8],
}

/// What a replay met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayStats {
    pub records: u64,
    pub segments: u64,
    /// Places that held acknowledged records and do not any more, and their bytes.
    pub damaged_records: u64,
    pub damaged_bytes: u64,
    /// Bytes of a last group that was being written when the process or the power ended. Normal.
    pub torn_bytes: u64,
    /// Where new records begin.
    pub end: Position,
}

/// A log whose records are still to be replayed.
pub struct Opened {
    segments: Segments,
    options: LogOptions,
}

/// Lists the log in `dir`, which is created where it is missing. Fails where the directory cannot be used.
pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: LogOptions) -> Result<Opened, StoreError> {
    let segments = Segments::open(vfs, dir, options.segment_bytes, options.spare_segments_max)
        .map_err(StoreError::io("opening the log's directory"))?;
    Ok(Opened { segments, options })
}

impl Opened {
    /// Calls `visit` with every whole record, in order, from the beginning of the segment that holds `from`: so
    /// dictionaries are seen, and the caller skips by position what it already has. Then the log takes appends, in a
    /// fresh segment. Damage is counted and logged once; only an unreadable directory, or a newer format, is an error.
    pub fn replay(self, from: Position, visit: &mut dyn FnMut(Record<'_>)) -> Result<(Log, ReplayStats), StoreError> {
        let list = self.segments.list();
        let headers = list.iter().map(|segment| self.header(*segment)).collect::<Result<Vec<_>, _>>()?;
        let mut scan = Scan { visit, stats: ReplayStats::default(), first_damage: None, followed: None };
        let first = list.partition_point(|segment| segment.base <= from.0).saturating_sub(1);
        if list.is_empty() && (HEADER_BYTES as u64 + 1..u64::MAX).contains(&self.options.kept_from.0) {
            // The newest segment is never given up, and there was one.
            tracing::error!(
                "All segments of the log are missing: what was acknowledged since the last checkpoint is lost."
            );
            scan.stats.damaged_records += 1;
        }
        scan.before(list.first(), headers.first().and_then(Option::as_ref), self.options.kept_from.0);
        let (mut end, mut intact) = (0, 0);
        let mut buffer = Vec::new();
        for index in first..list.len() {
            let segment = list[index];
            let last = index + 1 == list.len();
            let bounds = bounds(&headers[index + 1..], list.get(index + 1));
            let unreadable = self.load(segment, last, &mut buffer)?;
            let (segment_end, segment_intact) = scan.segment(segment, &buffer, bounds);
            (end, intact) = (segment_end.max(end), segment_intact.max(intact));
            if last && !unreadable {
                self.segments.trim(segment, segment_end);
            }
        }
        let missing = self.options.synced_through.0.saturating_sub(end);
        self.count_end(&mut scan, missing);
        let mut stats = scan.stats;
        if let Some((segment, position)) = scan.first_damage {
            tracing::warn!(
                records = stats.damaged_records,
                bytes = stats.damaged_bytes,
                file = %self.segments.path(segment).display(),
                position,
                "The log is damaged: the records counted here are lost, the first at this place; all others were read."
            );
        }
        let base = end.max(self.options.position_min.0);
        stats.end = Position(base);
        let number = list.last().map_or(1, |segment| segment.number + 1);
        let start = Start { number, base, acknowledged: end, intact: intact.min(end), replay: stats };
        Ok((Log::start(self.segments, self.options, start)?, stats))
    }

    /// Counts newest segments that are gone, or the end of the newest one: `missing` bytes where a checkpoint knows.
    fn count_end(&self, scan: &mut Scan<'_>, missing: u64) {
        let Some(newest) = self.segments.list().last() else { return };
        match scan.followed {
            Some(next) => tracing::error!(
                file = %self.segments.path(next).display(),
                "This segment of the log is missing, with all that followed it: what was acknowledged there is lost."
            ),
            None if missing > 0 => tracing::error!(
                bytes = missing,
                file = %self.segments.path(*newest).display(),
                "The log ends in this file, before a place it had reached: its newest records, or segments, are lost."
            ),
            None => return,
        }
        scan.stats.damaged_records += 1;
        scan.stats.damaged_bytes += missing;
    }

    fn header(&self, segment: Segment) -> Result<Option<Header>, StoreError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = self.segments.file(segment).and_then(|file| file.read_exact_at(&mut bytes, 0));
        let header = if read.is_ok() { Header::decode(&bytes)? } else { None };
        // A file that was to be written over holds another segment's header until its first sync.
        Ok(header.filter(|header| header.number == segment.number && header.base == segment.base))
    }

    /// Reads a whole segment; what cannot be read is zero, which is damage. True where that happened.
    fn load(&self, segment: Segment, last: bool, buffer: &mut Vec<u8>) -> Result<bool, StoreError> {
        let file = self.segments.file(segment).map_err(StoreError::io("opening a log segment"))?;
        // A process that was killed may have left records that only the page cache holds: what is read from here on
        // may be built upon, so it must be durable first.
        if last && let Err(error) = file.sync_data() {
            tracing::warn!(%error, "The log's last segment cannot be synced: check the disk.");
        }
        let length = file.len().map_err(StoreError::io("reading the length of a log segment"))?;
        let length = usize::try_from(length).map_err(|_| StoreError::Damaged("a log segment is too long".into()))?;
        buffer.clear();
        buffer.resize(length, 0);
        let Err(error) = file.read_exact_at(buffer, 0) else {
            return Ok(false);
        };
        tracing::warn!(%error, file = %self.segments.path(segment).display(), "A log segment is not wholly readable.");
        read_blocks(&*file, buffer);
        Ok(true)
    }
}

/// Reads block by block; the ones that fail become zero.
fn read_blocks(file: &dyn VfsFile, buffer: &mut [u8]) {
    const BLOCK_BYTES: usize = 4096;
    for (index, block) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
        if file.read_exact_at(block, (index * BLOCK_BYTES) as u64).is_err() {
            block.fill(0);
        }
    }
}

/// How far a segment's records count.
#[derive(Clone, Copy)]
struct Bounds {
    /// Records at or behind this position were never acknowledged. `None` for the last segment: nobody has said yet.
    end: Option<u64>,
    /// Gaps from here on are torn, not damaged.
    intact: u64,
}

/// What the later segments' headers say about the one before them.
fn bounds(later: &[Option<Header>], next: Option<&Segment>) -> Bounds {
    let Some(next) = next else {
        return Bounds { end: None, intact: u64::MAX };
    };
    // Headers never go back, so the first whole one is the nearest.
    let header = later.iter().flatten().next();
    let end = header.map_or(next.base, |header| header.previous_end.min(next.base));
    Bounds { end: Some(end), intact: header.map_or(u64::MAX, |header| header.previous_intact) }
}

struct Scan<'a> {
    visit: &'a mut dyn FnMut(Record<'_>),
    stats: ReplayStats,
    first_damage: Option<(Segment, u64)>,
    /// The segment behind the last one that is there, where one was begun.
    followed: Option<Segment>,
}

/// Gaps of a last segment that may still turn out to be the torn last group.
#[derive(Default)]
struct Gap {
    start: Option<u64>,
    records: u64,
    bytes: u64,
}

impl Scan<'_> {
    /// Counts what was acknowledged between `kept_from` and the first segment, whose header says how far that reached.
    fn before(&mut self, first: Option<&Segment>, header: Option<&Header>, kept_from: u64) {
        let Some((segment, header)) = first.zip(header) else { return };
        if segment.base > kept_from && header.previous_end > kept_from {
            let bytes = header.previous_end - kept_from;
            self.damaged(*segment, Gap { start: Some(kept_from), records: 1, bytes });
        }
    }

    /// Gives the end of the segment's last whole record, and where its torn part begins (the same, mostly).
    fn segment(&mut self, segment: Segment, bytes: &[u8], bounds: Bounds) -> (u64, u64) {
        self.stats.segments += 1;
        let position = |offset: usize| segment.base + offset as u64;
        let (mut offset, mut end) = (HEADER_BYTES, HEADER_BYTES);
        let mut gap = Gap::default();
        while offset < bytes.len() && bounds.end.is_none_or(|end| position(offset) < end) {
            let skipped = match record::read(&bytes[offset..], position(offset)) {
                // Nothing follows, and no reader has to know: a cut behind the records takes it away.
                Found::Whole { kind: FOLLOWED, payload, .. } => {
                    self.followed = Segment::noted(payload).filter(|_| bounds.end.is_none());
                    break;
                }
                Found::Whole { kind, flags, payload } => {
                    // A later group was begun, so the one with the gap had been synced: that is damage.
                    if flags & FLAG_GROUP_START != 0 && gap.start.is_some() {
                        self.damaged(segment, std::mem::take(&mut gap));
                    }
                    let at = Position(position(offset));
                    (self.visit)(Record { position: at, segment: segment.number, kind, payload });
                    self.stats.records += 1;
                    offset += record::HEADER_BYTES + payload.len();
                    end = offset;
                    continue;
                }
                Found::PayloadDamaged { length } => record::HEADER_BYTES + length,
                Found::Nothing => match record::find(bytes, offset + 1, segment.base) {
                    Some(next) => next - offset,
                    None => break,
                },
            };
            gap.start.get_or_insert(position(offset));
            gap.records += 1;
            gap.bytes += skipped as u64;
            offset += skipped;
        }
        // Acknowledged up to there, and not found.
        if let Some(sure) = bounds.end.filter(|sure| *sure > position(offset)) {
            gap.start.get_or_insert(position(offset));
            gap.records += 1;
            gap.bytes += sure - position(offset);
        }
        let intact = gap.start.unwrap_or(position(end)).min(position(end));
        match (gap.start, bounds.end) {
            (Some(start), Some(_)) if start < bounds.intact => self.damaged(segment, gap),
            _ => self.stats.torn_bytes += gap.bytes,
        }
        (position(end), intact)
    }

    fn damaged(&mut self, segment: Segment, gap: Gap) {
        self.stats.damaged_records += gap.records;
        self.stats.damaged_bytes += gap.bytes;
        self.first_damage = self.first_damage.or(gap.start.map(|start| (segment, start)));
    }
}
