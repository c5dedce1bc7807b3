//! A stand-in for SonarCloud: the calls that are used of it, answered from a world that the test changes, with the
//! faults that the test asks for. Strict where the real one is: a date with a space in it, an unknown metric, a page
//! that is too long are refused as they are there.

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::{Date, Month, OffsetDateTime};

/// What the server holds and how it behaves.
#[derive(Debug, Default)]
pub struct World {
    /// By key.
    pub projects: BTreeMap<String, Project>,
    /// Key and type.
    pub metrics: BTreeMap<String, String>,
    /// Keys that are listed and refused all the same.
    pub refused: BTreeSet<String>,
    /// Keys that are answered under another.
    pub renamed: BTreeMap<String, String>,
    /// Asked for in every call, where it is set.
    pub token: Option<String>,
    /// One a call, in order; then none.
    pub faults: VecDeque<Fault>,
    /// Path and query of every call, and when it came, by the test's clock.
    pub calls: Vec<String>,
    /// Minutes by which dates are written beside UTC.
    pub offset_minutes: i32,
    /// Answers take so long.
    pub delay: Duration,
}

#[derive(Debug, Default, Clone)]
pub struct Project {
    pub name: String,
    /// By name; the first that is made is the main one.
    pub branches: BTreeMap<String, Branch>,
    pub main: String,
}

#[derive(Debug, Default, Clone)]
pub struct Branch {
    /// By date in seconds.
    pub analyses: BTreeMap<i64, Analysis>,
}

#[derive(Debug, Default, Clone)]
pub struct Analysis {
    /// By metric; those that are missing were not measured.
    pub values: BTreeMap<String, String>,
    /// Category and name.
    pub events: Vec<(String, String)>,
}

/// What goes wrong with a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// An empty body.
    Status(u16),
    /// 429, with `Retry-After` where there is a text.
    Throttle(Option<String>),
    /// 200 and a page for people.
    Html,
    /// Ends in the middle of the JSON.
    Truncated,
    /// The connection ends without an answer that means anything.
    Slow(Duration),
    /// An analysis lands before the call is answered.
    Lands {
        project: String,
        branch: String,
        date: i64,
        analysis: Analysis,
    },
    None,
}

pub type SharedWorld = Arc<Mutex<World>>;

/// A server on a port of its own. It ends with the test process.
pub struct StandIn {
    pub url: String,
    pub world: SharedWorld,
}

impl World {
    /// Adds a branch where there is none, and an analysis to it.
    pub fn analyze(&mut self, project: &str, branch: &str, date: i64, values: &[(&str, &str)]) {
        let project = self.projects.entry(project.to_owned()).or_insert_with(|| Project {
            name: format!("Name of {project}"),
            main: branch.to_owned(),
            ..Project::default()
        });
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let analyses = &mut project.branches.entry(branch.to_owned()).or_default().analyses;
        analyses.insert(date, Analysis { values, events: Vec::new() });
    }

    fn date(&self, seconds: i64) -> String {
        let local = seconds + i64::from(self.offset_minutes) * 60;
        let at = OffsetDateTime::from_unix_timestamp(local).expect("a moment of our time");
        let (date, (hour, minute, second)) = (at.date(), at.to_hms());
        let (sign, offset) = (if self.offset_minutes < 0 { '-' } else { '+' }, self.offset_minutes.abs());
        format!("{date}T{hour:02}:{minute:02}:{second:02}{sign}{:02}{:02}", offset / 60, offset % 60)
    }
}

impl Branch {
    /// What a store has of a metric at every full minute up to `end_s`, by the minute in seconds: each value from its
    /// analysis to the next.
    pub fn expected(&self, key: &str, factor: f64, end_s: i64) -> BTreeMap<i64, f64> {
        let minute = |date: i64| (date + 59).div_euclid(60) * 60;
        let dates: Vec<i64> = self.analyses.keys().copied().collect();
        let mut expected = BTreeMap::new();
        for (index, (date, analysis)) in self.analyses.iter().enumerate() {
            let end = dates.get(index + 1).map_or(end_s + 1, |next| minute(*next));
            if let Some(text) = analysis.values.get(key) {
                let value = text.parse::<f64>().expect("a number") * factor;
                expected.extend((minute(*date)..end).step_by(60).map(|at| (at, value)));
            }
        }
        expected
    }
}

impl StandIn {
    /// Starts on a thread of its own, so that tests with and without a runtime can use it.
    pub fn start(metrics: &[(&str, &str)]) -> StandIn {
        let metrics = metrics.iter().map(|(key, kind)| ((*key).to_owned(), (*kind).to_owned())).collect();
        let world = Arc::new(Mutex::new(World { metrics, ..World::default() }));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().fallback(answer).with_state(world.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                serve(listener, router).await;
            });
        });
        StandIn { url, world }
    }

    pub fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Calls of a path since the start.
    pub fn calls_of(&self, path: &str) -> usize {
        self.world().calls.iter().filter(|call| call.starts_with(path)).count()
    }
}

