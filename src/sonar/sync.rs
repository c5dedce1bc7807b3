//! One sync: which projects and branches there are, and for each what is new, page by page through the mailbox.

use super::{
    answers::{self, Branch, Project},
    board::{Board, Found, Problem},
    client::{CallError, Client, Surroundings},
    config::{Config, Projects},
    metrics::SonarMetrics,
    naming::{Metric, Scheme},
    refused::RefusedKeys,
    state,
};
use crate::{ingest::Ingest, mailbox::Mailbox, store::Store};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, atomic::AtomicBool},
};
use tokio::{sync::Notify, task::JoinSet};

/// Projects at once. Calls are counted by the client; this bounds the pages in memory.
const PROJECTS_AT_ONCE: usize = 4;
/// So many projects in a row that could not be asked about mean that the server is away.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// What a sync is to cover.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// One project, or all of the config.
    pub project: Option<String>,
    /// History from there on is read again; seconds.
    pub since_s: Option<i64>,
    /// Projects up to this key are done already.
    pub after: Option<String>,
}

/// Why a sync did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("a page cannot be put into the mailbox: {0}")]
    Mailbox(String),
    #[error(
        "a page waits in the mailbox and is not stored; the next sync reads it again, and `observatory mailbox` says what \
         keeps it"
    )]
    NotStored,
    #[error("{0}")]
    Store(String),
}

impl SyncError {
    pub fn kind(&self) -> &'static str {
        match self {
            SyncError::Call(error) => error.kind(),
            SyncError::Mailbox(_) => "mailbox",
            SyncError::NotStored => "not_stored",
            SyncError::Store(_) => "store",
        }
    }

    /// Whether there is no use in asking about anything else.
    fn is_of_all(&self) -> bool {
        match self {
            SyncError::Call(error) => error.is_of_all(),
            SyncError::Mailbox(_) | SyncError::Store(_) => true,
            SyncError::NotStored => false,
        }
    }

    fn is_of_the_server(&self) -> bool {
        matches!(self, SyncError::Call(error) if error.is_transient())
    }
}

/// What a sync did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    pub projects: usize,
    /// Of which something was left out.
    pub failed: usize,
}

/// What syncs work with, whatever they cover.
#[derive(Clone)]
pub struct Tools {
    pub ingest: Ingest,
    pub store: Arc<dyn Store>,
    pub mailbox: Arc<dyn Mailbox>,
    pub around: Surroundings,
    pub metrics: SonarMetrics,
    pub board: Arc<Board>,
    /// Told by the recorder.
    pub stored: Arc<Notify>,
    /// What the store keeps.
    pub retention_ms: i64,
}

/// Told after each project: projects done, projects in all, and the key up to which all are done.
pub type Progress = Arc<dyn Fn(usize, usize, Option<&str>) + Send + Sync>;

/// One sync.
pub struct SyncRun {
    pub tools: Tools,
    pub client: Client,
    pub config: Arc<Config>,
    pub scope: Scope,
    /// Tells syncs apart: something is gone when two of them did not find it.
    pub number: u64,
    /// When the sync before this began.
    pub last_ms: i64,
    pub refused: RefusedKeys,
    /// What the server knows of the metrics that are asked for.
    pub metrics: Vec<Metric>,
    /// Whether the last page was left in the mailbox.
    pub is_stalled: AtomicBool,
}

/// Progress through the projects, shared by those who work on them.
struct Queue {
    waiting: VecDeque<Project>,
    /// Keys that are being worked on.
    working: BTreeSet<String>,
    done: usize,
    failed: usize,
    failures_in_a_row: u32,
    /// The last key of which it and all before it are done.
    last: Option<String>,
    fatal: Option<SyncError>,
}

