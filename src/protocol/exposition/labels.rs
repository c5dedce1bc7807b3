//! The braces of a sample line: `{a="b",c="d"}`, with the quoted UTF-8 forms.

use super::{
    Label,
    error::{ParseErrorKind, echo},
};
use crate::{model::METRIC_NAME, protocol::limits::LabelLimits};
use std::borrow::Cow;

/// Length of the metric name `text` begins with; 0 where it begins with none.
pub(in crate::protocol) fn metric_name_length(text: &str) -> usize {
    name_length(text, |byte| byte == b':')
}

/// Length of the label name `text` begins with.
fn label_name_length(text: &str) -> usize {
    name_length(text, |_| false)
}

fn name_length(text: &str, extra: impl Fn(u8) -> bool) -> usize {
    let bytes = text.as_bytes();
    if bytes.first().is_some_and(u8::is_ascii_digit) {
        return 0;
    }
    bytes.iter().take_while(|&&b| b.is_ascii_alphanumeric() || b == b'_' || extra(b)).count()
}

/// Skips blanks and tabs.
pub(in crate::protocol) fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// Reads labels from after `{` to after `}` into `labels`, and the metric name where it stands quoted among them.
/// Gives the rest of the line.
pub(in crate::protocol) fn read_labels<'a>(
    mut rest: &'a str,
    metric: &mut Option<Cow<'a, str>>,
    limits: &LabelLimits,
    labels: &mut Vec<Label<'a>>,
) -> Result<&'a str, ParseErrorKind> {
    labels.clear();
    loop {
        rest = skip_blanks(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        if rest.is_empty() {
            return Err(ParseErrorKind::UnclosedLabels);
        }
        let quoted = rest.starts_with('"');
        let (name, after) = read_label_name(rest, metric)?;
        rest = skip_blanks(after);
        match rest.strip_prefix('=') {
            Some(after) => {
                let (value, after) = read_label_value(skip_blanks(after), &name)?;
                push_label(labels, metric, Label { name, value }, limits)?;
                rest = after;
            }
            // A quoted text alone is the metric name.
            None if quoted && metric.is_none() && !name.is_empty() => *metric = Some(name),
            None => return Err(ParseErrorKind::ExpectedEquals(echo(&name))),
        }
        rest = skip_blanks(rest);
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None if rest.starts_with('}') => rest,
            None if rest.is_empty() => return Err(ParseErrorKind::UnclosedLabels),
            None => return Err(ParseErrorKind::ExpectedComma(rest.chars().take(1).collect())),
        };
    }
}

fn read_label_name<'a>(
    rest: &'a str,
    metric: &Option<Cow<'a, str>>,
) -> Result<(Cow<'a, str>, &'a str), ParseErrorKind> {
    if let Some(after) = rest.strip_prefix('"') {
        return read_quoted(after);
    }
    match label_name_length(rest) {
        0 => Err(ParseErrorKind::LabelName(echo(metric.as_deref().unwrap_or_default()))),
        length => Ok((Cow::Borrowed(&rest[..length]), &rest[length..])),
    }
}

fn read_label_value<'a>(rest: &'a str, name: &str) -> Result<(Cow<'a, str>, &'a str), ParseErrorKind> {
    match rest.strip_prefix('"') {
        Some(after) => read_quoted(after),
        None => Err(ParseErrorKind::ExpectedQuote(echo(name))),
    }
}

fn push_label<'a>(
    labels: &mut Vec<Label<'a>>,
    metric: &Option<Cow<'a, str>>,
    label: Label<'a>,
    limits: &LabelLimits,
) -> Result<(), ParseErrorKind> {
    let metric = || echo(metric.as_deref().unwrap_or_default());
    if label.name == METRIC_NAME {
        return Err(ParseErrorKind::ReservedLabel);
    }
    if label.name.is_empty() {
        return Err(ParseErrorKind::LabelName(metric()));
    }
    limits.check_name(&label.name)?;
    limits.check_value(&label.name, &label.value)?;
    if labels.iter().any(|other| other.name == label.name) {
        return Err(ParseErrorKind::DuplicateLabel { metric: metric(), label: echo(&label.name) });
    }
    labels.push(label);
    limits.check_count(labels.len() + 1)?;
    Ok(())
}

/// Reads a quoted text from after its opening quote to after its closing one.
pub(in crate::protocol) fn read_quoted(text: &str) -> Result<(Cow<'_, str>, &str), ParseErrorKind> {
    let stop = text.find(['"', '\\']).ok_or(ParseErrorKind::UnclosedQuote)?;
    if text.as_bytes()[stop] == b'"' {
        return Ok((Cow::Borrowed(&text[..stop]), &text[stop + 1..]));
    }
    let mut value = text[..stop].to_owned();
    let mut chars = text[stop..].char_indices();
    while let Some((at, next)) = chars.next() {
        match next {
            '"' => return Ok((Cow::Owned(value), &text[stop + at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                Some((_, other)) => return Err(ParseErrorKind::Escape(other)),
                None => return Err(ParseErrorKind::UnclosedQuote),
            },
            other => value.push(other),
        }
    }
    Err(ParseErrorKind::UnclosedQuote)
}
