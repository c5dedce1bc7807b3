//! `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`: classic buckets by their label `le`, and
//! native histograms.

use super::{
    annotations::Note,
    column::Column,
    context::{Charge, Context, Grid, Keys},
    node::{Node, OwnLabels, SeriesLabels},
    pool::Scratch,
    scalar::Scalars,
};
use crate::{
    model::{METRIC_NAME, number::parse_float},
    promql::{
        ast::Span,
        functions::buckets::{self, Bucket},
        limits::QueryError,
    },
};
use std::sync::Arc;

const BUCKET_LABEL: &str = "le";

/// What is asked of each histogram.
pub enum Question {
    Quantile(Scalars),
    Fraction(Scalars, Scalars),
    Quantiles { label: String, quantiles: Vec<Scalars> },
}

/// One histogram: its classic buckets, and the series that may hold it as a native one.
struct Group {
    /// Labels without `le`, the name still among them.
    labels: OwnLabels,
    classic: Vec<(f64, u32)>,
    native: Option<u32>,
    /// The native series' `le`, where it is no bound.
    bad_bound: Option<String>,
}

/// One output series for each group, or for each group and quantile.
pub struct Buckets {
    context: Arc<Context>,
    grid: Grid,
    input: Arc<dyn Node>,
    question: Question,
    groups: Vec<Group>,
    labels: Vec<OwnLabels>,
    /// The spans of the arguments, and which of them is the vector.
    spans: Vec<Span>,
    vector_argument: usize,
    _charge: Charge,
}

impl Buckets {
    pub fn new(
        context: &Arc<Context>,
        input: Arc<dyn Node>,
        grid: Grid,
        question: Question,
        spans: Vec<Span>,
        vector_argument: usize,
    ) -> Result<Buckets, QueryError> {
        let delayed = context.semantics.delayed_name_removal;
        let groups = group(&input);
        note_quantiles(context, &question, &spans, grid);
        let mut labels = Vec::new();
        for group in &groups {
            let own = group.labels.borrow().renamed(delayed);
            match &question {
                Question::Quantiles { label, quantiles } => {
                    for quantile in quantiles {
                        let mut builder = own.to_labels().builder();
                        builder.set(label, &buckets::quantile_text(quantile.at(0)));
                        labels.push(OwnLabels { labels: builder.build(), pending: own.pending });
                    }
                }
                _ => labels.push(OwnLabels::of(own)),
            }
        }
        let charge = Charge::new(context, 0, labels.len() * 64)?;
        Ok(Buckets {
            context: context.clone(),
            grid,
            input,
            question,
            groups,
            labels,
            spans,
            vector_argument,
            _charge: charge,
        })
    }

    fn per_group(&self) -> usize {
        match &self.question {
            Question::Quantiles { quantiles, .. } => quantiles.len(),
            _ => 1,
        }
    }
}

fn group(input: &Arc<dyn Node>) -> Vec<Group> {
    let mut keys = Keys::default();
    let mut key = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    for index in 0..input.len() {
        let labels = input.labels(index);
        let bound_text = labels.get(BUCKET_LABEL).unwrap_or_default();
        let bound = parse_float(bound_text);
        labels.write_key(&mut key, |name| bound.is_none() || name != BUCKET_LABEL);
        let (number, new) = keys.number(&key);
        if new {
            let kept = labels.to_labels().filtered(|name| bound.is_none() || name != BUCKET_LABEL);
            groups.push(Group {
                labels: OwnLabels { labels: kept, pending: labels.pending },
                classic: Vec::new(),
                native: None,
                bad_bound: None,
            });
        }
        match bound {
            Some(bound) => groups[number].classic.push((bound, index as u32)),
            None => {
                groups[number].native = Some(index as u32);
                groups[number].bad_bound = Some(bound_text.to_owned());
            }
        }
    }
    groups
}

