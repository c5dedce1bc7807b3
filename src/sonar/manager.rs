//! The room as others hold it: syncs every so often, as a job where it takes long, and at once after a webhook.

use super::{
    board::{Board, Figures, Found, Problem},
    budget::Budget,
    client::{CallError, Client, Surroundings},
    config::Config,
    metrics::SonarMetrics,
    recorder::Recorder,
    refused::RefusedKeys,
    state::{self, BranchState},
    sync::{Progress, Scope, Summary, SyncError, SyncRun, Tools},
    webhook::{self, Asked},
};
use crate::{
    ingest::Ingest,
    jobs::{JobHandle, JobId, JobState, Jobs, JobsError, Work, WorkError},
    mailbox::{Handler, Mailbox},
    model::Timestamp,
    stdx::{random, secret_file::read_line},
    store::{StateChange, Store, Tree},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Mutex as Turn, Notify, watch},
};
use tokio_util::sync::CancellationToken;

/// What [`Job::kind`](crate::jobs::Job) says.
pub const JOB_KIND: &str = "sonar.sync";
/// Whether a sync has ever come to its end.
const FIRST_KEY: &[u8] = b"sonar!first";
/// After a start, so that the server answers its first requests before.
const FIRST_WAIT_MS: i64 = 1_000;
/// After a failure of the server: it is back in minutes.
const RETRY_MS: i64 = 600_000;
/// The clock is looked at this often: it may be set, or the machine may sleep.
const LOOK_MS: i64 = 30_000;
/// Webhooks of one build come together.
const WEBHOOK_PAUSE: Duration = Duration::from_secs(1);
/// Projects that wait after webhooks; those beyond are found by the next sync.
const WEBHOOKS_WAITING_MAX: usize = 1_000;
/// How often a job says how far it is, and looks whether it shall end.
const TICK: Duration = Duration::from_millis(100);
/// How often a job writes down how far it is.
const CHECKPOINT_TICKS: u32 = 10;

/// What the room is given by its house.
pub struct Parts {
    pub ingest: Ingest,
    pub store: Arc<dyn Store>,
    pub jobs: Jobs,
    pub around: Surroundings,
    pub metrics: SonarMetrics,
    /// What the store keeps.
    pub retention_ms: i64,
}

/// Cheap to clone; every clone is the same room.
#[derive(Clone)]
pub struct Sonar(Arc<Shared>);

struct Shared {
    tools: Tools,
    recorder: Arc<dyn Handler>,
    jobs: Jobs,
    settings: watch::Sender<Option<Arc<Config>>>,
    budget: Mutex<Option<(u64, Arc<Budget>)>>,
    /// One sync of everything at a time.
    turn: Turn<()>,
    number: AtomicU64,
    last_ms: AtomicI64,
    asked_for: Mutex<BTreeSet<String>>,
    webhook: Notify,
    /// Where the syncs of jobs run; set when the room is started.
    runtime: Handle,
}

/// Why a sync is not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no `sonar:` is configured; name its `organization` or `projects` in the config")]
    NotConfigured,
    #[error("`{0}` is not among the projects of `sonar.projects`")]
    NotWanted(String),
    #[error("the sync of job {0} is running; wait for its end, or cancel it")]
    Busy(JobId),
    #[error(transparent)]
    Jobs(#[from] JobsError),
}

/// Why a webhook is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    #[error("webhooks are off; write a secret into a file and name it in `sonar.webhook_secret_file`")]
    Off,
    #[error("the signature is missing or wrong: the secret here and the one of the webhook differ")]
    Unsigned,
    #[error("{0}")]
    Malformed(String),
}

/// What is known of the syncs. The field names are part of the API.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    pub is_configured: bool,
    pub url: String,
    pub organization: Option<String>,
    pub names: &'static str,
    pub interval_ms: i64,
    pub calls_per_hour: u64,
    pub calls_left: u64,
    pub lag_ms: i64,
    #[serde(flatten)]
    pub figures: Figures,
    pub problems: Vec<Problem>,
}

/// A project with what is stored of it. The field names are part of the API.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectStatus {
    pub key: String,
    pub name: String,
    pub synced_ms: Option<Timestamp>,
    pub branches: Vec<BranchStatus>,
}

#[derive(Debug, Clone, Serialize)]
pub struct BranchStatus {
    pub name: String,
    pub is_main: bool,
    /// The newest analysis that the server lists.
    pub analyzed_ms: Option<Timestamp>,
    /// The newest that is stored.
    pub stored_ms: Option<Timestamp>,
    /// Of the quality gate.
    pub gate: Option<String>,
    pub gone_ms: Option<Timestamp>,
}

