//! `info`: adds the labels of info metrics that describe the same target.

use super::{
    column::Column,
    context::{Grid, SourceUse},
    join::braces,
    node::{Clash, Held, Node, OwnLabels, SeriesLabels, hold_columns, merge_same_labels},
    plan::{Planner, Use, unwrap_parens},
    selector::{InstantSelector, Source, Yield, lookback_windows},
};
use crate::{
    model::{Labels, METRIC_NAME, MatchOp, Matcher},
    promql::{
        ast::{Expr, ExprKind, Span, VectorSelector},
        limits::QueryError,
    },
    store::Hints,
};
use std::{collections::BTreeMap, sync::Arc};

/// The labels by which a series and its info metric belong together.
const IDENTIFYING: [&str; 2] = ["instance", "job"];
const TARGET_INFO: &str = "target_info";

/// An info series: its labels and when each step's sample was taken.
struct InfoSeries {
    labels: Labels,
    times: Column,
    /// The times may be those of steps: which of two is newer is not known.
    from_buckets: bool,
}

/// What the second argument asks for.
struct Wanted {
    name_matchers: Vec<Matcher>,
    data_matchers: Vec<Matcher>,
}

impl Wanted {
    fn of(selector: Option<&VectorSelector>) -> Wanted {
        let all = selector.map(|s| s.matchers.clone()).unwrap_or_default();
        let (mut name_matchers, data_matchers): (Vec<Matcher>, Vec<Matcher>) =
            all.into_iter().partition(|m| m.name == METRIC_NAME);
        // What is asked for only by names it must not have is sought among the usual ones.
        if !name_matchers.iter().any(|m| matches!(m.op, MatchOp::Equal | MatchOp::Regex)) {
            name_matchers.push(Matcher::equal(METRIC_NAME, TARGET_INFO));
        }
        Wanted { name_matchers, data_matchers }
    }

    fn takes(&self, label: &str) -> bool {
        label != METRIC_NAME && (self.data_matchers.is_empty() || self.data_matchers.iter().any(|m| m.name == label))
    }

    /// Whether a series without info stays.
    fn allows_nothing(&self) -> bool {
        self.data_matchers.iter().all(Matcher::matches_empty)
    }
}

/// Plans `info(vector, selector)`.
pub fn info(planner: &Planner<'_>, arguments: &[Expr], grid: Grid) -> Result<Arc<dyn Node>, QueryError> {
    let context = &planner.context;
    let base = planner.vector(&arguments[0], grid)?;
    let wanted = Wanted::of(match arguments.get(1).map(|a| &unwrap_parens(a).kind) {
        Some(ExprKind::Vector(selector)) => Some(selector),
        _ => None,
    });
    // Info series themselves are not enriched.
    let is_info = |labels: &SeriesLabels<'_>| wanted.name_matchers.iter().all(|m| m.matches(labels.metric_name()));
    let infos = find(planner, &base, &wanted, &arguments[0], grid, &is_info)?;
    let (columns, _charge) = hold_columns(context, &base)?;
    let mut labels: Vec<OwnLabels> = Vec::new();
    let mut outputs: Vec<Column> = Vec::new();
    for (index, column) in columns.iter().enumerate().filter(|(_, c)| !c.is_empty()) {
        context.budget.check()?;
        let own = base.labels(index);
        if is_info(&own) {
            labels.push(OwnLabels::of(own));
            outputs.push(column.clone());
            continue;
        }
        let matching: Vec<&InfoSeries> = infos.iter().filter(|i| same_target(&own, &i.labels)).collect();
        let mut parts: BTreeMap<Labels, Column> = BTreeMap::new();
        for step in (0..grid.count).filter(|step| column.has(*step)) {
            let newest = newest(&matching, step)?;
            let Some(enriched) = enrich(&own, &newest, &wanted)? else { continue };
            let part = parts.entry(enriched).or_insert_with(|| Column::new(grid.count));
            match column.histogram(step) {
                Some(histogram) => part.set_histogram(step, histogram.clone()),
                None => part.set(step, column.values[step]),
            }
        }
        for (enriched, part) in parts {
            labels.push(OwnLabels { labels: enriched, pending: own.pending });
            outputs.push(part);
        }
    }
    let held: Arc<dyn Node> = Arc::new(Held::new(context, grid.count, labels, outputs)?);
    merge_same_labels(context, held, grid.count, Clash::AtOneStep)
}

