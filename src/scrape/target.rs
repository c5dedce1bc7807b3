//! Targets: what a group and a job together say of one address, and how it is doing.

use super::config::{Group, JobConfig, Scheme};
use crate::model::{
    Labels, LabelsBuilder, METRIC_NAME, Metadata, Timestamp,
    time::{format_duration_ms, parse_duration_ms},
};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Families whose description is kept a target; those beyond are scraped all the same.
const FAMILIES_MAX: usize = 10_000;
/// Scrapes after which the description of a family that is gone goes too.
const FAMILY_ROUNDS: u32 = 10;

/// One thing to scrape. Job, labels and URL identify it; what it says about itself changes.
#[derive(Debug)]
pub struct Target {
    /// The job's name.
    pub job: String,
    /// Before anything was taken out: what it was found with.
    pub discovered: Labels,
    /// Of every series it gives.
    pub labels: Labels,
    /// Or why there is none.
    pub url: Result<reqwest::Url, String>,
    pub interval_ms: i64,
    pub timeout_ms: i64,
    status: Mutex<Status>,
    pub(super) families: Mutex<Families>,
}

/// Whether the last scrape worked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not scraped yet.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Health {
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Up => "up",
            Health::Down => "down",
        }
    }
}

/// How the last scrape went.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    pub health: Health,
    /// Empty where it worked.
    pub error: String,
    pub scraped_at: Option<Timestamp>,
    pub seconds: f64,
}

/// What a target says of its metric families.
#[derive(Debug, Default)]
pub(super) struct Families {
    by_name: HashMap<String, (Metadata, u32)>,
    round: u32,
    /// Those described otherwise than before, in this scrape.
    changed: Vec<String>,
}

impl Families {
    /// Changes what is known of a family.
    pub(super) fn describe(&mut self, family: &str, change: impl FnOnce(&mut Metadata) -> bool) {
        let round = self.round;
        if let Some((metadata, seen)) = self.by_name.get_mut(family) {
            *seen = round;
            if change(metadata) {
                self.changed.push(family.to_owned());
            }
        } else if self.by_name.len() < FAMILIES_MAX {
            let mut metadata = Metadata::default();
            change(&mut metadata);
            self.by_name.insert(family.to_owned(), (metadata, round));
            self.changed.push(family.to_owned());
        }
    }

    /// Ends a scrape: gives what changed, forgets what is long gone.
    pub(super) fn finish(&mut self, mut tell: impl FnMut(&str, &Metadata)) {
        for family in self.changed.drain(..) {
            if let Some((metadata, _)) = self.by_name.get(&family) {
                tell(&family, metadata);
            }
        }
        self.round = self.round.wrapping_add(1);
        if self.round.is_multiple_of(FAMILY_ROUNDS) {
            let round = self.round;
            self.by_name.retain(|_, (_, seen)| round.wrapping_sub(*seen) <= FAMILY_ROUNDS);
        }
    }
}

impl Target {
    /// The targets of one group. Every address gives one, also one that cannot be scraped.
    pub fn of_group(job: &JobConfig, group: &Group) -> Vec<Target> {
        group.targets.iter().map(|address| Target::new(job, address, &group.labels)).collect()
    }

    fn new(job: &JobConfig, address: &str, labels: &[(String, String)]) -> Target {
        let mut found = LabelsBuilder::new();
        labels.iter().for_each(|(name, value)| {
            found.set(name, value);
        });
        found.set("__address__", address);
        let defaults = [
            ("job", job.name.clone()),
            ("__scheme__", job.scheme.as_str().to_owned()),
            ("__metrics_path__", job.metrics_path.clone()),
            ("__scrape_interval__", format_duration_ms(job.interval_ms)),
            ("__scrape_timeout__", format_duration_ms(job.timeout_ms)),
        ];
        let params = job.params.iter().filter_map(|(name, values)| Some((format!("__param_{name}"), values.first()?)));
        for (name, value) in params {
            if found.get(&name).is_none() {
                found.set(&name, value);
            }
        }
        for (name, value) in defaults {
            if found.get(name).is_none() {
                found.set(name, &value);
            }
        }
        let discovered = found.clone().build();
        let url = url(job, &discovered);
        let time = |name: &str, default: i64| match discovered.get(name).map(parse_duration_ms) {
            Some(Ok(ms)) if ms > 0 => ms,
            _ => default,
        };
        let interval_ms = time("__scrape_interval__", job.interval_ms);
        let timeout_ms = time("__scrape_timeout__", job.timeout_ms).min(interval_ms);
        if found.get("instance").is_none() {
            found.set("instance", address);
        }
        let labels = found.build().filtered(|name| !name.starts_with("__"));
        let (status, families) = (Mutex::default(), Mutex::default());
        Target { job: job.name.clone(), discovered, labels, url, interval_ms, timeout_ms, status, families }
    }

    /// The same target, not scraped yet.
    pub(super) fn again(&self) -> Target {
        Target {
            job: self.job.clone(),
            discovered: self.discovered.clone(),
            labels: self.labels.clone(),
            url: self.url.clone(),
            interval_ms: self.interval_ms,
            timeout_ms: self.timeout_ms,
            status: Mutex::default(),
            families: Mutex::default(),
        }
    }