impl SyncRun {
    /// Runs to its end. Dropping it on the way loses nothing: what was stored is.
    pub async fn run(mut self, progress: Progress) -> Result<Summary, SyncError> {
        self.learn_metrics().await?;
        let mut projects = self.projects().await?;
        projects.sort_by(|a, b| a.key.cmp(&b.key));
        let total = projects.len();
        let after = self.scope.after.clone();
        projects.retain(|project| after.as_ref().is_none_or(|after| project.key > *after));
        let queue = Queue {
            done: total - projects.len(),
            waiting: projects.into(),
            working: BTreeSet::new(),
            failed: 0,
            failures_in_a_row: 0,
            last: after,
            fatal: None,
        };
        progress(queue.done, total, queue.last.as_deref());
        let (queue, sync) = (Arc::new(Mutex::new(queue)), Arc::new(self));
        let mut workers = JoinSet::new();
        for _ in 0..PROJECTS_AT_ONCE {
            let (queue, sync, progress) = (queue.clone(), sync.clone(), progress.clone());
            workers.spawn(async move { sync.work(&queue, total, &progress).await });
        }
        while let Some(ended) = workers.join_next().await {
            if let Err(cause) = ended {
                return Err(SyncError::Store(format!("the sync ended early: {cause}")));
            }
        }
        let queue = queue.lock();
        match &queue.fatal {
            Some(error) => Err(error.clone()),
            None => Ok(Summary { projects: total, failed: queue.failed }),
        }
    }

    /// Takes projects until there are none.
    async fn work(&self, queue: &Mutex<Queue>, total: usize, progress: &Progress) {
        loop {
            let project = {
                let mut queue = queue.lock();
                if queue.fatal.is_some() {
                    return;
                }
                let Some(project) = queue.waiting.pop_front() else { return };
                queue.working.insert(project.key.clone());
                project
            };
            let result = self.project(&project).await;
            let key = project.key;
            let (done, last) = {
                let mut queue = queue.lock();
                queue.ended(&key, result.as_ref().err());
                (queue.done, queue.last.clone())
            };
            match result {
                Ok(()) => self.tools.board.solved(&key, ""),
                Err(error) => self.problem(&key, "", &error),
            }
            progress(done, total, last.as_deref());
        }
    }

    /// Writes a problem down.
    pub fn problem(&self, project: &str, branch: &str, error: &SyncError) {
        self.tools.metrics.errors.with_label_values(&[error.kind()]).inc();
        self.tools.board.problem(Problem {
            project: project.to_owned(),
            branch: branch.to_owned(),
            message: error.to_string(),
            at_ms: self.tools.around.clock.now_ms(),
        });
    }

    /// What the server knows of the keys that the config names. An unknown key would fail a whole call.
    async fn learn_metrics(&mut self) -> Result<(), SyncError> {
        let known = answers::metrics(&self.client).await?;
        let wanted = self.config.metrics.iter();
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for key in wanted {
            match known.iter().find(|metric| metric.key == *key) {
                Some(metric) => found.push(metric.clone()),
                None => missing.push(key.as_str()),
            }
        }
        if !missing.is_empty() {
            tracing::debug!("The server does not know these metrics: {}.", missing.join(", "));
        }
        if found.is_empty() {
            let message = format!("it knows none of the metrics of `sonar.metrics`: {}", missing.join(", "));
            return Err(CallError::Malformed(message).into());
        }
        self.metrics = found;
        Ok(())
    }

    /// The projects to sync. What is stored of others ends.
    async fn projects(&self) -> Result<Vec<Project>, SyncError> {
        if let Some(key) = &self.scope.project {
            let known = self.tools.board.projects().get(key).map(|found| found.name.clone());
            return Ok(vec![match known.filter(|name| !name.is_empty()) {
                Some(name) => Project { key: key.clone(), name },
                None => self.named(key).await?,
            }]);
        }
        let (projects, is_cut) = match &self.config.projects {
            Projects::All => answers::projects(&self.client, self.config.organization.as_deref()).await?,
            Projects::These(keys) => {
                let mut projects = Vec::new();
                for key in keys {
                    projects.push(self.named(key).await?);
                }
                (projects, false)
            }
        };
        if is_cut {
            let error = CallError::BadRequest(
                "a search shows 10,000 projects and there are more; name those you want in `sonar.projects`".to_owned(),
            );
            self.problem("", "", &error.into());
        }
        let stored: BTreeSet<String> =
            state::load_all(&*self.tools.store).into_iter().map(|(project, _, _)| project).collect();
        for key in stored.iter().filter(|key| !projects.iter().any(|project| project.key == **key)) {
            let is_wanted = self.config.projects.take(key);
            if !is_wanted || (!is_cut && self.tools.board.is_gone(key, self.number)) {
                self.end_project(key).await?;
            }
        }
        Ok(projects)
    }