fn note_quantiles(context: &Context, question: &Question, spans: &[Span], grid: Grid) {
    let check = |q: &Scalars, span: Span| {
        let bad = (0..grid.count.min(q.values().len())).map(|step| q.at(step)).find(|q| !(0.0..=1.0).contains(q));
        if let Some(bad) = bad {
            context.annotations.add(Note::invalid_quantile(bad), span);
        }
    };
    match question {
        Question::Quantile(q) => check(q, spans[0]),
        Question::Quantiles { quantiles, .. } => {
            quantiles.iter().zip(&spans[2..]).for_each(|(q, span)| check(q, *span));
        }
        Question::Fraction(..) => {}
    }
}

impl Node for Buckets {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        self.labels[index].borrow()
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let group = &self.groups[index / self.per_group()];
        let which = index % self.per_group();
        let steps = self.grid.count;
        out.reset(steps);
        let mut classic = Vec::with_capacity(group.classic.len());
        for (bound, series) in &group.classic {
            let mut column = scratch.column(steps);
            self.input.fill(*series as usize, &mut column, scratch)?;
            classic.push((*bound, column));
        }
        let mut native = scratch.column(steps);
        if let Some(series) = group.native {
            self.input.fill(series as usize, &mut native, scratch)?;
            if native.present.any() {
                let metric = self.input.labels(series as usize).metric_name().to_owned();
                let value = group.bad_bound.clone().unwrap_or_default();
                self.note(Note::BadBucketLabel { metric, value });
            }
        }
        classic.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let mut found: Vec<Bucket> = Vec::with_capacity(classic.len());
        let mut forced = false;
        for step in 0..steps {
            found.clear();
            found.extend(
                classic.iter().filter_map(|(bound, c)| c.get(step).map(|count| Bucket { upper: *bound, count })),
            );
            match native.histogram(step) {
                Some(_) if !found.is_empty() => {
                    let metric = group.labels.labels.get(METRIC_NAME).unwrap_or_default().to_owned();
                    self.note(Note::MixedClassicNative { metric });
                }
                Some(histogram) => {
                    let metric = group.labels.labels.get(METRIC_NAME).unwrap_or_default();
                    out.set(step, self.answer_native(histogram, which, step, metric));
                }
                None if found.is_empty() => {}
                None => out.set(step, self.answer_classic(&mut found, which, step, &mut forced)),
            }
        }
        if forced {
            let delayed = self.context.semantics.delayed_name_removal;
            let metric = group.labels.labels.get(METRIC_NAME).filter(|_| delayed).unwrap_or_default().to_owned();
            self.note(Note::ForcedMonotonicity { metric });
        }
        scratch.give_column(native);
        classic.into_iter().for_each(|(_, column)| scratch.give_column(column));
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.context.semantics.delayed_name_removal
    }

    fn weight(&self) -> usize {
        self.input.weight() * self.input.len().div_ceil(self.groups.len().max(1))
    }
}

impl Buckets {
    fn note(&self, note: Note) {
        self.context.annotations.add(note, self.spans[self.vector_argument]);
    }

    fn answer_classic(&self, found: &mut Vec<Bucket>, which: usize, step: usize, forced: &mut bool) -> f64 {
        let q = match &self.question {
            Question::Fraction(low, high) => return buckets::fraction(low.at(step), high.at(step), found),
            Question::Quantile(q) => q.at(step),
            Question::Quantiles { quantiles, .. } => quantiles[which].at(step),
        };
        let answer = buckets::quantile(q, found);
        *forced |= answer.forced_monotonic;
        answer.value
    }

    fn answer_native(&self, histogram: &crate::model::Histogram, which: usize, step: usize, metric: &str) -> f64 {
        let (value, note) = match &self.question {
            Question::Fraction(low, high) => {
                super::histograms::fraction(low.at(step), high.at(step), histogram, metric)
            }
            Question::Quantile(q) => super::histograms::quantile(q.at(step), histogram, metric),
            Question::Quantiles { quantiles, .. } => {
                super::histograms::quantile(quantiles[which].at(step), histogram, metric)
            }
        };
        if let Some(note) = note {
            self.context.annotations.add(note, self.spans[0]);
        }
        value
    }
}
