//! What can be wrong with a body in the text format, and what to do about it.

use crate::protocol::limits::LabelLimitError;

/// Echoed parts of a body are cut to this many characters.
const ECHO_CHARS_MAX: usize = 64;

/// A body that is not in the text format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("text format parsing error in line {line}: {kind}")]
pub struct ParseError {
    /// Counted from 1.
    pub line: usize,
    pub kind: ParseErrorKind,
}

/// What is wrong with the line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    #[error("invalid metric name")]
    MetricName,
    #[error("invalid metric name in comment")]
    MetricNameInComment,
    #[error("unknown metric type \"{0}\" (use counter, gauge, histogram, summary or untyped)")]
    UnknownType(String),
    #[error("second TYPE line for metric name \"{0}\", or TYPE reported after samples")]
    SecondType(String),
    #[error("second HELP line for metric name \"{0}\"")]
    SecondHelp(String),
    #[error("invalid label name for metric \"{0}\"")]
    LabelName(String),
    #[error("label name \"__name__\" is reserved")]
    ReservedLabel,
    #[error("duplicate label names for metric \"{metric}\": \"{label}\"")]
    DuplicateLabel { metric: String, label: String },
    #[error("expected '=' after label name \"{0}\"")]
    ExpectedEquals(String),
    #[error("expected '\"' at start of the value of label \"{0}\"")]
    ExpectedQuote(String),
    #[error("expected ',' or '}}' after label value, found \"{0}\"")]
    ExpectedComma(String),
    #[error("the label list is not closed: '}}' is missing")]
    UnclosedLabels,
    #[error("a quoted text is not closed: '\"' is missing")]
    UnclosedQuote,
    #[error("invalid escape sequence '\\{0}' (only \\\\, \\\" and \\n are known)")]
    Escape(char),
    #[error("expected float as value, got \"{0}\"")]
    Value(String),
    #[error("expected integer as timestamp, got \"{0}\"")]
    Timestamp(String),
    #[error("spurious string after timestamp: \"{0}\"")]
    Spurious(String),
    #[error("the body is not UTF-8")]
    Utf8,
    #[error("the line begins with blanks")]
    LeadingBlanks,
    #[error("invalid metric type \"{0}\"")]
    InvalidType(String),
    #[error("tokens are separated by exactly one space")]
    SingleSpaces,
    #[error("expected a TYPE, HELP, UNIT or EOF line after \"#\"")]
    Comment,
    #[error("unit \"{unit}\" is not a suffix of metric \"{metric}\"")]
    Unit { metric: String, unit: String },
    #[error("the exemplar is not of the form `# {{labels}} value [timestamp]`")]
    Exemplar,
    #[error("data does not end with # EOF")]
    NoEof,
    #[error("unexpected data after # EOF")]
    AfterEof,
    #[error("an empty line")]
    EmptyLine,
    #[error("the line is {found} bytes long, the limit is {limit}")]
    LineTooLong { found: usize, limit: usize },
    #[error("the body has more than {limit} samples; push it in parts, under more specific grouping keys")]
    TooManySamples { limit: usize },
    #[error(transparent)]
    LabelLimit(#[from] LabelLimitError),
    #[error(
        "{0}; the body has no line break: `curl -d @FILE` strips them, send the file with `curl --data-binary @FILE`"
    )]
    LineBreaksStripped(Box<ParseErrorKind>),
    #[error("there are only comments")]
    OnlyComments,
}

/// The start of a text, for an error.
pub(in crate::protocol) fn echo(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS_MAX) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}
