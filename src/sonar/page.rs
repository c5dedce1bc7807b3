//! What travels from the sync to the recorder: one page of a branch's history, as the payload of a message.

use super::naming::{Metric, Scheme};
use crate::{mailbox::Message, model::Timestamp, stdx::hex::hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What [`Message::kind`] says.
pub const KIND: &str = "sonar.history";

/// What a date of SonarQube can say, in seconds: a page may come over Redis, where anybody writes.
const DATES: std::ops::Range<i64> = 0..253_402_300_800;

/// One page. Everything the recorder needs stands in it; dates are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Page {
    pub project: String,
    pub branch: String,
    pub project_name: String,
    pub scheme: Scheme,
    /// What [`BranchState::revision`](super::state::BranchState) was when the page was read: it makes the same page,
    /// read after something else was stored, another message.
    pub revision: u64,
    /// The cursor that the page was asked for from, and where it gets to.
    pub after: Option<i64>,
    pub until: Option<i64>,
    /// From where on the history is complete once this is stored; `None` where that stays.
    pub covered: Option<i64>,
    /// Dates of the analyses, rising, each once.
    pub dates: Vec<i64>,
    /// What was answered for; each has one value a date, `None` where it was not measured.
    pub metrics: Vec<Metric>,
    pub values: Vec<Vec<Option<String>>>,
    /// Whether every metric that can be asked for is among `metrics`.
    pub is_complete: bool,
    /// Keys that the config asks for; series of others end.
    pub wanted: Vec<String>,
    pub events: Vec<Event>,
    /// The branch is not there any more.
    #[serde(default)]
    pub is_gone: bool,
    /// When it was read, by our clock.
    pub read_ms: Timestamp,
}

/// Something that happened with an analysis: a version, a quality gate that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub date: i64,
    pub category: String,
    pub name: String,
}

impl Page {
    /// The message; the same page gives the same id.
    pub fn message(&self) -> Message {
        // Moments of reading differ although the content does not.
        self.named_after(&Page { read_ms: 0, ..self.clone() })
    }

    /// The message under an id that none had before this reading.
    pub fn message_anew(&self) -> Message {
        self.named_after(self)
    }

    fn named_after(&self, same: &Page) -> Message {
        let hash = Sha256::digest(serde_json::to_vec(same).unwrap_or_default());
        Message {
            id: format!("sonar-{}", hex(&hash[..16])),
            kind: KIND.to_owned(),
            sender: "sonar".to_owned(),
            // Nobody else can do anything with it.
            recipient: String::new(),
            // Texts and numbers, which always have a JSON form.
            payload: serde_json::to_string(self).unwrap_or_default(),
            created_ms: self.read_ms,
        }
    }

    /// Reads a payload. The error says what is wrong.
    pub fn read(payload: &str) -> Result<Page, String> {
        let page: Page = serde_json::from_str(payload).map_err(|cause| format!("no page of history: {cause}"))?;
        let rising = page.dates.windows(2).all(|pair| pair[0] < pair[1]);
        let square = page.values.len() == page.metrics.len()
            && page.values.iter().all(|column| column.len() == page.dates.len());
        let events = page.events.iter().map(|event| event.date);
        let moments = page.dates.iter().copied().chain(events).chain([page.read_ms.div_euclid(1000)]);
        if !moments.into_iter().all(|moment| DATES.contains(&moment)) {
            return Err("no page of history: a date is not between the years 1970 and 9999".to_owned());
        }
        match rising && square {
            true => Ok(page),
            false => Err("no page of history: its dates do not rise, or values are missing or too many".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sonar::naming::Kind;

    fn page() -> Page {
        Page {
            project: "org:a".to_owned(),
            branch: "feature/x".to_owned(),
            dates: vec![1, 2],
            metrics: vec![Metric { key: "ncloc".to_owned(), kind: Kind::Int, domain: String::new() }],
            values: vec![vec![Some("1".to_owned()), None]],
            read_ms: 7,
            ..Page::default()
        }
    }

    #[test]
    fn a_page_read_again_is_the_same_message_and_another_page_is_not() {
        let page = page();
        let again = Page { read_ms: 8, ..page.clone() };
        assert_eq!(page.message().id, again.message().id);
        assert_ne!(page.message_anew().id, page.message().id);
        assert_ne!(page.message_anew().id, again.message_anew().id);
        for other in [
            Page { revision: 1, ..page.clone() },
            Page { is_gone: true, ..page.clone() },
            Page { branch: "main".to_owned(), ..page.clone() },
        ] {
            assert_ne!(page.message().id, other.message().id);
        }
        assert_eq!(Page::read(&page.message().payload), Ok(page));
    }

    #[test]
    fn payloads_that_are_no_page_are_told() {
        for wrong in [
            String::new(),
            "{}".to_owned(),
            Page { dates: vec![2, 1], ..page() }.message().payload,
            Page { dates: vec![1], ..page() }.message().payload,
            Page { values: vec![], ..page() }.message().payload,
            Page { dates: vec![1, i64::MAX], ..page() }.message().payload,
            Page { dates: vec![i64::MIN, 2], ..page() }.message().payload,
            Page { read_ms: i64::MIN, ..page() }.message().payload,
        ] {
            assert!(Page::read(&wrong).unwrap_err().contains("no page"), "{wrong}");
        }
    }
}
