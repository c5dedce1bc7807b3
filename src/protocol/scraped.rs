//! What a scraped target says, line by line, without copying.
//!
//! 1. [`Lines`] walks a body in either text format and gives samples with the text of their series untouched: who has
//!    met it before needs neither name nor labels.
//! 2. [`read_series`] reads name and labels of a series met for the first time.
//!
//! The text format 0.0.4 is stricter here than for pushes: a target is written once and scraped by others as well, so it
//! must hear of what they would refuse. CRLF is refused, and so are unknown types and lines that begin with blanks.

use super::{
    exposition::{
        Label, ParseError, ParseErrorKind, echo, metric_name_length, parse_type, read_labels, read_quoted, skip_blanks,
        split_token, unescape_help,
    },
    limits::LabelLimits,
    openmetrics,
};
use crate::model::{
    MetricType, Timestamp,
    number::{format_general, parse_float},
};
use std::borrow::Cow;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format 0.0.4, with the quoted names of its version 1.0.0.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// One sample, its series as written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleLine<'a> {
    /// Name and labels: the same text names the same series.
    pub series: &'a str,
    pub value: f64,
    /// Milliseconds, where the target gave one.
    pub timestamp: Option<Timestamp>,
    /// As written from its `#` on, for [`super::openmetrics::read_exemplar`].
    pub exemplar: Option<&'a str>,
}

/// What a line says. Comments and empty lines say nothing and are passed over.
#[derive(Debug, Clone, PartialEq)]
pub enum Line<'a> {
    Sample(SampleLine<'a>),
    Type { family: Cow<'a, str>, metric_type: MetricType },
    Help { family: Cow<'a, str>, help: Cow<'a, str> },
    Unit { family: Cow<'a, str>, unit: &'a str },
}

/// The lines of a body. After an error there are no more.
#[derive(Debug)]
pub struct Lines<'a> {
    rest: &'a str,
    format: Format,
    /// Of the line read last, counted from 1.
    line: usize,
    /// Whether `# EOF` was read.
    ended: bool,
    failed: bool,
    metric_type: MetricType,
}

impl<'a> Lines<'a> {
    /// Fails where the body is not UTF-8.
    pub fn new(body: &'a [u8], format: Format) -> Result<Lines<'a>, ParseError> {
        let rest = std::str::from_utf8(body).map_err(|error| {
            let line = body[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            ParseError { line, kind: ParseErrorKind::Utf8 }
        })?;
        Ok(Lines { rest, format, line: 0, ended: false, failed: false, metric_type: MetricType::Unknown })
    }

    /// The type declared last: that of the samples which follow it.
    pub fn metric_type(&self) -> MetricType {
        self.metric_type
    }

    /// An error of the line read last.
    pub fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError { line: self.line, kind }
    }

    fn read_next(&mut self) -> Result<Option<Line<'a>>, ParseErrorKind> {
        while !self.rest.is_empty() {
            self.line += 1;
            let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
            self.rest = rest;
            if self.ended {
                return Err(ParseErrorKind::AfterEof);
            }
            let read = match self.format {
                Format::Text => read_line(line)?,
                Format::OpenMetrics => match openmetrics::read_line(line)? {
                    Some(line) => Some(line),
                    None => {
                        self.ended = true;
                        None
                    }
                },
            };
            if let Some(Line::Type { metric_type, .. }) = &read {
                self.metric_type = *metric_type;
            }
            if read.is_some() {
                return Ok(read);
            }
        }
        match self.format == Format::OpenMetrics && !self.ended && self.line > 0 {
            true => Err(ParseErrorKind::NoEof),
            false => Ok(None),
        }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read_next().map_err(|kind| ParseError { line: self.line, kind });
        self.failed = read.is_err();
        read.transpose()
    }
}

