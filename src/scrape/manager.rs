//! All loops: started, kept, changed and ended as the config says.

use super::{
    config::{Config, JobConfig, Own},
    discovery::{Discovery, Fixed},
    fetch::{Fetcher, LARGE_AT_ONCE},
    metrics::ScrapeMetrics,
    schedule::Schedule,
    scraper::{Scraper, Source},
    take::Taker,
    target::Target,
};
use crate::{
    ingest::{Ingest, ScrapeMemory},
    stdx::clock::Clock,
    telemetry::Metrics,
};
use parking_lot::RwLock;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh64::xxh64;

/// The job under which this process scrapes itself.
const OWN_JOB: &str = "observatory";

/// Runs the scrapes. Cheap to clone; every clone is the same manager.
#[derive(Clone)]
pub struct Manager {
    shared: Arc<Shared>,
}

struct Shared {
    ingest: Ingest,
    clock: Arc<dyn Clock>,
    own: Metrics,
    metrics: Arc<ScrapeMetrics>,
    /// Tells this machine's moments from its twin's.
    seed: u64,
    large: Arc<Semaphore>,
    running: tokio::sync::Mutex<HashMap<Vec<u8>, Loop>>,
    shown: RwLock<Shown>,
}

/// Pools in order of name, targets in order of pool.
struct Shown {
    pools: Arc<[String]>,
    targets: Arc<[Arc<Target>]>,
}

/// One target's loop, and what it was started with.
struct Loop {
    settings: Arc<JobConfig>,
    broken: Option<String>,
    target: Arc<Target>,
    stop: CancellationToken,
    task: JoinHandle<ScrapeMemory>,
}

/// A target that is to be scraped.
struct Wanted {
    identity: Vec<u8>,
    settings: Arc<JobConfig>,
    target: Target,
    broken: Option<String>,
    is_own: bool,
}

impl Wanted {
    /// Whether a loop does already what is wanted.
    fn is_done_by(&self, running: &Loop) -> bool {
        *running.settings == *self.settings
            && running.broken == self.broken
            && running.target.discovered == self.target.discovered
    }
}

impl Manager {
    /// `own` is what this process shows of itself; what scraping counts is added to it. `seed` names this machine.
    pub fn new(ingest: Ingest, clock: Arc<dyn Clock>, own: Metrics, seed: &str) -> Manager {
        Manager {
            shared: Arc::new(Shared {
                ingest,
                clock,
                metrics: Arc::new(ScrapeMetrics::new(&own)),
                own,
                seed: xxh64(seed.as_bytes(), 0),
                large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
                running: tokio::sync::Mutex::default(),
                shown: RwLock::new(Shown { pools: Arc::from([]), targets: Arc::from([]) }),
            }),
        }
    }

    /// Scrapes what `config` says from now on. What goes on unchanged is not touched; what goes on otherwise keeps
    /// its memory; what is gone gets its staleness markers.
    pub async fn apply(&self, config: &Config) {
        let mut running = self.shared.running.lock().await;
        let wanted = wanted(config);
        let mut pools: Vec<String> = config.jobs.iter().map(|job| job.name.clone()).collect();
        if wanted.iter().any(|wanted| wanted.is_own) {
            pools.push(OWN_JOB.to_owned());
        }
        pools.sort();

        let kept: HashMap<&[u8], &Wanted> = wanted.iter().map(|wanted| (&wanted.identity[..], wanted)).collect();
        let ended = running
            .extract_if(|identity, running| !kept.get(&identity[..]).is_some_and(|wanted| wanted.is_done_by(running)));
        let ended: Vec<(Vec<u8>, Loop)> = ended.collect();
        ended.iter().for_each(|(_, ended)| ended.stop.cancel());
        let mut memories: HashMap<Vec<u8>, (ScrapeMemory, Arc<Target>)> = HashMap::new();
        for (identity, ended) in ended {
            let goes_on = kept.contains_key(&identity[..]);
            let mut memory = ended.task.await.unwrap_or_else(|cause| {
                tracing::error!(%cause, scrape.job = %ended.target.job, "A scrape loop ended by mistake.");
                ScrapeMemory::default()
            });
            if goes_on {
                memories.insert(identity, (memory, ended.target));
            } else if let Err(cause) = self.shared.ingest.end_scrapes(&mut memory) {
                tracing::warn!(%cause, scrape.job = %ended.target.job, "A target that is gone could not be marked so.");
            }
        }

        let mut targets = Vec::with_capacity(wanted.len());
        let mut fetchers: HashMap<String, Result<Arc<Fetcher>, String>> = HashMap::new();
        let secure: HashSet<String> =
            wanted.iter().filter(|w| is_secure(&w.target)).map(|w| w.settings.name.clone()).collect();
        for wanted in wanted {
            if let Some(running) = running.get(&wanted.identity) {
                targets.push(running.target.clone());
                continue;
            }
            let source = match (&wanted.broken, wanted.is_own) {
                (Some(error), _) => Source::Broken(error.clone()),
                (None, true) => Source::Own(self.shared.own.clone()),
                (None, false) => self.source(&wanted.settings, &secure, &mut fetchers).await,
            };
            let before = memories.remove(&wanted.identity);
            let started = self.start(&wanted, source, before);
            targets.push(started.target.clone());
            running.insert(wanted.identity, started);
        }
        targets.sort_by(|left, right| left.job.cmp(&right.job));
        self.shared.metrics.targets.set(targets.len() as i64);
        *self.shared.shown.write() = Shown { pools: pools.into(), targets: targets.into() };
    }

