//! Functions over windows: all steps of one series in one pass.

use super::{
    annotations::Note,
    column::Column,
    context::{Charge, Context, Grid},
    hints::hint_all,
    node::{Node, SeriesLabels},
    pool::Scratch,
    scalar::Scalars,
    selector::{Source, drop_stale, drop_weightless},
    sliding_call,
    widened::{Buckets, scaled},
    windows::Windows,
};
use crate::{
    model::{HistogramSample, ResetHint, Samples, Timestamp},
    promql::{
        ast::{Extension, Span},
        functions::{
            FunctionId, over_time,
            rate::{self, Ends, RateKind, Resets},
            window::{Counts, Outcome, Remarks, Window},
        },
        limits::QueryError,
    },
};
use std::{ops::Range, sync::Arc};

/// After so many samples in windows a kernel looks whether it should stop: some milliseconds, even where it sorts.
const WORK_BETWEEN_CHECKS: usize = 1 << 17;

/// Subqueries of up to so many steps are not charged for while they compute: less than a megabyte a worker.
const STEPS_FREE: usize = 1 << 15;
/// A value in the column of the subquery, its time and its value again as samples.
const STEP_BYTES: usize = 24;

/// Where windows take their samples from.
pub enum RangeSource {
    Series {
        source: Source,
        /// Only figures of histograms are asked for.
        figures: bool,
    },
    /// A subquery: the values of a node at the steps of its own grid.
    Steps { node: Arc<dyn Node>, grid: Grid },
}

impl RangeSource {
    /// How many series there are.
    pub fn series(&self) -> usize {
        match self {
            RangeSource::Series { source, .. } => source.set.len(),
            RangeSource::Steps { node, .. } => node.len(),
        }
    }

