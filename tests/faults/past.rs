//! Samples of days that are over, and questions about them whose answers may never change: while blocks are merged
//! again and again around late samples, whatever interrupts it.

use super::keeper::compact;
use super::support::http;
use super::support::server::TestServer;
use super::support::tools::now_ms;
use super::support::wire;

pub const HOUR_MS: i64 = 3_600_000;

/// Where they begin: four days ago, on a full hour.
pub fn origin_ms() -> i64 {
    let now_ms = now_ms();
    now_ms - now_ms % HOUR_MS - 96 * HOUR_MS
}

const SERIES: u64 = 20;
const STEP_MS: i64 = 300_000;
const DAYS: i64 = 3;

const QUESTIONS: [&str; 6] = [
    "sum(rate(fault_past[1h]))",
    "sum by (group) (increase(fault_past[6h]))",
    "quantile(0.9, fault_past)",
    "count_over_time(fault_past[1d])",
    "max_over_time(fault_past{series=~\".*3\"}[2h]) - min_over_time(fault_past{series=~\".*3\"}[2h])",
    "topk(3, fault_past)",
];

/// Three days, in blocks.
#[derive(Debug, Clone, Copy)]
pub struct Past {
    origin_ms: i64,
}

impl Past {
    /// Writes them and waits until they are in blocks.
    pub fn write(server: &TestServer, origin_ms: i64) -> Past {
        for day in 0..DAYS {
            let series: Vec<wire::Series> = (0..SERIES).map(|number| one(origin_ms, day, number)).collect();
            let answer = server.write(&wire::write_request(&series));
            assert_eq!(answer.status, 204, "{answer}");
        }
        compact(server.url()).expect("the past is compacted");
        Past { origin_ms }
    }

    /// The bodies of all answers, and all samples as they are.
    pub fn answers(&self, server: &TestServer) -> Vec<String> {
        let (start, end) = (self.origin_ms / 1000, (self.origin_ms + DAYS * 24 * HOUR_MS) / 1000);
        let mut answers: Vec<String> = QUESTIONS
            .iter()
            .map(|question| {
                let question = http::percent_encode(question);
                server
                    .get(&format!("/api/v1/query_range?query={question}&start={start}&end={end}&step=1800"))
                    .data()
                    .to_string()
            })
            .collect();
        answers.push(server.query(&format!("fault_past[{DAYS}d]"), Some(end as f64)).to_string());
        answers
    }
}

fn one(origin_ms: i64, day: i64, number: u64) -> wire::Series {
    let per_day = 24 * HOUR_MS / STEP_MS;
    let samples: Vec<(i64, f64)> = (day * per_day..(day + 1) * per_day)
        // From 1: a range does not include where it begins.
        .map(|step| {
            (origin_ms + (step + 1) * STEP_MS, (step * step % 977) as f64 + (step * number as i64) as f64 / 8.0)
        })
        .collect();
    let (group, series) = ((number % 4).to_string(), number.to_string());
    wire::Series::new("fault_past", &[("group", &group), ("series", &series)], &samples)
}
