//! The history of one branch, page by page: read after the cursor, put into the mailbox, waited for, the next one read.
//! So only one page of a branch is ever on its way, and what is read does not shift while it is: each page begins at the
//! date where the one before it ended.

use super::{
    answers::{self, Branch, HISTORY_SIZE, HistoryPage, Place, Project},
    client::CallError,
    history,
    naming::Metric,
    page::Page,
    plan::{self, Ask, Stretch},
    state::{self, BranchState, KNOWN_S},
    sync::{SyncError, SyncRun},
};
use crate::mailbox::{Accepted, Message, PutError};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

/// More keys make the address of a call longer than servers like.
const KEYS_PER_CALL: usize = 40;
/// Of one page: below a mebibyte in the mailbox.
const VALUES_PER_PAGE: u64 = 40_000;
/// A branch with more pages of a thousand analyses is a mistake of the server, which this keeps from lasting for ever.
const PAGES_MAX: u32 = 1_000;
/// Analyses this far ahead of our clock wait until it gets there: the store would refuse them.
const AHEAD_S: i64 = 600;
/// Once a page was left in the mailbox, the next ones are waited for by a part of that: each gets there, and none holds
/// up a sync in which nothing is stored.
const STALLED_PART: u32 = 12;
/// The state is looked at this often, should the recorder's word be missed.
const STORED_LOOK: Duration = Duration::from_millis(250);
/// A full mailbox is emptied in seconds.
const PUT_ATTEMPTS: u32 = 5;
const PUT_PAUSE: Duration = Duration::from_secs(5);

impl SyncRun {
    /// Brings one branch up to date.
    pub(super) async fn branch(&self, project: &Project, branch: &Branch) -> Result<(), SyncError> {
        let result = self.stretches(project, branch).await;
        let state = state::load(&*self.tools.store, &project.key, &branch.name);
        self.tools.board.analysis(&project.key, &branch.name, branch.analyzed_s, state.newest_s());
        result
    }

    async fn stretches(&self, project: &Project, branch: &Branch) -> Result<(), SyncError> {
        let now_ms = self.tools.around.clock.now_ms();
        let now_s = now_ms.div_euclid(1000);
        // A minute within what the store keeps: the edge moves while a page is on its way.
        let oldest_s = now_s.saturating_sub(self.tools.retention_ms / 1000).saturating_add(60);
        let history_s = now_s.saturating_sub(self.config.history_ms / 1000);
        let start_s = self.scope.since_s.unwrap_or(history_s).min(history_s).max(oldest_s);
        let is_due = plan::is_due_again(&project.key, &branch.name, self.last_ms, now_ms);
        let daily = is_due.then(|| now_s.saturating_sub(KNOWN_S).max(start_s));
        let again_s = self.scope.since_s.map(|since| since.max(oldest_s)).or(daily);
        let metrics = self.asked();
        let keys: Vec<&str> = metrics.iter().map(|metric| metric.key.as_str()).collect();
        let ask = Ask {
            scheme: self.config.names,
            keys: &keys,
            wanted: &self.config.metrics,
            start_s,
            analyzed_s: branch.analyzed_s.filter(|date| *date <= now_s.saturating_add(AHEAD_S)),
            again_s,
        };
        let place = Place { project: &project.key, branch: (!branch.is_main).then_some(branch.name.as_str()) };
        let load = || state::load(&*self.tools.store, &project.key, &branch.name);
        if let Some(stretch) = plan::behind(&load(), &ask) {
            self.stretch(project, branch, place, &metrics, &stretch).await?;
        }
        let state = load();
        if let Some(stretch) = plan::ahead(&state, &ask) {
            self.stretch(project, branch, place, &metrics, &stretch).await?;
        } else if plan::is_cluttered(&state, &ask) {
            self.put(&self.page(project, branch, &state), 0).await?;
        }
        Ok(())
    }

    /// The metrics that the server knows and does not refuse.
    fn asked(&self) -> Vec<Metric> {
        let refused = self.refused.now(self.tools.around.clock.now_ms());
        self.metrics.iter().filter(|metric| !refused.contains(&metric.key)).cloned().collect()
    }

