//! Lines of OpenMetrics 1.0: one space between tokens, no other comments, `# EOF` at the end.

use super::{
    exposition::{ParseErrorKind, echo, read_labels},
    limits::LabelLimits,
    scraped::{Line, SampleLine, read_family, split_series},
};
use crate::model::{Labels, MetricType, Timestamp, number::parse_float};
use std::borrow::Cow;

/// A line; `None` for `# EOF`.
pub(super) fn read_line(line: &str) -> Result<Option<Line<'_>>, ParseErrorKind> {
    match line.as_bytes().first() {
        None => Err(ParseErrorKind::EmptyLine),
        Some(b'#') if line == "# EOF" => Ok(None),
        Some(b'#') => read_comment(line).map(Some),
        Some(b' ' | b'\t') => Err(ParseErrorKind::LeadingBlanks),
        Some(_) => read_sample(line).map(|sample| Some(Line::Sample(sample))),
    }
}

fn read_comment(line: &str) -> Result<Line<'_>, ParseErrorKind> {
    let rest = line.strip_prefix("# ").ok_or(ParseErrorKind::Comment)?;
    let (keyword, rest) = rest.split_once(' ').ok_or(ParseErrorKind::Comment)?;
    if !["TYPE", "HELP", "UNIT"].contains(&keyword) {
        return Err(ParseErrorKind::Comment);
    }
    let (family, rest) = read_family(rest)?;
    let text = match rest.strip_prefix(' ') {
        Some(text) => text,
        None if rest.is_empty() => rest,
        None => return Err(ParseErrorKind::SingleSpaces),
    };
    match keyword {
        "TYPE" => match parse_type(text) {
            Some(metric_type) => Ok(Line::Type { family, metric_type }),
            None => Err(ParseErrorKind::InvalidType(echo(text))),
        },
        "HELP" => Ok(Line::Help { family, help: unescape(text) }),
        _ if text.is_empty() || family.strip_suffix(text).is_some_and(|start| start.ends_with('_')) => {
            Ok(Line::Unit { family, unit: text })
        }
        _ => Err(ParseErrorKind::Unit { metric: echo(&family), unit: echo(text) }),
    }
}

fn parse_type(text: &str) -> Option<MetricType> {
    Some(match text {
        "counter" => MetricType::Counter,
        "gauge" => MetricType::Gauge,
        "histogram" => MetricType::Histogram,
        "gaugehistogram" => MetricType::GaugeHistogram,
        "summary" => MetricType::Summary,
        "info" => MetricType::Info,
        "stateset" => MetricType::StateSet,
        "unknown" => MetricType::Unknown,
        _ => return None,
    })
}

fn read_sample(line: &str) -> Result<SampleLine<'_>, ParseErrorKind> {
    let (series, rest) = split_series(line, false)?;
    let rest = rest.strip_prefix(' ').ok_or(ParseErrorKind::SingleSpaces)?;
    let (value, mut rest) = split_once_space(rest);
    let value = parse_float(value).ok_or_else(|| ParseErrorKind::Value(echo(value)))?;
    let mut timestamp = None;
    if let Some(after) = rest
        && !after.starts_with('#')
    {
        let (text, after) = split_once_space(after);
        timestamp = Some(parse_timestamp(text)?);
        rest = after;
    }
    if let Some(exemplar) = rest {
        // One that is broken says that the line is.
        read_exemplar(exemplar)?;
    }
    Ok(SampleLine { series, value, timestamp, exemplar: rest })
}

fn split_once_space(text: &str) -> (&str, Option<&str>) {
    text.split_once(' ').map_or((text, None), |(first, rest)| (first, Some(rest)))
}

/// Seconds to milliseconds.
fn parse_timestamp(text: &str) -> Result<Timestamp, ParseErrorKind> {
    let seconds = parse_float(text).filter(|seconds| seconds.is_finite());
    // Beyond the range of a timestamp the cast takes the nearest one, which is out of bounds anyway.
    seconds.map(|seconds| (seconds * 1000.0) as i64).ok_or_else(|| ParseErrorKind::Timestamp(echo(text)))
}