    /// Equal for targets that are one: labels and URL.
    pub fn identity(&self) -> Vec<u8> {
        let url = self.url.as_ref().map_or_else(String::as_str, |url| url.as_str());
        let mut identity = Vec::with_capacity(self.job.len() + self.labels.as_bytes().len() + url.len() + 1);
        identity.extend_from_slice(self.job.as_bytes());
        identity.push(0);
        identity.extend_from_slice(self.labels.as_bytes());
        identity.extend_from_slice(url.as_bytes());
        identity
    }

    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    pub(super) fn set_status(&self, status: Status) {
        *self.status.lock() = status;
    }

    /// Goes on where the same target left off under other settings.
    pub(super) fn inherit(&self, before: &Target) {
        self.set_status(before.status());
        *self.families.lock() = std::mem::take(&mut *before.families.lock());
    }

    /// What the target says of its families, in order of name; of one, where `family` is given.
    pub fn metadata(&self, family: Option<&str>) -> Vec<(String, Metadata)> {
        let families = self.families.lock();
        let entry = |(name, (metadata, _)): (&String, &(Metadata, u32))| (name.clone(), metadata.clone());
        let mut found: Vec<(String, Metadata)> = match family {
            Some(name) => families.by_name.get_key_value(name).map(entry).into_iter().collect(),
            None => families.by_name.iter().map(entry).collect(),
        };
        found.sort_by(|left, right| left.0.cmp(&right.0));
        found
    }

    /// The labels of a series about the scrape itself.
    pub(super) fn report_labels(&self, name: &str) -> Labels {
        let mut labels = self.labels.builder();
        labels.set(METRIC_NAME, name);
        labels.build()
    }
}

fn url(job: &JobConfig, found: &Labels) -> Result<reqwest::Url, String> {
    let get = |name: &str| found.get(name).unwrap_or_default();
    let address = get("__address__");
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains(['/', '?', '#', '@']) {
        return Err(format!("{address:?} is not a valid hostname; write host:port, the rest goes into the job's keys"));
    }
    let scheme = get("__scheme__");
    if ![Scheme::Http, Scheme::Https].iter().any(|known| known.as_str() == scheme) {
        return Err(format!("{scheme:?} is no scheme; write http or https"));
    }
    let path = get("__metrics_path__");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{address}{slash}{path}");
    let mut url = reqwest::Url::parse(&text).map_err(|cause| format!("{text:?} is no valid URL: {cause}"))?;
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (name, values) in &job.params {
        let first = found.get(&format!("__param_{name}")).map(str::to_owned);
        let values = first.into_iter().chain(values.iter().skip(1).cloned());
        pairs.extend(values.map(|value| (name.clone(), value)));
    }
    for (name, value) in found.iter() {
        if let Some(name) = name.strip_prefix("__param_")
            && !job.params.iter().any(|(known, _)| known == name)
        {
            pairs.push((name.to_owned(), value.to_owned()));
        }
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(job: &JobConfig, address: &str, labels: &[(&str, &str)]) -> Target {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Target::of_group(job, &Group { targets: vec![address.to_owned()], labels }).remove(0)
    }

    #[test]
    fn labels_and_url_come_from_job_and_group() {
        let mut job = JobConfig::new("node");
        job.params = vec![("a".to_owned(), vec!["1".to_owned(), "2 3".to_owned()])];
        let found = target(&job, "h:9100", &[("env", "test"), ("__metrics_path__", "/x"), ("__param_b", "c")]);
        assert_eq!(found.url.as_ref().map(|url| url.as_str()), Ok("http://h:9100/x?a=1&a=2+3&b=c"));
        assert_eq!(found.labels.to_string(), "{env=\"test\", instance=\"h:9100\", job=\"node\"}");
        assert_eq!(found.discovered.get("__scrape_interval__"), Some("1m"));
        let found =
            target(&job, "h", &[("__param_a", "9"), ("instance", "i"), ("job", "j"), ("__scrape_interval__", "5s")]);
        assert_eq!(found.url.as_ref().map(|url| url.as_str()), Ok("http://h/metrics?a=9&a=2+3"));
        assert_eq!(found.labels.to_string(), "{instance=\"i\", job=\"j\"}");
        assert_eq!((found.interval_ms, found.timeout_ms), (5_000, 5_000));
    }

    #[test]
    fn addresses_that_are_none_say_so() {
        let job = JobConfig::new("j");
        for (address, expected) in
            [("http://x", "is not a valid hostname"), ("a:b:c", "no valid URL"), ("", "no address")]
        {
            let error = target(&job, address, &[]).url.unwrap_err();
            assert!(error.contains(expected), "{address}: {error}");
        }
    }

    #[test]
    fn descriptions_follow_the_target() {
        let mut families = Families::default();
        let mut told = Vec::new();
        for round in 0..25 {
            if round < 3 {
                families.describe("a", |metadata| std::mem::replace(&mut metadata.help, "x".to_owned()) != "x");
            }
            families.finish(|name, _| told.push(name.to_owned()));
        }
        assert_eq!(told, ["a"]);
        assert!(families.by_name.is_empty());
    }
}
