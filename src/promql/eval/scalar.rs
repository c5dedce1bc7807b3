//! Scalars: one number a step, or one for all steps.

use super::{
    column::Column,
    node::{Node, SeriesLabels},
    pool::Scratch,
};
use crate::{model::Labels, promql::limits::QueryError};
use std::sync::{Arc, LazyLock};

/// The value of a scalar expression.
#[derive(Debug, Clone)]
pub enum Scalars {
    Constant(f64),
    Steps(Arc<[f64]>),
}

impl Scalars {
    #[inline]
    pub fn at(&self, step: usize) -> f64 {
        match self {
            Scalars::Constant(value) => *value,
            Scalars::Steps(values) => values[step],
        }
    }

    pub fn map(self, function: impl Fn(f64) -> f64) -> Scalars {
        match self {
            Scalars::Constant(value) => Scalars::Constant(function(value)),
            Scalars::Steps(values) => Scalars::Steps(values.iter().map(|v| function(*v)).collect()),
        }
    }

    pub fn zip(&self, other: &Scalars, steps: usize, function: impl Fn(f64, f64) -> f64) -> Scalars {
        match (self, other) {
            (Scalars::Constant(a), Scalars::Constant(b)) => Scalars::Constant(function(*a, *b)),
            _ => Scalars::Steps((0..steps).map(|step| function(self.at(step), other.at(step))).collect()),
        }
    }

    /// All values, one where they are all the same.
    pub fn values(&self) -> &[f64] {
        match self {
            Scalars::Constant(value) => std::slice::from_ref(value),
            Scalars::Steps(values) => values,
        }
    }
}

static NO_LABELS: LazyLock<Labels> = LazyLock::new(Labels::empty);

/// `vector(scalar)`: one series without labels.
pub struct ScalarVector {
    pub scalars: Scalars,
    pub steps: usize,
}

impl Node for ScalarVector {
    fn len(&self) -> usize {
        1
    }

    fn labels(&self, _index: usize) -> SeriesLabels<'_> {
        SeriesLabels::plain(&NO_LABELS)
    }

    fn fill(&self, _index: usize, out: &mut Column, _scratch: &mut Scratch) -> Result<(), QueryError> {
        out.reset(self.steps);
        match &self.scalars {
            Scalars::Constant(value) => out.values.fill(*value),
            Scalars::Steps(values) => out.values.copy_from_slice(values),
        }
        out.present.set_all();
        Ok(())
    }

    fn names_matter(&self) -> bool {
        false
    }

    fn weight(&self) -> usize {
        self.steps
    }
}
