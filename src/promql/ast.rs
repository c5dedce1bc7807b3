//! The syntax tree of PromQL. Every node knows where it stands in the text.

use super::functions::Function;
use crate::model::{Matcher, Timestamp};

/// Byte offsets into the query text, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// A node with its place.
#[derive(Debug, Clone)]
pub struct Expr {
    pub span: Span,
    pub kind: ExprKind,
}

#[derive(Debug, Clone)]
pub enum ExprKind {
    Number {
        value: f64,
        /// Written as a duration, `5m` for 300; it prints so again.
        as_duration: bool,
    },
    Text(String),
    Paren(Box<Expr>),
    Unary {
        negative: bool,
        operand: Box<Expr>,
    },
    Binary(Box<Binary>),
    Aggregate(Box<Aggregate>),
    Call(Box<Call>),
    Vector(Box<VectorSelector>),
    Matrix(Box<MatrixSelector>),
    Subquery(Box<Subquery>),
}

impl Expr {
    /// What the expression yields.
    pub fn value_type(&self) -> ValueType {
        match &self.kind {
            ExprKind::Number { .. } => ValueType::Scalar,
            ExprKind::Text(_) => ValueType::Text,
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => inner.value_type(),
            ExprKind::Binary(binary) => {
                let scalar = [&binary.left, &binary.right].iter().all(|e| e.value_type() == ValueType::Scalar);
                if scalar { ValueType::Scalar } else { ValueType::Vector }
            }
            ExprKind::Aggregate(_) | ExprKind::Vector(_) => ValueType::Vector,
            ExprKind::Call(call) => call.function.returns,
            ExprKind::Matrix(_) | ExprKind::Subquery(_) => ValueType::Matrix,
        }
    }

    /// The expressions directly below, from left to right.
    pub fn children(&self) -> Vec<&Expr> {
        match &self.kind {
            ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => Vec::new(),
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => vec![inner],
            ExprKind::Binary(binary) => vec![&binary.left, &binary.right],
            ExprKind::Aggregate(aggregate) => aggregate.parameter.iter().chain([&aggregate.operand]).collect(),
            ExprKind::Call(call) => call.arguments.iter().collect(),
            ExprKind::Subquery(subquery) => vec![&subquery.operand],
        }
    }
}

/// All vector selectors of a tree, those of range selectors included, from left to right.
pub fn selectors(expr: &Expr) -> impl Iterator<Item = &VectorSelector> {
    let mut rest = vec![expr];
    std::iter::from_fn(move || {
        while let Some(expr) = rest.pop() {
            rest.extend(expr.children().into_iter().rev());
            match &expr.kind {
                ExprKind::Vector(selector) => return Some(selector.as_ref()),
                ExprKind::Matrix(matrix) => return Some(&matrix.vector),
                _ => {}
            }
        }
        None
    })
}

/// What an expression yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Scalar,
    Vector,
    Matrix,
    Text,
}

impl ValueType {
    /// As error messages name it.
    pub fn describe(self) -> &'static str {
        match self {
            ValueType::Scalar => "scalar",
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            ValueType::Text => "string",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    And,
    Or,
    Unless,
    /// `</`: keeps the part of a histogram below a bound.
    TrimUpper,
    /// `>/`: keeps the part of a histogram above a bound.
    TrimLower,
}

impl BinaryOp {
    pub fn is_comparison(self) -> bool {
        use BinaryOp::*;
        matches!(self, Equal | NotEqual | Greater | Less | GreaterEqual | LessEqual)
    }

    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }

    /// As written in PromQL.
    pub fn as_str(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Add => "+",
            Sub => "-",
            Mul => "*",
            Div => "/",
            Mod => "%",
            Pow => "^",
            Atan2 => "atan2",
            Equal => "==",
            NotEqual => "!=",
            Greater => ">",
            Less => "<",
            GreaterEqual => ">=",
            LessEqual => "<=",
            And => "and",
            Or => "or",
            Unless => "unless",
            TrimUpper => "</",
            TrimLower => ">/",
        }
    }
}

#[derive(Debug, Clone)]
pub struct Binary {
    pub op: BinaryOp,
    /// Where the operator stands.
    pub op_span: Span,
    /// Comparison yields 0 or 1 instead of filtering.
    pub return_bool: bool,
    pub left: Expr,
    pub right: Expr,
    /// `None` where an operand is a scalar.
    pub matching: Option<VectorMatching>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators
    ManyToMany,
}