    async fn source(
        &self,
        settings: &Arc<JobConfig>,
        secure: &HashSet<String>,
        fetchers: &mut HashMap<String, Result<Arc<Fetcher>, String>>,
    ) -> Source {
        let found = match fetchers.get(&settings.name) {
            Some(found) => found.clone(),
            None => {
                let (job, large, tls) = (settings.clone(), self.shared.large.clone(), secure.contains(&settings.name));
                let made = tokio::task::spawn_blocking(move || Fetcher::new(&job, tls, large).map(Arc::new)).await;
                let made = made.unwrap_or_else(|cause| Err(cause.to_string()));
                fetchers.insert(settings.name.clone(), made.clone());
                made
            }
        };
        found.map_or_else(Source::Broken, Source::Http)
    }

    fn start(&self, wanted: &Wanted, source: Source, before: Option<(ScrapeMemory, Arc<Target>)>) -> Loop {
        let Shared { ingest, clock, metrics, seed, .. } = &*self.shared;
        let (memory, target) = match before {
            None => (ScrapeMemory::default(), Arc::new(wanted.target.again())),
            Some((memory, before)) => {
                let target = wanted.target.again();
                target.inherit(&before);
                (memory, Arc::new(target))
            }
        };
        let schedule = Schedule::new(&wanted.identity, *seed, target.interval_ms);
        let settings = wanted.settings.clone();
        let taker = Taker { job: settings.clone(), target: target.clone(), ingest: ingest.clone(), memory };
        let scraper = Scraper { taker, source, schedule, clock: clock.clone(), metrics: metrics.clone() };
        let stop = CancellationToken::new();
        let task = tokio::spawn(scraper.run(stop.clone()));
        Loop { settings, broken: wanted.broken.clone(), target, stop, task }
    }

    /// Ends all loops. Nothing is marked: the targets go on, and so do we after a restart.
    pub async fn stop(&self) {
        let mut running = self.shared.running.lock().await;
        running.values().for_each(|running| running.stop.cancel());
        for (_, running) in running.drain() {
            // One that panicked has said so.
            let _ = running.task.await;
        }
    }

    /// The targets, in order of their job's name.
    pub fn targets(&self) -> Arc<[Arc<Target>]> {
        self.shared.shown.read().targets.clone()
    }

    /// The names of the jobs, sorted.
    pub fn pools(&self) -> Arc<[String]> {
        self.shared.shown.read().pools.clone()
    }
}

fn is_secure(target: &Target) -> bool {
    target.url.as_ref().is_ok_and(|url| url.scheme() == "https")
}

fn wanted(config: &Config) -> Vec<Wanted> {
    let mut met = HashSet::new();
    let mut wanted = Vec::new();
    for job in &config.jobs {
        let settings = Arc::new(JobConfig { groups: Vec::new(), ..job.clone() });
        let groups = Fixed(&job.groups).groups();
        let mut targets: Vec<Target> = groups.iter().flat_map(|group| Target::of_group(job, group)).collect();
        targets.retain(|target| met.insert(target.identity()));
        let limit = job.limits.targets;
        let over = (limit > 0 && targets.len() > limit)
            .then(|| format!("target_limit exceeded (number of targets: {}, limit: {limit})", targets.len()));
        wanted.extend(targets.into_iter().map(|target| Wanted {
            identity: target.identity(),
            settings: settings.clone(),
            target,
            broken: over.clone(),
            is_own: false,
        }));
    }
    if let Some(own) = &config.own
        && !config.jobs.iter().any(|job| job.name == OWN_JOB)
    {
        wanted.extend(own_target(own));
    }
    wanted
}

fn own_target(own: &Own) -> Option<Wanted> {
    let mut job = JobConfig::new(OWN_JOB);
    job.interval_ms = own.interval_ms;
    job.metrics_path.clone_from(&own.metrics_path);
    job.timeout_ms = job.timeout_ms.min(own.interval_ms);
    let group = super::config::Group { targets: vec![own.address.clone()], labels: Vec::new() };
    let target = Target::of_group(&job, &group).pop()?;
    Some(Wanted { identity: target.identity(), settings: Arc::new(job), target, broken: None, is_own: true })
}
