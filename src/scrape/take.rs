//! From a body to samples: lines, the target's labels, limits.

use super::{
    config::JobConfig,
    target::{Families, Target},
};
use crate::{
    ingest::{Ingest, Scrape, ScrapeCounts, ScrapeMemory},
    model::{Labels, METRIC_NAME, Timestamp},
    protocol::{
        exposition::{Label, ParseError, ParseErrorKind},
        limits::LabelLimits,
        openmetrics::read_exemplar,
        scraped::{Format, Line, Lines, SampleLine, read_series},
    },
    store::{StoreError, Ticket},
};
use std::sync::Arc;

/// Of one scrape, whatever the config: the shortest lines of a body of 64 MiB would fill gigabytes of memory.
const SAMPLES_MAX: usize = 1_000_000;
/// Put before a target's label where the series has one of that name.
const EXPORTED: &str = "exported_";

/// Why the samples of a scrape are not stored.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TakeError {
    #[error("{0}")]
    Parse(#[from] ParseError),
    #[error("sample limit exceeded: {found} samples, the limit is {limit}")]
    Samples { found: usize, limit: usize },
    #[error("label_limit exceeded (metric: {metric:?}, number of labels: {found}, limit: {limit})")]
    Labels { metric: String, found: usize, limit: usize },
    #[error("{key} exceeded (metric: {metric:?}, label name: {label:?}, length: {found}, limit: {limit})")]
    Length { key: &'static str, metric: String, label: String, found: usize, limit: usize },
    #[error("the store refused the samples: {0}")]
    Store(String),
}

/// What a scrape came to.
#[derive(Debug, Default)]
pub struct Taken {
    /// Lines with a sample, also of a scrape that failed later.
    pub samples: usize,
    pub counts: ScrapeCounts,
    pub error: Option<TakeError>,
    pub ticket: Option<Ticket>,
    /// Whether the report could not be stored either.
    pub lost: bool,
}

/// How the request went: what the report says beyond the samples.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub at: Timestamp,
    pub seconds: f64,
    /// -1 where the limit of its size was reached.
    pub body_bytes: f64,
}

/// One target's way into the store.
pub struct Taker {
    pub job: Arc<JobConfig>,
    pub target: Arc<Target>,
    pub ingest: Ingest,
    pub memory: ScrapeMemory,
}

impl Taker {
    /// Moves the memory out, to be moved back.
    pub fn move_out(&mut self) -> Taker {
        Taker {
            job: self.job.clone(),
            target: self.target.clone(),
            ingest: self.ingest.clone(),
            memory: std::mem::take(&mut self.memory),
        }
    }

    /// Stores a body, or, where it is broken or beyond a limit, that the scrape failed.
    pub fn take(&mut self, body: &[u8], format: Format, asked: Asked) -> Taken {
        let Taker { job, target, ingest, memory } = self;
        let scrape = ingest.scrape(memory, asked.at, job.track_timestamps_staleness);
        let mut lines = Reading { job, target, scrape, samples: 0, limits: ingest_limits() };
        let read = lines.read(body, format);
        let Reading { scrape, samples, .. } = lines;
        let mut taken = Taken { samples, error: read.err(), ..Taken::default() };
        let reports = reports(job, target, &asked, samples, scrape.counts.added, taken.error.is_none());
        let written = match taken.error {
            None => scrape.finish(&reports),
            Some(_) => scrape.fail(&reports),
        };
        taken.wrote(written);
        taken
    }

    /// Stores that the scrape failed.
    pub fn fail(&mut self, asked: Asked) -> Taken {
        let reports = reports(&self.job, &self.target, &asked, 0, 0, false);
        let tracks = self.job.track_timestamps_staleness;
        let mut taken = Taken::default();
        taken.wrote(self.ingest.scrape(&mut self.memory, asked.at, tracks).fail(&reports));
        taken
    }
}

impl Taken {
    fn wrote(&mut self, written: Result<(ScrapeCounts, Ticket), StoreError>) {
        match written {
            Ok((counts, ticket)) => {
                self.counts = counts;
                self.ticket = Some(ticket);
            }
            Err(cause) => {
                self.lost = true;
                self.error.get_or_insert(TakeError::Store(cause.to_string()));
            }
        }
    }
}

