//! The room against a stand-in for SonarCloud, over real HTTP, on the store in memory. Waiting takes no time here.

#[path = "../../tests/support/sonar.rs"]
#[allow(dead_code, reason = "each test binary uses its part of what they share")]
mod stand_in;

#[path = "tests_mailbox.rs"]
mod through_the_mailbox;

use super::{
    board::Board,
    budget::{Budget, Pauses},
    client::{CallError, Client, Surroundings},
    config::{Branches, Config, Projects},
    manager::{Parts, Sonar, WebhookError},
    metrics::SonarMetrics,
    naming::Scheme,
    recorder::Recorder,
    refused::RefusedKeys,
    state,
    sync::{Scope, Summary, SyncError, SyncRun, Tools},
    webhook::Asked,
};
use crate::{
    ingest::{Ingest, IngestConfig},
    jobs::{JobState, Jobs},
    mailbox::{Accepted, Handler, Mailbox, Message, Pending, PutError},
    model::{METRIC_NAME, Matcher, Samples, TimeRange, is_stale},
    stdx::clock::{Clock, ManualClock},
    store::{Hints, Queryable, Store, memory::Memory},
    telemetry::Metrics,
};
use parking_lot::Mutex;
use proptest::prelude::*;
use stand_in::{Analysis, Fault, StandIn};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;

const DAY: i64 = 86_400;
const HOUR: i64 = 3_600;
/// 2026-02-01T00:00:00Z.
const NOW: i64 = 1_769_904_000;
const METRICS: &[(&str, &str)] =
    &[("alert_status", "LEVEL"), ("coverage", "PERCENT"), ("ncloc", "INT"), ("new_coverage", "PERCENT")];

/// Moves the clock in place of waiting.
struct Skips {
    clock: ManualClock,
    pauses: Mutex<Vec<Duration>>,
}

impl Pauses for Skips {
    fn pause(&self, time: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.clock.advance(i64::try_from(time.as_millis()).unwrap());
        self.pauses.lock().push(time);
        Box::pin(tokio::task::yield_now())
    }
}

/// Hands messages straight to the handler, refusing some of them first.
struct Direct {
    handler: Arc<dyn Handler>,
    /// So many are kept in place of being handled.
    keeps: AtomicI64,
    kept: Mutex<Vec<Message>>,
    /// Handled in place of the next one, which is kept.
    instead: Mutex<Option<Message>>,
    full: AtomicI64,
    messages: AtomicU64,
    bytes_max: usize,
}

impl Mailbox for Direct {
    fn put(&self, message: Message) -> Pending<'_, Result<Accepted, PutError>> {
        Box::pin(async move {
            if self.full.fetch_sub(1, Ordering::SeqCst) > 0 {
                return Err(PutError::Full { bytes: 1 });
            }
            if message.payload.len() > self.bytes_max {
                return Err(PutError::TooLarge { bytes: message.payload.len(), bytes_max: self.bytes_max });
            }
            self.messages.fetch_add(1, Ordering::SeqCst);
            let instead = self.instead.lock().take();
            let message = match (instead, self.keeps.fetch_sub(1, Ordering::SeqCst) > 0) {
                (None, false) => message,
                (instead, _) => {
                    self.kept.lock().push(message);
                    let Some(instead) = instead else { return Ok(Accepted::Waits) };
                    instead
                }
            };
            let handled = self.handler.handle(&message).await;
            handled.map(|()| Accepted::Waits).map_err(|error| PutError::Unavailable(error.to_string()))
        })
    }
}

struct Bench {
    server: StandIn,
    clock: ManualClock,
    store: Arc<Memory>,
    tools: Tools,
    skips: Arc<Skips>,
    mailbox: Arc<Direct>,
    budget: Arc<Budget>,
    config: Config,
    syncs: AtomicU64,
    last_ms: AtomicI64,
}

fn config(url: &str) -> Config {
    Config {
        url: url.to_owned(),
        token_file: None,
        organization: Some("org".to_owned()),
        projects: Projects::All,
        branches: Branches::All,
        metrics: METRICS.iter().map(|(key, _)| (*key).to_owned()).collect(),
        interval_ms: HOUR * 1000,
        history_ms: 30 * DAY * 1000,
        calls_per_hour: 100_000,
        webhook_secret_file: None,
        names: Scheme::Base,
    }
}

