//! Writers that remember what was acknowledged, and the question whether it is all there, and once.

use super::keeper::{Kept, keep};
use super::past::{HOUR_MS, origin_ms};
use super::support::server::{TestServer, number};
use super::support::tools::now_ms;
use super::support::{http, wire};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Series in one remote write; each is a sample at the same time.
const SERIES: u64 = 20;

/// Push groups of one pusher; it goes round and round them.
const GROUPS: u64 = 16;

/// Windows that late samples go to, one after the other; all of them have been merged before.
const LATE_WINDOWS: u64 = 8;

/// So many late batches a second are many merges; more would only be longer answers.
const LATE_PAUSE: Duration = Duration::from_millis(2);

/// Every so many batches one is sent twice, as by a sender that missed the answer.
const RETRY_EVERY: u64 = 8;

/// What all writers of all rounds were told is stored.
#[derive(Debug, Clone, Default)]
pub struct Acknowledged {
    /// Writer to the sequence numbers of its batches; each number is a sample of its value at a time of its own.
    pub batches: BTreeMap<String, Vec<u64>>,
    /// Group (pusher and its instance) to the highest value acknowledged.
    pub groups: BTreeMap<(String, u64), u64>,
}

impl Acknowledged {
    pub fn count(&self) -> usize {
        self.batches.values().map(Vec::len).sum::<usize>() + self.groups.len()
    }
}

/// Runs from [`Load::start`] until [`Load::stop`]; lives through as many servers as there are rounds.
#[derive(Debug)]
pub struct Load {
    acknowledged: Arc<Mutex<Acknowledged>>,
    /// Sequence numbers go on where the last round ended, acknowledged or not, so that no number is used twice.
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<()>>,
    keeper: Option<JoinHandle<Kept>>,
    kept: Kept,
    times: Times,
}

/// When the samples of a batch are.
#[derive(Debug, Clone, Copy)]
struct Times {
    recent_ms: i64,
    late_ms: i64,
}

impl Times {
    /// Of a writer's batch: an hour ago and on, or spread over windows of days ago.
    fn of(self, writer: &str, sequence: u64) -> i64 {
        if !is_late(writer) {
            return self.recent_ms + sequence as i64;
        }
        let (window, place) = (sequence % LATE_WINDOWS, sequence / LATE_WINDOWS);
        self.late_ms + window as i64 * 2 * HOUR_MS + place as i64
    }
}

fn is_late(writer: &str) -> bool {
    writer.starts_with("late")
}

impl Load {
    pub fn new() -> Load {
        Load {
            acknowledged: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
            stop: Arc::default(),
            writers: Vec::new(),
            keeper: None,
            kept: Kept::default(),
            times: Times { recent_ms: now_ms() - HOUR_MS, late_ms: origin_ms() },
        }
    }

    /// As [`Load::start`], and blocks are written, merged and dropped all the while.
    pub fn start_with_keeper(&mut self, server: &TestServer) {
        self.start(server);
        let (url, stop) = (server.url().to_owned(), Arc::clone(&self.stop));
        self.keeper = Some(std::thread::spawn(move || keep(&url, &stop)));
    }

    /// Two remote writers, one with late samples and two pushers against `server`, until they are stopped or it does not
    /// answer any more.
    pub fn start(&mut self, server: &TestServer) {
        self.stop.store(false, Ordering::SeqCst);
        let writer = Writer {
            url: server.url().to_owned(),
            acknowledged: Arc::clone(&self.acknowledged),
            next: Arc::clone(&self.next),
            stop: Arc::clone(&self.stop),
            times: self.times,
        };
        for name in ["w0", "w1", "late0"] {
            let writer = writer.clone();
            self.writers.push(std::thread::spawn(move || writer.write_all(name)));
        }
        for name in ["p0", "p1"] {
            let pusher = writer.clone();
            self.writers.push(std::thread::spawn(move || pusher.push_all(name)));
        }
    }

    /// What is acknowledged now. Take it before the fault: what is acknowledged after it cannot be asked for.
    pub fn acknowledged(&self) -> Acknowledged {
        self.acknowledged.lock().unwrap().clone()
    }

