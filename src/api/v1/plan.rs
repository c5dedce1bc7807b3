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
