//! Random queries of the grammar that Prometheus 2.42 and 3.14 share.

use super::{
    data::{BEGIN_MS, SPAN_MS},
    random::Random,
};

const COUNTERS: [&str; 2] = ["requests_total", "errors_total"];
const GAUGES: [&str; 4] = ["temperature_celsius", "memory_bytes", "queue_length", "odd_value"];
const RANGES: [&str; 9] = ["30s", "45s", "1m", "2m", "5m", "10m", "15m", "30m", "1h"];
const LABELS: [&str; 4] = ["job", "instance", "code", "version"];
/// Deeper expressions are wrapped no more.
const DEPTH_MAX: u32 = 4;

/// One query with its times.
#[derive(Debug)]
pub struct Question {
    query: String,
    start_ms: i64,
    /// `None` for an instant query: end and step in milliseconds.
    range: Option<(i64, i64)>,
}

impl Question {
    /// The path and the form fields.
    pub fn request(&self) -> (&'static str, Vec<(&'static str, String)>) {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let query = ("query", self.query.clone());
        match self.range {
            None => ("/api/v1/query", vec![query, ("time", seconds(self.start_ms))]),
            Some((end, step)) => (
                "/api/v1/query_range",
                vec![query, ("start", seconds(self.start_ms)), ("end", seconds(end)), ("step", seconds(step))],
            ),
        }
    }
}

pub fn question(random: &mut Random) -> Question {
    // 7 ms past a whole second; a few before and after the data.
    let start_ms = BEGIN_MS + 7 + (random.below(SPAN_MS as u64 / 1000 + 600) as i64 - 60) * 1000;
    let range = random.chance(60).then(|| {
        let step = *random.of(&[15, 30, 60, 60, 120, 300]) * 1000;
        (start_ms + step * random.below(50) as i64, step)
    });
    let mut writer = Writer { random, in_subquery: false };
    let query = if writer.random.chance(6) { writer.scalar(2) } else { writer.vector(0) };
    Question { query, start_ms, range }
}

struct Writer<'a> {
    random: &'a mut Random,
    /// Subqueries are not nested.
    in_subquery: bool,
}

