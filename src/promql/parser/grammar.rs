//! The grammar of expressions, by precedence climbing.

use super::check::check;
use super::error::ParseError;
use super::lexer::{Tokens, lex};
use super::literal;
use super::token::{Keyword, Token, TokenKind};
use crate::model::time::{DurationError, parse_duration_ms};
use crate::promql::ast::{
    Aggregate, AggregateOp, Binary, BinaryOp, Call, Cardinality, Expr, ExprKind, Span, VectorMatching,
};
use crate::promql::functions::{self, Function};

/// Longer texts are refused: no person writes them, and the tree of one takes some 50 times its size.
pub const TEXT_BYTES_MAX: usize = 64 << 10;
/// Nodes on the longest way down a tree. It bounds the stack of everything that recurses over one; people write a
/// dozen levels, generated `a or b or c ...` some hundred.
pub const DEPTH_MAX: usize = 400;
/// Rules within each other while parsing. Lower, because they take more stack than those who walk the tree: 8 KiB a
/// level without optimisation, so 1.2 of the 2 MiB a thread has. A long chain of operators nests none.
pub(super) const NESTING_MAX: usize = 150;

/// Syntax that is off unless asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ParseOptions {
    /// Functions and aggregations marked experimental (`promql-experimental-functions`).
    pub experimental_functions: bool,
    /// `anchored` and `smoothed` (`promql-extended-range-selectors`).
    pub extended_selectors: bool,
    /// `fill`, `fill_left` and `fill_right` (`promql-binop-fill-modifiers`).
    pub fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything on.
    pub fn all() -> ParseOptions {
        ParseOptions { experimental_functions: true, extended_selectors: true, fill_modifiers: true }
    }
}

/// Parses and type-checks an expression. The first mistake is the error.
pub fn parse(text: &str, options: &ParseOptions) -> Result<Expr, ParseError> {
    let mut parser = Parser::new(text, *options)?;
    let mut expr = parser.whole_expression().map_err(|failure| parser.error(failure))?;
    check(text, &mut expr)?;
    Ok(expr)
}

/// Why parsing stopped.
pub(super) enum Failure {
    /// The token cannot stand here. The innermost rule that knows what it is reading says so in its own words.
    Unexpected(Token),
    Wrong(Span, String),
}

pub(super) type Parsed<T> = Result<T, Failure>;

pub(super) fn wrong<T>(span: Span, message: impl Into<String>) -> Parsed<T> {
    Err(Failure::Wrong(span, message.into()))
}

/// A subtree and how deep it is.
pub(super) struct Node<T> {
    pub tree: T,
    pub depth: usize,
}

pub(super) struct Parser<'a> {
    pub text: &'a str,
    tokens: Tokens,
    at: usize,
    pub options: ParseOptions,
    /// How deep the rules stand in each other.
    nesting: usize,
}

/// Binding strength, weakest first.
const WEAKEST: u8 = 1;
const UNARY_OPERAND: u8 = 6;

