//! Pushes and deletions: plan under the lock, write one batch, wait for the disk without it.

use super::{
    Grouping,
    codec::{self, family_key, group_key},
    families::{FamiliesError, families},
    group::{Family, Group, GroupSample, PUSH_FAILURE_TIME, PUSH_TIME},
    groups::Groups,
};
use crate::{
    ingest::{Ingest, IngestError, IngestStats, metadata::MetadataTable, service::Shared},
    model::{Labels, Metadata, STALE_NAN, Timestamp},
    protocol::{
        exposition::{self, Value},
        metric_family,
    },
    store::{Conflict, RunChange, SeriesId, StateChange, Store, Ticket, Tree, WriteBatch},
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

/// What the body of a push is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyFormat {
    #[default]
    Text,
    /// Length-delimited protobuf `MetricFamily` messages.
    Protobuf,
}

impl BodyFormat {
    /// Protobuf where a Content-Type says so in full; everything else, `curl`'s form type too, is text.
    pub fn from_content_type(content_type: &str) -> BodyFormat {
        let mut parts = content_type.split(';').map(str::trim);
        if !parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/vnd.google.protobuf")) {
            return BodyFormat::Text;
        }
        let (mut delimited, mut family) = (false, false);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "encoding" => delimited = value == "delimited",
                "proto" => family = value == "io.prometheus.client.MetricFamily",
                _ => {}
            }
        }
        if delimited && family { BodyFormat::Protobuf } else { BodyFormat::Text }
    }
}

/// One push.
#[derive(Debug, Clone)]
pub struct PushRequest<'a> {
    pub grouping: Grouping,
    /// Whether everything else of the group goes (PUT), or only families of the same name (POST).
    pub replace: bool,
    /// Decompressed.
    pub body: &'a [u8],
    pub format: BodyFormat,
}

/// The groups behind the lock that puts pushes in order.
pub(in crate::ingest) struct Gateway {
    groups: Mutex<Groups>,
}

impl Gateway {
    /// Reads back the groups of `store`.
    pub(in crate::ingest) fn load(store: &dyn Store, metadata: &MetadataTable, stats: &IngestStats) -> Gateway {
        let mut groups = Groups::default();
        let damaged = codec::load(store.state_scan(Tree::PushGroups, &[]), &mut groups);
        stats.push_records_damaged.add(damaged);
        for group in groups.all() {
            for (name, family) in &group.families {
                remember(metadata, name, family);
            }
        }
        Gateway { groups: Mutex::new(groups) }
    }

    /// The groups at this moment, in order of their keys.
    pub(super) fn snapshot(&self) -> Vec<Arc<Group>> {
        self.groups.lock().all()
    }
}

impl Ingest {
    /// Applies a push. On `Ok` it is durable and visible to queries.
    pub async fn push(&self, request: PushRequest<'_>) -> Result<(), IngestError> {
        self.push_by(None, request).await
    }

    /// As [`Ingest::push`], for who came with `token`.
    pub async fn push_by(&self, token: Option<&str>, request: PushRequest<'_>) -> Result<(), IngestError> {
        let result = match self.push_now(token, request) {
            Ok((ticket, verdict)) => match ticket.wait().await {
                Ok(()) => verdict,
                Err(e) => Err(e.into()),
            },
            Err(e) => Err(e),
        };
        let stats = &self.shared.stats;
        if result.is_ok() { &stats.pushes_ok } else { &stats.pushes_failed }.add(1);
        result
    }

    /// Deletes the group with exactly this grouping key. Where there is none, nothing happens.
    pub async fn delete(&self, grouping: &Grouping) -> Result<(), IngestError> {
        let ticket = self.delete_now(grouping)?;
        ticket.wait().await?;
        self.shared.stats.push_deletes.add(1);
        Ok(())
    }

    /// How many push groups there are.
    pub fn push_groups(&self) -> usize {
        self.shared.gateway.groups.lock().len()
    }

