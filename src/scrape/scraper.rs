//! The loop of one target: wait, ask, store, again.

use super::{
    fetch::{Body, FetchError, Fetcher},
    metrics::ScrapeMetrics,
    schedule::Schedule,
    take::{Asked, TakeError, Taken, Taker},
    target::{Health, Status},
};
use crate::{ingest::ScrapeMemory, stdx::clock::Clock, store::Ticket, telemetry::Metrics};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Larger bodies are read on a thread of their own: they would hold up the other targets.
const INLINE_BYTES_MAX: usize = 256 << 10;

/// Where a target's answers come from.
#[derive(Clone)]
pub enum Source {
    Http(Arc<Fetcher>),
    /// This process.
    Own(Metrics),
    /// Nowhere, for a reason that every scrape reports.
    Broken(String),
}

/// What a loop needs beside its target.
pub struct Scraper {
    pub taker: Taker,
    pub source: Source,
    pub schedule: Schedule,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<ScrapeMetrics>,
}

/// What one request gave.
enum Answer {
    Body(Body),
    Failed(String),
    /// We are to stop.
    Stopped,
}

impl Scraper {
    /// Scrapes until told to stop; gives back what is known of the target's series.
    pub async fn run(mut self, stop: CancellationToken) -> ScrapeMemory {
        let mut last = None;
        let mut ticket: Option<Ticket> = None;
        loop {
            let now = self.clock.now_ms();
            let tick = self.schedule.next(now, last);
            last = Some(tick);
            // Timers wake up to a millisecond late: a moment early is as good.
            let wait = Duration::from_millis((tick - now - 1).max(0).unsigned_abs());
            if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                break;
            }
            if let Some(ticket) = ticket.take() {
                self.look_at(ticket).await;
            }
            match self.scrape_once(tick, &stop).await {
                Some(taken) => ticket = taken.ticket,
                None => break,
            }
        }
        self.taker.memory
    }

    /// A scrape of the interval before, which nobody waited for.
    async fn look_at(&self, ticket: Ticket) {
        // Done long ago, or the disk hangs: then there is nothing to wait for either.
        match tokio::time::timeout(Duration::ZERO, ticket.wait()).await {
            Ok(Ok(())) => {}
            Ok(Err(cause)) => {
                self.metrics.lost.inc();
                tracing::error!(%cause, scrape.job = %self.taker.job.name, "A scrape was stored, but not durably.");
            }
            Err(_) => {
                tracing::warn!(scrape.job = %self.taker.job.name, "A scrape is not durable after a whole interval.")
            }
        }
    }

    async fn scrape_once(&mut self, tick: i64, stop: &CancellationToken) -> Option<Taken> {
        let began_ms = self.clock.now_ms();
        let began = Instant::now();
        self.metrics.lateness_seconds.observe((began_ms - tick).max(0) as f64 / 1000.0);
        let (answer, body_bytes) = self.ask(stop).await;
        let seconds = began.elapsed().as_secs_f64();
        let asked = Asked { at: self.schedule.timestamp(began_ms, tick), seconds, body_bytes };
        let (taken, error) = match answer {
            Answer::Stopped => return None,
            Answer::Failed(error) => {
                let taken = self.taker.fail(asked);
                let error = if taken.lost { None } else { Some(error) };
                (taken, error)
            }
            Answer::Body(body) => (self.take(body, asked).await, None),
        };
        let error = error.or_else(|| taken.error.as_ref().map(ToString::to_string)).unwrap_or_default();
        self.count(&taken, &error, seconds);
        self.report(Status {
            health: if error.is_empty() { Health::Up } else { Health::Down },
            error,
            scraped_at: Some(asked.at),
            seconds,
        });
        Some(taken)
    }

    async fn ask(&self, stop: &CancellationToken) -> (Answer, f64) {
        let target = &self.taker.target;
        match (&self.source, &target.url) {
            (Source::Broken(error), _) | (_, Err(error)) => (Answer::Failed(error.clone()), 0.0),
            (Source::Own(metrics), _) => {
                let body = metrics.exposition();
                let bytes = body.len() as f64;
                (Answer::Body(Body::own(body)), bytes)
            }
            (Source::Http(fetcher), Ok(url)) => {
                match stop.run_until_cancelled(fetcher.fetch(url, target.timeout_ms)).await {
                    None => (Answer::Stopped, 0.0),
                    Some(Ok(body)) => {
                        let bytes = body.bytes.len() as f64;
                        (Answer::Body(body), bytes)
                    }
                    Some(Err(error @ FetchError::BodyLimit { .. })) => {
                        self.metrics.body_limit.inc();
                        (Answer::Failed(error.to_string()), -1.0)
                    }
                    Some(Err(error)) => (Answer::Failed(error.to_string()), 0.0),
                }
            }
        }
    }

    async fn take(&mut self, body: Body, asked: Asked) -> Taken {
        if body.bytes.len() <= INLINE_BYTES_MAX && !body.is_large() {
            return self.taker.take(&body.bytes, body.format, asked);
        }
        let mut taker = self.taker.move_out();
        let work = tokio::task::spawn_blocking(move || {
            let taken = taker.take(&body.bytes, body.format, asked);
            (taker, taken)
        });
        match work.await {
            Ok((taker, taken)) => {
                self.taker = taker;
                taken
            }
            Err(cause) => Taken { error: Some(TakeError::Store(cause.to_string())), lost: true, ..Taken::default() },
        }
    }

    fn count(&self, taken: &Taken, error: &str, seconds: f64) {
        let metrics = &self.metrics;
        metrics.scrapes.inc();
        metrics.seconds.observe(seconds);
        metrics.failed.inc_by(u64::from(!error.is_empty()));
        metrics.samples.inc_by(taken.samples as u64);
        metrics.duplicates.inc_by(taken.counts.duplicates as u64);
        metrics.out_of_bounds.inc_by(taken.counts.out_of_bounds as u64);
        metrics.too_old.inc_by(taken.counts.too_old as u64);
        metrics.sample_limit.inc_by(u64::from(matches!(taken.error, Some(TakeError::Samples { .. }))));
        metrics.lost.inc_by(u64::from(taken.lost));
        let counts = &taken.counts;
        if counts.duplicates + counts.out_of_bounds + counts.too_old + counts.refused > 0 {
            tracing::debug!(
                scrape.job = %self.taker.job.name,
                ?counts,
                "Samples of a scrape were left out."
            );
        }
    }

    /// Says it where health changes; a target that stays down is on the page and in `up`.
    fn report(&self, status: Status) {
        let target = &self.taker.target;
        let url = target.url.as_ref().map_or("", |url| url.as_str());
        match (target.status().health, status.health) {
            (before, after) if before == after => {}
            (_, Health::Down) => {
                tracing::warn!(scrape.job = %target.job, scrape.url = url, "A target is down: {}", status.error);
            }
            (Health::Down, _) => tracing::info!(scrape.job = %target.job, scrape.url = url, "A target is up again."),
            _ => {}
        }
        target.set_status(status);
    }
}