fn around(clock: &ManualClock, skips: Arc<Skips>) -> Surroundings {
    let tls = |_| {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let roots = rustls::RootCertStore::empty();
        Ok(builder.map_err(|cause| cause.to_string())?.with_root_certificates(roots).with_no_client_auth())
    };
    Surroundings {
        clock: Arc::new(clock.clone()),
        pauses: skips,
        call_time: Duration::from_secs(1),
        stored_time: Duration::from_millis(600),
        tls: Arc::new(tls),
    }
}

impl Bench {
    fn new() -> Bench {
        Bench::with(usize::MAX)
    }

    fn with(message_bytes_max: usize) -> Bench {
        let server = StandIn::start(METRICS);
        let clock = ManualClock::new(NOW * 1000);
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let store = Arc::new(Memory::new(shared.clone()));
        let ingest = Ingest::new(store.clone(), shared.clone(), IngestConfig::default());
        let metrics = SonarMetrics::new(&Metrics::new());
        let (stored, retention_ms) = (Arc::new(Notify::new()), 30 * DAY * 1000);
        let held: Arc<dyn Store> = store.clone();
        let recorder =
            Recorder::new(ingest.clone(), held.clone(), shared.clone(), retention_ms, metrics.clone(), stored.clone());
        let mailbox = Arc::new(Direct {
            handler: Arc::new(recorder),
            keeps: AtomicI64::new(0),
            kept: Mutex::default(),
            instead: Mutex::default(),
            full: AtomicI64::new(0),
            messages: AtomicU64::new(0),
            bytes_max: message_bytes_max,
        });
        let skips = Arc::new(Skips { clock: clock.clone(), pauses: Mutex::default() });
        let tools = Tools {
            ingest,
            store: held,
            mailbox: mailbox.clone(),
            around: around(&clock, skips.clone()),
            board: Arc::new(Board::new(metrics.clone())),
            metrics,
            stored,
            retention_ms,
        };
        Bench {
            config: config(&server.url),
            budget: Arc::new(Budget::new(shared, 100_000)),
            server,
            clock,
            store,
            tools,
            skips,
            mailbox,
            syncs: AtomicU64::new(0),
            last_ms: AtomicI64::new(NOW * 1000),
        }
    }

    fn client(&self) -> Client {
        let (around, metrics) = (self.tools.around.clone(), self.tools.metrics.clone());
        Client::new(&self.config, self.budget.clone(), around, metrics).unwrap()
    }

    async fn sync(&self, scope: Scope) -> Result<Summary, SyncError> {
        let began_ms = self.clock.now_ms();
        let run = SyncRun {
            tools: self.tools.clone(),
            client: self.client(),
            config: Arc::new(self.config.clone()),
            scope,
            number: self.syncs.fetch_add(1, Ordering::SeqCst),
            last_ms: self.last_ms.load(Ordering::SeqCst),
            refused: RefusedKeys::load(&*self.store),
            metrics: Vec::new(),
            is_stalled: AtomicBool::new(false),
        };
        let result = run.run(Arc::new(|_, _, _| {})).await;
        if result.is_ok() {
            self.last_ms.store(began_ms, Ordering::SeqCst);
        }
        result
    }

    /// A sync that leaves nothing out.
    async fn good_sync(&self) {
        let summary = self.sync(Scope::default()).await.unwrap();
        assert_eq!(summary.failed, 0, "{:?}", self.tools.board.problems());
    }

    /// Points of one series, staleness markers left out.
    fn points(&self, matchers: &[(&str, &str)]) -> Vec<(i64, f64)> {
        let matchers: Vec<Matcher> = matchers.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
        let set = self.store.select(TimeRange::ALL, &matchers, &Hints::default()).unwrap();
        assert!(set.len() <= 1, "{} series", set.len());
        let mut samples = Samples::default();
        if set.len() == 1 {
            set.read(0, &mut samples).unwrap();
        }
        let points = samples.timestamps.iter().copied().zip(samples.values.iter().copied());
        points.filter(|(_, value)| !is_stale(*value)).collect()
    }

