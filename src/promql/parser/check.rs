//! Types: what each node yields must be what stands around it takes.

use super::error::ParseError;
use super::literal::quote;
use crate::model::METRIC_NAME;
use crate::promql::ast::{
    Aggregate, Binary, Call, Cardinality, Expr, ExprKind, Span, ValueType, VectorMatching, VectorSelector,
};
use crate::promql::functions::{Arity, FunctionId};

/// Checks a tree and drops vector matchings that match no vectors.
pub fn check(text: &str, expr: &mut Expr) -> Result<(), ParseError> {
    expression(expr).map_err(|(span, message)| ParseError::new(text, span, message))
}

type Checked = Result<(), (Span, String)>;

fn wrong(span: Span, message: impl Into<String>) -> Checked {
    Err((span, message.into()))
}

fn expression(expr: &mut Expr) -> Checked {
    let span = expr.span;
    match &mut expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) => Ok(()),
        ExprKind::Paren(inner) => expression(inner),
        ExprKind::Unary { operand, .. } => {
            expression(operand)?;
            match operand.value_type() {
                ValueType::Scalar | ValueType::Vector => Ok(()),
                other => wrong(
                    span,
                    format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        quote(other.describe())
                    ),
                ),
            }
        }
        ExprKind::Binary(binary) => operation(binary, span),
        ExprKind::Aggregate(aggregate) => aggregation(aggregate),
        ExprKind::Call(call) => function_call(call, span),
        ExprKind::Vector(selector) => vector_selector(selector, span, false),
        ExprKind::Matrix(matrix) => vector_selector(&matrix.vector, matrix.vector_span, false),
        ExprKind::Subquery(subquery) => {
            expression(&mut subquery.operand)?;
            let name = match subquery.operand.value_type() {
                ValueType::Vector => return Ok(()),
                ValueType::Matrix => "matrix",
                other => other.describe(),
            };
            wrong(span, format!("subquery is only allowed on instant vector, got {name} instead"))
        }
    }
}

fn expect(expr: &mut Expr, expected: ValueType, context: &str) -> Checked {
    expression(expr)?;
    let found = expr.value_type();
    if found == expected {
        return Ok(());
    }
    let (expected, found) = (expected.describe(), found.describe());
    wrong(expr.span, format!("expected type {expected} in {context}, got {found}"))
}

fn aggregation(aggregate: &mut Aggregate) -> Checked {
    expect(&mut aggregate.operand, ValueType::Vector, "aggregation expression")?;
    match (&mut aggregate.parameter, aggregate.op.parameter()) {
        (Some(parameter), Some(expected)) => expect(parameter, expected, "aggregation parameter"),
        _ => Ok(()),
    }
}

fn operation(binary: &mut Binary, span: Span) -> Checked {
    expression(&mut binary.left)?;
    expression(&mut binary.right)?;
    let (left, right) = (binary.left.value_type(), binary.right.value_type());
    let op = binary.op;
    if binary.return_bool && !op.is_comparison() {
        return wrong(binary.op_span, "bool modifier can only be used on comparison operators");
    }
    if op.is_comparison() && !binary.return_bool && left == ValueType::Scalar && right == ValueType::Scalar {
        return wrong(binary.op_span, "comparisons between scalars must use BOOL modifier");
    }
    if let Some(matching) = binary.matching.as_ref().filter(|matching| matching.on)
        && let Some(label) = matching.labels.iter().find(|label| matching.include.contains(label))
    {
        let label = quote(label);
        return wrong(binary.op_span, format!("label {label} must not occur in ON and GROUP clause at once"));
    }
    for (yields, operand) in [(left, &binary.left), (right, &binary.right)] {
        if !matches!(yields, ValueType::Scalar | ValueType::Vector) {
            return wrong(operand.span, "binary expression must contain only scalar and instant vector types");
        }
    }
    let name = quote(op.as_str());
    if left == ValueType::Vector && right == ValueType::Vector {
        return match &binary.matching {
            Some(VectorMatching { cardinality: Cardinality::OneToMany | Cardinality::ManyToOne, .. })
                if op.is_set() =>
            {
                wrong(span, format!("no grouping allowed for {name} operation"))
            }
            Some(matching) if op.is_set() && fills(matching) => {
                wrong(span, "filling in missing series not allowed for set operators")
            }
            _ => Ok(()),
        };
    }
    if let Some(matching) = binary.matching.take() {
        if !matching.labels.is_empty() {
            return wrong(span, "vector matching only allowed between instant vectors");
        }
        if fills(&matching) {
            return wrong(span, "filling in missing series only allowed between instant vectors");
        }
    }
    if op.is_set() {
        return wrong(span, format!("set operator {name} not allowed in binary scalar expression"));
    }
    Ok(())
}

fn fills(matching: &VectorMatching) -> bool {
    matching.fill_left.is_some() || matching.fill_right.is_some()
}

fn function_call(call: &mut Call, span: Span) -> Checked {
    let function = call.function;
    let name = quote(function.name);
    let (listed, given) = (function.arguments.len(), call.arguments.len());
    let (min, max) = match function.arity {
        Arity::Exact => (listed, Some(listed)),
        Arity::LastOptional => (listed - 1, Some(listed)),
        Arity::LastRepeated => (listed - 1, None),
        // The one before the last is of the same kind: both together come this often at most.
        Arity::LastUpTo(times) => (listed - 1, Some(listed - 2 + times)),
    };
    if given < min || max.is_some_and(|max| given > max) {
        let expected = match function.arity {
            Arity::Exact => format!("{listed}"),
            _ if given < min => format!("at least {min}"),
            _ => format!("at most {}", max.unwrap_or(min)),
        };
        return wrong(span, format!("expected {expected} argument(s) in call to {name}, got {given}"));
    }
    let context = format!("call to function {name}");
    for (index, argument) in call.arguments.iter_mut().enumerate() {
        let expected = function.arguments[index.min(listed - 1)];
        if function.id == FunctionId::Info && index == 1 {
            label_selectors(argument, &context)?;
        } else {
            expect(argument, expected, &context)?;
        }
    }
    Ok(())
}

/// The second argument of `info` asks for labels only, so it may match everything.
fn label_selectors(argument: &Expr, context: &str) -> Checked {
    let found = argument.value_type();
    if found != ValueType::Vector {
        let expected = ValueType::Vector.describe();
        return wrong(argument.span, format!("expected type {expected} in {context}, got {}", found.describe()));
    }
    match &argument.kind {
        ExprKind::Vector(selector) if selector.metric.is_some() => {
            wrong(argument.span, "expected label selectors only, got vector selector instead")
        }
        ExprKind::Vector(selector) => vector_selector(selector, argument.span, true),
        _ => wrong(argument.span, "expected label selectors only"),
    }
}

fn vector_selector(selector: &VectorSelector, span: Span, may_match_all: bool) -> Checked {
    let Some(metric) = &selector.metric else {
        // A typo must not select everything there is.
        if may_match_all || selector.matchers.iter().any(|matcher| !matcher.matches_empty()) {
            return Ok(());
        }
        return wrong(span, "vector selector must contain at least one non-empty matcher");
    };
    let mut names = selector.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
    match (names.next(), names.next()) {
        (Some(other), Some(_)) => {
            let (metric, other) = (quote(metric), quote(&other.value));
            wrong(span, format!("metric name must not be set twice: {metric} or {other}"))
        }
        _ => Ok(()),
    }
}
