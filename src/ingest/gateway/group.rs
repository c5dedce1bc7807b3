//! A push group: what one grouping key holds.

use super::Grouping;
use crate::{
    model::{Labels, METRIC_NAME, MetricType, Timestamp},
    protocol::exposition::Value,
};
use std::{collections::BTreeMap, sync::Arc};

/// Metrics the gateway itself keeps for each group.
pub(super) const PUSH_TIME: &str = "push_time_seconds";
pub(super) const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";

/// What one grouping key holds. Times are milliseconds, 0 for never.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Names the group for as long as the process lives.
    pub(super) id: u64,
    pub(super) grouping: Grouping,
    pub(super) pushed_ms: Timestamp,
    pub(super) failed_ms: Timestamp,
    /// By name; shared with the state before, of which a push changes a part.
    pub(super) families: BTreeMap<String, Arc<Family>>,
}

/// A metric family of a group, as pushed last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Family {
    pub(super) metric_type: MetricType,
    pub(super) help: String,
    pub(super) pushed_ms: Timestamp,
    pub(super) samples: Vec<GroupSample>,
}

/// A series of a group with its value; the labels contain the grouping labels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GroupSample {
    pub(super) labels: Labels,
    pub(super) value: Value,
}

impl Group {
    /// The labels of one of the group's own metrics.
    pub(super) fn time_labels(grouping: &Grouping, metric: &str) -> Labels {
        let labels = grouping.labels().chain([(METRIC_NAME, metric)]);
        Labels::from_pairs(labels).expect("grouping labels are unique, not empty and never __name__")
    }

    /// Every series of the group but its own times.
    pub(super) fn samples(&self) -> impl Iterator<Item = &GroupSample> {
        self.families.values().flat_map(|family| &family.samples)
    }
}