    /// The ticket to wait for, and what to answer then: a push that was refused also leaves a durable trace.
    fn push_now(
        &self,
        token: Option<&str>,
        request: PushRequest<'_>,
    ) -> Result<(Ticket, Result<(), IngestError>), IngestError> {
        let limits = self.shared.config.exposition_limits();
        let exposition = match request.format {
            BodyFormat::Text => exposition::parse_bytes(request.body, &limits).map_err(malformed)?,
            BodyFormat::Protobuf => metric_family::decode(request.body, &limits).map_err(malformed)?,
        };
        for (name, value) in request.grouping.labels() {
            limits.labels.check_name(name).map_err(malformed)?;
            limits.labels.check_value(name, value).map_err(malformed)?;
        }
        let now = self.shared.clock.now_ms();
        let families = match families(&exposition, &request.grouping, &limits.labels, now) {
            Ok(families) => Ok(families),
            Err(FamiliesError::Labels(e)) => return Err(IngestError::Malformed(e)),
            Err(FamiliesError::Timestamp) => Err("pushed metrics must not have timestamps".to_owned()),
        };
        let samples = exposition.samples.len() as u64;
        let mut groups = self.shared.gateway.groups.lock();
        let before = groups.get(&group_key(&request.grouping)).cloned();
        let limit = self.shared.config.push_groups_max;
        if before.is_none() && groups.len() >= limit {
            return Err(IngestError::TooManyGroups { limit });
        }
        let before = before.unwrap_or_else(|| Arc::new(groups.new_group(request.grouping.clone())));
        let checked = families.and_then(|families| {
            groups.check(&before, request.replace, &families)?;
            Ok(families)
        });
        match checked {
            Ok(families) => {
                let after = pushed(&before, request.replace, families, now);
                let ticket = self.write(token, &mut groups, &before, after)?;
                self.shared.stats.push_samples.add(samples);
                Ok((ticket, Ok(())))
            }
            Err(reason) => {
                // A group that may not exist cannot fail either.
                if groups.times_taken(&before) {
                    return Err(IngestError::Inconsistent(reason));
                }
                let after = Group { failed_ms: now, ..(*before).clone() };
                let ticket = self.write(token, &mut groups, &before, after)?;
                Ok((ticket, Err(IngestError::Inconsistent(reason))))
            }
        }
    }

    /// Writes the difference between two states of a group, and makes the later one current.
    fn write(
        &self,
        token: Option<&str>,
        groups: &mut Groups,
        before: &Group,
        after: Group,
    ) -> Result<Ticket, IngestError> {
        let mut writer = BatchWriter::new(&self.shared, token);
        let grouping = &after.grouping;
        for (metric, at_ms) in [(PUSH_TIME, after.pushed_ms), (PUSH_FAILURE_TIME, after.failed_ms)] {
            writer.set(&Group::time_labels(grouping, metric), &Value::Float(at_ms as f64 / 1000.0))?;
        }
        let key = group_key(grouping);
        writer.state(key.clone(), Some(codec::encode_group(&after)));
        let mut kept: HashSet<(&Labels, bool)> = HashSet::new();
        for (name, family) in &after.families {
            let changed = !before.families.get(name).is_some_and(|then| Arc::ptr_eq(then, family));
            for GroupSample { labels, value } in &family.samples {
                kept.insert((labels, matches!(value, Value::Float(_))));
                if changed {
                    writer.set(labels, value)?;
                }
            }
            if changed {
                writer.state(family_key(&key, name), Some(codec::encode_family(family, grouping)));
                remember(&self.shared.metadata, name, family);
            }
        }
        for (name, family) in &before.families {
            let now = after.families.get(name);
            if now.is_some_and(|now| Arc::ptr_eq(now, family)) {
                continue;
            }
            if now.is_none() {
                writer.state(family_key(&key, name), None);
            }
            for GroupSample { labels, value } in &family.samples {
                if !kept.contains(&(labels, matches!(value, Value::Float(_)))) {
                    writer.end(labels, value)?;
                }
            }
        }
        let ticket = writer.append()?;
        groups.put(Arc::new(after));
        Ok(ticket)
    }