async fn serve(listener: tokio::net::TcpListener, router: Router) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
            // Clients go away when they want.
            let _ = connection.await;
        });
    }
}

async fn answer(State(world): State<SharedWorld>, request: Request) -> Response<Body> {
    let (fault, delay) = {
        let mut world = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let call = request.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        world.calls.push(call);
        (world.faults.pop_front().unwrap_or(Fault::None), world.delay)
    };
    tokio::time::sleep(delay).await;
    let mut half = false;
    match fault {
        Fault::None => {}
        Fault::Status(status) => return plain(status, String::new()),
        Fault::Throttle(after) => {
            let mut answer = plain(429, String::new());
            if let Some(after) = after {
                answer.headers_mut().insert("retry-after", after.parse().expect("a header"));
            }
            return answer;
        }
        Fault::Html => return plain(200, "<html><body>Down for maintenance</body></html>".to_owned()),
        Fault::Truncated => half = true,
        Fault::Slow(time) => tokio::time::sleep(time).await,
        Fault::Lands { project, branch, date, analysis } => {
            let mut world = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let branches = world.projects.get_mut(&project).map(|project| &mut project.branches);
            branches.and_then(|all| all.get_mut(&branch)).expect("a branch").analyses.insert(date, analysis);
        }
    }
    let world = world.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(token) = &world.token {
        let sent = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        if sent != Some(format!("Bearer {token}").as_str()) {
            return plain(401, String::new());
        }
    }
    match route(&world, request.uri().path(), &query(request.uri().query().unwrap_or_default())) {
        Ok(body) => {
            let text = body.to_string();
            let end = if half { text.len() / 2 } else { text.len() };
            plain(200, text[..end].to_owned())
        }
        Err((status, message)) => plain(status, json!({"errors": [{"msg": message}]}).to_string()),
    }
}

fn plain(status: u16, body: String) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

