//! Explanations over a store in memory.

use super::*;
use crate::{
    model::{Labels, STALE_NAN},
    promql::{
        engine::{Asked, Engine, EngineConfig, QueryOptions},
        limits::QueryError,
        parser::parse_selector,
    },
    stdx::clock::ManualClock,
    store::{Appendable, WriteBatch, memory::Memory},
};
use proptest::prelude::*;
use std::sync::Arc;

const MINUTE: i64 = 60_000;

/// One sample a minute from 0 on; a marker ends the series.
fn engine(series: &[(&str, &[f64])]) -> Engine {
    let store = Arc::new(Memory::new(Arc::new(ManualClock::new(0))));
    for (selector, values) in series {
        let matchers = parse_selector(selector).unwrap();
        let labels = Labels::from_pairs(matchers.iter().map(|m| (m.name.clone(), m.value.clone()))).unwrap();
        let id = store.series_id(&labels).unwrap();
        let mut batch = WriteBatch::default();
        for (index, value) in values.iter().enumerate() {
            batch.push(id, index as i64 * MINUTE, *value);
        }
        store.append(&batch).unwrap();
    }
    Engine::new(store, EngineConfig { workers: 2, ..EngineConfig::default() })
}

fn web() -> Engine {
    engine(&[
        ("http_requests_total{job=\"web\",instance=\"a\",code=\"200\"}", &[1.0, 2.0, 3.0, 4.0]),
        ("http_requests_total{job=\"web\",instance=\"b\",code=\"500\"}", &[0.0, 0.0, 1.0, 1.0]),
        ("http_limits{host=\"a\"}", &[10.0, 10.0, 10.0, 10.0]),
        ("gone{job=\"web\"}", &[1.0, STALE_NAN]),
    ])
}

fn explained(engine: &Engine, query: &str, minute: i64) -> Explanation {
    explain(engine, query, Asked::instant(minute * MINUTE), &QueryOptions::default()).unwrap()
}

/// The only reason.
fn reason(engine: &Engine, query: &str, minute: i64) -> Reason {
    let explanation = explained(engine, query, minute);
    assert_eq!(explanation.points, 0, "{query}");
    assert_eq!(explanation.reasons.len(), 1, "{query}: {:?}", explanation.reasons);
    explanation.reasons[0].clone()
}

#[test]
fn every_node_says_what_it_found_read_and_gave() {
    let engine = web();
    let asked = Asked::range(0, 3 * MINUTE, MINUTE, 100).unwrap();
    let query = "sum by (job) (rate(http_requests_total{job=\"web\"}[2m]))";
    let explanation = explain(&engine, query, asked, &QueryOptions::default()).unwrap();
    assert_eq!((explanation.series, explanation.points), (1, 3));
    let sum = &explanation.plan;
    assert_eq!((sum.kind, sum.series, sum.points, sum.column), ("aggregation", Some(1), Some(3), 1));
    assert!(sum.milliseconds.is_some());
    let rate = &sum.children[0];
    assert_eq!((rate.kind, rate.series, rate.points, rate.column), ("call", Some(2), Some(6), 15));
    let selector = &rate.children[0];
    assert_eq!((selector.kind, selector.series_matched), ("matrixSelector", Some(2)));
    assert_eq!(selector.samples_read, Some(8), "{selector:?}");
    assert!(explanation.reasons.is_empty());
}

#[test]
fn what_does_not_depend_on_the_step_is_marked() {
    let asked = Asked::range(0, 3 * MINUTE, MINUTE, 100).unwrap();
    let query = "http_limits + on () group_left () sum(http_limits @ 60)";
    let plan = explain(&web(), query, asked, &QueryOptions::default()).unwrap().plan;
    assert!(!plan.once && !plan.children[0].once && plan.children[1].once, "{plan:?}");
}

#[test]
fn an_unknown_metric_names_those_like_it() {
    let found = reason(&web(), "sum(rate(http_request_total[5m]))", 3);
    assert_eq!((found.kind, found.column), (ReasonKind::NoSuchMetric, 10));
    assert_eq!(found.nearest[0], "http_requests_total");
    assert!(found.message.contains("Did you mean `http_requests_total`"), "{}", found.message);
    assert_eq!(reason(&engine(&[]), "up", 3).kind, ReasonKind::StoreEmpty);
}

#[test]
fn the_matcher_that_excludes_everything_is_named_with_values_there_are() {
    let found = reason(&web(), "http_requests_total{job=\"web\",instance=\"c\"}", 3);
    assert_eq!(found.kind, ReasonKind::ExcludedByMatcher);
    assert!(found.message.starts_with("`instance=\"c\"` excludes everything: without it"), "{}", found.message);
    assert_eq!(found.nearest, ["a", "b"]);
    let found = reason(&web(), "http_requests_total{job=\"api\",instance=\"zone\"}", 3);
    assert!(found.message.starts_with("`job=\"api\"` excludes everything"), "no single one is: {}", found.message);
    let found = reason(&web(), "http_requests_total{pod=~\"x.*\"}", 3);
    assert!(found.message.ends_with("None of them has the label `pod`."), "{}", found.message);
}

#[test]
fn what_ended_or_is_long_ago_says_when_it_was_last_seen() {
    let found = reason(&web(), "gone", 3);
    assert_eq!((found.kind, found.last_seen_ms), (ReasonKind::Stale, Some(MINUTE)));
    let found = reason(&web(), "http_limits", 60);
    assert_eq!((found.kind, found.last_seen_ms), (ReasonKind::NotAtThatTime, Some(3 * MINUTE)));
    assert!(found.message.contains("1970-01-01T00:03:00Z, 57m before"), "{}", found.message);
    let found = reason(&web(), "http_limits", -10);
    assert!(found.message.ends_with("only after the time asked for."), "{}", found.message);
}