/// Reads name and labels of `series` into `labels`, values normalized as `metric_type` asks. An empty value stays: a
/// label that is there and empty takes the place of a target's label.
pub fn read_series<'a>(
    series: &'a str,
    metric_type: MetricType,
    limits: &LabelLimits,
    labels: &mut Vec<Label<'a>>,
) -> Result<Cow<'a, str>, ParseErrorKind> {
    labels.clear();
    let length = metric_name_length(series);
    let mut name = (length > 0).then(|| Cow::Borrowed(&series[..length]));
    let rest = skip_blanks(&series[length..]);
    match rest.strip_prefix('{') {
        Some(after) => {
            let rest = read_labels(after, &mut name, limits, labels)?;
            if !rest.is_empty() {
                return Err(ParseErrorKind::Spurious(echo(rest)));
            }
        }
        None if rest.is_empty() => {}
        None => return Err(ParseErrorKind::MetricName),
    }
    let name = name.ok_or(ParseErrorKind::MetricName)?;
    limits.check_name(&name)?;
    let number_label = match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => "le",
        MetricType::Summary => "quantile",
        _ => return Ok(name),
    };
    if let Some(label) = labels.iter_mut().find(|label| label.name == number_label)
        && let Some(normalized) = normalized_number(&label.value)
    {
        label.value = Cow::Owned(normalized);
    }
    Ok(name)
}

/// `1` and `1.0` are one bound, written `1.0`; `None` for what is no number.
fn normalized_number(text: &str) -> Option<String> {
    let mut out = format_general(parse_float(text)?);
    if !out.contains(['.', 'e', 'f', 'N']) {
        out.push_str(".0");
    }
    Some(out)
}

/// A line of the text format; `None` where it says nothing.
fn read_line(line: &str) -> Result<Option<Line<'_>>, ParseErrorKind> {
    match line.as_bytes().first() {
        None => Ok(None),
        Some(b'#') => read_comment(&line[1..]),
        Some(b' ' | b'\t') if skip_blanks(line).is_empty() => Ok(None),
        Some(b' ' | b'\t') => Err(ParseErrorKind::LeadingBlanks),
        Some(_) => read_sample(line).map(|sample| Some(Line::Sample(sample))),
    }
}

fn read_comment(comment: &str) -> Result<Option<Line<'_>>, ParseErrorKind> {
    let (keyword, rest) = split_token(skip_blanks(comment));
    let rest = skip_blanks(rest);
    if !comment.starts_with([' ', '\t']) || rest.is_empty() || !["HELP", "TYPE"].contains(&keyword) {
        return Ok(None);
    }
    let (family, rest) = read_family(rest)?;
    let rest = skip_blanks(rest);
    if keyword == "HELP" {
        return Ok(Some(Line::Help { family, help: unescape_help(rest) }));
    }
    let text = rest.trim_end_matches([' ', '\t']);
    // The push dialect knows one more, which no other scraper does.
    let known = parse_type(text).filter(|metric_type| *metric_type != MetricType::GaugeHistogram);
    match known {
        Some(metric_type) => Ok(Some(Line::Type { family, metric_type })),
        None => Err(ParseErrorKind::InvalidType(echo(text))),
    }
}

/// The family a comment speaks of, plain or quoted, and what follows it.
pub(super) fn read_family(text: &str) -> Result<(Cow<'_, str>, &str), ParseErrorKind> {
    let (family, rest) = match text.strip_prefix('"') {
        Some(after) => read_quoted(after)?,
        None => {
            let length = metric_name_length(text);
            (Cow::Borrowed(&text[..length]), &text[length..])
        }
    };
    match family.is_empty() || !(rest.is_empty() || rest.starts_with([' ', '\t'])) {
        true => Err(ParseErrorKind::MetricNameInComment),
        false => Ok((family, rest)),
    }
}