    /// What the store has of a branch has to be what the source has: every value from its analysis to the next, none
    /// where none was measured, and nothing else.
    fn assert_equals_source(&self, project: &str, branch: &str) {
        let world = self.server.world();
        let analyses = &world.projects[project].branches[branch].analyses;
        for (key, name, factor) in [("ncloc", "sonar_ncloc", 1.0), ("coverage", "sonar_coverage_ratio", 0.01)] {
            let points = self.points(&[(METRIC_NAME, name), ("project", project), ("branch", branch)]);
            let value =
                |analysis: &Analysis| analysis.values.get(key).map(|text| text.parse::<f64>().unwrap() * factor);
            let mut expected: BTreeMap<i64, f64> = BTreeMap::new();
            let dates: Vec<i64> = analyses.keys().copied().collect();
            let mut minutes = 0;
            for (index, (date, analysis)) in analyses.iter().enumerate() {
                let first = (date + 59).div_euclid(60) * 60;
                let end =
                    dates.get(index + 1).map_or(self.clock.now_ms() / 1000 + 1, |next| (next + 59).div_euclid(60) * 60);
                if let Some(value) = value(analysis) {
                    expected.extend((first..end).step_by(60).map(|at| (at * 1000, value)));
                    minutes += 1;
                }
            }
            let on_grid: BTreeMap<i64, f64> = points.iter().copied().filter(|(at, _)| at % 60_000 == 0).collect();
            // A sample at an analysis on a full minute is a point of its run.
            let same = on_grid.len() == expected.len()
                && on_grid.iter().zip(&expected).all(|(one, other)| one.0 == other.0 && (one.1 - other.1).abs() < 1e-9);
            if !same {
                let missing: Vec<_> = expected.iter().filter(|(at, _)| !on_grid.contains_key(*at)).take(3).collect();
                let surplus: Vec<_> = on_grid.iter().filter(|(at, _)| !expected.contains_key(*at)).take(3).collect();
                let wrong: Vec<_> = on_grid
                    .iter()
                    .filter(|(at, v)| expected.get(*at).is_some_and(|e| (e - **v).abs() > 1e-9))
                    .take(3)
                    .collect();
                panic!(
                    "{project} {branch} {name}: {minutes} values; missing {missing:?}, surplus {surplus:?}, wrong {wrong:?}"
                );
            }
            for (at, stored) in points.iter().filter(|(at, _)| at % 60_000 != 0) {
                let said = analyses.get(&(at / 1000)).and_then(value);
                assert!(
                    said.is_some_and(|said| (said - stored).abs() < 1e-9),
                    "{name} at {at}: {stored}, not {said:?}"
                );
            }
        }
    }
}

fn values(ncloc: &str) -> Vec<(&str, &str)> {
    vec![("ncloc", ncloc), ("coverage", "50.0"), ("alert_status", "OK")]
}

fn analysis(ncloc: &str) -> Analysis {
    let values = values(ncloc).into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    Analysis { values: values.collect(), events: Vec::new() }
}

#[tokio::test]
async fn two_and_a_half_thousand_analyses_are_three_pages() {
    let bench = Bench::new();
    for index in 0..2_500 {
        let value = (index % 7).to_string();
        bench.server.world().analyze("org:a_b", "main", NOW - 3 * DAY + index * 60 + 7, &values(&value));
    }
    bench.good_sync().await;
    assert_eq!(bench.server.calls_of("/api/measures/search_history"), 3);
    assert!(bench.server.world().calls.iter().any(|call| call.contains("%2B0000") && !call.contains("+0000")));
    bench.assert_equals_source("org:a_b", "main");
    let before = bench.mailbox.messages.load(Ordering::SeqCst);
    bench.good_sync().await;
    assert_eq!(bench.server.calls_of("/api/measures/search_history"), 3, "nothing new is not asked for");
    assert_eq!(bench.mailbox.messages.load(Ordering::SeqCst), before);
}