#[test]
fn ranges_that_are_too_short_say_how_many_samples_they_hold() {
    let found = reason(&web(), "rate(http_limits[1m])", 3);
    assert_eq!(found.kind, ReasonKind::TooFewSamples);
    assert!(found.message.contains("range of 1m than there are: a series has 1"), "{}", found.message);
}

#[test]
fn sides_that_do_not_match_are_shown_with_what_differs() {
    let found = reason(&web(), "http_requests_total / http_limits", 3);
    assert_eq!(found.kind, ReasonKind::NoMatch);
    assert!(found.message.contains("`host` is missing on the left and is \"a\" on the right"), "{}", found.message);
    let sides: Vec<&str> = found.examples.iter().map(|(side, _)| *side).collect();
    assert_eq!(sides, ["left", "right"]);
    let found = reason(&web(), "http_requests_total and on (job) http_limits", 3);
    assert!(found.message.contains("they match on job"), "{}", found.message);
    let found = reason(&web(), "http_limits unless http_limits", 3);
    assert_eq!(found.kind, ReasonKind::SetOperator);
}

#[test]
fn an_empty_side_is_looked_into_and_a_full_one_is_not() {
    let found = reason(&web(), "http_limits * on (host) missing", 3);
    assert_eq!((found.kind, found.column), (ReasonKind::NoSuchMetric, 25));
    let both = explained(&web(), "one or two", 3).reasons;
    assert_eq!(both.len(), 2);
    assert!(explained(&web(), "one or http_limits", 3).reasons.is_empty());
}

#[test]
fn filters_functions_and_subqueries_give_their_reasons() {
    let found = reason(&web(), "http_requests_total > 100", 3);
    assert_eq!(found.kind, ReasonKind::Filtered);
    assert!(found.message.contains("the 2 values compared lie between 1 and 4"), "{}", found.message);
    assert_eq!(reason(&web(), "absent(http_limits)", 3).kind, ReasonKind::Present);
    assert_eq!(reason(&web(), "histogram_quantile(0.9, http_limits)", 3).kind, ReasonKind::NoBuckets);
    assert_eq!(reason(&web(), "topk(0, http_limits)", 3).kind, ReasonKind::NothingComputed);
    assert_eq!(reason(&web(), "max_over_time(missing[5m:1m])", 3).kind, ReasonKind::NoSuchMetric);
    assert_eq!(reason(&web(), "max_over_time((http_limits > 20)[3m:1m])", 3).kind, ReasonKind::Filtered);
}

#[test]
fn any_query_can_be_explained() {
    let engine = web();
    for query in
        ["1", "\"text\"", "time()", "-http_limits", "(http_limits)", "vector(1)", "http_limits[5m]", "scalar(up)"]
    {
        explained(&engine, query, 3);
    }
    let deep = format!("{}up{}", "(".repeat(90), ")".repeat(90));
    explained(&engine, &deep, 3);
    let many = vec!["missing"; 60].join(" or ");
    assert!(explained(&engine, &many, 3).reasons.len() <= 60);
}

/// Expressions of every form over the series of [`web`] and some that are not there.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("http_requests_total"),
        Just("http_requests_total{job=\"web\"}"),
        Just("http_requests_total{job=~\"a.*\"}"),
        Just("http_limits offset 1m"),
        Just("http_limits @ 60"),
        Just("missing"),
        Just("gone"),
        Just("{__name__=~\"http.*\",job!=\"web\"}"),
    ]
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 2, |inner| {
        let operator =
            prop_oneof![Just("+"), Just("/"), Just(">"), Just("== bool"), Just("and"), Just("or"), Just("unless")];
        let matching = prop_oneof![Just(""), Just("on (job)"), Just("ignoring (code, instance)"), Just("on ()")];
        prop_oneof![
            (inner.clone(), operator, matching, inner.clone())
                .prop_map(|(left, op, matching, right)| format!("({left}) {op} {matching} ({right})")),
            inner.clone().prop_map(|inner| format!("sum by (job) ({inner})")),
            inner.clone().prop_map(|inner| format!("topk(1, {inner})")),
            inner.clone().prop_map(|inner| format!("({inner}) > 1000")),
            inner.clone().prop_map(|inner| format!("absent({inner})")),
            inner.clone().prop_map(|inner| format!("rate(({inner})[3m:30s])")),
            inner.prop_map(|inner| format!("histogram_quantile(0.5, -({inner}))")),
        ]
    })
}

proptest! {
    #[test]
    fn an_empty_answer_has_a_reason_and_another_has_none(query in expression(), minute in 0i64..8, ranged: bool) {
        let engine = web();
        let asked = match ranged {
            true => Asked::range(0, minute * MINUTE, MINUTE, 100).unwrap(),
            false => Asked::instant(minute * MINUTE),
        };
        // Sides that match more than once are errors, as they are for the query itself.
        let explained = explain(&engine, &query, asked, &QueryOptions::default());
        prop_assert!(!matches!(explained, Err(QueryError::Parse(_))), "{}: {:?}", query, explained.err());
        if let Ok(explanation) = explained {
            let reasons = &explanation.reasons;
            prop_assert_eq!(explanation.points == 0, !reasons.is_empty(), "{}: {:?}", query, reasons);
            prop_assert!(reasons.iter().all(|reason| reason.span.end <= query.len() && reason.column > 0));
        }
    }
}
