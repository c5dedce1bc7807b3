//! Writers that remember what was acknowledged, and the question whether it is all there.

use super::support::server::{TestServer, number};
use super::support::tools::now_ms;
use super::support::{http, wire};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Series in one remote write; each is a sample at the same time.
const SERIES: u64 = 20;

/// Push groups of one pusher; it goes round and round them.
const GROUPS: u64 = 16;

/// What all writers of all rounds were told is stored.
#[derive(Debug, Clone, Default)]
pub struct Acknowledged {
    /// Writer to the sequence numbers of its batches; number n is the sample at `base_ms + n`.
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
    base_ms: i64,
}

impl Load {
    pub fn new() -> Load {
        Load {
            acknowledged: Arc::default(),
            next: Arc::new(AtomicU64::new(1)),
            stop: Arc::default(),
            writers: Vec::new(),
            base_ms: now_ms() - 3_600_000,
        }
    }

    /// Two remote writers and two pushers against `server`, until they are stopped or it does not answer any more.
    pub fn start(&mut self, server: &TestServer) {
        self.stop.store(false, Ordering::SeqCst);
        for index in 0..2 {
            let writer = Writer {
                url: server.url().to_owned(),
                acknowledged: Arc::clone(&self.acknowledged),
                next: Arc::clone(&self.next),
                stop: Arc::clone(&self.stop),
                base_ms: self.base_ms,
            };
            let pusher = writer.clone();
            self.writers.push(std::thread::spawn(move || writer.write_all(&format!("w{index}"))));
            self.writers.push(std::thread::spawn(move || pusher.push_all(&format!("p{index}"))));
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
    }

    /// What of `acknowledged` the server does not have.
    pub fn missing(&self, server: &TestServer, acknowledged: &Acknowledged) -> Vec<String> {
        let mut missing = Vec::new();
        for (writer, numbers) in &acknowledged.batches {
            let mut found: HashMap<u64, HashSet<String>> = HashMap::new();
            let end_ms = self.base_ms + self.next.load(Ordering::SeqCst) as i64 + 1;
            let expression = format!("fault_written{{writer=\"{writer}\"}}[2h]");
            let data = server.query(&expression, Some(end_ms as f64 / 1000.0));
            for series in data["result"].as_array().expect("a matrix") {
                let name = series["metric"]["series"].as_str().expect("a label").to_owned();
                for pair in series["values"].as_array().expect("values") {
                    found.entry(number(&pair[1]) as u64).or_default().insert(name.clone());
                }
            }
            let lost = numbers.iter().filter(|n| found.get(n).map_or(0, HashSet::len) < SERIES as usize);
            missing.extend(lost.map(|n| format!("batch {n} of writer {writer}")));
        }
        let data = server.query("fault_pushed", None);
        let mut found: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for series in data["result"].as_array().expect("a vector") {
            let text = |label: &str| series["metric"][label].as_str().unwrap_or_default().to_owned();
            let instance = text("instance").parse().expect("an instance is a number");
            found.insert((text("job"), instance), number(&series["value"][1]) as u64);
        }
        for (group, value) in &acknowledged.groups {
            // A later push may have been stored without its answer having arrived.
            if found.get(group).is_none_or(|stored| stored < value) {
                missing.push(format!("push {value} to group {group:?}; there is {:?}", found.get(group)));
            }
        }
        missing
    }
}

#[derive(Debug, Clone)]
struct Writer {
    url: String,
    acknowledged: Arc<Mutex<Acknowledged>>,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    base_ms: i64,
}

impl Writer {
    fn write_all(&self, writer: &str) {
        let url = format!("{}/api/v1/write", self.url);
        while !self.stop.load(Ordering::SeqCst) {
            let sequence = self.next.fetch_add(1, Ordering::SeqCst);
            let sample = [(self.base_ms + sequence as i64, sequence as f64)];
            let series: Vec<wire::Series> = (0..SERIES)
                .map(|n| wire::Series::new("fault_written", &[("series", &n.to_string()), ("writer", writer)], &sample))
                .collect();
            match http::try_send("POST", &url, wire::WRITE_HEADERS, &wire::write_request(&series)) {
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