#[tokio::test]
async fn missing_values_are_no_zeros_and_zeros_are_values() {
    let bench = Bench::new();
    for (date, value) in [(NOW - 5 * HOUR, None), (NOW - 4 * HOUR, Some("0.0")), (NOW - 3 * HOUR, None)] {
        let values: Vec<(&str, &str)> = value.map(|value| ("coverage", value)).into_iter().collect();
        bench.server.world().analyze("a", "feature/x", date, &values);
    }
    bench.server.world().offset_minutes = -210;
    bench.good_sync().await;
    bench.assert_equals_source("a", "feature/x");
    let points = bench.points(&[(METRIC_NAME, "sonar_coverage_ratio")]);
    assert_eq!((points.len(), points[0].1), (60, 0.0));
}

#[tokio::test]
async fn a_refused_metric_is_found_left_out_and_remembered() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("5"));
    bench.server.world().refused.insert("new_coverage".to_owned());
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
    bench.server.world().analyze("a", "main", NOW - 60, &values("6"));
    bench.server.world().calls.clear();
    bench.good_sync().await;
    assert_eq!(bench.server.calls_of("/api/measures/search_history"), 1, "it is not asked for again");
    // A day later it is answered, and gets its history.
    bench.server.world().refused.clear();
    let with = [("ncloc", "7"), ("coverage", "50.0"), ("new_coverage", "90.0")];
    bench.server.world().analyze("a", "main", NOW + 30 * HOUR, &with);
    bench.clock.set((NOW + 31 * HOUR) * 1000);
    bench.good_sync().await;
    assert_eq!(bench.points(&[(METRIC_NAME, "sonar_new_coverage_ratio")]).len(), 61);
    bench.assert_equals_source("a", "main");
}

#[tokio::test]
async fn a_key_that_was_renamed_or_has_disappeared_does_not_stop_the_others() {
    let mut bench = Bench::new();
    bench.config.metrics.push("gone_metric".to_owned());
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("5"));
    bench.server.world().renamed.insert("ncloc".to_owned(), "lines_of_code".to_owned());
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
}

#[tokio::test]
async fn throttling_is_waited_for_with_and_without_a_word_on_how_long() {
    for (after, least, most) in
        [(None, 30, 60), (Some("7".to_owned()), 7, 7), (Some("Sun, 01 Feb 2026 00:01:30 GMT".to_owned()), 80, 90)]
    {
        let bench = Bench::new();
        bench.server.world().analyze("a", "main", NOW - HOUR, &values("5"));
        bench.server.world().faults.push_back(Fault::Throttle(after.clone()));
        bench.good_sync().await;
        let pause = bench.skips.pauses.lock()[0].as_secs();
        assert!((least..=most).contains(&pause), "{after:?}: {pause}");
        bench.assert_equals_source("a", "main");
    }
}

#[tokio::test]
async fn refusals_are_told_apart() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("5"));
    for (fault, expected) in [
        (Fault::Status(401), CallError::Unauthorized),
        (Fault::Status(403), CallError::Forbidden("without a message".to_owned())),
        (Fault::Status(302), CallError::Redirect(302)),
    ] {
        bench.server.world().faults.push_back(fault);
        let error = bench.sync(Scope::default()).await.unwrap_err();
        assert_eq!(error, SyncError::Call(expected));
    }
    let missing = super::answers::branches(&bench.client(), "nobody").await.unwrap_err();
    assert_eq!(missing, CallError::NotFound("Component key 'nobody' not found".to_owned()));
    bench.server.world().faults.extend(std::iter::repeat_n(Fault::Status(503), 5));
    let error = bench.sync(Scope::default()).await.unwrap_err();
    assert_eq!(error, SyncError::Call(CallError::Server(503)));
    bench.server.world().faults.push_back(Fault::Throttle(Some("90000".to_owned())));
    assert_eq!(bench.sync(Scope::default()).await.unwrap_err(), SyncError::Call(CallError::Throttled));
}

#[tokio::test]
async fn html_cut_json_and_slow_answers_are_asked_for_again() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("5"));
    let faults = [Fault::Html, Fault::Truncated, Fault::Slow(Duration::from_millis(1_500)), Fault::Status(500)];
    bench.server.world().faults.extend(faults);
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
    assert_eq!(bench.tools.metrics.retries.get(), 4);
}