/// Reads an exemplar, `# {labels} value [timestamp]`: its labels, its value, and its time where it has one.
pub fn read_exemplar(text: &str) -> Result<(Labels, f64, Option<Timestamp>), ParseErrorKind> {
    let labels = text.strip_prefix("# {").ok_or(ParseErrorKind::Exemplar)?;
    // A metric name that is there already makes a quoted text alone a mistake.
    let (mut name, mut pairs) = (Some(Cow::Borrowed("")), Vec::new());
    let rest = read_labels(labels, &mut name, &LabelLimits::default(), &mut pairs)?;
    let rest = rest.strip_prefix(' ').ok_or(ParseErrorKind::Exemplar)?;
    let (value, timestamp) = split_once_space(rest);
    let value = parse_float(value).ok_or_else(|| ParseErrorKind::Value(echo(value)))?;
    let timestamp = timestamp.map(parse_timestamp).transpose()?;
    let pairs = pairs.iter().map(|label| (&label.name, &label.value));
    let labels = Labels::from_pairs(pairs).map_err(|_| ParseErrorKind::Exemplar)?;
    Ok((labels, value, timestamp))
}

/// Undoes `\\`, `\n` and `\"`.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(next) = chars.next() {
        match (next, next == '\\') {
            (_, false) => out.push(next),
            _ => match chars.next() {
                Some('n') => out.push('\n'),
                Some(escaped @ ('\\' | '"')) => out.push(escaped),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use crate::protocol::scraped::{Format, Line, Lines};

    fn read(body: &str) -> Result<Vec<String>, String> {
        let lines = Lines::new(body.as_bytes(), Format::OpenMetrics).map_err(|error| error.to_string())?;
        lines
            .map(|line| match line.map_err(|error| error.to_string())? {
                Line::Sample(s) => Ok(format!("{} {} {:?}", s.series, s.value, s.timestamp)),
                Line::Type { family, metric_type } => Ok(format!("type {family} {}", metric_type.as_str())),
                Line::Help { family, help } => Ok(format!("help {family} {help}")),
                Line::Unit { family, unit } => Ok(format!("unit {family} {unit}")),
            })
            .collect()
    }

    #[test]
    fn what_is_valid_is_read() {
        let body = "# HELP m_seconds a \\\"b\\\"\n# TYPE m_seconds counter\n# UNIT m_seconds seconds\n\
                    m_seconds_total{a=\"b c\"} 1.5 1700000000.123 # {trace_id=\"x\"} 0.5 1\n\
                    m_seconds_created 5\n{\"a.b\",c=\"d\"} 2 # {} 1\n# TYPE i info\n# TYPE s stateset\n\
                    # TYPE g gaugehistogram\n# TYPE u unknown\n# EOF\n";
        let expected = [
            "help m_seconds a \"b\"",
            "type m_seconds counter",
            "unit m_seconds seconds",
            "m_seconds_total{a=\"b c\"} 1.5 Some(1700000000123)",
            "m_seconds_created 5 None",
            "{\"a.b\",c=\"d\"} 2 None",
            "type i info",
            "type s stateset",
            "type g gaugehistogram",
            "type u unknown",
        ];
        assert_eq!(read(body).unwrap(), expected);
        assert_eq!(read(body.trim_end()).unwrap(), expected);
        assert_eq!(read("# EOF"), Ok(vec![]));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn what_is_not_is_refused() {
        for (body, expected) in [
            ("a 1\n", "data does not end with # EOF"),
            ("a 1", "data does not end with # EOF"),
            ("# EOF\na 1\n", "unexpected data after # EOF"),
            ("# EOF\n\n", "unexpected data after # EOF"),
            ("a  1\n# EOF", "expected float as value"),
            ("a{x=\"1\", y=\"2\"} 1\n# EOF", "exactly one space"),
            ("a {x=\"1\"} 1\n# EOF", "expected float"),
            ("\n# EOF", "an empty line"),
            (" a 1\n# EOF", "begins with blanks"),
            ("# a comment\n# EOF", "expected a TYPE, HELP, UNIT or EOF line"),
            ("#x\n# EOF", "expected a TYPE"),
            ("# UNIT m seconds\n# EOF", "unit \"seconds\" is not a suffix of metric \"m\""),
            ("# UNIT mseconds seconds\n# EOF", "is not a suffix"),
            ("# TYPE a untyped\n# EOF", "invalid metric type \"untyped\""),
            ("a 1 x\n# EOF", "expected integer as timestamp"),
            ("a 1 NaN\n# EOF", "expected integer as timestamp"),
            ("a 1 # x\n# EOF", "the exemplar is not"),
            ("a 1 # {x=\"1\"}\n# EOF", "the exemplar is not"),
            ("a 1 # {\"x\"} 1\n# EOF", "expected '='"),
            ("a 1 1 1\n# EOF", "the exemplar is not"),
            ("a 1\r\n# EOF\r\n", "expected float"),
        ] {
            let error = read(body).expect_err(body);
            assert!(error.contains(expected), "{body:?}: {error}");
        }
    }
}
