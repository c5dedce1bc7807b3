//! The life of the process: start in the direction data flows, serve, stop backwards.

use super::{
    StartError,
    backup::{BackupMetrics, Backups},
    directory::DataDirectory,
    host::HostWatch,
    kinds::{Kinds, policies, tier_options},
    known, listener,
    mailbox::{METRICS_UPDATE, MetricsUpdate},
    metrics, overload,
    reload::{Origin, Reloadable, Reloader},
    sonar,
};
use crate::{
    api::{
        About, Api, ApiConfig, InForce, Pages, Parts, Place, ReloadRequest,
        server::{Server, ServerMetrics, Timeouts},
        service,
    },
    config::{Config, External, Feature, Overrides, Tier},
    ingest::{Ingest, IngestConfig},
    jobs::Jobs,
    mailbox::{Handlers, Mailroom, Queue},
    promql::{
        engine::{Engine, EngineConfig},
        limits::Limits,
    },
    scrape::Manager,
    sonar::{MESSAGE_KIND, Sonar},
    stdx::clock::{Clock, SystemClock},
    store::{
        Store,
        backup::clear_left_overs,
        tsdb::{Options, Tsdb},
    },
    telemetry::{Metrics, build},
    web::Site,
};
use anyhow::Context;
use parking_lot::RwLock;
use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Requests in hand when the signal came: as long as the service manager's own patience allows.
const DRAIN: Duration = Duration::from_secs(10);
/// A round of host metrics takes milliseconds, but for a file system that does not answer.
const HOSTS_STOP: Duration = Duration::from_secs(3);
/// The store's last sync, after which nothing acknowledged can be lost anyway.
const CLOSE: Duration = Duration::from_secs(10);
/// Threads that serve; everything long runs elsewhere.
const SERVING_THREADS: usize = 2;
/// Threads for what blocks: queries (bounded by their own gate), large bodies, opening and closing.
const BLOCKING_THREADS_MAX: usize = 64;
/// A reload takes milliseconds; whoever asks beyond this waits for the others.
const RELOADS_WAITING_MAX: usize = 16;
/// Descriptors that are not connections: log, blocks, small state.
const DESCRIPTORS_KEPT: u64 = 512;

/// What a start is asked for beyond the config.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What the file says, with the overrides in place.
    pub config: Config,
    /// Its file's text without secrets, which backups hold; empty where there is no file.
    pub config_text: String,
    /// Whether Prometheus' admin paths answer.
    pub admin_api: bool,
    /// Where the config came from, to be read again on SIGHUP.
    pub config_file: Option<PathBuf>,
    pub overrides: Overrides,
    pub insecure_public_http: bool,
    /// Arguments other than `--listen`, with a space in front, for messages with a line to copy.
    pub rest_of_line: String,
}

