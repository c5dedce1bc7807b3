//! Dates as SonarQube writes them: `2026-01-31T14:00:00+0100`, an offset without a colon, to the second.

use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc2822};

/// Seconds since the Unix epoch. Offsets with a colon and `Z` are taken as well.
pub fn parse(text: &str) -> Option<i64> {
    if !text.is_ascii() || text.len() < 20 {
        return None;
    }
    let number = |at: std::ops::Range<usize>| -> Option<u8> {
        let digits = text.get(at)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let bytes = text.as_bytes();
    if [bytes[4], bytes[7], bytes[10], bytes[13], bytes[16]] != *b"--T::" {
        return None;
    }
    let year = i32::from(number(0..2)?) * 100 + i32::from(number(2..4)?);
    let date = Date::from_calendar_date(year, Month::try_from(number(5..7)?).ok()?, number(8..10)?).ok()?;
    let date_time = date.with_hms(number(11..13)?, number(14..16)?, number(17..19)?).ok()?;
    Some(date_time.assume_utc().unix_timestamp() - offset_seconds(&text[19..])?)
}

/// Of `+0100`, `+01:00` or `Z`; fractions of a second before it are left out.
fn offset_seconds(text: &str) -> Option<i64> {
    let text = match text.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
        None => text,
    };
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text[1..].replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// As the `from` of a request, in UTC. Its `+` has to be percent-encoded on the way.
pub fn print(seconds: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (moment.year(), u8::from(moment.month()), moment.day());
    let (hour, minute, second) = moment.to_hms();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+0000")
}

/// The date of an HTTP header, such as `Wed, 21 Oct 2026 07:28:00 GMT`: seconds since the Unix epoch.
pub fn parse_http(text: &str) -> Option<i64> {
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok().map(OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_with_offsets_without_a_colon_are_read() {
        for (text, expected) in [
            ("2026-01-31T14:00:00+0000", Some(1_769_868_000)),
            ("2026-01-31T16:00:00+0200", Some(1_769_868_000)),
            ("2026-01-31T10:30:00-0330", Some(1_769_868_000)),
            ("2026-01-31T14:00:00+00:00", Some(1_769_868_000)),
            ("2026-01-31T14:00:00.123Z", Some(1_769_868_000)),
            ("2026-01-31T14:00:00", None),
            ("2026-01-31 14:00:00+0000", None),
            ("2026-02-30T14:00:00+0000", None),
            ("2026-01-31T14:00:00+9900", None),
            ("2026-01-31T14:00:00+1", None),
            ("2026-01-31", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
        assert_eq!(print(1_769_868_000), "2026-01-31T14:00:00+0000");
        assert_eq!(parse_http("Sat, 31 Jan 2026 14:00:00 GMT"), Some(1_769_868_000));
        assert_eq!(parse_http("120"), None);
    }

    proptest! {
        #[test]
        fn a_printed_date_reads_back_and_no_text_panics(seconds in 0..4_102_444_800i64, text in ".{0,40}") {
            prop_assert_eq!(parse(&print(seconds)), Some(seconds));
            let _ = (parse(&text), parse_http(&text));
        }
    }
}
