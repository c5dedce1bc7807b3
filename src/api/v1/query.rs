//! Questions in PromQL: at one time, over a range, and about their own text.

use crate::{
    api::{
        error::{ApiError, ErrorKind},
        params::Params,
        render::{
            envelope::{Envelope, TRUNCATED, answer},
            exemplars::push_exemplars,
            result::{push_data, size_hint},
            syntax::syntax_tree,
        },
        state::{Api, Ready},
    },
    model::{Matcher, TimeRange, Timestamp, time::format_duration_ms},
    promql::{
        ast::{Expr, ValueType, selectors},
        engine::{Engine, QueryOptions},
        limits::{Cancel, Limits, QueryError},
        parser::{parse, pretty},
        value::{Answer, Value},
    },
};
use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use std::{sync::Arc, time::Duration};

/// Intervals of a range query; one more point than that. Grafana enlarges its step before it gets here.
const INTERVALS_MAX: i64 = 11_000;

/// `/api/v1/query`.
pub async fn instant(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let at = match params.time("time")? {
        Some(at) => at,
        None => parts.clock.now_ms(),
    };
    let asked = Asked::read(&params)?;
    parse_query(&parts.engine, &asked.query)?;
    ask(&api, &parts.engine, asked, limit, move |engine, query, options| engine.instant(query, at, options)).await
}

/// `/api/v1/query_range`.
pub async fn range(State(api): State<Arc<Api>>, Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let limit = params.limit()?;
    let (start, end, step) = read_range(&params)?;
    let asked = Asked::read(&params)?;
    let found = parse_query(&parts.engine, &asked.query)?.value_type();
    if !matches!(found, ValueType::Scalar | ValueType::Vector) {
        let problem = "for range query, must be Scalar or instant Vector";
        return Err(ApiError::parameter("query", format!("invalid expression type {:?} {problem}", found.describe())));
    }
    let work =
        move |engine: &Engine, query: &str, options: &QueryOptions| engine.range(query, start, end, step, options);
    ask(&api, &parts.engine, asked, limit, work).await
}

