//! Plays `tests/protocol/<format>/*.http`: HTTP exchanges as text. Each file gets one fresh server.
//!
//! ```text
//! === a title                           begins a case; cases of a file share the server and run in order
//! POST /metrics/job/a                   the request line goes out byte for byte
//! Content-Encoding: gzip                headers
//! | a_metric 1                          body lines, each ends with a newline
//! |- a_metric 2                         a body line without one
//! @gzip                                 compresses the body; also @snappy, @bytes HEX, and @write, which reads the
//!                                       body lines as `name{a="b"} value milliseconds` and sends remote write; the
//!                                       value `stale` ends a series
//! --- 200                               the status; what follows are claims about the answer
//! empty                                 no body
//! has: text                             the body contains it
//! hasnot: text
//! is: text                              the body is it, but for newlines at its end; `\n` is one within it
//! header content-type: text/plain       the header's value begins with it; `!header name` is absent
//! json /data/0/metric = {"a":"b"}       a JSON pointer has this value
//! json /data ~ array                    ... is of this type
//! ```
//!
//! `{now}` and `{now-60}` become Unix seconds, the same ones throughout a file; `{now}000` is the same in milliseconds.
//! `\r` is a carriage return. Lines `config| ...` anywhere in the file are the server's `observatory.yml`.

use super::support::http::{Answer, raw};
use super::support::server::{Options, TestServer};
use super::support::{tools, wire};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn pushes_are_answered_as_by_a_pushgateway() {
    play("pushgateway");
}

#[test]
fn remote_writes_are_answered_as_by_prometheus() {
    play("remote_write");
}

#[test]
fn the_api_answers_as_prometheus_does() {
    play("prometheus_api");
}

#[test]
fn every_folder_of_cases_is_played() {
    let mut folders: Vec<String> =
        std::fs::read_dir(root()).unwrap().map(|entry| name(&entry.unwrap().path())).collect();
    folders.sort();
    assert_eq!(folders, ["prometheus_api", "pushgateway", "remote_write"]);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol")
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file has a name").to_string_lossy().into_owned()
}

fn play(folder: &str) {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut failures = Vec::new();
    let mut cases = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let config = text.lines().filter_map(|line| line.strip_prefix("config| ")).collect::<Vec<_>>().join("\n");
        let config = (!config.is_empty()).then(|| config + "\n");
        let server = TestServer::with(Options { config, ..Options::default() });
        for case in parse(&text, &format!("{folder}/{}", name(&file))) {
            cases += 1;
            for exchange in &case.exchanges {
                let answer = exchange.play(server.address());
                let wrong: Vec<String> =
                    exchange.claims.iter().filter_map(|claim| claim.check(&answer).err()).collect();
                if !wrong.is_empty() {
                    let wrong = wrong.join("\n  ");
                    failures.push(format!("{} `{}`\n  {wrong}\n  answer: {answer}", exchange.at, case.title));
                }
            }
        }
    }
    assert!(cases > 0, "no cases in {folder}");
    assert!(failures.is_empty(), "{} of {cases} cases failed:\n{}", failures.len(), failures.join("\n"));
}

struct Case {
    title: String,
    exchanges: Vec<Exchange>,
}

#[derive(Default)]
struct Exchange {
    /// File and line, for messages.
    at: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    encoding: Option<String>,
    claims: Vec<Claim>,
}

enum Claim {
    Status(u16),
    Empty,
    Has(String),
    HasNot(String),
    Is(String),
    Header(String, String),
    NoHeader(String),
    JsonIs(String, Value),
    JsonType(String, String),
}

impl Exchange {
    fn play(&self, address: &str) -> Answer {
        let body = match self.encoding.as_deref() {
            None => self.body.clone().into_bytes(),
            Some("gzip") => wire::gzip(self.body.as_bytes()),
            Some("snappy") => wire::snappy(self.body.as_bytes()),
            Some("write") => wire::write_request(&self.body.lines().map(series).collect::<Vec<_>>()),
            Some(other) => match other.strip_prefix("bytes ") {
                Some(hex) => {
                    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
                }
                None => panic!("{}: unknown `@{other}`", self.at),
            },
        };
        let mut headers = self.headers.clone();
        let has_type = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if self.encoding.as_deref() == Some("write") && !has_type {
            headers.extend(wire::WRITE_HEADERS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        }
        raw(address, &self.method, &self.target, &headers, &body)
    }
}

impl Claim {
    fn parse(line: &str, at: &str) -> Claim {
        if line == "empty" {
            return Claim::Empty;
        }
        if let Some(name) = line.strip_prefix("!header ") {
            return Claim::NoHeader(name.to_owned());
        }
        if let Some(rest) = line.strip_prefix("header ") {
            let (name, value) = rest.split_once(": ").unwrap_or_else(|| panic!("{at}: `header name: value`"));
            return Claim::Header(name.to_owned(), value.to_owned());
        }
        if let Some(rest) = line.strip_prefix("json ") {
            if let Some((pointer, value)) = rest.split_once(" = ") {
                let value = serde_json::from_str(value).unwrap_or_else(|error| panic!("{at}: {error}"));
                return Claim::JsonIs(pointer.to_owned(), value);
            }
            let (pointer, kind) = rest.split_once(" ~ ").unwrap_or_else(|| panic!("{at}: `json /pointer = value`"));
            return Claim::JsonType(pointer.to_owned(), kind.to_owned());
        }
        match line.split_once(": ") {
            Some(("has", text)) => Claim::Has(text.to_owned()),
            Some(("hasnot", text)) => Claim::HasNot(text.to_owned()),
            Some(("is", text)) => Claim::Is(text.replace("\\n", "\n")),
            _ => panic!("{at}: unknown claim `{line}`"),
        }
    }