    /// Reads from a moment to the end.
    async fn stretch(
        &self,
        project: &Project,
        branch: &Branch,
        place: Place<'_>,
        metrics: &[Metric],
        stretch: &Stretch<'_>,
    ) -> Result<(), SyncError> {
        let mut keys = stretch.keys.clone();
        let (mut from_s, mut number) = (stretch.from_s, 1);
        let mut size = (VALUES_PER_PAGE / (keys.len() as u64).max(1)).clamp(50, HISTORY_SIZE);
        for _ in 0..PAGES_MAX {
            if keys.is_empty() {
                return Ok(());
            }
            let read = match self.read(place, &keys, from_s, (number, size)).await {
                Err(CallError::BadRequest(said)) => {
                    let refused = self.isolate(place, &keys, from_s, said).await?;
                    keys.retain(|key| !refused.contains(*key));
                    continue;
                }
                read => read?,
            };
            let now_s = self.tools.around.clock.now_ms().div_euclid(1000);
            let end_s = now_s.saturating_add(AHEAD_S);
            let (read, has_more) = before(read, stretch.until_s.map_or(end_s, |until| until.min(end_s)));
            let Some(last) = read.dates.last().copied() else { return Ok(()) };
            let state = state::load(&*self.tools.store, &project.key, &branch.name);
            let mut page = self.page(project, branch, &state);
            // Pages in rising order leave nothing out behind them; older history is whole only once it meets what is there.
            let meets = state.covered_s.is_none_or(|covered| last >= covered) || !has_more;
            page.covered = (meets && stretch.is_complete).then_some(stretch.from_s);
            page.is_complete = stretch.is_complete;
            (page.after, page.until) = (Some(from_s), Some(last));
            let mut columns = read.columns;
            for metric in metrics {
                if let Some(column) = columns.remove(&metric.key) {
                    page.metrics.push(metric.clone());
                    page.values.push(column);
                }
            }
            page.dates = read.dates;
            if stretch.is_complete {
                self.add_events(place, &state, &mut page).await?;
            }
            match self.put(&page, page.dates.len()).await {
                Err(PutFailed::TooLarge) if page.dates.len() > 1 => {
                    size = (page.dates.len() as u64 / 2).max(1);
                    continue;
                }
                // Going on would leave out what this page has and the other one had not.
                Err(PutFailed::Overtaken) => continue,
                put => put?,
            }
            if !has_more {
                return Ok(());
            }
            // All of one moment: the next page of the same.
            number = if last == from_s { number + 1 } else { 1 };
            from_s = last;
        }
        Ok(())
    }

    /// One page, in as many calls as its keys need.
    async fn read(
        &self,
        place: Place<'_>,
        keys: &[&str],
        from_s: i64,
        page: (u64, u64),
    ) -> Result<HistoryPage, CallError> {
        let mut whole: Option<HistoryPage> = None;
        for part in keys.chunks(KEYS_PER_CALL) {
            let read = answers::history(&self.client, place, part, from_s, page).await?;
            whole = Some(match whole {
                None => read,
                Some(whole) => joined(whole, read)?,
            });
        }
        Ok(whole.unwrap_or_default())
    }

    /// Which of the keys the server refuses; they are remembered. Fails where it is not the keys that are wrong.
    async fn isolate(
        &self,
        place: Place<'_>,
        keys: &[&str],
        from_s: i64,
        said: String,
    ) -> Result<BTreeSet<String>, SyncError> {
        let is_fine = async |keys: &[&str]| match answers::history(&self.client, place, keys, from_s, (1, 1)).await {
            Ok(_) => Ok(true),
            Err(CallError::BadRequest(_)) => Ok(false),
            Err(error) => Err(error),
        };
        // Every server knows this one.
        if !is_fine(&["ncloc"]).await? {
            return Err(CallError::BadRequest(said).into());
        }
        let mut refused = BTreeSet::new();
        let mut suspects = vec![keys.to_vec()];
        while let Some(suspect) = suspects.pop() {
            if is_fine(&suspect).await? {
                continue;
            }
            match suspect.split_at(suspect.len() / 2) {
                ([], rest) => refused.extend(rest.iter().map(|key| (*key).to_owned())),
                (one, other) => suspects.extend([other.to_vec(), one.to_vec()]),
            }
        }
        if refused.is_empty() {
            // It was refused and is not any more: the next sync asks again.
            return Err(CallError::BadRequest(said).into());
        }
        let names: Vec<&str> = refused.iter().map(String::as_str).collect();
        tracing::warn!("The server refuses these metrics, they are left out for a day: {}.", names.join(", "));
        self.refused.add(&self.tools, &refused).await.map_err(|error| SyncError::Store(error.to_string()))?;
        Ok(refused)
    }

    /// What happened with the analyses of a page that are not known.
    async fn add_events(&self, place: Place<'_>, state: &BranchState, page: &mut Page) -> Result<(), SyncError> {
        let is_new = |date: &&i64| state.known.binary_search(date).is_err();
        let mut new = page.dates.iter().filter(is_new);
        let Some(first) = new.next().copied() else { return Ok(()) };
        let last = new.next_back().copied().unwrap_or(first);
        page.events = match answers::events(&self.client, place, (first, last)).await {
            // A token may see measures and no analyses.
            Err(CallError::Forbidden(_)) => Vec::new(),
            events => events?,
        };
        Ok(())
    }

    /// A page of a branch with nothing in it.
    fn page(&self, project: &Project, branch: &Branch, state: &BranchState) -> Page {
        Page {
            project: project.key.clone(),
            branch: branch.name.clone(),
            project_name: project.name.clone(),
            scheme: self.config.names,
            revision: state.revision,
            wanted: self.config.metrics.clone(),
            read_ms: self.tools.around.clock.now_ms(),
            ..Page::default()
        }
    }

