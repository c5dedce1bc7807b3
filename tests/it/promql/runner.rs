//! Plays commands against a server: loads by remote write, asks by form POST, compares what came with what is said.

use super::super::support::server::{TestServer, number};
use super::super::support::{http::Answer, wire};
use super::script::{Command, Eval, LabelSet, Message, Point, When};
use serde_json::Value;
use std::collections::BTreeMap;

/// Scripts begin at the epoch; all else is as it comes, experimental functions included.
const CONFIG: &str = "storage:\n  retention: 100y\nfeatures: [promql-experimental-functions, \
                      promql-extended-range-selectors, promql-binop-fill-modifiers, promql-delayed-name-removal]\n";

#[derive(Debug, Default)]
pub struct Runner {
    /// Started when first needed, thrown away by `clear`.
    server: Option<TestServer>,
}

#[derive(Debug, Default)]
pub struct Report {
    pub evaluations: usize,
    /// `line: what is wrong`
    pub failures: Vec<String>,
}

impl Runner {
    pub fn play(mut self, commands: &[Command]) -> Report {
        let mut report = Report::default();
        for command in commands {
            match command {
                Command::Clear => self.server = None,
                Command::Load { step_ms, series } => self.load(*step_ms, series),
                Command::Eval(eval) => {
                    report.evaluations += 1;
                    if let Err(error) = self.evaluate(eval) {
                        report.failures.push(format!("{}: `{}`\n  {error}", eval.line, eval.expression));
                    }
                }
            }
        }
        report
    }

    fn server(&mut self) -> &TestServer {
        self.server.get_or_insert_with(|| TestServer::with_config(CONFIG))
    }

    fn load(&mut self, step_ms: i64, series: &[(LabelSet, Vec<Point>)]) {
        let mut body = Vec::new();
        for (labels, points) in series {
            let labels = labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
            let mut samples = Vec::new();
            for (index, point) in points.iter().enumerate() {
                let timestamp = index as i64 * step_ms;
                match point {
                    Point::Gap => {}
                    Point::Stale => samples.push((timestamp, f64::from_bits(wire::STALE_BITS))),
                    Point::Value(value) => samples.push((timestamp, *value)),
                }
            }
            body.push(wire::Series { labels, samples, exemplars: Vec::new() });
        }
        let answer = self.server().write(&wire::write_request(&body));
        assert_eq!(answer.status, 204, "loading: {answer}");
    }

    fn evaluate(&mut self, eval: &Eval) -> Result<(), String> {
        let answer = self.ask(&eval.expression, eval.when);
        let json: Value =
            serde_json::from_slice(&answer.body).map_err(|error| format!("not JSON: {error}: {answer}"))?;
        if let Some(message) = &eval.expect.fail {
            if answer.status < 400 {
                return Err(format!("should have failed: {answer}"));
            }
            return matching(message, &[json["error"].as_str().unwrap_or_default().to_owned()], "error");
        }
        if answer.status != 200 {
            return Err(answer.to_string());
        }
        annotations(eval, &json)?;
        let data = &json["data"];
        match eval.when {
            When::Range { start, step, .. } => compare_range(eval, data, start, step),
            When::Instant { at } => {
                compare_instant(eval, data)?;
                self.same_as_range(eval, data, at)
            }
        }
        .map_err(|error| format!("{error}\n  answer: {answer}"))
    }

    fn ask(&mut self, expression: &str, when: When) -> Answer {
        let seconds = |ms: i64| format!("{}{}.{:03}", if ms < 0 { "-" } else { "" }, ms.abs() / 1000, ms.abs() % 1000);
        match when {
            When::Instant { at } => {
                self.server().form("/api/v1/query", &[("query", expression), ("time", &seconds(at))])
            }
            When::Range { start, end, step } => {
                let (start, end, step) = (seconds(start), seconds(end), seconds(step));
                let fields = [("query", expression), ("start", &start), ("end", &end), ("step", &step)];
                self.server().form("/api/v1/query_range", &fields)
            }
        }
    }

    /// Asks the same as a range query whose middle step is the instant.
    fn same_as_range(&mut self, eval: &Eval, data: &Value, at: i64) -> Result<(), String> {
        let kind = data["resultType"].as_str().unwrap_or_default();
        // What depends on the range by its meaning cannot be compared.
        let depends = ["start()", "end()", "range()", "step()"].iter().any(|word| eval.expression.contains(word));
        if depends || !matches!(kind, "vector" | "scalar") {
            return Ok(());
        }
        let answer = self.ask(&eval.expression, When::Range { start: at - 60_000, end: at + 60_000, step: 60_000 });
        if answer.status != 200 {
            return Err(format!("as a range query: {answer}"));
        }
        let range = answer.json();
        let mut found = BTreeMap::new();
        for series in range["data"]["result"].as_array().ok_or("no result of the range query")? {
            for pair in series["values"].as_array().into_iter().flatten() {
                if pair[0].as_f64() == Some(at as f64 / 1000.0) {
                    found.insert(labels_of(&series["metric"]), number(&pair[1]));
                }
            }
        }
        let instant: BTreeMap<LabelSet, f64> = match kind {
            "scalar" => BTreeMap::from([(LabelSet::new(), number(&data["result"][1]))]),
            _ => vector(data)?.into_iter().collect(),
        };
        same_series(&instant, &found).map_err(|error| format!("as a range query: {error}; {answer}"))
    }
}

