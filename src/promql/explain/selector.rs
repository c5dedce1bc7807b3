//! Why a selector finds nothing.

use super::empty::{ReasonKind, Search};
use crate::{
    model::{
        Labels, METRIC_NAME, MatchOp, Matcher, Samples, TimeRange, Timestamp, is_stale,
        time::{format_duration_ms, format_utc},
    },
    promql::{
        ast::{At, MatrixSelector, Span, VectorSelector},
        engine::Asked,
        limits::QueryError,
        parser::quote,
    },
    stdx::spelling::similar,
    store::Hints,
};

/// Series read to find when one was last seen: a handful tells as much as all.
pub(super) const SERIES_READ_MAX: usize = 64;
/// Names and values told that may have been meant.
const NEAREST_MAX: usize = 5;
/// How far back the newest sample is looked for, one after the other; then everywhere.
const LOOKED_BACK_MS: [i64; 5] = [3_600_000, 6 * 3_600_000, 24 * 3_600_000, 7 * 24 * 3_600_000, 30 * 24 * 3_600_000];

/// The first and last time that steps refer to.
pub(super) fn references(asked: Asked, at: Option<At>, offset_ms: i64) -> (Timestamp, Timestamp) {
    let grid = asked.grid;
    let (first, last) = match at {
        None => (grid.start, grid.end()),
        Some(At::Time(time)) => (time, time),
        Some(At::Start) => (grid.start, grid.start),
        Some(At::End) => (grid.end(), grid.end()),
    };
    (first.saturating_sub(offset_ms), last.saturating_sub(offset_ms))
}

/// The times in which an instant selector looks for samples.
pub(super) fn instant_bounds(
    search: &Search<'_>,
    selector: &VectorSelector,
    asked: Asked,
) -> Result<TimeRange, QueryError> {
    bounds(search, selector, asked, search.lookback_ms())
}

/// The times that the windows of a range selector cover.
pub(super) fn range_bounds(
    search: &Search<'_>,
    matrix: &MatrixSelector,
    asked: Asked,
) -> Result<TimeRange, QueryError> {
    let range_ms = search.scope(asked).positive(&matrix.range)?;
    bounds(search, &matrix.vector, asked, range_ms)
}

fn bounds(
    search: &Search<'_>,
    selector: &VectorSelector,
    asked: Asked,
    before_ms: i64,
) -> Result<TimeRange, QueryError> {
    let offset_ms = selector.offset.as_ref().map_or(Ok(0), |offset| search.scope(asked).any(offset))?;
    let (first, last) = references(asked, selector.at, offset_ms);
    let first = first.saturating_sub(before_ms).saturating_add(1);
    Ok(TimeRange::new(first, last.max(first)).unwrap_or(TimeRange::ALL))
}

/// Says why `selector` has no value in `bounds`. `range_ms` is that of a range selector.
pub(super) fn why(
    search: &mut Search<'_>,
    selector: &VectorSelector,
    span: Span,
    bounds: TimeRange,
    range_ms: Option<i64>,
) -> Result<(), QueryError> {
    let matchers = &selector.matchers;
    if let Some(seen) = newest(search, matchers, bounds)? {
        return why_unseen(search, matchers, span, seen, bounds, range_ms);
    }
    if let Some(seen) = last_seen(search, matchers, bounds.start())? {
        let ago = format_duration_ms(bounds.end().saturating_sub(seen.at));
        let reach = format_duration_ms(range_ms.unwrap_or_else(|| search.lookback_ms()));
        let how = if seen.stale { ", where it ended" } else { "" };
        let message = format!(
            "{} has no sample in the time asked for. It was last seen at {}{how}, {ago} before the end of it; a sample \
             counts for {reach}.",
            show(matchers),
            format_utc(seen.at)
        );
        let kind = if seen.stale { ReasonKind::Stale } else { ReasonKind::NotAtThatTime };
        let reason = search.say(kind, span, message);
        reason.last_seen_ms = Some(seen.at);
        reason.examples.push(("series", seen.labels));
        return Ok(());
    }
    let set = search.engine.store().select(TimeRange::ALL, matchers, &Hints { series_max: 1, ..Hints::default() })?;
    if !set.is_empty() {
        let labels = set.labels(0).clone();
        let message = format!("{} has samples only after the time asked for.", show(matchers));
        search.say(ReasonKind::NotAtThatTime, span, message).examples.push(("series", labels));
        return Ok(());
    }
    why_nowhere(search, matchers, span)
}

