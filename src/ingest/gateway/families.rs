//! From a parsed body to the families of a group: grouping labels win, timestamps are refused.

use super::{
    Grouping,
    group::{Family, GroupSample, PUSH_FAILURE_TIME, PUSH_TIME},
};
use crate::{
    model::{Labels, METRIC_NAME, Timestamp},
    protocol::{
        exposition::{Exposition, Sample},
        limits::LabelLimits,
    },
};
use std::collections::BTreeMap;

/// Why a body does not make families.
pub(super) enum FamiliesError {
    Timestamp,
    Labels(String),
}

/// Builds the families of a push. What a client says of the gateway's own metrics is passed over, as in the
/// Pushgateway.
pub(super) fn families(
    exposition: &Exposition<'_>,
    grouping: &Grouping,
    limits: &LabelLimits,
    now: Timestamp,
) -> Result<BTreeMap<String, Family>, FamiliesError> {
    if exposition.samples.iter().any(|sample| sample.timestamp.is_some()) {
        return Err(FamiliesError::Timestamp);
    }
    let mut families: Vec<Family> = exposition
        .families
        .iter()
        .map(|family| Family {
            metric_type: family.metric_type,
            help: family.help.clone().into_owned(),
            pushed_ms: now,
            samples: Vec::with_capacity(family.samples),
        })
        .collect();
    for sample in &exposition.samples {
        let labels = labels_of(exposition, sample, grouping, limits).map_err(FamiliesError::Labels)?;
        families[sample.family].samples.push(GroupSample { labels, value: sample.value.clone() });
    }
    let names = exposition.families.iter().map(|family| family.name.clone().into_owned());
    let kept = names
        .zip(families)
        .filter(|(name, family)| !family.samples.is_empty() && name != PUSH_TIME && name != PUSH_FAILURE_TIME);
    Ok(kept.collect())
}

fn labels_of(
    exposition: &Exposition<'_>,
    sample: &Sample<'_>,
    grouping: &Grouping,
    limits: &LabelLimits,
) -> Result<Labels, String> {
    let own = exposition.labels(sample).iter().map(|label| (label.name.as_ref(), label.value.as_ref()));
    let own = own.filter(|(name, _)| grouping.get(name).is_none());
    let mut pairs: Vec<(&str, &str)> = vec![(METRIC_NAME, sample.name.as_ref())];
    pairs.extend(own);
    pairs.extend(grouping.labels());
    limits.check_count(pairs.len()).map_err(|e| format!("{}: {e}", sample.name))?;
    Labels::from_pairs(pairs).map_err(|e| format!("{}: {e}", sample.name))
}