    /// Goes back to what was acknowledged at a cut: an answer that was on its way then proves nothing either way.
    pub fn forget_since(&self, at_the_cut: &Acknowledged) {
        self.acknowledged.lock().unwrap().clone_from(at_the_cut);
    }

    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for writer in self.writers.drain(..) {
            writer.join().expect("a writer ends without a panic");
        }
        if let Some(keeper) = self.keeper.take() {
            self.kept.add(keeper.join().expect("the keeper ends without a panic"));
        }
    }

    /// Where its late samples begin.
    pub fn late_ms(&self) -> i64 {
        self.times.late_ms
    }

    /// What was done about blocks so far.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// All batches and pushes that a server has, acknowledged or not; panics where one is there in part, or twice, or
    /// was never sent.
    pub fn stored(&self, server: &TestServer) -> Acknowledged {
        let mut stored = Acknowledged::default();
        let end = (self.times.recent_ms + self.next.load(Ordering::SeqCst) as i64 + 1) as f64 / 1000.0;
        for (name, range) in [("fault_late", "7d"), ("fault_written", "2h")] {
            let data = server.query(&format!("{name}[{range}]"), Some(end));
            let mut series_of: BTreeMap<(String, u64), u64> = BTreeMap::new();
            for series in data["result"].as_array().expect("a matrix") {
                let writer = series["metric"]["writer"].as_str().expect("a label");
                for pair in series["values"].as_array().expect("values") {
                    *series_of.entry((writer.to_owned(), number(&pair[1]) as u64)).or_default() += 1;
                }
            }
            for ((writer, sequence), series) in series_of {
                assert_eq!(series, SERIES, "series of batch {sequence} of {writer}");
                assert!(sequence < self.next.load(Ordering::SeqCst), "batch {sequence} of {writer} was never sent");
                stored.batches.entry(writer).or_default().push(sequence);
            }
        }
        stored.groups = groups(server);
        stored
    }

    /// What of `acknowledged` the server does not have, what it has twice, and what nobody wrote.
    pub fn missing(&self, server: &TestServer, acknowledged: &Acknowledged) -> Vec<String> {
        let mut missing = Vec::new();
        for (writer, numbers) in &acknowledged.batches {
            let (name, range) = if is_late(writer) { ("fault_late", "7d") } else { ("fault_written", "2h") };
            let end_ms = self.times.recent_ms + self.next.load(Ordering::SeqCst) as i64 + 1;
            let expression = format!("{name}{{writer=\"{writer}\"}}[{range}]");
            let data = server.query(&expression, Some(end_ms as f64 / 1000.0));
            let counts = server.query(&format!("count_over_time({expression})"), Some(end_ms as f64 / 1000.0));
            let mut found: HashMap<u64, u64> = HashMap::new();
            let mut all = BTreeMap::new();
            for series in data["result"].as_array().expect("a matrix") {
                let name = series["metric"]["series"].as_str().expect("a label").to_owned();
                let mut distinct = HashSet::new();
                for pair in series["values"].as_array().expect("values") {
                    let sequence = number(&pair[1]) as u64;
                    if !distinct.insert(sequence) {
                        missing.push(format!("batch {sequence} of {writer} is there twice in series {name}"));
                    } else if (number(&pair[0]) * 1000.0).round() as i64 != self.times.of(writer, sequence) {
                        missing.push(format!("nobody wrote {pair} to series {name} of {writer}"));
                    }
                    *found.entry(sequence).or_default() += 1;
                }
                all.insert(name, distinct.len());
            }
            for series in counts["result"].as_array().expect("a vector") {
                let name = series["metric"]["series"].as_str().expect("a label");
                if all.remove(name) != Some(number(&series["value"][1]) as usize) {
                    missing.push(format!("count_over_time of series {name} of {writer} is {}", series["value"][1]));
                }
            }
            missing.extend(all.keys().map(|name| format!("no count_over_time of series {name} of {writer}")));
            let lost = numbers.iter().filter(|n| found.get(n).is_none_or(|series| *series < SERIES));
            missing.extend(lost.map(|n| format!("batch {n} of writer {writer}")));
        }
        let found = groups(server);
        for (group, value) in &acknowledged.groups {
            // A later push may have been stored without its answer having arrived.
            if found.get(group).is_none_or(|stored| stored < value) {
                missing.push(format!("push {value} to group {group:?}; there is {:?}", found.get(group)));
            }
        }
        missing
    }
}

/// The value of each push group that a server has.
fn groups(server: &TestServer) -> BTreeMap<(String, u64), u64> {
    let data = server.query("fault_pushed", None);
    let mut found = BTreeMap::new();
    for series in data["result"].as_array().expect("a vector") {
        let text = |label: &str| series["metric"][label].as_str().unwrap_or_default().to_owned();
        let instance = text("instance").parse().expect("an instance is a number");
        found.insert((text("job"), instance), number(&series["value"][1]) as u64);
    }
    found
}

#[derive(Debug, Clone)]
struct Writer {
    url: String,
    acknowledged: Arc<Mutex<Acknowledged>>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    times: Times,
}

impl Writer {
    fn write_all(&self, writer: &str) {
        let name = if is_late(writer) { "fault_late" } else { "fault_written" };
        let url = format!("{}/api/v1/write", self.url);
        while !self.stop.load(Ordering::SeqCst) {
            let sequence = self.next.fetch_add(1, Ordering::SeqCst);
            let sample = [(self.times.of(writer, sequence), sequence as f64)];
            let series: Vec<wire::Series> = (0..SERIES)
                .map(|n| wire::Series::new(name, &[("series", &n.to_string()), ("writer", writer)], &sample))
                .collect();
            let body = wire::write_request(&series);
            if is_late(writer) {
                std::thread::sleep(LATE_PAUSE);
            }
            if sequence.is_multiple_of(RETRY_EVERY) {
                // Whether it was stored does not matter: what follows is the same again.
                let _ = http::try_send("POST", &url, wire::WRITE_HEADERS, &body);
            }
            match http::try_send("POST", &url, wire::WRITE_HEADERS, &body) {
                Ok(answer) if answer.status == 204 => {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    acknowledged.batches.entry(writer.to_owned()).or_default().push(sequence);
                }
                // A server whose disk is gone may answer that it cannot; one that refuses good data may not.
                Ok(answer) => assert!(answer.status >= 500, "{answer}"),
                Err(_) => return,
            }
        }
    }

    fn push_all(&self, pusher: &str) {
        for round in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let sequence = self.next.fetch_add(1, Ordering::SeqCst);
            let instance = round % GROUPS;
            let url = format!("{}/metrics/job/{pusher}/instance/{instance}", self.url);
            match http::try_send("PUT", &url, &[], format!("fault_pushed {sequence}\n").as_bytes()) {
                Ok(answer) if answer.status == 200 => {
                    let mut acknowledged = self.acknowledged.lock().unwrap();
                    acknowledged.groups.insert((pusher.to_owned(), instance), sequence);
                }
                Ok(answer) => assert!(answer.status >= 500, "{answer}"),
                Err(_) => return,
            }
        }
    }
}
