//! The engine: one query in, one answer out, under limits and on a fixed number of threads.

use super::{
    ast::{Expr, ValueType},
    eval::{
        column::Column,
        context::{Charge, Context, Grid, Semantics},
        duration::DurationScope,
        hints::figure_selectors,
        label_call,
        node::{Clash, Node, map_series, merge_same_labels},
        plan::{Planner, Use, text},
        pool::Pool,
        repeated::Repeated,
        selector::drop_weightless,
    },
    limits::{Budget, Cancel, Gate, Limits, QueryError},
    parser::{self, ParseOptions},
    value::{Answer, MatrixSeries, SampleValue, Stats, Timings, Value, VectorSample},
};
use crate::{
    model::{HistogramSample, Samples, Timestamp},
    store::Queryable,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

/// How the engine answers; set once.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    pub limits: Limits,
    /// How long a sample stands for its series; `QueryOptions` may differ.
    pub lookback_ms: i64,
    /// Steps of a subquery that names none: the global evaluation interval.
    pub subquery_step_ms: i64,
    /// Experimental syntax and functions.
    pub syntax: ParseOptions,
    /// `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Threads beside the one that asks.
    pub workers: usize,
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
        EngineConfig {
            limits: Limits::default(),
            lookback_ms: 300_000,
            subquery_step_ms: 60_000,
            syntax: ParseOptions::default(),
            delayed_name_removal: false,
            workers: cores,
        }
    }
}

/// What one query wants different.
#[derive(Debug, Clone, Default)]
pub struct QueryOptions {
    /// Positive; the engine's own where `None`.
    pub lookback_ms: Option<i64>,
    /// Never longer than the engine's limit.
    pub timeout_ms: Option<u64>,
    pub cancel: Cancel,
    /// Measure every node and step.
    pub stats: bool,
}

/// Answers PromQL over a store.
pub struct Engine {
    store: Arc<dyn Queryable>,
    config: EngineConfig,
    pool: Arc<Pool>,
    gate: Gate,
}

/// The steps a query asks for.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub(super) grid: Grid,
    /// 0 for an instant.
    pub(super) step_ms: i64,
}

impl Asked {
    /// One step at `at_ms`.
    pub fn instant(at_ms: Timestamp) -> Asked {
        Asked { grid: Grid::instant(at_ms), step_ms: 0 }
    }

    /// The steps of a range, at most `steps_max`.
    pub fn range(start_ms: Timestamp, end_ms: Timestamp, step_ms: i64, steps_max: u64) -> Result<Asked, QueryError> {
        if step_ms <= 0 || end_ms < start_ms {
            return Err(QueryError::execution("a range query needs a positive step and an end not before its start"));
        }
        let span = end_ms.checked_sub(start_ms).ok_or_else(|| QueryError::execution("the range is too long"))?;
        let count = usize::try_from(span / step_ms + 1).map_err(|_| QueryError::TooManySamples)?;
        if count as u64 > steps_max {
            return Err(QueryError::TooManySamples);
        }
        Ok(Asked { grid: Grid { start: start_ms, step: step_ms, count }, step_ms })
    }
}

impl Engine {
    /// Starts the worker threads; where the system refuses them, queries compute on the asking thread alone.
    pub fn new(store: Arc<dyn Queryable>, config: EngineConfig) -> Engine {
        let pool = Pool::new(config.workers).unwrap_or_else(|error| {
            tracing::warn!(%error, "No threads for queries: each computes on its own thread alone.");
            Pool::without_workers()
        });
        let gate = Gate::new(config.limits.concurrent_max);
        Engine { store, config, pool: Arc::new(pool), gate }
    }

    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Evaluates at one time. Blocks until done: call it from a thread that may wait.
    pub fn instant(&self, query: &str, at_ms: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        self.run(query, Asked::instant(at_ms), options)
    }

    /// Evaluates at `start_ms`, then every `step_ms` up to `end_ms`; always a matrix. Blocks until done. How many steps
    /// are too many is the caller's to decide.
    pub fn range(
        &self,
        query: &str,
        start_ms: Timestamp,
        end_ms: Timestamp,
        step_ms: i64,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let asked = Asked::range(start_ms, end_ms, step_ms, self.config.limits.samples_max)?;
        self.run(query, asked, options)
    }

