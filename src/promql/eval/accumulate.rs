//! What a group adds up to while its members stream by: columns of sums, counts and extremes.

use super::{
    annotations::Note,
    column::{Bits, Column},
    native_sum::HistogramSums,
};
use crate::promql::{ast::AggregateOp, functions::over_time::Sum};

/// The running state of one group over all steps.
pub struct Accumulator {
    kind: Kind,
    present: Bits,
    /// Sums, extremes or means.
    main: Vec<f64>,
    /// What rounding lost of the sums, or the squares of deviations.
    second: Vec<f64>,
    counts: Vec<u32>,
    histograms: Option<Box<HistogramSums>>,
    histogram_ignored: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Average,
    Extreme { largest: bool },
    Count,
    Deviation,
    Presence,
}

impl Accumulator {
    pub fn new(op: AggregateOp, steps: usize) -> Accumulator {
        let kind = match op {
            AggregateOp::Sum => Kind::Sum,
            AggregateOp::Avg => Kind::Average,
            AggregateOp::Min => Kind::Extreme { largest: false },
            AggregateOp::Max => Kind::Extreme { largest: true },
            AggregateOp::Count => Kind::Count,
            AggregateOp::Stddev | AggregateOp::Stdvar => Kind::Deviation,
            _ => Kind::Presence,
        };
        let floats = |wanted: bool, start: f64| if wanted { vec![start; steps] } else { Vec::new() };
        let start = match kind {
            Kind::Sum | Kind::Average => Sum::default().sum,
            Kind::Extreme { .. } => f64::NAN,
            _ => 0.0,
        };
        let counted = matches!(kind, Kind::Average | Kind::Count | Kind::Deviation);
        Accumulator {
            kind,
            present: Bits::new(steps),
            main: floats(!matches!(kind, Kind::Count | Kind::Presence), start),
            second: floats(matches!(kind, Kind::Sum | Kind::Average | Kind::Deviation), 0.0),
            counts: if counted { vec![0; steps] } else { Vec::new() },
            histograms: None,
            histogram_ignored: false,
        }
    }

    pub fn steps(&self) -> usize {
        self.present.steps()
    }

    /// Takes in one member.
    pub fn add(&mut self, column: &Column, metric: impl Fn() -> String) {
        let values = &column.values[..];
        match self.kind {
            Kind::Sum => column.present.each_run(
                &mut (&mut self.main, &mut self.second),
                |(sums, lost), range| {
                    let (sums, lost) = (&mut sums[range.clone()], &mut lost[range.clone()]);
                    for ((sum, lost), value) in sums.iter_mut().zip(lost).zip(&values[range]) {
                        add_to(sum, lost, *value);
                    }
                },
                |(sums, lost), step| add_to(&mut sums[step], &mut lost[step], values[step]),
            ),
            Kind::Average => column.present.each_run(
                &mut (&mut self.main, &mut self.second, &mut self.counts),
                |(sums, lost, counts), range| {
                    let (sums, lost) = (&mut sums[range.clone()], &mut lost[range.clone()]);
                    for ((sum, lost), value) in sums.iter_mut().zip(lost).zip(&values[range.clone()]) {
                        add_to(sum, lost, *value);
                    }
                    counts[range].iter_mut().for_each(|n| *n += 1);
                },
                |(sums, lost, counts), step| {
                    add_to(&mut sums[step], &mut lost[step], values[step]);
                    counts[step] += 1;
                },
            ),
            Kind::Extreme { largest } => {
                for step in column.present.ones() {
                    take_extreme(&mut self.main[step], values[step], largest);
                }
            }
            Kind::Count => {
                for step in column.present.ones() {
                    self.counts[step] += 1;
                }
            }
            Kind::Deviation => {
                for step in column.present.ones() {
                    self.counts[step] += 1;
                    let delta = values[step] - self.main[step];
                    self.main[step] += delta / f64::from(self.counts[step]);
                    self.second[step] += delta * (values[step] - self.main[step]);
                }
            }
            Kind::Presence => {}
        }
        self.present.or(&column.present);
        if !column.histograms.is_empty() {
            self.add_histograms(column, metric);
        }
    }

