//! Parameters of a request: from the URL and from a form, as Go's server reads them.

use super::{body::read_body, error::ApiError};
use crate::model::{TimeRange, Timestamp, time::parse_duration_ms};
use axum::{
    body::Body,
    extract::{FromRequest, Request},
    http::{Method, header},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A form holds a query of at most 64 KiB, escaped at worst to three times that, and some selectors.
const FORM_BYTES_MAX: usize = 1 << 20;

/// The first and last moments Prometheus knows, in milliseconds, and how it writes them.
const TIME_MIN: Timestamp = (i64::MIN / 1000 + 62_135_596_801) * 1000;
const TIME_MAX: Timestamp = (i64::MAX / 1000 - 62_135_596_801) * 1000 + 999;
const TIME_MIN_TEXT: &str = "-292273086-05-16T16:47:06Z";
const TIME_MAX_TEXT: &str = "292277025-08-18T07:12:54.999999999Z";

/// Names and values; those of the form stand before those of the URL, so that the form's is found first.
#[derive(Debug, Clone, Default)]
pub struct Params {
    pairs: Vec<(String, String)>,
}

impl Params {
    /// Reads URL-encoded pairs. A part with a raw `;` is passed over, as in Go.
    pub fn parse(text: &str) -> Params {
        let parts = text.split('&').filter(|part| !part.is_empty() && !part.contains(';'));
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Some((decode(name)?, decode(value)?))
        };
        Params { pairs: parts.filter_map(pair).collect() }
    }

    /// The value of `name`; empty where it is not given.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// A time, where it is given.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_time(text)
                .map(Some)
                .map_err(|problem| ApiError::parameter(name, format!("invalid time value for '{name}': {problem}"))),
        }
    }

    /// A time that must be given.
    pub fn time_required(&self, name: &str) -> Result<Timestamp, ApiError> {
        parse_time(self.get(name)).map_err(|problem| ApiError::parameter(name, problem))
    }

    /// A duration in milliseconds, where it is given.
    pub fn duration_ms(&self, name: &str) -> Result<Option<i64>, ApiError> {
        match self.get(name) {
            "" => Ok(None),
            text => parse_duration(text).map(Some).map_err(|problem| ApiError::parameter(name, problem)),
        }
    }

    /// `start` to `end`, everything where they are not given; `None` where the end is before the start.
    pub fn range(&self) -> Result<Option<TimeRange>, ApiError> {
        let (start, end) = (self.time("start")?, self.time("end")?);
        Ok(TimeRange::new(start.unwrap_or(TIME_MIN), end.unwrap_or(TIME_MAX)))
    }

    /// `limit`: at most so many results; `usize::MAX` where it is 0 or not given.
    pub fn limit(&self) -> Result<usize, ApiError> {
        let text = self.get("limit");
        if text.is_empty() {
            return Ok(usize::MAX);
        }
        let number: i64 = text
            .parse()
            .map_err(|_| ApiError::parameter("limit", format!("cannot parse {text:?} to a whole number")))?;
        match usize::try_from(number) {
            Err(_) => Err(ApiError::parameter("limit", "limit must be non-negative")),
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(limit),
        }
    }
}

/// URL and form together; a body that is no form holds no parameters.
impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Params, ApiError> {
        let (parts, body) = request.into_parts();
        let url = Params::parse(parts.uri.query().unwrap_or_default());
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if ![Method::POST, Method::PUT].contains(&parts.method)
            || !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Ok(url);
        }
        let form = read_form(&parts.headers, body).await?;
        let mut params = Params::parse(&form);
        params.pairs.extend(url.pairs);
        Ok(params)
    }
}

async fn read_form(headers: &axum::http::HeaderMap, body: Body) -> Result<String, ApiError> {
    let bytes = read_body(headers, body, FORM_BYTES_MAX).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Undoes URL encoding; `None` where an escape is broken.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            other => out.push(other),
        }
    }
    Some(String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

/// Reads seconds since the epoch or RFC 3339, to the millisecond.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let problem = || format!("cannot parse {text:?} to a valid timestamp");
    if let Some(seconds) = parse_float(text) {
        if seconds.is_nan() {
            return Err(problem());
        }
        let (whole, rest) = (seconds.trunc(), seconds.fract());
        if whole.abs() * 1000.0 >= TIME_MAX as f64 {
            return Ok(if whole > 0.0 { TIME_MAX } else { TIME_MIN });
        }
        // Apart, so that the fraction is not rounded where the whole is large.
        let ms = (whole * 1000.0) as i64 + (rest * 1000.0).round() as i64;
        return Ok(ms.clamp(TIME_MIN, TIME_MAX));
    }
    match text {
        TIME_MIN_TEXT => return Ok(TIME_MIN),
        TIME_MAX_TEXT => return Ok(TIME_MAX),
        _ => {}
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| problem())?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).map_err(|_| problem())
}

/// Reads seconds or `1h30m`, to the millisecond.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if let Some(seconds) = parse_float(text) {
        let nanoseconds = seconds * 1e9;
        if nanoseconds > i64::MAX as f64 || nanoseconds < i64::MIN as f64 || seconds.is_nan() {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok((seconds * 1000.0).round() as i64);
    }
    parse_duration_ms(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_parts_with_semicolons_skipped() {
        let params = Params::parse("query=a%2Bb+c&match[]=x&match%5B%5D=y&query=second&bad=%zz&time=1;step=2&empty");
        assert_eq!(params.get("query"), "a+b c");
        assert_eq!(params.all("match[]").collect::<Vec<_>>(), ["x", "y"]);
        for absent in ["bad", "time", "step", "empty", "none"] {
            assert_eq!(params.get(absent), "", "{absent}");
        }
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, ms) in [
            ("4", 4_000),
            ("1234567890.1235", 1_234_567_890_124),
            ("-1.5", -1_500),
            ("1e3", 1_000_000),
            ("2024-01-01T00:00:00Z", 1_704_067_200_000),
            ("2024-01-01T01:00:00.25+01:00", 1_704_067_200_250),
            ("1700000000000", 1_700_000_000_000_000),
            ("1e300", TIME_MAX),
            ("-Inf", TIME_MIN),
            (TIME_MIN_TEXT, TIME_MIN),
            (TIME_MAX_TEXT, TIME_MAX),
        ] {
            assert_eq!(parse_time(text), Ok(ms), "{text}");
        }
        for wrong in ["", "abc", "NaN", "2024-01-01", " 1"] {
            assert!(parse_time(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn durations_are_seconds_or_units() {
        for (text, ms) in
            [("15", 15_000), ("0.5", 500), ("1h30m", 5_400_000), ("0s", 0), ("-1", -1_000), ("5m", 300_000)]
        {
            assert_eq!(parse_duration(text), Ok(ms), "{text}");
        }
        assert_eq!(parse_duration(""), Err("cannot parse \"\" to a valid duration".to_owned()));
        assert!(parse_duration("1e300").unwrap_err().ends_with("It overflows int64"));
        assert!(parse_duration("1ns").is_err() && parse_duration("NaN").is_err());
    }

    #[test]
    fn limits_are_whole_and_not_negative() {
        assert_eq!(Params::parse("limit=5").limit().unwrap(), 5);
        assert_eq!(Params::parse("limit=0").limit().unwrap(), usize::MAX);
        assert_eq!(Params::parse("").limit().unwrap(), usize::MAX);
        let message = Params::parse("limit=-1").limit().unwrap_err().message;
        assert_eq!(message, "invalid parameter \"limit\": limit must be non-negative");
        assert!(Params::parse("limit=x").limit().is_err());
    }
}