#[tokio::test]
async fn an_analysis_that_lands_between_two_pages_shifts_nothing() {
    let bench = Bench::new();
    for index in 0..1_500 {
        bench.server.world().analyze("a", "main", NOW - 2 * DAY + index * 60 + 1, &values(&(index % 5).to_string()));
    }
    // Metrics, projects, branches, the first page, its events; then one lands before all that is left.
    let lands = Fault::Lands {
        project: "a".into(),
        branch: "main".into(),
        date: NOW - 2 * DAY + 100,
        analysis: analysis("99"),
    };
    bench.server.world().faults.extend([Fault::None, Fault::None, Fault::None, Fault::None, Fault::None, lands]);
    bench.good_sync().await;
    // Found when the branch is read again as a whole, a day later at most.
    bench.clock.advance(25 * HOUR * 1000);
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
}

#[tokio::test]
async fn a_late_analysis_lands_at_its_own_time_and_vanished_ones_stay() {
    let bench = Bench::new();
    for (hours, value) in [(10, "1"), (8, "2"), (2, "3")] {
        bench.server.world().analyze("a", "main", NOW - hours * HOUR, &values(value));
    }
    bench.good_sync().await;
    bench.server.world().analyze("a", "main", NOW - 5 * HOUR - 13, &values("9"));
    bench.sync(Scope { since_s: Some(NOW - DAY), ..Scope::default() }).await.unwrap();
    bench.assert_equals_source("a", "main");
    let before = bench.points(&[(METRIC_NAME, "sonar_ncloc")]);
    let analyses = bench.server.world().projects["a"].branches["main"].analyses.clone();
    bench
        .server
        .world()
        .projects
        .get_mut("a")
        .unwrap()
        .branches
        .get_mut("main")
        .unwrap()
        .analyses
        .remove(&(NOW - 8 * HOUR));
    bench.sync(Scope { since_s: Some(NOW - DAY), ..Scope::default() }).await.unwrap();
    assert_eq!(bench.points(&[(METRIC_NAME, "sonar_ncloc")]), before);
    assert_eq!(analyses.len(), 4);
}

#[tokio::test]
async fn a_branch_that_is_gone_ends_after_two_syncs_and_comes_back() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("1"));
    bench.server.world().analyze("a", "old", NOW - HOUR, &values("2"));
    bench.good_sync().await;
    let old = bench.server.world().projects.get_mut("a").unwrap().branches.remove("old").unwrap();
    let gone = || state::load(&*bench.store, "a", "old").gone_ms;
    bench.clock.advance(HOUR * 1000);
    bench.good_sync().await;
    assert_eq!(gone(), None, "once may be chance");
    bench.clock.advance(HOUR * 1000);
    bench.good_sync().await;
    assert_eq!(gone(), Some((NOW + 2 * HOUR) * 1000));
    bench.clock.advance(HOUR * 1000);
    let count = || bench.points(&[(METRIC_NAME, "sonar_ncloc"), ("branch", "old")]).len();
    assert_eq!(count(), 180);
    bench.server.world().projects.get_mut("a").unwrap().branches.insert("old".to_owned(), old);
    bench.good_sync().await;
    bench.clock.advance(600_000);
    assert_eq!(count(), 191);
    // And the whole project, with an error in between that says nothing.
    let project = bench.server.world().projects.remove("a").unwrap();
    bench.good_sync().await;
    bench.server.world().faults.push_back(Fault::Status(401));
    bench.sync(Scope::default()).await.unwrap_err();
    assert_eq!(gone(), None);
    bench.good_sync().await;
    assert!(gone().is_some() && state::load(&*bench.store, "a", "main").gone_ms.is_some());
    drop(project);
}

#[tokio::test]
async fn gate_changes_and_versions_are_events_at_their_time() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR - 7, &[("alert_status", "ERROR")]);
    let event = ("QUALITY_GATE".to_owned(), "Failed".to_owned());
    let add = |event| {
        let mut world = bench.server.world();
        let branch = world.projects.get_mut("a").unwrap().branches.get_mut("main").unwrap();
        branch.analyses.values_mut().next().unwrap().events.push(event);
    };
    add(event);
    bench.good_sync().await;
    let matchers = [(METRIC_NAME, "sonar_event"), ("category", "QUALITY_GATE"), ("name", "Failed"), ("project", "a")];
    assert_eq!(bench.points(&matchers), [((NOW - HOUR - 7) * 1000, 1.0)]);
    for (status, value) in [("ok", 0.0), ("error", 1.0)] {
        let points = bench.points(&[(METRIC_NAME, "sonar_quality_gate_status"), ("status", status)]);
        assert!(points.len() == 62 && points.iter().all(|(_, stored)| *stored == value), "{points:?}");
    }
    for (family, word) in [
        ("sonar_event", "version"),
        ("sonar_analysis_timestamp_seconds", "newest analysis"),
        ("sonar_quality_gate_status", "gate"),
    ] {
        let help = bench.tools.ingest.metadata().get(family).map(|metadata| metadata.help).unwrap_or_default();
        assert!(help.contains(word), "{family}: {help}");
    }
}