/// What every series may be, whatever the config: as for pushes.
fn ingest_limits() -> LabelLimits {
    LabelLimits::default()
}

fn reports(
    job: &JobConfig,
    target: &Target,
    asked: &Asked,
    samples: usize,
    added: usize,
    up: bool,
) -> Vec<(Labels, f64)> {
    let mut reports = vec![
        ("up", f64::from(up)),
        ("scrape_duration_seconds", asked.seconds),
        ("scrape_samples_scraped", samples as f64),
        ("scrape_samples_post_metric_relabeling", samples as f64),
        ("scrape_series_added", added as f64),
    ];
    if job.extra_metrics {
        reports.push(("scrape_timeout_seconds", target.timeout_ms as f64 / 1000.0));
        reports.push(("scrape_sample_limit", job.limits.samples as f64));
        reports.push(("scrape_body_size_bytes", asked.body_bytes));
    }
    reports.into_iter().map(|(name, value)| (target.report_labels(name), value)).collect()
}

struct Reading<'a> {
    job: &'a JobConfig,
    target: &'a Target,
    scrape: Scrape<'a>,
    samples: usize,
    limits: LabelLimits,
}

impl Reading<'_> {
    fn read(&mut self, body: &[u8], format: Format) -> Result<(), TakeError> {
        let limit = match self.job.limits.samples {
            0 => SAMPLES_MAX,
            limit => limit.min(SAMPLES_MAX),
        };
        let mut families = self.target.families.lock();
        let mut lines = Lines::new(body, format)?;
        let mut labels = Vec::new();
        while let Some(line) = lines.next() {
            match line? {
                Line::Sample(mut sample) => {
                    self.samples += 1;
                    if self.samples > limit {
                        // The rest is only counted, so that one sees how far beyond the limit it is.
                        continue;
                    }
                    sample.timestamp = sample.timestamp.filter(|_| self.job.honor_timestamps);
                    if !self.scrape.append_known(sample.series, sample.timestamp, sample.value) {
                        let metric_type = lines.metric_type();
                        match read_series(sample.series, metric_type, &self.limits, &mut labels) {
                            Ok(name) => self.append_new(&name, &labels, sample)?,
                            Err(ParseErrorKind::LabelLimit(_)) => self.append(sample, None)?,
                            Err(kind) => return Err(lines.error(kind).into()),
                        }
                    }
                    if let Some(exemplar) = sample.exemplar {
                        let read = read_exemplar(exemplar).map_err(|kind| lines.error(kind))?;
                        self.scrape.exemplar(read.0, read.1, read.2);
                    }
                }
                description => describe(&mut families, description),
            }
        }
        families.finish(|family, metadata| self.scrape.remember(family, metadata));
        match self.samples > limit {
            true => Err(TakeError::Samples { found: self.samples, limit }),
            false => Ok(()),
        }
    }

    fn append_new(&mut self, name: &str, labels: &[Label<'_>], sample: SampleLine<'_>) -> Result<(), TakeError> {
        let labels = merged(&self.target.labels, name, labels, self.job.honor_labels);
        self.check(name, &labels)?;
        self.append(sample, Some(labels))
    }

    fn append(&mut self, sample: SampleLine<'_>, labels: Option<Labels>) -> Result<(), TakeError> {
        let appended = self.scrape.append_new(sample.series, labels, sample.timestamp, sample.value);
        appended.map_err(|cause| TakeError::Store(cause.to_string()))
    }

    fn check(&self, metric: &str, labels: &Labels) -> Result<(), TakeError> {
        let limits = &self.job.limits;
        let over = |found: usize, limit: usize| limit > 0 && found > limit;
        let found = if limits.labels > 0 { labels.len() } else { 0 };
        if over(found, limits.labels) {
            return Err(TakeError::Labels { metric: metric.to_owned(), found, limit: limits.labels });
        }
        if limits.label_name_bytes == 0 && limits.label_value_bytes == 0 {
            return Ok(());
        }
        for (name, value) in labels.iter() {
            let too_long = match () {
                () if over(name.len(), limits.label_name_bytes) => {
                    Some(("label_name_length_limit", name.len(), limits.label_name_bytes))
                }
                () if over(value.len(), limits.label_value_bytes) => {
                    Some(("label_value_length_limit", value.len(), limits.label_value_bytes))
                }
                () => None,
            };
            if let Some((key, found, limit)) = too_long {
                let (metric, label) = (metric.to_owned(), name.to_owned());
                return Err(TakeError::Length { key, metric, label, found, limit });
            }
        }
        Ok(())
    }
}

