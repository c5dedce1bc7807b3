//! What rules of keeping would let go, before they are in force.
//!
//! Looks at indexes and labels of all blocks, decodes no value. A series counts once, wherever it is found.

use super::{block::Block, engine::Shared, policy::Keeping};
use crate::{
    model::{Labels, Timestamp},
    stdx::cancel::Cancel,
    store::{KeepPlan, RulePlan, StoreError},
};
use roaring::RoaringBitmap;
use std::{collections::HashMap, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// Series looked at between two looks at the cancel flag.
const LOOK_SERIES: usize = 1024;
/// As many policies as a mask has bits.
const POLICIES_MAX: usize = 64;

/// What is known of one series.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The policies it passes, the first in the lowest bit.
    passes: u64,
    /// Something of it is kept.
    stays: bool,
}

/// What rules say of the parts of a store.
struct Planner<'a> {
    rules: &'a Keeping,
    reference: Timestamp,
    plan: KeepPlan,
    /// By the hash of the labels: all labels of a large store would not fit into memory.
    series: HashMap<u64, Seen>,
}

impl Shared {
    /// See [`Upkeep::plan_keeping`](crate::store::Upkeep::plan_keeping).
    pub fn plan_keeping(&self, rules: Option<&Keeping>, cancel: &Cancel) -> Result<KeepPlan, StoreError> {
        let rules = rules.unwrap_or(&self.keeping);
        if rules.policies.iter().count() > POLICIES_MAX {
            return Err(StoreError::Damaged(format!("at most {POLICIES_MAX} policies can be planned")));
        }
        let (blocks, reference) = {
            let places = self.places.read();
            let blocks: Vec<Arc<Block>> = places.all().cloned().collect();
            (blocks, self.reference(&places, self.now_ms()).unwrap_or(Timestamp::MIN))
        };
        let plan = KeepPlan { rules: rule_plans(rules), reference_ms: reference, ..KeepPlan::default() };
        let mut planner = Planner { rules, reference, plan, series: HashMap::new() };
        let in_memory: Vec<Labels> = self.head.catalog.read().series().map(|(_, labels)| labels.clone()).collect();
        for part in in_memory.chunks(LOOK_SERIES) {
            super::by_labels::check(cancel)?;
            part.iter().for_each(|labels| planner.meet_in_memory(labels));
        }
        for block in &blocks {
            planner.meet_block(block, cancel)?;
        }
        Ok(planner.done())
    }
}

/// Rows without figures: the policies, and behind them the rest.
fn rule_plans(rules: &Keeping) -> Vec<RulePlan> {
    let resolutions = || rules.tiers.iter().map(|tier| tier.resolution_ms);
    let of_policies = rules.policies.iter().map(|policy| {
        let matchers: Vec<String> = policy.matchers.iter().map(ToString::to_string).collect();
        RulePlan {
            selector: Some(format!("{{{}}}", matchers.join(","))),
            raw_ms: policy.retention_ms,
            tiers_ms: resolutions().filter(|resolution_ms| policy.keeps(*resolution_ms)).collect(),
            ..RulePlan::default()
        }
    });
    let rest = RulePlan { raw_ms: rules.retention_ms, tiers_ms: resolutions().collect(), ..RulePlan::default() };
    of_policies.chain([rest]).collect()
}

impl Planner<'_> {
    /// The row of a series that passes these policies.
    fn rule_of(&self, passes: u64) -> usize {
        if passes == 0 { self.plan.rules.len() - 1 } else { passes.trailing_zeros() as usize }
    }

    fn meet_in_memory(&mut self, labels: &Labels) {
        let passes = self
            .rules
            .policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| policy.matchers.iter().all(|matcher| matcher.matches_labels(labels)));
        let passes = passes.fold(0, |mask, (number, _)| mask | 1 << number);
        self.series.insert(xxh3_64(labels.as_bytes()), Seen { passes, stays: true });
    }

    /// For how long what a block has of a rule is kept; `None` where nobody says so, and it is left alone.
    fn kept_ms(&self, block: &Block, rule: usize) -> Option<i64> {
        if block.resolution_ms == Block::SAMPLES {
            return Some(self.plan.rules[rule].raw_ms);
        }
        let tier = self.rules.tiers.iter().find(|tier| tier.resolution_ms == block.resolution_ms);
        tier.map(|tier| tier.retention_ms)
    }

    fn meet_block(&mut self, block: &Block, cancel: &Cancel) -> Result<(), StoreError> {
        let policies: Vec<RoaringBitmap> =
            self.rules.policies.iter().map(|policy| block.find(&policy.matchers)).collect();
        let extents: u64 = (0..block.series()).map(|series| block.series_extent(series)).sum();
        let left = block.find(&[]);
        for (index, number) in left.iter().enumerate() {
            if index.is_multiple_of(LOOK_SERIES) {
                super::by_labels::check(cancel)?;
            }
            let Some(labels) = block.labels(number) else { continue };
            let passing = policies.iter().enumerate().filter(|(_, found)| found.contains(number));
            let passes = passing.fold(0, |mask, (policy, _)| mask | 1 << policy);
            // With its share of the index.
            let bytes = u128::from(block.series_extent(number)) * u128::from(block.file_bytes());
            let bytes = (bytes / u128::from(extents.max(1))) as u64;
            let rule = self.rule_of(passes);
            let until = self.kept_ms(block, rule).map(|kept_ms| block.footer.newest.saturating_add(kept_ms));
            let goes = until.is_some_and(|until| until < self.reference);
            let row = &mut self.plan.rules[rule];
            row.bytes += bytes;
            match until {
                None => self.plan.left_alone_bytes += bytes,
                Some(_) if goes => row.going_bytes += bytes,
                Some(until) => row.next_ms = Some(row.next_ms.map_or(until, |next_ms| next_ms.min(until))),
            }
            let seen = self.series.entry(xxh3_64(labels.as_bytes())).or_default();
            seen.passes = passes;
            seen.stays |= !goes;
        }
        Ok(())
    }

    fn done(mut self) -> KeepPlan {
        // The first policies that took series from a later one.
        let mut taken_by: Vec<Option<u64>> = vec![None; self.plan.rules.len()];
        for seen in self.series.values() {
            let own = self.rule_of(seen.passes);
            let row = &mut self.plan.rules[own];
            row.series += 1;
            row.going_series += u64::from(!seen.stays);
            for policy in (0..POLICIES_MAX).filter(|policy| seen.passes & 1 << policy != 0) {
                self.plan.rules[policy].passing_series += 1;
                let first = taken_by[policy].get_or_insert(own as u64);
                *first = (*first).min(own as u64);
            }
        }
        for (row, taken_by) in self.plan.rules.iter_mut().zip(taken_by) {
            row.shadowed_by = taken_by.filter(|_| row.selector.is_some() && row.series == 0);
        }
        for row in &self.plan.rules {
            self.plan.series += row.series;
            self.plan.bytes += row.bytes;
            self.plan.going_series += row.going_series;
            self.plan.going_bytes += row.going_bytes;
        }
        self.plan
    }
}
