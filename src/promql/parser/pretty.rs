//! Trees over several lines, where one would be too long.

use super::print::{push_aggregate_head, push_expr, push_operator, push_subquery_tail};
use crate::promql::ast::{Expr, ExprKind};

/// Longer lines are split.
const LINE_BYTES_MAX: usize = 100;

/// Prints as `/format_query` answers: lines above 100 bytes are split, parts indented by two spaces.
pub fn pretty(expr: &Expr) -> String {
    let mut out = String::new();
    push(&mut out, expr, 0);
    out
}

fn push(out: &mut String, expr: &Expr, level: usize) {
    let mut line = String::new();
    push_expr(&mut line, expr);
    if line.len() <= LINE_BYTES_MAX {
        indent(out, level);
        out.push_str(&line);
    } else {
        split(out, expr, level, &line);
    }
}

fn split(out: &mut String, expr: &Expr, level: usize, line: &str) {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Vector(_) | ExprKind::Matrix(_) => {
            indent(out, level);
            out.push_str(line);
        }
        ExprKind::Paren(inner) => {
            indent(out, level);
            push_parts(out, &[inner], level);
        }
        ExprKind::Unary { negative, operand } => {
            indent(out, level);
            out.push(if *negative { '-' } else { '+' });
            let mut inner = String::new();
            push(&mut inner, operand, level);
            out.push_str(inner.trim());
        }
        ExprKind::Binary(binary) => {
            push(out, &binary.left, level + 1);
            out.push('\n');
            indent(out, level);
            push_operator(out, binary);
            out.push('\n');
            push(out, &binary.right, level + 1);
        }
        ExprKind::Aggregate(aggregate) => {
            indent(out, level);
            push_aggregate_head(out, aggregate);
            let parts: Vec<&Expr> = aggregate.parameter.iter().chain([&aggregate.operand]).collect();
            push_parts(out, &parts, level);
        }
        ExprKind::Call(call) => {
            indent(out, level);
            out.push_str(call.function.name);
            push_parts(out, &call.arguments.iter().collect::<Vec<_>>(), level);
        }
        ExprKind::Subquery(subquery) => {
            push(out, &subquery.operand, level);
            push_subquery_tail(out, subquery);
        }
    }
}

/// Each on its own lines, in parentheses.
fn push_parts(out: &mut String, parts: &[&Expr], level: usize) {
    out.push_str("(\n");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(",\n");
        }
        push(out, part, level + 1);
    }
    out.push('\n');
    indent(out, level);
    out.push(')');
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}