/// A [`Scope`] at rest.
#[derive(Serialize, Deserialize, Default)]
struct Resume {
    project: Option<String>,
    since_s: Option<i64>,
    after: Option<String>,
}

impl Sonar {
    /// Must be called within a runtime. Nothing runs before [`Sonar::start`]. `mailbox` is given the handler of our
    /// messages and gives back where to put them.
    pub fn new(parts: Parts, mailbox: impl FnOnce(Arc<dyn Handler>) -> Arc<dyn Mailbox>) -> Sonar {
        let stored = Arc::new(Notify::new());
        let recorder = Recorder::new(
            parts.ingest.clone(),
            parts.store.clone(),
            parts.around.clock.clone(),
            parts.retention_ms,
            parts.metrics.clone(),
            stored.clone(),
        );
        let recorder: Arc<dyn Handler> = Arc::new(recorder);
        let tools = Tools {
            mailbox: mailbox(recorder.clone()),
            ingest: parts.ingest,
            store: parts.store,
            board: Arc::new(Board::new(parts.metrics.clone())),
            around: parts.around,
            metrics: parts.metrics,
            stored,
            retention_ms: parts.retention_ms,
        };
        Sonar(Arc::new(Shared {
            last_ms: AtomicI64::new(tools.around.clock.now_ms()),
            tools,
            recorder,
            jobs: parts.jobs,
            settings: watch::Sender::new(None),
            budget: Mutex::default(),
            turn: Turn::default(),
            number: AtomicU64::new(0),
            asked_for: Mutex::default(),
            webhook: Notify::new(),
            runtime: Handle::current(),
        }))
    }

    /// Who takes our messages out of the mailbox.
    pub fn handler(&self) -> Arc<dyn Handler> {
        self.0.recorder.clone()
    }

    /// Runs syncs until `stop`, and takes up those that a restart interrupted. It writes jobs down, so it blocks.
    pub fn start(&self, stop: CancellationToken) {
        let shared = self.0.clone();
        self.0.jobs.register(JOB_KIND, move |resume| {
            let resume: Resume = serde_json::from_slice(&resume).unwrap_or_default();
            work(shared.clone(), Scope { project: resume.project, since_s: resume.since_s, after: resume.after })
        });
        let (shared, stopped) = (self.0.clone(), stop.clone());
        self.0.runtime.spawn(async move { stopped.run_until_cancelled(shared.live()).await });
        let shared = self.0.clone();
        self.0.runtime.spawn(async move { stop.run_until_cancelled(shared.serve_webhooks()).await });
    }

    /// From now on so, or not at all.
    pub fn apply(&self, config: Option<Config>) {
        self.0.settings.send_if_modified(|held| {
            let changed = held.as_deref() != config.as_ref();
            *held = config.map(Arc::new);
            changed
        });
    }

    /// Starts a sync as a job, or gives the one that is running where nothing special is asked for. It writes the job
    /// down, so it blocks.
    pub fn start_job(&self, scope: Scope) -> Result<JobId, StartError> {
        let config = self.0.config().ok_or(StartError::NotConfigured)?;
        if let Some(project) = scope.project.as_ref().filter(|project| !config.projects.take(project)) {
            return Err(StartError::NotWanted(project.clone()));
        }
        self.0.start_job(scope)
    }

    /// Takes a webhook: its raw body, and its signature if it has one. What it asks for is done later.
    pub async fn webhook(&self, body: &[u8], signature: Option<&str>) -> Result<Asked, WebhookError> {
        let taken = self.take_webhook(body, signature).await;
        let result = match &taken {
            Ok(Asked::Project(_)) => "taken",
            Ok(Asked::Nothing(_)) => "ignored",
            Err(WebhookError::Malformed(_)) => "malformed",
            Err(_) => "refused",
        };
        self.0.tools.metrics.webhooks.with_label_values(&[result]).inc();
        taken
    }

