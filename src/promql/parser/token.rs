//! Tokens and how errors name them.

use super::literal::quote;
use crate::promql::ast::{AggregateOp, BinaryOp, Span};

/// Words that shape an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    Anchored,
    Bool,
    By,
    Fill,
    FillLeft,
    FillRight,
    GroupLeft,
    GroupRight,
    Ignoring,
    Offset,
    On,
    Smoothed,
    Without,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    End,
    /// The text is wrong here; what is wrong is kept beside the tokens.
    Error,
    Identifier,
    /// With a colon in it.
    MetricIdentifier,
    Number,
    Duration,
    /// Quotes included.
    Text,
    Op(BinaryOp),
    /// `=~`, `!~`
    Match,
    At,
    Aggregate(AggregateOp),
    Keyword(Keyword),
    /// `start`, `end`, `step`, `range`
    Preprocessor,
    /// `=`
    Assign,
    Comma,
    Colon,
    LeftParen,
    RightParen,
    LeftBrace,
    RightBrace,
    LeftBracket,
    RightBracket,
}

#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: TokenKind,
    pub span: Span,
}

/// Texts longer than this are cut in messages.
const SHOWN_CHARS_MAX: usize = 10;

impl Token {
    /// As error messages name it: `identifier "foo"`, `<op:+>`, `end of input`.
    pub fn describe(self, source: &str) -> String {
        let text = &source[self.span.start..self.span.end];
        let name = match self.kind {
            TokenKind::End => return "end of input".to_owned(),
            TokenKind::Error => "error",
            TokenKind::Identifier => return format!("identifier {}", quote(text)),
            TokenKind::MetricIdentifier => return format!("metric identifier {}", quote(text)),
            TokenKind::Keyword(_) => return format!("<{text}>"),
            TokenKind::Op(_) | TokenKind::Match | TokenKind::At => return format!("<op:{text}>"),
            TokenKind::Aggregate(_) => return format!("<aggr:{text}>"),
            TokenKind::Number => "number ",
            TokenKind::Duration => "duration ",
            TokenKind::Text => "string ",
            _ => "",
        };
        match text.char_indices().nth(SHOWN_CHARS_MAX) {
            Some((cut, _)) => format!("{name}{}...", quote(&text[..cut])),
            None => format!("{name}{}", quote(text)),
        }
    }
}

/// What a word means outside braces and brackets, in any letter case.
pub fn keyword(word: &str) -> Option<TokenKind> {
    // No keyword is longer: spares a copy of most metric names.
    const LENGTH_MAX: usize = 12;
    if word.len() > LENGTH_MAX {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    if let Some(op) = AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower) {
        return Some(TokenKind::Aggregate(op));
    }
    Some(match lower.as_str() {
        "and" => TokenKind::Op(BinaryOp::And),
        "or" => TokenKind::Op(BinaryOp::Or),
        "unless" => TokenKind::Op(BinaryOp::Unless),
        "atan2" => TokenKind::Op(BinaryOp::Atan2),
        "offset" => TokenKind::Keyword(Keyword::Offset),
        "smoothed" => TokenKind::Keyword(Keyword::Smoothed),
        "anchored" => TokenKind::Keyword(Keyword::Anchored),
        "by" => TokenKind::Keyword(Keyword::By),
        "without" => TokenKind::Keyword(Keyword::Without),
        "on" => TokenKind::Keyword(Keyword::On),
        "ignoring" => TokenKind::Keyword(Keyword::Ignoring),
        "group_left" => TokenKind::Keyword(Keyword::GroupLeft),
        "group_right" => TokenKind::Keyword(Keyword::GroupRight),
        "fill" => TokenKind::Keyword(Keyword::Fill),
        "fill_left" => TokenKind::Keyword(Keyword::FillLeft),
        "fill_right" => TokenKind::Keyword(Keyword::FillRight),
        "bool" => TokenKind::Keyword(Keyword::Bool),
        "start" | "end" | "step" | "range" => TokenKind::Preprocessor,
        "inf" | "nan" => TokenKind::Number,
        _ => return None,
    })
}
