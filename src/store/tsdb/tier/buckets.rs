//! Samples to rows of buckets, fine rows to coarse ones, rows to columns and back.

use super::columns::{Column, Columns};
use crate::{
    model::{STALE_NAN, Samples, TimeRange, Timestamp, is_stale},
    store::tsdb::{
        block::{ClockCache, ClockSet, Draft, Record},
        head::values::{POWERS, to_whole},
    },
};
use std::iter::zip;

/// What is known of one bucket of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The bucket's end, which belongs to it.
    pub end: Timestamp,
    /// Where it came from samples: how many, markers included.
    pub samples: u32,
    /// Markers apart; where there are none, what follows says nothing up to `resets`.
    pub count: u32,
    pub first_at: Timestamp,
    pub first: f64,
    pub last_at: Timestamp,
    pub last: f64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
    pub resets: Option<f64>,
    /// The staleness marker that is the last of the bucket.
    pub stale_at: Option<Timestamp>,
}

/// The end of the bucket that a time lies in.
pub fn bucket_end(at: Timestamp, resolution_ms: i64) -> Timestamp {
    match at.rem_euclid(resolution_ms) {
        0 => at,
        rest => at.saturating_add(resolution_ms - rest),
    }
}

/// Appends the rows of samples, which are in order of time.
pub fn rows_of(samples: &Samples, resolution_ms: i64, rows: &mut Vec<Row>) {
    let (times, values) = (&samples.timestamps, &samples.values);
    let mut from = 0;
    while from < times.len() {
        let end = bucket_end(times[from], resolution_ms);
        let to = from + times[from..].iter().take_while(|at| **at <= end).count();
        rows.push(row(end, &times[from..to], &values[from..to]));
        from = to;
    }
}

/// The row of one bucket, of which there is at least one sample.
fn row(end: Timestamp, times: &[Timestamp], values: &[f64]) -> Row {
    let mut row = Row {
        end,
        samples: times.len() as u32,
        count: 0,
        first_at: 0,
        first: 0.0,
        last_at: 0,
        last: 0.0,
        sum: 0.0,
        min: f64::NAN,
        max: f64::NAN,
        resets: None,
        stale_at: None,
    };
    let mut lost = 0.0;
    for (at, value) in zip(times, values) {
        if is_stale(*value) {
            row.stale_at = Some(*at);
            continue;
        }
        if row.count == 0 {
            (row.first_at, row.first) = (*at, *value);
        } else if *value < row.last {
            *row.resets.get_or_insert_default() += row.last;
        }
        (row.count, row.last_at, row.last, row.stale_at) = (row.count + 1, *at, *value, None);
        row.min = if row.min.is_nan() || *value < row.min { *value } else { row.min };
        row.max = if row.max.is_nan() || *value > row.max { *value } else { row.max };
        (row.sum, lost) = add(row.sum, lost, *value);
    }
    if lost.is_finite() {
        row.sum += lost;
    }
    row
}

/// Adds to a sum and to what its rounding has lost so far.
fn add(sum: f64, lost: f64, value: f64) -> (f64, f64) {
    let next = sum + value;
    let more = if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
    (next, lost + more)
}

/// Appends the rows of coarser buckets, each of which has whole buckets of `fine` in it.
pub fn coarser(fine: &[Row], resolution_ms: i64, rows: &mut Vec<Row>) {
    let from = rows.len();
    for next in fine {
        let end = bucket_end(next.end, resolution_ms);
        match rows[from..].last_mut().filter(|row| row.end == end) {
            Some(row) => row.extend(next),
            None => rows.push(Row { end, ..*next }),
        }
    }
}

impl Row {
    /// Takes in what follows within the same bucket.
    fn extend(&mut self, next: &Row) {
        self.samples = self.samples.saturating_add(next.samples);
        self.stale_at = next.stale_at;
        if next.count == 0 {
            return;
        }
        if self.count == 0 {
            let (end, samples) = (self.end, self.samples);
            *self = Row { end, samples, ..*next };
            return;
        }
        let between = (next.first < self.last).then_some(self.last);
        for resets in [between, next.resets].into_iter().flatten() {
            *self.resets.get_or_insert_default() += resets;
        }
        self.count = self.count.saturating_add(next.count);
        (self.last_at, self.last) = (next.last_at, next.last);
        self.sum += next.sum;
        self.min = if self.min.is_nan() || next.min < self.min { next.min } else { self.min };
        self.max = if self.max.is_nan() || next.max > self.max { next.max } else { self.max };
    }

