//! Selectors: names, braces, ranges and what may follow them.

use super::error::ParseError;
use super::grammar::{Node, ParseOptions, Parsed, Parser, deeper, wrong};
use super::token::{Keyword, TokenKind};
use crate::model::{METRIC_NAME, MatchOp, Matcher};
use crate::promql::ast::{
    At, BinaryOp, DurationExpr, Expr, ExprKind, Extension, MatrixSelector, Span, Subquery, VectorSelector,
};

/// Parses a vector selector without range, offset or `@`, as in `match[]`. `{}` passes: whether it may select
/// everything is the caller's to decide.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    let mut parser = Parser::new(text, ParseOptions::default())?;
    let result = parser.vector_selector().and_then(|node| match parser.peek().kind {
        TokenKind::End => Ok(node.tree),
        _ => parser.unexpected(),
    });
    match result.map_err(|failure| parser.error(failure))?.kind {
        ExprKind::Vector(selector) => Ok(selector.matchers),
        // `vector_selector` builds nothing else.
        _ => Ok(Vec::new()),
    }
}

/// Where a selector keeps what its modifiers say.
struct Modified<'a> {
    offset: &'a mut Option<DurationExpr>,
    at: &'a mut Option<At>,
}

impl Parser<'_> {
    pub(super) fn vector_selector(&mut self) -> Parsed<Node<Expr>> {
        let first = self.peek();
        let metric = is_metric_name(first.kind).then(|| self.bump()).map(|token| self.source(token).to_owned());
        let mut matchers = Vec::new();
        if self.peek().kind == TokenKind::LeftBrace {
            self.bump();
            self.matchers(&mut matchers)?;
        } else if metric.is_none() {
            return self.unexpected();
        }
        if let Some(name) = &metric {
            matchers.push(Matcher::equal(METRIC_NAME, name));
        }
        let selector = VectorSelector { metric, matchers, offset: None, at: None, extension: Extension::None };
        let span = self.span_from(first.span.start);
        Ok(Node { tree: Expr { span, kind: ExprKind::Vector(Box::new(selector)) }, depth: 1 })
    }

    /// The opening brace has been read.
    fn matchers(&mut self, matchers: &mut Vec<Matcher>) -> Parsed<()> {
        while self.eat(TokenKind::RightBrace).is_none() {
            let result = self.matcher();
            matchers.push(self.within(result, "label matching, expected identifier or \"}\"")?);
            if self.eat(TokenKind::Comma).is_none() {
                let closing = self.expect(TokenKind::RightBrace);
                self.within(closing, "label matching, expected \",\" or \"}\"")?;
                break;
            }
        }
        Ok(())
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let label = self.peek();
        let name = match label.kind {
            TokenKind::Identifier => {
                self.bump();
                self.source(label).to_owned()
            }
            TokenKind::Text => {
                self.bump();
                let name = self.unquote(label)?;
                if !matches!(self.peek().kind, TokenKind::Assign | TokenKind::Match | TokenKind::Op(BinaryOp::NotEqual))
                {
                    return Ok(Matcher::equal(METRIC_NAME, &name));
                }
                name
            }
            _ => return self.unexpected(),
        };
        let operator = self.match_op();
        let op = self.within(operator, "label matching, expected label matching operator")?;
        let text = self.expect(TokenKind::Text);
        let text = self.within(text, "label matching, expected string")?;
        let value = self.unquote(text)?;
        Matcher::new(op, &name, &value).or_else(|error| {
            let span = Span { start: label.span.start, end: text.span.end };
            wrong(span, error.to_string())
        })
    }

    fn match_op(&mut self) -> Parsed<MatchOp> {
        let token = self.peek();
        let op = match token.kind {
            TokenKind::Assign => MatchOp::Equal,
            TokenKind::Op(BinaryOp::NotEqual) => MatchOp::NotEqual,
            TokenKind::Match if self.source(token) == "=~" => MatchOp::Regex,
            TokenKind::Match => MatchOp::NotRegex,
            _ => return self.unexpected(),
        };
        self.bump();
        Ok(op)
    }

    /// `(a, "b", c)` after `by`, `on` and their like.
    pub(super) fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        let opening = self.expect(TokenKind::LeftParen);
        self.within(opening, "grouping opts, expected \"(\"")?;
        let mut labels = Vec::new();
        while self.eat(TokenKind::RightParen).is_none() {
            let label = self.grouping_label();
            labels.push(self.within(label, "grouping opts, expected label")?);
            if self.eat(TokenKind::Comma).is_none() {
                let closing = self.expect(TokenKind::RightParen);
                self.within(closing, "grouping opts, expected \",\" or \")\"")?;
                break;
            }
        }
        Ok(labels)
    }

    fn grouping_label(&mut self) -> Parsed<String> {
        let token = self.peek();
        match token.kind {
            TokenKind::Text => {
                self.bump();
                let label = self.unquote(token)?;
                if label.is_empty() {
                    return wrong(token.span, "invalid label name for grouping: \"\"");
                }
                Ok(label)
            }
            kind if is_label(kind) => {
                self.bump();
                Ok(self.source(token).to_owned())
            }
            _ => self.unexpected(),
        }
    }

    /// Ranges, `offset`, `@` and the like behind an expression, as many as there are.
    pub(super) fn modifiers(&mut self, mut node: Node<Expr>) -> Parsed<Node<Expr>> {
        loop {
            let token = self.peek();
            match token.kind {
                TokenKind::LeftBracket => node = self.range(node)?,
                TokenKind::Keyword(Keyword::Offset) => {
                    self.bump();
                    let offset = self.offset();
                    let offset = self.within(offset, "offset, expected number, duration, step(), or range()")?;
                    self.set_offset(&mut node.tree, offset)?;
                }
                TokenKind::At => {
                    self.bump();
                    let at = self.at_modifier(&node.tree);
                    let at = self.within(at, "@, expected timestamp")?;
                    self.set_at(&mut node.tree, at)?;
                }
                TokenKind::Keyword(keyword @ (Keyword::Anchored | Keyword::Smoothed)) => {
                    self.bump();
                    self.set_extension(&mut node.tree, keyword)?;
                }
                _ => return Ok(node),
            }
        }
    }

    fn range(&mut self, node: Node<Expr>) -> Parsed<Node<Expr>> {
        let bracket = self.bump();
        let range = self.positive_duration();
        let range = self.within(range, "subquery or range selector, expected number, duration, step(), or range()")?;
        if self.peek().kind == TokenKind::Colon {
            self.bump();
            return self.subquery(node, range);
        }
        let closing = self.expect(TokenKind::RightBracket);
        self.within(closing, "subquery or range, expected \":\" or \"]\"")?;
        let start = node.tree.span.start;
        let vector_span = node.tree.span;
        let bracket_span = self.span_from(bracket.span.start);
        let ExprKind::Vector(vector) = node.tree.kind else {
            return wrong(bracket_span, "ranges only allowed for vector selectors");
        };
        if vector.offset.is_some() {
            return wrong(bracket_span, "no offset modifiers allowed before range");
        }
        if vector.at.is_some() {
            return wrong(bracket_span, "no @ modifiers allowed before range");
        }
        let matrix = MatrixSelector { vector: *vector, vector_span, range };
        let tree = Expr { span: self.span_from(start), kind: ExprKind::Matrix(Box::new(matrix)) };
        Ok(Node { tree, depth: node.depth })
    }

    /// The colon has been read.
    fn subquery(&mut self, node: Node<Expr>, range: DurationExpr) -> Parsed<Node<Expr>> {
        let mut step = None;
        if self.peek().kind != TokenKind::RightBracket {
            let given = self.positive_duration();
            step = Some(self.within(given, "subquery selector, expected number, duration, step(), range(), or \"]\"")?);
        }
        let closing = self.expect(TokenKind::RightBracket);
        self.within(closing, "subquery selector, expected \"]\"")?;
        let span = self.span_from(node.tree.span.start);
        let depth = deeper(node.depth, span)?;
        let subquery = Subquery { operand: node.tree, range, step, offset: None, at: None };
        Ok(Node { tree: Expr { span, kind: ExprKind::Subquery(Box::new(subquery)) }, depth })
    }

    fn at_modifier(&mut self, target: &Expr) -> Parsed<At> {
        let token = self.peek();
        if token.kind == TokenKind::Preprocessor {
            let word = self.source(token).to_ascii_lowercase();
            let at = match word.as_str() {
                "start" => At::Start,
                "end" => At::End,
                _ => return self.unexpected(),
            };
            self.bump();
            self.expect(TokenKind::LeftParen)?;
            self.expect(TokenKind::RightParen)?;
            return Ok(at);
        }
        let seconds = self.signed_number()?;
        let ms = (seconds * 1000.0).round();
        // As wide as milliseconds reach; NaN fails both comparisons.
        if !(ms < i64::MAX as f64 && ms > i64::MIN as f64) {
            let mut shown = String::new();
            push_fixed(&mut shown, seconds);
            return wrong(target.span, format!("timestamp out of bounds for @ modifier: {shown}"));
        }
        Ok(At::Time(ms as i64))
    }

    fn set_at(&self, target: &mut Expr, at: At) -> Parsed<()> {
        let span = target.span;
        let Some(modified) = modified(target) else {
            return wrong(
                span,
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            );
        };
        if modified.at.replace(at).is_some() {
            return wrong(span, "@ <timestamp> may not be set multiple times");
        }
        target.span = self.span_from(span.start);
        Ok(())
    }

    fn set_offset(&self, target: &mut Expr, offset: DurationExpr) -> Parsed<()> {
        let span = target.span;
        let Some(modified) = modified(target) else {
            return wrong(
                span,
                "offset modifier must be preceded by an instant vector selector or range vector selector or a \
                 subquery",
            );
        };
        if modified.offset.replace(offset).is_some() {
            return wrong(span, "offset may not be set multiple times");
        }
        target.span = self.span_from(span.start);
        Ok(())
    }

    fn set_extension(&self, target: &mut Expr, keyword: Keyword) -> Parsed<()> {
        let span = target.span;
        let (name, extension) = match keyword {
            Keyword::Anchored => ("anchored", Extension::Anchored),
            _ => ("smoothed", Extension::Smoothed),
        };
        if !self.options.extended_selectors {
            return wrong(
                span,
                format!(
                    "{name} modifier is experimental and not enabled: start with \
                     --enable-feature=promql-extended-range-selectors"
                ),
            );
        }
        let selector = match &mut target.kind {
            ExprKind::Vector(vector) => vector.as_mut(),
            ExprKind::Matrix(matrix) => &mut matrix.vector,
            ExprKind::Subquery(_) => return wrong(span, format!("{name} modifier is not supported for subqueries")),
            _ => return wrong(span, format!("{name} modifier not implemented")),
        };
        if selector.extension != Extension::None && selector.extension != extension {
            return wrong(span, "anchored and smoothed modifiers cannot be used together");
        }
        selector.extension = extension;
        target.span = self.span_from(span.start);
        Ok(())
    }
}

