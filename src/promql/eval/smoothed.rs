//! Instant selectors with `smoothed`: between two samples the value on the line through them.

use super::{
    annotations::Note,
    column::Column,
    native_edges::between,
    node::{Node, SeriesLabels},
    pool::Scratch,
    selector::Source,
    windows::Windows,
};
use crate::{
    model::Samples,
    promql::{ast::Span, limits::QueryError},
};
use std::{ops::Range, sync::Arc};

/// See the module. Its windows look back and ahead by the lookback.
pub struct SmoothedSelector {
    pub source: Source,
    pub windows: Windows,
    pub span: Span,
}

impl Node for SmoothedSelector {
    fn len(&self) -> usize {
        self.source.set.len()
    }

    fn labels(&self, index: usize) -> SeriesLabels<'_> {
        SeriesLabels::plain(self.source.set.labels(index))
    }

    fn fill(&self, index: usize, out: &mut Column, scratch: &mut Scratch) -> Result<(), QueryError> {
        let mut samples = scratch.samples();
        self.source.read_live(index, &mut samples)?;
        out.reset(self.windows.grid.count);
        let metric = || self.labels(index).metric_name().to_owned();
        let add = |note: Note| self.source.context.annotations.add(note, self.span);
        self.windows.walk_both(&samples.timestamps, &samples.histograms, |step, floats, native| {
            if native.is_empty() {
                self.float(&samples, step, floats, out);
            } else if !floats.is_empty() {
                add(Note::MixedFloatsHistograms { metric: metric() });
            } else if !self.histogram(&samples, step, native, out) {
                add(Note::MixedExponentialCustom { metric: metric() });
            }
        });
        scratch.give_samples(samples);
        self.source.context.budget.offer(out.samples() as u64);
        Ok(())
    }

    fn names_matter(&self) -> bool {
        self.source.names_matter
    }

    fn weight(&self) -> usize {
        self.source.weight
    }
}

impl SmoothedSelector {
    fn float(&self, samples: &Samples, step: usize, range: Range<usize>, out: &mut Column) {
        let (times, values) = (&samples.timestamps, &samples.values);
        let at = self.windows.reference(step);
        let after = range.start + times[range.clone()].partition_point(|t| *t < at);
        if after < range.end && times[after] == at {
            out.set(step, values[after]);
        } else if after > range.start && after < range.end {
            let (t1, t2) = (times[after - 1], times[after]);
            let (v1, v2) = (values[after - 1], values[after]);
            out.set(step, v1 + (v2 - v1) * (at - t1) as f64 / (t2 - t1) as f64);
        } else if after > range.start {
            out.set(step, values[after - 1]);
        }
    }

    /// `false` where the two neighbours cannot be combined.
    fn histogram(&self, samples: &Samples, step: usize, range: Range<usize>, out: &mut Column) -> bool {
        let histograms = &samples.histograms;
        let at = self.windows.reference(step);
        let after = range.start + histograms[range.clone()].partition_point(|s| s.timestamp < at);
        if after < range.end && histograms[after].timestamp == at {
            out.set_histogram(step, histograms[after].histogram.clone());
        } else if after > range.start && after < range.end {
            match between(&histograms[after - 1], &histograms[after], at, true) {
                Ok(histogram) => out.set_histogram(step, Arc::new(histogram)),
                Err(_) => return false,
            }
        } else if after > range.start {
            out.set_histogram(step, histograms[after - 1].histogram.clone());
        }
        true
    }
}