/// Runs until a signal ends it. Errors are about the start; from then on everything is handled here.
pub fn run(settings: Settings) -> Result<(), StartError> {
    listener::check_exposure(
        settings.config.listen,
        !settings.config.tokens.is_empty(),
        settings.insecure_public_http,
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVING_THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("the threads that serve cannot be started")?;
    let result = runtime.block_on(live(settings));
    // A query that was cut off may still notice; the store is closed already.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn live(settings: Settings) -> Result<(), StartError> {
    let (config, admin_api) = (settings.config, settings.admin_api);
    let listener = listener::open(config.listen, &settings.rest_of_line).await?;
    let directory = DataDirectory::open(&config.data)?;
    let mut signals = Signals::new().context("signals cannot be waited for")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Metrics::new();
    metrics::register_process(&metrics);
    let stop = CancellationToken::new();
    let about = about(&config, admin_api, &directory, &*clock);
    let address = listener.local_addr().context("the port that was opened is not known")?;
    let api = Api::new(api_config(&config, admin_api, address), config.keyring(), metrics.clone(), about, stop.clone());
    let api = Arc::new(api);
    // Served before the store is open: health answers, and everything else says that it is not ready.
    let server = serve(&config, &api, listener, stop.clone());
    greet(&config, &directory, address);

    let own = metrics.clone();
    let opened = tokio::task::spawn_blocking(move || {
        let rooms = Rooms::open(&config, &directory, clock, own)?;
        Ok::<_, anyhow::Error>((rooms, directory, config))
    });
    let (rooms, directory, config) = match opened.await.context("opening the store ended early")? {
        Ok(opened) => opened,
        Err(error) => {
            stop.cancel();
            return Err(error.into());
        }
    };
    metrics::register_store(&metrics, &rooms.store);
    metrics::register_upkeep(&metrics, &rooms.store);
    metrics::register_ingest(&metrics, &rooms.ingest);
    metrics::register_mailbox(&metrics, &rooms.mailroom);
    let budget = overload::budget(config.memory_bytes_max);
    let watch = overload::start(budget, api.clone(), &rooms.store, stop.clone());
    let (reload, mut requests) = mpsc::channel(RELOADS_WAITING_MAX);
    metrics::register_hosts(&metrics, &rooms.host);
    let origin = Origin { file: settings.config_file, overrides: settings.overrides };
    let clock = rooms.clock.clone();
    let of_api = api.clone();
    let backups = Backups::start(
        (rooms.store.clone(), rooms.jobs.clone(), clock.clone()),
        Arc::new(move || of_api.about.in_force.read().file.clone()),
        BackupMetrics::new(&metrics),
        stop.clone(),
    );
    let (scrape, host, history) = (rooms.scrape.clone(), rooms.host.clone(), rooms.sonar.clone());
    let reloadable = Reloadable { backups, scrape, host, sonar: history };
    let mut reloader =
        Reloader::new(origin, (config, settings.config_text), address, reloadable, api.clone(), clock, &metrics);
    // Before anybody may ask which targets there are.
    reloader.start().await;
    sonar::start(rooms.sonar.clone(), stop.clone()).await;
    api.ready(rooms.parts(reload));
    rooms.begin_mailbox();
    tracing::info!("Ready.");

    let name = wait_for_end(&mut signals, &mut requests, &mut reloader).await;
    tracing::info!("Stopping on {name}: requests in hand are answered first.");
    api.stopping();
    stop.cancel();
    tokio::select! {
        _ = server => {}
        name = signals.end() => tracing::warn!("Stopping at once on a second {name}."),
    }
    // It ends with `stop`, which was cancelled.
    let _ = watch.await;
    rooms.scrape.stop().await;
    rooms.mailroom.stop().await;
    rooms.close().await;
    drop(directory);
    tracing::info!("Stopped.");
    Ok(())
}

/// Lives, reloading when asked; gives the name of the signal that ends it.
async fn wait_for_end(
    signals: &mut Signals,
    requests: &mut mpsc::Receiver<ReloadRequest>,
    reloader: &mut Reloader,
) -> &'static str {
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Some(name) => return name,
                // What is wrong with the file was logged.
                None => drop(reloader.reload().await),
            },
            Some(request) = requests.recv() => {
                // Who asked may be gone.
                let _ = request.send(reloader.reload().await);
            }
        }
    }
}

fn serve(config: &Config, api: &Arc<Api>, listener: TcpListener, stop: CancellationToken) -> JoinHandle<()> {
    let server = Server {
        connections_max: connections_max(config.limits.connections_max),
        connections_per_address_max: config.limits.connections_per_address_max,
        timeouts: Timeouts::default(),
        metrics: ServerMetrics::new(&api.metrics),
    };
    let external = config.web.external.as_ref();
    let site = Site {
        origin: external.and_then(|external| external.origin.clone()),
        path: external.map_or_else(String::new, |external| external.path.clone()),
    };
    let pages: Pages = Arc::new(move |method, path, headers| site.respond(method, path, headers));
    tokio::spawn(server.run(listener, service(api.clone(), pages), stop, DRAIN))
}

/// The rooms in the direction data flows.
struct Rooms {
    store: Arc<Tsdb>,
    clock: Arc<dyn Clock>,
    ingest: Ingest,
    jobs: Jobs,
    mailroom: Mailroom,
    hostname: String,
    engine: Arc<Engine>,
    host: HostWatch,
    scrape: Manager,
    sonar: Sonar,
}

