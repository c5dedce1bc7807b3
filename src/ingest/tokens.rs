//! Which token brought which series, where tokens have a limit of their own.
//!
//! A series counts for who asked for it first since the start, as long as the store holds it: after a restart everybody
//! has what they send, and what is known is never refused.

use crate::{
    model::{Labels, Timestamp},
    store::{SeriesId, Store, StoreError},
};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};

/// How often a token at its limit is looked through for series that have left memory.
const LOOK_MS: i64 = 10_000;

/// Series by token; 8 to 16 bytes each, and only where there is a limit.
pub(super) struct TokenSeries {
    series_max: u64,
    by_token: Mutex<HashMap<Box<str>, Held>>,
}

#[derive(Default)]
struct Held {
    series: HashSet<SeriesId>,
    looked_ms: Option<Timestamp>,
}

impl TokenSeries {
    /// `series_max` is for each token; 0 for no limit.
    pub(super) fn new(series_max: u64) -> TokenSeries {
        TokenSeries { series_max, by_token: Mutex::default() }
    }

    /// The id of a label set for who came with `token`; fails where a new series would be one too many.
    pub(super) fn resolve(
        &self,
        store: &dyn Store,
        now_ms: Timestamp,
        token: Option<&str>,
        labels: &Labels,
    ) -> Result<SeriesId, StoreError> {
        let Some(token) = token.filter(|_| self.series_max > 0) else { return store.series_id(labels) };
        let mut by_token = self.by_token.lock();
        if !by_token.contains_key(token) {
            by_token.insert(token.into(), Held::default());
        }
        let held = by_token.get_mut(token).expect("just inserted");
        if let Some(id) = store.known_series(labels) {
            if (held.series.len() as u64) < self.series_max {
                held.series.insert(id);
            }
            return Ok(id);
        }
        if held.series.len() as u64 >= self.series_max {
            if held.looked_ms.is_none_or(|looked| !(0..LOOK_MS).contains(&(now_ms - looked))) {
                held.looked_ms = Some(now_ms);
                held.series.retain(|id| store.holds_series(*id));
            }
            if held.series.len() as u64 >= self.series_max {
                return Err(StoreError::TokenSeriesLimit { token: token.to_owned(), limit: self.series_max });
            }
        }
        let id = store.series_id(labels)?;
        held.series.insert(id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stdx::clock::ManualClock,
        store::{Appendable, memory::Memory},
    };
    use std::sync::Arc;

    #[test]
    fn a_token_has_its_own_limit_and_known_series_are_never_refused() {
        let store = Memory::new(Arc::new(ManualClock::new(1)));
        let labels = |name: &str| Labels::from_pairs([("__name__", name)]).unwrap();
        let old = store.series_id(&labels("old")).unwrap();
        let tokens = TokenSeries::new(2);
        let resolve = |token, name| tokens.resolve(&store, 1, token, &labels(name));
        for name in ["a", "b", "a"] {
            resolve(Some("ci"), name).unwrap();
        }
        let refused = resolve(Some("ci"), "c").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the token `ci` has reached its limit of 2 active series; raise `limits.series_per_token` or push fewer \
             label values"
        );
        assert_eq!(resolve(Some("ci"), "old").unwrap(), old);
        assert!(resolve(Some("other"), "c").is_ok() && resolve(None, "d").is_ok());
        assert!(resolve(Some("ci"), "c").is_ok(), "somebody else has brought it");
    }
}
