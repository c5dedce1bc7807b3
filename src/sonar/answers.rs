//! The calls of the room and what they answer, as much of it as we read.

use super::{
    catalogue,
    client::{CallError, Client},
    date,
    naming::{Kind, Metric},
    page::Event,
};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};

/// The most that listings give at once.
const LIST_SIZE: u64 = 500;
/// What a search refuses to go beyond.
const SEARCH_WINDOW: u64 = 10_000;
/// Pages of a listing: a server with more metrics or analyses of one page than this is none.
const LIST_PAGES_MAX: u64 = 100;
/// The most that the history gives at once.
pub const HISTORY_SIZE: u64 = 1_000;

/// A project as listed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Project {
    pub key: String,
    #[serde(default)]
    pub name: String,
}

/// A branch as listed, with the date of its newest analysis in seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    pub name: String,
    pub is_main: bool,
    pub analyzed_s: Option<i64>,
}

/// One page of a history. Columns belong to the metrics that were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HistoryPage {
    /// Rising, each once; seconds.
    pub dates: Vec<i64>,
    /// By metric; one that was not answered for is missing.
    pub columns: BTreeMap<String, Vec<Option<String>>>,
    /// Whether analyses follow.
    pub has_more: bool,
}

#[derive(Deserialize, Default)]
struct Paging {
    #[serde(rename = "pageIndex", default)]
    index: u64,
    #[serde(rename = "pageSize", default)]
    size: u64,
    #[serde(default)]
    total: u64,
}

impl Paging {
    fn has_more(&self) -> bool {
        self.index.saturating_mul(self.size) < self.total
    }
}

/// What of a project a call is about; the main branch is asked for without its name, which every edition knows.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub project: &'a str,
    pub branch: Option<&'a str>,
}

impl<'a> Place<'a> {
    fn query(self, name: &'static str, rest: &[(&'static str, &'a str)]) -> Vec<(&'static str, &'a str)> {
        let branch = self.branch.map(|branch| ("branch", branch));
        [(name, self.project)].into_iter().chain(branch).chain(rest.iter().copied()).collect()
    }
}

/// All projects that the token sees, and whether there are more than a search shows.
pub async fn projects(client: &Client, organization: Option<&str>) -> Result<(Vec<Project>, bool), CallError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        paging: Paging,
        components: Vec<Project>,
    }
    let mut found: Vec<Project> = Vec::new();
    let mut seen = HashSet::new();
    let size = LIST_SIZE.to_string();
    for page in 1..=SEARCH_WINDOW / LIST_SIZE {
        let number = page.to_string();
        let whose = organization.map_or(("qualifiers", "TRK"), |organization| ("organization", organization));
        let answer: Answer = client.get("components/search", &[whose, ("ps", &size), ("p", &number)]).await?;
        let is_last = !answer.paging.has_more() || answer.components.is_empty();
        found.extend(answer.components.into_iter().filter(|project| seen.insert(project.key.clone())));
        if is_last {
            return Ok((found, false));
        }
    }
    Ok((found, true))
}

/// One project by its key.
pub async fn project(client: &Client, key: &str) -> Result<Project, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        component: Project,
    }
    let answer: Answer = client.get("components/show", &[("component", key)]).await?;
    Ok(answer.component)
}

/// All branches of a project that were ever analysed.
pub async fn branches(client: &Client, project: &str) -> Result<Vec<Branch>, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        branches: Vec<Item>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Item {
        name: String,
        #[serde(default)]
        is_main: bool,
        analysis_date: Option<String>,
    }
    let answer: Answer = client.get("project_branches/list", &[("project", project)]).await?;
    let branch = |item: Item| Branch {
        name: item.name,
        is_main: item.is_main,
        analyzed_s: item.analysis_date.as_deref().and_then(date::parse),
    };
    Ok(answer.branches.into_iter().map(branch).collect())
}