impl Rooms {
    fn open(config: &Config, directory: &DataDirectory, clock: Arc<dyn Clock>, own: Metrics) -> anyhow::Result<Rooms> {
        let defaults = Options::new(directory.path());
        let budget = overload::budget(config.memory_bytes_max);
        let kinds = Kinds::default();
        let options = Options {
            retention_ms: config.retention_ms,
            tiers: tier_options(config),
            policies: policies(config),
            kind_of: kinds.of_store(),
            bytes_max: config.bytes_max,
            disk_percent_max: config.disk_percent_max,
            series_max: overload::series_max(config.series_max, budget),
            exemplars_max: usize::try_from(config.exemplars_max).unwrap_or(usize::MAX),
            series_per_job_max: config.limits.series_per_job_max,
            head_bytes_max: overload::head_bytes_max(budget, defaults.head_bytes_max),
            clock: clock.clone(),
            ..defaults
        };
        let store = Tsdb::open(options).with_context(|| format!("open the store in {}", directory.path().display()))?;
        let store = Arc::new(store);
        clear_left_overs(directory.path());
        let ingest_config =
            IngestConfig { series_per_token_max: config.limits.series_per_token_max, ..IngestConfig::default() };
        let ingest = Ingest::new(store.clone(), clock.clone(), ingest_config);
        kinds.learn_from(&ingest);
        let jobs = Jobs::open(store.clone(), clock.clone());
        jobs.register_compaction(store.clone());
        let queue = Queue::open(store.clone(), clock.clone(), config.mailbox.limits);
        let mailroom = Mailroom::new(queue, config.mailbox.redis.clone());
        let engine = Arc::new(Engine::new(store.clone(), engine_config(config)));
        let host = HostWatch::new(ingest.clone(), clock.clone());
        host.apply(config.hosts).context("start the collector of this host")?;
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let hostname = hostname.trim().to_owned();
        let sonar =
            sonar::open(config, (ingest.clone(), store.clone(), jobs.clone(), clock.clone()), mailroom.mailbox(), &own);
        let scrape = Manager::new(ingest.clone(), clock.clone(), own, &hostname);
        Ok(Rooms { store, clock, ingest, jobs, mailroom, hostname, engine, host, scrape, sonar })
    }

    /// Messages are handled from now on.
    fn begin_mailbox(&self) {
        let mut handlers = Handlers::default();
        // One at a time, so that what a sender said last is what stays.
        handlers.add(METRICS_UPDATE, Arc::new(MetricsUpdate::new(self.ingest.clone())), 1);
        // One at a time, so that no two speak of one branch.
        handlers.add(MESSAGE_KIND, self.sonar.handler(), 1);
        self.mailroom.start(handlers, &self.hostname);
    }

    fn parts(&self, reload: mpsc::Sender<ReloadRequest>) -> Parts {
        let store: Arc<dyn Store> = self.store.clone();
        Parts {
            store,
            upkeep: self.store.clone(),
            engine: self.engine.clone(),
            ingest: self.ingest.clone(),
            jobs: self.jobs.clone(),
            mailroom: self.mailroom.clone(),
            snapshots: self.store.clone(),
            scrape: self.scrape.clone(),
            sonar: self.sonar.clone(),
            reload,
            clock: self.clock.clone(),
        }
    }

    /// Backwards. Whatever takes too long is left: the log has everything that was acknowledged.
    async fn close(self) {
        let host = self.host;
        let stopped = tokio::task::spawn_blocking(move || host.stop());
        if tokio::time::timeout(HOSTS_STOP, stopped).await.is_err() {
            tracing::warn!("The collector of this host did not stop in time; its last round may be lost.");
        }
        let closed = tokio::task::spawn_blocking(move || {
            self.jobs.stop();
            self.store.close();
        });
        if tokio::time::timeout(CLOSE, closed).await.is_err() {
            tracing::warn!("The store did not close in time; the next start reads its log.");
        }
    }
}

fn engine_config(config: &Config) -> EngineConfig {
    let limits = Limits {
        samples_max: config.limits.query_samples_max,
        scanned_max: config.limits.query_samples_scanned_max,
        bytes_max: config.limits.query_bytes_max,
        concurrent_max: config.limits.query_concurrent_max,
        timeout_ms: config.limits.query_timeout_ms.unsigned_abs(),
    };
    EngineConfig {
        limits,
        lookback_ms: config.limits.query_lookback_delta_ms,
        syntax: config.parse_options(),
        delayed_name_removal: config.features.contains(&Feature::DelayedNameRemoval),
        ..EngineConfig::default()
    }
}

