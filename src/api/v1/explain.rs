//! `/api/v1/explain`: what a query did, node by node, and why its answer is empty.

use super::query::{read_range, refusal};
use crate::{
    api::{
        error::ApiError,
        params::Params,
        render::envelope::Envelope,
        render::envelope::push_value,
        state::{Api, Ready},
    },
    model::{Labels, time::format_duration_ms},
    promql::{
        ast::Expr,
        engine::{Asked, QueryOptions},
        explain::{Explanation, PlanNode, Reason, explain},
    },
    store::TierUse,
};
use axum::{extract::State, response::Response};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// `query` at `time`, or from `start` to `end` every `step`.
pub async fn explanation(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    params: Params,
) -> Result<Response, ApiError> {
    let limits = &parts.engine.config().limits;
    let ranged = ["start", "end", "step"].iter().any(|name| !params.get(name).is_empty());
    let asked = if ranged {
        let (start, end, step) = read_range(&params)?;
        Asked::range(start, end, step, limits.samples_max).map_err(|error| refusal(error, limits, None))?
    } else {
        Asked::instant(params.time("time")?.unwrap_or_else(|| parts.clock.now_ms()))
    };
    let (query, options) = super::query::read_options(&params)?;
    let _: Expr = super::query::parse_query(&parts.engine, &query)?;
    let turn = api.admission.read(options.timeout_ms.map(Duration::from_millis)).await?;
    let _cancel = super::query::CancelOnDrop(options.cancel.clone());
    let engine = parts.engine.clone();
    let work = move || {
        let _turn = turn;
        let options: QueryOptions = options;
        let found = explain(&engine, &query, asked, &options)
            .map_err(|error| refusal(error, &engine.config().limits, options.timeout_ms))?;
        let mut envelope = Envelope::new(4096);
        push_value(&mut envelope.out, &tree(&found));
        Ok(envelope.finish(&found.warnings, &found.infos))
    };
    api.readers.run(work).await
}

fn tree(found: &Explanation) -> Value {
    let stats = &found.stats;
    let milliseconds = |took: Duration| rounded(took.as_secs_f64() * 1000.0);
    json!({
        "plan": node(&found.plan),
        "answer": { "series": found.series, "points": found.points },
        "reasons": found.reasons.iter().map(reason).collect::<Vec<Value>>(),
        "totals": {
            "samplesRead": stats.samples_read,
            "samplesQueryable": stats.samples_queryable,
            "samplesPeak": stats.samples_peak,
            "bytesPeak": stats.bytes_peak,
            "queuedMilliseconds": milliseconds(stats.timings.queue),
            "preparationMilliseconds": milliseconds(stats.timings.preparation),
            "evaluationMilliseconds": milliseconds(stats.timings.evaluation),
            "totalMilliseconds": milliseconds(stats.timings.total),
        },
    })
}

fn node(node: &PlanNode) -> Value {
    json!({
        "type": node.kind,
        "text": node.text,
        "line": node.line,
        "column": node.column,
        "seriesMatched": node.series_matched,
        "samplesRead": node.samples_read,
        "memoryPartitions": node.origin.map(|origin| origin.partitions),
        "blocks": node.origin.map(|origin| origin.blocks),
        "tiers": node.tiers.iter().map(tier).collect::<Vec<Value>>(),
        "series": node.series,
        "points": node.points,
        "milliseconds": node.milliseconds.map(rounded),
        "once": node.once,
        "children": node.children.iter().map(self::node).collect::<Vec<Value>>(),
    })
}

fn tier(tier: &TierUse) -> Value {
    json!({
        "resolution": format_duration_ms(tier.resolution_ms),
        "start": tier.range.start() as f64 / 1000.0,
        "end": tier.range.end() as f64 / 1000.0,
        "fidelity": tier.fidelity.as_str(),
    })
}

fn reason(reason: &Reason) -> Value {
    let examples = reason.examples.iter().map(|(side, labels)| json!({ "side": side, "metric": object(labels) }));
    json!({
        "kind": reason.kind.as_str(),
        "message": reason.message,
        "line": reason.line,
        "column": reason.column,
        "start": reason.span.start,
        "end": reason.span.end,
        "nearest": reason.nearest,
        "lastSeen": reason.last_seen_ms.map(|ms| ms as f64 / 1000.0),
        "examples": examples.collect::<Vec<Value>>(),
    })
}

fn object(labels: &Labels) -> Map<String, Value> {
    labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

/// To the microsecond: more digits say nothing.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1000.0).round() / 1000.0
}