    fn add_histograms(&mut self, column: &Column, metric: impl Fn() -> String) {
        match self.kind {
            Kind::Sum | Kind::Average => {
                let average = self.kind == Kind::Average;
                let sums = self.histograms.get_or_insert_with(|| Box::new(HistogramSums::new(average)));
                column.histograms.iter().for_each(|(step, h)| sums.add(*step, h, &metric));
            }
            Kind::Count => column.histograms.iter().for_each(|(step, _)| {
                self.counts[*step as usize] += 1;
                self.present.set(*step as usize);
            }),
            Kind::Presence => column.histograms.iter().for_each(|(step, _)| self.present.set(*step as usize)),
            Kind::Extreme { .. } | Kind::Deviation => self.histogram_ignored = true,
        }
    }

    /// Takes in what a later block of the same group added up to.
    pub fn merge(&mut self, other: Accumulator) {
        match self.kind {
            Kind::Sum | Kind::Average => {
                for step in other.present.ones() {
                    add_to(&mut self.main[step], &mut self.second[step], other.main[step]);
                    self.second[step] += other.second[step];
                }
                self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b);
            }
            Kind::Extreme { largest } => {
                for step in other.present.ones() {
                    take_extreme(&mut self.main[step], other.main[step], largest);
                }
            }
            Kind::Count => self.counts.iter_mut().zip(&other.counts).for_each(|(a, b)| *a += b),
            Kind::Deviation => {
                for step in other.present.ones() {
                    let (a, b) = (f64::from(self.counts[step]), f64::from(other.counts[step]));
                    let delta = other.main[step] - self.main[step];
                    self.main[step] += delta * b / (a + b);
                    self.second[step] += other.second[step] + delta * delta * a * b / (a + b);
                    self.counts[step] += other.counts[step];
                }
            }
            Kind::Presence => {}
        }
        self.present.or(&other.present);
        self.histogram_ignored |= other.histogram_ignored;
        match (&mut self.histograms, other.histograms) {
            (Some(own), Some(other)) => own.merge(*other),
            (own @ None, other) => *own = other,
            (Some(_), None) => {}
        }
    }

    /// Whether a sum that an average needs went beyond a float's range.
    pub fn overflowed(&self) -> bool {
        self.kind == Kind::Average
            && (self.present.ones().any(|step| self.main[step].is_infinite())
                || self.histograms.as_ref().is_some_and(|sums| sums.overflowed()))
    }

    /// What a user should know; mixed groups are told by [`Accumulator::finish`].
    pub fn notes(&self, op: AggregateOp) -> Vec<Note> {
        let mut notes = self.histograms.as_ref().map(|sums| sums.notes()).unwrap_or_default();
        if self.histogram_ignored {
            notes.push(Note::HistogramIgnoredInAggregation { operator: op.as_str() });
        }
        notes
    }

    /// The group's column, and whether floats met histograms at a step, which then has no value.
    pub fn finish(mut self, op: AggregateOp) -> (Column, bool) {
        let mut column = Column { values: std::mem::take(&mut self.main), present: self.present, ..Column::default() };
        let steps = column.present.steps();
        match self.kind {
            Kind::Sum => {
                for (sum, lost) in column.values.iter_mut().zip(&self.second) {
                    *sum = Sum { sum: *sum, lost: *lost }.total();
                }
            }
            Kind::Average => {
                for step in 0..steps {
                    let count = f64::from(self.counts[step]);
                    column.values[step] = column.values[step] / count + self.second[step] / count;
                }
            }
            Kind::Extreme { .. } => {}
            Kind::Count => column.values = self.counts.iter().map(|n| f64::from(*n)).collect(),
            Kind::Deviation => {
                column.values = self.second;
                for (value, count) in column.values.iter_mut().zip(&self.counts) {
                    *value /= f64::from(*count);
                    if op == AggregateOp::Stddev {
                        *value = value.sqrt();
                    }
                }
            }
            Kind::Presence => column.values = vec![1.0; steps],
        }
        let mixed = self.histograms.is_some_and(|sums| sums.finish_into(&mut column));
        (column, mixed)
    }
}

#[inline(always)]
fn add_to(sum: &mut f64, lost: &mut f64, value: f64) {
    let mut total = Sum { sum: *sum, lost: *lost };
    total.add(value);
    (*sum, *lost) = (total.sum, total.lost);
}

#[inline(always)]
fn take_extreme(best: &mut f64, value: f64, largest: bool) {
    let better = if largest { value > *best } else { value < *best };
    if better || best.is_nan() {
        *best = value;
    }
}
