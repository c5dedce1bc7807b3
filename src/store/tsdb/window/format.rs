//! Where things stand in a window file: header, footer, fixed-width tables.

use crate::{model::Timestamp, stdx::bytes::take_array, store::tsdb::log::Position};

pub const HEADER: [u8; 16] = *b"OBSWINDW\x01\0\0\0\0\0\0\0";
const FOOTER_MAGIC: [u8; 8] = *b"OBSWFOOT";
pub const FOOTER_BYTES: usize = 8 * (4 + 2 * SECTIONS) + 4 + 4 + 8;
const SECTIONS: usize = 8;

/// Bytes `offset..offset + length` of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Section {
    pub offset: u64,
    pub length: u64,
}

/// The last bytes of the file: what it covers and where its parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    pub window: Timestamp,
    pub oldest: Timestamp,
    pub newest: Timestamp,
    /// Every log record before this that has samples of the window is contained.
    pub sealed_through: Position,
    /// Clock table: [`ClockEntry`].
    pub clocks: Section,
    /// Series table sorted by labels: [`SeriesEntry`].
    pub series: Section,
    /// Label bytes of the series.
    pub labels: Section,
    /// Name table sorted by name: [`NameEntry`].
    pub names: Section,
    /// Value table sorted by name, then value: [`ValueEntry`].
    pub values: Section,
    /// Texts of names and values.
    pub texts: Section,
    /// Lists of series numbers, four bytes each.
    pub postings: Section,
    /// Chunks, and encoded clocks.
    pub data: Section,
    /// CRC32C of everything from the clock table to the end of the postings.
    pub index_crc: u32,
}

impl Footer {
    fn sections(&self) -> [Section; SECTIONS] {
        [self.clocks, self.series, self.labels, self.names, self.values, self.texts, self.postings, self.data]
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        for number in [self.window, self.oldest, self.newest, self.sealed_through.0 as i64] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for section in self.sections() {
            out.extend_from_slice(&section.offset.to_le_bytes());
            out.extend_from_slice(&section.length.to_le_bytes());
        }
        out.extend_from_slice(&self.index_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&FOOTER_MAGIC);
        out
    }

    /// Reads the footer of a whole file; `None` where header or footer are damaged or a section lies outside.
    pub fn decode(file: &[u8]) -> Option<Footer> {
        if !file.starts_with(&HEADER) {
            return None;
        }
        let at = file.len().checked_sub(FOOTER_BYTES)?;
        let footer = &file[at..];
        let (body, mut tail) = footer.split_at(FOOTER_BYTES - 12);
        let crc = u32::from_le_bytes(take_array(&mut tail)?);
        if tail != FOOTER_MAGIC || crc32c::crc32c(body) != crc {
            return None;
        }
        let mut input = body;
        let mut number = || take_array(&mut input).map(i64::from_le_bytes);
        let (window, oldest, newest) = (number()?, number()?, number()?);
        let sealed_through = Position(number()? as u64);
        let mut section = || {
            let section = Section { offset: number()? as u64, length: number()? as u64 };
            (section.offset.checked_add(section.length)? <= at as u64).then_some(section)
        };
        let [clocks, series, labels, names] = [section()?, section()?, section()?, section()?];
        let [values, texts, postings, data] = [section()?, section()?, section()?, section()?];
        let index_crc = u32::from_le_bytes(take_array(&mut input)?);
        let footer = Footer {
            window,
            oldest,
            newest,
            sealed_through,
            clocks,
            series,
            labels,
            names,
            values,
            texts,
            postings,
            data,
            index_crc,
        };
        Some(footer)
    }

    /// The stretch that `index_crc` covers.
    pub fn index(&self) -> Section {
        let end = self.postings.offset + self.postings.length;
        Section { offset: self.clocks.offset, length: end.saturating_sub(self.clocks.offset) }
    }
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
    /// An encoded clock: varint differences of its ticks.
    ClockEntry { offset: u64, length: u32, ticks: u32, crc: u32 }
}
entry! {
    /// A series: its labels, and its chunks with their checksum.
    SeriesEntry {
        labels_offset: u64,
        labels_length: u32,
        data_crc: u32,
        data_offset: u64,
        data_length: u32,
        /// 1: samples here replace those of the same time in older files.
        overwrites: u32,
    }
}
entry! {
    /// A label name and its stretch of the value table.
    NameEntry { offset: u64, length: u32, values: u32, first_value: u64 }
}
entry! {
    /// A label value and its list of series.
    ValueEntry { offset: u64, length: u32, series: u32, postings_offset: u64 }
}