fn compare_instant(eval: &Eval, data: &Value) -> Result<(), String> {
    match data["resultType"].as_str() {
        Some("scalar") => {
            let found = number(&data["result"][1]);
            let expected = eval.scalar.ok_or_else(|| format!("a scalar {found}, not a vector"))?;
            if close(expected, found) { Ok(()) } else { Err(format!("{found}, not {expected}")) }
        }
        Some("string") => {
            let found = data["result"][1].as_str().unwrap_or_default();
            match &eval.expect.string {
                Some(expected) if expected == found => Ok(()),
                other => Err(format!("the text `{found}`, not {other:?}")),
            }
        }
        Some("vector") if eval.scalar.is_none() => {
            let found = vector(data)?;
            let expected: Vec<(LabelSet, f64)> = eval.series.iter().map(expected_value).collect::<Result<_, _>>()?;
            if eval.expect.ordered {
                let names =
                    |series: &[(LabelSet, f64)]| series.iter().map(|(labels, _)| labels.clone()).collect::<Vec<_>>();
                if names(&found) != names(&expected) {
                    return Err("the order differs".to_owned());
                }
            }
            same_series(&expected.into_iter().collect(), &found.into_iter().collect())
        }
        other => Err(format!("a result of type {other:?}")),
    }
}

fn expected_value((labels, points): &(LabelSet, Vec<Point>)) -> Result<(LabelSet, f64), String> {
    match points[..] {
        [Point::Value(value)] => Ok((labels.clone(), value)),
        _ => Err("an instant query expects one value a series".to_owned()),
    }
}

fn compare_range(eval: &Eval, data: &Value, start: i64, step: i64) -> Result<(), String> {
    let result = data["result"].as_array().ok_or("no result")?;
    let mut found: BTreeMap<(LabelSet, i64), f64> = BTreeMap::new();
    for series in result {
        for pair in series["values"].as_array().into_iter().flatten() {
            let timestamp = (pair[0].as_f64().ok_or("a time is no number")? * 1000.0).round() as i64;
            found.insert((labels_of(&series["metric"]), timestamp), number(&pair[1]));
        }
    }
    let mut expected = BTreeMap::new();
    for (labels, points) in &eval.series {
        for (index, point) in points.iter().enumerate() {
            if let Point::Value(value) = point {
                expected.insert((labels.clone(), start + index as i64 * step), *value);
            }
        }
    }
    same_series(&expected, &found)
}

fn same_series<K: Ord + std::fmt::Debug>(expected: &BTreeMap<K, f64>, found: &BTreeMap<K, f64>) -> Result<(), String> {
    if let Some((key, value)) = expected.iter().find(|(key, _)| !found.contains_key(key)) {
        return Err(format!("{key:?} = {value} is missing"));
    }
    for (key, value) in found {
        match expected.get(key) {
            None => return Err(format!("{key:?} = {value} should not be there")),
            Some(expected) if !close(*expected, *value) => return Err(format!("{key:?} is {value}, not {expected}")),
            Some(_) => {}
        }
    }
    Ok(())
}

fn vector(data: &Value) -> Result<Vec<(LabelSet, f64)>, String> {
    let result = data["result"].as_array().ok_or("no result")?;
    Ok(result.iter().map(|series| (labels_of(&series["metric"]), number(&series["value"][1]))).collect())
}

fn labels_of(metric: &Value) -> LabelSet {
    let labels = metric.as_object().expect("`metric` is an object");
    labels.iter().map(|(name, value)| (name.clone(), value.as_str().expect("a label is a text").to_owned())).collect()
}

/// Summation order may differ, so values are compared as promqltest does: relative to their size.
fn close(left: f64, right: f64) -> bool {
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let (difference, size) = ((left - right).abs(), left.abs() + right.abs());
    if left == 0.0 || right == 0.0 || size < f64::MIN_POSITIVE { difference < 1e-6 } else { difference / size < 1e-6 }
}

fn annotations(eval: &Eval, json: &Value) -> Result<(), String> {
    let texts = |key: &str| -> Vec<String> {
        json[key].as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let (warnings, infos) = (texts("warnings"), texts("infos"));
    if let Some(message) = &eval.expect.warn {
        matching(message, &warnings, "warning")?;
    }
    if let Some(message) = &eval.expect.info {
        matching(message, &infos, "info")?;
    }
    if eval.expect.no_warn && !warnings.is_empty() {
        return Err(format!("unexpected warnings {warnings:?}"));
    }
    if eval.expect.no_info && !infos.is_empty() {
        return Err(format!("unexpected infos {infos:?}"));
    }
    Ok(())
}

fn matching(message: &Message, texts: &[String], what: &str) -> Result<(), String> {
    let found = match message {
        Message::Any => !texts.is_empty(),
        Message::Contains(part) => texts.iter().any(|text| text.contains(part)),
        Message::Matches(pattern) => {
            let pattern = regex::Regex::new(pattern).map_err(|error| error.to_string())?;
            texts.iter().any(|text| pattern.is_match(text))
        }
    };
    if found { Ok(()) } else { Err(format!("no {what} like {message:?} in {texts:?}")) }
}
