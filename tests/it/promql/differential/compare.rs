//! Whether two answers of the query API say the same.

use super::super::super::support::{http::Answer, server::number};
use serde_json::Value;
use std::collections::BTreeMap;

/// By what part of the larger one two values may differ; the same, absolute, for values near zero.
pub const RATIO: f64 = 1e-9;

pub enum Verdict {
    Equal,
    BothEmpty,
    BothFail,
    Differ(String),
}

/// Series by labels, samples by time as written.
type Shape = BTreeMap<String, BTreeMap<String, f64>>;

pub fn compare(theirs: &Answer, ours: &Answer) -> Verdict {
    let cut = |answer: &Answer| answer.text().chars().take(600).collect::<String>();
    match (theirs.status, ours.status) {
        (200, 200) => {}
        (400.., 400..) => return Verdict::BothFail,
        _ => return Verdict::Differ(format!("prometheus {}\n   ours {}", cut(theirs), cut(ours))),
    }
    let (theirs, ours) = (shape(&theirs.json()["data"]), shape(&ours.json()["data"]));
    if theirs.is_empty() && ours.is_empty() {
        return Verdict::BothEmpty;
    }
    match difference(&theirs, &ours) {
        None => Verdict::Equal,
        Some(how) => Verdict::Differ(how),
    }
}

fn shape(data: &Value) -> Shape {
    let point = |pair: &Value| (pair[0].to_string(), number(&pair[1]));
    if let Some("scalar" | "string") = data["resultType"].as_str() {
        return [("scalar".to_owned(), [point(&data["result"])].into())].into();
    }
    let result = data["result"].as_array().expect("a list of series");
    let series = result.iter().map(|series| {
        let points: BTreeMap<String, f64> = match series["values"].as_array() {
            Some(values) => values.iter().map(point).collect(),
            None => [point(&series["value"])].into(),
        };
        (series["metric"].to_string(), points)
    });
    series.collect()
}

fn difference(theirs: &Shape, ours: &Shape) -> Option<String> {
    if let Some(labels) = theirs.keys().find(|labels| !ours.contains_key(*labels)) {
        return Some(format!("only prometheus has {labels}: {:?}", theirs[labels].iter().next()));
    }
    if let Some(labels) = ours.keys().find(|labels| !theirs.contains_key(*labels)) {
        return Some(format!("only we have {labels}: {:?}", ours[labels].iter().next()));
    }
    for (labels, points) in theirs {
        let own = &ours[labels];
        for at in points.keys().chain(own.keys()) {
            match (points.get(at), own.get(at)) {
                (Some(a), Some(b)) if equal(*a, *b) => {}
                (a, b) => return Some(format!("{labels} at {at}: prometheus {a:?}, ours {b:?}")),
            }
        }
    }
    None
}

fn equal(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= RATIO * a.abs().max(b.abs()).max(1.0)
}
