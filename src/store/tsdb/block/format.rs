//! Where things stand in a block: header, footer, the parts of the index, fixed-width entries.

use crate::{model::Timestamp, stdx::bytes::take_array, store::tsdb::log::Position};

/// The first bytes of a file. After them stands a copy of the footer, then the data.
pub const HEADER: [u8; 16] = *b"OBSBLOCK\x01\0\0\0\0\0\0\0";
const FOOTER_MAGIC: [u8; 8] = *b"OBSBFOOT";
pub const FOOTER_BYTES: usize = 8 * NUMBERS + 4 * CRCS + 4 + 8;
/// Where the data begins.
pub const DATA_OFFSET: u64 = (HEADER.len() + FOOTER_BYTES) as u64;
const NUMBERS: usize = 16;
const CRCS: usize = 3;

/// Bytes `offset..offset + length` of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Section {
    pub offset: u64,
    pub length: u64,
}

impl Section {
    /// Its bytes; empty where it lies outside.
    pub fn of(self, file: &[u8]) -> &[u8] {
        file.get(self.offset as usize..self.offset.saturating_add(self.length) as usize).unwrap_or_default()
    }
}

/// What a block covers and where its parts are. Stands at the end of the file and behind the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footer {
    /// Ticks of clocks count from here. All samples lie in `start..start + span_ms`; runs that ended there may have
    /// begun before.
    pub start: Timestamp,
    pub span_ms: i64,
    /// How often its samples have been merged; 0 for a sealed window.
    pub level: u64,
    /// Of all that can be read from it.
    pub oldest: Timestamp,
    pub newest: Timestamp,
    /// The newest of what its windows were sealed through.
    pub sealed_through: Position,
    pub series: u64,
    /// Float samples and native histograms.
    pub samples: u64,
    /// Clocks, names, values, labels: what nothing else can tell.
    pub essentials: Section,
    /// The same bytes once more.
    pub essentials_copy: Section,
    /// A [`SeriesEntry`] for each series. Could be found again by walking data and labels.
    pub table: Section,
    /// Lists of series. Could be found again from the labels.
    pub postings: Section,
    pub essentials_crc: u32,
    pub table_crc: u32,
    pub postings_crc: u32,
}

impl Footer {
    pub fn data(&self) -> Section {
        Section { offset: DATA_OFFSET, length: self.essentials.offset.saturating_sub(DATA_OFFSET) }
    }

    /// Whether times and numbers are such as a writer gives: what is computed from them does not overflow then. Ticks
    /// are told apart by 32 bits.
    fn is_sound(&self) -> bool {
        let aligned = self.span_ms > 0 && self.start.checked_rem_euclid(self.span_ms) == Some(0);
        // The first window begins with time itself, in the middle of a stretch.
        (aligned || self.start == Timestamp::MIN)
            && (1..=i64::from(u32::MAX)).contains(&self.span_ms)
            && self.level < 1 << 32
    }

    /// The moment behind its last.
    pub fn end(&self) -> Timestamp {
        self.start.saturating_add(self.span_ms)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        let times = [self.start, self.span_ms, self.oldest, self.newest].map(|time| time as u64);
        let counts = [self.level, self.sealed_through.0, self.series, self.samples];
        let sections = [self.essentials, self.essentials_copy, self.table, self.postings];
        let sections = sections.iter().flat_map(|section| [section.offset, section.length]);
        for number in times.into_iter().chain(counts).chain(sections) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for crc in [self.essentials_crc, self.table_crc, self.postings_crc] {
            out.extend_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&FOOTER_MAGIC);
        out
    }

    /// Reads the footer of a whole file from its end, or the copy behind the header, and says which copies were
    /// damaged; `None` where both are, or a section lies outside.
    pub fn find(file: &[u8]) -> Option<(Footer, bool)> {
        let at_end = file.len().checked_sub(FOOTER_BYTES).and_then(|at| Footer::decode(&file[at..], file.len()));
        let front = file.get(HEADER.len()..DATA_OFFSET as usize).and_then(|bytes| Footer::decode(bytes, file.len()));
        // A file that was cut short has a footer in front that points behind its end.
        let is_whole = file.starts_with(&HEADER) && at_end.is_some() && at_end == front;
        let footer = at_end.or(front).filter(Footer::is_sound)?;
        Some((footer, !is_whole))
    }

