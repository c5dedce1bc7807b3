//! From the syntax tree to nodes: series are found, windows laid out, what does not depend on the step is computed
//! once.

use super::{
    context::{Context, Grid, SourceUse},
    duration::DurationScope,
    label_call,
    node::{Broadcast, Measured, Node, Nothing},
    repeated::Repeated,
    scalar::Scalars,
    selector::{InstantSelector, Source, Yield, lookback_windows},
    smoothed::SmoothedSelector,
    windows::Windows,
};
use crate::{
    model::{Samples, Timestamp},
    promql::{
        ast::{
            AggregateOp, At, DurationExpr, Expr, ExprKind, Extension, MatrixSelector, Span, Subquery, ValueType,
            VectorSelector,
        },
        functions::{FunctionId, math, rate::Edges, window::Window},
        limits::QueryError,
    },
    store::Hints,
};
use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

/// Plans one query.
pub struct Planner<'a> {
    pub context: Arc<Context>,
    pub scope: DurationScope<'a>,
    /// See [`super::hints`].
    pub figures: HashSet<usize>,
    pub repeated: Repeated<'a>,
}

/// What a selector is used for, told to the store.
#[derive(Debug, Clone, Default)]
pub struct Use {
    pub function: Option<&'static str>,
    pub grouping: Vec<String>,
    pub by: bool,
}

/// A range selector or subquery, ready for windows.
pub struct RangePlan {
    pub source: super::range_call::RangeSource,
    pub windows: Windows,
    pub range_ms: i64,
    pub extension: Extension,
}

impl RangePlan {
    /// The samples of the first step's window alone; with a modifier, with values at its edges.
    pub fn cut(&self, samples: &Samples) -> Result<Samples, QueryError> {
        let end = self.windows.reference(0);
        let mut ranges = (0..0, 0..0);
        self.windows.walk_both(&samples.timestamps, &samples.histograms, |step, floats, native| {
            if step == 0 {
                ranges = (floats, native);
            }
        });
        let (floats, native) = ranges;
        let window = Window {
            times: &samples.timestamps[floats.clone()],
            values: &samples.values[floats],
            histograms: &samples.histograms[native],
            weights: &[],
            histogram_weights: &[],
            start: end - self.range_ms,
            end,
            evaluated_at: end,
            extension: self.extension,
        };
        if self.extension == Extension::None {
            return Ok(Samples {
                timestamps: window.times.to_vec(),
                values: window.values.to_vec(),
                histograms: window.histograms.to_vec(),
                ..Samples::default()
            });
        }
        if !window.histograms.is_empty() {
            return Err(QueryError::execution("anchored modifier is not supported with histograms"));
        }
        let mut cut = Samples::default();
        let Some(edges) = Edges::find(&window, false) else { return Ok(cut) };
        cut.push(window.start, edges.left);
        for (time, value) in window.times.iter().zip(window.values) {
            if *time > window.start && *time < window.end {
                cut.push(*time, *value);
            }
        }
        cut.push(window.end, edges.right);
        Ok(cut)
    }
}

