//! What is known of the syncs since the start, for people and for the metrics.

use super::{answers::Branch, metrics::SonarMetrics};
use crate::model::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Problems that are shown; the log has all of them.
const PROBLEMS_MAX: usize = 100;
/// How many syncs in a row something has to be absent from before it counts as gone: a listing that shifts while it is
/// read may leave one out.
const ABSENCES_MIN: u32 = 2;

/// What kept something from being synced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Empty where it is about all of them.
    pub project: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    pub message: String,
    pub at_ms: Timestamp,
}

/// Times and figures of the syncs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub is_running: bool,
    pub started_ms: Option<Timestamp>,
    pub ended_ms: Option<Timestamp>,
    /// When the last one ended that left nothing out.
    pub success_ms: Option<Timestamp>,
    pub next_ms: Option<Timestamp>,
    pub projects: usize,
    pub branches: usize,
}

/// A project as it was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub name: String,
    pub branches: Vec<Branch>,
    pub synced_ms: Option<Timestamp>,
}

/// Shared by syncs and those who look.
pub struct Board {
    metrics: SonarMetrics,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    figures: Figures,
    problems: VecDeque<Problem>,
    projects: BTreeMap<String, Found>,
    /// By project, or project and branch: absences in a row, and in which sync the last one was.
    absent: HashMap<String, (u32, u64)>,
    /// Dates of analyses that are there and not stored, by project and branch.
    waiting: HashMap<(String, String), i64>,
}

impl Board {
    pub fn new(metrics: SonarMetrics) -> Board {
        Board { metrics, inner: Mutex::default() }
    }

    pub fn figures(&self) -> Figures {
        let inner = self.inner.lock();
        let branches = inner.projects.values().map(|found| found.branches.len()).sum();
        Figures { projects: inner.projects.len(), branches, ..inner.figures.clone() }
    }

    pub fn change(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.inner.lock().figures);
    }

    /// Newest first.
    pub fn problems(&self) -> Vec<Problem> {
        self.inner.lock().problems.iter().rev().cloned().collect()
    }

    /// A problem of the same project and branch goes.
    pub fn problem(&self, problem: Problem) {
        tracing::warn!(
            project = problem.project,
            branch = problem.branch,
            "The sync of SonarQube has a problem: {}",
            problem.message
        );
        let mut inner = self.inner.lock();
        inner.problems.retain(|other| (&other.project, &other.branch) != (&problem.project, &problem.branch));
        inner.problems.push_back(problem);
        if inner.problems.len() > PROBLEMS_MAX {
            inner.problems.pop_front();
        }
    }

    /// What was wrong with a branch, a project or with all of them is no more.
    pub fn solved(&self, project: &str, branch: &str) {
        self.inner.lock().problems.retain(|other| (other.project.as_str(), other.branch.as_str()) != (project, branch));
    }

    /// By key.
    pub fn projects(&self) -> BTreeMap<String, Found> {
        self.inner.lock().projects.clone()
    }

    pub fn found(&self, project: &str, found: Found) {
        let mut inner = self.inner.lock();
        inner.projects.insert(project.to_owned(), found);
        self.count(&inner);
    }

    pub fn lost(&self, project: &str) {
        let mut inner = self.inner.lock();
        inner.projects.remove(project);
        inner.waiting.retain(|(other, _), _| other != project);
        inner.problems.retain(|other| other.project != project);
        self.count(&inner);
    }

    fn count(&self, inner: &Inner) {
        self.metrics.projects.set(inner.projects.len() as i64);
        self.metrics.branches.set(inner.projects.values().map(|found| found.branches.len() as i64).sum());
    }

    /// Counts an absence in sync number `sync`; true where it is gone.
    pub fn is_gone(&self, what: &str, sync: u64) -> bool {
        let mut inner = self.inner.lock();
        let (count, last) = inner.absent.entry(what.to_owned()).or_default();
        if *count == 0 || *last != sync {
            (*count, *last) = (*count + 1, sync);
        }
        *count >= ABSENCES_MIN
    }

    /// It is there.
    pub fn is_there(&self, what: &str) {
        self.inner.lock().absent.remove(what);
    }

    /// An analysis is there, and stored or not.
    pub fn analysis(&self, project: &str, branch: &str, analyzed_s: Option<i64>, stored_s: Option<i64>) {
        let key = (project.to_owned(), branch.to_owned());
        let mut inner = self.inner.lock();
        match analyzed_s.filter(|date| stored_s.is_none_or(|stored| stored < *date)) {
            Some(date) => inner.waiting.insert(key, date),
            None => inner.waiting.remove(&key),
        };
    }

    /// Milliseconds since the oldest analysis that is not stored was made.
    pub fn lag_ms(&self, now_ms: Timestamp) -> i64 {
        let oldest = self.inner.lock().waiting.values().min().copied();
        oldest.map_or(0, |date| now_ms.saturating_sub(date.saturating_mul(1000)).max(0))
    }
}
