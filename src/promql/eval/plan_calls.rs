//! Planning of calls, operators and aggregations.

use super::{
    aggregate::{Grouping, aggregate},
    annotations::Note,
    buckets,
    context::Grid,
    info,
    join::{JoinPlan, join},
    label_call::{self, Sorting},
    map_call::{Change, MapCall, VectorScalar},
    node::{Clash, Node, Nothing, merge_same_labels},
    operate::Operator,
    plan::{Planner, Use, text, unwrap_parens},
    range_call::{RangeCall, keeps_name},
    ranked::{self, Places},
    scalar::{ScalarVector, Scalars},
    selector::Yield,
    set::set,
};
use crate::promql::{
    ast::{Aggregate, AggregateOp, Binary, Call, Expr, ExprKind, Extension, Span, ValueType},
    functions::{FunctionId, date, math},
    limits::QueryError,
};
use std::sync::Arc;

type Planned = Result<Arc<dyn Node>, QueryError>;

impl Planner<'_> {
    pub(super) fn unary(&self, negative: bool, operand: &Expr, grid: Grid) -> Planned {
        let input = self.vector(operand, grid)?;
        if !negative {
            return Ok(input);
        }
        self.mapped(input, Change::Negate, grid)
    }

    /// Changes values one by one; series that lose what told them apart become one.
    fn mapped(&self, input: Arc<dyn Node>, change: Change, grid: Grid) -> Planned {
        let check = input.names_matter() && !self.context.semantics.delayed_name_removal;
        let node: Arc<dyn Node> = Arc::new(MapCall { context: self.context.clone(), grid, input, change });
        if check { merge_same_labels(&self.context, node, grid.count, Clash::AtOneStep) } else { Ok(node) }
    }

    pub(super) fn binary(&self, binary: &Binary, span: Span, grid: Grid) -> Planned {
        let vector = |expr: &Expr| expr.value_type() == ValueType::Vector;
        let context = &self.context;
        match (vector(&binary.left), vector(&binary.right)) {
            (true, true) => {
                let (left, right) = (self.vector(&binary.left, grid)?, self.vector(&binary.right, grid)?);
                let matching = binary
                    .matching
                    .clone()
                    .ok_or_else(|| QueryError::execution("an operator between vectors has no matching"))?;
                let node = if binary.op.is_set() {
                    set(context, grid.count, binary.op, &matching, left, right)?
                } else {
                    let operator = Operator { op: binary.op, return_bool: binary.return_bool, span };
                    let plan = JoinPlan { context: context.clone(), steps: grid.count, operator, matching };
                    join(plan, left, right)?
                };
                merge_same_labels(context, node, grid.count, Clash::AtOneStep)
            }
            (left_is_vector, _) => {
                let (vector, scalar) =
                    if left_is_vector { (&binary.left, &binary.right) } else { (&binary.right, &binary.left) };
                let input = self.vector(vector, grid)?;
                let names_matter = input.names_matter();
                let node: Arc<dyn Node> = Arc::new(VectorScalar {
                    context: context.clone(),
                    grid,
                    input,
                    scalars: self.scalar(scalar, grid)?,
                    op: binary.op,
                    swapped: !left_is_vector,
                    return_bool: binary.return_bool,
                    span,
                });
                if names_matter && !node.names_matter() {
                    return merge_same_labels(context, node, grid.count, Clash::AtOneStep);
                }
                Ok(node)
            }
        }
    }

    pub(super) fn aggregate(&self, aggregate_expr: &Aggregate, span: Span, grid: Grid) -> Planned {
        let op = aggregate_expr.op;
        let grouping = Grouping { labels: aggregate_expr.grouping.clone(), without: aggregate_expr.without };
        let operand = unwrap_parens(&aggregate_expr.operand);
        let usage =
            Use { function: Some(op.as_str()), grouping: aggregate_expr.grouping.clone(), by: !aggregate_expr.without };
        let input = self.vector_for(operand, grid, &usage)?;
        let (context, steps) = (&self.context, grid.count);
        let parameter = aggregate_expr.parameter.as_ref().map(unwrap_parens);
        let places = Places {
            whole: span,
            operand: operand.span,
            parameter: parameter.map_or(span, |parameter| parameter.span),
        };
        let scalar = || -> Result<Scalars, QueryError> {
            parameter.map_or(Ok(Scalars::Constant(f64::NAN)), |parameter| self.scalar(parameter, grid))
        };
        let held = match op {
            AggregateOp::Quantile => ranked::quantile(context, &input, steps, &scalar()?, &grouping, places)?,
            AggregateOp::CountValues => {
                let label = parameter.map(text).transpose()?.unwrap_or_default();
                ranked::count_values(context, &input, steps, label, &grouping)?
            }
            AggregateOp::TopK | AggregateOp::BottomK | AggregateOp::LimitK | AggregateOp::LimitRatio => {
                ranked::choose(context, &input, steps, op, &scalar()?, &grouping, places)?
            }
            AggregateOp::Sum
            | AggregateOp::Avg
            | AggregateOp::Min
            | AggregateOp::Max
            | AggregateOp::Count
            | AggregateOp::Group
            | AggregateOp::Stddev
            | AggregateOp::Stdvar => aggregate(context, &input, steps, op, &grouping, operand.span)?,
        };
        Ok(Arc::new(held))
    }

    pub(super) fn call(&self, call: &Call, span: Span, grid: Grid, usage: &Use) -> Planned {
        use FunctionId::*;
        let id = call.function.id;
        let argument = |index: usize| unwrap_parens(&call.arguments[index]);
        if let Some(function) = math::unary(id) {
            return self.mapped(self.vector(argument(0), grid)?, Change::Float(function), grid);
        }
        match id {
            Abs | Acos | Acosh | Asin | Asinh | Atan | Atanh | Ceil | Cos | Cosh | Deg | Exp | Floor | Ln | Log10
            | Log2 | Rad | Sgn | Sin | Sinh | Sqrt | Tan | Tanh => {
                Err(QueryError::execution(format!("{} has no kernel", call.function.name)))
            }
            Clamp | ClampMin | ClampMax | Round => self.bounded(id, call, grid),
            DayOfMonth | DayOfWeek | DayOfYear | DaysInMonth | Hour | Minute | Month | Year => {
                if call.arguments.is_empty() {
                    return Ok(Arc::new(date_of_steps(id, grid)));
                }
                self.mapped(self.vector(argument(0), grid)?, Change::Date(id), grid)
            }
            Timestamp => match &argument(0).kind {
                ExprKind::Vector(selector) => {
                    let usage = Use { function: Some(call.function.name), ..usage.clone() };
                    let node = self.instant_selector(selector, argument(0).span, grid, Yield::Time, &usage)?;
                    self.mapped(node, Change::Float(|time| time), grid)
                }
                _ => self.mapped(self.vector(argument(0), grid)?, Change::StepTime, grid),
            },
            // No start times are kept: as with Prometheus where `use-start-timestamps` is off, nothing comes out.
            StartTimestamp => self.vector(argument(0), grid).map(|_| Arc::new(Nothing) as Arc<dyn Node>),
            HistogramAvg | HistogramCount | HistogramSum | HistogramStddev | HistogramStdvar => {
                let figure = super::histograms::figure(id);
                self.mapped(self.vector(argument(0), grid)?, Change::Histogram(figure), grid)
            }
            HistogramFraction | HistogramQuantile | HistogramQuantiles => self.buckets(call, grid),
            Vector => {
                let scalars = self.scalar(argument(0), grid)?;
                Ok(Arc::new(ScalarVector { scalars, steps: grid.count }))
            }
            Absent | AbsentOverTime => self.absent(call, grid),
            LabelReplace | LabelJoin => self.labels(call, grid),
            Sort | SortDesc | SortByLabel | SortByLabelDesc => self.sort(call, span, grid),
            Info => info::info(self, &call.arguments, grid),
            AvgOverTime
            | Changes
            | CountOverTime
            | Delta
            | Deriv
            | DoubleExponentialSmoothing
            | FirstOverTime
            | Idelta
            | Increase
            | Irate
            | LastOverTime
            | MadOverTime
            | MaxOverTime
            | MinOverTime
            | PredictLinear
            | PresentOverTime
            | QuantileOverTime
            | Rate
            | Resets
            | StddevOverTime
            | StdvarOverTime
            | SumOverTime
            | TsOfFirstOverTime
            | TsOfLastOverTime
            | TsOfMaxOverTime
            | TsOfMinOverTime => self.over_window(call, id, grid, usage),
            End | MaxOf | MinOf | Pi | Range | Scalar | Start | Step | Time => {
                Err(QueryError::execution(format!("{} yields a scalar", call.function.name)))
            }
        }
    }

    /// A function of a range vector.
    fn over_window(&self, call: &Call, id: FunctionId, grid: Grid, usage: &Use) -> Planned {
        let usage = Use { function: Some(call.function.name), ..usage.clone() };
        let mut range = None;
        let mut parameters = Vec::new();
        for argument in &call.arguments {
            match argument.value_type() {
                ValueType::Matrix => range = Some(self.range(argument, grid, &usage)?),
                _ => parameters.push(self.scalar(argument, grid)?),
            }
        }
        let range =
            range.ok_or_else(|| QueryError::execution(format!("{} needs a range vector", call.function.name)))?;
        check_extension(range.extension, call)?;
        let source = range.source;
        let check = source.names_matter() && !keeps_name(id) && !self.context.semantics.delayed_name_removal;
        let node: Arc<dyn Node> = Arc::new(RangeCall {
            context: self.context.clone(),
            source,
            windows: range.windows,
            range_ms: range.range_ms,
            extension: range.extension,
            function: id,
            parameters,
            span: unwrap_parens(&call.arguments[0]).span,
        });
        if check { merge_same_labels(&self.context, node, grid.count, Clash::Anywhere) } else { Ok(node) }
    }

    fn bounded(&self, id: FunctionId, call: &Call, grid: Grid) -> Planned {
        let input = self.vector(&call.arguments[0], grid)?;
        let scalar = |index: usize| self.scalar(&call.arguments[index], grid);
        let change = match id {
            FunctionId::Clamp => Change::Clamp(scalar(1)?, scalar(2)?),
            FunctionId::ClampMin => Change::Clamp(scalar(1)?, Scalars::Constant(f64::INFINITY)),
            FunctionId::ClampMax => Change::Clamp(Scalars::Constant(f64::NEG_INFINITY), scalar(1)?),
            _ if call.arguments.len() > 1 => Change::Round(scalar(1)?),
            _ => Change::Round(Scalars::Constant(1.0)),
        };
        self.mapped(input, change, grid)
    }

    fn absent(&self, call: &Call, grid: Grid) -> Planned {
        let argument = unwrap_parens(&call.arguments[0]);
        let matchers = match &argument.kind {
            ExprKind::Vector(selector) => Some(&selector.matchers[..]),
            ExprKind::Matrix(matrix) => Some(&matrix.vector.matchers[..]),
            _ => None,
        };
        let input = if call.function.id == FunctionId::AbsentOverTime {
            let range = self.range(argument, grid, &Use { function: Some(call.function.name), ..Use::default() })?;
            check_extension(range.extension, call)?;
            Arc::new(RangeCall {
                context: self.context.clone(),
                source: range.source,
                windows: range.windows,
                range_ms: range.range_ms,
                extension: range.extension,
                function: FunctionId::AbsentOverTime,
                parameters: Vec::new(),
                span: argument.span,
            })
        } else {
            self.vector(argument, grid)?
        };
        let labels = label_call::absent_labels(matchers);
        Ok(Arc::new(label_call::absent(&self.context, &input, grid.count, labels)?))
    }

    fn labels(&self, call: &Call, grid: Grid) -> Planned {
        let input = self.vector(&call.arguments[0], grid)?;
        let texts: Vec<String> =
            call.arguments[1..].iter().map(|a| text(a).map(str::to_owned)).collect::<Result<_, _>>()?;
        let relabeled = if call.function.id == FunctionId::LabelReplace {
            label_call::replace(input, &texts[0], &texts[1], &texts[2], &texts[3])?
        } else {
            label_call::join(input, &texts[0], &texts[1], &texts[2..])?
        };
        merge_same_labels(&self.context, Arc::new(relabeled), grid.count, Clash::AtOneStep)
    }

    fn sort(&self, call: &Call, span: Span, grid: Grid) -> Planned {
        if self.context.outer_step > 0 {
            self.context.annotations.add(Note::SortIneffective, span);
        }
        let input = self.vector(&call.arguments[0], grid)?;
        let names = || call.arguments[1..].iter().map(|a| text(a).map(str::to_owned)).collect::<Result<_, _>>();
        let sorting = match call.function.id {
            FunctionId::Sort => Sorting::Value { descending: false },
            FunctionId::SortDesc => Sorting::Value { descending: true },
            FunctionId::SortByLabel => Sorting::Labels { names: names()?, descending: false },
            _ => Sorting::Labels { names: names()?, descending: true },
        };
        Ok(Arc::new(label_call::sort(&self.context, &input, grid.count, &sorting)?))
    }

    fn buckets(&self, call: &Call, grid: Grid) -> Planned {
        let argument = |index: usize| unwrap_parens(&call.arguments[index]);
        let scalar = |index: usize| self.scalar(argument(index), grid);
        let (input, question) = match call.function.id {
            FunctionId::HistogramQuantile => (1, buckets::Question::Quantile(scalar(0)?)),
            FunctionId::HistogramFraction => (2, buckets::Question::Fraction(scalar(0)?, scalar(1)?)),
            _ => {
                let quantiles: Result<Vec<Scalars>, QueryError> = (2..call.arguments.len()).map(scalar).collect();
                (0, buckets::Question::Quantiles { label: text(argument(1))?.to_owned(), quantiles: quantiles? })
            }
        };
        let spans = call.arguments.iter().map(|a| unwrap_parens(a).span).collect();
        let vector = self.vector(argument(input), grid)?;
        let node = buckets::Buckets::new(&self.context, vector, grid, question, spans, input)?;
        let node: Arc<dyn Node> = Arc::new(node);
        merge_same_labels(&self.context, node, grid.count, Clash::AtOneStep)
    }
}

/// A part of the date each step stands for.
fn date_of_steps(id: FunctionId, grid: Grid) -> ScalarVector {
    let part = |ms: i64| date::part(id, ms.div_euclid(1000)).unwrap_or(f64::NAN);
    let scalars = Scalars::Steps((0..grid.count).map(|step| part(grid.at(step))).collect());
    ScalarVector { scalars, steps: grid.count }
}

fn check_extension(extension: Extension, call: &Call) -> Result<(), QueryError> {
    use FunctionId::*;
    let id = call.function.id;
    let (word, allowed, names) = match extension {
        Extension::None => return Ok(()),
        Extension::Anchored => (
            "anchored",
            matches!(id, Changes | Delta | Increase | Rate | Resets),
            "changes, delta, increase, rate, resets",
        ),
        Extension::Smoothed => ("smoothed", matches!(id, Delta | Increase | Rate), "delta, increase, rate"),
    };
    if allowed {
        return Ok(());
    }
    Err(QueryError::execution(format!(
        "{word} modifier can only be used with: {names} - not with {}",
        call.function.name
    )))
}