/// As a servlet reads it: `+` is a space.
fn query(text: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let (mut out, mut rest) = (Vec::new(), text.as_bytes());
        while let Some((first, tail)) = rest.split_first() {
            let byte = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            match (first, byte) {
                (b'%', Some(byte)) => {
                    out.push(byte);
                    rest = &tail[2..];
                }
                _ => {
                    out.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8_lossy(&out).into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

type Answer = Result<Value, (u16, String)>;

fn route(world: &World, path: &str, query: &BTreeMap<String, String>) -> Answer {
    match path {
        "/api/metrics/search" => metrics(world, query),
        "/api/components/search" => projects(world, query),
        "/api/components/show" => {
            let (key, project) = project(world, query, "component")?;
            Ok(json!({"component": {"key": key, "name": project.name, "qualifier": "TRK"}}))
        }
        "/api/project_branches/list" => branches(world, query),
        "/api/measures/search_history" => history(world, query),
        "/api/project_analyses/search" => analyses(world, query),
        _ => Err((404, format!("Unknown url : {path}"))),
    }
}

fn number(query: &BTreeMap<String, String>, name: &str, default: usize, max: usize) -> Result<usize, (u16, String)> {
    let value = match query.get(name) {
        None => default,
        Some(text) => text.parse().map_err(|_| (400, format!("'{name}' is no number")))?,
    };
    match value {
        0 => Err((400, format!("'{name}' must be greater than 0"))),
        value if value > max => Err((400, format!("'{name}' value ({value}) must be less than {max}"))),
        value => Ok(value),
    }
}

/// The elements of a page, its number and its size.
fn page<'a, T>(
    all: &'a [T],
    query: &BTreeMap<String, String>,
    size_max: usize,
) -> Result<(&'a [T], usize, usize), (u16, String)> {
    let (p, ps) = (number(query, "p", 1, usize::MAX)?, number(query, "ps", 100, size_max)?);
    let start = ((p - 1) * ps).min(all.len());
    Ok((&all[start..(start + ps).min(all.len())], p, ps))
}

fn metrics(world: &World, query: &BTreeMap<String, String>) -> Answer {
    let all: Vec<Value> = world
        .metrics
        .iter()
        .map(|(key, kind)| json!({"id": "1", "key": key, "type": kind, "name": key, "domain": "Any", "direction": 0}))
        .collect();
    let (part, p, ps) = page(&all, query, 500)?;
    Ok(json!({"metrics": part, "total": all.len(), "p": p, "ps": ps}))
}

fn projects(world: &World, query: &BTreeMap<String, String>) -> Answer {
    if !query.contains_key("organization") && query.get("qualifiers").map(String::as_str) != Some("TRK") {
        return Err((400, "The 'organization' parameter is missing".to_owned()));
    }
    let all: Vec<Value> = world
        .projects
        .iter()
        .map(|(key, project)| json!({"key": key, "name": project.name, "qualifier": "TRK"}))
        .collect();
    let (part, p, ps) = page(&all, query, 500)?;
    if p * ps > 10_000 {
        return Err((400, "Can return only the first 10000 results".to_owned()));
    }
    Ok(json!({"paging": {"pageIndex": p, "pageSize": ps, "total": all.len()}, "components": part}))
}

fn project<'a>(
    world: &'a World,
    query: &'a BTreeMap<String, String>,
    name: &str,
) -> Result<(&'a String, &'a Project), (u16, String)> {
    let key = query.get(name).ok_or_else(|| (400, format!("The '{name}' parameter is missing")))?;
    world.projects.get_key_value(key).ok_or_else(|| (404, format!("Component key '{key}' not found")))
}

fn branches(world: &World, query: &BTreeMap<String, String>) -> Answer {
    let (_, project) = project(world, query, "project")?;
    let listed: Vec<Value> = project
        .branches
        .iter()
        .map(|(name, branch)| {
            let mut item = json!({"name": name, "isMain": *name == project.main, "type": "LONG", "status": {}});
            if let Some((date, _)) = branch.analyses.last_key_value() {
                item["analysisDate"] = json!(world.date(*date));
            }
            item
        })
        .collect();
    Ok(json!({ "branches": listed }))
}

/// The analyses of the branch within the bounds, rising.
fn within<'a>(
    project: &'a Project,
    query: &BTreeMap<String, String>,
) -> Result<Vec<(i64, &'a Analysis)>, (u16, String)> {
    let name = query.get("branch").unwrap_or(&project.main);
    let branch = project.branches.get(name).ok_or_else(|| (404, format!("Branch '{name}' not found")))?;
    let bound = |name: &str| match query.get(name) {
        None => Ok(None),
        Some(text) => seconds_of(text)
            .map(Some)
            .ok_or_else(|| (400, format!("'{text}' cannot be parsed as either a date or date+time"))),
    };
    let (from, to) = (bound("from")?.unwrap_or(i64::MIN), bound("to")?.map_or(i64::MAX, |to| to + 1));
    Ok(branch
        .analyses
        .iter()
        .filter(|(date, _)| (from..=to).contains(*date))
        .map(|(date, analysis)| (*date, analysis))
        .collect())
}

/// Of `2026-01-31T14:00:00+0100` and nothing else.
fn seconds_of(text: &str) -> Option<i64> {
    let part = |at: std::ops::Range<usize>| text.get(at)?.parse::<u8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    let date = Date::from_calendar_date(year, Month::try_from(part(5..7)?).ok()?, part(8..10)?).ok()?;
    let local = date.with_hms(part(11..13)?, part(14..16)?, part(17..19)?).ok()?.assume_utc().unix_timestamp();
    let sign = match text.get(19..20)? {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let offset = i64::from(part(20..22)?) * 3_600 + i64::from(part(22..24)?) * 60;
    (text.len() == 24).then_some(local - sign * offset)
}

fn history(world: &World, query: &BTreeMap<String, String>) -> Answer {
    let (_, project) = project(world, query, "component")?;
    let keys: Vec<&str> = query.get("metrics").map(|keys| keys.split(',').collect()).unwrap_or_default();
    let wrong: Vec<&str> =
        keys.iter().copied().filter(|key| !world.metrics.contains_key(*key) || world.refused.contains(*key)).collect();
    if keys.is_empty() || !wrong.is_empty() {
        return Err((400, format!("The following metrics are not found: {}", wrong.join(", "))));
    }
    let all = within(project, query)?;
    let (part, p, ps) = page(&all, query, 1000)?;
    // Not in the order of the request.
    let measures: Vec<Value> = keys
        .iter()
        .rev()
        .map(|key| {
            let entries: Vec<Value> = part
                .iter()
                .map(|(date, analysis)| match analysis.values.get(*key) {
                    Some(value) => json!({"date": world.date(*date), "value": value}),
                    None => json!({"date": world.date(*date)}),
                })
                .collect();
            let shown = world.renamed.get(*key).map_or(*key, String::as_str);
            json!({"metric": shown, "history": entries})
        })
        .collect();
    Ok(json!({"paging": {"pageIndex": p, "pageSize": ps, "total": all.len()}, "measures": measures}))
}

fn analyses(world: &World, query: &BTreeMap<String, String>) -> Answer {
    let (_, project) = project(world, query, "project")?;
    let mut all = within(project, query)?;
    all.reverse();
    let (part, p, ps) = page(&all, query, 500)?;
    let shown: Vec<Value> = part
        .iter()
        .map(|(date, analysis)| {
            let events: Vec<Value> = analysis
                .events
                .iter()
                .map(|(category, name)| json!({"key": "E", "category": category, "name": name}))
                .collect();
            json!({"key": format!("A{date}"), "date": world.date(*date), "events": events})
        })
        .collect();
    Ok(json!({"paging": {"pageIndex": p, "pageSize": ps, "total": all.len()}, "analyses": shown}))
}