#[derive(Debug, Clone)]
pub struct VectorMatching {
    pub cardinality: Cardinality,
    /// `on(labels)` or `ignoring(labels)`.
    pub on: bool,
    pub labels: Vec<String>,
    /// Labels taken over from the "one" side.
    pub include: Vec<String>,
    /// `fill_left` and `fill_right` (experimental).
    pub fill_left: Option<f64>,
    pub fill_right: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Group,
    Stddev,
    Stdvar,
    TopK,
    BottomK,
    Quantile,
    CountValues,
    LimitK,
    LimitRatio,
}

impl AggregateOp {
    pub const ALL: [AggregateOp; 14] = [
        AggregateOp::Sum,
        AggregateOp::Avg,
        AggregateOp::Min,
        AggregateOp::Max,
        AggregateOp::Count,
        AggregateOp::Group,
        AggregateOp::Stddev,
        AggregateOp::Stdvar,
        AggregateOp::TopK,
        AggregateOp::BottomK,
        AggregateOp::Quantile,
        AggregateOp::CountValues,
        AggregateOp::LimitK,
        AggregateOp::LimitRatio,
    ];

    /// As written in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Sum => "sum",
            AggregateOp::Avg => "avg",
            AggregateOp::Min => "min",
            AggregateOp::Max => "max",
            AggregateOp::Count => "count",
            AggregateOp::Group => "group",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::TopK => "topk",
            AggregateOp::BottomK => "bottomk",
            AggregateOp::Quantile => "quantile",
            AggregateOp::CountValues => "count_values",
            AggregateOp::LimitK => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }

    /// The type of the parameter, where the operator takes one.
    pub fn parameter(self) -> Option<ValueType> {
        use AggregateOp::*;
        match self {
            TopK | BottomK | Quantile | LimitK | LimitRatio => Some(ValueType::Scalar),
            CountValues => Some(ValueType::Text),
            _ => None,
        }
    }

    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::LimitK | AggregateOp::LimitRatio)
    }
}

#[derive(Debug, Clone)]
pub struct Aggregate {
    pub op: AggregateOp,
    pub operand: Expr,
    pub parameter: Option<Expr>,
    pub grouping: Vec<String>,
    pub without: bool,
}

#[derive(Debug, Clone)]
pub struct Call {
    pub function: &'static Function,
    /// Where the name stands.
    pub name_span: Span,
    pub arguments: Vec<Expr>,
}

/// `@`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    Time(Timestamp),
    Start,
    End,
}

/// A length of time: known when parsed, or an expression such as `5m * step()` known once the query's range is.
#[derive(Debug, Clone)]
pub enum DurationExpr {
    /// Milliseconds.
    Literal(i64),
    Computed(Box<DurationNode>),
}

#[derive(Debug, Clone)]
pub struct DurationNode {
    pub span: Span,
    pub kind: DurationKind,
}

#[derive(Debug, Clone)]
pub enum DurationKind {
    Number {
        seconds: f64,
        /// Written as `5m` rather than as 300.
        as_duration: bool,
    },
    /// `step()`: the step of the query.
    Step,
    /// `range()`: from the query's start to its end.
    Range,
    Negate(Box<DurationNode>),
    Binary {
        op: BinaryOp,
        left: Box<DurationNode>,
        right: Box<DurationNode>,
    },
    /// `min_of(a, b)`, `max_of(a, b)` and their short forms.
    MinOf(Box<DurationNode>, Box<DurationNode>),
    MaxOf(Box<DurationNode>, Box<DurationNode>),
    Paren(Box<DurationNode>),
}

/// Experimental treatment of a window's edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extension {
    #[default]
    None,
    Anchored,
    Smoothed,
}

#[derive(Debug, Clone)]
pub struct VectorSelector {
    /// The name as written before the braces; one quoted within them is a matcher only.
    pub metric: Option<String>,
    /// All matchers, the one for the metric name included, last.
    pub matchers: Vec<Matcher>,
    /// Positive looks back.
    pub offset: Option<DurationExpr>,
    pub at: Option<At>,
    pub extension: Extension,
}

#[derive(Debug, Clone)]
pub struct MatrixSelector {
    pub vector: VectorSelector,
    /// Of the vector selector alone, without range, offset and `@`.
    pub vector_span: Span,
    pub range: DurationExpr,
}

#[derive(Debug, Clone)]
pub struct Subquery {
    pub operand: Expr,
    pub range: DurationExpr,
    /// The default evaluation interval where it is not given.
    pub step: Option<DurationExpr>,
    pub offset: Option<DurationExpr>,
    pub at: Option<At>,
}
