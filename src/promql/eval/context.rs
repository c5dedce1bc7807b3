//! What all nodes of one query share: the steps, the store, the account, the workers.

use super::{
    annotations::{Annotations, Note},
    pool::Pool,
};
use crate::{
    model::{
        Matcher, TimeRange, Timestamp,
        time::{format_duration_ms, format_utc},
    },
    promql::{
        ast::Span,
        limits::{Budget, QueryError},
        value::{NodeStats, SourceStats},
    },
    store::{Fidelity, Hints, Queryable, SeriesSet, TierUse},
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The times an expression is evaluated at: `start + i * step` for `i` below `count`. One step is an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    pub start: Timestamp,
    /// Positive, milliseconds.
    pub step: i64,
    /// Zero only for the steps of an empty subquery.
    pub count: usize,
}

impl Grid {
    pub fn instant(at: Timestamp) -> Grid {
        Grid { start: at, step: 1, count: 1 }
    }

    #[inline]
    pub fn at(&self, index: usize) -> Timestamp {
        self.start + self.step * index as i64
    }

    /// The last step; the first where there is none.
    pub fn end(&self) -> Timestamp {
        self.at(self.count.saturating_sub(1))
    }
}

/// Options of the engine that change answers.
#[derive(Debug, Clone, Copy)]
pub struct Semantics {
    pub lookback_ms: i64,
    /// Steps of a subquery that names none.
    pub subquery_step_ms: i64,
    /// Metric names are removed from the answer and not on the way.
    pub delayed_name_removal: bool,
}

/// So many label sets are looked at in about a millisecond.
const BETWEEN_CHECKS: usize = 4096;

/// A selection of this query, to be shared by those that ask the same.
struct Selected {
    range: TimeRange,
    matchers: Vec<Matcher>,
    purpose: Purpose,
    set: Arc<dyn SeriesSet>,
}

/// What a store may choose by where it has buckets beside samples, or points that are computed.
#[derive(Clone, Copy, PartialEq)]
struct Purpose {
    /// Of a range selector alone: to an instant selector all are the same.
    function: Option<&'static str>,
    step_ms: i64,
    range_ms: i64,
    first_ms: Timestamp,
    lookback_ms: i64,
    allows_buckets: bool,
}

impl Purpose {
    fn of(hints: &Hints) -> Purpose {
        Purpose {
            function: hints.function.filter(|_| hints.range_ms > 0),
            step_ms: hints.step_ms,
            range_ms: hints.range_ms,
            first_ms: hints.first_ms,
            lookback_ms: hints.lookback_ms,
            allows_buckets: hints.allows_buckets,
        }
    }
}

/// A selector of the query with what it found.
struct Source {
    span: Span,
    usage: SourceUse,
    set: Arc<dyn SeriesSet>,
    counters: Arc<Counters>,
}

/// How a selector looks at samples.
#[derive(Debug, Clone, Copy, Default)]
pub struct SourceUse {
    /// Around a range selector.
    pub function: Option<&'static str>,
    /// It looks at windows, not at the newest sample before a time.
    pub windows: bool,
    /// It needs samples beyond its windows, or between them: buckets never give quite the same.
    pub between: bool,
}

/// Shared by the nodes of one query.
pub struct Context {
    pub store: Arc<dyn Queryable>,
    pub pool: Arc<Pool>,
    pub budget: Budget,
    pub annotations: Annotations,
    pub semantics: Semantics,
    /// The steps of the whole query: what `start()`, `end()`, `step()` and `range()` mean.
    pub outer: Grid,
    /// 0 for an instant query.
    pub outer_step: i64,
    /// Whether every node is measured.
    pub measure: bool,
    selections: Mutex<Vec<Selected>>,
    counters: Mutex<Vec<(Span, Arc<Counters>)>>,
    sources: Mutex<Vec<Source>>,
    per_step: Option<Vec<AtomicU64>>,
}

