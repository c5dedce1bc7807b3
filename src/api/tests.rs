//! The API in one process, over a store in memory: who may what, and what is answered to what.

use super::{
    About, Api, ApiConfig, Parts,
    routes::{Access, table},
    service,
};
use crate::{
    auth::{Digest, Key, Keyring, Scope},
    ingest::{Ingest, IngestConfig},
    jobs::Jobs,
    mailbox::{Accepted, Mailbox, Mailroom, Message, Pending, PutError, Queue},
    model::Labels,
    promql::engine::{Engine, EngineConfig},
    sonar::{self, Sonar, SonarMetrics, Surroundings},
    stdx::clock::ManualClock,
    store::{Appendable, Store, WriteBatch, memory::Memory},
    telemetry::Metrics,
};
use axum::{
    body::{Body, Bytes, to_bytes},
    http::{HeaderMap, Method, Request, Response, StatusCode},
};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const NOW_MS: i64 = 1_700_000_000_000;
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

/// Answers what begins with `/page` with the path it was asked for.
fn pages(_: &Method, path: &str, _: &HeaderMap) -> Option<Response<Body>> {
    path.starts_with("/page").then(|| Response::new(Body::from(path.to_owned())))
}

/// A room that syncs nothing.
fn sonar(ingest: &Ingest, store: &Arc<dyn Store>, jobs: &Jobs, clock: Arc<ManualClock>) -> Sonar {
    struct Nowhere;
    impl Mailbox for Nowhere {
        fn put(&self, _: Message) -> Pending<'_, Result<Accepted, PutError>> {
            Box::pin(async { Err(PutError::Full { bytes: 0 }) })
        }
    }
    let parts = sonar::Parts {
        ingest: ingest.clone(),
        store: store.clone(),
        jobs: jobs.clone(),
        around: Surroundings::real(clock, Arc::new(|_| Err("nothing is called here".to_owned()))),
        metrics: SonarMetrics::new(&Metrics::new()),
        retention_ms: i64::MAX,
    };
    Sonar::new(parts, |_| Arc::new(Nowhere))
}

