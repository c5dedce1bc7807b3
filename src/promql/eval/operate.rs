//! One operator on two samples, and on two columns.

use super::{annotations::Note, column::Column, context::Context, histograms};
use crate::{
    model::Histogram,
    promql::{
        ast::{BinaryOp, Span},
        functions::math,
    },
};
use std::sync::Arc;

/// An operator between vectors.
#[derive(Debug, Clone, Copy)]
pub struct Operator {
    pub op: BinaryOp,
    pub return_bool: bool,
    /// The whole expression: where notes point to.
    pub span: Span,
}

/// A sample on one side.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

impl<'a> Operand<'a> {
    /// The sample of a column at a step where it has one.
    pub fn of(column: &'a Column, step: usize) -> Operand<'a> {
        match column.histogram(step) {
            Some(histogram) => Operand::Histogram(histogram),
            None => Operand::Float(column.values[step]),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Operand::Float(_) => "float",
            Operand::Histogram(_) => "histogram",
        }
    }
}

/// What two samples yield.
#[derive(Debug, Clone, PartialEq)]
pub enum OneResult {
    Float(f64),
    Histogram(Arc<Histogram>),
    /// A comparison that does not hold.
    Dropped,
    /// The operator means nothing for these two; a note says so.
    Incompatible,
}

impl Operator {
    /// Combines two samples.
    pub fn one(&self, context: &Context, left: Operand<'_>, right: Operand<'_>) -> OneResult {
        let kept = match self.keep(context, left, right) {
            Ok(result) => result,
            Err(note) => {
                if let Some(note) = note {
                    context.annotations.add(note, self.span);
                }
                return OneResult::Incompatible;
            }
        };
        if self.return_bool {
            return OneResult::Float(if kept == OneResult::Dropped { 0.0 } else { 1.0 });
        }
        kept
    }

    fn keep(&self, context: &Context, left: Operand<'_>, right: Operand<'_>) -> Result<OneResult, Option<Note>> {
        use BinaryOp::*;
        use Operand::{Float, Histogram};
        let result = match (left, right) {
            (Float(a), Float(b)) => {
                if let Some(function) = math::arithmetic(self.op) {
                    Some(OneResult::Float(function(a, b)))
                } else if self.op.is_comparison() {
                    Some(if math::compare(self.op, a, b) { OneResult::Float(a) } else { OneResult::Dropped })
                } else {
                    None
                }
            }
            (Float(a), Histogram(b)) => (self.op == Mul).then(|| OneResult::Histogram(histograms::scaled(b, a))),
            (Histogram(a), Float(b)) => match self.op {
                Mul => Some(OneResult::Histogram(histograms::scaled(a, b))),
                Div => Some(OneResult::Histogram(histograms::divided(a, b))),
                TrimUpper | TrimLower => Some(OneResult::Histogram(histograms::trimmed(a, b, self.op == TrimUpper))),
                _ => None,
            },
            (Histogram(a), Histogram(b)) => match self.op {
                Add | Sub => {
                    let (sum, notes) = histograms::combined(a, b, self.op);
                    notes.into_iter().for_each(|note| context.annotations.add(note, self.span));
                    match sum {
                        Some(sum) => Some(OneResult::Histogram(sum)),
                        None => return Err(Some(Note::IncompatibleBuckets { operator: self.op.as_str() })),
                    }
                }
                Equal | NotEqual => {
                    let equal = crate::promql::histogram::equal(a, b);
                    let holds = equal == (self.op == Equal);
                    Some(if holds { OneResult::Histogram(a.clone()) } else { OneResult::Dropped })
                }
                _ => None,
            },
        };
        result.ok_or_else(|| {
            Some(Note::IncompatibleTypes { left: left.kind(), operator: self.op.as_str(), right: right.kind() })
        })
    }

    /// Combines `out` with `other` into `out`, which is the left side unless `out_is_right`.
    pub fn apply(&self, context: &Context, other: &Column, out: &mut Column, out_is_right: bool) {
        if out.histograms.is_empty() && other.histograms.is_empty() && self.float_columns(other, out, out_is_right) {
            return;
        }
        let mut result = Column::new(out.steps());
        for step in 0..out.steps() {
            if !out.has(step) || !other.has(step) {
                continue;
            }
            let (own, theirs) = (Operand::of(out, step), Operand::of(other, step));
            let (left, right) = if out_is_right { (theirs, own) } else { (own, theirs) };
            match self.one(context, left, right) {
                OneResult::Float(value) => result.set(step, value),
                OneResult::Histogram(histogram) => result.set_histogram(step, histogram),
                OneResult::Dropped | OneResult::Incompatible => {}
            }
        }
        *out = result;
    }

    /// `false` where the operator means nothing for floats.
    fn float_columns(&self, other: &Column, out: &mut Column, out_is_right: bool) -> bool {
        out.present.and(&other.present);
        if self.op.is_comparison() {
            for step in 0..out.values.len() {
                if !out.present.get(step) {
                    continue;
                }
                let (own, theirs) = (out.values[step], other.values[step]);
                let (left, right) = if out_is_right { (theirs, own) } else { (own, theirs) };
                let holds = math::compare(self.op, left, right);
                if self.return_bool {
                    out.values[step] = f64::from(u8::from(holds));
                } else if holds {
                    out.values[step] = left;
                } else {
                    out.present.clear(step);
                }
            }
            return true;
        }
        let Some(function) = math::arithmetic(self.op) else { return false };
        let zip = |values: &mut [f64], f: &dyn Fn(f64, f64) -> f64| {
            for (own, theirs) in values.iter_mut().zip(&other.values) {
                *own = if out_is_right { f(*theirs, *own) } else { f(*own, *theirs) };
            }
        };
        zip(&mut out.values, &function);
        true
    }
}