fn same_target(series: &SeriesLabels<'_>, info: &Labels) -> bool {
    IDENTIFYING.iter().all(|name| series.get(name) == info.get(name))
}

/// Reads the info series that belong to any of the base series.
fn find(
    planner: &Planner<'_>,
    base: &Arc<dyn Node>,
    wanted: &Wanted,
    argument: &Expr,
    grid: Grid,
    is_info: &dyn Fn(&SeriesLabels<'_>) -> bool,
) -> Result<Vec<InfoSeries>, QueryError> {
    let context = &planner.context;
    let mut matchers: Vec<Matcher> = wanted.name_matchers.iter().chain(&wanted.data_matchers).cloned().collect();
    let mut identified = false;
    for name in IDENTIFYING {
        let mut values: Vec<String> = (0..base.len())
            .map(|index| base.labels(index))
            .filter(|labels| !is_info(labels))
            .filter_map(|labels| labels.get(name).map(regex::escape))
            .collect();
        values.sort_unstable();
        values.dedup();
        if !values.is_empty() {
            identified = true;
            let pattern = values.join("|");
            let matcher = Matcher::new(MatchOp::Regex, name, &pattern);
            matchers.push(matcher.map_err(|error| QueryError::execution(error.to_string()))?);
        }
    }
    if !identified {
        return Ok(Vec::new());
    }
    let (at, offset_ms) = planner.first_selector_time(argument)?;
    let windows = lookback_windows(grid, at, offset_ms, context.semantics.lookback_ms);
    let usage = Use { function: Some("info"), ..Use::default() };
    let hints = Hints { allows_buckets: true, ..planner.hints(&windows, 0, &usage) };
    // No selector of the query asks for these: told of where the first argument begins, and as none of its parts.
    let span = Span { end: argument.span.start, ..argument.span };
    let source = Source::select(context, &matchers, &windows, &hints)?.told(span, SourceUse::default());
    let set = source.set.clone();
    let node: Arc<dyn Node> = Arc::new(InstantSelector { source, windows, yields: Yield::Time, figures: false });
    let (columns, _charge) = hold_columns(context, &node)?;
    let from_buckets = !set.tiers().is_empty();
    let series = columns.into_iter().enumerate().filter(|(_, column)| !column.is_empty());
    Ok(series
        .map(|(index, times)| InfoSeries { labels: node.labels(index).to_labels(), times, from_buckets })
        .collect())
}

/// For each info metric the series with the newest sample at a step.
fn newest<'a>(matching: &[&'a InfoSeries], step: usize) -> Result<Vec<&'a InfoSeries>, QueryError> {
    let mut by_name: BTreeMap<&str, (&InfoSeries, f64)> = BTreeMap::new();
    for info in matching {
        let Some(at) = info.times.get(step) else { continue };
        let name = info.labels.metric_name().unwrap_or_default();
        match by_name.get(name) {
            Some((_, known)) if *known > at => {}
            Some((_, known)) if *known == at && info.from_buckets => {}
            Some((existing, known)) if *known == at => {
                let ms = (at * 1000.0).round() as i64;
                return Err(QueryError::execution(format!(
                    "found duplicate series for info metric: existing {} @ {ms}, new {} @ {ms}",
                    braces(&existing.labels),
                    braces(&info.labels),
                )));
            }
            _ => {
                by_name.insert(name, (info, at));
            }
        }
    }
    Ok(by_name.into_values().map(|(info, _)| info).collect())
}

/// The labels of a series with those of its info metrics; `None` where the series has to go.
fn enrich(own: &SeriesLabels<'_>, infos: &[&InfoSeries], wanted: &Wanted) -> Result<Option<Labels>, QueryError> {
    if infos.is_empty() && !wanted.allows_nothing() {
        return Ok(None);
    }
    let mut added: BTreeMap<&str, &str> = BTreeMap::new();
    for info in infos {
        for (name, value) in info.labels.iter().filter(|(name, _)| wanted.takes(name)) {
            match added.get(name) {
                Some(other) if *other != value => {
                    return Err(QueryError::execution(format!("conflicting label: {name}")));
                }
                _ if own.get(name).is_some() => {}
                _ => {
                    added.insert(name, value);
                }
            }
        }
    }
    let mut builder = own.to_labels().builder();
    for (name, value) in &added {
        builder.set(name, value);
    }
    Ok(Some(builder.build()))
}