    fn check(&self, answer: &Answer) -> Result<(), String> {
        let body = answer.text();
        let pointed = |pointer: &str| {
            let json: Value = serde_json::from_slice(&answer.body).map_err(|error| format!("not JSON: {error}"))?;
            let pointer = if pointer == "/" { "" } else { pointer };
            json.pointer(pointer).cloned().ok_or_else(|| format!("no {pointer} in the answer"))
        };
        let (holds, what) = match self {
            Claim::Status(status) => {
                (answer.status == *status, format!("expected status {status}, got {}", answer.status))
            }
            Claim::Empty => (body.is_empty(), "expected an empty body".to_owned()),
            Claim::Has(text) => (body.contains(text), format!("the body lacks `{text}`")),
            Claim::HasNot(text) => (!body.contains(text), format!("the body has `{text}`")),
            Claim::Is(text) => (body.trim_end_matches('\n') == text, format!("expected the body `{text}`")),
            Claim::Header(name, value) => {
                let found = answer.header(name);
                (
                    found.is_some_and(|found| found.starts_with(value)),
                    format!("header {name} is {found:?}, not {value}"),
                )
            }
            Claim::NoHeader(name) => {
                (answer.header(name).is_none(), format!("header {name} is {:?}", answer.header(name)))
            }
            Claim::JsonIs(pointer, value) => {
                let found = pointed(pointer)?;
                (found == *value, format!("{pointer} is {found}, not {value}"))
            }
            Claim::JsonType(pointer, kind) => {
                let found = pointed(pointer)?;
                (type_of(&found) == kind, format!("{pointer} is {found}, no {kind}"))
            }
        };
        if holds { Ok(()) } else { Err(what) }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// `name{a="b",c="d"} value milliseconds`; values hold no comma and no brace.
fn series(line: &str) -> wire::Series {
    let (metric, rest) = match line.split_once('}') {
        Some((metric, rest)) => (metric.to_owned(), rest.trim()),
        None => {
            line.split_once(' ').map(|(metric, rest)| (metric.to_owned(), rest)).expect("`name value milliseconds`")
        }
    };
    let (name, labels) = metric.split_once('{').unwrap_or((&metric, ""));
    let mut all: Vec<(String, String)> = Vec::new();
    if !name.is_empty() {
        all.push(("__name__".to_owned(), name.to_owned()));
    }
    for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once('=').expect("`label=\"value\"`");
        all.push((label.to_owned(), value.trim_matches('"').to_owned()));
    }
    let words: Vec<&str> = rest.split_whitespace().collect();
    let value = |word: &str| match word {
        "stale" => f64::from_bits(wire::STALE_BITS),
        word => word.parse().expect("a value"),
    };
    let samples = words.chunks(2).map(|pair| (pair[1].parse().expect("milliseconds"), value(pair[0])));
    wire::Series { labels: all, samples: samples.collect(), exemplars: Vec::new() }
}

fn parse(text: &str, file: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let now_seconds = tools::now_ms() / 1000;
    let mut in_claims = true;
    for (index, line) in text.lines().enumerate() {
        let at = format!("tests/protocol/{file}:{}", index + 1);
        let line = expand(line, now_seconds);
        if line.starts_with('#') || line.trim().is_empty() || line.starts_with("config| ") {
            continue;
        }
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push(Case { title: title.to_owned(), exchanges: Vec::new() });
            in_claims = true;
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{at}: begin with `=== title`"));
        if let Some(status) = line.strip_prefix("--- ") {
            let status = status.trim().parse().unwrap_or_else(|_| panic!("{at}: `--- status`"));
            case.exchanges.last_mut().unwrap_or_else(|| panic!("{at}: no request")).claims.push(Claim::Status(status));
            in_claims = true;
        } else if in_claims && is_request_line(&line) {
            let (method, target) = line.split_once(' ').expect("a request line has a space");
            let (method, target) = (method.to_owned(), target.to_owned());
            case.exchanges.push(Exchange { at, method, target, ..Exchange::default() });
            in_claims = false;
        } else {
            let exchange = case.exchanges.last_mut().unwrap_or_else(|| panic!("{at}: no request"));
            if in_claims {
                exchange.claims.push(Claim::parse(&line, &at));
            } else {
                request_part(exchange, &line, &at);
            }
        }
    }
    cases
}

fn is_request_line(line: &str) -> bool {
    ["GET ", "POST ", "PUT ", "DELETE ", "HEAD ", "OPTIONS ", "PATCH "].iter().any(|method| line.starts_with(method))
}

fn request_part(exchange: &mut Exchange, line: &str, at: &str) {
    if let Some(encoding) = line.strip_prefix('@') {
        exchange.encoding = Some(encoding.to_owned());
    } else if let Some(rest) = line.strip_prefix("|- ") {
        exchange.body.push_str(rest);
    } else if let Some(rest) = line.strip_prefix('|') {
        exchange.body.push_str(rest.strip_prefix(' ').unwrap_or(rest));
        exchange.body.push('\n');
    } else {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{at}: `Name: value` or `| body`"));
        exchange.headers.push((name.to_owned(), value.to_owned()));
    }
}

fn expand(line: &str, now_seconds: i64) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(begin) = rest.find("{now") {
        let end = begin + rest[begin..].find('}').expect("`{now` without `}`");
        let offset: i64 = match &rest[begin + 4..end] {
            "" => 0,
            offset => offset.parse().expect("`{now-60}`"),
        };
        out.push_str(&rest[..begin]);
        out.push_str(&(now_seconds + offset).to_string());
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    out.replace("\\r", "\r")
}
