//! From a page of history to runs, samples and the next state of its branch. Pure: the same page over the same state is
//! the same change, and a page that is stored already changes nothing.
//!
//! A measure holds until the next analysis. It is a run with a point every full minute from its analysis on, and one
//! plain sample at the analysis' own moment. Values that do not change go on as the same run. All runs of a series
//! stand on one grid, so that where two overlap, the one that began later counts at every point.

use super::{
    naming::{self, ANALYSIS_DATE, Metric, Output, Scheme},
    page::Page,
    state::{BranchState, MetricState},
};
use crate::{
    ingest::{HistoryChange, HistoryRow},
    model::{Labels, METRIC_NAME, Timestamp},
};
use std::collections::HashSet;

/// The distance of a run's points: half of what a query looks back, and more, is never empty.
pub const STEP_MS: i64 = 60_000;
/// Longer names of events are cut: they are shown in one line.
const EVENT_NAME_BYTES_MAX: usize = 200;
/// The series that holds events.
pub const EVENT: &str = "sonar_event";

/// What a page does.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    pub rows: Vec<HistoryRow>,
    pub state: BranchState,
    /// Values of analyses that were not known before.
    pub values: usize,
}

impl Applied {
    /// Whether anything is different afterwards, but for the count of pages.
    pub fn is_news(&self, before: &BranchState) -> bool {
        !self.rows.is_empty() || BranchState { revision: before.revision, ..self.state.clone() } != *before
    }
}

/// What `page` does to a branch of which `before` is known. Nothing is said of the time before `oldest_ms`.
pub fn apply(before: &BranchState, page: &Page, oldest_ms: Timestamp) -> Applied {
    let is_late = page.revision < before.revision;
    if is_late && (page.is_gone || page.scheme != before.scheme) {
        // It was overtaken by a page that knew more.
        return Applied { rows: Vec::new(), state: before.clone(), values: 0 };
    }
    let mut writer = Writer { page, oldest_ms, rows: Vec::new(), values: 0 };
    let mut state = before.clone();
    state.revision += 1;
    if state.scheme != page.scheme {
        writer.end_all(&state, page.read_ms);
        state = BranchState { scheme: page.scheme, revision: state.revision, ..BranchState::default() };
    }
    if page.is_gone {
        if state.gone_ms.is_none() {
            writer.end_all(&state, page.read_ms);
            state.metrics.iter_mut().for_each(|held| held.value = None);
            state.gone_ms = Some(page.read_ms);
        }
        return Applied { rows: writer.rows, state, values: 0 };
    }
    if !is_late {
        let (wanted, unwanted) = state
            .metrics
            .drain(..)
            .partition(|held: &MetricState| held.metric.key == ANALYSIS_DATE || page.wanted.contains(&held.metric.key));
        state.metrics = wanted;
        for held in &unwanted {
            writer.end(&state, held, page.read_ms);
        }
    }
    let is_back = state.gone_ms.take().is_some();
    writer.follow_name(&mut state);
    let known: HashSet<i64> = state.known.iter().copied().collect();
    writer.events(&state, &known);
    let dates: Vec<Option<String>> = page.dates.iter().map(|date| Some(date.to_string())).collect();
    writer.metric(&mut state, &known, is_back, &Metric::analysis_date(), &dates);
    for (metric, values) in page.metrics.iter().zip(&page.values) {
        writer.metric(&mut state, &known, is_back, metric, values);
    }
    if page.is_complete {
        state.remember(&page.dates);
    }
    if let Some(covered) = page.covered {
        state.covered_s = Some(state.covered_s.map_or(covered, |before| before.min(covered)));
    }
    Applied { rows: writer.rows, state, values: writer.values }
}

/// The first point of the grid that is not before a moment.
fn first_point(at_ms: Timestamp) -> Timestamp {
    at_ms.saturating_add(STEP_MS - 1).div_euclid(STEP_MS).saturating_mul(STEP_MS)
}

/// A value of the past, which held from one date to another.
struct Past<'a> {
    value: &'a str,
    date: i64,
    ends: i64,
}

struct Writer<'a> {
    page: &'a Page,
    oldest_ms: Timestamp,
    rows: Vec<HistoryRow>,
    values: usize,
}

