//! What there is: series, label names, label values.

use crate::{
    api::{
        error::ApiError,
        params::Params,
        render::{
            envelope::{Envelope, TRUNCATED},
            text::{push_labels, push_texts},
        },
        state::{Api, Parts, Ready},
    },
    model::{Labels, Matcher, TimeRange},
    promql::parser::parse_selector,
    store::{Hints, StoreError},
};
use axum::{
    extract::{Path, State},
    response::Response,
};
use std::{collections::BTreeSet, sync::Arc};

/// `/api/v1/series`.
pub async fn series(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    if params.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let range = params.range()?;
    let selectors = selectors(&params, true)?;
    read(&api, parts, move |parts| {
        let found = match range {
            Some(range) => find(parts, range, &selectors, limit)?,
            None => vec![],
        };
        let shown = &found[..found.len().min(limit)];
        let mut envelope = Envelope::new(shown.len() * 160);
        envelope.out.push('[');
        for (index, labels) in shown.iter().enumerate() {
            if index > 0 {
                envelope.out.push(',');
            }
            push_labels(&mut envelope.out, labels);
        }
        envelope.out.push(']');
        Ok(envelope.finish(&warnings(found.len() > limit), &[]))
    })
    .await
}

/// `/api/v1/labels`.
pub async fn names(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    texts(&api, parts, params, |parts, range, matchers| parts.store.label_names(range, matchers)).await
}

/// `/api/v1/label/<name>/values`.
pub async fn values(
    State(api): State<Arc<Api>>,
    Ready(parts): Ready,
    Path(name): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let name = unescape_name(&name);
    texts(&api, parts, params, move |parts, range, matchers| parts.store.label_values(&name, range, matchers)).await
}

/// Answers with a list of texts, the union over all selectors.
async fn texts(
    api: &Arc<Api>,
    parts: Arc<Parts>,
    params: Params,
    list: impl Fn(&Parts, TimeRange, &[Matcher]) -> Result<Vec<String>, StoreError> + Send + 'static,
) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let range = params.range()?;
    let selectors = selectors(&params, false)?;
    read(api, parts, move |parts| {
        let found: Vec<String> = match (range, &selectors[..]) {
            (None, _) => vec![],
            (Some(range), []) => list(parts, range, &[])?,
            (Some(range), [one]) => list(parts, range, one)?,
            (Some(range), several) => {
                let mut union = BTreeSet::new();
                for one in several {
                    union.extend(list(parts, range, one)?);
                }
                union.into_iter().collect()
            }
        };
        let shown = &found[..found.len().min(limit)];
        let mut envelope = Envelope::new(shown.len() * 24);
        push_texts(&mut envelope.out, shown.iter().map(String::as_str));
        Ok(envelope.finish(&warnings(found.len() > limit), &[]))
    })
    .await
}

/// The series of all selectors, each once; sorted. More than `limit` by one, where there are.
fn find(parts: &Parts, range: TimeRange, selectors: &[Vec<Matcher>], limit: usize) -> Result<Vec<Labels>, StoreError> {
    let enough = limit.saturating_add(1);
    let hints = Hints { series_max: if limit == usize::MAX { 0 } else { enough }, ..Hints::default() };
    let mut found: Vec<Labels> = Vec::new();
    for matchers in selectors {
        let set = parts.store.select(range, matchers, &hints)?;
        found.extend((0..set.len().min(enough)).map(|index| set.labels(index).clone()));
    }
    if selectors.len() > 1 {
        found.sort_unstable();
        found.dedup();
    }
    found.truncate(enough);
    Ok(found)
}

/// The selectors of all `match[]`.
fn selectors(params: &Params, named: bool) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let mut selectors = Vec::new();
    for text in params.all("match[]") {
        let matchers = parse_selector(text).map_err(|error| match named {
            true => ApiError::parameter("match[]", error),
            false => ApiError::bad_data(error.to_string()),
        })?;
        if matchers.iter().all(Matcher::matches_empty) {
            return Err(ApiError::bad_data("match[] must contain at least one non-empty matcher"));
        }
        selectors.push(matchers);
    }
    Ok(selectors)
}

fn warnings(truncated: bool) -> Vec<String> {
    truncated.then(|| TRUNCATED.to_owned()).into_iter().collect()
}

/// Runs `work` in its turn, on a thread of the readers: an index may take its time.
pub async fn read(
    api: &Arc<Api>,
    parts: Arc<Parts>,
    work: impl FnOnce(&Parts) -> Result<Response, ApiError> + Send + 'static,
) -> Result<Response, ApiError> {
    let turn = api.admission.read(None).await?;
    let work = move || {
        let _turn = turn;
        work(&parts)
    };
    api.readers.run(work).await
}

/// Undoes the escaping of names as `U__`: `_2e_` is the character with that code, `__` an underscore. What is not
/// escaped in full is a name as it stands.
fn unescape_name(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::with_capacity(rest.len());
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let code = rest.split_once('_').filter(|(code, _)| !code.is_empty() && code.len() <= 6);
        let decoded = code.and_then(|(code, after)| {
            let plain = code.bytes().all(|byte| byte.is_ascii_hexdigit());
            Some((char::from_u32(u32::from_str_radix(code, 16).ok().filter(|_| plain)?)?, after))
        });
        let Some((character, after)) = decoded else { return name.to_owned() };
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_are_unescaped_and_others_stay() {
        for (name, expected) in [
            ("job", "job"),
            ("U__http_2e_status", "http.status"),
            ("U__a__b", "a_b"),
            ("U___fc_ber", "über"),
            ("U__", ""),
            ("U__bad_zz_", "U__bad_zz_"),
            ("U__cut_2e", "U__cut_2e"),
            ("U__d800_d800_", "U__d800_d800_"),
            ("http.status", "http.status"),
        ] {
            assert_eq!(unescape_name(name), expected, "{name}");
        }
    }
}