fn strength(op: BinaryOp) -> u8 {
    use BinaryOp::*;
    match op {
        Or => WEAKEST,
        And | Unless => 2,
        Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual | TrimUpper | TrimLower => 3,
        Add | Sub => 4,
        Mul | Div | Mod | Atan2 => 5,
        Pow => UNARY_OPERAND,
    }
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str, options: ParseOptions) -> Result<Parser<'a>, ParseError> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!(
                "query is {} bytes long, at most {TEXT_BYTES_MAX} are allowed: record parts of it with a recording rule",
                text.len()
            );
            return Err(ParseError::new(text, Span::default(), message));
        }
        Ok(Parser { text, tokens: lex(text), at: 0, options, nesting: 0 })
    }

    pub(super) fn error(&self, failure: Failure) -> ParseError {
        match failure {
            Failure::Unexpected(token) => self.unexpected_error(token, ""),
            Failure::Wrong(span, message) => ParseError::new(self.text, span, message),
        }
    }

    fn unexpected_error(&self, token: Token, context: &str) -> ParseError {
        match &self.tokens.error {
            // What the lexer found says more than where the grammar met it.
            Some((span, message)) if token.kind == TokenKind::Error => ParseError::new(self.text, *span, message),
            _ => {
                let message = format!("unexpected {}{context}", token.describe(self.text));
                ParseError::new(self.text, token.span, message)
            }
        }
    }

    /// Words an unexpected token within `result` as ` in {context}`, unless a rule further in has.
    pub(super) fn within<T>(&self, result: Parsed<T>, context: &str) -> Parsed<T> {
        result.map_err(|failure| match failure {
            Failure::Unexpected(token) => {
                let error = self.unexpected_error(token, &format!(" in {context}"));
                Failure::Wrong(error.span, error.message)
            }
            other => other,
        })
    }

    pub(super) fn peek(&self) -> Token {
        self.tokens.list[self.at]
    }

    fn peek_second(&self) -> TokenKind {
        self.tokens.list.get(self.at + 1).map_or(TokenKind::End, |token| token.kind)
    }

    /// Takes a token; never past the last one.
    pub(super) fn bump(&mut self) -> Token {
        let token = self.peek();
        if self.at + 1 < self.tokens.list.len() {
            self.at += 1;
        }
        token
    }

    pub(super) fn eat(&mut self, kind: TokenKind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.bump())
    }

    pub(super) fn expect(&mut self, kind: TokenKind) -> Parsed<Token> {
        self.eat(kind).ok_or(Failure::Unexpected(self.peek()))
    }

    pub(super) fn unexpected<T>(&self) -> Parsed<T> {
        Err(Failure::Unexpected(self.peek()))
    }

    pub(super) fn source(&self, token: Token) -> &'a str {
        &self.text[token.span.start..token.span.end]
    }

    /// Everything from `start` to the token read last.
    pub(super) fn span_from(&self, start: usize) -> Span {
        let end = self.at.checked_sub(1).map_or(start, |at| self.tokens.list[at].span.end);
        Span { start, end: end.max(start) }
    }

    /// Runs a rule one level further in.
    pub(super) fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return too_deep(NESTING_MAX, self.peek().span);
        }
        self.nesting += 1;
        let result = rule(self);
        self.nesting -= 1;
        result
    }

    fn whole_expression(&mut self) -> Parsed<Expr> {
        if self.peek().kind == TokenKind::End {
            return wrong(Span::default(), "no expression found in input");
        }
        let node = self.expression(WEAKEST)?;
        match self.peek().kind {
            TokenKind::End => Ok(node.tree),
            _ => self.unexpected(),
        }
    }

    fn expression(&mut self, weakest: u8) -> Parsed<Node<Expr>> {
        self.nested(|parser| {
            let mut left = parser.unary()?;
            while let TokenKind::Op(op) = parser.peek().kind {
                if strength(op) < weakest {
                    break;
                }
                left = parser.binary(left, op)?;
            }
            Ok(left)
        })
    }

    fn binary(&mut self, left: Node<Expr>, op: BinaryOp) -> Parsed<Node<Expr>> {
        let op_span = self.bump().span;
        let return_bool = self.eat(TokenKind::Keyword(Keyword::Bool)).is_some();
        let matching = self.vector_matching(op)?;
        // `^` takes everything to its right, the others stop at their own strength.
        let right_strength = if op == BinaryOp::Pow { strength(op) } else { strength(op) + 1 };
        let right = self.expression(right_strength)?;
        let span = Span { start: left.tree.span.start, end: right.tree.span.end };
        if !self.options.fill_modifiers && (matching.fill_left.is_some() || matching.fill_right.is_some()) {
            return wrong(
                span,
                "binop fill modifiers are experimental and not enabled: start with \
                 --enable-feature=promql-binop-fill-modifiers",
            );
        }
        let depth = deeper(left.depth.max(right.depth), op_span)?;
        let binary = Binary { op, op_span, return_bool, left: left.tree, right: right.tree, matching: Some(matching) };
        Ok(Node { tree: Expr { span, kind: ExprKind::Binary(Box::new(binary)) }, depth })
    }

    fn vector_matching(&mut self, op: BinaryOp) -> Parsed<VectorMatching> {
        let cardinality = if op.is_set() { Cardinality::ManyToMany } else { Cardinality::OneToOne };
        let mut matching = VectorMatching {
            cardinality,
            on: false,
            labels: Vec::new(),
            include: Vec::new(),
            fill_left: None,
            fill_right: None,
        };
        if let TokenKind::Keyword(keyword @ (Keyword::On | Keyword::Ignoring)) = self.peek().kind {
            self.bump();
            matching.on = keyword == Keyword::On;
            matching.labels = self.grouping_labels()?;
            if let TokenKind::Keyword(side @ (Keyword::GroupLeft | Keyword::GroupRight)) = self.peek().kind {
                self.bump();
                matching.cardinality =
                    if side == Keyword::GroupLeft { Cardinality::ManyToOne } else { Cardinality::OneToMany };
                if self.peek().kind == TokenKind::LeftParen {
                    matching.include = self.grouping_labels()?;
                }
            }
        }
        self.fill_modifiers(&mut matching)?;
        Ok(matching)
    }

    fn fill_modifiers(&mut self, matching: &mut VectorMatching) -> Parsed<()> {
        if self.eat(TokenKind::Keyword(Keyword::Fill)).is_some() {
            let value = self.fill_value()?;
            matching.fill_left = Some(value);
            matching.fill_right = Some(value);
            return Ok(());
        }
        loop {
            match self.peek().kind {
                TokenKind::Keyword(Keyword::FillLeft) if matching.fill_left.is_none() => {
                    self.bump();
                    matching.fill_left = Some(self.fill_value()?);
                }
                TokenKind::Keyword(Keyword::FillRight) if matching.fill_right.is_none() => {
                    self.bump();
                    matching.fill_right = Some(self.fill_value()?);
                }
                _ => return Ok(()),
            }
        }
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(TokenKind::LeftParen)?;
        let value = self.signed_number()?;
        self.expect(TokenKind::RightParen)?;
        Ok(value)
    }

    fn unary(&mut self) -> Parsed<Node<Expr>> {
        let token = self.peek();
        let negative = match token.kind {
            TokenKind::Op(BinaryOp::Add) => false,
            TokenKind::Op(BinaryOp::Sub) => true,
            _ => {
                let primary = self.primary()?;
                return self.modifiers(primary);
            }
        };
        self.bump();
        let mut operand = self.expression(UNARY_OPERAND)?;
        let span = Span { start: token.span.start, end: operand.tree.span.end };
        if let ExprKind::Number { value, .. } = &mut operand.tree.kind {
            if negative {
                *value = -*value;
            }
            operand.tree.span = span;
            return Ok(operand);
        }
        let depth = deeper(operand.depth, token.span)?;
        let kind = ExprKind::Unary { negative, operand: Box::new(operand.tree) };
        Ok(Node { tree: Expr { span, kind }, depth })
    }

    fn primary(&mut self) -> Parsed<Node<Expr>> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => {
                let as_duration = token.kind == TokenKind::Duration;
                let kind = ExprKind::Number { value: self.number()?, as_duration };
                Ok(Node { tree: Expr { span: token.span, kind }, depth: 1 })
            }
            TokenKind::Text => {
                self.bump();
                let kind = ExprKind::Text(self.unquote(token)?);
                Ok(Node { tree: Expr { span: token.span, kind }, depth: 1 })
            }
            TokenKind::LeftParen => {
                self.bump();
                let inner = self.expression(WEAKEST)?;
                self.expect(TokenKind::RightParen)?;
                let depth = deeper(inner.depth, token.span)?;
                let span = self.span_from(token.span.start);
                Ok(Node { tree: Expr { span, kind: ExprKind::Paren(Box::new(inner.tree)) }, depth })
            }
            TokenKind::Aggregate(op)
                if matches!(
                    self.peek_second(),
                    TokenKind::LeftParen | TokenKind::Keyword(Keyword::By | Keyword::Without)
                ) =>
            {
                self.bump();
                let result = self.aggregate(op, token);
                self.within(result, "aggregation")
            }
            TokenKind::Identifier | TokenKind::Preprocessor if self.peek_second() == TokenKind::LeftParen => {
                self.call()
            }
            _ => self.vector_selector(),
        }
    }

    fn aggregate(&mut self, op: AggregateOp, name: Token) -> Parsed<Node<Expr>> {
        let (mut grouping, mut without) = (Vec::new(), false);
        let before = self.aggregate_modifier(&mut grouping, &mut without)?;
        let (mut arguments, depth) = self.arguments()?;
        if !before {
            self.aggregate_modifier(&mut grouping, &mut without)?;
        }
        let span = self.span_from(name.span.start);
        if arguments.is_empty() {
            return wrong(span, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            let name = op.as_str();
            return wrong(
                span,
                format!(
                    "{name}() is experimental and must be enabled with --enable-feature=promql-experimental-functions"
                ),
            );
        }
        let expected = if op.parameter().is_some() { 2 } else { 1 };
        let given = arguments.len();
        let (Some(operand), true) = (arguments.pop(), given == expected) else {
            return wrong(
                span,
                format!(
                    "wrong number of arguments for aggregate expression provided, expected {expected}, got {given}"
                ),
            );
        };
        let aggregate = Aggregate { op, operand, parameter: arguments.pop(), grouping, without };
        let tree = Expr { span, kind: ExprKind::Aggregate(Box::new(aggregate)) };
        Ok(Node { tree, depth: deeper(depth, name.span)? })
    }

    fn aggregate_modifier(&mut self, grouping: &mut Vec<String>, without: &mut bool) -> Parsed<bool> {
        let TokenKind::Keyword(keyword @ (Keyword::By | Keyword::Without)) = self.peek().kind else {
            return Ok(false);
        };
        self.bump();
        *grouping = self.grouping_labels()?;
        *without = keyword == Keyword::Without;
        Ok(true)
    }

    /// `(a, b)`, and how deep the deepest is.
    fn arguments(&mut self) -> Parsed<(Vec<Expr>, usize)> {
        self.expect(TokenKind::LeftParen)?;
        let (mut arguments, mut depth) = (Vec::new(), 0);
        if self.eat(TokenKind::RightParen).is_some() {
            return Ok((arguments, depth));
        }
        loop {
            let argument = self.expression(WEAKEST)?;
            depth = depth.max(argument.depth);
            arguments.push(argument.tree);
            match self.eat(TokenKind::Comma) {
                Some(comma) if self.peek().kind == TokenKind::RightParen => {
                    return wrong(comma.span, "trailing commas not allowed in function call args");
                }
                Some(_) => {}
                None => {
                    self.expect(TokenKind::RightParen)?;
                    return Ok((arguments, depth));
                }
            }
        }
    }

    fn call(&mut self) -> Parsed<Node<Expr>> {
        let name = self.bump();
        let (arguments, depth) = self.arguments()?;
        let function = self.function(name)?;
        let span = self.span_from(name.span.start);
        let call = Call { function, name_span: name.span, arguments };
        let tree = Expr { span, kind: ExprKind::Call(Box::new(call)) };
        Ok(Node { tree, depth: deeper(depth, name.span)? })
    }

    fn function(&self, name: Token) -> Parsed<&'static Function> {
        let text = self.source(name);
        // `step()` and its like are words of the language, known in any letter case.
        let found = match name.kind {
            TokenKind::Preprocessor => functions::find(&text.to_ascii_lowercase()),
            _ => functions::find(text),
        };
        match found {
            None => wrong(name.span, format!("unknown function with name {}", literal::quote(text))),
            Some(function) if function.experimental && !self.options.experimental_functions => wrong(
                name.span,
                format!(
                    "function {} is not enabled: it is experimental, start with \
                     --enable-feature=promql-experimental-functions",
                    literal::quote(text)
                ),
            ),
            Some(function) => Ok(function),
        }
    }

    /// A number, or a duration in seconds.
    pub(super) fn number(&mut self) -> Parsed<f64> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number => {
                self.bump();
                literal::number(self.source(token)).or_else(|message| wrong(token.span, message))
            }
            TokenKind::Duration => {
                self.bump();
                self.duration_ms(token).map(|ms| ms as f64 / 1000.0)
            }
            _ => self.unexpected(),
        }
    }

    pub(super) fn signed_number(&mut self) -> Parsed<f64> {
        if self.eat(TokenKind::Op(BinaryOp::Sub)).is_some() {
            return Ok(-self.number()?);
        }
        self.eat(TokenKind::Op(BinaryOp::Add));
        self.number()
    }

    fn duration_ms(&self, token: Token) -> Parsed<i64> {
        let text = self.source(token);
        match parse_duration_ms(text) {
            // Prometheus counts nanoseconds: what does not fit there is refused alike.
            Ok(ms) if ms > i64::MAX / 1_000_000 => wrong(token.span, DurationError::OutOfRange.to_string()),
            Ok(ms) => Ok(ms),
            Err(DurationError::Malformed(text)) => {
                wrong(token.span, format!("not a valid duration string: {}", literal::quote(&text)))
            }
            Err(error) => wrong(token.span, error.to_string()),
        }
    }

    pub(super) fn unquote(&self, token: Token) -> Parsed<String> {
        literal::unquote(self.source(token)).or_else(|message| wrong(token.span, message))
    }
}

/// The depth of a node whose deepest child is `depth` deep.
pub(super) fn deeper(depth: usize, span: Span) -> Parsed<usize> {
    if depth >= DEPTH_MAX { too_deep(DEPTH_MAX, span) } else { Ok(depth + 1) }
}

fn too_deep<T>(max: usize, span: Span) -> Parsed<T> {
    wrong(span, format!("expression is more than {max} levels deep: record parts of it with a recording rule"))
}
