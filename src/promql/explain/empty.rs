//! Why an answer is empty: the first expression, from the top, that had something and gave nothing.

use super::{operator, plan::size, selector};
use crate::{
    model::{Labels, Samples, TimeRange, Timestamp, is_stale, time::format_duration_ms},
    promql::{
        ast::{Aggregate, Binary, Call, Expr, ExprKind, MatrixSelector, Span, Subquery, ValueType},
        engine::{Asked, Engine, QueryOptions},
        eval::{annotations::position, context::Grid, duration::DurationScope},
        functions::FunctionId,
        limits::QueryError,
        value::{SampleValue, Value},
    },
};
use std::time::Instant;

/// What kind of cause it is, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    StoreEmpty,
    NoSuchMetric,
    ExcludedByMatcher,
    NotAtThatTime,
    Stale,
    BetweenSteps,
    TooFewSamples,
    Filtered,
    NoMatch,
    NotAtTheSameTime,
    SetOperator,
    Present,
    NoBuckets,
    NothingComputed,
}

impl ReasonKind {
    pub fn as_str(self) -> &'static str {
        match self {
            ReasonKind::StoreEmpty => "store_empty",
            ReasonKind::NoSuchMetric => "no_such_metric",
            ReasonKind::ExcludedByMatcher => "excluded_by_matcher",
            ReasonKind::NotAtThatTime => "not_at_that_time",
            ReasonKind::Stale => "stale",
            ReasonKind::BetweenSteps => "between_steps",
            ReasonKind::TooFewSamples => "too_few_samples",
            ReasonKind::Filtered => "filtered",
            ReasonKind::NoMatch => "no_match",
            ReasonKind::NotAtTheSameTime => "not_at_the_same_time",
            ReasonKind::SetOperator => "set_operator",
            ReasonKind::Present => "present",
            ReasonKind::NoBuckets => "no_buckets",
            ReasonKind::NothingComputed => "nothing_computed",
        }
    }
}

/// Why nothing came out of an expression.
#[derive(Debug, Clone)]
pub struct Reason {
    pub kind: ReasonKind,
    /// A sentence for people.
    pub message: String,
    pub span: Span,
    /// Where the expression stands, counted from one.
    pub line: usize,
    pub column: usize,
    /// Names or values that may have been meant, best first.
    pub nearest: Vec<String>,
    /// When the newest sample before the time asked for was taken.
    pub last_seen_ms: Option<Timestamp>,
    /// Label sets that show it: of the left and the right side, or of what was found.
    pub examples: Vec<(&'static str, Labels)>,
}

/// Expressions looked into: each is evaluated again.
const PARTS_MAX: usize = 24;

/// Finds the reasons for an empty answer.
pub(super) fn reasons(
    engine: &Engine,
    query: &str,
    expr: &Expr,
    asked: Asked,
    options: &QueryOptions,
) -> Result<Vec<Reason>, QueryError> {
    let options = QueryOptions { stats: false, ..options.clone() };
    let mut search = Search { engine, query, options, begin: Instant::now(), parts_left: PARTS_MAX, found: Vec::new() };
    search.why(expr, asked)?;
    Ok(search.found)
}

pub(super) struct Search<'a> {
    pub engine: &'a Engine,
    pub query: &'a str,
    options: QueryOptions,
    begin: Instant,
    parts_left: usize,
    found: Vec<Reason>,
}