fn modified(target: &mut Expr) -> Option<Modified<'_>> {
    match &mut target.kind {
        ExprKind::Vector(vector) => Some(Modified { offset: &mut vector.offset, at: &mut vector.at }),
        ExprKind::Matrix(matrix) => Some(Modified { offset: &mut matrix.vector.offset, at: &mut matrix.vector.at }),
        ExprKind::Subquery(subquery) => Some(Modified { offset: &mut subquery.offset, at: &mut subquery.at }),
        _ => None,
    }
}

/// As Go prints `%f`.
fn push_fixed(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(&format!("{value:.6}"));
    } else {
        crate::model::number::push_plain(out, value);
    }
}

/// Words that may name a metric; most keywords may.
fn is_metric_name(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::Preprocessor
        | TokenKind::Op(BinaryOp::And | BinaryOp::Or | BinaryOp::Unless) => true,
        TokenKind::Keyword(keyword) => {
            matches!(keyword, Keyword::By | Keyword::Offset | Keyword::Without | Keyword::Anchored | Keyword::Smoothed)
        }
        _ => false,
    }
}

/// Words that may name a label after `by` and its like.
fn is_label(kind: TokenKind) -> bool {
    match kind {
        TokenKind::Op(op) => {
            matches!(op, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless | BinaryOp::Atan2)
        }
        TokenKind::Identifier
        | TokenKind::MetricIdentifier
        | TokenKind::Aggregate(_)
        | TokenKind::Preprocessor
        | TokenKind::Keyword(_) => true,
        _ => false,
    }
}