impl Writer<'_> {
    /// Takes the values of one metric, one a date.
    fn metric(
        &mut self,
        state: &mut BranchState,
        known: &HashSet<i64>,
        is_back: bool,
        metric: &Metric,
        values: &[Option<String>],
    ) {
        let page = self.page;
        let index = state.metrics.iter().position(|held| held.metric.key == metric.key);
        let held = index.map(|index| state.metrics.remove(index));
        if let Some(held) = held.as_ref().filter(|held| held.metric != *metric) {
            // The server describes it otherwise now: it goes on under its new names.
            self.end(state, held, page.read_ms);
            self.change(metric, None, held.value.as_deref(), page.read_ms);
        }
        let mut through = held.as_ref().map(|held| held.through_s);
        let mut value = held.and_then(|held| held.value);
        let mut past: Option<Past<'_>> = None;
        let is_counted = metric.key != ANALYSIS_DATE;
        for (index, (date, now)) in page.dates.iter().zip(values).enumerate() {
            // What says nothing in numbers is not held.
            let now = now.as_deref().filter(|now| !naming::outputs(page.scheme, metric, now).is_empty());
            if through.is_none_or(|through| *date > through) {
                through = Some(*date);
                self.values += usize::from(is_counted && now.is_some());
                self.change(metric, value.as_deref(), now, date.saturating_mul(1000));
                value = now.map(str::to_owned);
            } else if Some(*date) == through {
                if is_back && value.is_none() {
                    self.change(metric, None, now, page.read_ms);
                    value = now.map(str::to_owned);
                }
            } else if let Some(now) = now
                && is_new(state, known, *date)
            {
                // Of those that follow, the first that anybody knows of ends it.
                let next = page.dates.get(index + 1).copied();
                let at = state.known.partition_point(|other| other <= date);
                let ends = [next, state.known.get(at).copied(), through].into_iter().flatten().min().unwrap_or(*date);
                self.values += usize::from(is_counted);
                match &mut past {
                    Some(past) if past.ends == *date && past.value == now => past.ends = ends,
                    past => {
                        let before = past.replace(Past { value: now, date: *date, ends });
                        self.past(metric, before);
                    }
                }
            }
        }
        self.past(metric, past);
        if let Some(through_s) = through {
            state.metrics.push(MetricState { metric: metric.clone(), through_s, value });
        }
    }

    /// From `at` on `now` holds in the place of `before`.
    fn change(&mut self, metric: &Metric, before: Option<&str>, now: Option<&str>, at: Timestamp) {
        if before == now {
            return;
        }
        let series =
            |value: Option<&str>| value.map_or_else(Vec::new, |value| naming::outputs(self.page.scheme, metric, value));
        let (old, new) = (series(before), series(now));
        for output in &old {
            if !new.iter().any(|other| other.is_of(output)) {
                self.row(output, HistoryChange::Close { at });
            }
        }
        for output in &new {
            if old.iter().any(|other| other == output) {
                continue;
            }
            let first = first_point(at);
            if first != at {
                self.sample(output, at);
            }
            self.row(output, HistoryChange::Open { value: output.value, first, step_ms: STEP_MS });
        }
    }

    fn past(&mut self, metric: &Metric, past: Option<Past<'_>>) {
        let Some(Past { value, date, ends }) = past else { return };
        let at = date.saturating_mul(1000);
        let first = first_point(at);
        let last = first_point(ends.saturating_mul(1000)).saturating_sub(STEP_MS);
        for output in naming::outputs(self.page.scheme, metric, value) {
            self.sample(&output, at);
            if first <= last && last >= self.oldest_ms {
                let change = HistoryChange::Whole { value: output.value, first, last, step_ms: STEP_MS };
                self.row(&output, change);
            }
        }
    }

    /// Of analyses that were not known before.
    fn events(&mut self, before: &BranchState, known: &HashSet<i64>) {
        let through = before.find(ANALYSIS_DATE).map(|held| held.through_s);
        for event in &self.page.events {
            if through.is_some_and(|through| event.date <= through) && !is_new(before, known, event.date) {
                continue;
            }
            let name = &event.name[..event.name.floor_char_boundary(EVENT_NAME_BYTES_MAX)];
            let labels = vec![("category", event.category.clone()), ("name", name.to_owned())];
            self.sample(&Output { name: EVENT.to_owned(), labels, value: 1.0 }, event.date.saturating_mul(1000));
        }
    }

    /// Ends every series of a branch.
    fn end_all(&mut self, state: &BranchState, at: Timestamp) {
        for held in &state.metrics {
            self.end(state, held, at);
        }
    }

    fn end(&mut self, state: &BranchState, held: &MetricState, at: Timestamp) {
        let Some(value) = &held.value else { return };
        for output in naming::outputs(state.scheme, &held.metric, value) {
            let labels = labels(state.scheme, self.page, &state.project_name, &output);
            self.push(labels, HistoryChange::Close { at });
        }
    }

    /// A project with another name has other series, where its name is a label: those that hold go on under it.
    fn follow_name(&mut self, state: &mut BranchState) {
        let page = self.page;
        let is_label = page.scheme == Scheme::SonarqubeExporter;
        if is_label && !state.metrics.is_empty() && state.project_name != page.project_name {
            self.end_all(state, page.read_ms);
            for held in &state.metrics {
                self.change(&held.metric, None, held.value.as_deref(), page.read_ms);
            }
        }
        state.project_name = if is_label { page.project_name.clone() } else { String::new() };
    }

    fn sample(&mut self, output: &Output, at: Timestamp) {
        if at >= self.oldest_ms {
            self.row(output, HistoryChange::Sample { at, value: output.value });
        }
    }

    fn row(&mut self, output: &Output, change: HistoryChange) {
        self.push(labels(self.page.scheme, self.page, &self.page.project_name, output), change);
    }

    fn push(&mut self, labels: Option<Labels>, change: HistoryChange) {
        self.rows.extend(labels.map(|labels| HistoryRow { labels, change }));
    }
}