impl Writer<'_> {
    fn one(&mut self, list: &[&str]) -> String {
        (*self.random.of(list)).to_owned()
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth >= DEPTH_MAX {
            return self.gauge_selector();
        }
        match self.random.below(18) {
            0 => self.gauge_selector(),
            1 => self.counter_selector(),
            2..=4 => self.rate(),
            5..=7 => self.over_time(depth),
            8..=10 => self.aggregate(depth),
            11 => self.ranked(depth),
            12 | 13 => self.with_scalar(depth),
            14 => self.join(depth),
            15 => self.set(depth),
            16 => self.function(depth),
            _ => self.rare(depth),
        }
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.random.below(8) {
            0 => "time()".to_owned(),
            1 => format!("scalar({})", self.aggregate(depth + 2)),
            2 => format!("({} {} {})", self.number(), self.one(&["+", "-", "*", "/", "%", "^"]), self.number()),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> String {
        self.one(&["0", "1", "2", "-3", "0.5", "100", "1e3", "0x1F", "+Inf", "NaN", "2.5e-2", "1024"])
    }

    fn matchers(&mut self) -> String {
        let choice = self.random.below(9);
        let host = self.random.below(5);
        match choice {
            0 => "{job=\"api\"}".to_owned(),
            1 => "{job!=\"db\"}".to_owned(),
            2 => "{job=~\"api|web\"}".to_owned(),
            3 => format!("{{instance!~\"host[{host}-9].*\"}}"),
            4 => format!("{{instance=\"host{host}:9100\"}}"),
            5 => format!("{{job=~\".+\",instance=~\"host{host}.*\"}}"),
            _ => String::new(),
        }
    }

    fn offset(&mut self) -> String {
        if self.random.chance(20) { format!(" offset {}", self.one(&RANGES[..8])) } else { String::new() }
    }

    fn modifiers(&mut self) -> String {
        let offset = match self.random.below(12) {
            0 => format!(" offset {}", self.one(&RANGES[..8])),
            1 => format!(" offset -{}", self.one(&RANGES[..6])),
            _ => String::new(),
        };
        let second = BEGIN_MS / 1000 + self.random.below(SPAN_MS as u64 / 1000) as i64;
        let at = match self.random.below(30) {
            0 => " @ start()".to_owned(),
            1 => " @ end()".to_owned(),
            2 => format!(" @ {second}.007"),
            _ => String::new(),
        };
        if self.random.chance(50) { format!("{at}{offset}") } else { format!("{offset}{at}") }
    }

    fn gauge_selector(&mut self) -> String {
        format!("{}{}{}", self.one(&GAUGES), self.matchers(), self.modifiers())
    }

    fn counter_selector(&mut self) -> String {
        format!("{}{}{}", self.one(&COUNTERS), self.matchers(), self.modifiers())
    }

    fn range_of(&mut self, name: &str) -> String {
        format!("{name}{}[{}]{}", self.matchers(), self.one(&RANGES), self.modifiers())
    }

    fn rate(&mut self) -> String {
        let function = self.one(&["rate", "rate", "increase", "irate", "resets", "delta", "idelta", "changes"]);
        let counter = self.one(&["requests_total", "errors_total", "latency_seconds_count", "latency_seconds_sum"]);
        format!("{function}({})", self.range_of(&counter))
    }

    fn over_time(&mut self, depth: u32) -> String {
        if self.random.chance(6) {
            // 2.42 moves the window of a fixed time on from step to step.
            let (gauge, matchers, offset) = (self.one(&GAUGES), self.matchers(), self.offset());
            let ahead = self.one(&["60", "3600", "-300"]);
            return format!("predict_linear({gauge}{matchers}[{}]{offset}, {ahead})", self.one(&RANGES));
        }
        let range = if !self.in_subquery && self.random.chance(30) {
            self.in_subquery = true;
            let inner = self.vector(depth + 2);
            self.in_subquery = false;
            let step = self.one(&["", "15s", "30s", "1m", "2m"]);
            format!("({inner})[{}:{step}]{}", self.one(&RANGES[2..]), self.modifiers())
        } else {
            let name = self.one(&GAUGES);
            self.range_of(&name)
        };
        match self.random.below(17) {
            0 => format!("quantile_over_time({}, {range})", self.one(&["0", "0.25", "0.5", "0.9", "1", "1.5"])),
            1 => format!("deriv({range})"),
            2 | 3 => format!("delta({range})"),
            4 => format!("idelta({range})"),
            5 => format!("changes({range})"),
            6 => format!("stddev_over_time({range})"),
            7 => format!("stdvar_over_time({range})"),
            8 => format!("present_over_time({range})"),
            9 => format!("absent_over_time({range})"),
            10 => format!("last_over_time({range})"),
            11 => format!("count_over_time({range})"),
            _ => {
                let function = self.one(&["avg_over_time", "sum_over_time", "min_over_time", "max_over_time"]);
                format!("{function}({range})")
            }
        }
    }

    fn grouping(&mut self) -> String {
        let (first, second) = (self.one(&LABELS), self.one(&LABELS));
        match self.random.below(8) {
            0 => String::new(),
            1 => format!(" without ({first})"),
            2 => format!(" without ({first}, {second})"),
            3 => format!(" by ({first}, {second})"),
            4 => " by ()".to_owned(),
            _ => format!(" by ({first})"),
        }
    }

    fn aggregate(&mut self, depth: u32) -> String {
        let op = self.one(&["sum", "sum", "avg", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
        let grouping = self.grouping();
        // 2.42 gives 0 for one value that is no number or infinite, and loses digits beside a large mean.
        let deviates = op.starts_with("std");
        let operand = if deviates { format!("temperature_celsius{}", self.matchers()) } else { self.vector(depth + 1) };
        if self.random.chance(50) {
            format!("{op}{grouping} ({operand})")
        } else {
            format!("{op}({operand}){grouping}")
        }
    }

    /// Ranks only raw values: computed ones may tie in one engine and not in the other.
    fn ranked(&mut self, depth: u32) -> String {
        let grouping = self.grouping();
        match self.random.below(5) {
            0 | 1 => {
                let (op, k) = (self.one(&["topk", "bottomk"]), self.one(&["1", "2", "3", "5", "100"]));
                // Neither ties nor what is no number.
                let name = self.one(&["errors_total", "requests_total"]);
                format!("{op}{grouping} ({k}, {name}{})", self.matchers())
            }
            2 => format!("count_values{grouping} (\"value\", {})", self.gauge_selector()),
            _ => {
                let q = self.one(&["0", "0.1", "0.5", "0.9", "1", "-1", "2"]);
                format!("quantile{grouping} ({q}, {})", self.vector(depth + 1))
            }
        }
    }

    fn operator(&mut self) -> String {
        self.one(&["+", "-", "*", "/", "+", "-", "*", "/", "%", "^", ">", "<", ">=", "<=", "> bool", "<= bool"])
    }

    fn with_scalar(&mut self, depth: u32) -> String {
        let (vector, scalar, operator) = (self.vector(depth + 1), self.scalar(depth), self.operator());
        match self.random.below(6) {
            0 => format!("{} {} {scalar}", self.gauge_selector(), self.one(&["==", "!=", "== bool", "!= bool"])),
            1 | 2 => format!("{scalar} {operator} ({vector})"),
            _ => format!("({vector}) {operator} {scalar}"),
        }
    }

    fn join(&mut self, depth: u32) -> String {
        let operator = self.operator();
        let label = self.one(&LABELS[..2]);
        let (left, right) = (self.vector(depth + 2), self.vector(depth + 2));
        match self.random.below(6) {
            0 => format!("({left}) {operator} on (job, instance) group_left () group by (job, instance) ({right})"),
            1 => format!(
                "{} * on (job, instance) group_left (version) build_info{}",
                self.gauge_selector(),
                self.matchers()
            ),
            2 => format!("sum by ({label}) ({right}) {operator} on ({label}) group_right () ({left})"),
            3 => format!("({left}) {operator} ignoring (code) ({right})"),
            // 2.42 keeps the names of what it takes the angle of.
            4 if self.random.chance(20) => format!("sum by ({label}) ({left}) atan2 sum by ({label}) ({right})"),
            4 => format!("sum by ({label}) ({left}) {operator} sum by ({label}) ({right})"),
            _ => {
                let (a, b) = (self.one(&GAUGES), self.one(&GAUGES));
                format!("{a}{} {operator} {b}{}", self.matchers(), self.modifiers())
            }
        }
    }

    fn set(&mut self, depth: u32) -> String {
        let operator = self.one(&["and", "or", "unless"]);
        let matching = self.one(&["", " on (instance)", " on (job, instance)", " ignoring (code)", " on ()"]);
        let (left, right) = (self.vector(depth + 2), self.vector(depth + 2));
        format!("({left}) {operator}{matching} ({right})")
    }

    fn function(&mut self, depth: u32) -> String {
        let vector = self.vector(depth + 1);
        match self.random.below(8) {
            0 => format!("clamp({vector}, -10, {})", self.one(&["0", "25", "-20"])),
            1 => format!("clamp_min({vector}, 5)"),
            2 => format!("clamp_max({vector}, 100)"),
            // A computed value may lie on the edge between two.
            3 => format!("round({}, {})", self.gauge_selector(), self.one(&["1", "0.1", "10", "5"])),
            4 => format!("-({vector})"),
            // 2.42 forgets the offset beside a fixed time.
            5 => format!("timestamp({}{}{})", self.one(&GAUGES), self.matchers(), self.offset()),
            _ => {
                let name = self.one(&[
                    "abs", "ceil", "floor", "exp", "ln", "log2", "log10", "sqrt", "sgn", "sin", "cos", "tanh", "rad",
                    "deg",
                ]);
                // Steps turn the last digit of a computed value into another value.
                let whole = matches!(name.as_str(), "ceil" | "floor" | "sgn");
                if whole { format!("{name}({})", self.gauge_selector()) } else { format!("{name}({vector})") }
            }
        }
    }

    fn rare(&mut self, depth: u32) -> String {
        match self.random.below(9) {
            0 => format!("absent({})", self.gauge_selector()),
            1 => format!("vector({})", self.scalar(depth)),
            2 => format!("label_replace({}, \"host\", \"$1\", \"instance\", \"(.+):.*\")", self.vector(depth + 1)),
            3 => format!("label_join({}, \"place\", \"/\", \"job\", \"instance\")", self.vector(depth + 1)),
            4 => format!("{}({})", self.one(&["sort", "sort_desc"]), self.vector(depth + 1)),
            5 => format!("{}({})", self.one(&["hour", "minute", "day_of_month"]), self.counter_selector()),
            _ => {
                let q = self.one(&["0.1", "0.5", "0.9", "0.99"]);
                let by = self.one(&["le", "le, job", "le, instance", "le, job, instance"]);
                let range = self.one(&RANGES[2..]);
                let matchers = self.matchers();
                format!("histogram_quantile({q}, sum by ({by}) (rate(latency_seconds_bucket{matchers}[{range}])))")
            }
        }
    }
}