/// Start, end and step of a range in milliseconds.
pub fn read_range(params: &Params) -> Result<(Timestamp, Timestamp, i64), ApiError> {
    let (start, end) = (params.time_required("start")?, params.time_required("end")?);
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step = crate::api::params::parse_duration(params.get("step"))
        .map_err(|problem| ApiError::parameter("step", problem))?;
    if step <= 0 {
        let problem = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        return Err(ApiError::parameter("step", problem));
    }
    if end.saturating_sub(start) / step > INTERVALS_MAX {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    Ok((start, end, step))
}

/// `/api/v1/query_exemplars`: those of every series that any selector of the query finds.
pub async fn exemplars(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let (start, end) = (params.time("start")?, params.time("end")?);
    if start.zip(end).is_some_and(|(start, end)| end < start) {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let expr = parse(params.get("query"), &parts.engine.config().syntax)
        .map_err(|error| ApiError::bad_data(error.to_string()))?;
    let selectors: Vec<Vec<Matcher>> = selectors(&expr).map(|selector| selector.matchers.clone()).collect();
    if selectors.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let range = TimeRange::new(start.unwrap_or(i64::MIN), end.unwrap_or(i64::MAX)).unwrap_or(TimeRange::ALL);
    let found = parts.store.exemplars(range, &selectors)?;
    let mut envelope = Envelope::new(256 * found.len());
    push_exemplars(&mut envelope.out, &found);
    Ok(envelope.finish(&[], &[]))
}

/// `/api/v1/format_query`.
pub async fn format(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let expr = parse_query(&parts.engine, params.get("query"))?;
    Ok(answer(&pretty(&expr).into()))
}

/// `/api/v1/parse_query`.
pub async fn syntax(Ready(parts): Ready, params: Params) -> Result<Response, ApiError> {
    let expr = parse_query(&parts.engine, params.get("query"))?;
    Ok(answer(&syntax_tree(&expr)))
}

/// What both kinds of queries take.
struct Asked {
    query: String,
    options: QueryOptions,
    /// Whether statistics are shown, and a warning about how they were asked for.
    stats: bool,
    warning: Option<String>,
}

impl Asked {
    fn read(params: &Params) -> Result<Asked, ApiError> {
        let (query, options) = read_options(params)?;
        let stats = params.get("stats");
        let warning = (!["", "true", "all"].contains(&stats))
            .then(|| format!("the value {stats:?} of the parameter \"stats\" is deprecated; use \"true\" or \"all\""));
        let options = QueryOptions { stats: stats == "all", ..options };
        Ok(Asked { query, options, stats: !stats.is_empty(), warning })
    }
}

/// The query and how it is to be evaluated.
pub fn read_options(params: &Params) -> Result<(String, QueryOptions), ApiError> {
    let timeout_ms = params.duration_ms("timeout")?.map(|ms| u64::try_from(ms).unwrap_or(0));
    let lookback_ms = params.duration_ms("lookback_delta")?.filter(|ms| *ms != 0);
    if lookback_ms.is_some_and(|ms| ms < 0) {
        return Err(ApiError::parameter("lookback_delta", "must not be negative"));
    }
    let options = QueryOptions { lookback_ms, timeout_ms, cancel: Cancel::new(), stats: false };
    Ok((params.get("query").to_owned(), options))
}

pub fn parse_query(engine: &Engine, query: &str) -> Result<Expr, ApiError> {
    parse(query, &engine.config().syntax).map_err(|error| ApiError::parameter("query", error))
}

/// Cancels the query when dropped: when its answer is there, which changes nothing, or when the client went away.
pub struct CancelOnDrop(pub Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Waits for a turn, computes on a thread of the readers, and writes the answer there too.
async fn ask(
    api: &Arc<Api>,
    engine: &Arc<Engine>,
    asked: Asked,
    limit: usize,
    work: impl FnOnce(&Engine, &str, &QueryOptions) -> Result<Answer, QueryError> + Send + 'static,
) -> Result<Response, ApiError> {
    let wait = asked.options.timeout_ms.map(Duration::from_millis);
    if wait == Some(Duration::ZERO) {
        return Err(ApiError::new(ErrorKind::Timeout, "query timed out in query queue"));
    }
    let turn = api.admission.read(wait).await?;
    let _cancel = CancelOnDrop(asked.options.cancel.clone());
    let engine = engine.clone();
    let compute = move || {
        let _turn = turn;
        let answer = work(&engine, &asked.query, &asked.options)
            .map_err(|error| refusal(error, &engine.config().limits, asked.options.timeout_ms))?;
        Ok(write_answer(answer, asked.stats, asked.warning, limit))
    };
    api.readers.run(compute).await
}

fn write_answer(mut answer: Answer, stats: bool, warning: Option<String>, limit: usize) -> Response {
    let truncated = match &mut answer.value {
        Value::Vector(samples) => truncate(samples, limit),
        Value::Matrix(series) => truncate(series, limit),
        Value::Scalar { .. } | Value::Text { .. } => false,
    };
    let mut warnings = answer.warnings;
    warnings.extend(warning);
    warnings.extend(truncated.then(|| TRUNCATED.to_owned()));
    let mut envelope = Envelope::new(size_hint(&answer.value));
    push_data(&mut envelope.out, &answer.value, stats.then_some(&answer.stats));
    envelope.finish(&warnings, &answer.infos)
}

fn truncate<T>(elements: &mut Vec<T>, limit: usize) -> bool {
    let cut = elements.len() > limit;
    elements.truncate(limit);
    cut
}

/// What went wrong, as Prometheus says it; where a limit ended the query, also which, and how to get beyond it.
pub fn refusal(error: QueryError, limits: &Limits, asked_timeout_ms: Option<u64>) -> ApiError {
    let less = "ask for fewer series, a shorter range or a longer step";
    let (kind, advice) = match &error {
        QueryError::Parse(_) => return ApiError::parameter("query", error),
        QueryError::TooManySamples => {
            let most = limits.samples_max;
            let advice = format!("more than {most} at once; {less}, or raise limits.query_samples_max in the config");
            (ErrorKind::Execution, advice)
        }
        QueryError::TooManyScanned { .. } => {
            (ErrorKind::Execution, format!("{less}, or raise limits.query_samples_scanned_max in the config"))
        }
        QueryError::TooManyBytes { .. } => {
            (ErrorKind::Execution, "or raise limits.query_bytes_max in the config".to_owned())
        }
        QueryError::Execution(_) => (ErrorKind::Execution, String::new()),
        QueryError::Timeout(_) => {
            let advice = match asked_timeout_ms.filter(|asked| *asked < limits.timeout_ms) {
                Some(asked) => format!("the request allowed {}", print_ms(asked)),
                None => {
                    let allowed = print_ms(limits.timeout_ms);
                    format!("{allowed} are allowed; {less}, or raise limits.query_timeout in the config")
                }
            };
            (ErrorKind::Timeout, advice)
        }
        QueryError::Canceled(_) => (ErrorKind::Canceled, String::new()),
        QueryError::Store(cause) => {
            tracing::error!(%cause, "The store failed a query.");
            (ErrorKind::Internal, String::new())
        }
    };
    ApiError::new(kind, if advice.is_empty() { error.to_string() } else { format!("{error}: {advice}") })
}

fn print_ms(ms: u64) -> String {
    format_duration_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}
