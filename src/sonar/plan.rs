//! What of a branch is to be read: decided from what is stored, what the server lists and what is asked for. Pure.

use super::{
    naming::{ANALYSIS_DATE, Scheme},
    state::BranchState,
};
use xxhash_rust::xxh3::xxh3_64;

/// So much of what is stored is read again with what is new: an analysis may be dated a little before one that is known.
const OVERLAP_S: i64 = 86_400;
const DAY_MS: i64 = 86_400_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Ask<'a> {
    pub scheme: Scheme,
    /// Keys that can be asked for now.
    pub keys: &'a [&'a str],
    /// Keys that the config names.
    pub wanted: &'a [String],
    /// From where on history is wanted; seconds.
    pub start_s: i64,
    /// Of the newest analysis that the server lists; seconds.
    pub analyzed_s: Option<i64>,
    /// Everything from there on is read again, whatever is known.
    pub again_s: Option<i64>,
}

/// One stretch to read, from a moment to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch<'a> {
    pub keys: Vec<&'a str>,
    pub from_s: i64,
    /// Analyses after it are left out.
    pub until_s: Option<i64>,
    /// Whether the keys are all that can be asked for.
    pub is_complete: bool,
}

/// Metrics that are behind the others, such as new ones: their own stretch comes before that of all. A metric that took
/// part in a page of the others would never get what lies between.
pub fn behind<'a>(state: &BranchState, ask: &Ask<'a>) -> Option<Stretch<'a>> {
    let newest = newest(state, ask)?;
    let lags = |key: &&&str| state.find(key).is_none_or(|held| held.through_s < newest);
    let keys: Vec<&str> = ask.keys.iter().filter(lags).copied().collect();
    let from = keys.iter().map(|key| state.find(key).map_or(i64::MIN, |held| held.through_s)).min()?;
    let start = state.covered_s.unwrap_or(ask.start_s).min(ask.start_s);
    Some(Stretch { keys, from_s: from.max(start), until_s: Some(newest), is_complete: false })
}

/// What is new, or asked for again.
pub fn ahead<'a>(state: &BranchState, ask: &Ask<'a>) -> Option<Stretch<'a>> {
    let analyzed = ask.analyzed_s?;
    // A branch that was not analysed lately: its newest measures hold all the same.
    let start = ask.start_s.min(analyzed);
    let all = |from_s| Some(Stretch { keys: ask.keys.to_vec(), from_s, until_s: None, is_complete: true });
    let Some(newest) = newest(state, ask) else { return all(start) };
    // Those that are still behind could not be read: they are not taken along.
    let level = |key: &&&str| state.find(key).is_some_and(|held| held.through_s >= newest);
    let keys: Vec<&str> = ask.keys.iter().filter(level).copied().collect();
    let stretch = |from_s| Some(Stretch { keys: keys.clone(), from_s, until_s: None, is_complete: true });
    let covered = state.covered_s.unwrap_or(start);
    let again = ask.again_s.filter(|again| *again < newest);
    if covered > start {
        return stretch(again.map_or(start, |again| again.min(start)));
    }
    if let Some(again) = again {
        return stretch(again.max(covered.min(ask.start_s)));
    }
    let is_new = analyzed > newest || state.gone_ms.is_some();
    if is_new { stretch(newest.saturating_sub(OVERLAP_S).max(covered)) } else { None }
}

/// Whether series are there that nobody asks for any more.
pub fn is_cluttered(state: &BranchState, ask: &Ask<'_>) -> bool {
    state.metrics.iter().any(|held| held.metric.key != ANALYSIS_DATE && !ask.wanted.contains(&held.metric.key))
}

/// The newest analysis stored under the names that are asked for; seconds.
fn newest(state: &BranchState, ask: &Ask<'_>) -> Option<i64> {
    let held = state.find(ANALYSIS_DATE)?;
    (state.scheme == ask.scheme).then_some(held.through_s)
}

