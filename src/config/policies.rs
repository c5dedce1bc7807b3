//! Which series are kept for another time than the rest.

use super::{
    problem::Problems,
    raw::{Located, RawPolicy},
    tiers::Tier,
};
use crate::{
    model::{METRIC_NAME, Matcher, time::format_duration_ms},
    promql::parser::parse_selector,
};

const RETENTION_MS_MAX: i64 = 100 * 365 * 24 * 3_600_000;
/// A window is the least that can be dropped.
const RETENTION_MS_MIN: i64 = 2 * 3_600_000;
/// Each is asked for every series of a block that is written.
const COUNT_MAX: usize = 64;

/// The series that pass `selector`, unless they pass that of an earlier policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// As written.
    pub selector: String,
    pub matchers: Vec<Matcher>,
    /// For how long samples are kept.
    pub retention_ms: i64,
    /// The resolutions of the tiers that keep buckets of them; `None` for all there are.
    pub tiers: Option<Vec<i64>>,
}

/// The policies in their order. `retention_ms` is that of series that pass none.
pub fn resolve(
    raw: Vec<Located<RawPolicy>>,
    retention_ms: i64,
    tiers: &[Tier],
    problems: &mut Problems,
) -> Vec<Policy> {
    if let Some(first) = raw.first().filter(|_| raw.len() > COUNT_MAX) {
        problems.error("storage.policies", first.line, format!("at most {COUNT_MAX}"));
    }
    let mut policies = Vec::new();
    for (index, Located { value, line }) in raw.into_iter().enumerate() {
        let path = format!("storage.policies[{index}]");
        let Some(selector) = value.selector else {
            let hint = "write which series are meant, such as `match: '{env=\"dev\"}'`";
            problems.error_with_hint(&path, line, "has no match", hint);
            continue;
        };
        let matchers = match parse_selector(&selector.value) {
            Ok(matchers) => matchers,
            Err(error) => {
                problems.error(&format!("{path}.match"), selector.line, error.to_string());
                continue;
            }
        };
        let kept_ms = value.retention_ms.as_ref().map_or(retention_ms, |raw| raw.value);
        if !(RETENTION_MS_MIN..=RETENTION_MS_MAX).contains(&kept_ms) {
            problems.error(&format!("{path}.raw"), line, "must be 2h or longer, and at most 100 years");
        }
        let is_known = |resolution_ms: i64| tiers.iter().any(|tier| tier.resolution_ms == resolution_ms);
        let kept = value.tiers.map(|tiers| tiers.value);
        for unknown in kept.iter().flatten().filter(|resolution| !is_known(resolution.value)) {
            let resolution = format_duration_ms(unknown.value);
            let message = format!("`{resolution}` is no resolution of `storage.tiers`");
            problems.error(&format!("{path}.tiers"), unknown.line, message);
        }
        let kept: Option<Vec<i64>> = kept.map(|tiers| tiers.into_iter().map(|tier| tier.value).collect());
        let has_buckets = kept.as_ref().map_or(!tiers.is_empty(), |kept| !kept.is_empty());
        if kept_ms < retention_ms && has_buckets {
            let rest = format_duration_ms(retention_ms);
            let message = format!("samples that go before those of others ({rest}) leave no buckets");
            let hint = "buckets are built when days are over and their samples about to go; write `tiers: none`, or a longer `raw`";
            problems.error_with_hint(&path, line, message, hint);
        }
        policies.push(Policy { selector: selector.value, matchers, retention_ms: kept_ms, tiers: kept });
    }
    policies
}

/// For how long samples of what SonarQube says are kept: the least of any series, as one sync reads all of them. `metrics`
/// are keys; units that names may end with make no difference to a policy that means all of it.
pub fn sonar_kept_ms(policies: &[Policy], retention_ms: i64, metrics: &[String]) -> i64 {
    let names: Vec<String> = metrics.iter().map(|key| format!("sonar_{key}")).collect();
    least_kept_ms(policies, retention_ms, names.iter().map(String::as_str))
}

/// For how long samples are kept at least of every series with one of these names, whatever its other labels are.
fn least_kept_ms<'n>(policies: &[Policy], retention_ms: i64, names: impl Iterator<Item = &'n str>) -> i64 {
    let of_name = |name: &str| {
        let mut least_ms = i64::MAX;
        for policy in policies {
            let (of_name, others): (Vec<_>, Vec<_>) =
                policy.matchers.iter().partition(|matcher| matcher.name == METRIC_NAME);
            if of_name.iter().all(|matcher| matcher.matches(name)) {
                least_ms = least_ms.min(policy.retention_ms);
                if others.is_empty() {
                    return least_ms;
                }
            }
        }
        least_ms.min(retention_ms)
    };
    names.map(of_name).min().unwrap_or(retention_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;
    use std::path::Path;

    #[test]
    fn policies_are_read_in_their_order() {
        let text = "storage:\n  policies:\n  - {match: '{env=\"dev\"}', raw: 3d, tiers: none}\n  - {match: \
                    '{__name__=~\"sonar_.*\"}', raw: 730d}\n  - {match: 'up', tiers: [1h]}\n";
        let config =
            load_text(text, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors)).config;
        let days: Vec<i64> = config.policies.iter().map(|policy| policy.retention_ms / 86_400_000).collect();
        assert_eq!(days, [3, 730, 30]);
        let tiers: Vec<_> = config.policies.iter().map(|policy| policy.tiers.clone()).collect();
        assert_eq!(tiers, [Some(vec![]), None, Some(vec![3_600_000])]);
        let shown = config.to_yaml();
        let again = load_text(&shown, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors));
        assert_eq!(again.config.policies, config.policies, "{shown}");
    }

    #[test]
    fn the_least_that_is_kept_of_a_name_is_that_of_the_first_policy_that_must_take_it() {
        let text = "storage:\n  policies:\n  - {match: 'sonar_b', raw: 40d}\n  - {match: '{__name__=~\"sonar_.*\", project=\"x\"}', \
                    raw: 50d}\n  - {match: '{__name__=~\"sonar_.*\"}', raw: 730d}\n";
        let config =
            load_text(text, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors)).config;
        let least =
            |names: &[&str]| least_kept_ms(&config.policies, config.retention_ms, names.iter().copied()) / 86_400_000;
        assert_eq!([least(&["sonar_a"]), least(&["sonar_b"]), least(&["up"]), least(&[])], [50, 40, 30, 30]);
        assert_eq!(least_kept_ms(&config.policies[2..], 1, ["sonar_a"].into_iter()) / 86_400_000, 730);
    }

    #[test]
    fn policies_that_make_no_sense_are_refused_with_their_place() {
        let text = "storage:\n  policies:\n  - {raw: 3d}\n  - {match: '{env=', raw: 3d}\n  - {match: up, raw: 1h, tiers: \
                    none}\n  - {match: up, raw: 3d}\n  - {match: up, tiers: [7m]}\n";
        let problems = load_text(text, Path::new("/etc")).unwrap_err();
        let shown: String = problems.errors.iter().map(|problem| format!("{problem}\n")).collect();
        for (line, part) in [
            (3, "has no match"),
            (4, "match: 1:"),
            (5, "raw: must be 2h or longer"),
            (6, "leave no buckets"),
            (7, "`7m` is no resolution"),
        ] {
            let found = shown.lines().any(|text| text.starts_with(&format!("line {line}:")) && text.contains(part));
            assert!(found, "line {line}, `{part}` is missing in\n{shown}");
        }
    }
}
