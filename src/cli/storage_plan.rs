//! `observatory storage plan`: what a config would keep and delete, before a server runs with it.

use super::{
    arguments::StoragePlan,
    client::{Client, read},
    config::refused_failure,
    dispatch::Failure,
    storage::print,
};
use crate::{
    app::{Offline, keeping},
    config::{Config, load},
    model::time::format_duration_ms,
    stdx::{cancel::Cancel, size::format_bytes},
    store::{KeepPlan, RulePlan, Upkeep},
};
use serde_json::{Value, json};
use std::{fmt::Write, path::Path};
use time::OffsetDateTime;

/// Columns that hold texts; the others hold figures.
const TEXT_COLUMNS: usize = 3;

/// Asks the server or the directory, and prints a table.
pub fn plan(arguments: &StoragePlan) -> Result<(), Failure> {
    let config = arguments.config.as_ref().map(|file| load(file).map_err(|refused| refused_failure(&refused)));
    let config = config.transpose()?.map(|loaded| loaded.config);
    let plan = match &arguments.store.data_dir {
        Some(data) => plan_offline(data, config.as_ref())?,
        None => {
            let client = Client::of(&arguments.store.server)?;
            read(match &config {
                Some(config) => client.post_json("admin/storage/plan", &rules(config)),
                None => client.post("admin/storage/plan"),
            }?)?
        }
    };
    if arguments.json {
        let text = serde_json::to_string_pretty(&plan).map_err(|cause| Failure::failed(cause.to_string()))?;
        return print(&format!("{text}\n"));
    }
    print(&text(&plan))
}

fn plan_offline(data: &Path, config: Option<&Config>) -> Result<KeepPlan, Failure> {
    let Some(config) = config else {
        return Err(Failure::failed("a data directory does not say what is kept for how long; add --config FILE"));
    };
    // Without the config: tiers that it does not have are there too.
    let offline = Offline::open(data, None).map_err(|error| Failure::failed(format!("{error:#}")))?;
    let plan = offline.store.plan_keeping(Some(&keeping(config)), &Cancel::new());
    plan.map_err(|error| Failure::failed(error.to_string()))
}

/// As the API takes them.
fn rules(config: &Config) -> Value {
    let tier =
        |tier: &crate::config::Tier| json!({ "resolution_ms": tier.resolution_ms, "retention_ms": tier.retention_ms });
    let policy = |policy: &crate::config::Policy| json!({ "match": policy.selector, "raw_ms": policy.retention_ms, "tiers_ms": policy.tiers });
    json!({
        "raw_ms": config.retention_ms,
        "tiers": config.tiers.iter().map(tier).collect::<Vec<_>>(),
        "policies": config.policies.iter().map(policy).collect::<Vec<_>>(),
    })
}

fn text(plan: &KeepPlan) -> String {
    let mut out = table(plan);
    if plan.left_alone_bytes > 0 {
        let bytes = format_bytes(plan.left_alone_bytes);
        let _ = writeln!(
            out,
            "\n{bytes} are in tiers that are not kept by these rules: the files stay, and are not served."
        );
    }
    for (number, rule) in (1..).zip(&plan.rules) {
        let Some(selector) = &rule.selector else { continue };
        if rule.passing_series == 0 {
            let _ = writeln!(out, "\nWarning: policy {number}, {selector}, matches no series that is there.");
        } else if let Some(other) = rule.shadowed_by.and_then(|other| plan.rules.get(other as usize)) {
            let other = other.selector.as_deref().unwrap_or_default();
            let series = rule.passing_series;
            let _ = writeln!(
                out,
                "\nWarning: policy {number}, {selector}, is never reached: earlier ones, {other} first, take the {series} series that \
                 match it. Move it up."
            );
        }
    }
    out
}

fn table(plan: &KeepPlan) -> String {
    let head = ["series of", "samples", "buckets", "series", "bytes", "go: series", "bytes", "stay", "next goes"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(plan.rules.iter().map(row));
    let whole = RulePlan {
        series: plan.series,
        bytes: plan.bytes,
        going_series: plan.going_series,
        going_bytes: plan.going_bytes,
        ..RulePlan::default()
    };
    let mut all = row(&whole);
    (all[0], all[1], all[2], all[8]) = ("all".to_owned(), String::new(), String::new(), String::new());
    rows.push(all);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if at < TEXT_COLUMNS { write!(line, "{cell:<width$}  ") } else { write!(line, "{cell:>width$}  ") };
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out
}

fn row(rule: &RulePlan) -> [String; 9] {
    let tiers: Vec<String> = rule.tiers_ms.iter().map(|resolution_ms| format_duration_ms(*resolution_ms)).collect();
    [
        rule.selector.clone().unwrap_or_else(|| "the rest".to_owned()),
        format_duration_ms(rule.raw_ms),
        if tiers.is_empty() { "none".to_owned() } else { tiers.join(" ") },
        rule.series.to_string(),
        format_bytes(rule.bytes),
        rule.going_series.to_string(),
        format_bytes(rule.going_bytes),
        format_bytes(rule.bytes - rule.going_bytes.min(rule.bytes)),
        rule.next_ms.and_then(day).unwrap_or_else(|| "-".to_owned()),
    ]
}

fn day(at_ms: i64) -> Option<String> {
    let at = OffsetDateTime::from_unix_timestamp(at_ms.div_euclid(1000)).ok()?;
    Some(at.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_table_with_warnings_of_what_has_no_effect() {
        let rule = |selector: Option<&str>, days: i64, tiers_ms: Vec<i64>| RulePlan {
            selector: selector.map(str::to_owned),
            raw_ms: days * 86_400_000,
            tiers_ms,
            series: 12,
            passing_series: 12,
            bytes: 2048,
            going_series: 3,
            going_bytes: 1024,
            next_ms: Some(1_800_000_000_000),
            ..RulePlan::default()
        };
        let nothing =
            RulePlan { selector: Some("{env=\"dve\"}".to_owned()), raw_ms: 86_400_000, ..RulePlan::default() };
        let shadowed = RulePlan { passing_series: 5, shadowed_by: Some(0), ..nothing.clone() };
        let shadowed = RulePlan { selector: Some("{job=\"a\"}".to_owned()), ..shadowed };
        let rules =
            vec![rule(Some("{env=\"dev\"}"), 3, vec![]), nothing, shadowed, rule(None, 30, vec![300_000, 3_600_000])];
        let plan = KeepPlan {
            rules,
            series: 24,
            bytes: 4096,
            going_series: 6,
            going_bytes: 2048,
            left_alone_bytes: 100,
            ..KeepPlan::default()
        };
        insta::assert_snapshot!(text(&plan), @r#"
        series of    samples  buckets  series  bytes  go: series  bytes   stay   next goes
        {env="dev"}  3d       none         12  2 KiB           3  1 KiB  1 KiB  2027-01-15
        {env="dve"}  1d       none          0    0 B           0    0 B    0 B           -
        {job="a"}    1d       none          0    0 B           0    0 B    0 B           -
        the rest     30d      5m 1h        12  2 KiB           3  1 KiB  1 KiB  2027-01-15
        all                                24  4 KiB           6  2 KiB  2 KiB

        100 B are in tiers that are not kept by these rules: the files stay, and are not served.

        Warning: policy 2, {env="dve"}, matches no series that is there.

        Warning: policy 3, {job="a"}, is never reached: earlier ones, {env="dev"} first, take the 5 series that match it. Move it up.
        "#);
    }
}
