//! `METRICS_UPDATE` messages become push groups, as the consumer they were made for would have pushed them.

use crate::{
    ingest::{BodyFormat, Grouping, Ingest, IngestError, PushRequest},
    mailbox::{HandleError, Handler, Message, Pending},
    model::Timestamp,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use tokio::sync::Mutex;

/// The kind of message this is for.
pub const METRICS_UPDATE: &str = "METRICS_UPDATE";
/// The job of all groups made here.
const JOB: &str = "beast-mailbox-core";
/// Groups whose newest message is remembered, at about 200 bytes each.
const GROUPS_REMEMBERED_MAX: usize = 10_000;

/// Pushes what messages say.
pub struct MetricsUpdate {
    ingest: Ingest,
    /// When the newest message that was pushed to a group was made: one that was tried again after it would put older
    /// values in place of newer ones. Held while one is pushed: queue and streams hand out side by side.
    newest: Mutex<HashMap<Grouping, Timestamp>>,
}

/// What is in a message; everything else in it is left alone.
#[derive(Debug, Deserialize)]
struct Payload {
    metrics: String,
    #[serde(default)]
    metadata: Option<HashMap<String, Value>>,
}

impl MetricsUpdate {
    pub fn new(ingest: Ingest) -> MetricsUpdate {
        MetricsUpdate { ingest, newest: Mutex::default() }
    }

    async fn push(&self, message: &Message) -> Result<(), HandleError> {
        let payload: Payload = serde_json::from_str(&message.payload).map_err(|error| {
            HandleError::Refused(format!(
                "the payload is not of the form {{\"metrics\": \"<text>\", \"metadata\": {{...}}}}: {error}"
            ))
        })?;
        let grouping = grouping(payload.metadata.unwrap_or_default()).map_err(HandleError::Refused)?;
        let mut newest = self.newest.lock().await;
        if newest.get(&grouping).is_some_and(|newest| *newest > message.created_ms) {
            return Ok(());
        }
        let body = payload.metrics.as_bytes();
        let request = PushRequest { grouping: grouping.clone(), replace: true, body, format: BodyFormat::Text };
        self.ingest.push(request).await.map_err(|error| match error {
            IngestError::Store(cause) => HandleError::Retry(cause.to_string()),
            refused => HandleError::Refused(refused.to_string()),
        })?;
        if newest.len() >= GROUPS_REMEMBERED_MAX {
            newest.clear();
        }
        newest.insert(grouping, message.created_ms);
        Ok(())
    }
}

impl Handler for MetricsUpdate {
    fn handle<'a>(&'a self, message: &'a Message) -> Pending<'a, Result<(), HandleError>> {
        Box::pin(self.push(message))
    }
}

/// `instance` is version and source, as the consumer of beast-mailbox-core names it; what is null or empty is left out.
fn grouping(metadata: HashMap<String, Value>) -> Result<Grouping, String> {
    let text = |name: &str| match metadata.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("`metadata.{name}` is neither a text nor a number")),
    };
    let (branch, version, source) = (text("branch")?, text("version")?, text("source")?);
    let parts: Vec<&str> = [&version, &source].into_iter().flatten().map(String::as_str).collect();
    let instance = Some(parts.join("-")).filter(|instance| !instance.is_empty());
    let job = Some(JOB.to_owned());
    let labels =
        [("job", &job), ("instance", &instance), ("branch", &branch), ("version", &version), ("source", &source)];
    let labels = labels.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
    Grouping::new(labels).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ingest::IngestConfig,
        model::{Matcher, Samples, TimeRange},
        stdx::clock::ManualClock,
        store::{Hints, Queryable, memory::Memory},
    };
    use std::sync::Arc;

    const NOW_MS: i64 = 1_700_000_000_000;

    struct Bench {
        store: Arc<Memory>,
        handler: MetricsUpdate,
    }

    impl Bench {
        fn new() -> Bench {
            let clock = Arc::new(ManualClock::new(NOW_MS));
            let store = Arc::new(Memory::new(clock.clone()));
            let ingest = Ingest::new(store.clone(), clock, IngestConfig::default());
            Bench { store, handler: MetricsUpdate::new(ingest) }
        }

        async fn handle(&self, payload: &str, created_ms: i64) -> Result<(), HandleError> {
            let (sender, recipient) = (String::new(), String::new());
            let (id, kind, payload) = (created_ms.to_string(), METRICS_UPDATE.to_owned(), payload.to_owned());
            self.handler.handle(&Message { id, kind, sender, recipient, payload, created_ms }).await
        }

        /// Series and newest value.
        fn series(&self, name: &str) -> Vec<String> {
            let set =
                self.store.select(TimeRange::ALL, &[Matcher::equal("__name__", name)], &Hints::default()).unwrap();
            let line = |index| {
                let mut samples = Samples::default();
                set.read(index, &mut samples).unwrap();
                format!("{} {}", set.labels(index), samples.values.last().unwrap())
            };
            (0..set.len()).map(line).collect()
        }
    }

    #[tokio::test]
    async fn metrics_become_a_push_group_with_the_labels_of_their_metadata() {
        let bench = Bench::new();
        let payload = r##"{"metrics": "# TYPE coverage gauge\ncoverage{project=\"a\"} 85.5\n",
            "metadata": {"branch": "main", "version": "1.2", "source": "sonarcloud-sync", "extra": [1]},
            "timestamp": "2026-01-01T00:00:00"}"##;
        // The same message once more changes nothing.
        for _ in 0..2 {
            bench.handle(payload, 1).await.unwrap();
            let expected = "coverage{branch=\"main\", instance=\"1.2-sonarcloud-sync\", job=\"beast-mailbox-core\", \
                            project=\"a\", source=\"sonarcloud-sync\", version=\"1.2\"} 85.5";
            assert_eq!(bench.series("coverage"), [expected]);
        }
        bench.handle(r#"{"metrics": "bare 1\n", "metadata": {"version": null, "source": "s"}}"#, 2).await.unwrap();
        assert_eq!(bench.series("bare"), [r#"bare{instance="s", job="beast-mailbox-core", source="s"} 1"#]);
        bench.handle(r#"{"metrics": "least 1\n"}"#, 3).await.unwrap();
        assert_eq!(bench.series("least"), [r#"least{job="beast-mailbox-core"} 1"#]);
    }

    #[tokio::test]
    async fn an_older_message_that_was_tried_again_does_not_replace_a_newer_one() {
        let bench = Bench::new();
        bench.handle(r#"{"metrics": "m 2\n"}"#, 20).await.unwrap();
        bench.handle(r#"{"metrics": "m 1\n"}"#, 10).await.unwrap();
        assert_eq!(bench.series("m"), [r#"m{job="beast-mailbox-core"} 2"#]);
    }

    #[tokio::test]
    async fn what_is_malformed_is_refused_and_nothing_of_it_stays() {
        let bench = Bench::new();
        for payload in [
            "[]",
            "{}",
            r#"{"metrics": 5}"#,
            r#"{"metrics": "good 1\nbad{ 2\n"}"#,
            r#"{"metrics": "good 1\n", "metadata": {"branch": []}}"#,
            r#"{"metrics": "good 1 1700000000000\n"}"#,
        ] {
            let refused = bench.handle(payload, 1).await;
            assert!(matches!(refused, Err(HandleError::Refused(_))), "{payload}: {refused:?}");
            assert!(bench.series("good").is_empty(), "{payload}");
        }
    }
}
