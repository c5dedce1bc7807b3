//! Both mailboxes behind one door: for producers, and for whoever runs the server.

use super::{
    DeadLetter, Depth, Handlers, Mailbox, Queue, Recent,
    record::{CONSUMER, shortened},
    redis::{Consumer, DeadStream, Link, Producer, RedisConfig, RedisReport, RedisStats, Seat},
    workers,
};
use crate::{stdx::random, store::StoreError};
use parking_lot::Mutex;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a report waits for the server: what we know ourselves is told without it.
const REDIS_WAIT: Duration = Duration::from_secs(2);

/// The mailboxes; clones share them.
#[derive(Clone)]
pub struct Mailroom(Arc<Inner>);

struct Inner {
    queue: Queue,
    redis: Option<Redis>,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

struct Redis {
    link: Link,
    stats: Arc<RedisStats>,
    producer: Arc<Producer>,
    dead: DeadStream,
}

/// What is where. The field names are part of the API.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub queue: Depth,
    /// Since the start, of both mailboxes.
    pub counts: Counts,
    pub recent: Vec<Recent>,
    #[serde(rename = "deadLetters")]
    pub dead_letters: Vec<DeadLetter>,
    pub redis: Option<RedisReport>,
}

/// Since the start. The field names are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub taken: u64,
    pub handled: u64,
    pub retried: u64,
    pub dead: u64,
    pub duplicates: u64,
    pub refused_full: u64,
    pub expired: u64,
    pub replayed: u64,
    pub dropped: u64,
}

/// One dead letter, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    One(&'a str),
    All,
}

/// Why a letter could not be found or changed.
#[derive(Debug, thiserror::Error)]
pub enum LetterError {
    #[error("there is no dead letter `{0}`; `observatory mailbox dead` lists those there are")]
    Unknown(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("Redis: {0}")]
    Redis(String),
}

impl Mailroom {
    /// The rooms, with nobody at work yet.
    pub fn new(queue: Queue, redis: Option<RedisConfig>) -> Mailroom {
        let redis = redis.map(|config| {
            let (link, stats) = (Link { config }, Arc::new(RedisStats::default()));
            let producer = Arc::new(Producer::new(link.clone(), stats.clone()));
            let (stream, stream_length) = (link.config.dead(), link.config.stream_length);
            let dead = DeadStream { producer: producer.clone(), stream, stream_length };
            Redis { link, stats, producer, dead }
        });
        let (stop, tasks) = (CancellationToken::new(), Mutex::default());
        Mailroom(Arc::new(Inner { queue, redis, stop, tasks }))
    }

    /// Where producers put messages: Redis where there is one, else the embedded queue.
    pub fn mailbox(&self) -> Arc<dyn Mailbox> {
        match &self.0.redis {
            Some(redis) => redis.producer.clone(),
            None => Arc::new(self.0.queue.clone()),
        }
    }

    pub fn queue(&self) -> &Queue {
        &self.0.queue
    }

    pub fn redis_stats(&self) -> Option<&Arc<RedisStats>> {
        self.0.redis.as_ref().map(|redis| &redis.stats)
    }

    /// Begins to hand out messages. `hostname` is for the people who look at the server's list of consumers.
    pub fn start(&self, handlers: Handlers, hostname: &str) {
        let Inner { queue, redis, stop, tasks } = &*self.0;
        let mut tasks = tasks.lock();
        if let Some(redis) = redis {
            let config = &redis.link.config;
            let consumer = format!("{}:{}", config.agent, consumer_name(queue, hostname));
            for stream in [Some(config.inbox(&config.agent)), config.stream.clone()].into_iter().flatten() {
                let group = RedisConfig::group(&config.agent);
                let consumer = Consumer {
                    link: redis.link.clone(),
                    seat: Seat { stream, group, consumer: consumer.clone() },
                    queue: queue.clone(),
                    handlers: handlers.clone(),
                    stats: redis.stats.clone(),
                };
                tasks.spawn(consumer.live(stop.clone()));
            }
        }
        tasks.spawn(workers::run(queue.clone(), handlers, stop.clone()));
    }