/// A sample near the time asked for.
struct Seen {
    at: Timestamp,
    stale: bool,
    labels: Labels,
}

/// The newest sample of a series of `matchers` in `range`.
fn newest(search: &Search<'_>, matchers: &[Matcher], range: TimeRange) -> Result<Option<Seen>, QueryError> {
    let set = search.engine.store().select(range, matchers, &Hints::default())?;
    let mut samples = Samples::default();
    let mut found: Option<Seen> = None;
    for index in 0..set.len().min(SERIES_READ_MAX) {
        search.check()?;
        set.read(index, &mut samples)?;
        let float = samples.timestamps.last().zip(samples.values.last()).map(|(at, value)| (*at, is_stale(*value)));
        let native = samples.histograms.last().map(|one| (one.timestamp, is_stale(one.histogram.sum)));
        let Some((at, stale)) = float.max(native) else { continue };
        if found.as_ref().is_none_or(|seen| at > seen.at) {
            found = Some(Seen { at, stale, labels: set.labels(index).clone() });
        }
    }
    Ok(found)
}

/// The newest sample before `end`, looked for ever further back.
fn last_seen(search: &Search<'_>, matchers: &[Matcher], end: Timestamp) -> Result<Option<Seen>, QueryError> {
    for back in LOOKED_BACK_MS.into_iter().map(Some).chain([None]) {
        let start = back.map_or(TimeRange::ALL.start(), |back| end.saturating_sub(back));
        let Some(range) = TimeRange::new(start, end) else { continue };
        if let Some(seen) = newest(search, matchers, range)? {
            return Ok(Some(seen));
        }
    }
    Ok(None)
}

/// There are samples, and yet no value.
fn why_unseen(
    search: &mut Search<'_>,
    matchers: &[Matcher],
    span: Span,
    seen: Seen,
    bounds: TimeRange,
    range_ms: Option<i64>,
) -> Result<(), QueryError> {
    let (kind, message) = if seen.stale {
        let before = format_duration_ms(bounds.end().saturating_sub(seen.at));
        let message = format!(
            "{} ended at {}, {before} before the end of the time asked for: a staleness marker stands there, as when a \
             target goes away or no longer shows the series.",
            show(matchers),
            format_utc(seen.at)
        );
        (ReasonKind::Stale, message)
    } else {
        let reach = format_duration_ms(range_ms.unwrap_or_else(|| search.lookback_ms()));
        let message = format!(
            "{} has samples, but none at a step or within {reach} before one, such as that at {}; ask with a smaller step.",
            show(matchers),
            format_utc(seen.at)
        );
        (ReasonKind::BetweenSteps, message)
    };
    let reason = search.say(kind, span, message);
    reason.last_seen_ms = Some(seen.at);
    reason.examples.push(("series", seen.labels));
    Ok(())
}