    /// Whether its extremes are not those of its first and last value although nothing fell: a value that is no number
    /// stands between what would have been a fall.
    fn hides_extremes(&self) -> bool {
        let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
        let (min, max) = (self.first.min(self.last), self.first.max(self.last));
        self.count > 0 && self.resets.is_none() && !(same(self.min, min) && same(self.max, max))
    }

    /// The one sample it comes from; `None` where there were more.
    fn sample(&self) -> Option<(Timestamp, f64)> {
        match (self.samples, self.count, self.stale_at) {
            (1, 1, _) => Some((self.last_at, self.last)),
            (1, 0, Some(at)) => Some((at, STALE_NAN)),
            _ => None,
        }
    }
}

/// The samples that rows come from, where each has one; `None` where one has more.
pub fn samples_of(rows: &[Row]) -> Option<(Vec<Timestamp>, Vec<f64>)> {
    rows.iter().map(Row::sample).collect()
}

/// `columns`, and the extremes of a counter where these do not follow from the others. Where it fell they do not either,
/// but then it shows.
pub fn columns_for(columns: Columns, rows: &[Row]) -> Columns {
    let fell = || rows.iter().any(|row| row.resets.is_some());
    let needs_extremes = columns == Columns::COUNTER && rows.iter().any(Row::hides_extremes) && !fell();
    if needs_extremes { Columns::COUNTER_WITH_EXTREMES } else { columns }
}

/// Adds the columns of rows to a draft.
pub fn draft_rows(draft: &mut Draft, columns: Columns, rows: &[Row], start: Timestamp, clocks: &mut ClockSet) {
    let filled: Vec<&Row> = rows.iter().filter(|row| row.count > 0).collect();
    draft.head.has_columns = true;
    if !filled.is_empty() {
        let times: Vec<Timestamp> = filled.iter().map(|row| row.last_at).collect();
        let placed = draft.place_ragged(start, &times, clocks);
        let sums = if columns.has(Column::Sum) { sums_of(&filled) } else { Vec::new() };
        let mut put = |column: Column, values: &mut dyn Iterator<Item = f64>| {
            if columns.has(column) {
                draft.values(column as u8, &values.collect::<Vec<f64>>(), &placed);
            }
        };
        put(Column::Last, &mut filled.iter().map(|row| row.last));
        put(Column::Count, &mut filled.iter().map(|row| f64::from(row.count)));
        put(Column::Sum, &mut sums.iter().copied());
        put(Column::Min, &mut filled.iter().map(|row| row.min));
        put(Column::Max, &mut filled.iter().map(|row| row.max));
    }
    let firsts = filled.iter().map(|row| (row.first_at, row.first));
    let resets = filled.iter().filter_map(|row| Some((row.last_at, row.resets?)));
    let stale = rows.iter().filter_map(|row| Some((row.stale_at?, STALE_NAN)));
    draft_column(draft, columns, Column::First, firsts, start, clocks);
    draft_column(draft, columns, Column::Resets, resets, start, clocks);
    draft_column(draft, columns, Column::Stale, stale, start, clocks);
}

/// Adds a column that has times of its own.
fn draft_column(
    draft: &mut Draft,
    columns: Columns,
    column: Column,
    points: impl Iterator<Item = (Timestamp, f64)>,
    start: Timestamp,
    clocks: &mut ClockSet,
) {
    if !columns.has(column) {
        return;
    }
    let (times, values): (Vec<Timestamp>, Vec<f64>) = points.unzip();
    if !times.is_empty() {
        let placed = draft.place_ragged(start, &times, clocks);
        draft.values(column as u8, &values, &placed);
    }
}