    /// Hands out nothing more, and waits for what is in flight.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock());
        while tasks.join_next().await.is_some() {}
    }

    /// Everything there is to see, with so many dead letters of each mailbox.
    pub async fn report(&self, dead_max: usize) -> Report {
        let Inner { queue, redis, .. } = &*self.0;
        let stats = queue.stats();
        let counts = Counts {
            taken: stats.taken.get(),
            handled: stats.handled.get(),
            retried: stats.retried.get(),
            dead: stats.dead.get(),
            duplicates: stats.duplicates.get(),
            refused_full: stats.refused_full.get(),
            expired: stats.expired.get(),
            replayed: stats.replayed.get(),
            dropped: stats.dropped.get(),
        };
        let mut dead_letters = queue.dead_letters(dead_max);
        let redis = match redis {
            Some(redis) => {
                // Where it does not answer, the report says so, and soon.
                let deadline = Instant::now() + REDIS_WAIT;
                let dead = tokio::time::timeout_at(deadline, redis.dead.count()).await.ok().and_then(Result::ok);
                // A little more, for what was found until then is given.
                let listed = redis.dead.list(dead_max, deadline);
                let listed = tokio::time::timeout_at(deadline + REDIS_WAIT / 4, listed).await;
                dead_letters.extend(listed.ok().and_then(Result::ok).unwrap_or_default());
                Some(redis.report(dead))
            }
            None => None,
        };
        Report { queue: queue.depth(), counts, recent: stats.recent(), dead_letters, redis }
    }

    /// A dead letter with its payload.
    pub async fn dead_letter(&self, letter: &str) -> Result<DeadLetter, LetterError> {
        let found = match (letter.parse::<u64>(), &self.0.redis) {
            (Ok(number), _) => self.0.queue.dead_letter(number),
            (_, Some(redis)) => redis.dead.show(letter).await.map_err(of_redis)?,
            _ => None,
        };
        found.ok_or_else(|| LetterError::Unknown(letter.to_owned()))
    }

    /// Has dead letters handled again, as if they were new. Gives how many.
    pub async fn replay(&self, which: Which<'_>) -> Result<u64, LetterError> {
        self.act(which, Act::Replay).await
    }

    /// Lets go of dead letters. Gives how many.
    pub async fn discard(&self, which: Which<'_>) -> Result<u64, LetterError> {
        self.act(which, Act::Discard).await
    }

    /// Letters of the queue have numbers, those of a stream have ids with a dash.
    async fn act(&self, which: Which<'_>, act: Act) -> Result<u64, LetterError> {
        match which {
            Which::All => {
                let count = self.act_on_queue(None, act).await?;
                let redis = self.0.redis.as_ref();
                Ok(count + if let Some(redis) = redis { redis.act(None, act).await? } else { 0 })
            }
            Which::One(letter) => {
                let count = match (letter.parse(), &self.0.redis) {
                    (Ok(number), _) => self.act_on_queue(Some(number), act).await?,
                    (_, Some(redis)) => redis.act(Some(letter), act).await?,
                    _ => 0,
                };
                if count > 0 { Ok(count) } else { Err(LetterError::Unknown(letter.to_owned())) }
            }
        }
    }

    async fn act_on_queue(&self, which: Option<u64>, act: Act) -> Result<u64, LetterError> {
        let (count, ticket) = match act {
            Act::Replay => self.0.queue.replay(which)?,
            Act::Discard => self.0.queue.discard(which)?,
        };
        ticket.wait().await?;
        Ok(count)
    }
}

/// What is done with dead letters.
#[derive(Debug, Clone, Copy)]
enum Act {
    Replay,
    Discard,
}

impl Redis {
    async fn act(&self, which: Option<&str>, act: Act) -> Result<u64, LetterError> {
        let done = match act {
            Act::Replay => self.dead.replay(which).await,
            Act::Discard => self.dead.discard(which).await,
        };
        done.map_err(of_redis)
    }

    fn report(&self, dead: Option<u64>) -> RedisReport {
        let stats = &self.stats;
        RedisReport {
            server: self.link.config.shown(),
            streams: stats.streams.lock().clone(),
            dead_stream: self.dead.stream.clone(),
            dead,
            sent: stats.sent.get(),
            lost: stats.lost.get(),
            failures: stats.failures.get(),
            groups_made_again: stats.groups_made_again.get(),
            last_error: stats.last_error.lock().clone(),
        }
    }
}

fn of_redis(error: impl std::fmt::Display) -> LetterError {
    LetterError::Redis(error.to_string())
}

/// The same at every start of this data directory, and no other's: what is pending for it is ours.
fn consumer_name(queue: &Queue, hostname: &str) -> String {
    if let Some(name) = queue.state(CONSUMER).and_then(|name| String::from_utf8(name).ok()) {
        return name;
    }
    let host: String =
        shortened(hostname, 64).chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
    let name = format!("observatory-{host}-{:08x}", random::number() as u32);
    if let Err(error) = queue.set_state(CONSUMER.to_vec(), name.clone().into_bytes()) {
        tracing::warn!(%error, "The name of this consumer could not be stored; the next start has another one.");
    }
    name
}
