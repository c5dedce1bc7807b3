//! In what buckets samples are kept when they themselves are gone.

use super::{
    problem::Problems,
    raw::{Located, RawTier},
};
use crate::model::time::format_duration_ms;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// What shorter buckets would save, compression has saved already.
const RESOLUTION_MS_MIN: i64 = MINUTE_MS;
/// Buckets are built a day at a time at least: samples that go sooner would go before.
const RAW_RETENTION_MS_MIN: i64 = 2 * DAY_MS;
const RETENTION_MS_MAX: i64 = 100 * 365 * DAY_MS;
/// Each is looked at for every series of a query.
const COUNT_MAX: usize = 8;

/// Buckets of one length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    pub resolution_ms: i64,
    pub retention_ms: i64,
}

/// Quarter-year charts in buckets of a panel's step, and the years before.
const DEFAULT: [Tier; 2] = [
    Tier { resolution_ms: 5 * MINUTE_MS, retention_ms: 120 * DAY_MS },
    Tier { resolution_ms: 60 * MINUTE_MS, retention_ms: 730 * DAY_MS },
];

/// The tiers from finest to coarsest. Those by default only as far as they are of use beside `raw_retention_ms`.
pub fn resolve(
    raw: Option<Located<Vec<Located<RawTier>>>>,
    raw_retention_ms: i64,
    problems: &mut Problems,
) -> Vec<Tier> {
    let Some(raw) = raw else { return of_use(DEFAULT.to_vec(), raw_retention_ms) };
    let mut tiers: Vec<Tier> = Vec::new();
    if raw.value.len() > COUNT_MAX {
        problems.error("storage.tiers", raw.line, format!("at most {COUNT_MAX}"));
    }
    if raw_retention_ms < RAW_RETENTION_MS_MIN && !raw.value.is_empty() {
        let least = format_duration_ms(RAW_RETENTION_MS_MIN);
        let message = format!("need samples that are kept {least} or longer; `storage.retention` is less");
        problems.error("storage.tiers", raw.line, message);
    }
    for (index, tier) in raw.value.into_iter().enumerate() {
        let path = format!("storage.tiers[{index}]");
        let (Some(resolution), Some(retention)) = (tier.value.resolution_ms, tier.value.retention_ms) else {
            let hint = "write both, such as `{resolution: 5m, retention: 120d}`";
            problems.error_with_hint(&path, tier.line, "has no resolution or no retention", hint);
            continue;
        };
        let tier = Tier { resolution_ms: resolution.value, retention_ms: retention.value };
        if let Err(message) = check_resolution(tier.resolution_ms, tiers.last()) {
            problems.error(&format!("{path}.resolution"), resolution.line, message);
        }
        let before = tiers.last().map_or(raw_retention_ms, |finer| finer.retention_ms);
        if tier.retention_ms <= before || tier.retention_ms > RETENTION_MS_MAX {
            let before = format_duration_ms(before);
            let message = format!("must be longer than {before}, for which finer data is kept, and at most 100 years");
            problems.error(&format!("{path}.retention"), retention.line, message);
        }
        tiers.push(tier);
    }
    tiers
}

fn check_resolution(ms: i64, finer: Option<&Tier>) -> Result<(), String> {
    if !(RESOLUTION_MS_MIN..=DAY_MS).contains(&ms) || DAY_MS % ms != 0 {
        return Err("must divide a day and be a minute or more, such as 5m or 1h".to_owned());
    }
    match finer.map(|finer| finer.resolution_ms) {
        Some(finer) if ms <= finer || ms % finer != 0 => {
            let finer = format_duration_ms(finer);
            Err(format!("must be several times {finer}, that of the tier before: tiers go from finest to coarsest"))
        }
        _ => Ok(()),
    }
}

/// Without those that would be kept no longer than the samples.
pub fn of_use(tiers: Vec<Tier>, raw_retention_ms: i64) -> Vec<Tier> {
    if raw_retention_ms < RAW_RETENTION_MS_MIN {
        return Vec::new();
    }
    tiers.into_iter().filter(|tier| tier.retention_ms > raw_retention_ms).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;
    use std::path::Path;

    fn tiers(text: &str) -> Vec<(i64, i64)> {
        let loaded = load_text(text, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors));
        let whole = |tier: &Tier| (tier.resolution_ms / MINUTE_MS, tier.retention_ms / DAY_MS);
        loaded.config.tiers.iter().map(whole).collect()
    }

    #[test]
    fn tiers_are_by_default_written_or_none() {
        assert_eq!(tiers(""), [(5, 120), (60, 730)]);
        assert_eq!(
            tiers("storage: {retention: 200d}"),
            [(60, 730)],
            "five minutes for less than the samples are no use"
        );
        assert_eq!(tiers("storage: {retention: 3h}"), []);
        assert_eq!(tiers("storage: {tiers: none}"), []);
        assert_eq!(tiers("storage: {tiers: []}"), []);
        let three = "storage: {retention: 2d, tiers: [{resolution: 1m, retention: 10d}, {resolution: 10m, retention: 30d}, \
                     {resolution: 1d, retention: 3650d}]}";
        assert_eq!(tiers(three), [(1, 10), (10, 30), (1440, 3650)]);
    }

    #[test]
    fn tiers_that_do_not_fit_each_other_or_a_day_are_refused_with_their_place() {
        let refused = |text: &str| {
            let problems = load_text(text, Path::new("/etc")).unwrap_err();
            problems.errors.iter().map(|problem| format!("{problem}\n")).collect::<String>()
        };
        let text = "storage:\n  tiers:\n  - {resolution: 7m, retention: 40d}\n  - {resolution: 15m, retention: 30d}\n  \
                    - {resolution: 1h}\n";
        insta::assert_snapshot!(refused(text), @"
        line 3: storage.tiers[0].resolution: must divide a day and be a minute or more, such as 5m or 1h
        line 4: storage.tiers[1].resolution: must be several times 7m, that of the tier before: tiers go from finest to coarsest
        line 4: storage.tiers[1].retention: must be longer than 40d, for which finer data is kept, and at most 100 years
        line 5: storage.tiers[2]: has no resolution or no retention; write both, such as `{resolution: 5m, retention: 120d}`
        ");
        insta::assert_snapshot!(refused("storage: {retention: 1d, tiers: [{resolution: 5m, retention: 9d}]}"), @"line 1: storage.tiers: need samples that are kept 2d or longer; `storage.retention` is less");
        insta::assert_snapshot!(refused("storage: {tiers: some}"), @"line 1: storage.tiers: expected a list, or none, got `some`");
    }
}
