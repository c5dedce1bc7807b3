//! All groups together: which series and which types are whose, and whether a push agrees with that.

use super::{
    Grouping,
    codec::group_key,
    group::{Family, Group, PUSH_FAILURE_TIME, PUSH_TIME},
};
use crate::model::{Labels, METRIC_NAME, MetricType};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// Suffixes a family of a type claims for its own series.
fn claimed_suffixes(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum"],
        MetricType::Summary => &["_count", "_sum"],
        _ => &[],
    }
}

/// The groups and what follows from them.
#[derive(Default)]
pub(super) struct Groups {
    by_key: BTreeMap<Vec<u8>, Arc<Group>>,
    /// Which group has a series.
    owners: HashMap<Labels, u64>,
    /// The type of each family name and how many groups hold it.
    types: HashMap<String, (MetricType, usize)>,
    last_id: u64,
}

impl Groups {
    pub(super) fn get(&self, key: &[u8]) -> Option<&Arc<Group>> {
        self.by_key.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn all(&self) -> Vec<Arc<Group>> {
        self.by_key.values().cloned().collect()
    }

    /// A group that is not among the others yet.
    pub(super) fn new_group(&mut self, grouping: Grouping) -> Group {
        self.last_id += 1;
        Group { id: self.last_id, grouping, pushed_ms: 0, failed_ms: 0, families: BTreeMap::new() }
    }

    /// Puts a group in the place of its former self.
    pub(super) fn put(&mut self, group: Arc<Group>) {
        let key = group_key(&group.grouping);
        let before = self.by_key.get(&key).cloned();
        if before.is_none() {
            for metric in [PUSH_TIME, PUSH_FAILURE_TIME] {
                self.owners.insert(Group::time_labels(&group.grouping, metric), group.id);
            }
        }
        // Families that are the same object in both are left alone: a push touches only its own.
        if let Some(before) = before {
            for (name, family) in &before.families {
                if !group.families.get(name).is_some_and(|now| Arc::ptr_eq(now, family)) {
                    self.forget_family(name, family);
                }
            }
            for (name, family) in &group.families {
                if !before.families.get(name).is_some_and(|then| Arc::ptr_eq(then, family)) {
                    self.learn_family(group.id, name, family);
                }
            }
        } else {
            for (name, family) in &group.families {
                self.learn_family(group.id, name, family);
            }
        }
        self.by_key.insert(key, group);
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        let Some(group) = self.by_key.remove(key) else { return };
        for metric in [PUSH_TIME, PUSH_FAILURE_TIME] {
            self.owners.remove(&Group::time_labels(&group.grouping, metric));
        }
        for (name, family) in &group.families {
            self.forget_family(name, family);
        }
    }

    fn learn_family(&mut self, id: u64, name: &str, family: &Family) {
        self.owners.extend(family.samples.iter().map(|sample| (sample.labels.clone(), id)));
        match self.types.get_mut(name) {
            Some((metric_type, groups)) => {
                *metric_type = family.metric_type;
                *groups += 1;
            }
            None => _ = self.types.insert(name.to_owned(), (family.metric_type, 1)),
        }
    }

    fn forget_family(&mut self, name: &str, family: &Family) {
        for sample in &family.samples {
            self.owners.remove(&sample.labels);
        }
        if let Some((_, groups)) = self.types.get_mut(name) {
            *groups -= 1;
            if *groups == 0 {
                self.types.remove(name);
            }
        }
    }

    /// Whether another group already has the group's own time series: label sets that differ only in empty values do.
    pub(super) fn times_taken(&self, group: &Group) -> bool {
        let owner = self.owners.get(&Group::time_labels(&group.grouping, PUSH_TIME));
        owner.is_some_and(|owner| *owner != group.id)
    }

    /// Says why `pushed` cannot become part of `group`, of which `replace` drops everything else.
    pub(super) fn check(&self, group: &Group, replace: bool, pushed: &BTreeMap<String, Family>) -> Result<(), String> {
        let view = View { groups: self, group, replace, pushed };
        if self.times_taken(group) {
            let labels = Group::time_labels(&group.grouping, PUSH_TIME);
            return Err(format!(
                "collected metric \"{PUSH_TIME}\" {labels} was collected before with the same name and label values: \
                 a group whose grouping key differs only in labels with an empty value exists"
            ));
        }
        let mut seen: HashSet<&Labels> = HashSet::new();
        for (name, family) in pushed {
            view.check_type(name, family)?;
            view.check_suffixes(name, family)?;
            for sample in &family.samples {
                if !seen.insert(&sample.labels) || view.is_taken(&sample.labels) {
                    return Err(format!(
                        "collected metric \"{name}\" {} was collected before with the same name and label values",
                        sample.labels
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The groups as they will be beside a push.
struct View<'a> {
    groups: &'a Groups,
    group: &'a Group,
    replace: bool,
    pushed: &'a BTreeMap<String, Family>,
}

impl View<'_> {
    /// The type of a family among what stays: other groups', and this one's where the push does not touch it.
    fn kept_type(&self, name: &str) -> Option<MetricType> {
        let (metric_type, groups) = self.groups.types.get(name)?;
        let goes = self.group.families.contains_key(name) && (self.replace || self.pushed.contains_key(name));
        (*groups > usize::from(goes)).then_some(*metric_type)
    }

    fn type_beside(&self, name: &str) -> Option<MetricType> {
        self.pushed.get(name).map(|family| family.metric_type).or_else(|| self.kept_type(name))
    }

    fn check_type(&self, name: &str, family: &Family) -> Result<(), String> {
        match self.kept_type(name) {
            Some(kept) if kept != family.metric_type => {
                let labels = family.samples.first().map(|sample| sample.labels.to_string()).unwrap_or_default();
                Err(format!(
                    "collected metric \"{name}\" {labels} is not a {}: another group pushed it with that type; push it \
                     with the same TYPE, or DELETE that group first",
                    type_name(kept)
                ))
            }
            _ => Ok(()),
        }
    }

    /// A family `a` of a histogram and a family `a_count` would write the same series.
    fn check_suffixes(&self, name: &str, family: &Family) -> Result<(), String> {
        let collides = |part: &str, whole: &str, metric_type| {
            format!(
                "collected metric named \"{part}\" collides with previously collected {} named \"{whole}\"",
                type_name(metric_type).to_lowercase()
            )
        };
        for suffix in claimed_suffixes(family.metric_type) {
            let part = format!("{name}{suffix}");
            if self.type_beside(&part).is_some() {
                return Err(collides(&part, name, family.metric_type));
            }
        }
        for suffix in claimed_suffixes(MetricType::Histogram) {
            let Some(whole) = name.strip_suffix(suffix) else { continue };
            if let Some(metric_type) = self.type_beside(whole)
                && claimed_suffixes(metric_type).contains(suffix)
            {
                return Err(collides(name, whole, metric_type));
            }
        }
        Ok(())
    }

    /// Whether a series belongs to another group, or to a family of this one that stays.
    fn is_taken(&self, labels: &Labels) -> bool {
        match self.groups.owners.get(labels) {
            None => false,
            Some(owner) if *owner != self.group.id => true,
            Some(_) if self.replace => false,
            Some(_) => {
                let metric = labels.get(METRIC_NAME).unwrap_or_default();
                let bases = ["", "_bucket", "_count", "_sum"].iter().filter_map(|suffix| metric.strip_suffix(suffix));
                bases.filter(|base| !self.pushed.contains_key(*base)).any(|base| {
                    let family = self.group.families.get(base);
                    family.is_some_and(|family| family.samples.iter().any(|sample| sample.labels == *labels))
                })
            }
        }
    }
}

/// As the protobuf format names types.
pub(super) fn type_name(metric_type: MetricType) -> &'static str {
    match metric_type {
        MetricType::Counter => "COUNTER",
        MetricType::Gauge => "GAUGE",
        MetricType::Summary => "SUMMARY",
        MetricType::Histogram => "HISTOGRAM",
        MetricType::GaugeHistogram => "GAUGE_HISTOGRAM",
        MetricType::Unknown | MetricType::Info | MetricType::StateSet => "UNTYPED",
    }
}