/// Whether the moment of the day at which a branch is read again as a whole lies between two syncs: each has its own.
pub fn is_due_again(project: &str, branch: &str, last_ms: i64, now_ms: i64) -> bool {
    let slot = (xxh3_64(format!("{project}\0{branch}").as_bytes()) % DAY_MS.unsigned_abs()) as i64;
    (now_ms - slot).div_euclid(DAY_MS) > (last_ms - slot).div_euclid(DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sonar::{
        naming::{Kind, Metric},
        state::MetricState,
    };

    const DAY: i64 = 86_400;

    fn held(key: &str, through_s: i64) -> MetricState {
        let metric = Metric { key: key.to_owned(), kind: Kind::Int, domain: String::new() };
        MetricState { metric, through_s, value: None }
    }

    fn ask<'a>(keys: &'a [&'a str], analyzed_s: i64) -> Ask<'a> {
        Ask { scheme: Scheme::Base, keys, wanted: &[], start_s: 100 * DAY, analyzed_s: Some(analyzed_s), again_s: None }
    }

    fn stored() -> BranchState {
        BranchState {
            covered_s: Some(100 * DAY),
            metrics: vec![held(ANALYSIS_DATE, 120 * DAY), held("a", 120 * DAY), held("b", 110 * DAY)],
            ..BranchState::default()
        }
    }

    #[test]
    fn a_first_sync_reads_from_the_start_and_at_least_the_newest() {
        let keys = ["a"];
        for (analyzed, from) in [(120 * DAY, 100 * DAY), (7 * DAY, 7 * DAY)] {
            let stretch = ahead(&BranchState::default(), &ask(&keys, analyzed)).unwrap();
            assert_eq!((stretch.from_s, stretch.is_complete), (from, true));
        }
        assert_eq!(behind(&BranchState::default(), &ask(&keys, 1)), None);
        assert_eq!(ahead(&BranchState::default(), &Ask { analyzed_s: None, ..ask(&keys, 1) }), None);
    }

    #[test]
    fn what_is_new_is_read_with_a_day_before_it_and_nothing_where_nothing_is() {
        let keys = ["a"];
        assert_eq!(ahead(&stored(), &ask(&keys, 120 * DAY)), None);
        assert_eq!(ahead(&stored(), &ask(&keys, 120 * DAY + 1)).unwrap().from_s, 119 * DAY);
        let gone = BranchState { gone_ms: Some(1), ..stored() };
        assert_eq!(ahead(&gone, &ask(&keys, 120 * DAY)).unwrap().from_s, 119 * DAY);
        let renamed = Ask { scheme: Scheme::Sonarcloud, ..ask(&keys, 120 * DAY) };
        assert_eq!(ahead(&stored(), &renamed).unwrap().from_s, 100 * DAY);
    }

    #[test]
    fn metrics_that_are_behind_catch_up_by_themselves() {
        let keys = ["a", "b", "c"];
        let stretch = behind(&stored(), &ask(&keys, 120 * DAY)).unwrap();
        assert_eq!((stretch.until_s, stretch.is_complete), (Some(120 * DAY), false), "what is newer is for all");
        assert_eq!((stretch.keys, stretch.from_s), (vec!["b", "c"], 100 * DAY));
        let keys = ["a", "b"];
        assert_eq!(behind(&stored(), &ask(&keys, 120 * DAY)).unwrap().from_s, 110 * DAY);
        assert_eq!(ahead(&stored(), &ask(&keys, 121 * DAY)).unwrap().keys, ["a"]);
        assert_eq!(behind(&stored(), &ask(&["a"], 120 * DAY)), None);
    }

    #[test]
    fn older_history_is_read_when_it_is_asked_for() {
        let keys = ["a"];
        let earlier = Ask { start_s: 50 * DAY, ..ask(&keys, 120 * DAY) };
        assert_eq!(ahead(&stored(), &earlier).unwrap().from_s, 50 * DAY);
        let again = Ask { again_s: Some(115 * DAY), ..ask(&keys, 120 * DAY) };
        assert_eq!(ahead(&stored(), &again).unwrap().from_s, 115 * DAY);
    }

    #[test]
    fn each_branch_is_read_again_once_a_day() {
        let hours = (0..24).filter(|hour| is_due_again("p", "b", hour * 3_600_000, (hour + 1) * 3_600_000));
        assert_eq!(hours.count(), 1);
        assert!(is_due_again("p", "b", 0, DAY_MS));
        assert!(!is_due_again("p", "b", 5, 5));
    }
}