/// All metrics the server knows.
pub async fn metrics(client: &Client) -> Result<Vec<Metric>, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        metrics: Vec<Item>,
        // Flat here, and not a `paging`.
        #[serde(default)]
        total: u64,
        #[serde(default)]
        p: u64,
        #[serde(default)]
        ps: u64,
    }
    #[derive(Deserialize)]
    struct Item {
        key: String,
        #[serde(rename = "type", default)]
        kind: String,
        #[serde(default)]
        domain: String,
    }
    let mut found = Vec::new();
    for page in 1..=LIST_PAGES_MAX {
        let (number, size) = (page.to_string(), LIST_SIZE.to_string());
        let answer: Answer = client.get("metrics/search", &[("ps", &size), ("p", &number)]).await?;
        let is_last = answer.p.saturating_mul(answer.ps) >= answer.total || answer.metrics.is_empty();
        let metric = |item: Item| {
            // A server that does not say what a metric is may still mean the one that everybody knows.
            let known = catalogue::find(&item.key).filter(|_| item.kind.is_empty());
            let kind = known.map_or_else(|| Kind::of(&item.kind), |known| known.kind);
            Metric { key: item.key, kind, domain: item.domain }
        };
        found.extend(answer.metrics.into_iter().map(metric));
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// One page of the history of `keys` from a moment on.
pub async fn history(
    client: &Client,
    place: Place<'_>,
    keys: &[&str],
    from_s: i64,
    (page, size): (u64, u64),
) -> Result<HistoryPage, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        paging: Paging,
        measures: Vec<Measure>,
    }
    #[derive(Deserialize)]
    struct Measure {
        metric: String,
        #[serde(default)]
        history: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        date: String,
        value: Option<String>,
    }
    let (joined, from) = (keys.join(","), date::print(from_s));
    let (page, size) = (page.to_string(), size.to_string());
    let query = place.query("component", &[("metrics", &joined), ("from", &from), ("ps", &size), ("p", &page)]);
    let answer: Answer = client.get("measures/search_history", &query).await?;
    let has_more = answer.paging.has_more();
    let mut columns: BTreeMap<String, BTreeMap<i64, Option<String>>> = BTreeMap::new();
    for measure in answer.measures {
        let mut column = BTreeMap::new();
        for entry in measure.history {
            let date =
                date::parse(&entry.date).ok_or_else(|| CallError::Malformed(format!("`{}` is no date", entry.date)))?;
            // Of two analyses in one second the later one counts.
            column.insert(date, entry.value);
        }
        columns.insert(measure.metric, column);
    }
    restore_alias(&mut columns, keys);
    columns.retain(|key, _| keys.contains(&key.as_str()));
    let mut dates: Vec<i64> = columns.values().flat_map(|column| column.keys().copied()).collect();
    dates.sort_unstable();
    dates.dedup();
    let of_all = |mut column: BTreeMap<i64, Option<String>>| {
        dates.iter().map(|date| column.remove(date).flatten()).collect::<Vec<_>>()
    };
    let columns = columns.into_iter().map(|(key, column)| (key, of_all(column))).collect();
    Ok(HistoryPage { has_more: has_more && !dates.is_empty(), columns, dates })
}

/// A removed key may be answered under the one that took its place: with one of each there is no doubt.
fn restore_alias<T>(columns: &mut BTreeMap<String, T>, keys: &[&str]) {
    let missing: Vec<&&str> = keys.iter().filter(|key| !columns.contains_key(**key)).collect();
    let surplus: Vec<String> = columns.keys().filter(|key| !keys.contains(&key.as_str())).cloned().collect();
    if let ([key], [alias]) = (&missing[..], &surplus[..])
        && let Some(column) = columns.remove(alias)
    {
        columns.insert((**key).to_owned(), column);
    }
}

/// What happened with the analyses of a span, bounds included.
pub async fn events(client: &Client, place: Place<'_>, (from_s, to_s): (i64, i64)) -> Result<Vec<Event>, CallError> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        paging: Paging,
        analyses: Vec<Analysis>,
    }
    #[derive(Deserialize)]
    struct Analysis {
        date: String,
        #[serde(default)]
        events: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        #[serde(default)]
        category: String,
        #[serde(default)]
        name: String,
    }
    let (from, to, size) = (date::print(from_s), date::print(to_s), LIST_SIZE.to_string());
    let mut found = Vec::new();
    for page in 1..=LIST_PAGES_MAX {
        let number = page.to_string();
        let query = place.query("project", &[("from", &from), ("to", &to), ("ps", &size), ("p", &number)]);
        let answer: Answer = client.get("project_analyses/search", &query).await?;
        let is_last = !answer.paging.has_more() || answer.analyses.is_empty();
        for analysis in answer.analyses {
            // The server adds a second to the end of a span.
            let date = date::parse(&analysis.date).filter(|date| (from_s..=to_s).contains(date));
            let Some(date) = date else { continue };
            let event = |item: Item| Event { date, category: item.category, name: item.name };
            found.extend(analysis.events.into_iter().map(event));
        }
        if is_last {
            break;
        }
    }
    // One that moved from page to page while they were read is met twice.
    found.sort_by(|a, b| (a.date, &a.category, &a.name).cmp(&(b.date, &b.category, &b.name)));
    found.dedup();
    Ok(found)
}
