//! Sums and averages of native histograms within a group.

use super::{annotations::Note, column::Column};
use crate::{
    model::{Histogram, ResetHint},
    promql::histogram::{self, HistogramSum},
};
use std::{collections::BTreeMap, sync::Arc};

const OPERATION: &str = "aggregation";

/// Running sums by step.
pub struct HistogramSums {
    average: bool,
    steps: BTreeMap<u32, StepSum>,
    notes: Vec<Note>,
}

struct StepSum {
    /// `None` once histograms came that cannot be added.
    sum: Option<HistogramSum>,
    count: u32,
    reset_seen: bool,
    no_reset_seen: bool,
}

impl HistogramSums {
    pub fn new(average: bool) -> HistogramSums {
        HistogramSums { average, steps: BTreeMap::new(), notes: Vec::new() }
    }

    /// Adds one; `metric` names its series, for notes.
    pub fn add(&mut self, step: u32, histogram: &Arc<Histogram>, metric: &impl Fn() -> String) {
        let hint = histogram.reset_hint;
        let Some(known) = self.steps.get_mut(&step) else {
            let sum = Some(HistogramSum::new((**histogram).clone()));
            let (reset_seen, no_reset_seen) = (hint == ResetHint::Reset, hint == ResetHint::NotReset);
            self.steps.insert(step, StepSum { sum, count: 1, reset_seen, no_reset_seen });
            return;
        };
        known.count += 1;
        known.reset_seen |= hint == ResetHint::Reset;
        known.no_reset_seen |= hint == ResetHint::NotReset;
        match known.sum.as_mut().map(|sum| sum.add(histogram)) {
            Some(Ok(combined)) if combined.bounds_reconciled => {
                self.note(Note::ReconciledBuckets { operation: OPERATION });
            }
            Some(Err(_)) => {
                known.sum = None;
                self.note(Note::MixedExponentialCustom { metric: metric() });
            }
            Some(Ok(_)) | None => {}
        }
    }

    fn note(&mut self, note: Note) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Takes in the sums of a later block.
    pub fn merge(&mut self, other: HistogramSums) {
        other.notes.into_iter().for_each(|note| self.note(note));
        for (step, theirs) in other.steps {
            let Some(own) = self.steps.get_mut(&step) else {
                self.steps.insert(step, theirs);
                continue;
            };
            own.count += theirs.count;
            own.reset_seen |= theirs.reset_seen;
            own.no_reset_seen |= theirs.no_reset_seen;
            let merged = match (&mut own.sum, theirs.sum) {
                (Some(sum), Some(other)) => Some(sum.merge(other)),
                _ => None,
            };
            match merged {
                Some(Ok(combined)) => {
                    if combined.bounds_reconciled {
                        self.note(Note::ReconciledBuckets { operation: OPERATION });
                    }
                }
                Some(Err(_)) => {
                    own.sum = None;
                    self.note(Note::MixedExponentialCustom { metric: String::new() });
                }
                None => own.sum = None,
            }
        }
    }

    pub fn notes(&self) -> Vec<Note> {
        let mut notes = self.notes.clone();
        if self.steps.values().any(|step| step.reset_seen && step.no_reset_seen && step.sum.is_some()) {
            notes.push(Note::CounterResetCollision { operation: OPERATION });
        }
        notes
    }

    /// Whether a sum went beyond a float's range.
    pub fn overflowed(&self) -> bool {
        self.steps.values().filter_map(|step| step.sum.as_ref()).any(|sum| !super::native::is_finite(sum.total()))
    }

    /// Puts the results into the group's column; steps that have floats too lose their value, which is told.
    pub fn finish_into(self, column: &mut Column) -> bool {
        let mut mixed = false;
        for (step, sum) in self.steps {
            if column.present.get(step as usize) {
                column.present.clear(step as usize);
                mixed = true;
            } else if let Some(total) = sum.sum {
                let mut total = total.finish();
                if self.average {
                    histogram::div(&mut total, f64::from(sum.count));
                }
                histogram::compact(&mut total);
                column.histograms.push((step, Arc::new(total)));
            }
        }
        mixed
    }
}

/// The average of histograms whose sum is too large: each is divided first.
pub fn average_of_shares(histograms: &[Arc<Histogram>]) -> Option<Histogram> {
    let mut sum: Option<HistogramSum> = None;
    for histogram in histograms {
        let mut share = (**histogram).clone();
        histogram::div(&mut share, histograms.len() as f64);
        match &mut sum {
            None => sum = Some(HistogramSum::new(share)),
            Some(sum) => drop(sum.add(&share).ok()?),
        }
    }
    let mut mean = sum?.finish();
    histogram::compact(&mut mean);
    Some(mean)
}