/// An API over a fresh store; tokens are named after the one scope they have.
struct TestApi {
    api: Arc<Api>,
    store: Arc<Memory>,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn tree(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn data(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        self.tree()["data"].clone()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl TestApi {
    fn new() -> TestApi {
        TestApi::with_keys(vec![])
    }

    fn with_tokens() -> TestApi {
        let key = |scope: Scope| Key {
            name: scope.as_str().to_owned(),
            digest: Digest::of(scope.as_str()),
            scopes: [scope].into_iter().collect(),
        };
        TestApi::with_keys(Scope::ALL.map(key).to_vec())
    }

    fn with_keys(keys: Vec<Key>) -> TestApi {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let store = Arc::new(Memory::new(clock.clone()));
        let shared: Arc<dyn Store> = store.clone();
        let config = ApiConfig { body_bytes_max: 1 << 20, ..ApiConfig::default() };
        let api = Api::new(config, Keyring::new(keys), Metrics::new(), About::default(), CancellationToken::new());
        let ingest = Ingest::new(shared.clone(), clock.clone(), IngestConfig::default());
        let jobs = Jobs::open(shared.clone(), clock.clone());
        api.ready(Parts {
            engine: Arc::new(Engine::new(store.clone(), EngineConfig { workers: 1, ..EngineConfig::default() })),
            scrape: crate::scrape::Manager::new(ingest.clone(), clock.clone(), Metrics::new(), ""),
            reload: tokio::sync::mpsc::channel(1).0,
            sonar: sonar(&ingest, &shared, &jobs, clock.clone()),
            ingest,
            jobs,
            mailroom: Mailroom::new(Queue::open(store.clone(), clock.clone(), Default::default()), None),
            upkeep: store.clone(),
            snapshots: store.clone(),
            store: shared,
            clock,
        });
        TestApi { api: Arc::new(api), store }
    }

    fn fill(&self, pairs: &[(&str, &str)], at_ms: i64, value: f64) {
        let series = self.store.series_id(&Labels::from_pairs(pairs.iter().copied()).unwrap()).unwrap();
        let mut batch = WriteBatch::default();
        batch.push(series, at_ms, value);
        self.store.append(&batch).unwrap();
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = service(self.api.clone(), Arc::new(pages)).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        // Events have no end.
        let endless = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { Bytes::new() } else { to_bytes(body, usize::MAX).await.unwrap() };
        Answer { status: head.status, headers: head.headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, target: &str) -> Answer {
        self.send("GET", target, &[], "").await
    }

    async fn error(&self, target: &str) -> (u16, String, String) {
        let answer = self.get(target).await;
        let tree = answer.tree();
        assert_eq!(tree["status"], "error", "{answer:?}");
        let text = |key: &str| tree[key].as_str().unwrap().to_owned();
        (answer.status.as_u16(), text("errorType"), text("error"))
    }
}

/// A target for a path of the table.
fn target(path: &str) -> String {
    path.replace("{*labels}", "a").replace("{name}", "job").replace("{id}", "1")
}

#[tokio::test]
async fn every_route_asks_for_its_scope_and_nothing_else_gets_in() {
    let api = TestApi::with_tokens();
    for route in table() {
        for method in route.methods {
            let ask = async |token: Option<&str>| {
                let bearer = token.map(|token| format!("Bearer {token}"));
                let headers: Vec<(&str, &str)> = bearer.iter().map(|value| ("authorization", value.as_str())).collect();
                api.send(method.as_str(), &target(route.path), &headers, "").await.status.as_u16()
            };
            let place = format!("{method} {}", route.path);
            let refused = |status: u16| status == 401 || (status == 403 && route.path != "/-/reload");
            match route.access {
                Access::Open => assert!(!refused(ask(None).await), "{place}"),
                // Off until a secret is there.
                Access::Signed => assert_eq!(ask(None).await, 404, "{place}"),
                Access::Needs(scope) => {
                    assert_eq!(ask(None).await, 401, "{place} without a token");
                    assert_eq!(ask(Some("unknown")).await, 401, "{place} with an unknown token");
                    for holder in Scope::ALL {
                        let allowed = holder == scope || holder == Scope::Admin;
                        let status = ask(Some(holder.as_str())).await;
                        match allowed {
                            true => assert!(!refused(status), "{place} with {holder:?}: {status}"),
                            false => assert_eq!(status, 403, "{place} with {holder:?}"),
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn writes_from_other_origins_are_refused_on_every_route_and_reads_are_not() {
    let api = TestApi::new();
    for route in table() {
        for method in route.methods {
            let changes = ![Method::GET, Method::HEAD].contains(method) && route.access != Access::Needs(Scope::Read);
            for header in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
                let headers = [("host", "127.0.0.1:9090"), header];
                let answer = api.send(method.as_str(), &target(route.path), &headers, "").await;
                let refused = answer.status == 403 && answer.body.contains("another origin");
                assert_eq!(refused, changes, "{method} {}: {answer:?}", route.path);
            }
        }
    }
}

#[tokio::test]
async fn methods_that_a_route_does_not_have_are_405() {
    let api = TestApi::new();
    for (method, path) in [
        ("POST", "/api/v1/label/job/values"),
        ("DELETE", "/api/v1/query"),
        ("HEAD", "/api/v1/query"),
        ("GET", "/metrics/job/a"),
        ("POST", "/metrics"),
        ("GET", "/api/v1/write"),
        ("GET", "/-/reload"),
    ] {
        assert_eq!(api.send(method, path, &[], "").await.status, 405, "{method} {path}");
    }
    assert_eq!(api.send("HEAD", "/-/healthy", &[], "").await.status, 200);
    // There is no process around this API that could.
    assert_eq!(api.send("POST", "/-/reload", &[], "").await.status, 500);
}

#[tokio::test]
async fn unknown_paths_are_json_below_api_and_never_a_page() {
    let api = TestApi::new();
    for path in ["/api", "/api/", "/api/v1/nothing", "/api/v2/status"] {
        let (status, kind, _) = api.error(path).await;
        assert_eq!((status, kind.as_str()), (404, "not_found"), "{path}");
    }
    for path in ["/nothing", "/alertmanager/api/v2/status", "/metrics/job", "/metrics/other/x"] {
        let answer = api.send("PUT", path, &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
}

#[tokio::test]
async fn pages_are_asked_for_what_no_route_is_for_with_the_path_as_it_was_written() {
    let api = TestApi::new();
    for path in ["/page", "/page/a/", "/page//a"] {
        let page = api.get(path).await;
        assert_eq!((page.status.as_u16(), page.body.as_str()), (200, path));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(api.get("/other").await.status.as_u16(), 404);
}

#[tokio::test]
async fn wrong_parameters_are_told_in_prometheus_words_and_order() {
    let api = TestApi::new();
    for (target, message) in [
        ("query", "invalid parameter \"query\": 1:1: parse error: no expression found in input"),
        (
            "query?query=1&time=abc",
            "invalid parameter \"time\": invalid time value for 'time': cannot parse \"abc\" to a valid timestamp",
        ),
        ("query?query=1&limit=-1", "invalid parameter \"limit\": limit must be non-negative"),
        (
            "query_range?query=1&start=x&end=1&step=1",
            "invalid parameter \"start\": cannot parse \"x\" to a valid timestamp",
        ),
        (
            "query_range?query=1&start=2&end=1&step=1",
            "invalid parameter \"end\": end timestamp must not be before start time",
        ),
        ("query_range?query=1&start=0&end=1", "invalid parameter \"step\": cannot parse \"\" to a valid duration"),
        (
            "query_range?query=sum(&start=0&end=1&step=0",
            "invalid parameter \"step\": zero or negative query resolution step widths are not accepted. \
             Try a positive integer",
        ),
        (
            "query_range?query=1&start=0&end=11001&step=1",
            "exceeded maximum resolution of 11,000 points per timeseries. \
             Try decreasing the query resolution (?step=XX)",
        ),
        (
            "query_range?query=up[5m]&start=0&end=1&step=1",
            "invalid parameter \"query\": invalid expression type \"range vector\" for range query, \
             must be Scalar or instant Vector",
        ),
        ("query_exemplars?query=a&start=2&end=1", "end timestamp must not be before start timestamp"),
        ("series", "no match[] parameter provided"),
        ("series?match[]={}", "match[] must contain at least one non-empty matcher"),
        ("metadata?limit=x", "limit must be a number"),
        ("rules?type=zzz", "invalid parameter \"type\": not supported value \"zzz\""),
        ("status/tsdb?limit=0", "limit must be a positive number"),
        ("status/tsdb?limit=10001", "limit must not exceed 10000"),
    ] {
        let (status, kind, found) = api.error(&format!("/api/v1/{target}")).await;
        assert_eq!((status, kind.as_str(), found.as_str()), (400, "bad_data", message), "{target}");
    }
    let (status, kind, _) = api.error("/api/v1/query?query=1&timeout=0s").await;
    assert_eq!((status, kind.as_str()), (503, "timeout"));
    let position = api.error("/api/v1/series?match[]=a{").await.2;
    assert!(position.starts_with("invalid parameter \"match[]\": 1:"), "{position}");
    assert!(api.error("/api/v1/labels?match[]=a{").await.2.starts_with("1:"));
}

#[tokio::test]
async fn grafanas_first_request_and_forms_over_urls() {
    let api = TestApi::new();
    let answer = api.send("POST", "/api/v1/query", &[FORM], "query=1%2B1&time=4").await;
    assert_eq!(answer.body, r#"{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}"#);
    let answer = api.send("POST", "/api/v1/query?query=1&time=7", &[FORM], "query=2").await;
    assert_eq!(answer.data()["result"], json!([7, "2"]));
    let answer = api.send("POST", "/api/v1/query", &[("content-type", "application/json")], "{\"query\":\"1\"}").await;
    assert!(answer.body.contains("no expression found in input"), "{answer:?}");
    let probe = api.get("/api/v1/query_exemplars?query=test&start=1700000000000&end=1700001800000").await;
    assert_eq!(probe.data(), json!([]));
    assert_eq!(api.get("/api/v1/query_exemplars?query=1").await.status, 204);
    assert!(api.get("/api/v1/status/buildinfo").await.data().get("features").is_none());
}

#[tokio::test]
async fn what_is_stored_is_found_and_limits_say_that_they_cut() {
    let api = TestApi::new();
    for (name, job) in [("one", "a"), ("one", "b"), ("two", "a")] {
        api.fill(&[("__name__", name), ("job", job), ("http.status", "200")], NOW_MS - 1_000, 1.0);
    }
    let series = api.get("/api/v1/series?match[]=one&match[]={job=%22a%22}").await.data();
    assert_eq!(series.as_array().map(Vec::len), Some(3));
    assert_eq!(api.get("/api/v1/labels").await.data(), json!(["__name__", "http.status", "job"]));
    assert_eq!(api.get("/api/v1/label/job/values?match[]=two").await.data(), json!(["a"]));
    assert_eq!(api.get("/api/v1/label/U__http_2e_status/values").await.data(), json!(["200"]));
    assert_eq!(api.get("/api/v1/series?match[]=one&start=2&end=1").await.data(), json!([]));
    for target in
        ["labels?limit=1", "series?match[]=one&limit=1", "query?query=one&limit=1", "label/job/values?limit=1"]
    {
        let answer = api.get(&format!("/api/v1/{target}")).await;
        assert_eq!(answer.tree()["warnings"], json!(["results truncated due to limit"]), "{target}: {answer:?}");
    }
    let matrix = api.get("/api/v1/query?query=one[1m]").await.data();
    assert_eq!(matrix["result"][0]["values"], json!([[1_699_999_999, "1"]]));
}

#[tokio::test]
async fn pushes_are_answered_as_by_a_pushgateway() {
    let api = TestApi::new();
    let stamped =
        "pushed metrics are invalid or inconsistent with existing metrics: pushed metrics must not have timestamps";
    for (method, path, body, status, message) in [
        ("PUT", "job/a", "# TYPE m gauge\nm 1\n", 200, ""),
        ("POST", "job/b", "m 1\n# EOF\n", 400, "is not a"),
        ("POST", "job/b", "  indented 1\n", 200, ""),
        ("POST", "job/b", "last_line 1", 200, ""),
        ("POST", "job/b", "x NaN\ny +Inf\n", 200, ""),
        ("PUT", "job/b", "", 200, ""),
        ("POST", "job/b", "m 1 1700000000000\n", 400, stamped),
        ("POST", "job/b", "m{a=\"1\"} \n", 400, "line 1"),
        ("POST", "job/b", "a{x=\"1\"} 1\na{x=\"1\"} 2\n", 400, "invalid or inconsistent"),
        (
            "PUT",
            "job/b/branch/feature/x",
            "n 1\n",
            400,
            "odd number of components in label string \"/branch/feature/x\"",
        ),
        ("PUT", "job/b/branch/feature%2Fx", "n 1\n", 400, "odd number of components"),
        ("PUT", "job/b/branch@base64/ZmVhdHVyZS94", "n 1\n", 200, ""),
        ("PUT", "job/b/a-b/c", "n 1\n", 400, "improper label name \"a-b\""),
        ("PUT", "job@base64/=", "n 1\n", 400, "job name is required"),
        ("PUT", "/job//c//x/y/", "n 1\n", 400, "odd number of components"),
        ("PUT", "job/c/", "n 1\n", 200, ""),
        ("DELETE", "job/never", "", 202, ""),
    ] {
        let answer = api.send(method, &format!("/metrics/{path}"), &[], body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path} {body:?}: {answer:?}");
        assert!(answer.body.contains(message), "{method} {path} {body:?}: {answer:?}");
        assert_eq!(answer.body.is_empty(), status < 300, "{answer:?}");
    }
    let groups = api.get("/api/v1/metrics").await.data();
    assert!(groups.as_array().is_some_and(|groups| groups.len() >= 3), "{groups}");
    let large = "m 1\n".repeat(1 << 19);
    assert_eq!(api.send("PUT", "/metrics/job/large", &[], &large).await.status, 413);
}

#[tokio::test]
async fn browsers_are_told_what_they_may_read() {
    let api = TestApi::new();
    let answer = api.send("OPTIONS", "/api/v1/query", &[("origin", "https://a")], "").await;
    assert_eq!(answer.status, 204);
    for answer in [answer, api.send("GET", "/api/v1/labels", &[("origin", "https://a")], "").await] {
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        assert_eq!(answer.header("access-control-expose-headers"), Some("Date"));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    let answer = api.get("/api/v1/labels").await;
    assert_eq!((answer.header("vary"), answer.header("access-control-allow-origin")), (Some("Origin"), None));
    assert_eq!(api.get("/metrics").await.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn before_the_store_is_open_only_health_answers() {
    let api =
        Api::new(ApiConfig::default(), Keyring::default(), Metrics::new(), About::default(), CancellationToken::new());
    let api = TestApi { api: Arc::new(api), store: Arc::new(Memory::new(Arc::new(ManualClock::new(0)))) };
    for (path, status) in [
        ("/-/healthy", 200),
        ("/metrics", 200),
        ("/api/v1/status/walreplay", 200),
        ("/-/ready", 503),
        ("/api/v1/query?query=1", 503),
        ("/api/v1/labels", 503),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status.as_u16(), status, "{path}");
        assert_eq!(answer.header("x-prometheus-stopping"), (status == 503).then_some("false"), "{path}");
    }
}
