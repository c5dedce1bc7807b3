//! Vector matching: which series of the two sides of an operator belong together.

use super::{
    context::{Context, Keys},
    map_call::changes_metric,
    node::{Node, OwnLabels, SeriesLabels, is_metadata_label},
};
use crate::{
    model::{Labels, METRIC_NAME},
    promql::{
        ast::{BinaryOp, Cardinality, VectorMatching},
        limits::QueryError,
    },
};
use std::sync::Arc;

/// Whether a label is part of what matches.
fn is_matched(matching: &VectorMatching, name: &str) -> bool {
    if matching.on {
        matching.labels.iter().any(|l| l == name)
    } else {
        name != METRIC_NAME && !matching.labels.iter().any(|l| l == name)
    }
}

/// Series of both sides by the signature they share.
pub struct Signatures {
    /// The signature of each series, numbered by first appearance.
    pub left: Vec<u32>,
    pub right: Vec<u32>,
    pub count: usize,
}

impl Signatures {
    pub fn of(
        context: &Context,
        matching: &VectorMatching,
        left: &Arc<dyn Node>,
        right: &Arc<dyn Node>,
    ) -> Result<Signatures, QueryError> {
        let mut keys = Keys::default();
        let mut key = Vec::new();
        let mut number = |node: &Arc<dyn Node>| -> Result<Vec<u32>, QueryError> {
            let mut numbers = Vec::with_capacity(node.len());
            for index in 0..node.len() {
                context.look(index)?;
                node.labels(index).write_key(&mut key, |name| is_matched(matching, name));
                numbers.push(keys.number(&key).0 as u32);
            }
            Ok(numbers)
        };
        let (left, right) = (number(left)?, number(right)?);
        Ok(Signatures { left, right, count: keys.count() })
    }
}

/// For each signature the series that have it.
pub fn members(signatures: &[u32], count: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); count];
    for (index, signature) in signatures.iter().enumerate() {
        members[*signature as usize].push(index as u32);
    }
    members
}

/// The labels both sides of a match share.
pub fn match_labels(matching: &VectorMatching, labels: &SeriesLabels<'_>) -> Labels {
    labels.to_labels().filtered(|name| is_matched(matching, name))
}

/// The labels of a result: of the "many" side, reduced or extended as the matching says.
pub fn result_labels(
    matching: &VectorMatching,
    op: BinaryOp,
    return_bool: bool,
    delayed: bool,
    many: &SeriesLabels<'_>,
    one: &SeriesLabels<'_>,
) -> OwnLabels {
    let drop_metadata = changes_metric(op) || (return_bool && !delayed);
    let one_to_one = matching.cardinality == Cardinality::OneToOne;
    let kept = many.to_labels().filtered(|name| {
        !(drop_metadata && is_metadata_label(name))
            && (!one_to_one || matching.labels.iter().any(|l| l == name) == matching.on)
    });
    let labels = if matching.include.is_empty() {
        kept
    } else {
        let mut builder = kept.builder();
        for name in &matching.include {
            builder.set(name, one.get(name).unwrap_or_default());
        }
        builder.build()
    };
    OwnLabels { labels, pending: delayed && return_bool }
}