    fn decode(bytes: &[u8], file_bytes: usize) -> Option<Footer> {
        let (body, mut tail) = bytes.split_at_checked(FOOTER_BYTES - 12)?;
        let crc = u32::from_le_bytes(take_array(&mut tail)?);
        if tail != FOOTER_MAGIC || crc32c::crc32c(body) != crc {
            return None;
        }
        let mut input = body;
        let mut number = || take_array(&mut input).map(u64::from_le_bytes);
        let [start, span_ms, oldest, newest] = [number()?, number()?, number()?, number()?].map(|time| time as i64);
        let [level, sealed_through, series, samples] = [number()?, number()?, number()?, number()?];
        let mut section = || {
            let section = Section { offset: number()?, length: number()? };
            let inside =
                section.offset >= DATA_OFFSET && section.offset.checked_add(section.length)? <= file_bytes as u64;
            inside.then_some(section)
        };
        let [essentials, essentials_copy, table, postings] = [section()?, section()?, section()?, section()?];
        let mut crc = || take_array(&mut input).map(u32::from_le_bytes);
        let [essentials_crc, table_crc, postings_crc] = [crc()?, crc()?, crc()?];
        let sealed_through = Position(sealed_through);
        Some(Footer {
            start,
            span_ms,
            level,
            oldest,
            newest,
            sealed_through,
            series,
            samples,
            essentials,
            essentials_copy,
            table,
            postings,
            essentials_crc,
            table_crc,
            postings_crc,
        })
    }
}

/// The parts of the essentials, in their order. Eight bytes for the length of each come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// [`WindowEntry`] each.
    Windows,
    /// [`ClockEntry`] each.
    Clocks,
    ClockBytes,
    /// [`NameEntry`] each, sorted.
    Names,
    /// [`ValueEntry`] each, sorted by name, then value.
    Values,
    Texts,
    /// For each series the varint count and the varint numbers of its values, ascending.
    Labels,
}

pub const PARTS: usize = 7;

/// Puts the parts behind their lengths.
pub fn join_parts(parts: [Vec<u8>; PARTS]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 * PARTS + parts.iter().map(Vec::len).sum::<usize>());
    for part in &parts {
        out.extend_from_slice(&(part.len() as u64).to_le_bytes());
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Where each part lies within the essentials; `None` where the lengths do not add up.
pub fn find_parts(essentials: &[u8]) -> Option<[Section; PARTS]> {
    let mut input = essentials;
    let mut sections = [Section::default(); PARTS];
    let mut offset = 8 * PARTS as u64;
    for section in &mut sections {
        let length = u64::from_le_bytes(take_array(&mut input)?);
        *section = Section { offset, length };
        offset = offset.checked_add(length)?;
    }
    (offset == essentials.len() as u64).then_some(sections)
}

/// An entry of fixed width in a table.
pub trait Entry: Sized {
    const BYTES: usize;
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(bytes: &[u8]) -> Option<Self>;
}

macro_rules! entry {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }
        impl Entry for $name {
            const BYTES: usize = 0 $(+ size_of::<$type>())*;
            fn encode(&self, out: &mut Vec<u8>) {
                $(out.extend_from_slice(&self.$field.to_le_bytes());)*
            }
            fn decode(mut bytes: &[u8]) -> Option<Self> {
                Some($name { $($field: <$type>::from_le_bytes(take_array(&mut bytes)?)),* })
            }
        }
    };
}

entry! {
    /// A window: every log record before `through` that has samples of it is contained.
    WindowEntry { start: i64, through: u64 }
}
entry! {
    /// A clock: where its bytes stand within theirs, and how many ticks it has.
    ClockEntry { offset: u64, ticks: u32 }
}
entry! {
    /// A series: where its record begins in the file, with [`OVERWRITES`], and its labels within theirs.
    SeriesEntry { record: u64, labels_offset: u32 }
}

/// Set in the record's place of a series whose samples replace those of the same time in older blocks, so that nobody
/// has to look at the data for it.
pub const OVERWRITES: u64 = 1 << 63;

impl SeriesEntry {
    pub fn data_offset(&self) -> u64 {
        self.record & !OVERWRITES
    }

    pub fn overwrites(&self) -> bool {
        self.record & OVERWRITES != 0
    }
}
entry! {
    /// A label name and its stretch of the values.
    NameEntry { text_offset: u32, text_length: u32, values: u32, first_value: u32 }
}
entry! {
    /// A label value: its text, its name, how many series have it and the list of these, see `postings`.
    ValueEntry { text_offset: u32, text_length: u32, name: u32, series: u32, postings: u64 }
}

/// A table of entries.
#[derive(Clone, Copy)]
pub struct Table<'a>(pub &'a [u8]);

impl Table<'_> {
    pub fn len<E: Entry>(&self) -> usize {
        self.0.len() / E::BYTES
    }

    pub fn get<E: Entry>(&self, index: usize) -> Option<E> {
        E::decode(self.0.get(index.checked_mul(E::BYTES)?..)?)
    }
}
