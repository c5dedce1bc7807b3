//! Nodes that change the values of each series on its own: functions of one vector, and a vector with a scalar.

use super::{
    annotations::Note,
    column::Column,
    context::{Context, Grid},
    node::{Node, SeriesLabels},
    pool::Scratch,
    scalar::Scalars,
};
use crate::promql::{
    ast::{BinaryOp, Span},
    functions::{FunctionId, date, math, over_time},
    limits::QueryError,
};
use std::sync::Arc;

/// What happens to each value.
pub enum Change {
    /// A function of the float; histograms are dropped.
    Float(fn(f64) -> f64),
    /// A part of the date the float stands for.
    Date(FunctionId),
    Clamp(Scalars, Scalars),
    /// To a multiple of the scalar.
    Round(Scalars),
    /// The time of the step, for floats and histograms alike.
    StepTime,
    Negate,
    /// A figure of a native histogram; floats are dropped.
    Histogram(fn(&crate::model::Histogram) -> f64),
}

/// A function of one vector, series by series.
pub struct MapCall {
    pub context: Arc<Context>,
    pub grid: Grid,
    pub input: Arc<dyn Node>,
    pub change: Change,
}

impl Node for MapCall {
    fn len(&self) -> usize {
        self.input.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.input.labels(index).renamed(self.context.semantics.delayed_name_removal)
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        self.input.fill(index, out, scratch)?;
        match &self.change {
            Change::Float(function) => {
                out.histograms.clear();
                let Column { values, present, .. } = out;
                present.each_run(
                    values,
                    |values, range| values[range].iter_mut().for_each(|v| *v = function(*v)),
                    |values, step| values[step] = function(values[step]),
                );
            }
            Change::Date(id) => {
                each_float(out, |_, value| date::part(*id, date::whole_seconds(value)).unwrap_or(f64::NAN));
            }
            Change::Clamp(low, high) => {
                each_float(out, |step, value| math::clamp(value, low.at(step), high.at(step)));
                for step in 0..self.grid.count {
                    if high.at(step) < low.at(step) {
                        out.present.clear(step);
                    }
                }
            }
            Change::Round(nearest) => each_float(out, |step, value| math::round(value, 1.0 / nearest.at(step))),
            Change::StepTime => {
                let histograms = std::mem::take(&mut out.histograms);
                histograms.iter().for_each(|(step, _)| out.present.set(*step as usize));
                out.histograms = histograms;
                each_float(out, |step, _| over_time::seconds(self.grid.at(step)));
            }
            Change::Negate => {
                let histograms = std::mem::take(&mut out.histograms);
                each_float(out, |_, value| -value);
                out.histograms.extend(histograms.iter().map(|(step, h)| (*step, super::histograms::negated(h))));
            }
            Change::Histogram(figure) => {
                let histograms = std::mem::take(&mut out.histograms);
                out.present.reset(self.grid.count);
                histograms.iter().for_each(|(step, h)| out.set(*step as usize, figure(h)));
            }
        }
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.input.names_matter() && self.context.semantics.delayed_name_removal
    }

    fn weight(&self) -> usize {
        self.input.weight() + self.grid.count / 4
    }
}

/// Changes every float and drops histograms.
fn each_float(out: &mut Column, change: impl Fn(usize, f64) -> f64) {
    out.histograms.clear();
    let Column { values, present, .. } = out;
    for step in present.ones() {
        values[step] = change(step, values[step]);
    }
}

/// A vector and a scalar with an operator between them.
pub struct VectorScalar {
    pub context: Arc<Context>,
    pub grid: Grid,
    pub input: Arc<dyn Node>,
    pub scalars: Scalars,
    pub op: BinaryOp,
    /// The scalar stands on the left.
    pub swapped: bool,
    pub return_bool: bool,
    pub span: Span,
}

impl VectorScalar {
    /// Whether the operator makes another metric of the series.
    fn renames(&self) -> bool {
        self.return_bool || changes_metric(self.op)
    }

