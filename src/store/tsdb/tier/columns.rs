//! The columns of buckets.

use crate::store::tsdb::block::Record;

/// What the values of a chunk say of their buckets. The number is the byte on disk: never changed, never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Column {
    /// The first value, at its time. All others but [`Column::Stale`] lie at the time of the last value.
    First = 1,
    Last = 2,
    /// How many values there are, staleness markers apart.
    Count = 3,
    Sum = 4,
    /// As `min_over_time` finds it: a NaN only where there is nothing else.
    Min = 5,
    Max = 6,
    /// The sum of the values right before each counter reset, in buckets that have one.
    Resets = 7,
    /// A staleness marker that is the last of its bucket, at its time.
    Stale = 8,
}

/// A set of columns, and whether there are histograms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Columns(u16);

impl Columns {
    pub const NONE: Columns = Columns(0);
    pub const COUNTER: Columns =
        Columns::of(&[Column::First, Column::Last, Column::Count, Column::Resets, Column::Stale]);
    pub const GAUGE: Columns =
        Columns::of(&[Column::Last, Column::Count, Column::Sum, Column::Min, Column::Max, Column::Stale]);
    /// Of counters whose extremes are not those of first and last values.
    pub const COUNTER_WITH_EXTREMES: Columns =
        Columns(Columns::COUNTER.0 | 1 << Column::Min as u16 | 1 << Column::Max as u16);
    pub const ALL: Columns = Columns(Columns::COUNTER.0 | Columns::GAUGE.0);
    /// Native histograms that count.
    pub const HISTOGRAMS: Columns = Columns(1);
    pub const GAUGE_HISTOGRAMS: Columns = Columns(1 << 15);

    pub const fn of(columns: &[Column]) -> Columns {
        let (mut set, mut at) = (0, 0);
        while at < columns.len() {
            set |= 1 << columns[at] as u16;
            at += 1;
        }
        Columns(set)
    }

    pub fn has(self, column: Column) -> bool {
        self.0 & 1 << column as u16 != 0
    }

    pub fn has_all(self, others: Columns) -> bool {
        self.0 & others.0 == others.0
    }

    pub fn overlaps(self, others: Columns) -> bool {
        self.0 & others.0 != 0
    }

    pub fn with(self, others: Columns) -> Columns {
        Columns(self.0 | others.0)
    }

    /// All columns of the kind that a record with these was built as, those included that no bucket needed so far; `None`
    /// where no bucket had a value, so that nothing tells.
    pub fn of_kind(self) -> Option<Columns> {
        match (self.has(Column::First), self.has(Column::Sum)) {
            (true, true) => Some(Columns::ALL),
            (true, false) if self.has(Column::Min) => Some(Columns::COUNTER_WITH_EXTREMES),
            (true, false) => Some(Columns::COUNTER),
            (false, true) => Some(Columns::GAUGE),
            (false, false) => None,
        }
    }

    pub fn without(self, column: Column) -> Columns {
        Columns(self.0 & !(1 << column as u16))
    }
}

/// What a record has; `None` where it holds samples as they were. A column that no bucket needed is not there, such as
/// [`Column::Resets`].
pub fn columns_of(record: &Record<'_>) -> Option<Columns> {
    if !record.has_columns() {
        return None;
    }
    let chunks = record.columns().filter(|column| (1..=Column::Stale as u8).contains(column));
    let set = chunks.fold(0, |set, column| set | 1 << column);
    let histograms = match record.histograms_are_gauges() {
        Some(true) => Columns::GAUGE_HISTOGRAMS,
        Some(false) => Columns::HISTOGRAMS,
        None => Columns::NONE,
    };
    Some(Columns(set).with(histograms))
}
