//! How far the history of one branch is known, and what holds now; small state of the store (`docs/formats/state.md`).

use super::naming::{Kind, Metric, Scheme};
use crate::{
    model::Timestamp,
    stdx::bytes::{push_slice, push_varint, push_varint_signed, take_slice, take_varint, take_varint_signed},
    store::{StateChange, StateStore, Tree},
};

/// What all keys of branches begin with.
pub const PREFIX: &[u8] = b"sonar/";
const VERSION: u64 = 1;
/// Analyses are remembered one by one so long: within it one that comes late finds its place. History is asked for again
/// this far back once a day.
pub const KNOWN_S: i64 = 32 * 86_400;
/// Of a branch that is analysed every ten minutes, a month; at about three bytes each.
const KNOWN_MAX: usize = 4_608;

/// Of one branch. The default is one of which nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BranchState {
    pub scheme: Scheme,
    /// Counts the pages that were stored.
    pub revision: u64,
    /// When the branch was found to be gone; its series ended then.
    pub gone_ms: Option<Timestamp>,
    /// The history is complete from here on; seconds.
    pub covered_s: Option<i64>,
    /// Dates of the analyses of the last weeks, rising; seconds.
    pub known: Vec<i64>,
    pub metrics: Vec<MetricState>,
    /// As it was when the newest page was read: a label of some schemes.
    pub project_name: String,
}

/// Of one metric of a branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricState {
    pub metric: Metric,
    /// The newest analysis stored; seconds.
    pub through_s: i64,
    /// What holds since then, as it came; `None` where nothing does.
    pub value: Option<String>,
}

/// The key of a branch. Neither a project's key nor a branch's name holds a zero.
pub fn key(project: &str, branch: &str) -> Vec<u8> {
    [PREFIX, project.as_bytes(), b"\0", branch.as_bytes()].concat()
}

/// Project and branch of a key.
pub fn split_key(key: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(key.strip_prefix(PREFIX)?).ok()?;
    let (project, branch) = text.split_once('\0')?;
    Some((project.to_owned(), branch.to_owned()))
}

/// What the store knows of a branch.
pub fn load(store: &dyn StateStore, project: &str, branch: &str) -> BranchState {
    let bytes = store.state(Tree::Cursors, &key(project, branch));
    bytes.and_then(|bytes| BranchState::decode(&bytes)).unwrap_or_default()
}

/// The branches of one project the store knows of, with what it knows.
pub fn load_project(store: &dyn StateStore, project: &str) -> Vec<(String, BranchState)> {
    let pairs = store.state_scan(Tree::Cursors, &key(project, ""));
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| Some((split_key(key)?.1, BranchState::decode(value)?));
    pairs.iter().filter_map(read).collect()
}

/// All branches the store knows of, with what it knows.
pub fn load_all(store: &dyn StateStore) -> Vec<(String, String, BranchState)> {
    let pairs = store.state_scan(Tree::Cursors, PREFIX);
    let read = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let (project, branch) = split_key(key)?;
        Some((project, branch, BranchState::decode(value)?))
    };
    pairs.iter().filter_map(read).collect()
}

impl BranchState {
    /// The newest analysis of which everything is stored that is asked for; seconds. `keys` are what is asked for.
    pub fn newest_s(&self) -> Option<i64> {
        self.metrics.iter().map(|held| held.through_s).max()
    }

    pub fn find(&self, key: &str) -> Option<&MetricState> {
        self.metrics.iter().find(|held| held.metric.key == key)
    }

    /// From where on every analysis is remembered that was stored; `None` where none was.
    pub fn remembered_from(&self) -> Option<i64> {
        let (first, last) = (*self.known.first()?, *self.known.last()?);
        Some(if self.known.len() < KNOWN_MAX { last.saturating_sub(KNOWN_S) } else { first })
    }

    /// The change that stores this.
    pub fn change(&self, project: &str, branch: &str) -> StateChange {
        StateChange { tree: Tree::Cursors, key: key(project, branch), value: Some(self.encode()) }
    }

