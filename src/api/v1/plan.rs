//! `POST /api/v1/admin/storage/plan`: what rules of retention would keep and delete, before they are in force.

use crate::{
    api::{
        body::read_body,
        error::{ApiError, ErrorKind},
        render::envelope::answer,
        state::{Api, Ready},
    },
    promql::parser::parse_selector,
    stdx::cancel::Cancel,
    store::tsdb::{Keeping, Policies, Policy, TierOptions},
};
use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde::Deserialize;
use std::sync::Arc;

/// Policies of a few kilobytes each.
const BODY_BYTES_MAX: usize = 256 << 10;
/// As many as a config may have.
const POLICIES_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    raw_ms: i64,
    #[serde(default)]
    tiers: Vec<TierRule>,
    #[serde(default)]
    policies: Vec<PolicyRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TierRule {
    resolution_ms: i64,
    retention_ms: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyRule {
    #[serde(rename = "match")]
    selector: String,
    raw_ms: i64,
    /// Resolutions; all where it is not given.
    tiers_ms: Option<Vec<i64>>,
}

/// Answers for the rules in the body, or for those in force where there is none.
pub async fn plan(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let bytes = read_body(&headers, body, BODY_BYTES_MAX).await?;
    let rules = if bytes.is_empty() { None } else { Some(rules(&bytes)?) };
    // It looks at as much as a large report does.
    let turn = api.admission.report().await;
    let made = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        parts.upkeep.plan_keeping(rules.as_ref(), &Cancel::new())
    });
    let plan = made.await.map_err(|cause| ApiError::new(ErrorKind::Internal, cause.to_string()))??;
    // Numbers and texts, which always have a JSON form.
    Ok(answer(&serde_json::to_value(&plan).unwrap_or_default()))
}

fn rules(bytes: &[u8]) -> Result<Keeping, ApiError> {
    let rules: Rules = serde_json::from_slice(bytes).map_err(|error| ApiError::bad_data(error.to_string()))?;
    if rules.policies.len() > POLICIES_MAX {
        return Err(ApiError::bad_data(format!("at most {POLICIES_MAX} policies")));
    }
    let tiers = rules.tiers.iter().map(|tier| tier.resolution_ms).collect::<Vec<_>>();
    let times = rules.tiers.iter().flat_map(|tier| [tier.resolution_ms, tier.retention_ms]);
    let mut times = times.chain(rules.policies.iter().map(|policy| policy.raw_ms)).chain([rules.raw_ms]);
    if times.any(|ms| ms <= 0) {
        return Err(ApiError::bad_data("every time is a number of milliseconds above 0"));
    }
    let mut kept = rules.policies.iter().flat_map(|policy| policy.tiers_ms.iter().flatten());
    if let Some(unknown) = kept.find(|resolution_ms| !tiers.contains(resolution_ms)) {
        return Err(ApiError::bad_data(format!("tiers_ms: there is no tier of {unknown} ms among `tiers`")));
    }
    let policy = |rule: PolicyRule| {
        let matchers = parse_selector(&rule.selector).map_err(|error| ApiError::parameter("match", error))?;
        Ok(Policy { matchers, retention_ms: rule.raw_ms, tiers: rule.tiers_ms })
    };
    let policies = rules.policies.into_iter().map(policy).collect::<Result<Vec<_>, ApiError>>()?;
    let tier = |rule: TierRule| TierOptions { resolution_ms: rule.resolution_ms, retention_ms: rule.retention_ms };
    Ok(Keeping {
        retention_ms: rules.raw_ms,
        tiers: rules.tiers.into_iter().map(tier).collect(),
        policies: Policies::new(policies),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_cannot_be_meant_are_refused_with_what_is_wrong() {
        let refused = |text: &str| rules(text.as_bytes()).unwrap_err().message;
        assert!(refused("{}").contains("raw_ms"));
        assert!(refused(r#"{"raw_ms": -1}"#).contains("above 0"));
        let tiers = r#""tiers": [{"resolution_ms": 60000, "retention_ms": 9}]"#;
        let policy = |rest: &str| format!(r#"{{"raw_ms": 5, {tiers}, "policies": [{{{rest}}}]}}"#);
        assert!(refused(&policy(r#""match": "{", "raw_ms": 1"#)).contains("match"));
        assert!(refused(&policy(r#""match": "a", "raw_ms": 0"#)).contains("above 0"));
        assert!(refused(&policy(r#""match": "a", "raw_ms": 1, "tiers_ms": [5]"#)).contains("no tier of 5 ms"));
        let kept = rules(policy(r#""match": "a", "raw_ms": 1, "tiers_ms": [60000]"#).as_bytes()).unwrap();
        assert_eq!((kept.retention_ms, kept.tiers.len(), kept.policies.iter().count()), (5, 1, 1));
    }
}