impl Planner<'_> {
    /// The node of an expression that yields a vector, at the steps of `grid`.
    pub fn vector(&self, expr: &Expr, grid: Grid) -> Result<Arc<dyn Node>, QueryError> {
        self.vector_for(expr, grid, &Use::default())
    }

    pub(super) fn vector_for(&self, expr: &Expr, grid: Grid, usage: &Use) -> Result<Arc<dyn Node>, QueryError> {
        self.context.budget.check()?;
        if grid.count == 0 {
            return Ok(Arc::new(Nothing));
        }
        if self.repeated.is_repeated(expr) {
            let figures = self.figures_within(expr);
            if let Some(node) = self.repeated.known(&self.context, expr, grid, &figures) {
                return Ok(self.measured(expr, node, Instant::now()));
            }
            let node = self.vector_alone(expr, grid, usage)?;
            return self.repeated.keep(&self.context, expr, grid, figures, node);
        }
        self.vector_alone(expr, grid, usage)
    }

    fn figures_within(&self, expr: &Expr) -> Vec<bool> {
        let (mut figures, mut rest) = (Vec::new(), vec![expr]);
        while let Some(expr) = rest.pop() {
            if matches!(expr.kind, ExprKind::Vector(_) | ExprKind::Matrix(_)) {
                figures.push(self.figures.contains(&expr.span.start));
            }
            rest.extend(expr.children());
        }
        figures
    }

    fn vector_alone(&self, expr: &Expr, grid: Grid, usage: &Use) -> Result<Arc<dyn Node>, QueryError> {
        if grid.count > 1 && is_step_invariant(expr) {
            let inner = self.vector_now(expr, Grid { count: 1, ..grid }, usage)?;
            return Ok(Arc::new(Broadcast { inner, steps: grid.count }));
        }
        self.vector_now(expr, grid, usage)
    }

    fn vector_now(&self, expr: &Expr, grid: Grid, usage: &Use) -> Result<Arc<dyn Node>, QueryError> {
        let begin = Instant::now();
        let node = match &expr.kind {
            ExprKind::Paren(inner) => return self.vector_now(inner, grid, usage),
            ExprKind::Vector(selector) => self.instant_selector(selector, expr.span, grid, Yield::Value, usage)?,
            ExprKind::Unary { negative, operand } => self.unary(*negative, operand, grid)?,
            ExprKind::Binary(binary) => self.binary(binary, expr.span, grid)?,
            ExprKind::Aggregate(aggregate) => self.aggregate(aggregate, expr.span, grid)?,
            ExprKind::Call(call) => self.call(call, expr.span, grid, usage)?,
            ExprKind::Number { .. } | ExprKind::Text(_) | ExprKind::Matrix(_) | ExprKind::Subquery(_) => {
                return Err(QueryError::execution(format!("expected an instant vector, got {}", describe(expr))));
            }
        };
        Ok(self.measured(expr, node, begin))
    }

    /// `node`, planned since `begin`, counted as the one of `expr` where the query is measured.
    fn measured(&self, expr: &Expr, node: Arc<dyn Node>, begin: Instant) -> Arc<dyn Node> {
        if !self.context.measure {
            return node;
        }
        let counters = self.context.counters(expr.span);
        // What needs many series for one is computed while it is planned.
        let nanoseconds = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        counters.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        counters.planned.store(node.len() as u64, Ordering::Relaxed);
        Arc::new(Measured { inner: node, counters })
    }

    pub(super) fn instant_selector(
        &self,
        selector: &VectorSelector,
        span: Span,
        grid: Grid,
        yields: Yield,
        usage: &Use,
    ) -> Result<Arc<dyn Node>, QueryError> {
        let lookback = self.context.semantics.lookback_ms;
        let offset = self.offset(selector.offset.as_ref())?;
        let at = self.at(selector.at);
        let mut windows = lookback_windows(grid, at, offset, lookback);
        let smoothed = selector.extension == Extension::Smoothed;
        if smoothed {
            windows.after_ms = lookback;
        }
        let hints = if smoothed {
            // It looks at windows in both directions, and at more than the newest sample of one.
            let function = Some("smoothed");
            let first_ms = windows.reference(0).saturating_add(windows.after_ms);
            let range_ms = windows.before_ms.saturating_add(windows.after_ms);
            Hints { function, first_ms, range_ms, lookback_ms: 0, ..self.hints(&windows, 0, usage) }
        } else {
            Hints { allows_buckets: true, ..self.hints(&windows, 0, usage) }
        };
        let told = SourceUse { function: None, windows: false, between: smoothed };
        let source = Source::select(&self.context, &selector.matchers, &windows, &hints)?.told(span, told);
        Ok(if smoothed {
            Arc::new(SmoothedSelector { source, windows, span })
        } else {
            Arc::new(InstantSelector { source, windows, yields, figures: self.figures.contains(&span.start) })
        })
    }

    /// What the store is told of windows of `range_ms`; 0 for an instant selector.
    pub(super) fn hints(&self, windows: &Windows, range_ms: i64, usage: &Use) -> Hints {
        let moves = windows.grid.count > 1 && windows.at.is_none();
        Hints {
            function: usage.function,
            step_ms: if moves { windows.grid.step } else { 0 },
            range_ms,
            first_ms: windows.reference(0),
            lookback_ms: if range_ms == 0 { windows.before_ms } else { 0 },
            allows_buckets: false,
            grouping: usage.grouping.clone(),
            by: usage.by,
            cancel: self.context.budget.cancel(),
            series_max: 0,
        }
    }

    fn offset(&self, offset: Option<&DurationExpr>) -> Result<i64, QueryError> {
        offset.map_or(Ok(0), |offset| self.scope.any(offset))
    }

    fn at(&self, at: Option<At>) -> Option<Timestamp> {
        at.map(|at| match at {
            At::Time(time) => time,
            At::Start => self.context.outer.start,
            At::End => self.context.outer.end(),
        })
    }

    /// `@` and offset of the first selector of an expression: `info` looks at the same time.
    pub(super) fn first_selector_time(&self, expr: &Expr) -> Result<(Option<Timestamp>, i64), QueryError> {
        Ok(self.selector_time_below(expr, (None, 0))?.unwrap_or((None, 0)))
    }

    fn selector_time_below(
        &self,
        expr: &Expr,
        outer: (Option<Timestamp>, i64),
    ) -> Result<Option<(Option<Timestamp>, i64)>, QueryError> {
        let shifted = |at: Option<At>, offset: Option<&DurationExpr>| -> Result<(Option<Timestamp>, i64), QueryError> {
            let offset_ms = self.offset(offset)?;
            // A fixed time forgets what was asked for around it.
            Ok(if at.is_some() { (self.at(at), offset_ms) } else { (outer.0, outer.1 + offset_ms) })
        };
        let inner = match &expr.kind {
            ExprKind::Vector(selector) => return shifted(selector.at, selector.offset.as_ref()).map(Some),
            ExprKind::Matrix(matrix) => return shifted(matrix.vector.at, matrix.vector.offset.as_ref()).map(Some),
            ExprKind::Subquery(subquery) => shifted(subquery.at, subquery.offset.as_ref())?,
            _ => outer,
        };
        for child in expr.children() {
            if let Some(found) = self.selector_time_below(child, inner)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A range selector or subquery at the steps of `grid`.
    pub fn range(&self, expr: &Expr, grid: Grid, usage: &Use) -> Result<RangePlan, QueryError> {
        let expr = unwrap_parens(expr);
        match &expr.kind {
            ExprKind::Matrix(matrix) => self.matrix_selector(matrix, expr.span, grid, usage),
            ExprKind::Subquery(subquery) => self.subquery(subquery, grid),
            _ => Err(QueryError::execution(format!("expected a range vector, got {}", describe(expr)))),
        }
    }

    fn matrix_selector(
        &self,
        matrix: &MatrixSelector,
        span: Span,
        grid: Grid,
        usage: &Use,
    ) -> Result<RangePlan, QueryError> {
        let selector = &matrix.vector;
        let range_ms = self.scope.positive(&matrix.range)?;
        let extension = selector.extension;
        let lookback = self.context.semantics.lookback_ms;
        let mut windows = Windows {
            grid,
            at: self.at(selector.at),
            offset_ms: self.offset(selector.offset.as_ref())?,
            before_ms: range_ms,
            after_ms: 0,
        };
        if extension != Extension::None {
            windows.before_ms += lookback;
        }
        if extension == Extension::Smoothed {
            windows.after_ms = lookback;
        }
        // Who asks for a range alone wants to see samples. Edges with a modifier lie beyond the window or between
        // samples, of which a store that may choose knows nothing.
        let allows_buckets = usage.function.is_some() && extension == Extension::None;
        let hints = Hints { allows_buckets, ..self.hints(&windows, range_ms, usage) };
        let told = SourceUse { function: usage.function, windows: true, between: extension == Extension::Smoothed };
        let source =
            Source::select(&self.context, &selector.matchers, &windows, &hints)?.told(matrix.vector_span, told);
        let figures = self.figures.contains(&span.start);
        let source = super::range_call::RangeSource::Series { source, figures };
        Ok(RangePlan { source, windows, range_ms, extension })
    }

    /// The steps of a subquery are whole multiples of its step, whatever the query's own are.
    fn subquery(&self, subquery: &Subquery, grid: Grid) -> Result<RangePlan, QueryError> {
        let range_ms = self.scope.positive(&subquery.range)?;
        let step = match &subquery.step {
            Some(step) => self.scope.positive(step)?,
            None => self.context.semantics.subquery_step_ms,
        };
        let windows = Windows {
            grid,
            at: self.at(subquery.at),
            offset_ms: self.offset(subquery.offset.as_ref())?,
            before_ms: range_ms,
            after_ms: 0,
        };
        let (first, last) = windows.bounds();
        let start = first.div_euclid(step).saturating_add(i64::from(first.rem_euclid(step) != 0)).saturating_mul(step);
        let count = if start > last { 0 } else { (last - start) / step + 1 };
        // One series of this many steps is already what a query may hold.
        const STEPS_MAX: i64 = 50_000_000;
        if count > STEPS_MAX {
            return Err(QueryError::TooManySamples);
        }
        let inner = Grid { start, step, count: count as usize };
        let node = self.vector_or_scalar(&subquery.operand, inner)?;
        let source = super::range_call::RangeSource::Steps { node, grid: inner };
        Ok(RangePlan { source, windows, range_ms, extension: Extension::None })
    }

    /// A vector; a scalar as one without labels.
    pub fn vector_or_scalar(&self, expr: &Expr, grid: Grid) -> Result<Arc<dyn Node>, QueryError> {
        if expr.value_type() != ValueType::Scalar {
            return self.vector(expr, grid);
        }
        let scalars = self.scalar(expr, grid)?;
        Ok(Arc::new(super::scalar::ScalarVector { scalars, steps: grid.count }))
    }

    /// The values of a scalar expression.
    pub fn scalar(&self, expr: &Expr, grid: Grid) -> Result<Scalars, QueryError> {
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(Scalars::Constant(*value)),
            ExprKind::Paren(inner) => self.scalar(inner, grid),
            ExprKind::Unary { negative, operand } => {
                let scalars = self.scalar(operand, grid)?;
                Ok(if *negative { scalars.map(|v| -v) } else { scalars })
            }
            ExprKind::Binary(binary) => {
                let (left, right) = (self.scalar(&binary.left, grid)?, self.scalar(&binary.right, grid)?);
                let op = binary.op;
                if let Some(function) = math::arithmetic(op) {
                    return Ok(left.zip(&right, grid.count, function));
                }
                if !op.is_comparison() {
                    return Err(QueryError::execution(format!(
                        "operator {:?} not allowed for Scalar operations",
                        op.as_str()
                    )));
                }
                Ok(left.zip(&right, grid.count, |a, b| f64::from(u8::from(math::compare(op, a, b)))))
            }
            ExprKind::Call(call) => self.scalar_call(call.function.id, &call.arguments, grid),
            _ => Err(QueryError::execution(format!("expected a scalar, got {}", describe(expr)))),
        }
    }

    fn scalar_call(&self, id: FunctionId, arguments: &[Expr], grid: Grid) -> Result<Scalars, QueryError> {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        let outer = self.context.outer;
        let pair = |function: fn(f64, f64) -> f64| -> Result<Scalars, QueryError> {
            let (a, b) = (self.scalar(&arguments[0], grid)?, self.scalar(&arguments[1], grid)?);
            Ok(a.zip(&b, grid.count, function))
        };
        match id {
            FunctionId::Pi => Ok(Scalars::Constant(std::f64::consts::PI)),
            FunctionId::Time if grid.count == 1 => Ok(Scalars::Constant(seconds(grid.start))),
            FunctionId::Time => Ok(Scalars::Steps((0..grid.count).map(|step| seconds(grid.at(step))).collect())),
            FunctionId::Start => Ok(Scalars::Constant(seconds(outer.start))),
            FunctionId::End => Ok(Scalars::Constant(seconds(outer.end()))),
            FunctionId::Range => Ok(Scalars::Constant(seconds(self.scope.range_ms))),
            FunctionId::Step => Ok(Scalars::Constant(seconds(self.context.outer_step))),
            FunctionId::MinOf => pair(math::smaller),
            FunctionId::MaxOf => pair(math::larger),
            FunctionId::Scalar => {
                let invariant = grid.count > 1 && is_step_invariant(&arguments[0]);
                let inner = if invariant { Grid { count: 1, ..grid } } else { grid };
                let node = self.vector(&arguments[0], inner)?;
                let values = label_call::scalar(&self.context, &node, inner.count)?;
                Ok(match values[..] {
                    [value] => Scalars::Constant(value),
                    _ => Scalars::Steps(values.into()),
                })
            }
            _ => Err(QueryError::execution(format!("{id:?} yields no scalar"))),
        }
    }
}