#[tokio::test]
async fn a_full_mailbox_is_waited_for_and_too_large_a_page_is_halved() {
    let bench = Bench::with(20_000);
    for index in 0..900 {
        bench.server.world().analyze("a", "main", NOW - DAY + index * 61, &values(&index.to_string()));
    }
    bench.mailbox.full.store(3, Ordering::SeqCst);
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
    bench.mailbox.full.store(i64::MAX, Ordering::SeqCst);
    bench.server.world().analyze("a", "main", NOW - 60, &values("1"));
    assert!(matches!(bench.sync(Scope::default()).await, Err(SyncError::Mailbox(_))));
}

#[tokio::test]
async fn a_change_of_names_ends_the_old_series_and_begins_the_new_ones() {
    let mut bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("1"));
    bench.good_sync().await;
    bench.config.names = Scheme::SonarqubeExporter;
    bench.clock.advance(HOUR * 1000);
    bench.good_sync().await;
    bench.clock.advance(HOUR * 1000);
    assert_eq!(bench.points(&[(METRIC_NAME, "sonar_ncloc"), ("project", "a")]).len(), 120);
    assert_eq!(bench.points(&[(METRIC_NAME, "sonar_ncloc"), ("key", "a"), ("name", "Name of a")]).len(), 181);
}

#[tokio::test]
async fn analyses_of_the_future_wait_for_their_time() {
    let bench = Bench::new();
    bench.server.world().analyze("a", "main", NOW - HOUR, &values("1"));
    bench.server.world().analyze("a", "main", NOW + DAY, &values("2"));
    bench.good_sync().await;
    assert_eq!(state::load(&*bench.store, "a", "main").newest_s(), None);
    bench.clock.set((NOW + DAY + 60) * 1000);
    bench.good_sync().await;
    bench.assert_equals_source("a", "main");
}

#[derive(Debug, Clone)]
enum Step {
    Analyze(usize, i64, u8, bool),
    Fault(u8),
    Sync,
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..3usize, 0..172_800i64, 0..4u8, prop::bool::weighted(0.15))
            .prop_map(|(branch, ago, value, missing)| Step::Analyze(branch, ago, value, missing)),
        3 => (0..7u8).prop_map(Step::Fault),
        2 => Just(Step::Sync),
        1 => (1..7_200i64).prop_map(Step::Pass),
    ]
}

fn fault(number: u8) -> Fault {
    match number {
        0 => Fault::Throttle(None),
        1 => Fault::Throttle(Some("3".to_owned())),
        2 => Fault::Status(500),
        3 => Fault::Truncated,
        4 => Fault::Html,
        5 => Fault::Status(401),
        _ => Fault::None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_fails_on_the_way_the_history_ends_up_equal_to_its_source(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            let places = [("org:a", "main"), ("org:a", "feature/x"), ("b_c", "main")];
            for step in steps {
                match step {
                    Step::Analyze(place, ago, value, missing) => {
                        let (project, branch) = places[place];
                        let date = bench.clock.now_ms() / 1000 - ago;
                        let mut world = bench.server.world();
                        let newest = world.projects.get(project).and_then(|project| project.branches.get(branch))
                            .and_then(|branch| branch.analyses.last_key_value().map(|(date, _)| *date));
                        // One that comes late always has its values: what the source wipes later is kept here.
                        let missing = missing && newest.is_none_or(|newest| newest < date);
                        let value = value.to_string();
                        let measured: [(&str, &str); 2] = [("ncloc", &value), ("coverage", &value)];
                        world.analyze(project, branch, date, if missing { &[] } else { &measured });
                    }
                    Step::Fault(number) => bench.server.world().faults.push_back(fault(number)),
                    Step::Sync => drop(bench.sync(Scope::default()).await),
                    Step::Pass(seconds) => bench.clock.advance(seconds * 1000),
                }
            }
            bench.server.world().faults.clear();
            // The longest pause that was asked for, and the hour at which each branch is read again as a whole.
            bench.clock.advance(25 * HOUR * 1000);
            bench.good_sync().await;
            for (project, branch) in places {
                if bench.server.world().projects.get(project).is_some_and(|found| found.branches.contains_key(branch)) {
                    bench.assert_equals_source(project, branch);
                }
            }
            let calls = bench.server.world().calls.len();
            assert!(calls < 2_000, "{calls} calls");
        });
    }
}