    async fn take_webhook(&self, body: &[u8], signature: Option<&str>) -> Result<Asked, WebhookError> {
        let config = self.0.config().ok_or(WebhookError::Off)?;
        let file = config.webhook_secret_file.clone().ok_or(WebhookError::Off)?;
        let read = tokio::task::spawn_blocking(move || read_line(&file)).await;
        let secret = read.ok().and_then(|read| {
            read.inspect_err(|error| tracing::error!("The secret of webhooks cannot be used: {error}")).ok()
        });
        let secret = secret.filter(|secret| secret.len() >= webhook::SECRET_BYTES_MIN).ok_or(WebhookError::Off)?;
        if !signature.is_some_and(|signature| webhook::is_signed(secret.as_bytes(), body, signature)) {
            return Err(WebhookError::Unsigned);
        }
        let asked = webhook::read(body).map_err(WebhookError::Malformed)?;
        let Asked::Project(project) = asked else { return Ok(asked) };
        if !config.projects.take(&project) {
            return Ok(Asked::Nothing("the project is not among those of `sonar.projects`"));
        }
        let mut waiting = self.0.asked_for.lock();
        if waiting.len() >= WEBHOOKS_WAITING_MAX {
            return Ok(Asked::Nothing("too many wait already; the next sync finds it"));
        }
        waiting.insert(project.clone());
        self.0.webhook.notify_one();
        Ok(Asked::Project(project))
    }

    pub fn status(&self) -> Status {
        let shared = &self.0;
        let config = shared.config();
        let set = config.as_deref();
        let left = shared.budget.lock().as_ref().map(|(_, budget)| budget.left());
        Status {
            is_configured: set.is_some(),
            url: set.map_or_else(String::new, |config| config.url.clone()),
            organization: set.and_then(|config| config.organization.clone()),
            names: set.map_or("", |config| config.names.as_str()),
            interval_ms: set.map_or(0, |config| config.interval_ms),
            calls_per_hour: set.map_or(0, |config| config.calls_per_hour),
            calls_left: left.or_else(|| Some(set?.calls_per_hour / 2)).unwrap_or(0),
            lag_ms: shared.lag_ms(),
            figures: shared.tools.board.figures(),
            problems: shared.tools.board.problems(),
        }
    }

    /// By key; those of which only history is left included.
    pub fn projects(&self) -> Vec<ProjectStatus> {
        let mut found = self.0.tools.board.projects();
        let mut stored: std::collections::BTreeMap<(String, String), BranchState> = std::collections::BTreeMap::new();
        for (project, branch, state) in state::load_all(&*self.0.tools.store) {
            found.entry(project.clone()).or_default();
            stored.insert((project, branch), state);
        }
        let of_project = |(key, found): (String, Found)| {
            let mut branches: Vec<BranchStatus> = found
                .branches
                .iter()
                .map(|branch| {
                    let state = stored.get(&(key.clone(), branch.name.clone()));
                    let analyzed_ms = branch.analyzed_s.map(|date| date.saturating_mul(1000));
                    branch_status(&branch.name, branch.is_main, analyzed_ms, state)
                })
                .collect();
            let of_key = stored.range((key.clone(), String::new())..).take_while(|((other, _), _)| *other == key);
            for ((_, name), state) in of_key {
                if !found.branches.iter().any(|branch| branch.name == *name) {
                    branches.push(branch_status(name, false, None, Some(state)));
                }
            }
            ProjectStatus { name: found.name, synced_ms: found.synced_ms, branches, key: key.clone() }
        };
        found.into_iter().map(of_project).collect()
    }
}

fn branch_status(
    name: &str,
    is_main: bool,
    analyzed_ms: Option<Timestamp>,
    state: Option<&BranchState>,
) -> BranchStatus {
    let gate = state.and_then(|state| state.find("alert_status")).and_then(|held| held.value.clone());
    BranchStatus {
        name: name.to_owned(),
        is_main,
        analyzed_ms,
        stored_ms: state.and_then(BranchState::newest_s).map(|date| date.saturating_mul(1000)),
        gate,
        gone_ms: state.and_then(|state| state.gone_ms),
    }
}

impl Shared {
    fn config(&self) -> Option<Arc<Config>> {
        self.settings.borrow().clone()
    }

    fn now_ms(&self) -> i64 {
        self.tools.around.clock.now_ms()
    }

    fn lag_ms(&self) -> i64 {
        let lag_ms = self.tools.board.lag_ms(self.now_ms());
        self.tools.metrics.lag_seconds.set(lag_ms / 1000);
        lag_ms
    }

    /// The budget of these settings, over reloads that do not change it.
    fn budget(&self, calls_per_hour: u64) -> Arc<Budget> {
        let mut held = self.budget.lock();
        match &*held {
            Some((of, budget)) if *of == calls_per_hour => budget.clone(),
            _ => {
                let budget = Arc::new(Budget::new(self.tools.around.clock.clone(), calls_per_hour));
                *held = Some((calls_per_hour, budget.clone()));
                budget
            }
        }
    }