    /// What the engine asks.
    pub fn store(&self) -> &Arc<dyn Queryable> {
        &self.store
    }

    fn run(&self, query: &str, asked: Asked, options: &QueryOptions) -> Result<Answer, QueryError> {
        let begin = Instant::now();
        let expr = parser::parse(query, &self.config.syntax).map_err(|error| QueryError::Parse(error.to_string()))?;
        check_type(&expr, asked)?;
        self.part(query, &expr, asked, options, begin)
    }

    /// Evaluates `query`, or the part of it that `expr` is. Time counts from `begin`.
    pub fn part(
        &self,
        query: &str,
        expr: &Expr,
        asked: Asked,
        options: &QueryOptions,
        begin: Instant,
    ) -> Result<Answer, QueryError> {
        let limits = &self.config.limits;
        let timeout_ms = options.timeout_ms.map_or(limits.timeout_ms, |ms| ms.min(limits.timeout_ms));
        let deadline = begin + Duration::from_millis(timeout_ms);
        let turn = self.gate.enter(deadline, &options.cancel)?;
        let queued = Instant::now();
        let semantics = Semantics {
            lookback_ms: options.lookback_ms.filter(|ms| *ms > 0).unwrap_or(self.config.lookback_ms),
            subquery_step_ms: self.config.subquery_step_ms,
            delayed_name_removal: self.config.delayed_name_removal,
        };
        let context = Arc::new(Context::new(
            self.store.clone(),
            self.pool.clone(),
            Budget::new(limits, deadline, options.cancel.clone()),
            semantics,
            asked.grid,
            asked.step_ms,
            options.stats,
        ));
        let mut timings = Timings { queue: queued - begin, ..Timings::default() };
        // A bug in one expression must cost its query, not the thread that asked.
        let value = catch_unwind(AssertUnwindSafe(|| evaluate(&context, query, expr, asked, &mut timings)))
            .unwrap_or_else(|_| Err(QueryError::unexpected()))?;
        drop(turn);
        context.note_tiers();
        timings.total = begin.elapsed();
        let (warnings, infos) = context.annotations.texts(query);
        let stats = Stats {
            samples_read: context.budget.scanned(),
            samples_queryable: context.budget.queryable(),
            samples_queryable_per_step: context.per_step(),
            samples_peak: context.budget.held_peak(),
            bytes_peak: context.budget.bytes_peak(),
            timings,
            nodes: context.node_stats(),
            sources: context.source_stats(),
        };
        Ok(Answer { value, warnings, infos, stats })
    }
}

/// A range query takes scalars and instant vectors only.
pub(super) fn check_type(expr: &Expr, asked: Asked) -> Result<(), QueryError> {
    let found = expr.value_type();
    if asked.step_ms > 0 && !matches!(found, ValueType::Scalar | ValueType::Vector) {
        return Err(QueryError::Parse(format!(
            "invalid expression type {:?} for range query, must be Scalar or instant Vector",
            found.describe()
        )));
    }
    Ok(())
}

fn evaluate(
    context: &Arc<Context>,
    query: &str,
    expr: &Expr,
    asked: Asked,
    timings: &mut Timings,
) -> Result<Value, QueryError> {
    let begin = Instant::now();
    let grid = asked.grid;
    let scope = DurationScope { query, step_ms: asked.step_ms, range_ms: grid.end() - grid.start };
    let planner = Planner {
        context: context.clone(),
        scope,
        figures: figure_selectors(expr),
        repeated: Repeated::find(query, expr),
    };
    if asked.step_ms == 0 {
        match expr.value_type() {
            ValueType::Text => {
                return Ok(Value::Text { at: grid.start, text: text(expr)?.to_owned() });
            }
            ValueType::Scalar => {
                let value = planner.scalar(expr, grid)?.at(0);
                timings.evaluation = begin.elapsed();
                return Ok(Value::Scalar { at: grid.start, value });
            }
            ValueType::Matrix => return instant_matrix(&planner, expr, grid, timings),
            ValueType::Vector => {}
        }
    }
    let mut node = planner.vector_or_scalar(expr, grid)?;
    if context.semantics.delayed_name_removal {
        let named = label_call::without_pending_names(node);
        node = merge_same_labels(context, Arc::new(named), grid.count, Clash::AtOneStep)?;
    }
    timings.preparation = begin.elapsed();
    let planned = Instant::now();
    if asked.step_ms == 0 {
        let vector = instant_vector(context, &node, grid)?;
        timings.evaluation = planned.elapsed();
        return Ok(Value::Vector(vector));
    }
    let mut matrix = matrix(context, &node, grid)?;
    timings.evaluation = planned.elapsed();
    let evaluated = Instant::now();
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    timings.sorting = evaluated.elapsed();
    Ok(Value::Matrix(matrix))
}

