//! Time as Prometheus speaks it: milliseconds since the Unix epoch, durations such as `1h30m`.

use ::time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds since the Unix epoch; negative before it.
pub type Timestamp = i64;

/// Milliseconds, inclusive at both ends, `start <= end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    start: Timestamp,
    end: Timestamp,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { start: i64::MIN, end: i64::MAX };

    pub fn new(start: Timestamp, end: Timestamp) -> Option<TimeRange> {
        (start <= end).then_some(TimeRange { start, end })
    }

    pub fn start(self) -> Timestamp {
        self.start
    }

    pub fn end(self) -> Timestamp {
        self.end
    }

    pub fn contains(self, at: Timestamp) -> bool {
        self.start <= at && at <= self.end
    }

    pub fn overlaps(self, other: TimeRange) -> bool {
        self.start <= other.end && other.start <= self.end
    }
}

/// Units of a duration, largest first, with their milliseconds. A year has 365 days.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("empty duration string")]
    Empty,
    #[error("not a valid duration string: \"{0}\" (write it as 15s, 5m or 1h30m)")]
    Malformed(String),
    #[error("duration out of range")]
    OutOfRange,
}

/// Parses `1h30m`, `15s`, `0`: whole numbers, units in falling order, each once. Milliseconds.
pub fn parse_duration_ms(text: &str) -> Result<i64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    if text == "0" {
        return Ok(0);
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let (mut rest, mut total, mut units_left) = (text, 0i64, &UNITS[..]);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, tail) = tail.split_at(letters);
        let number: i64 = match number.parse() {
            Ok(number) => number,
            Err(_) if number.is_empty() => return Err(malformed()),
            Err(_) => return Err(DurationError::OutOfRange),
        };
        let at = units_left.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        total = number
            .checked_mul(units_left[at].1)
            .and_then(|ms| total.checked_add(ms))
            .ok_or(DurationError::OutOfRange)?;
        units_left = &units_left[at + 1..];
        rest = tail;
    }
    Ok(total)
}

/// Prints a duration as Prometheus does: `1h30m`, `0s`, weeks and years only where nothing is left over.
pub fn format_duration_ms(ms: i64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    let mut rest = ms.unsigned_abs();
    for (name, unit) in UNITS {
        let unit = unit.unsigned_abs();
        let exact_only = matches!(name, "y" | "w");
        if rest == 0 || (exact_only && !rest.is_multiple_of(unit)) || rest < unit {
            continue;
        }
        out.push_str(&format!("{}{name}", rest / unit));
        rest %= unit;
    }
    if ms < 0 { format!("-{out}") } else { out }
}

/// Prints a time as RFC 3339 in UTC; one beyond the years it knows as milliseconds.
pub fn format_utc(ms: Timestamp) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| format!("{ms} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_printed_as_far_as_there_are_years() {
        assert_eq!(format_utc(1_500), "1970-01-01T00:00:01.5Z");
        assert_eq!(format_utc(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn durations_both_ways() {
        for (text, ms) in
            [("15s", 15_000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("2w", 1_209_600_000), ("500ms", 500)]
        {
            assert_eq!(parse_duration_ms(text), Ok(ms));
            assert_eq!(format_duration_ms(ms), text);
        }
        assert_eq!(parse_duration_ms("0"), Ok(0));
        assert_eq!(format_duration_ms(8 * 86_400_000), "8d");
        assert_eq!(format_duration_ms(-90_000), "-1m30s");
        for wrong in ["", "5", "m", "1m1h", "1m2m", "1ns", "-5m", "1.5h", "5 m"] {
            assert!(parse_duration_ms(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_duration_ms("99999999999999999999y"), Err(DurationError::OutOfRange));
        assert_eq!(parse_duration_ms("999999999999y"), Err(DurationError::OutOfRange));
    }
}