    fn delete_now(&self, grouping: &Grouping) -> Result<Ticket, IngestError> {
        let key = group_key(grouping);
        let mut groups = self.shared.gateway.groups.lock();
        let Some(group) = groups.get(&key).cloned() else { return Ok(Ticket::done()) };
        let mut writer = BatchWriter::new(&self.shared, None);
        for metric in [PUSH_TIME, PUSH_FAILURE_TIME] {
            writer.end(&Group::time_labels(grouping, metric), &Value::Float(0.0))?;
        }
        for GroupSample { labels, value } in group.samples() {
            writer.end(labels, value)?;
        }
        for name in group.families.keys() {
            writer.state(family_key(&key, name), None);
        }
        writer.state(key.clone(), None);
        let ticket = writer.append()?;
        groups.remove(&key);
        Ok(ticket)
    }
}

/// The group after a push that was accepted.
fn pushed(before: &Group, replace: bool, families: BTreeMap<String, Family>, now: Timestamp) -> Group {
    let mut after = Group { pushed_ms: now, ..before.clone() };
    if replace {
        after.families.clear();
    }
    after.families.extend(families.into_iter().map(|(name, family)| (name, Arc::new(family))));
    after
}

/// Collects one batch.
struct BatchWriter<'a> {
    shared: &'a Shared,
    token: Option<&'a str>,
    now: Timestamp,
    batch: WriteBatch,
}

impl<'a> BatchWriter<'a> {
    fn new(shared: &'a Shared, token: Option<&'a str>) -> BatchWriter<'a> {
        let batch = WriteBatch { conflict: Conflict::Overwrite, ..WriteBatch::default() };
        BatchWriter { shared, token, now: shared.clock.now_ms(), batch }
    }

    fn series(&self, labels: &Labels) -> Result<SeriesId, IngestError> {
        self.shared.series_id(self.token, labels).map_err(|error| {
            if error.is_of_new_series() {
                self.shared.count_refused_series(&error, 1);
            }
            error.into()
        })
    }

    /// The value holds from now on. One that held before goes on: the store sees to that.
    fn set(&mut self, labels: &Labels, value: &Value) -> Result<(), IngestError> {
        let series = self.series(labels)?;
        match value {
            Value::Float(value) => self.batch.runs.push(RunChange::Open {
                series,
                value: *value,
                first: self.now,
                step_ms: self.shared.config.run_step_ms,
            }),
            // Runs carry numbers; a histogram is one sample, at the time it was pushed.
            Value::Histogram(histogram) => self.batch.histograms.push((series, self.now, histogram.clone())),
        }
        Ok(())
    }

    /// The series has no value from now on.
    fn end(&mut self, labels: &Labels, value: &Value) -> Result<(), IngestError> {
        let series = self.series(labels)?;
        match value {
            Value::Float(_) => self.batch.runs.push(RunChange::Close { series, at: self.now }),
            Value::Histogram(_) => self.batch.push(series, self.now, STALE_NAN),
        }
        Ok(())
    }

    fn state(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.batch.state.push(StateChange { tree: Tree::PushGroups, key, value });
    }

    fn append(self) -> Result<Ticket, IngestError> {
        Ok(self.shared.store.append(&self.batch)?.ticket)
    }
}

fn malformed(error: impl std::fmt::Display) -> IngestError {
    IngestError::Malformed(error.to_string())
}

fn remember(metadata: &MetadataTable, name: &str, family: &Family) {
    let said = Metadata { metric_type: family.metric_type, help: family.help.clone(), unit: String::new() };
    metadata.set(name, said);
}