/// The room as the house has it, over the stand-in.
/// `SONAR_PROJECTS=200` is the full size.
#[tokio::test(flavor = "multi_thread")]
async fn an_organization_is_synced_whole_and_within_its_budget_whatever_fails_on_the_way() {
    let projects: usize = std::env::var("SONAR_PROJECTS").map_or(20, |text| text.parse().unwrap());
    let branches = ["main", "develop", "feature/x"];
    let mut bench = Bench::new();
    let per_hour = 1_000;
    bench.config.calls_per_hour = per_hour;
    bench.budget = Arc::new(Budget::new(Arc::new(bench.clock.clone()), per_hour));
    {
        let mut world = bench.server.world();
        for (number, branch) in (0..projects).flat_map(|number| branches.map(|branch| (number, branch))) {
            for day in 0..30 {
                let date = NOW - day * DAY - (number as i64 * 61) % HOUR;
                world.analyze(&format!("p{number:03}"), branch, date, &values(&(day / 3).to_string()));
            }
        }
        // One call in twenty goes wrong.
        for call in 0..projects * 8 {
            world.faults.push_back(if call % 20 == 7 { fault((call / 20 % 5) as u8) } else { Fault::None });
        }
    }
    let mut syncs = 0;
    loop {
        syncs += 1;
        // A sync that gives up says so, and the next one goes on.
        let summary = bench.sync(Scope::default()).await;
        if summary.as_ref().is_ok_and(|summary| summary.failed == 0) {
            break;
        }
        assert!(syncs < 20, "{summary:?} {:?}", bench.tools.board.problems());
    }
    for (number, branch) in (0..projects).flat_map(|number| branches.map(|branch| (number, branch))) {
        bench.assert_equals_source(&format!("p{number:03}"), branch);
    }
    let (calls, took_ms) = (bench.server.world().calls.len() as i64, bench.clock.now_ms() - NOW * 1000);
    // Half of an hour's calls may come at once, the others as time goes.
    let allowed = (per_hour as i64 + took_ms * per_hour as i64 / 3_600_000) / 2 + 1;
    println!("{projects} projects, {calls} calls in {syncs} syncs and {} minutes", took_ms / 60_000);
    assert!(calls <= allowed, "{calls} calls in {took_ms} ms, {allowed} are allowed");
}