    /// Ends the series of a branch that is not there any more.
    pub(super) async fn end_branch(&self, project: &str, branch: &str, state: &BranchState) -> Result<(), SyncError> {
        tracing::info!(project, branch, "The branch is gone; its series end.");
        let page = Page {
            project: project.to_owned(),
            branch: branch.to_owned(),
            project_name: state.project_name.clone(),
            scheme: state.scheme,
            revision: state.revision,
            is_gone: true,
            read_ms: self.tools.around.clock.now_ms(),
            ..Page::default()
        };
        self.put(&page, 0).await?;
        self.tools.board.analysis(project, branch, None, None);
        Ok(())
    }

    /// Puts a page that says something new, and waits until it is stored.
    async fn put(&self, page: &Page, analyses: usize) -> Result<(), PutFailed> {
        let tools = &self.tools;
        let before = state::load(&*tools.store, &page.project, &page.branch);
        let oldest_ms = page.read_ms.saturating_sub(tools.retention_ms);
        if before.revision != page.revision {
            return Err(PutFailed::Overtaken);
        }
        let applied = history::apply(&before, page, oldest_ms);
        if !applied.is_news(&before) {
            return Ok(());
        }
        if self.send(page.message(), analyses).await? == Accepted::Gone && !self.has_moved(page) {
            // Its id was handled and it is not stored: somebody let go of it as a dead letter. The source still has it.
            self.send(page.message_anew(), analyses).await?;
        }
        tools.metrics.pages.inc();
        let stored = async {
            loop {
                let told = tools.stored.notified();
                if self.has_moved(page) {
                    return;
                }
                // Told or not, the state says how it is.
                let _ = tokio::time::timeout(STORED_LOOK, told).await;
            }
        };
        let whole = tools.around.stored_time;
        let time = if self.is_stalled.load(Ordering::Relaxed) { whole / STALLED_PART } else { whole };
        let in_time = tokio::time::timeout(time, stored).await.is_ok();
        self.is_stalled.store(!in_time, Ordering::Relaxed);
        if !in_time {
            return Err(SyncError::NotStored.into());
        }
        // It may be another page of the branch that was stored, while this one waits for its next attempt. The same page
        // over the same state gives the same state.
        match state::load(&*tools.store, &page.project, &page.branch) == applied.state {
            true => Ok(()),
            false => Err(PutFailed::Overtaken),
        }
    }

    /// Puts a message into the mailbox, which may be full for a while.
    async fn send(&self, message: Message, analyses: usize) -> Result<Accepted, PutFailed> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.tools.mailbox.put(message.clone()).await {
                Ok(accepted) => return Ok(accepted),
                Err(PutError::TooLarge { .. }) if analyses > 1 => return Err(PutFailed::TooLarge),
                Err(error) if attempts >= PUT_ATTEMPTS || matches!(error, PutError::TooLarge { .. }) => {
                    return Err(SyncError::Mailbox(error.to_string()).into());
                }
                Err(_) => self.tools.around.pauses.pause(PUT_PAUSE).await,
            }
        }
    }

    /// Whether something of the branch was stored since the page was read.
    fn has_moved(&self, page: &Page) -> bool {
        state::load(&*self.tools.store, &page.project, &page.branch).revision > page.revision
    }
}

/// Why a page did not get through.
enum PutFailed {
    /// Half of it may.
    TooLarge,
    /// Another sync stored something of the branch since the page was read: it is to be read again.
    Overtaken,
    Sync(SyncError),
}

impl From<SyncError> for PutFailed {
    fn from(error: SyncError) -> PutFailed {
        PutFailed::Sync(error)
    }
}

impl From<PutFailed> for SyncError {
    fn from(failed: PutFailed) -> SyncError {
        match failed {
            PutFailed::TooLarge => SyncError::Mailbox("one analysis alone is too large for a message".to_owned()),
            PutFailed::Overtaken => SyncError::NotStored,
            PutFailed::Sync(error) => error,
        }
    }
}

/// Without the analyses after a moment; whether more follow of those before it.
fn before(mut page: HistoryPage, end_s: i64) -> (HistoryPage, bool) {
    let kept = page.dates.partition_point(|date| *date <= end_s);
    let has_more = page.has_more && kept == page.dates.len();
    cut(&mut page, kept);
    (page, has_more)
}

fn cut(page: &mut HistoryPage, kept: usize) {
    page.dates.truncate(kept);
    page.columns.values_mut().for_each(|column| column.truncate(kept));
}

/// Two answers about the same analyses. Where an analysis landed between the calls, what both have before it counts.
fn joined(mut one: HistoryPage, mut other: HistoryPage) -> Result<HistoryPage, CallError> {
    let same = one.dates.iter().zip(&other.dates).take_while(|(one, other)| one == other).count();
    let is_cut = same < one.dates.len() || same < other.dates.len();
    if is_cut && same < 2 {
        return Err(CallError::Malformed("the history changes while it is read".to_owned()));
    }
    cut(&mut one, same);
    cut(&mut other, same);
    one.columns.extend(other.columns);
    one.has_more |= other.has_more || is_cut;
    Ok(one)
}