fn api_config(config: &Config, admin_api: bool, address: SocketAddr) -> ApiConfig {
    let place = Place {
        prefix: config.web.prefix().to_owned(),
        origin: config.web.external.as_ref().and_then(|external| external.origin.clone()),
        port: address.port(),
    };
    ApiConfig {
        place,
        admin_api,
        body_bytes_max: config.limits.body_bytes_max,
        reads_max: config.limits.query_concurrent_max,
        read_timeout_ms: config.limits.query_timeout_ms.unsigned_abs(),
        failed_logins_per_minute_max: config.limits.failed_logins_per_minute_max,
        pushes_per_minute_max: config.limits.pushes_per_minute_max,
        hosts: config.web_hosts.iter().cloned().chain(config.web.external.as_ref().and_then(External::host)).collect(),
        external_labels: config.external_labels.as_slice().into(),
    }
}

fn about(config: &Config, admin_api: bool, directory: &DataDirectory, clock: &dyn Clock) -> About {
    let flags = [
        ("listen", config.listen.to_string()),
        ("data", directory.path().display().to_string()),
        ("web.external-url", config.web.external.as_ref().map_or_else(String::new, External::url)),
        ("web.route-prefix", format!("/{}", config.web.prefix().trim_start_matches('/'))),
        ("web.enable-admin-api", admin_api.to_string()),
        ("storage.tsdb.retention.time", crate::model::time::format_duration_ms(config.retention_ms)),
        ("storage.tsdb.retention.size", config.bytes_max.to_string()),
        ("storage.tsdb.retention.percentage", config.disk_percent_max.to_string()),
        ("query.timeout", crate::model::time::format_duration_ms(config.limits.query_timeout_ms)),
        ("query.max-samples", config.limits.query_samples_max.to_string()),
        ("query.max-concurrency", config.limits.query_concurrent_max.to_string()),
        ("query.lookback-delta", crate::model::time::format_duration_ms(config.limits.query_lookback_delta_ms)),
    ];
    let flags: BTreeMap<String, String> = flags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    About {
        started_ms: clock.now_ms(),
        in_force: RwLock::new(InForce {
            yaml: config.to_yaml(),
            file: String::new(),
            reload_failed: false,
            since_ms: clock.now_ms(),
        }),
        flags,
        retention_ms: config.retention_ms,
        bytes_max: config.bytes_max,
        data: directory.path().display().to_string(),
    }
}

/// As many connections as there may be descriptors for.
fn connections_max(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let needed = wanted as u64 + DESCRIPTORS_KEPT;
    if limit.current.is_some_and(|current| current < needed) {
        let raised = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        // What was not granted is seen right below.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum });
    }
    let granted = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = usize::try_from(granted.saturating_sub(DESCRIPTORS_KEPT)).unwrap_or(usize::MAX).max(16);
    if possible < wanted {
        tracing::warn!("At most {possible} connections: this user may open {granted} files (see `ulimit -n`).");
    }
    wanted.min(possible)
}

/// What the person at the terminal wants to know.
fn greet(config: &Config, directory: &DataDirectory, address: SocketAddr) {
    println!("Beast Observatory {}", build::VERSION_AND_COMMIT);
    let prefix = config.web.prefix();
    println!("  address  http://{address}{}", if prefix.is_empty() { String::new() } else { format!("{prefix}/") });
    if let Some(external) = config.web.external.as_ref().filter(|external| external.origin.is_some()) {
        println!("  outside  {}/", external.url());
    }
    println!("  data     {}", directory.path().display());
    let duration = crate::model::time::format_duration_ms;
    let tier = |tier: &Tier| format!(", {} buckets {}", duration(tier.resolution_ms), duration(tier.retention_ms));
    println!("  kept     {}{}", duration(config.retention_ms), config.tiers.iter().map(tier).collect::<String>());
    if let Some(other) = known::remember(directory.path(), directory.was_new()) {
        tracing::warn!(
            "This data directory is new, and there is another one in {}. To go on with that one: --data {}",
            other.display(),
            other.display()
        );
    }
}

/// The signals that end a process in order, and the one that has it read its config again.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// The name of the next one that ends us; `None` where it asks for a reload.
    async fn next(&mut self) -> Option<&'static str> {
        tokio::select! {
            _ = self.terminate.recv() => Some("SIGTERM"),
            _ = self.interrupt.recv() => Some("SIGINT"),
            _ = self.hangup.recv() => None,
        }
    }

    /// The name of the next one that ends us.
    async fn end(&mut self) -> &'static str {
        loop {
            if let Some(name) = self.next().await {
                return name;
            }
        }
    }
}