    /// Syncs whenever it is time.
    async fn live(self: Arc<Shared>) {
        let mut settings = self.settings.subscribe();
        let mut due_ms = 0;
        let mut changed = true;
        loop {
            let config = settings.borrow_and_update().clone();
            let now_ms = self.now_ms();
            if std::mem::take(&mut changed) {
                due_ms = now_ms.saturating_add(FIRST_WAIT_MS);
            }
            if config.is_some() && now_ms >= due_ms {
                due_ms = self.tick().await;
                self.tools.board.change(|figures| figures.next_ms = Some(due_ms));
                continue;
            }
            let wait_ms = if config.is_some() { due_ms.saturating_sub(now_ms).clamp(1, LOOK_MS) } else { LOOK_MS };
            tokio::select! {
                told = settings.changed() => match told {
                    Ok(()) => changed = true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())) => {
                    self.lag_ms();
                }
            }
        }
    }

    /// One sync by the clock; gives the moment of the next.
    async fn tick(self: &Arc<Shared>) -> Timestamp {
        let Some(config) = self.config() else { return self.now_ms() };
        let began_ms = self.now_ms();
        let is_fine = match self.tools.store.state(Tree::Cursors, FIRST_KEY).is_some() {
            true => self.sync(&Scope::default(), Arc::new(|_, _, _| {})).await.is_ok(),
            false => self.first_sync().await,
        };
        // So that many who were started together do not ask together: up to a twentieth.
        let spread = (random::number() % (config.interval_ms.unsigned_abs() / 20).max(1)) as i64;
        match is_fine {
            true => began_ms.saturating_add(config.interval_ms).saturating_add(spread),
            false => self.now_ms().saturating_add(config.interval_ms.min(RETRY_MS)).saturating_add(spread),
        }
    }

    /// The first one takes long, so that it is a job; waits for its end.
    async fn first_sync(self: &Arc<Shared>) -> bool {
        let shared = self.clone();
        let mut events = self.jobs.subscribe();
        let started = tokio::task::spawn_blocking(move || shared.start_job(Scope::default())).await;
        let (id, is_ours) = match started {
            Ok(Ok(id)) => (id, true),
            // Of one project, say: after it, it is our turn.
            Ok(Err(StartError::Busy(id))) => (id, false),
            Ok(Err(error)) => {
                tracing::error!("The first sync of SonarQube cannot be started: {error}");
                return false;
            }
            Err(_) => return false,
        };
        loop {
            match self.jobs.get(id) {
                Some(job) if job.state == JobState::Running => {}
                job => return is_ours && job.is_some_and(|job| job.state == JobState::Done),
            }
            // Events may be missed: the list says how it is.
            let _ = tokio::time::timeout(Duration::from_secs(5), events.recv()).await;
        }
    }

    fn start_job(self: &Arc<Shared>, scope: Scope) -> Result<JobId, StartError> {
        let running = self.jobs.list().into_iter().find(|job| job.kind == JOB_KIND && job.state == JobState::Running);
        match running {
            Some(job) if scope == Scope::default() => return Ok(job.id),
            Some(job) => return Err(StartError::Busy(job.id)),
            None => {}
        }
        let title = match &scope.project {
            Some(project) => format!("Sync of {project} from SonarQube"),
            None => "Sync from SonarQube".to_owned(),
        };
        let resume = resume_of(&scope, None);
        Ok(self.jobs.start(JOB_KIND, &title, resume, work(self.clone(), scope))?)
    }

    /// One after the other, what webhooks ask for; beside a sync that may be running.
    async fn serve_webhooks(self: Arc<Shared>) {
        loop {
            self.webhook.notified().await;
            tokio::time::sleep(WEBHOOK_PAUSE).await;
            loop {
                let Some(project) = self.asked_for.lock().pop_first() else { break };
                let scope = Scope { project: Some(project), ..Scope::default() };
                // What failed is on the board, and the next sync finds what was missed.
                let _ = self.one_sync(&scope, Arc::new(|_, _, _| {})).await;
            }
        }
    }

    /// Syncs, when no other sync does.
    async fn sync(&self, scope: &Scope, progress: Progress) -> Result<Summary, SyncError> {
        let _turn = self.turn.lock().await;
        let began_ms = self.now_ms();
        self.tools.board.change(|figures| (figures.is_running, figures.started_ms) = (true, Some(began_ms)));
        let ended = Ended(&self.tools.board);
        let result = self.one_sync(scope, progress).await;
        drop(ended);
        let now_ms = self.now_ms();
        let is_whole = scope.project.is_none();
        self.tools.board.change(|figures| {
            figures.ended_ms = Some(now_ms);
            if is_whole && result.as_ref().is_ok_and(|summary| summary.failed == 0) {
                figures.success_ms = Some(now_ms);
                self.tools.metrics.last_success_seconds.set(now_ms.div_euclid(1000));
            }
        });
        if is_whole && result.is_ok() {
            self.last_ms.store(began_ms, Ordering::Relaxed);
            self.note_first().await;
        }
        self.lag_ms();
        result
    }

    async fn note_first(&self) {
        if self.tools.store.state(Tree::Cursors, FIRST_KEY).is_none() {
            let change = StateChange { tree: Tree::Cursors, key: FIRST_KEY.to_vec(), value: Some(b"1".to_vec()) };
            // Otherwise the next one is a job as well.
            let _ = self.tools.ingest.record_history(&[], &[change]).await;
        }
    }

    async fn one_sync(&self, scope: &Scope, progress: Progress) -> Result<Summary, SyncError> {
        let Some(config) = self.config() else { return Ok(Summary::default()) };
        let tools = self.tools.clone();
        let (settings, budget) = (config.clone(), self.budget(config.calls_per_hour));
        let made = tokio::task::spawn_blocking(move || Client::new(&settings, budget, tools.around, tools.metrics));
        let made = made.await.unwrap_or_else(|cause| Err(CallError::Unreachable(cause.to_string())));
        let result = match made {
            Err(error) => Err(error.into()),
            Ok(client) => {
                let sync = SyncRun {
                    tools: self.tools.clone(),
                    client,
                    config,
                    scope: scope.clone(),
                    number: self.number.fetch_add(1, Ordering::Relaxed) + 1,
                    last_ms: self.last_ms.load(Ordering::Relaxed),
                    refused: RefusedKeys::load(&*self.tools.store),
                    metrics: Vec::new(),
                    is_stalled: AtomicBool::new(false),
                };
                sync.run(progress).await
            }
        };
        match &result {
            Ok(_) => self.tools.board.solved("", ""),
            Err(error) => {
                self.tools.metrics.errors.with_label_values(&[error.kind()]).inc();
                self.tools.board.problem(Problem {
                    project: String::new(),
                    branch: String::new(),
                    message: error.to_string(),
                    at_ms: self.now_ms(),
                });
            }
        }
        result
    }
}

