//! Trees as text, in the one form Prometheus prints.

use super::literal::{is_plain_label, push_quoted};
use crate::model::number::{format_general, push_plain};
use crate::model::time::format_duration_ms;
use crate::model::{METRIC_NAME, MatchOp};
use crate::promql::ast::{
    Aggregate, At, Binary, BinaryOp, Cardinality, DurationExpr, DurationKind, DurationNode, Expr, ExprKind, Extension,
    MatrixSelector, Subquery, VectorSelector,
};
use std::fmt::{Display, Formatter, Result};

/// One line that parses to the same tree.
impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut out = String::new();
        push_expr(&mut out, self);
        f.write_str(&out)
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut out = String::new();
        push_duration(&mut out, self);
        f.write_str(&out)
    }
}

pub(super) fn push_expr(out: &mut String, expr: &Expr) {
    match &expr.kind {
        ExprKind::Number { value, as_duration: true } => push_seconds(out, *value),
        ExprKind::Number { value, as_duration: false } => push_plain(out, *value),
        ExprKind::Text(text) => push_quoted(out, text),
        ExprKind::Paren(inner) => {
            out.push('(');
            push_expr(out, inner);
            out.push(')');
        }
        ExprKind::Unary { negative, operand } => {
            out.push(if *negative { '-' } else { '+' });
            push_expr(out, operand);
        }
        ExprKind::Binary(binary) => {
            match &binary.left.kind {
                // Its sign would be read as one before the power.
                ExprKind::Number { value: f64::INFINITY, .. } if binary.op == BinaryOp::Pow => out.push_str("Inf"),
                _ => push_expr(out, &binary.left),
            }
            out.push(' ');
            push_operator(out, binary);
            out.push(' ');
            push_expr(out, &binary.right);
        }
        ExprKind::Aggregate(aggregate) => {
            push_aggregate_head(out, aggregate);
            out.push('(');
            if let Some(parameter) = &aggregate.parameter {
                push_expr(out, parameter);
                out.push_str(", ");
            }
            push_expr(out, &aggregate.operand);
            out.push(')');
        }
        ExprKind::Call(call) => {
            out.push_str(call.function.name);
            out.push('(');
            push_list(out, &call.arguments, push_expr);
            out.push(')');
        }
        ExprKind::Vector(selector) => {
            push_matchers(out, selector);
            push_at(out, selector.at);
            push_extension(out, selector.extension);
            push_offset(out, selector.offset.as_ref());
        }
        ExprKind::Matrix(matrix) => push_matrix(out, matrix),
        ExprKind::Subquery(subquery) => {
            push_expr(out, &subquery.operand);
            push_subquery_tail(out, subquery);
        }
    }
}

/// The operator with its modifiers.
pub(super) fn push_operator(out: &mut String, binary: &Binary) {
    out.push_str(binary.op.as_str());
    if binary.return_bool {
        out.push_str(" bool");
    }
    let Some(matching) = &binary.matching else { return };
    let group = match matching.cardinality {
        Cardinality::ManyToOne => Some(" group_left ("),
        Cardinality::OneToMany => Some(" group_right ("),
        _ => None,
    };
    if !matching.labels.is_empty() || matching.on || group.is_some() {
        out.push_str(if matching.on { " on (" } else { " ignoring (" });
        push_list(out, &matching.labels, |out, label| push_label(out, label));
        out.push(')');
    }
    if let Some(group) = group {
        out.push_str(group);
        push_list(out, &matching.include, |out, label| push_label(out, label));
        out.push(')');
    }
    let fills = [("fill_left", matching.fill_left), ("fill_right", matching.fill_right)];
    match (matching.fill_left, matching.fill_right) {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            out.push_str(&format!(" fill ({})", format_general(left)));
        }
        _ => {
            for (name, value) in fills {
                if let Some(value) = value {
                    out.push_str(&format!(" {name} ({})", format_general(value)));
                }
            }
        }
    }
}

/// `sum by (a) `
pub(super) fn push_aggregate_head(out: &mut String, aggregate: &Aggregate) {
    out.push_str(aggregate.op.as_str());
    if !aggregate.without && aggregate.grouping.is_empty() {
        return;
    }
    out.push_str(if aggregate.without { " without (" } else { " by (" });
    push_list(out, &aggregate.grouping, |out, label| push_label(out, label));
    out.push_str(") ");
}