fn instant_vector(context: &Arc<Context>, node: &Arc<dyn Node>, grid: Grid) -> Result<Vec<VectorSample>, QueryError> {
    let labels_of = node.clone();
    let samples = map_series(context, node, move |index, column, _| {
        let value = match column.get(0) {
            Some(value) => Some(SampleValue::Float(value)),
            None => column.histogram(0).cloned().map(SampleValue::Histogram),
        };
        Ok(value.map(|value| VectorSample { labels: labels_of.labels(index).to_labels(), at: grid.start, value }))
    })?;
    let Some(order) = node.order() else { return Ok(samples.into_iter().flatten().collect()) };
    let mut samples = samples;
    Ok(order.iter().filter_map(|index| samples[*index as usize].take()).collect())
}

fn matrix(context: &Arc<Context>, node: &Arc<dyn Node>, grid: Grid) -> Result<Vec<MatrixSeries>, QueryError> {
    let labels_of = node.clone();
    let inside = context.clone();
    let series = map_series(context, node, move |index, column, _| {
        if column.is_empty() {
            return Ok(None);
        }
        let samples = to_samples(column, &grid);
        let bytes = samples.timestamps.len() * 16 + samples.histograms.len() * 24;
        let charge = Charge::new(&inside, samples.len(), bytes)?;
        Ok(Some((MatrixSeries { labels: labels_of.labels(index).to_labels(), samples }, charge)))
    })?;
    Ok(series.into_iter().flatten().map(|(series, _)| series).collect())
}

fn to_samples(column: &Column, grid: &Grid) -> Samples {
    let count = column.present.count();
    let mut samples = Samples {
        timestamps: Vec::with_capacity(count),
        values: Vec::with_capacity(count),
        histograms: Vec::with_capacity(column.histograms.len()),
        ..Samples::default()
    };
    if count == grid.count {
        samples.timestamps.extend((0..count).map(|step| grid.at(step)));
        samples.values.extend_from_slice(&column.values);
    } else {
        for step in column.present.ones() {
            samples.push(grid.at(step), column.values[step]);
        }
    }
    samples.histograms.extend(
        column.histograms.iter().map(|(step, histogram)| HistogramSample {
            timestamp: grid.at(*step as usize),
            histogram: histogram.clone(),
        }),
    );
    samples
}

/// A range selector asked for at an instant: its samples as they are.
fn instant_matrix(planner: &Planner<'_>, expr: &Expr, grid: Grid, timings: &mut Timings) -> Result<Value, QueryError> {
    let begin = Instant::now();
    let context = &planner.context;
    let range = planner.range(expr, grid, &Use::default())?;
    let delayed = context.semantics.delayed_name_removal;
    let mut matrix = Vec::new();
    context.pool.with_scratch(|scratch| -> Result<(), QueryError> {
        for index in 0..range.source.series() {
            let mut samples = Samples::default();
            range.source.read(index, &mut samples, scratch)?;
            drop_weightless(&mut samples);
            let samples = range.cut(&samples)?;
            if samples.is_empty() {
                continue;
            }
            context.budget.hold(samples.len(), samples.len() * 16)?;
            let labels = range.source.labels(index);
            let labels = if delayed { labels.final_labels() } else { labels.to_labels() };
            matrix.push(MatrixSeries { labels, samples });
        }
        Ok(())
    })?;
    matrix.sort_by(|a, b| a.labels.cmp(&b.labels));
    timings.evaluation = begin.elapsed();
    Ok(Value::Matrix(matrix))
}

#[cfg(test)]
mod bucketed;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_random;
#[cfg(test)]
mod tests_reduced;
#[cfg(test)]
mod tests_tiers;