    /// A project of which only the key is known; its name is asked for where it is a label.
    async fn named(&self, key: &str) -> Result<Project, SyncError> {
        if self.config.names != Scheme::SonarqubeExporter {
            return Ok(Project { key: key.to_owned(), name: key.to_owned() });
        }
        match answers::project(&self.client, key).await {
            Err(CallError::NotFound(_) | CallError::Forbidden(_)) => {
                Ok(Project { key: key.to_owned(), name: key.to_owned() })
            }
            answer => Ok(answer?),
        }
    }

    async fn project(&self, project: &Project) -> Result<(), SyncError> {
        let key = project.key.as_str();
        let board = &self.tools.board;
        let listed = match answers::branches(&self.client, key).await {
            Err(CallError::NotFound(said)) => {
                if board.is_gone(key, self.number) {
                    self.end_project(key).await?;
                }
                return Err(CallError::NotFound(said).into());
            }
            listed => listed?,
        };
        board.is_there(key);
        let is_wanted =
            |branch: &&Branch| branch.analyzed_s.is_some() && self.config.branches.take(&branch.name, branch.is_main);
        let wanted: Vec<Branch> = listed.iter().filter(is_wanted).cloned().collect();
        let found = Found { name: project.name.clone(), branches: wanted.clone(), synced_ms: None };
        board.found(key, found.clone());
        let mut failed = None;
        for branch in &wanted {
            board.is_there(&format!("{key}\0{}", branch.name));
            match self.branch(project, branch).await {
                Ok(()) => board.solved(key, &branch.name),
                // The others would meet the same.
                Err(error) if error.is_of_all() || error.is_of_the_server() => return Err(error),
                Err(error) => {
                    self.problem(key, &branch.name, &error);
                    failed = Some(error);
                }
            }
        }
        self.end_branches(key, &wanted, &listed).await?;
        let synced_ms = Some(self.tools.around.clock.now_ms());
        board.found(key, Found { synced_ms, ..found });
        failed.map_or(Ok(()), Err)
    }

    /// Ends what is stored of branches that are not there, or not wanted any more.
    async fn end_branches(&self, project: &str, wanted: &[Branch], listed: &[Branch]) -> Result<(), SyncError> {
        for (branch, state) in state::load_project(&*self.tools.store, project) {
            let is_wanted = wanted.iter().any(|other| other.name == branch);
            if is_wanted || state.gone_ms.is_some() {
                continue;
            }
            let is_there = listed.iter().any(|other| other.name == branch);
            if is_there || self.tools.board.is_gone(&format!("{project}\0{branch}"), self.number) {
                self.end_branch(project, &branch, &state).await?;
            }
        }
        Ok(())
    }

    async fn end_project(&self, project: &str) -> Result<(), SyncError> {
        for (branch, state) in state::load_project(&*self.tools.store, project) {
            if state.gone_ms.is_none() {
                self.end_branch(project, &branch, &state).await?;
            }
        }
        self.tools.board.lost(project);
        Ok(())
    }
}

impl Queue {
    /// One is done, well or not.
    fn ended(&mut self, key: &str, error: Option<&SyncError>) {
        self.working.remove(key);
        self.done += 1;
        match error {
            None => self.failures_in_a_row = 0,
            Some(error) => {
                self.failed += 1;
                self.failures_in_a_row = if error.is_of_the_server() { self.failures_in_a_row + 1 } else { 0 };
                if error.is_of_all() || self.failures_in_a_row >= FAILURES_IN_A_ROW_MAX {
                    self.fatal = Some(error.clone());
                }
            }
        }
        // Those that wait come after those that are worked on, and what was left out is found by the next sync.
        if self.working.first().is_none_or(|first| first.as_str() > key) {
            self.last = Some(self.last.take().map_or(key.to_owned(), |last| last.max(key.to_owned())));
        }
    }
}