    pub fn labels(&self, index: usize) -> SeriesLabels<'_> {
        match self {
            RangeSource::Series { source, .. } => SeriesLabels::plain(source.set.labels(index)),
            RangeSource::Steps { node, .. } => node.labels(index),
        }
    }

    pub fn names_matter(&self) -> bool {
        match self {
            RangeSource::Series { source, .. } => source.names_matter,
            RangeSource::Steps { node, .. } => node.names_matter(),
        }
    }

    /// The buckets of a series that windows begin or end within; `samples` are those read of it.
    fn cut_buckets(&self, windows: &Windows, range_ms: i64, samples: &Samples) -> Buckets {
        match self {
            RangeSource::Series { source, .. }
                if !samples.weights.is_empty() || !samples.histogram_weights.is_empty() =>
            {
                Buckets::cut(windows, range_ms, samples, &source.set.tiers())
            }
            _ => Buckets::default(),
        }
    }

    /// What a long subquery takes while one of its series is looked at; few steps are nothing.
    fn charge(&self, context: &Arc<Context>) -> Result<Option<Charge>, QueryError> {
        match self {
            RangeSource::Steps { grid, .. } if grid.count > STEPS_FREE => {
                Charge::new(context, grid.count, grid.count * STEP_BYTES).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn weight(&self) -> usize {
        match self {
            RangeSource::Series { source, .. } => source.weight,
            RangeSource::Steps { node, grid } => node.weight() + grid.count,
        }
    }

    /// Replaces `samples` by those of series `index`, without staleness markers; histograms with what their
    /// neighbours say of counter resets where only figures are asked for.
    pub fn read(&self, index: usize, samples: &mut Samples, scratch: &mut Scratch) -> Result<(), QueryError> {
        match self {
            RangeSource::Series { source, figures } => {
                source.read(index, samples)?;
                if *figures && !samples.histograms.is_empty() {
                    hint_all(samples);
                }
                drop_stale(samples);
                Ok(())
            }
            RangeSource::Steps { node, grid } => {
                let mut column = scratch.column(grid.count);
                node.fill(index, &mut column, scratch)?;
                samples.clear();
                steps_to_samples(&column, grid, samples);
                scratch.give_column(column);
                Ok(())
            }
        }
    }
}

/// The weights of some points, where there are any.
fn part(weights: &[u32], points: Range<usize>) -> &[u32] {
    if weights.is_empty() { weights } else { &weights[points] }
}

/// The values of a column at their times. What a histogram said of resets holds no more between steps.
pub fn steps_to_samples(column: &Column, grid: &Grid, samples: &mut Samples) {
    for step in column.present.ones() {
        samples.push(grid.at(step), column.values[step]);
    }
    samples.histograms.extend(column.histograms.iter().map(|(step, histogram)| {
        let mut histogram = histogram.clone();
        if matches!(histogram.reset_hint, ResetHint::Reset | ResetHint::NotReset) {
            Arc::make_mut(&mut histogram).reset_hint = ResetHint::Unknown;
        }
        HistogramSample { timestamp: grid.at(*step as usize), histogram }
    }));
}

/// A call such as `rate(x[5m])`.
pub struct RangeCall {
    pub context: Arc<Context>,
    pub source: RangeSource,
    pub windows: Windows,
    pub range_ms: i64,
    pub extension: Extension,
    pub function: FunctionId,
    /// The scalar arguments in order.
    pub parameters: Vec<Scalars>,
    /// The first argument: where annotations point to.
    pub span: Span,
}

/// Whether the series keeps its name: these functions choose a sample and do not compute one.
pub fn keeps_name(function: FunctionId) -> bool {
    matches!(function, FunctionId::LastOverTime | FunctionId::FirstOverTime)
}

/// Whether points that stand for no sample are of use: they say what a counter lost.
fn wants_weightless(function: FunctionId) -> bool {
    matches!(function, FunctionId::Rate | FunctionId::Increase | FunctionId::Resets)
}

impl Node for RangeCall {
    fn len(&self) -> usize {
        self.source.series()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        let labels = self.source.labels(index);
        if keeps_name(self.function) { labels } else { labels.renamed(self.context.semantics.delayed_name_removal) }
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let mut samples = scratch.samples();
        let _charge = self.source.charge(&self.context)?;
        self.source.read(index, &mut samples, scratch)?;
        if !wants_weightless(self.function) {
            drop_weightless(&mut samples);
        }
        out.reset(self.windows.grid.count);
        let mut remarks = Remarks::default();
        let mut run = Run { call: self, samples: &samples, out, remarks: &mut remarks, offered: 0, unchecked: 0 };
        let result = run.all_steps(scratch);
        let offered = run.offered;
        self.context.budget.offer(offered);
        self.note(index, &remarks, out);
        scratch.give_samples(samples);
        result
    }

    fn names_matter(&self) -> bool {
        // Once names are gone for good, the planner has made sure that series still differ.
        self.source.names_matter() && (keeps_name(self.function) || self.context.semantics.delayed_name_removal)
    }

    fn weight(&self) -> usize {
        self.source.weight()
    }
}

impl RangeCall {
    fn rate_kind(&self) -> Option<RateKind> {
        match self.function {
            FunctionId::Rate => Some(RateKind { counter: true, per_second: true }),
            FunctionId::Increase => Some(RateKind { counter: true, per_second: false }),
            FunctionId::Delta => Some(RateKind { counter: false, per_second: false }),
            _ => None,
        }
    }

    fn window<'a>(&self, samples: &'a Samples, step: usize, floats: Range<usize>, native: Range<usize>) -> Window<'a> {
        let end = self.windows.reference(step);
        Window {
            times: &samples.timestamps[floats.clone()],
            values: &samples.values[floats.clone()],
            weights: part(&samples.weights, floats),
            histogram_weights: part(&samples.histogram_weights, native.clone()),
            histograms: &samples.histograms[native],
            start: end - self.range_ms,
            end,
            evaluated_at: self.windows.grid.at(step),
            extension: self.extension,
        }
    }

    fn note(&self, index: usize, remarks: &Remarks, out: &Column) {
        let metric = || self.source.labels(index).metric_name().to_owned();
        let add = |note: Note| self.context.annotations.add(note, self.span);
        if matches!(self.function, FunctionId::Rate | FunctionId::Increase) && out.present.any() {
            let name = self.source.labels(index).metric_name();
            let counter = ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix));
            if !name.is_empty() && !counter {
                add(Note::PossibleNonCounter { metric: metric() });
            }
        }
        if *remarks == Remarks::default() {
            return;
        }
        if remarks.mixed_floats_histograms {
            add(Note::MixedFloatsHistograms { metric: metric() });
        }
        if remarks.histograms_ignored {
            add(Note::HistogramIgnoredInMixedRange { metric: metric() });
        }
        if remarks.not_counter {
            add(Note::NotCounter { metric: metric() });
        }
        if remarks.not_gauge {
            add(Note::NotGauge { metric: metric() });
        }
        if remarks.mixed_exponential_custom {
            add(Note::MixedExponentialCustom { metric: metric() });
        }
        if remarks.conflicting_resets {
            add(Note::CounterResetCollision { operation: "aggregation" });
        }
        for operation in &remarks.reconciled {
            add(Note::ReconciledBuckets { operation });
        }
        if let Some(q) = remarks.invalid_quantile {
            add(Note::invalid_quantile(q));
        }
    }
}