impl Source {
    /// What was read from buckets, stretches that follow each other as one; oldest first.
    fn tiers(&self) -> Vec<TierUse> {
        let mut tiers = self.set.tiers();
        for tier in &mut tiers {
            tier.fidelity = if self.usage.between { Fidelity::Approximate } else { tier.fidelity };
        }
        tiers.sort_by_key(|tier| (tier.fidelity, tier.resolution_ms, tier.range.start(), tier.range.end()));
        tiers.dedup_by(|next, kept| {
            let follows = next.range.start() <= kept.range.end().saturating_add(1);
            let same = next.fidelity == kept.fidelity && next.resolution_ms == kept.resolution_ms && follows;
            if same {
                let end = kept.range.end().max(next.range.end());
                kept.range = TimeRange::new(kept.range.start(), end).unwrap_or(kept.range);
            }
            same
        });
        tiers.sort_by_key(|tier| (tier.range.start(), tier.resolution_ms, tier.fidelity));
        tiers
    }
}

/// As an annotation says it.
fn kept(tier: &TierUse) -> String {
    let (from, until) = (format_utc(tier.range.start()), format_utc(tier.range.end()));
    format!("from {from} to {until} in buckets of {}", format_duration_ms(tier.resolution_ms))
}

/// Filled by workers while nodes compute.
#[derive(Debug, Default)]
pub struct Counters {
    pub planned: AtomicU64,
    pub series: AtomicU64,
    pub samples: AtomicU64,
    pub nanoseconds: AtomicU64,
}

impl Context {
    #[allow(clippy::too_many_arguments, reason = "built in one place, from the engine's parts")]
    pub fn new(
        store: Arc<dyn Queryable>,
        pool: Arc<Pool>,
        budget: Budget,
        semantics: Semantics,
        outer: Grid,
        outer_step: i64,
        measure: bool,
    ) -> Context {
        let per_step = measure.then(|| (0..outer.count).map(|_| AtomicU64::new(0)).collect());
        Context {
            store,
            pool,
            budget,
            annotations: Annotations::default(),
            semantics,
            outer,
            outer_step,
            measure,
            selections: Mutex::default(),
            counters: Mutex::default(),
            sources: Mutex::default(),
            per_step,
        }
    }

    /// Finds series; the same question of one query is asked once.
    pub fn select(
        &self,
        range: TimeRange,
        matchers: &[Matcher],
        hints: &Hints,
    ) -> Result<Arc<dyn SeriesSet>, QueryError> {
        let purpose = Purpose::of(hints);
        let serves = |known: &&Selected| {
            known.range == range
                && known.matchers == matchers
                && (known.purpose == purpose || known.set.coarsest_ms() == Some(0))
        };
        let known = self.selections.lock().iter().find(serves).map(|known| known.set.clone());
        if let Some(set) = known {
            return Ok(set);
        }
        let set = self.store.select(range, matchers, hints)?;
        self.selections.lock().push(Selected { range, matchers: matchers.to_vec(), purpose, set: set.clone() });
        Ok(set)
    }

    /// For loops over very many series or steps: looks from time to time whether to stop.
    #[inline]
    pub fn look(&self, index: usize) -> Result<(), QueryError> {
        if index.is_multiple_of(BETWEEN_CHECKS) { self.budget.check() } else { Ok(()) }
    }

    /// Counters for a node, in order of planning.
    pub fn counters(&self, span: Span) -> Arc<Counters> {
        let counters = Arc::new(Counters::default());
        self.counters.lock().push((span, counters.clone()));
        counters
    }

    /// Remembers a selector and what it found; counters for it where the query is measured.
    pub fn add_source(&self, span: Span, usage: SourceUse, set: &Arc<dyn SeriesSet>) -> Option<Arc<Counters>> {
        let counters = Arc::<Counters>::default();
        self.sources.lock().push(Source { span, usage, set: set.clone(), counters: counters.clone() });
        self.measure.then_some(counters)
    }