/// Whether an analysis of the past is one that nobody knew of: within the time that is remembered date by date, or
/// before all that was ever asked for. In between it counts as known.
fn is_new(state: &BranchState, known: &HashSet<i64>, date: i64) -> bool {
    let is_remembered = state.remembered_from().is_none_or(|from| date >= from);
    let is_before_all = state.covered_s.is_none_or(|covered| date < covered);
    (is_remembered || is_before_all) && !known.contains(&date)
}

/// The labels of a series. `None` for what no label set can be made of, which names of metrics never are.
fn labels(scheme: Scheme, page: &Page, project_name: &str, output: &Output) -> Option<Labels> {
    let own = output.labels.iter().map(|(name, value)| (*name, value.as_str()));
    let of_whom = match scheme {
        Scheme::SonarqubeExporter if output.name != EVENT => {
            vec![("key", page.project.as_str()), ("name", project_name)]
        }
        _ => vec![("project", page.project.as_str())],
    };
    let branch = ("branch", page.branch.as_str());
    let pairs = of_whom.into_iter().chain([branch, (METRIC_NAME, output.name.as_str())]).chain(own);
    Labels::from_pairs(pairs).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sonar::{naming::Kind, page::Event};

    const MINUTE: i64 = 60;

    fn ncloc() -> Metric {
        Metric { key: "ncloc".to_owned(), kind: Kind::Int, domain: String::new() }
    }

    fn page(analyses: &[(i64, Option<&str>)]) -> Page {
        Page {
            project: "a:b_c".to_owned(),
            branch: "feature/x".to_owned(),
            dates: analyses.iter().map(|(date, _)| *date).collect(),
            metrics: vec![ncloc()],
            values: vec![analyses.iter().map(|(_, value)| value.map(str::to_owned)).collect()],
            wanted: vec!["ncloc".to_owned()],
            is_complete: true,
            read_ms: 10_000_000,
            ..Page::default()
        }
    }

    /// The changes of `sonar_ncloc`.
    fn shown(applied: &Applied) -> Vec<HistoryChange> {
        let ours = applied.rows.iter().filter(|row| row.labels.get(METRIC_NAME) == Some("sonar_ncloc"));
        ours.map(|row| row.change).collect()
    }

    fn open(value: f64, minute: i64) -> HistoryChange {
        HistoryChange::Open { value, first: minute * STEP_MS, step_ms: STEP_MS }
    }

    fn whole(value: f64, minute: i64, last_minute: i64) -> HistoryChange {
        HistoryChange::Whole { value, first: minute * STEP_MS, last: last_minute * STEP_MS, step_ms: STEP_MS }
    }

    fn sample(value: f64, second: i64) -> HistoryChange {
        HistoryChange::Sample { at: second * 1000, value }
    }

    #[test]
    fn a_measure_holds_until_the_next_and_equal_ones_go_on() {
        let first = apply(
            &BranchState::default(),
            &page(&[(61, Some("5")), (120, Some("5")), (185, Some("6")), (200, None), (300, Some("0"))]),
            0,
        );
        let expected = [
            sample(5.0, 61),
            open(5.0, 2),
            sample(6.0, 185),
            open(6.0, 4),
            HistoryChange::Close { at: 200_000 },
            // On the grid: its first point is the sample.
            open(0.0, 5),
        ];
        assert_eq!(shown(&first), expected);
        assert_eq!(first.state.known, [61, 120, 185, 200, 300]);
        let labels = &first.rows[0].labels;
        assert_eq!((labels.get("project"), labels.get("branch")), (Some("a:b_c"), Some("feature/x")));
        let again = apply(&first.state, &page(&[(185, Some("6")), (300, Some("0"))]), 0);
        assert!(!again.is_news(&first.state), "{again:?}");
        let next = apply(&first.state, &page(&[(300, Some("0")), (400, Some("0")), (500, Some("1"))]), 0);
        assert_eq!(shown(&next), [sample(1.0, 500), open(1.0, 9)]);
    }

    #[test]
    fn an_analysis_that_comes_late_holds_until_the_one_after_it() {
        let hour = 60 * MINUTE;
        let before = apply(&BranchState::default(), &page(&[(hour, Some("1")), (3 * hour, Some("3"))]), 0).state;
        let late = page(&[(hour, Some("1")), (2 * hour, Some("2")), (3 * hour, Some("3"))]);
        let after = apply(&before, &late, 0);
        assert_eq!(shown(&after), [sample(2.0, 2 * hour), whole(2.0, 120, 179)]);
        assert!(!apply(&after.state, &late, 0).is_news(&after.state));
        // The source has forgotten what is known here, and brings one more.
        let gap = page(&[(hour, Some("1")), (2 * hour + 600, Some("9"))]);
        let after = apply(&after.state, &gap, 0);
        assert_eq!(shown(&after), [sample(9.0, 2 * hour + 600), whole(9.0, 130, 179)]);
    }

    #[test]
    fn what_the_source_wiped_stays_and_a_missing_value_of_the_past_is_no_zero() {
        let before = apply(&BranchState::default(), &page(&[(600, Some("1")), (1_200, Some("2"))]), 0).state;
        let wiped = apply(&before, &page(&[(600, None), (900, None), (1_200, None)]), 0);
        assert_eq!(shown(&wiped), []);
        assert_eq!(wiped.state.find("ncloc"), before.find("ncloc"));
    }

    #[test]
    fn history_before_all_that_was_asked_for_is_written_whole_and_merged() {
        let mut before = apply(&BranchState::default(), &page(&[(60_000, Some("9"))]), 0).state;
        before.covered_s = Some(50_000);
        let mut older = page(&[(600, Some("1")), (1_200, Some("1")), (6_000, Some("2")), (60_000, Some("9"))]);
        older.covered = Some(0);
        let after = apply(&before, &older, 0);
        assert_eq!(shown(&after), [sample(1.0, 600), whole(1.0, 10, 99), sample(2.0, 6_000), whole(2.0, 100, 999)]);
        assert_eq!(after.state.covered_s, Some(0));
        // What was before the retention is left out.
        let cut = apply(&before, &older, 6_000_000);
        assert_eq!(shown(&cut), [sample(2.0, 6_000), whole(2.0, 100, 999)]);
    }

    #[test]
    fn series_end_with_their_branch_their_metric_or_their_scheme_and_come_back() {
        let before = apply(&BranchState::default(), &page(&[(600, Some("1"))]), 0).state;
        let end = HistoryChange::Close { at: 10_000_000 };
        let gone = apply(&before, &Page { is_gone: true, revision: 1, ..page(&[]) }, 0);
        assert_eq!(shown(&gone), [end]);
        let back = Page { read_ms: 12_000_000, ..page(&[(600, Some("1"))]) };
        let back = apply(&gone.state, &Page { revision: gone.state.revision, ..back }, 0);
        assert_eq!(shown(&back), [open(1.0, 200)]);
        assert_eq!(back.state.gone_ms, None);
        let unwanted =
            apply(&before, &Page { wanted: vec![], revision: 1, metrics: vec![], values: vec![], ..page(&[]) }, 0);
        assert_eq!(shown(&unwanted), [end]);
        let renamed = apply(&before, &Page { scheme: Scheme::Sonarcloud, revision: 1, ..page(&[(600, Some("1"))]) }, 0);
        assert_eq!(shown(&renamed), [end]);
        assert!(renamed.rows.iter().any(|row| row.labels.get(METRIC_NAME) == Some("sonarcloud_ncloc")));
        // A page that was overtaken does not end what was begun since.
        assert!(!apply(&before, &Page { is_gone: true, revision: 0, ..page(&[]) }, 0).is_news(&before));
    }

    #[test]
    fn a_metric_that_is_asked_for_later_gets_its_history_and_events_are_samples() {
        let before = apply(&BranchState::default(), &page(&[(600, Some("1")), (1_200, Some("2"))]), 0).state;
        let mut more = page(&[(600, Some("7")), (1_200, Some("8"))]);
        more.metrics = vec![Metric { key: "lines".to_owned(), ..ncloc() }];
        more.wanted.push("lines".to_owned());
        more.is_complete = false;
        let version = |date| Event { date, category: "VERSION".to_owned(), name: "1.2".to_owned() };
        more.events = vec![version(600)];
        let after = apply(&before, &more, 0);
        assert_eq!(after.rows.len(), 2, "{:?}", after.rows);
        let mut next = page(&[(1_800, Some("2"))]);
        next.events = vec![version(1_800)];
        let after = apply(&after.state, &next, 0);
        let event = after.rows.iter().find(|row| row.labels.get(METRIC_NAME) == Some(EVENT)).unwrap();
        assert_eq!((event.labels.get("name"), event.change), (Some("1.2"), sample(1.0, 1_800)));
    }
}