fn read_sample(line: &str) -> Result<SampleLine<'_>, ParseErrorKind> {
    let (series, rest) = split_series(line, true)?;
    let (value, rest) = split_token(skip_blanks(rest));
    let value = parse_float(value).ok_or_else(|| ParseErrorKind::Value(echo(value)))?;
    let rest = skip_blanks(rest);
    if rest.is_empty() {
        return Ok(SampleLine { series, value, timestamp: None, exemplar: None });
    }
    let (text, rest) = split_token(rest);
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let timestamp = text.parse().ok().filter(|_| digits).ok_or_else(|| ParseErrorKind::Timestamp(echo(text)))?;
    match skip_blanks(rest) {
        "" => Ok(SampleLine { series, value, timestamp: Some(timestamp), exemplar: None }),
        rest => Err(ParseErrorKind::Spurious(echo(rest))),
    }
}

/// Splits a line after its series, which may or may not hold blanks outside of quotes.
#[inline]
pub(super) fn split_series(line: &str, blanks: bool) -> Result<(&str, &str), ParseErrorKind> {
    let bytes = line.as_bytes();
    let name = bytes.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t')).unwrap_or(bytes.len());
    let mut brace = name;
    if blanks {
        brace += bytes[name..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    }
    if bytes.get(brace) != Some(&b'{') {
        return match name {
            0 => Err(ParseErrorKind::MetricName),
            _ => Ok(line.split_at(name)),
        };
    }
    let mut at = brace + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'}' => return Ok(line.split_at(at + 1)),
            b'"' => at = after_quoted(bytes, at + 1)?,
            b' ' | b'\t' if !blanks => return Err(ParseErrorKind::SingleSpaces),
            _ => at += 1,
        }
    }
    Err(ParseErrorKind::UnclosedLabels)
}

