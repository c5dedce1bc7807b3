//! Why an operator between two vectors that both have series gives nothing.

use super::empty::{ReasonKind, Search, filtered};
use crate::{
    model::{Labels, METRIC_NAME},
    promql::{
        ast::{Binary, BinaryOp, Span, VectorMatching},
        value::Value,
    },
};
use std::collections::{BTreeSet, HashMap};

/// Says why.
pub(super) fn why(
    search: &mut Search<'_>,
    binary: &Binary,
    matching: &VectorMatching,
    span: Span,
    left: &Value,
    right: &Value,
) {
    let (left, right_labels) = (labels(left), labels(right));
    if binary.op == BinaryOp::Unless {
        let message = "Every series of the left side has a partner on the right one, and `unless` takes those away.";
        search.say(ReasonKind::SetOperator, span, message.to_owned());
        return;
    }
    let signature = |labels: &Labels| labels.filtered(|name| is_matched(matching, name));
    let there: HashMap<Labels, &Labels> = right_labels.iter().map(|labels| (signature(labels), *labels)).collect();
    if let Some(pair) = left.iter().find_map(|labels| Some((*labels, *there.get(&signature(labels))?))) {
        let (kind, message) = if binary.op.is_comparison() {
            (ReasonKind::Filtered, filtered(binary, right))
        } else {
            let message = "Series of both sides match, but never have a value at the same time.".to_owned();
            (ReasonKind::NotAtTheSameTime, message)
        };
        let reason = search.say(kind, span, message);
        reason.examples = vec![("left", pair.0.clone()), ("right", pair.1.clone())];
        return;
    }
    let Some((one, other, differing)) = closest(matching, &left, &right_labels) else { return };
    let how = match (matching.on, &matching.labels[..]) {
        (true, []) => "on no label".to_owned(),
        (true, labels) => format!("on {}", labels.join(", ")),
        (false, []) => "on all labels".to_owned(),
        (false, labels) => format!("on all labels but {}", labels.join(", ")),
    };
    let differing: Vec<String> = differing.iter().map(|name| describe(name, one, other)).collect();
    let message = format!(
        "No series of the left side matches one of the right: they match {how}, and {}. Match on what they share with \
         `on (...)`, or leave out what differs with `ignoring (...)`.",
        differing.join("; ")
    );
    let (one, other) = (one.clone(), other.clone());
    search.say(ReasonKind::NoMatch, span, message).examples = vec![("left", one), ("right", other)];
}

/// Series compared with each other to find the most similar pair.
const COMPARED_MAX: usize = 100;

/// The two series that differ in the fewest labels that have to be equal, and these labels.
fn closest<'a>(
    matching: &VectorMatching,
    left: &[&'a Labels],
    right: &[&'a Labels],
) -> Option<(&'a Labels, &'a Labels, BTreeSet<String>)> {
    let differing = |one: &Labels, other: &Labels| -> BTreeSet<String> {
        let names = one.iter().chain(other.iter()).map(|(name, _)| name);
        let differs = |name: &&str| is_matched(matching, name) && one.get(name) != other.get(name);
        names.filter(differs).map(str::to_owned).collect()
    };
    let left = left.iter().take(COMPARED_MAX);
    let pairs = left.flat_map(|one| right.iter().take(COMPARED_MAX).map(move |other| (*one, *other)));
    pairs.map(|(one, other)| (one, other, differing(one, other))).min_by_key(|(_, _, names)| names.len())
}

fn describe(name: &str, one: &Labels, other: &Labels) -> String {
    let side = |labels: &Labels| match labels.get(name) {
        Some(value) => format!("is {value:?}"),
        None => "is missing".to_owned(),
    };
    format!("`{name}` {} on the left and {} on the right", side(one), side(other))
}

fn is_matched(matching: &VectorMatching, name: &str) -> bool {
    let named = matching.labels.iter().any(|label| label == name);
    if matching.on { named } else { !named && name != METRIC_NAME }
}

fn labels(value: &Value) -> Vec<&Labels> {
    match value {
        Value::Vector(samples) => samples.iter().map(|sample| &sample.labels).collect(),
        Value::Matrix(series) => series.iter().map(|one| &one.labels).collect(),
        Value::Scalar { .. } | Value::Text { .. } => Vec::new(),
    }
}