impl Search<'_> {
    pub fn say(&mut self, kind: ReasonKind, span: Span, message: String) -> &mut Reason {
        let (line, column) = position(self.query, span.start);
        let reason =
            Reason { kind, message, span, line, column, nearest: Vec::new(), last_seen_ms: None, examples: Vec::new() };
        self.found.push(reason);
        let last = self.found.len() - 1;
        &mut self.found[last]
    }

    /// The value of a part of the query.
    pub fn value(&mut self, expr: &Expr, asked: Asked) -> Result<Value, QueryError> {
        self.parts_left = self.parts_left.saturating_sub(1);
        Ok(self.engine.part(self.query, expr, asked, &self.options, self.begin)?.value)
    }

    pub fn lookback_ms(&self) -> i64 {
        self.options.lookback_ms.filter(|ms| *ms > 0).unwrap_or(self.engine.config().lookback_ms)
    }

    pub fn scope(&self, asked: Asked) -> DurationScope<'_> {
        let grid = asked.grid;
        DurationScope { query: self.query, step_ms: asked.step_ms, range_ms: grid.end() - grid.start }
    }

    pub fn check(&self) -> Result<(), QueryError> {
        if self.options.cancel.is_canceled() {
            return Err(QueryError::Canceled(crate::promql::limits::STAGE_EVALUATION));
        }
        Ok(())
    }

    fn is_empty(&mut self, expr: &Expr, asked: Asked) -> Result<bool, QueryError> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.is_empty(inner, asked),
            ExprKind::Matrix(matrix) => {
                let bounds = selector::range_bounds(self, matrix, asked)?;
                Ok(live_samples(self.engine, &matrix.vector.matchers, bounds)?.is_none())
            }
            ExprKind::Subquery(subquery) => {
                let asked = self.steps_of(subquery, asked)?;
                self.is_empty(&subquery.operand, asked)
            }
            _ => Ok(size(&self.value(expr, asked)?).1 == 0),
        }
    }

    /// Says why `expr`, which is empty, is.
    fn why(&mut self, expr: &Expr, asked: Asked) -> Result<(), QueryError> {
        self.check()?;
        if self.parts_left == 0 {
            return Ok(());
        }
        match &expr.kind {
            ExprKind::Number { .. } | ExprKind::Text(_) => Ok(()),
            ExprKind::Paren(inner) | ExprKind::Unary { operand: inner, .. } => self.why(inner, asked),
            ExprKind::Vector(vector) => {
                let bounds = selector::instant_bounds(self, vector, asked)?;
                selector::why(self, vector, expr.span, bounds, None)
            }
            ExprKind::Matrix(matrix) => {
                let bounds = selector::range_bounds(self, matrix, asked)?;
                let range_ms = self.scope(asked).positive(&matrix.range)?;
                selector::why(self, &matrix.vector, matrix.vector_span, bounds, Some(range_ms))
            }
            ExprKind::Subquery(subquery) => {
                let asked = self.steps_of(subquery, asked)?;
                self.why(&subquery.operand, asked)
            }
            ExprKind::Aggregate(aggregate) => self.why_aggregate(aggregate, expr.span, asked),
            ExprKind::Call(call) => self.why_call(call, expr.span, asked),
            ExprKind::Binary(binary) => self.why_binary(binary, expr.span, asked),
        }
    }

    /// The steps at which the inside of a subquery is evaluated.
    fn steps_of(&self, subquery: &Subquery, asked: Asked) -> Result<Asked, QueryError> {
        let scope = self.scope(asked);
        let range_ms = scope.positive(&subquery.range)?;
        let step_ms = match &subquery.step {
            Some(step) => scope.positive(step)?,
            None => self.engine.config().subquery_step_ms,
        };
        let offset_ms = subquery.offset.as_ref().map_or(Ok(0), |offset| scope.any(offset))?;
        let (first, last) = selector::references(asked, subquery.at, offset_ms);
        let start = first.saturating_sub(range_ms).saturating_add(1);
        let start = start.div_euclid(step_ms).saturating_add(i64::from(start.rem_euclid(step_ms) != 0)) * step_ms;
        if start > last {
            return Ok(Asked { grid: Grid { start: last, step: step_ms, count: 1 }, step_ms });
        }
        Asked::range(start, last, step_ms, self.engine.config().limits.samples_max)
    }

    fn why_aggregate(&mut self, aggregate: &Aggregate, span: Span, asked: Asked) -> Result<(), QueryError> {
        if self.is_empty(&aggregate.operand, asked)? {
            return self.why(&aggregate.operand, asked);
        }
        let message = format!(
            "`{}` gives nothing for the series it gets; its parameter may ask for none of them.",
            aggregate.op.as_str()
        );
        self.say(ReasonKind::NothingComputed, span, message);
        Ok(())
    }

    fn why_call(&mut self, call: &Call, span: Span, asked: Asked) -> Result<(), QueryError> {
        let series = call.arguments.iter().filter(|a| matches!(a.value_type(), ValueType::Vector | ValueType::Matrix));
        let mut any = None;
        for argument in series {
            if self.is_empty(argument, asked)? {
                return self.why(argument, asked);
            }
            any = Some(argument);
        }
        let name = call.function.name;
        match call.function.id {
            FunctionId::Absent | FunctionId::AbsentOverTime => {
                let message = format!("`{name}` is empty because what it asks for is there.");
                self.say(ReasonKind::Present, span, message);
            }
            FunctionId::HistogramQuantile | FunctionId::HistogramFraction | FunctionId::HistogramQuantiles => {
                let message = format!(
                    "`{name}` needs native histograms, or series of one histogram with the label `le`, `+Inf` among \
                     them; aggregations before it have to keep `le`."
                );
                self.say(ReasonKind::NoBuckets, span, message);
            }
            _ => match any.map(|argument| &argument.kind) {
                Some(ExprKind::Matrix(matrix)) => return self.too_few(name, matrix, span, asked),
                _ => {
                    let message = format!("`{name}` gives nothing for the series it gets.");
                    self.say(ReasonKind::NothingComputed, span, message);
                }
            },
        }
        Ok(())
    }

    /// A function of a range that has samples and gives nothing.
    fn too_few(&mut self, name: &str, matrix: &MatrixSelector, span: Span, asked: Asked) -> Result<(), QueryError> {
        let range_ms = self.scope(asked).positive(&matrix.range)?;
        let bounds = selector::range_bounds(self, matrix, asked)?;
        let Some((labels, samples)) = live_samples(self.engine, &matrix.vector.matchers, bounds)? else {
            return Ok(());
        };
        let count = samples.count();
        let times = &samples.timestamps;
        let distance = match times[..] {
            [first, .., last] => {
                format!(", one every {}", format_duration_ms((last - first) / (count as i64 - 1).max(1)))
            }
            _ => String::new(),
        };
        let message = format!(
            "`{name}` needs more samples within its range of {} than there are: a series has {count}{distance}. A range \
             of four times the scrape interval is safe.",
            format_duration_ms(range_ms)
        );
        self.say(ReasonKind::TooFewSamples, span, message).examples.push(("series", labels));
        Ok(())
    }

    fn why_binary(&mut self, binary: &Binary, span: Span, asked: Asked) -> Result<(), QueryError> {
        let is_vector = |expr: &Expr| expr.value_type() != ValueType::Scalar;
        let mut empty = Vec::new();
        for side in [&binary.left, &binary.right] {
            if is_vector(side) && self.is_empty(side, asked)? {
                empty.push(side);
            }
        }
        let without_right = binary.op == crate::promql::ast::BinaryOp::Unless;
        if without_right {
            empty.retain(|side| std::ptr::eq(*side, &binary.left));
        }
        if !empty.is_empty() {
            return empty.into_iter().try_for_each(|side| self.why(side, asked));
        }
        match &binary.matching {
            Some(matching) => {
                let (left, right) = (self.value(&binary.left, asked)?, self.value(&binary.right, asked)?);
                operator::why(self, binary, matching, span, &left, &right);
            }
            None => {
                let side = if is_vector(&binary.left) { &binary.left } else { &binary.right };
                let value = self.value(side, asked)?;
                let message = filtered(binary, &value);
                self.say(ReasonKind::Filtered, span, message);
            }
        }
        Ok(())
    }
}