/// One series on its way through all steps.
pub(super) struct Run<'a> {
    pub call: &'a RangeCall,
    pub samples: &'a Samples,
    pub out: &'a mut Column,
    pub remarks: &'a mut Remarks,
    offered: u64,
    unchecked: usize,
}

impl Run<'_> {
    fn all_steps(&mut self, scratch: &mut Scratch) -> Result<(), QueryError> {
        let (call, samples) = (self.call, self.samples);
        if call.extension == Extension::None {
            let cut = call.source.cut_buckets(&call.windows, call.range_ms, samples);
            if !cut.is_empty() {
                let mut buffer = scratch.floats();
                let done = self.widened_steps(&cut, &mut buffer);
                scratch.give_floats(buffer);
                return done;
            }
        }
        let plain = samples.histograms.is_empty() && call.extension == Extension::None;
        if plain && let Some(kind) = call.rate_kind() {
            return self.rates(kind);
        }
        if plain
            && sliding_call::is_worth_it(call, samples)
            && let Some(done) = sliding_call::slide(self)
        {
            return done;
        }
        let mut buffer = scratch.floats();
        let mut failure = None;
        call.windows.walk_both(&samples.timestamps, &samples.histograms, |step, floats, native| {
            if failure.is_none()
                && let Err(error) = self.one_step(step, floats, native, &mut buffer)
            {
                failure = Some(error);
            }
        });
        scratch.give_floats(buffer);
        failure.map_or(Ok(()), Err)
    }

    /// As windows that reach to the edges of `buckets`.
    fn widened_steps(&mut self, buckets: &Buckets, buffer: &mut Vec<f64>) -> Result<(), QueryError> {
        let (call, samples) = (self.call, self.samples);
        let (mut floats, mut native) = (0..0, 0..0);
        for step in 0..call.windows.grid.count {
            let reference = call.windows.reference(step);
            let (start, end) = buckets.widen(reference - call.range_ms, reference);
            advance(&mut floats, start, end, |at| samples.timestamps.get(at).copied());
            advance(&mut native, start, end, |at| samples.histograms.get(at).map(|sample| sample.timestamp));
            if floats.is_empty() && native.is_empty() {
                continue;
            }
            let window = Window { start, end, ..call.window(samples, step, floats.clone(), native.clone()) };
            self.count(step, window.len())?;
            let outcome = evaluate(call, step, &window, self.remarks, buffer)?;
            self.put(step, scaled(call.function, outcome, call.range_ms, end - start));
        }
        Ok(())
    }

    fn put(&mut self, step: usize, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Float(value) => self.out.set(step, value),
            Outcome::Histogram(histogram) => self.out.set_histogram(step, histogram),
        }
    }

    fn one_step(
        &mut self,
        step: usize,
        floats: Range<usize>,
        native: Range<usize>,
        buffer: &mut Vec<f64>,
    ) -> Result<(), QueryError> {
        if floats.is_empty() && native.is_empty() {
            return Ok(());
        }
        let window = self.call.window(self.samples, step, floats, native);
        self.count(step, window.len())?;
        let outcome = evaluate(self.call, step, &window, self.remarks, buffer)?;
        self.put(step, outcome);
        Ok(())
    }

    /// Accounts for a window.
    #[inline]
    pub fn offer(&mut self, step: usize, samples: usize) {
        self.offered += samples as u64;
        if self.call.context.counts_steps() {
            self.call.context.offer_at(&self.call.windows.grid, step, samples as u64);
        }
    }

    /// Accounts for a window, and from time to time looks whether to stop.
    fn count(&mut self, step: usize, samples: usize) -> Result<(), QueryError> {
        self.offer(step, samples);
        self.unchecked += samples;
        if self.unchecked > WORK_BETWEEN_CHECKS {
            self.unchecked = 0;
            self.call.context.budget.check()?;
        }
        Ok(())
    }

    /// `rate`, `increase` and `delta` on floats: resets found once, then constant work a step.
    fn rates(&mut self, kind: RateKind) -> Result<(), QueryError> {
        let (call, times, values) = (self.call, &self.samples.timestamps[..], &self.samples.values[..]);
        let counts = Counts::of(&self.samples.weights);
        let mut resets = Resets::default();
        if kind.counter {
            resets.find(values);
        }
        let mut failure = None;
        call.windows.walk(times, |step, range| {
            if failure.is_none() {
                failure = call.context.look(step).err();
            }
            self.offer(step, range.len());
            if range.len() < 2 || failure.is_some() {
                return;
            }
            let samples = counts.from_first(range.clone());
            if samples < 2 {
                return;
            }
            let (first, last) = (range.start, range.end - 1);
            let increase = resets.correct(values[last] - values[first], first, range.end);
            let ends = Ends { first_at: times[first], last_at: times[last], samples };
            let end = call.windows.reference(step);
            let value = rate::extrapolated(increase, values[first], ends, end - call.range_ms, end, kind);
            self.out.set(step, value);
        });
        failure.map_or(Ok(()), Err)
    }
}