/// Their sums, as short decimals where the values are: the sum of short decimals is one but for the last bits, and a
/// column of these takes a third of the room.
fn sums_of(rows: &[&Row]) -> Vec<f64> {
    let values: Vec<f64> = rows.iter().flat_map(|row| [row.first, row.last, row.min, row.max]).collect();
    let exponent = to_whole(&values, 0, &mut vec![0; values.len()]);
    let power = exponent.map(|exponent| POWERS[usize::from(exponent)]);
    let rounded = |sum: f64| {
        let near = power.map(|power| (sum * power).round() / power);
        near.filter(|near| (near - sum).abs() <= sum.abs() * 1e-15).unwrap_or(sum)
    };
    rows.iter().map(|row| rounded(row.sum)).collect()
}

/// Appends the rows of a record that has `columns`. A row that damage has taken a part of is not there.
pub fn read_rows(record: &Record<'_>, columns: Columns, resolution_ms: i64, clocks: &ClockCache, rows: &mut Vec<Row>) {
    let column = |column: Column| {
        let mut samples = Samples::default();
        record.read_column(column as u8, TimeRange::ALL, clocks, &mut samples);
        samples
    };
    let last = column(Column::Last);
    let others = [Column::Count, Column::Sum, Column::Min, Column::Max];
    let others = others.map(|other| columns.has(other).then(|| column(other)));
    let mut others = others.each_ref().map(|other| other.as_ref().map(Cursor::new));
    let resets = column(Column::Resets);
    let mut resets = Cursor::new(&resets);
    let (firsts, has_firsts) = (column(Column::First), columns.has(Column::First));
    let mut next_first = 0;
    let from = rows.len();
    for (at, value) in zip(&last.timestamps, &last.values) {
        let end = bucket_end(*at, resolution_ms);
        let mut first = Some((*at, 0.0));
        if has_firsts {
            let before = |first: &Timestamp| bucket_end(*first, resolution_ms) < end;
            next_first += firsts.timestamps[next_first..].iter().take_while(|first| before(first)).count();
            let found = firsts.timestamps.get(next_first).filter(|first| *first <= at);
            first = found.map(|first| (*first, firsts.values[next_first]));
        }
        // A column that the kind does not have is not missing.
        let taken = others.each_mut().map(|other| other.as_mut().map_or(Some(0.0), |values| values.at(*at)));
        let (Some((first_at, first)), [Some(count), Some(sum), Some(min), Some(max)]) = (first, taken) else {
            continue;
        };
        // Those of a counter follow from the ends, or are not known.
        let (min, max) = if columns.has(Column::Min) { (min, max) } else { (first.min(*value), first.max(*value)) };
        let (resets, count) = (resets.at(*at), count as u32);
        let (last_at, last) = (*at, *value);
        let row =
            Row { end, samples: count, count, first_at, first, last_at, last, sum, min, max, resets, stale_at: None };
        rows.push(row);
    }
    add_stale(column(Column::Stale).timestamps, resolution_ms, from, rows);
}

/// Puts markers into the rows from `from` on, or makes rows of them.
fn add_stale(stale: Vec<Timestamp>, resolution_ms: i64, from: usize, rows: &mut Vec<Row>) {
    for at in stale {
        let end = bucket_end(at, resolution_ms);
        match rows[from..].binary_search_by_key(&end, |row| row.end) {
            Ok(found) => {
                let row = &mut rows[from + found];
                (row.stale_at, row.samples) = (Some(at), row.samples.saturating_add(1));
            }
            Err(before) => rows.insert(from + before, row(end, &[at], &[STALE_NAN])),
        }
    }
}

/// Finds values by times that ascend.
pub struct Cursor<'a> {
    samples: &'a Samples,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(samples: &'a Samples) -> Cursor<'a> {
        Cursor { samples, at: 0 }
    }

    pub fn at(&mut self, time: Timestamp) -> Option<f64> {
        let times = &self.samples.timestamps;
        self.at += times[self.at..].iter().take_while(|at| **at < time).count();
        (*times.get(self.at)? == time).then(|| self.samples.values[self.at])
    }
}

/// Puts `late` rows where `rows` has none; gives whether there were any. Both are in order of time.
pub fn fill(rows: &mut Vec<Row>, late: &[Row], is_filled: impl Fn(Timestamp) -> bool) -> bool {
    let before = rows.len();
    rows.extend(late.iter().filter(|row| !is_filled(row.end)));
    let is_more = rows.len() > before;
    rows.sort_by_key(|row| row.end);
    is_more
}