/// `[5m:1m] @ end() offset 1h`
pub(super) fn push_subquery_tail(out: &mut String, subquery: &Subquery) {
    out.push('[');
    push_duration(out, &subquery.range);
    out.push(':');
    if let Some(step) = &subquery.step {
        push_duration(out, step);
    }
    out.push(']');
    push_at(out, subquery.at);
    push_offset(out, subquery.offset.as_ref());
}

fn push_list<T>(out: &mut String, items: &[T], push: impl Fn(&mut String, &T)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        push(out, item);
    }
}

fn push_label(out: &mut String, name: &str) {
    if is_plain_label(name) {
        out.push_str(name);
    } else {
        push_quoted(out, name);
    }
}

fn push_matrix(out: &mut String, matrix: &MatrixSelector) {
    push_matchers(out, &matrix.vector);
    out.push('[');
    push_duration(out, &matrix.range);
    out.push(']');
    push_extension(out, matrix.vector.extension);
    push_at(out, matrix.vector.at);
    push_offset(out, matrix.vector.offset.as_ref());
}

/// The name and the other matchers, sorted as text.
fn push_matchers(out: &mut String, selector: &VectorSelector) {
    let metric = selector.metric.as_deref();
    out.push_str(metric.unwrap_or_default());
    let is_metric = |name: &str, op, value: &str| {
        name == METRIC_NAME && op == MatchOp::Equal && metric.is_some_and(|metric| metric == value)
    };
    let mut texts: Vec<String> = selector
        .matchers
        .iter()
        .filter(|matcher| !is_metric(&matcher.name, matcher.op, &matcher.value))
        .map(|matcher| {
            let mut text = String::new();
            push_label(&mut text, &matcher.name);
            text.push_str(matcher.op.as_str());
            push_quoted(&mut text, &matcher.value);
            text
        })
        .collect();
    texts.sort_unstable();
    if !texts.is_empty() || metric.is_none() {
        out.push('{');
        out.push_str(&texts.join(","));
        out.push('}');
    }
}

fn push_extension(out: &mut String, extension: Extension) {
    out.push_str(match extension {
        Extension::None => "",
        Extension::Anchored => " anchored",
        Extension::Smoothed => " smoothed",
    });
}

fn push_at(out: &mut String, at: Option<At>) {
    match at {
        None => {}
        Some(At::Start) => out.push_str(" @ start()"),
        Some(At::End) => out.push_str(" @ end()"),
        Some(At::Time(ms)) => {
            let sign = if ms < 0 { "-" } else { "" };
            let size = ms.unsigned_abs();
            out.push_str(&format!(" @ {sign}{}.{:03}", size / 1000, size % 1000));
        }
    }
}

fn push_offset(out: &mut String, offset: Option<&DurationExpr>) {
    match offset {
        // An offset of zero is no offset: Prometheus leaves it out.
        None | Some(DurationExpr::Literal(0)) => {}
        Some(offset) => {
            out.push_str(" offset ");
            push_duration(out, offset);
        }
    }
}

fn push_duration(out: &mut String, duration: &DurationExpr) {
    match duration {
        DurationExpr::Literal(ms) => out.push_str(&format_duration_ms(*ms)),
        DurationExpr::Computed(node) => push_duration_node(out, node),
    }
}

fn push_duration_node(out: &mut String, node: &DurationNode) {
    match &node.kind {
        DurationKind::Number { seconds, as_duration: true } => push_seconds(out, *seconds),
        DurationKind::Number { seconds, as_duration: false } => push_plain(out, *seconds),
        DurationKind::Step => out.push_str("step()"),
        DurationKind::Range => out.push_str("range()"),
        DurationKind::Negate(operand) => {
            out.push('-');
            push_duration_node(out, operand);
        }
        DurationKind::Binary { op, left, right } => {
            push_duration_node(out, left);
            out.push_str(&format!(" {} ", op.as_str()));
            push_duration_node(out, right);
        }
        DurationKind::MinOf(left, right) => push_duration_pair(out, "min_of(", left, right),
        DurationKind::MaxOf(left, right) => push_duration_pair(out, "max_of(", left, right),
        DurationKind::Paren(inner) => {
            out.push('(');
            push_duration_node(out, inner);
            out.push(')');
        }
    }
}

fn push_duration_pair(out: &mut String, head: &str, left: &DurationNode, right: &DurationNode) {
    out.push_str(head);
    push_duration_node(out, left);
    out.push_str(", ");
    push_duration_node(out, right);
    out.push(')');
}

/// Seconds that were written as a duration: whole milliseconds.
fn push_seconds(out: &mut String, seconds: f64) {
    out.push_str(&format_duration_ms((seconds * 1000.0).round() as i64));
}