/// The place after the closing quote of a text that begins at `at`.
#[inline]
fn after_quoted(bytes: &[u8], mut at: usize) -> Result<usize, ParseErrorKind> {
    loop {
        match bytes.get(at) {
            None => return Err(ParseErrorKind::UnclosedQuote),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each line as a text, or the error.
    pub(crate) fn shown(body: &[u8], format: Format) -> Result<Vec<String>, String> {
        let mut lines = Lines::new(body, format).map_err(|error| error.to_string())?;
        let (mut labels, mut out) = (Vec::new(), Vec::new());
        while let Some(line) = lines.next() {
            out.push(match line.map_err(|error| error.to_string())? {
                Line::Sample(SampleLine { series, value, timestamp, .. }) => {
                    let name = read_series(series, lines.metric_type(), &LabelLimits::default(), &mut labels);
                    let name = name.map_err(|error| error.to_string())?;
                    let labels: Vec<String> = labels.iter().map(|l| format!("{}={}", l.name, l.value)).collect();
                    let at = timestamp.map_or_else(String::new, |at| format!(" @{at}"));
                    format!("{name}{{{}}} {value}{at}", labels.join(","))
                }
                Line::Type { family, metric_type } => format!("type {family} {}", metric_type.as_str()),
                Line::Help { family, help } => format!("help {family} {help}"),
                Line::Unit { family, unit } => format!("unit {family} {unit}"),
            });
        }
        Ok(out)
    }

    fn text(body: &str) -> Result<Vec<String>, String> {
        shown(body.as_bytes(), Format::Text)
    }

    #[test]
    fn the_text_format_is_read_as_prometheus_reads_it() {
        for (body, expected) in [
            ("a 1", &["a{} 1"][..]),
            ("", &[]),
            ("\n\n  \n", &[]),
            ("a\t \t1  \nb 2", &["a{} 1", "b{} 2"]),
            ("a {x=\"1\"} 1\n", &["a{x=1} 1"]),
            (
                "# TYPE a gauge\n# TYPE a counter\na 1\n# TYPE a gauge\n",
                &["type a gauge", "type a counter", "a{} 1", "type a gauge"],
            ),
            ("#x\n# x\n#HELP a b\n# HELP\n", &[]),
            ("# HELP a b\\n\\\\ c\n", &["help a b\n\\ c"]),
            ("# HELP a\n# TYPE a untyped\n", &["help a ", "type a unknown"]),
            ("a inf\nb NaN\nc +Inf\nd -infinity\ne 1e3\n", &["a{} inf", "b{} NaN", "c{} inf", "d{} -inf", "e{} 1000"]),
            ("a 1 1700000000000\n", &["a{} 1 @1700000000000"]),
            ("a{x=\"\",y=\"2\",} 1\n", &["a{x=,y=2} 1"]),
            ("{\"a.b\",x=\"é\"} 1\n{\"c d\"} 2\n", &["a.b{x=é} 1", "c d{} 2"]),
            ("a{x=\"q\\\"}b\\\\n\\n\"} 1\n", &["a{x=q\"}b\\n\n} 1"]),
            (
                "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 1\nh_bucket{le=\"1e6\"} 1\n",
                &["type h histogram", "h_bucket{le=1.0} 1", "h_bucket{le=+Inf} 1", "h_bucket{le=1e+06} 1"],
            ),
            (
                "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"1\"} 1\n# TYPE g gauge\ng{le=\"1\"} 1\n",
                &["type s summary", "s{quantile=0.5} 1", "s{quantile=1.0} 1", "type g gauge", "g{le=1} 1"],
            ),
        ] {
            assert_eq!(text(body).as_deref(), Ok(&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..]));
        }
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for (body, expected) in [
            ("a 1\r\n", "line 1: expected float as value, got \"1\r\""),
            ("a 1\n  b 1\n", "line 2: the line begins with blanks"),
            ("# TYPE a unknown\n", "invalid metric type \"unknown\""),
            ("# TYPE a-b gauge\n", "invalid metric name in comment"),
            ("a 0x1p3\n", "expected float"),
            ("a 1_0\n", "expected float"),
            ("a 1 -5\n", "expected integer as timestamp"),
            ("a 1 1.5\n", "expected integer as timestamp"),
            ("a 1 +5\n", "expected integer as timestamp"),
            ("a 1 1 1\n", "spurious string"),
            ("a{x=\"1\",x=\"2\"} 1\n", "duplicate label names"),
            ("a{x=\"1\" 1\n", "not closed"),
            ("a{x=\"1\n\"} 1\n", "not closed"),
            ("a{\n", "not closed"),
            ("a{x=\"\\q\"} 1\n", "invalid escape"),
            ("1a 1\n", "invalid metric name"),
            ("a-b 1\n", "invalid metric name"),
            ("{x=\"1\"} 1\n", "invalid metric name"),
            ("a\n", "expected float as value"),
            ("<html>\n", "expected float"),
        ] {
            let error = text(body).expect_err(body);
            assert!(error.contains(expected), "{body:?}: {error}");
        }
        assert!(shown(b"a 1\nb{x=\"\xff\"} 1\n", Format::Text).unwrap_err().contains("line 2: the body is not UTF-8"));
    }

    #[test]
    fn a_nan_is_never_a_staleness_marker() {
        let Some(Ok(Line::Sample(sample))) = Lines::new(b"a NaN", Format::Text).unwrap().next() else { panic!() };
        assert_eq!(sample.value.to_bits(), 0x7ff8_0000_0000_0001);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body: Vec<u8>) {
            let _ = shown(&body, Format::Text);
            let _ = shown(&body, Format::OpenMetrics);
        }

        #[test]
        fn changed_bodies_are_read_without_panic(at in 0usize..200, byte in "[#a\" {}=,\\\\1\n\r\t.é]") {
            let whole = "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\",x=\"\\n\"} 1 5 # {t=\"\\\"\"} 1 2\n\
                         # UNIT a_s s\n{\"b\",y=\"2\"} NaN\n# EOF\n";
            let at = at % whole.len();
            for text in [format!("{}{byte}{}", &whole[..at], &whole[at..]), format!("{}{byte}{}", &whole[..at], &whole[at + 1..])] {
                let _ = shown(text.as_bytes(), Format::Text);
                let _ = shown(text.as_bytes(), Format::OpenMetrics);
            }
        }
    }
}