fn room(bench: &Bench) -> (Sonar, Jobs) {
    let jobs = Jobs::open(bench.store.clone(), Arc::new(bench.clock.clone()));
    let parts = Parts {
        ingest: bench.tools.ingest.clone(),
        store: bench.store.clone(),
        jobs: jobs.clone(),
        around: around(&bench.clock, bench.skips.clone()),
        metrics: SonarMetrics::new(&Metrics::new()),
        retention_ms: 30 * DAY * 1000,
    };
    let direct = |handler| -> Arc<dyn Mailbox> {
        Arc::new(Direct {
            handler,
            keeps: AtomicI64::new(0),
            kept: Mutex::default(),
            instead: Mutex::default(),
            full: AtomicI64::new(0),
            messages: AtomicU64::new(0),
            bytes_max: usize::MAX,
        })
    };
    (Sonar::new(parts, direct), jobs)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_is_a_job_that_says_how_far_it_is_and_can_be_asked_for_once() {
    let bench = Bench::new();
    for project in ["a", "b", "c"] {
        bench.server.world().analyze(project, "main", NOW - HOUR, &values("1"));
    }
    let (sonar, jobs) = room(&bench);
    assert!(sonar.start_job(Scope::default()).unwrap_err().to_string().contains("no `sonar:`"));
    sonar.apply(Some(Config { projects: Projects::These(vec!["a".into(), "b".into()]), ..bench.config.clone() }));
    let other = Scope { project: Some("c".to_owned()), ..Scope::default() };
    assert!(sonar.start_job(other).unwrap_err().to_string().contains("`c`"));
    let id = sonar.start_job(Scope::default()).unwrap();
    for _ in 0..500 {
        if jobs.get(id).unwrap().state != JobState::Running {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let job = jobs.get(id).unwrap();
    assert_eq!((job.state, job.message.as_str()), (JobState::Done, "2 projects are up to date"));
    assert_eq!((job.progress.done, job.progress.total), (2, 2));
    let projects = sonar.projects();
    assert_eq!(projects.len(), 2);
    assert_eq!(projects[0].branches[0].stored_ms, Some((NOW - HOUR) * 1000));
    assert_eq!(projects[0].branches[0].gate.as_deref(), Some("OK"));
    let status = sonar.status();
    assert!(status.figures.success_ms.is_some() && status.problems.is_empty() && status.lag_ms == 0, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_webhook_brings_its_project_up_to_date_and_twice_does_no_harm() {
    let bench = Bench::new();
    bench.server.world().analyze("org:a", "main", NOW - HOUR, &values("1"));
    let (sonar, _jobs) = room(&bench);
    let body = br#"{"status":"SUCCESS","project":{"key":"org:a"},"branch":{"name":"main","type":"BRANCH"}}"#;
    assert_eq!(sonar.webhook(body, Some("x")).await, Err(WebhookError::Off));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "Jefe-and-some-more-letters\n").unwrap();
    let interval_ms = 30 * DAY * 1000;
    sonar.apply(Some(Config { webhook_secret_file: Some(file), interval_ms, ..bench.config.clone() }));
    assert_eq!(sonar.webhook(body, None).await, Err(WebhookError::Unsigned));
    assert_eq!(sonar.webhook(body, Some("00")).await, Err(WebhookError::Unsigned));
    let signature = super::webhook::signature(b"Jefe-and-some-more-letters", body);
    for _ in 0..2 {
        assert_eq!(sonar.webhook(body, Some(&signature)).await, Ok(Asked::Project("org:a".to_owned())));
    }
    let stop = tokio_util::sync::CancellationToken::new();
    let started = (sonar.clone(), stop.clone());
    tokio::task::spawn_blocking(move || started.0.start(started.1)).await.unwrap();
    for _ in 0..500 {
        if state::load(&*bench.store, "org:a", "main").newest_s().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    bench.assert_equals_source("org:a", "main");
}

/// The table of `docs/sonar.md` is written from the catalogue.
#[test]
fn the_table_of_metrics_in_the_docs_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sonar.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut table = String::from("\n| Metric | Series | Asked for by default | What |\n| --- | --- | --- | --- |\n");
    for known in super::catalogue::CATALOGUE {
        let metric = super::naming::Metric { key: known.key.to_owned(), kind: known.kind, domain: String::new() };
        let sample = match known.key {
            "ncloc_language_distribution" => "java=1",
            key if key.ends_with("_issues") && known.kind == super::naming::Kind::Data => "{\"HIGH\":1}",
            _ => "1",
        };
        let outputs = super::naming::outputs(Scheme::Base, &metric, sample);
        let mut names: Vec<String> = outputs
            .iter()
            .map(|output| {
                let labels: Vec<&str> = output.labels.iter().map(|(name, _)| *name).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                format!("`{}{labels}`", output.name)
            })
            .collect();
        names.dedup();
        let default = if known.is_default { "yes" } else { "" };
        table.push_str(&format!("| `{}` | {} | {default} | {} |\n", known.key, names.join(", "), known.help));
    }
    let (begin, end) = ("<!-- metrics: written by a test -->\n", "<!-- end -->");
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once(end).unwrap();
    let table = format!("{table}\n");
    if found != table {
        // Where it can be written, the next run passes.
        let _ = std::fs::write(path, format!("{before}{begin}{table}{end}{after}"));
        panic!("docs/sonar.md was not up to date; it is now");
    }
}