/// A comparison that lets nothing through.
pub(super) fn filtered(binary: &Binary, value: &Value) -> String {
    let (mut least, mut most, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0u64);
    let mut see = |value: f64| {
        count += 1;
        least = least.min(value);
        most = most.max(value);
    };
    match value {
        Value::Vector(samples) => samples.iter().for_each(|sample| {
            if let SampleValue::Float(value) = sample.value {
                see(value);
            }
        }),
        Value::Matrix(series) => series.iter().flat_map(|one| &one.samples.values).for_each(|value| see(*value)),
        Value::Scalar { value, .. } => see(*value),
        Value::Text { .. } => {}
    }
    let op = binary.op.as_str();
    if count == 0 || least > most {
        return format!("No value passes `{op}`.");
    }
    format!("No value passes `{op}`: the {count} values compared lie between {least} and {most}.")
}

/// A series with samples that are no staleness markers within `bounds`, and those samples.
pub(super) fn live_samples(
    engine: &Engine,
    matchers: &[crate::model::Matcher],
    bounds: TimeRange,
) -> Result<Option<(Labels, Samples)>, QueryError> {
    let set = engine.store().select(bounds, matchers, &crate::store::Hints::default())?;
    let mut samples = Samples::default();
    for index in 0..set.len().min(selector::SERIES_READ_MAX) {
        set.read(index, &mut samples)?;
        let live = samples.values.iter().any(|value| !is_stale(*value))
            || samples.histograms.iter().any(|one| !is_stale(one.histogram.sum));
        if live {
            return Ok(Some((set.labels(index).clone(), samples)));
        }
    }
    Ok(None)
}