/// Moves `range` on to the samples after `start` up to and with `end`; neither may fall from call to call.
fn advance(range: &mut Range<usize>, start: Timestamp, end: Timestamp, time: impl Fn(usize) -> Option<Timestamp>) {
    while time(range.start).is_some_and(|at| at <= start) {
        range.start += 1;
    }
    range.end = range.end.max(range.start);
    while time(range.end).is_some_and(|at| at <= end) {
        range.end += 1;
    }
}

/// The value of any range function for one window that holds something.
fn evaluate(
    call: &RangeCall,
    step: usize,
    window: &Window<'_>,
    remarks: &mut Remarks,
    buffer: &mut Vec<f64>,
) -> Result<Outcome, QueryError> {
    use FunctionId::*;
    let values = window.values;
    let parameter = |index: usize| call.parameters[index].at(step);
    Ok(match call.function {
        Rate | Increase | Delta => match call.rate_kind() {
            Some(kind) => super::native::rate(kind, window, remarks),
            None => Outcome::Nothing,
        },
        Irate => super::native::instant_rate(window, true, remarks),
        Idelta => super::native::instant_rate(window, false, remarks),
        SumOverTime | AvgOverTime if rate::refuse_mixed(window, remarks) => Outcome::Nothing,
        SumOverTime if values.is_empty() => super::native::sum_over_time(window, remarks),
        AvgOverTime if values.is_empty() => super::native::average_over_time(window, remarks),
        SumOverTime => Outcome::Float(over_time::sum(values)),
        AvgOverTime if !window.weights.is_empty() => {
            Outcome::Float(over_time::average_of_sums(values, window.float_count() as f64))
        }
        AvgOverTime => Outcome::Float(over_time::average(values)),
        CountOverTime => Outcome::Float((window.float_count() + window.histogram_count()) as f64),
        PresentOverTime | AbsentOverTime => Outcome::Float(1.0),
        FirstOverTime => over_time::first(window),
        LastOverTime => over_time::last(window),
        TsOfFirstOverTime => {
            let times = window.times.first().copied().into_iter();
            let all = times.chain(window.histograms.first().map(|h| h.timestamp));
            all.min().map_or(Outcome::Nothing, |at| Outcome::Float(over_time::seconds(at)))
        }
        TsOfLastOverTime => {
            let times = window.times.last().copied().into_iter();
            let all = times.chain(window.histograms.last().map(|h| h.timestamp));
            all.max().map_or(Outcome::Nothing, |at| Outcome::Float(over_time::seconds(at)))
        }
        MaxOverTime => of_floats(window, 1, remarks, || over_time::maximum(values)),
        MinOverTime => of_floats(window, 1, remarks, || over_time::minimum(values)),
        TsOfMaxOverTime => of_floats(window, 1, remarks, || over_time::time_of(window, |value, best| value >= best)),
        TsOfMinOverTime => of_floats(window, 1, remarks, || over_time::time_of(window, |value, best| value <= best)),
        StddevOverTime => of_floats(window, 1, remarks, || over_time::variance(values).sqrt()),
        StdvarOverTime => of_floats(window, 1, remarks, || over_time::variance(values)),
        MadOverTime => of_floats(window, 1, remarks, || over_time::median_deviation(values, buffer)),
        QuantileOverTime => {
            let q = parameter(0);
            if !values.is_empty() && !(0.0..=1.0).contains(&q) {
                remarks.invalid_quantile = Some(q);
            }
            buffer.clear();
            buffer.extend_from_slice(values);
            if over_time::floats_only(window, 1, remarks) {
                Outcome::Float(over_time::quantile(q, buffer))
            } else {
                Outcome::Nothing
            }
        }
        Deriv => of_floats(window, 2, remarks, || over_time::regression(window.times, values, window.times[0]).0),
        PredictLinear => of_floats(window, 2, remarks, || {
            let (slope, intercept) = over_time::regression(window.times, values, window.evaluated_at);
            slope * parameter(0) + intercept
        }),
        DoubleExponentialSmoothing => {
            let (smoothing, trend) = (factor("smoothing", parameter(0))?, factor("trend", parameter(1))?);
            of_floats(window, 2, remarks, || over_time::smoothed(values, smoothing, trend))
        }
        Changes => super::native::count_pairs(window, super::native::changed),
        FunctionId::Resets => super::native::count_pairs(window, super::native::fell),
        _ => return Err(QueryError::execution(format!("{:?} is no function of a range vector", call.function))),
    })
}

/// A function of floats: histograms beside them are ignored with a note.
fn of_floats(window: &Window<'_>, least: usize, remarks: &mut Remarks, function: impl FnOnce() -> f64) -> Outcome {
    if over_time::floats_only(window, least, remarks) { Outcome::Float(function()) } else { Outcome::Nothing }
}

/// A factor strictly between 0 and 1.
fn factor(name: &str, value: f64) -> Result<f64, QueryError> {
    if value <= 0.0 || value >= 1.0 {
        let short = if name == "trend" { "tf" } else { "sf" };
        return Err(QueryError::execution(format!(
            "invalid {name} factor. Expected: 0 < {short} < 1, got: {value:.6}"
        )));
    }
    Ok(value)
}
