//! Lengths of time in brackets and after `offset`: a literal, or arithmetic over literals, `step()` and `range()`.

use super::grammar::{Node, Parsed, Parser, deeper, wrong};
use super::token::{Token, TokenKind};
use crate::promql::ast::{BinaryOp, DurationExpr, DurationKind, DurationNode, Span};

/// Prometheus counts nanoseconds in 64 bits: some 292 years.
const SECONDS_MAX: f64 = 9_223_372_036.0;

type Duration = Node<DurationNode>;

impl Parser<'_> {
    /// A range or a step.
    pub(super) fn positive_duration(&mut self) -> Parsed<DurationExpr> {
        let node = self.duration(SUM)?.tree;
        match node.kind {
            DurationKind::Number { seconds, .. } => match milliseconds(seconds) {
                ms if ms > 0 => Ok(DurationExpr::Literal(ms)),
                _ => wrong(node.span, "duration must be greater than 0"),
            },
            _ => Ok(DurationExpr::Computed(Box::new(node))),
        }
    }

    /// After `offset` only a signed operand is read, so that `foo offset 5m + 2` adds to the values of `foo`.
    pub(super) fn offset(&mut self) -> Parsed<DurationExpr> {
        let node = self.duration_unary(UNSIGNED)?.tree;
        match node.kind {
            DurationKind::Number { seconds, .. } => Ok(DurationExpr::Literal(milliseconds(seconds))),
            _ => Ok(DurationExpr::Computed(Box::new(node))),
        }
    }

    fn duration(&mut self, weakest: u8) -> Parsed<Duration> {
        self.nested(|parser| {
            let mut left = parser.duration_unary(POWER)?;
            while let TokenKind::Op(op) = parser.peek().kind {
                let strength = strength(op);
                if strength < weakest {
                    break;
                }
                let op_span = parser.bump().span;
                let right = parser.duration(if op == BinaryOp::Pow { POWER } else { strength + 1 })?;
                left = binary(left, op, op_span, right)?;
            }
            Ok(left)
        })
    }

    /// A sign and its operand, which reaches as far as operators of `operand_strength`.
    fn duration_unary(&mut self, operand_strength: u8) -> Parsed<Duration> {
        let sign = self.peek();
        let negative = match sign.kind {
            TokenKind::Op(BinaryOp::Add) => false,
            TokenKind::Op(BinaryOp::Sub) => true,
            _ => return self.duration_operand(),
        };
        self.bump();
        let mut node = match operand_strength {
            UNSIGNED => self.duration_operand()?,
            _ => self.duration(operand_strength)?,
        };
        let span = Span { start: sign.span.start, end: node.tree.span.end };
        match &mut node.tree.kind {
            DurationKind::Number { seconds, .. } => {
                if negative {
                    *seconds = -*seconds;
                }
                node.tree.span = span;
                Ok(node)
            }
            _ if !negative => Ok(node),
            _ => {
                let depth = deeper(node.depth, span)?;
                Ok(Node { tree: DurationNode { span, kind: DurationKind::Negate(Box::new(node.tree)) }, depth })
            }
        }
    }

    fn duration_operand(&mut self) -> Parsed<Duration> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let as_duration = token.kind == TokenKind::Duration;
                let seconds = self.number()?;
                if seconds.is_nan() || seconds.abs() > SECONDS_MAX {
                    return wrong(token.span, "duration out of range");
                }
                Ok(leaf(token.span, DurationKind::Number { seconds, as_duration }))
            }
            TokenKind::LeftParen => {
                self.bump();
                let inner = self.duration(SUM)?;
                self.expect(TokenKind::RightParen)?;
                let span = self.span_from(token.span.start);
                let depth = deeper(inner.depth, span)?;
                Ok(Node { tree: DurationNode { span, kind: DurationKind::Paren(Box::new(inner.tree)) }, depth })
            }
            TokenKind::Preprocessor | TokenKind::Identifier => self.duration_call(token),
            _ => self.unexpected(),
        }
    }

    fn duration_call(&mut self, name: Token) -> Parsed<Duration> {
        let word = self.source(name).to_ascii_lowercase();
        let leaf_kind = match word.as_str() {
            "step" => Some(DurationKind::Step),
            "range" => Some(DurationKind::Range),
            "min_of" | "max_of" => None,
            _ => return self.unexpected(),
        };
        self.bump();
        self.expect(TokenKind::LeftParen)?;
        if let Some(kind) = leaf_kind {
            self.expect(TokenKind::RightParen)?;
            return Ok(leaf(self.span_from(name.span.start), kind));
        }
        let left = self.duration(SUM)?;
        self.expect(TokenKind::Comma)?;
        let right = self.duration(SUM)?;
        self.expect(TokenKind::RightParen)?;
        let span = self.span_from(name.span.start);
        let depth = deeper(left.depth.max(right.depth), span)?;
        let (left, right) = (Box::new(left.tree), Box::new(right.tree));
        let kind = if word == "min_of" { DurationKind::MinOf(left, right) } else { DurationKind::MaxOf(left, right) };
        Ok(Node { tree: DurationNode { span, kind }, depth })
    }
}

/// Binding strength, as among expressions; the last one binds nothing.
const SUM: u8 = 1;
const PRODUCT: u8 = 2;
const POWER: u8 = 3;
const UNSIGNED: u8 = 4;

fn strength(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Add | BinaryOp::Sub => SUM,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod => PRODUCT,
        BinaryOp::Pow => POWER,
        _ => 0,
    }
}

fn leaf(span: Span, kind: DurationKind) -> Duration {
    Node { tree: DurationNode { span, kind }, depth: 1 }
}

fn binary(left: Duration, op: BinaryOp, op_span: Span, right: Duration) -> Parsed<Duration> {
    if matches!(right.tree.kind, DurationKind::Number { seconds: 0.0, .. }) {
        match op {
            BinaryOp::Div => return wrong(op_span, "division by zero"),
            BinaryOp::Mod => return wrong(op_span, "modulo by zero"),
            _ => {}
        }
    }
    let span = Span { start: left.tree.span.start, end: right.tree.span.end };
    let depth = deeper(left.depth.max(right.depth), op_span)?;
    let kind = DurationKind::Binary { op, left: Box::new(left.tree), right: Box::new(right.tree) };
    Ok(Node { tree: DurationNode { span, kind }, depth })
}

/// Within bounds: the operand was checked.
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
