//! `GET /federate`: the newest sample of each series, for another server to scrape.

use super::{
    error::{ApiError, ErrorKind},
    params::Params,
    render::exposition::{Names, Newest, write_untyped},
    state::{Api, Parts, Ready},
    v1::query::CancelOnDrop,
};
use crate::{
    model::{Matcher, Samples, TimeRange, is_stale},
    promql::parser::parse_selector,
    stdx::cancel::Cancel,
    store::Hints,
};
use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// All selectors of `match[]` together; none finds nothing. Native histograms are left out: the text format cannot say
/// them.
pub async fn federate(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Response> {
    answer(&api, parts, Names::asked_for(&headers), &params).await.map_err(ApiError::plain)
}

async fn answer(api: &Arc<Api>, parts: Arc<Parts>, names: Names, params: &Params) -> Result<Response, ApiError> {
    let parse = |text| parse_selector(text).map_err(|error| ApiError::bad_data(error.to_string()));
    let selectors = params.all("match[]").map(parse).collect::<Result<Vec<_>, _>>()?;
    let turn = api.admission.read(None).await?;
    let cancel = Cancel::new();
    let _cancel = CancelOnDrop(cancel.clone());
    let external = api.config.external_labels.clone();
    let work = move || {
        let _turn = turn;
        let found = newest(&parts, &selectors, &cancel)?;
        let content_type = [(header::CONTENT_TYPE, names.content_type())];
        Ok((content_type, write_untyped(&found, &external, names)).into_response())
    };
    api.readers.run(work).await
}

/// What the selectors find, each series once, by name and labels; series that went stale are gone.
fn newest(parts: &Parts, selectors: &[Vec<Matcher>], cancel: &Cancel) -> Result<Vec<Newest>, ApiError> {
    let (now_ms, config) = (parts.clock.now_ms(), parts.engine.config());
    // A sample stands for its series for less than the lookback.
    let range = TimeRange::new(now_ms.saturating_sub(config.lookback_ms - 1), now_ms);
    let Some(range) = range.filter(|_| config.lookback_ms > 0) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let mut bytes = 0;
    let mut samples = Samples::default();
    for matchers in selectors {
        let set = parts.store.select(range, matchers, &Hints { cancel: cancel.clone(), ..Hints::default() })?;
        for index in 0..set.len() {
            if cancel.is_canceled() {
                return Err(ApiError::new(ErrorKind::Canceled, "the client went away"));
            }
            set.read(index, &mut samples)?;
            let (Some(at), Some(value)) = (samples.timestamps.last(), samples.values.last()) else { continue };
            let histogram_at = samples.histograms.last().map(|sample| sample.timestamp);
            if is_stale(*value) || histogram_at.is_some_and(|histogram_at| histogram_at > *at) {
                continue;
            }
            let labels = set.labels(index);
            // Each is a line of the answer.
            bytes += size_of::<Newest>() + labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if bytes as u64 > config.limits.bytes_max {
                let problem = "this many series take too much memory: select fewer, or raise limits.query_bytes_max";
                return Err(ApiError::new(ErrorKind::Execution, problem));
            }
            found.push(Newest { labels: labels.clone(), at: *at, value: *value });
        }
    }
    found.sort_unstable_by(|one, other| (one.name(), &one.labels).cmp(&(other.name(), &other.labels)));
    found.dedup_by(|one, other| one.labels == other.labels);
    Ok(found)
}