/// No series at any time has these labels.
fn why_nowhere(search: &mut Search<'_>, matchers: &[Matcher], span: Span) -> Result<(), QueryError> {
    let name = matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
    if let Some(name) = name
        && count(search, std::slice::from_ref(name))? == 0
    {
        return why_no_metric(search, &name.value, span);
    }
    let Some((culprit, others)) = culprit(search, matchers)? else {
        search.say(ReasonKind::StoreEmpty, span, "The store holds no series at all.".to_owned());
        return Ok(());
    };
    let left = count(search, &others)?;
    let values = search.engine.store().label_values(&culprit.name, TimeRange::ALL, &others)?;
    let found = match culprit.op {
        MatchOp::Equal => similar(&culprit.value, values.iter().map(String::as_str), NEAREST_MAX),
        _ => Vec::new(),
    };
    let nearest: Vec<String> = if found.is_empty() {
        values.iter().take(NEAREST_MAX).cloned().collect()
    } else {
        found.into_iter().map(str::to_owned).collect()
    };
    let values = match (values.is_empty(), &nearest[..]) {
        (true, _) => format!("None of them has the label `{}`.", culprit.name),
        (false, nearest) => {
            let shown: Vec<String> = nearest.iter().map(|value| quote(value)).collect();
            let more = values.len() - nearest.len();
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            format!("Their values of `{}`: {}{more}.", culprit.name, shown.join(", "))
        }
    };
    let message = format!(
        "`{}` excludes everything: without it {} has {left} series. {values}",
        show_one(&culprit),
        show(&others)
    );
    search.say(ReasonKind::ExcludedByMatcher, span, message).nearest = nearest;
    Ok(())
}

fn why_no_metric(search: &mut Search<'_>, name: &str, span: Span) -> Result<(), QueryError> {
    let names = search.engine.store().label_values(METRIC_NAME, TimeRange::ALL, &[])?;
    if names.is_empty() {
        search.say(ReasonKind::StoreEmpty, span, "The store holds no series at all.".to_owned());
        return Ok(());
    }
    let near = similar(name, names.iter().map(String::as_str), NEAREST_MAX);
    let meant = match &near[..] {
        [] => "No name is like it.".to_owned(),
        near => format!("Did you mean {}?", near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")),
    };
    let nearest = near.into_iter().map(str::to_owned).collect();
    let message = format!("There is no metric `{name}`, at any time. {meant}");
    search.say(ReasonKind::NoSuchMetric, span, message).nearest = nearest;
    Ok(())
}

/// The matcher without which there would be series, and the others. Where no single one is to blame, the first that
/// leaves nothing of what those before it found.
fn culprit(search: &Search<'_>, matchers: &[Matcher]) -> Result<Option<(Matcher, Vec<Matcher>)>, QueryError> {
    let is_name = |m: &Matcher| m.name == METRIC_NAME && m.op == MatchOp::Equal;
    for (index, matcher) in matchers.iter().enumerate().filter(|(_, m)| !is_name(m)) {
        search.check()?;
        let others: Vec<Matcher> =
            matchers.iter().enumerate().filter(|(i, _)| *i != index).map(|(_, m)| m.clone()).collect();
        if count(search, &others)? > 0 {
            return Ok(Some((matcher.clone(), others)));
        }
    }
    let mut kept: Vec<Matcher> = matchers.iter().filter(|m| is_name(m)).cloned().collect();
    for matcher in matchers.iter().filter(|m| !is_name(m)) {
        let before = kept.clone();
        kept.push(matcher.clone());
        if count(search, &kept)? == 0 && count(search, &before)? > 0 {
            return Ok(Some((matcher.clone(), before)));
        }
    }
    Ok(None)
}

fn count(search: &Search<'_>, matchers: &[Matcher]) -> Result<usize, QueryError> {
    Ok(search.engine.store().select(TimeRange::ALL, matchers, &Hints::default())?.len())
}

/// Matchers as a selector.
fn show(matchers: &[Matcher]) -> String {
    let name = matchers.iter().find(|m| m.name == METRIC_NAME && m.op == MatchOp::Equal);
    let others: Vec<String> =
        matchers.iter().filter(|m| !name.is_some_and(|n| std::ptr::eq(*m, n))).map(show_one).collect();
    let name = name.map_or("", |name| name.value.as_str());
    match (name, &others[..]) {
        ("", []) => "any series".to_owned(),
        (name, []) => format!("`{name}`"),
        (name, others) => format!("`{name}{{{}}}`", others.join(",")),
    }
}

fn show_one(matcher: &Matcher) -> String {
    format!("{}{}{}", matcher.name, matcher.op.as_str(), quote(&matcher.value))
}