/// The expression within parentheses.
pub fn unwrap_parens(mut expr: &Expr) -> &Expr {
    while let ExprKind::Paren(inner) = &expr.kind {
        expr = inner;
    }
    expr
}

/// The text of a text argument.
pub fn text(expr: &Expr) -> Result<&str, QueryError> {
    match &unwrap_parens(expr).kind {
        ExprKind::Text(text) => Ok(text),
        _ => Err(QueryError::execution("expected a string")),
    }
}

pub fn describe(expr: &Expr) -> &'static str {
    expr.value_type().describe()
}

/// Whether the value is the same at every step: numbers, and selectors pinned by `@`.
pub fn is_step_invariant(expr: &Expr) -> bool {
    use FunctionId::*;
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::Text(_) => true,
        ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => is_step_invariant(inner),
        ExprKind::Vector(selector) => selector.at.is_some(),
        ExprKind::Matrix(matrix) => matrix.vector.at.is_some(),
        ExprKind::Subquery(subquery) => subquery.at.is_some(),
        ExprKind::Binary(binary) => is_step_invariant(&binary.left) && is_step_invariant(&binary.right),
        ExprKind::Aggregate(aggregate) => {
            is_step_invariant(&aggregate.operand) && aggregate.parameter.as_ref().is_none_or(is_step_invariant)
        }
        ExprKind::Call(call) => {
            let tells_time = matches!(
                call.function.id,
                Time | Timestamp
                    | PredictLinear
                    | DaysInMonth
                    | DayOfMonth
                    | DayOfWeek
                    | DayOfYear
                    | Hour
                    | Minute
                    | Month
                    | Year
            );
            !tells_time && call.arguments.iter().all(is_step_invariant)
        }
    }
}

/// Aggregations that choose series or need all values at once.
pub fn is_ranked(op: AggregateOp) -> bool {
    use AggregateOp::*;
    matches!(op, TopK | BottomK | LimitK | LimitRatio | Quantile | CountValues)
}
