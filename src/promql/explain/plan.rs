//! The syntax tree with the figures of its evaluation.

use super::empty::{Reason, reasons};
use crate::{
    promql::{
        ast::{Expr, ExprKind, Span},
        engine::{Asked, Engine, QueryOptions, check_type},
        eval::{annotations::position, plan::is_step_invariant},
        limits::QueryError,
        parser,
        value::{Answer, SourceStats, Stats, Value},
    },
    store::{Origin, TierUse},
};
use std::time::Instant;

/// How much of a part's text is shown.
const TEXT_CHARS_MAX: usize = 200;

/// What a query did.
#[derive(Debug, Clone)]
pub struct Explanation {
    pub plan: PlanNode,
    /// Series and points of the answer.
    pub series: u64,
    pub points: u64,
    /// Why there is none; empty where there is one.
    pub reasons: Vec<Reason>,
    pub warnings: Vec<String>,
    pub infos: Vec<String>,
    pub stats: Stats,
}

/// One expression of the query.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanNode {
    /// As the syntax tree names it: `aggregation`, `call`, `vectorSelector`, ...
    pub kind: &'static str,
    /// In its normal form.
    pub text: String,
    /// Line and column in the query, counted from one.
    pub line: usize,
    pub column: usize,
    /// Of selectors: the series found and the samples decoded.
    pub series_matched: Option<u64>,
    pub samples_read: Option<u64>,
    /// Of selectors: from where.
    pub origin: Option<Origin>,
    /// Of selectors: what was read from buckets in the place of samples.
    pub tiers: Vec<TierUse>,
    /// What came out, where it is known: expressions without series (numbers, ranges) have none of their own.
    pub series: Option<u64>,
    pub points: Option<u64>,
    /// With everything below, threads added up.
    pub milliseconds: Option<f64>,
    /// Computed at one step and repeated.
    pub once: bool,
    pub children: Vec<PlanNode>,
}

/// Evaluates a query with everything measured. Blocks until done.
pub fn explain(engine: &Engine, query: &str, asked: Asked, options: &QueryOptions) -> Result<Explanation, QueryError> {
    let begin = Instant::now();
    let syntax = &engine.config().syntax;
    let expr = parser::parse(query, syntax).map_err(|error| QueryError::Parse(error.to_string()))?;
    check_type(&expr, asked)?;
    let options = QueryOptions { stats: true, ..options.clone() };
    let answer = engine.part(query, &expr, asked, &options, begin)?;
    let (series, points) = size(&answer.value);
    let steps = asked.grid.count;
    let plan = node(query, &expr, &answer.stats, steps > 1);
    let reasons = if points == 0 { reasons(engine, query, &expr, asked, &options)? } else { Vec::new() };
    let Answer { warnings, infos, stats, .. } = answer;
    Ok(Explanation { plan, series, points, reasons, warnings, infos, stats })
}

/// Series and points of a value.
pub(super) fn size(value: &Value) -> (u64, u64) {
    match value {
        Value::Scalar { .. } | Value::Text { .. } => (1, 1),
        Value::Vector(samples) => (samples.len() as u64, samples.len() as u64),
        Value::Matrix(series) => (series.len() as u64, series.iter().map(|one| one.samples.len() as u64).sum()),
    }
}

fn node(query: &str, expr: &Expr, stats: &Stats, many_steps: bool) -> PlanNode {
    let (line, column) = position(query, expr.span.start);
    let (kind, source_span) = match &expr.kind {
        ExprKind::Number { .. } => ("numberLiteral", None),
        ExprKind::Text(_) => ("stringLiteral", None),
        ExprKind::Paren(_) => ("parenExpr", None),
        ExprKind::Unary { .. } => ("unaryExpr", None),
        ExprKind::Binary(_) => ("binaryExpr", None),
        ExprKind::Aggregate(_) => ("aggregation", None),
        ExprKind::Call(_) => ("call", None),
        ExprKind::Vector(_) => ("vectorSelector", Some(expr.span)),
        ExprKind::Matrix(matrix) => ("matrixSelector", Some(matrix.vector_span)),
        ExprKind::Subquery(_) => ("subquery", None),
    };
    let source = source_span.and_then(|span| source(stats, span));
    let measured = measured(stats, expr.span);
    let once =
        many_steps && !matches!(expr.kind, ExprKind::Number { .. } | ExprKind::Text(_)) && is_step_invariant(expr);
    PlanNode {
        kind,
        text: shortened(expr.to_string()),
        line,
        column,
        series_matched: source.as_ref().map(|source| source.series),
        samples_read: source.as_ref().map(|source| source.samples),
        origin: source.as_ref().map(|source| source.origin),
        tiers: source.map(|source| source.tiers).unwrap_or_default(),
        series: measured.map(|figures| figures.0),
        points: measured.map(|figures| figures.1),
        milliseconds: measured.map(|figures| figures.2),
        once,
        children: expr.children().into_iter().map(|child| node(query, child, stats, many_steps)).collect(),
    }
}

/// What was found and read at `span`, all plans of it together.
fn source(stats: &Stats, span: Span) -> Option<SourceStats> {
    let mut found = stats.sources.iter().filter(|source| source.span == span).cloned();
    let mut all = found.next()?;
    for source in found {
        all.series = all.series.max(source.series);
        all.samples += source.samples;
        all.origin = source.origin;
        all.tiers.extend(source.tiers.into_iter().filter(|tier| !all.tiers.contains(tier)).collect::<Vec<_>>());
    }
    Some(all)
}

/// Series, points and milliseconds at `span`.
fn measured(stats: &Stats, span: Span) -> Option<(u64, u64, f64)> {
    let found = stats.nodes.iter().filter(|node| node.span == span);
    found.fold(None, |all, node| {
        let (series, points, milliseconds) = all.unwrap_or((0, 0, 0.0));
        // A node that two others need is computed twice, and its points are counted so.
        let times = (node.series / node.series_planned.max(1)).max(1);
        let series = node.series_planned.max(series);
        Some((series, points.max(node.samples / times), milliseconds + node.nanoseconds as f64 / 1e6))
    })
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(TEXT_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