fn describe(families: &mut Families, line: Line<'_>) {
    match line {
        Line::Sample(_) => {}
        Line::Type { family, metric_type } => {
            families.describe(&family, |known| std::mem::replace(&mut known.metric_type, metric_type) != metric_type)
        }
        Line::Help { family, help } => families.describe(&family, |known| change(&mut known.help, &help)),
        Line::Unit { family, unit } => families.describe(&family, |known| change(&mut known.unit, unit)),
    }
}

/// Whether it was something else before.
fn change(text: &mut String, to: &str) -> bool {
    let other = text != to;
    if other {
        to.clone_into(text);
    }
    other
}

/// The labels of a series, with those of its target. Where both have one of a name, the target's wins and the other is
/// kept under `exported_`; with `honor` the series' own wins, even an empty one, which is then absent.
fn merged(target: &Labels, name: &str, own: &[Label<'_>], honor: bool) -> Labels {
    let mut pairs: Vec<(String, &str)> = Vec::with_capacity(own.len() + 4);
    pairs.push((METRIC_NAME.to_owned(), name));
    if honor {
        pairs.extend(own.iter().map(|label| (label.name.to_string(), &*label.value)));
        let missing = target.iter().filter(|(name, _)| own.iter().all(|label| label.name != *name));
        pairs.extend(missing.map(|(name, value)| (name.to_owned(), value)));
    } else {
        let (mut clashing, free): (Vec<&Label<'_>>, Vec<&Label<'_>>) =
            own.iter().filter(|label| !label.value.is_empty()).partition(|label| target.get(&label.name).is_some());
        pairs.extend(free.iter().map(|label| (label.name.to_string(), &*label.value)));
        pairs.extend(target.iter().map(|(name, value)| (name.to_owned(), value)));
        clashing.sort_by_key(|label| label.name.len());
        for label in clashing {
            let mut renamed = format!("{EXPORTED}{}", label.name);
            while pairs.iter().any(|(taken, _)| *taken == renamed) {
                renamed.insert_str(0, EXPORTED);
            }
            pairs.push((renamed, &label.value));
        }
    }
    // Names are unique: those of the series by its parser, the others by the lines above.
    Labels::from_pairs(pairs).unwrap_or_else(|_| Labels::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(target: &[(&str, &str)], series: &str, honor: bool) -> String {
        let target = Labels::from_pairs(target.iter().copied()).unwrap();
        let mut labels = Vec::new();
        let name = read_series(series, Default::default(), &LabelLimits::default(), &mut labels).unwrap();
        merged(&target, &name, &labels, honor).to_string()
    }

    #[test]
    fn labels_of_series_and_target_are_merged_as_by_prometheus() {
        let target = [("instance", "i"), ("job", "j")];
        for (series, honor, expected) in [
            ("a", false, "a{instance=\"i\", job=\"j\"}"),
            ("a{job=\"own\"}", false, "a{exported_job=\"own\", instance=\"i\", job=\"j\"}"),
            (
                "a{job=\"own\",exported_job=\"z\"}",
                false,
                "a{exported_exported_job=\"own\", exported_job=\"z\", instance=\"i\", job=\"j\"}",
            ),
            ("a{job=\"\",x=\"\"}", false, "a{instance=\"i\", job=\"j\"}"),
            ("a{job=\"own\"}", true, "a{instance=\"i\", job=\"own\"}"),
            ("a{instance=\"\",job=\"pj\"}", true, "a{job=\"pj\"}"),
        ] {
            assert_eq!(shown(&target, series, honor), expected, "{series} {honor}");
        }
        assert_eq!(
            shown(&[("exported_job", "t"), ("job", "j")], "a{exported_job=\"2\",job=\"1\"}", false),
            "a{exported_exported_exported_job=\"2\", exported_exported_job=\"1\", exported_job=\"t\", job=\"j\"}"
        );
    }
}
