//! Policies: series that are kept for another time than the rest, and whether buckets are kept of them. The first that
//! a series passes counts.
//!
//! 1. Samples that are kept shorter leave a block when it is written again without them: by a merge that is due anyway,
//!    or for their sake, once their share is real or they have waited for long.
//! 2. Samples that are kept longer are written to a block beside the others ([`keeping`](super::keeping)) when these go.

use super::{
    block::Block,
    options::{Options, TierOptions},
};
use crate::model::{Labels, Matcher};
use std::sync::Arc;

/// How some series are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub matchers: Vec<Matcher>,
    /// For how long samples are kept.
    pub retention_ms: i64,
    /// The resolutions of the tiers that keep buckets of them; `None` for all there are.
    pub tiers: Option<Vec<i64>>,
}

impl Policy {
    /// Whether a tier keeps buckets.
    pub fn keeps(&self, resolution_ms: i64) -> bool {
        self.tiers.as_ref().is_none_or(|kept| kept.contains(&resolution_ms))
    }
}

/// In the order they are asked. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policies(Arc<Vec<Policy>>);

/// What a block has of one policy, or of the series that pass none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub series: u64,
    /// Of the data.
    pub bytes: u64,
}

impl Policies {
    pub fn new(list: Vec<Policy>) -> Policies {
        Policies(Arc::new(list))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Policy> {
        self.0.iter()
    }

    pub fn get(&self, number: usize) -> Option<&Policy> {
        self.0.get(number)
    }

    /// The number of a series' policy; `None` where it passes none.
    pub fn number_of(&self, labels: &Labels) -> Option<usize> {
        self.iter().position(|policy| policy.matchers.iter().all(|matcher| matcher.matches_labels(labels)))
    }

    /// The policy of a series; `None` where it passes none.
    pub fn of(&self, labels: &Labels) -> Option<&Policy> {
        self.get(self.number_of(labels)?)
    }

    /// The share of each policy in a block, and at the end that of the rest. Asks the block's index alone.
    pub fn shares(&self, block: &Block) -> Vec<Share> {
        let mut left = roaring::RoaringBitmap::from_iter(0..block.series());
        let extent = |series: roaring::RoaringBitmap| Share {
            series: series.len(),
            bytes: series.iter().map(|number| block.series_extent(number)).sum(),
        };
        let mut shares = Vec::with_capacity(self.0.len() + 1);
        for policy in self.iter() {
            let found = block.find(&policy.matchers) & &left;
            left -= &found;
            shares.push(extent(found));
        }
        shares.push(extent(left - block.cuts().gone()));
        shares
    }
}

/// For how long things are kept, by policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Keeping {
    /// Of samples of series that pass no policy.
    pub retention_ms: i64,
    pub tiers: Vec<TierOptions>,
    pub policies: Policies,
}

impl Keeping {
    pub fn of(options: &Options) -> Keeping {
        let Options { retention_ms, tiers, policies, .. } = options;
        Keeping { retention_ms: *retention_ms, tiers: tiers.clone(), policies: policies.clone() }
    }

    /// For how long samples are kept, by policy and at the end for the rest: as [`Policies::shares`] has them.
    pub fn retentions(&self) -> impl Iterator<Item = i64> {
        self.policies.iter().map(|policy| policy.retention_ms).chain([self.retention_ms])
    }

    /// For how long the samples of a series are kept.
    pub fn retention_of(&self, labels: &Labels) -> i64 {
        self.policies.of(labels).map_or(self.retention_ms, |policy| policy.retention_ms)
    }

    /// How old a sample of a series may be to be taken: as old as anything that is kept of it.
    pub fn taken_ms(&self, policy: Option<&Policy>) -> i64 {
        let keeps = |tier: &&TierOptions| policy.is_none_or(|policy| policy.keeps(tier.resolution_ms));
        let tiers = self.tiers.iter().filter(keeps).map(|tier| tier.retention_ms);
        tiers.fold(policy.map_or(self.retention_ms, |policy| policy.retention_ms), i64::max)
    }

    /// The least of [`Keeping::taken_ms`] of any series.
    pub fn taken_ms_min(&self) -> i64 {
        let all = self.policies.iter().map(|policy| self.taken_ms(Some(policy)));
        all.fold(self.taken_ms(None), i64::min)
    }

    /// For how long anything is kept.
    pub fn longest_ms(&self) -> i64 {
        let all = self.policies.iter().map(|policy| self.taken_ms(Some(policy)));
        all.fold(self.taken_ms(None), i64::max)
    }

    /// Whether a tier keeps buckets of a series.
    pub fn has_buckets(&self, labels: &Labels, resolution_ms: i64) -> bool {
        self.policies.of(labels).is_none_or(|policy| policy.keeps(resolution_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[test]
    fn the_first_policy_that_a_series_passes_counts() {
        let policy = |name: &str, value: &str, days: i64, tiers| Policy {
            matchers: vec![Matcher::equal(name, value)],
            retention_ms: days * DAY_MS,
            tiers,
        };
        let list = vec![policy("env", "dev", 3, Some(vec![])), policy("job", "a", 700, Some(vec![60_000]))];
        let tier = |resolution_ms, days| TierOptions { resolution_ms, retention_ms: days * DAY_MS };
        let tiers = vec![tier(60_000, 90), tier(3_600_000, 365)];
        let keeping = Keeping { retention_ms: 30 * DAY_MS, tiers, policies: Policies::new(list) };
        let labels = |pairs: &[(&str, &str)]| Labels::from_pairs(pairs.iter().copied()).unwrap();
        for (pairs, days, taken, fine, coarse) in [
            (&[("env", "dev"), ("job", "a")][..], 3, 3, false, false),
            (&[("job", "a")], 700, 700, true, false),
            (&[("job", "b")], 30, 365, true, true),
        ] {
            let labels = labels(pairs);
            assert_eq!(keeping.retention_of(&labels), days * DAY_MS, "{labels}");
            assert_eq!(keeping.taken_ms(keeping.policies.of(&labels)), taken * DAY_MS, "{labels}");
            assert_eq!(keeping.has_buckets(&labels, 60_000), fine, "{labels}");
            assert_eq!(keeping.has_buckets(&labels, 3_600_000), coarse, "{labels}");
        }
        assert_eq!((keeping.taken_ms_min(), keeping.longest_ms()), (3 * DAY_MS, 700 * DAY_MS));
    }
}
