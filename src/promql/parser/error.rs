//! What is wrong with a query, and where.

use crate::promql::ast::Span;

/// A text is no PromQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    pub span: Span,
    /// As Prometheus words it, without the position.
    pub message: String,
    /// Line and column of the start, both counted from one, the column in bytes as Prometheus does.
    pub line: usize,
    pub column: usize,
}

impl ParseError {
    pub(super) fn new(text: &str, span: Span, message: impl Into<String>) -> ParseError {
        let (line, column) = position(text, span.start);
        ParseError { span, message: message.into(), line, column }
    }

    /// The line the error stands in and below it carets under the place; for terminals.
    ///
    /// `text` is the query that was parsed. Long lines are shown around the place only.
    pub fn with_caret(&self, text: &str) -> String {
        let start = floor(text, self.span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let shown_start = floor(text, line_start.max(start.saturating_sub(SHOWN_BEFORE_BYTES)));
        let shown_end = floor(text, line_end.min(start + SHOWN_AFTER_BYTES));
        let end = floor(text, self.span.end.clamp(start, shown_end));
        // Tabs stay tabs below themselves, so that the caret stands right whatever their width.
        let indent: String = text[shown_start..start].chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let carets = "^".repeat(text[start..end].chars().count().max(1));
        format!("{self}\n{}\n{indent}{carets}", &text[shown_start..shown_end])
    }
}

/// As the HTTP API answers: `1:4: parse error: unclosed left parenthesis`.
impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}: parse error: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for ParseError {}

/// How much of a long line is shown on either side of the place: one terminal line in all.
const SHOWN_BEFORE_BYTES: usize = 60;
const SHOWN_AFTER_BYTES: usize = 60;

/// Line and column, counted from one, of a byte offset.
pub(crate) fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let line = 1 + before.iter().filter(|b| **b == b'\n').count();
    let column = before.len() - before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1) + 1;
    (line, column)
}

/// The closest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place_in_its_line() {
        let text = "sum(\n\tfoo bar\n)";
        let error = ParseError::new(text, Span { start: 10, end: 13 }, "unexpected");
        assert_eq!(error.to_string(), "2:6: parse error: unexpected");
        assert_eq!(error.with_caret(text), "2:6: parse error: unexpected\n\tfoo bar\n\t    ^^^");
    }

    #[test]
    fn carets_survive_any_place() {
        let text = format!("{}ü(", "ä".repeat(100));
        for at in 0..=text.len() + 3 {
            let error = ParseError::new(&text, Span { start: at, end: at + 1 }, "x");
            assert!(error.with_caret(&text).contains('^'));
        }
        assert!(ParseError::new("", Span::default(), "x").with_caret("").ends_with("\n^"));
    }
}