    /// Adds dates of analyses and forgets the oldest.
    pub fn remember(&mut self, dates: &[i64]) {
        self.known.extend_from_slice(dates);
        self.known.sort_unstable();
        self.known.dedup();
        let newest = self.known.last().copied().unwrap_or(0);
        let old = self.known.partition_point(|date| *date < newest.saturating_sub(KNOWN_S));
        self.known.drain(..old.max(self.known.len().saturating_sub(KNOWN_MAX)));
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.known.len() * 3 + self.metrics.len() * 32);
        push_varint(&mut out, VERSION);
        push_varint(&mut out, self.scheme as u64);
        push_varint(&mut out, self.revision);
        for moment in [self.gone_ms, self.covered_s] {
            push_varint(&mut out, u64::from(moment.is_some()));
            push_varint_signed(&mut out, moment.unwrap_or(0));
        }
        push_slice(&mut out, self.project_name.as_bytes());
        push_varint(&mut out, self.known.len() as u64);
        let mut before = 0;
        for date in &self.known {
            push_varint_signed(&mut out, date.wrapping_sub(before));
            before = *date;
        }
        push_varint(&mut out, self.metrics.len() as u64);
        for held in &self.metrics {
            push_slice(&mut out, held.metric.key.as_bytes());
            push_varint(&mut out, held.metric.kind as u64);
            push_slice(&mut out, held.metric.domain.as_bytes());
            push_varint_signed(&mut out, held.through_s);
            push_varint(&mut out, u64::from(held.value.is_some()));
            push_slice(&mut out, held.value.as_deref().unwrap_or_default().as_bytes());
        }
        out
    }

    /// `None` for bytes that are no state of a version this program knows.
    fn decode(mut bytes: &[u8]) -> Option<BranchState> {
        let input = &mut bytes;
        if take_varint(input)? != VERSION {
            return None;
        }
        let scheme = *Scheme::ALL.get(usize::try_from(take_varint(input)?).ok()?)?;
        let revision = take_varint(input)?;
        let mut moment = || {
            let is_some = take_varint(input)? != 0;
            let at = take_varint_signed(input)?;
            Some(is_some.then_some(at))
        };
        let (gone_ms, covered_s) = (moment()?, moment()?);
        let project_name = text(input)?;
        let mut known = Vec::new();
        let mut before = 0i64;
        for _ in 0..take_varint(input)? {
            before = before.wrapping_add(take_varint_signed(input)?);
            known.push(before);
        }
        let mut metrics = Vec::new();
        for _ in 0..take_varint(input)? {
            let key = text(input)?;
            let kind = *KINDS.get(usize::try_from(take_varint(input)?).ok()?)?;
            let domain = text(input)?;
            let through_s = take_varint_signed(input)?;
            let has_value = take_varint(input)? != 0;
            let value = text(input)?;
            metrics.push(MetricState {
                metric: Metric { key, kind, domain },
                through_s,
                value: has_value.then_some(value),
            });
        }
        Some(BranchState { scheme, revision, gone_ms, covered_s, known, metrics, project_name })
    }
}

/// By their number at rest: never reordered.
const KINDS: [Kind; 12] = [
    Kind::Int,
    Kind::Float,
    Kind::Percent,
    Kind::Rating,
    Kind::WorkDuration,
    Kind::Millisec,
    Kind::Bool,
    Kind::Level,
    Kind::Text,
    Kind::Data,
    Kind::Distribution,
    Kind::Date,
];

fn text(input: &mut &[u8]) -> Option<String> {
    String::from_utf8(take_slice(input)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds_and_schemes_have_the_number_they_are_found_by() {
        for (index, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
        }
        for (index, scheme) in Scheme::ALL.into_iter().enumerate() {
            assert_eq!(scheme as usize, index);
        }
    }

    #[test]
    fn keys_with_colons_and_slashes_are_told_apart() {
        for (project, branch) in [("org:a_b", "feature/x"), ("a", ""), ("a/b", "c")] {
            assert_eq!(split_key(&key(project, branch)), Some((project.to_owned(), branch.to_owned())));
        }
        assert_ne!(key("a", "b/c"), key("a/b", "c"));
    }

    #[test]
    fn dates_are_remembered_for_weeks_and_never_too_many() {
        let mut state = BranchState::default();
        state.remember(&[KNOWN_S + 100, 50, 100, 100]);
        assert_eq!(state.known, [100, KNOWN_S + 100]);
        state.remember(&(0..10_000).map(|index| KNOWN_S + index).collect::<Vec<_>>());
        assert_eq!(state.known.len(), KNOWN_MAX);
        assert_eq!(state.known.last(), Some(&(KNOWN_S + 9_999)));
    }

    proptest! {
        #[test]
        fn a_state_survives_and_any_bytes_are_read_without_panic(
            revision: u64, gone: Option<i64>, covered: Option<i64>, known: Vec<i64>, bytes: Vec<u8>,
            metrics in prop::collection::vec(("[a-z]{1,9}", 0..12usize, any::<i64>(), prop::option::of(".{0,9}")), 0..5),
        ) {
            let metrics = metrics.into_iter().map(|(key, kind, through_s, value)| MetricState {
                metric: Metric { key, kind: KINDS[kind], domain: "d".to_owned() }, through_s, value,
            });
            let state = BranchState {
                scheme: Scheme::Sonarcloud, revision, gone_ms: gone, covered_s: covered, known, metrics: metrics.collect(),
                project_name: "n".to_owned(),
            };
            prop_assert_eq!(BranchState::decode(&state.encode()), Some(state.clone()));
            let _ = BranchState::decode(&bytes);
            let mut cut = state.encode();
            cut.truncate(bytes.len());
            let _ = BranchState::decode(&cut);
        }
    }
}