/// Says that no sync runs, also when one was dropped on its way.
struct Ended<'a>(&'a Board);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.change(|figures| figures.is_running = false);
    }
}

fn resume_of(scope: &Scope, after: Option<String>) -> Vec<u8> {
    let after = after.or_else(|| scope.after.clone());
    let resume = Resume { project: scope.project.clone(), since_s: scope.since_s, after };
    // Texts and numbers, which always have a JSON form.
    serde_json::to_vec(&resume).unwrap_or_default()
}

/// A sync as the work of a job.
fn work(shared: Arc<Shared>, scope: Scope) -> Work {
    Box::new(move |handle| {
        let told = Arc::new(Mutex::new((0, 0, None::<String>)));
        let teller = told.clone();
        let progress: Progress = Arc::new(move |done, total, last| {
            *teller.lock() = (done as u64, total as u64, last.map(str::to_owned));
        });
        let result = shared.runtime.block_on(async {
            let sync = shared.sync(&scope, progress);
            tokio::pin!(sync);
            let mut ticks = 0u32;
            let mut written = scope.after.clone();
            loop {
                tokio::select! {
                    result = &mut sync => return Ok(result),
                    () = tokio::time::sleep(TICK) => {}
                }
                let (done, total, last) = told.lock().clone();
                handle.progress(done, total, "projects");
                if handle.is_cancelled() {
                    // What is stored stays, and the next sync goes on.
                    return Ok(Ok(Summary::default()));
                }
                ticks += 1;
                if ticks.is_multiple_of(CHECKPOINT_TICKS) && last != written {
                    tokio::task::block_in_place(|| handle.checkpoint(&resume_of(&scope, last.clone())))?;
                    written = last;
                }
            }
        });
        finish(handle, &told.lock(), result)
    })
}

fn finish(
    handle: &JobHandle,
    (done, total, _): &(u64, u64, Option<String>),
    result: Result<Result<Summary, SyncError>, crate::store::StoreError>,
) -> Result<(), WorkError> {
    handle.progress(*done, *total, "projects");
    let summary = result??;
    if handle.is_cancelled() {
        return Ok(());
    }
    handle.message(match summary.failed {
        0 if summary.projects == 1 => "1 project is up to date".to_owned(),
        0 => format!("{} projects are up to date", summary.projects),
        failed => {
            format!("{} projects, of which {failed} could not be synced whole; see their problems", summary.projects)
        }
    });
    Ok(())
}