    fn floats(&self, out: &mut Column) {
        let Column { values, present, .. } = out;
        if let Some(function) = math::arithmetic(self.op) {
            arithmetic_in_place(self.op, function, values, present, &self.scalars, self.swapped);
            return;
        }
        if matches!(self.op, BinaryOp::TrimUpper | BinaryOp::TrimLower) {
            if present.any() {
                self.note_types("float", "float");
            }
            present.reset(self.grid.count);
            return;
        }
        for (step, value) in values.iter_mut().enumerate() {
            if !present.get(step) {
                continue;
            }
            let scalar = self.scalars.at(step);
            let (left, right) = if self.swapped { (scalar, *value) } else { (*value, scalar) };
            let keep = math::compare(self.op, left, right);
            if self.return_bool {
                *value = f64::from(u8::from(keep));
            } else if !keep {
                present.clear(step);
            }
        }
    }

    fn note_types(&self, left: &'static str, right: &'static str) {
        let note = Note::IncompatibleTypes { left, operator: self.op.as_str(), right };
        self.context.annotations.add(note, self.span);
    }

    fn histograms(&self, out: &mut Column) {
        let histograms = std::mem::take(&mut out.histograms);
        for (step, histogram) in histograms {
            let scalar = self.scalars.at(step as usize);
            let changed = match (self.op, self.swapped) {
                (BinaryOp::Mul, _) => Some(super::histograms::scaled(&histogram, scalar)),
                (BinaryOp::Div, false) => Some(super::histograms::divided(&histogram, scalar)),
                (BinaryOp::TrimUpper, false) => Some(super::histograms::trimmed(&histogram, scalar, true)),
                (BinaryOp::TrimLower, false) => Some(super::histograms::trimmed(&histogram, scalar, false)),
                _ => None,
            };
            match changed {
                Some(changed) => out.histograms.push((step, changed)),
                None if self.swapped => self.note_types("float", "histogram"),
                None => self.note_types("histogram", "float"),
            }
        }
    }
}

impl Node for VectorScalar {
    fn len(&self) -> usize {
        self.input.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        let labels = self.input.labels(index);
        if self.renames() { labels.renamed(self.context.semantics.delayed_name_removal) } else { labels }
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        self.input.fill(index, out, scratch)?;
        self.floats(out);
        if !out.histograms.is_empty() {
            self.histograms(out);
        }
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.input.names_matter() && (!self.renames() || self.context.semantics.delayed_name_removal)
    }

    fn weight(&self) -> usize {
        self.input.weight() + self.grid.count / 4
    }
}

/// Arithmetic makes another metric, comparison and trimming choose from the same one.
pub fn changes_metric(op: BinaryOp) -> bool {
    math::arithmetic(op).is_some()
}

/// The four common operators are compiled apart, so that their loops run without a call.
fn arithmetic_in_place(
    op: BinaryOp,
    function: fn(f64, f64) -> f64,
    values: &mut [f64],
    present: &super::column::Bits,
    scalars: &Scalars,
    swapped: bool,
) {
    fn constant(values: &mut [f64], scalar: f64, swapped: bool, f: impl Fn(f64, f64) -> f64) {
        if swapped {
            values.iter_mut().for_each(|v| *v = f(scalar, *v));
        } else {
            values.iter_mut().for_each(|v| *v = f(*v, scalar));
        }
    }
    match (scalars, op) {
        (Scalars::Constant(scalar), BinaryOp::Add) => constant(values, *scalar, swapped, |a, b| a + b),
        (Scalars::Constant(scalar), BinaryOp::Sub) => constant(values, *scalar, swapped, |a, b| a - b),
        (Scalars::Constant(scalar), BinaryOp::Mul) => constant(values, *scalar, swapped, |a, b| a * b),
        (Scalars::Constant(scalar), BinaryOp::Div) => constant(values, *scalar, swapped, |a, b| a / b),
        _ => {
            for step in present.ones() {
                let (value, scalar) = (values[step], scalars.at(step));
                values[step] = if swapped { function(scalar, value) } else { function(value, scalar) };
            }
        }
    }
}