    /// What each selector found and read; nothing where nothing is measured.
    pub fn source_stats(&self) -> Vec<SourceStats> {
        let sources = self.sources.lock();
        let stats = |source: &Source| SourceStats {
            span: source.span,
            series: source.set.len() as u64,
            samples: source.counters.samples.load(Ordering::Relaxed),
            origin: source.set.origin(),
            tiers: source.tiers(),
        };
        sources.iter().filter(|_| self.measure).map(stats).collect()
    }

    /// Once all has been read: notes at each selector what buckets could not answer as samples would have.
    pub fn note_tiers(&self) {
        for source in self.sources.lock().iter() {
            let tiers = source.tiers();
            for fidelity in [Fidelity::Widened, Fidelity::Approximate] {
                let met: Vec<&TierUse> = tiers.iter().filter(|tier| tier.fidelity == fidelity).collect();
                let Some(coarsest_ms) = met.iter().map(|tier| tier.resolution_ms).max() else { continue };
                let kept = met.iter().map(|tier| kept(tier)).collect::<Vec<String>>().join(", ");
                let SourceUse { function, windows, .. } = source.usage;
                self.annotations.add(
                    match fidelity {
                        Fidelity::Approximate => Note::BucketsApproximate { function, kept },
                        _ => {
                            let (ranged, resolution) = (self.outer_step > 0, format_duration_ms(coarsest_ms));
                            Note::BucketsWidened { windows, ranged, kept, resolution }
                        }
                    },
                    source.span,
                );
            }
        }
    }

    /// Accounts for samples offered at a step of the outer grid.
    pub fn offer_at(&self, grid: &Grid, step: usize, samples: u64) {
        if let Some(per_step) = &self.per_step
            && *grid == self.outer
        {
            per_step[step].fetch_add(samples, Ordering::Relaxed);
        }
    }

    /// Whether [`Context::offer_at`] has any effect.
    pub fn counts_steps(&self) -> bool {
        self.per_step.is_some()
    }

    pub fn per_step(&self) -> Vec<(Timestamp, u64)> {
        let counts = self.per_step.as_deref().unwrap_or_default();
        counts.iter().enumerate().map(|(step, n)| (self.outer.at(step), n.load(Ordering::Relaxed))).collect()
    }

    pub fn node_stats(&self) -> Vec<NodeStats> {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let mut stats: Vec<NodeStats> = self
            .counters
            .lock()
            .iter()
            .map(|(span, c)| NodeStats {
                span: *span,
                series_planned: load(&c.planned),
                series: load(&c.series),
                samples: load(&c.samples),
                nanoseconds: load(&c.nanoseconds),
            })
            .collect();
        stats.sort_by_key(|s| (s.span.start, std::cmp::Reverse(s.span.end)));
        stats
    }
}

/// Memory held by a node until it is dropped.
pub struct Charge {
    context: Arc<Context>,
    samples: usize,
    bytes: usize,
}

impl Charge {
    pub fn new(context: &Arc<Context>, samples: usize, bytes: usize) -> Result<Charge, QueryError> {
        // Built first: what was added is taken back even where the limit refuses it.
        let charge = Charge { context: context.clone(), samples, bytes };
        context.budget.hold(samples, bytes)?;
        Ok(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.context.budget.release(self.samples, self.bytes);
    }
}

/// Numbers series by a byte key in order of first appearance.
#[derive(Default)]
pub struct Keys(HashMap<Vec<u8>, usize>);

impl Keys {
    /// The number of `key`, and whether it is new.
    pub fn number(&mut self, key: &[u8]) -> (usize, bool) {
        if let Some(number) = self.0.get(key) {
            return (*number, false);
        }
        let number = self.0.len();
        self.0.insert(key.to_vec(), number);
        (number, true)
    }

    pub fn find(&self, key: &[u8]) -> Option<usize> {
        self.0.get(key).copied()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
