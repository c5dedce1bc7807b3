//! What kind of metric a series is, from what its senders said: the store asks when it builds buckets.

use crate::{
    config::Config,
    ingest::Ingest,
    model::{Labels, METRIC_NAME, MetricType},
    store::tsdb::{Keeping, KindOf, Policies, Policy, TierOptions, tier::MetricKind},
};
use std::sync::{Arc, OnceLock};

/// Endings of the series of one family.
const ENDINGS: [&str; 4] = ["_bucket", "_count", "_sum", "_total"];

type TypeOf = Box<dyn Fn(&str) -> Option<MetricType> + Send + Sync>;

/// Given to the store before there is anybody to ask, and told whom to ask later.
#[derive(Clone, Default)]
pub struct Kinds(Arc<OnceLock<TypeOf>>);

impl Kinds {
    /// What the store asks.
    pub fn of_store(&self) -> KindOf {
        let kinds = self.clone();
        Arc::new(move |labels| kinds.0.get().map_or(MetricKind::Unknown, |type_of| kind_of(labels, type_of)))
    }

    /// From now on metadata is asked. Does not keep it alive: it keeps the store alive, which keeps this.
    pub fn learn_from(&self, ingest: &Ingest) {
        let metadata = Arc::downgrade(&ingest.shared_metadata());
        let type_of = move |family: &str| Some(metadata.upgrade()?.get(family)?.metric_type);
        // Asked once, when the process starts.
        let _ = self.0.set(Box::new(type_of));
    }
}

fn kind_of(labels: &Labels, type_of: &TypeOf) -> MetricKind {
    let name = labels.get(METRIC_NAME).unwrap_or_default();
    let ending = ENDINGS.into_iter().find(|ending| name.ends_with(ending)).unwrap_or_default();
    let family = &name[..name.len() - ending.len()];
    // The name itself, or that of the family it belongs to.
    match type_of(name).or_else(|| type_of(family)).unwrap_or(MetricType::Unknown) {
        MetricType::Counter => MetricKind::Counter,
        // Quantiles have the name of the family; native histograms are told by themselves.
        MetricType::Histogram | MetricType::Summary if ending.is_empty() => MetricKind::Gauge,
        MetricType::Histogram | MetricType::Summary => MetricKind::Counter,
        MetricType::Gauge | MetricType::GaugeHistogram | MetricType::Info | MetricType::StateSet => MetricKind::Gauge,
        MetricType::Unknown => MetricKind::Unknown,
    }
}

/// The tiers of a config as the store takes them.
pub fn tier_options(config: &Config) -> Vec<TierOptions> {
    let tier =
        |tier: &crate::config::Tier| TierOptions { resolution_ms: tier.resolution_ms, retention_ms: tier.retention_ms };
    config.tiers.iter().map(tier).collect()
}

/// The policies of a config as the store takes them.
pub fn policies(config: &Config) -> Policies {
    let policy = |policy: &crate::config::Policy| Policy {
        matchers: policy.matchers.clone(),
        retention_ms: policy.retention_ms,
        tiers: policy.tiers.clone(),
    };
    Policies::new(config.policies.iter().map(policy).collect())
}

/// What a config keeps for how long.
pub fn keeping(config: &Config) -> Keeping {
    Keeping { retention_ms: config.retention_ms, tiers: tier_options(config), policies: policies(config) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_of_a_family_tells_the_kind_of_its_series() {
        let types: TypeOf = Box::new(|family| match family {
            "requests_total" => Some(MetricType::Counter),
            "errors" => Some(MetricType::Counter),
            "latency" => Some(MetricType::Histogram),
            "wait" => Some(MetricType::Summary),
            "heat" => Some(MetricType::Gauge),
            _ => None,
        });
        let kind = |name: &str| kind_of(&Labels::from_pairs([("__name__", name)]).unwrap(), &types);
        for name in ["requests_total", "errors_total", "latency_bucket", "latency_count", "wait_sum"] {
            assert_eq!(kind(name), MetricKind::Counter, "{name}");
        }
        assert_eq!((kind("wait"), kind("heat")), (MetricKind::Gauge, MetricKind::Gauge));
        assert_eq!(
            (kind("other_total"), kind("_total"), kind("")),
            (MetricKind::Unknown, MetricKind::Unknown, MetricKind::Unknown)
        );
    }
}
