//! HTTP towards a server under test: ureq for what well-behaved clients send, [`raw`] for every byte as written.

use serde_json::Value;
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT)).build().into()
});

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self}"))
    }

    /// `data` of a successful API answer.
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self}");
        let json = self.json();
        assert_eq!(json["status"], "success", "{self}");
        json["data"].clone()
    }

    /// Panics unless this is an API error of that status and type; gives its message.
    pub fn api_error(&self, status: u16, kind: &str) -> String {
        assert_eq!(self.status, status, "{self}");
        let json = self.json();
        assert_eq!((&json["status"], &json["errorType"]), (&Value::from("error"), &Value::from(kind)), "{self}");
        json["error"].as_str().expect("an error text").to_owned()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let shown: String = text.chars().take(2_000).collect();
        write!(f, "{} {shown}", self.status)
    }
}

pub fn try_get(url: &str) -> Result<Answer, String> {
    answer(AGENT.get(url).call())
}

pub fn get(url: &str) -> Answer {
    try_get(url).unwrap_or_else(|error| panic!("GET {url}: {error}"))
}

/// Any method, always with a body (which may be empty).
pub fn try_send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer, String> {
    let mut request = match method {
        "DELETE" => AGENT.delete(url).force_send_body(),
        "PUT" => AGENT.put(url),
        "POST" => AGENT.post(url),
        other => panic!("no `{other}` here: use `raw`"),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request.send(body))
}

pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_send(method, url, headers, body).unwrap_or_else(|error| panic!("{method} {url}: {error}"))
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
    let mut response = result.map_err(|error| error.to_string())?;
    let mut headers = Vec::new();
    for (name, value) in response.headers() {
        headers.push((name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    }
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().map_err(|error| error.to_string())?;
    Ok(Answer { status, headers, body })
}

/// A form body.
pub fn form(fields: &[(&str, &str)]) -> String {
    let encoded: Vec<String> =
        fields.iter().map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value))).collect();
    encoded.join("&")
}

/// Everything but letters, digits and `-._~` as `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Sends a request exactly as given and reads the answer to the end. `target` goes on the request line untouched:
/// double slashes, bad escapes and all. A server may answer before it has read a body it refuses, so a failing write
/// is no error as long as an answer comes.
pub fn raw(address: &str, method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set a read timeout");
    stream.set_write_timeout(Some(TIMEOUT)).expect("set a write timeout");
    let named = headers.iter().find(|(name, _)| name == "Host").map_or(address, |(_, host)| host);
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {named}\r\nConnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| name != "Host") {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || matches!(method, "POST" | "PUT") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body);
    let written = stream.write_all(&request);
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    parse_answer(&bytes, method == "HEAD").unwrap_or_else(|error| {
        panic!("{method} {target}: {error} (write: {written:?}, read: {read:?})\n{}", String::from_utf8_lossy(&bytes))
    })
}

/// The answer in what a connection gave until its end.
pub fn parse_answer(bytes: &[u8], head_only: bool) -> Result<Answer, String> {
    let end = find(bytes, b"\r\n\r\n").ok_or("no end of the answer's headers")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status line")?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
    let rest = &bytes[end + 4..];
    let body = if chunked && !head_only { unchunk(rest)? } else { rest.to_vec() };
    Ok(Answer { status, headers, body })
}

fn unchunk(mut bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    loop {
        let end = find(bytes, b"\r\n").ok_or("a chunk without its size")?;
        let size = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16).map_err(|e| e.to_string())?;
        if size == 0 {
            return Ok(out);
        }
        let from = end + 2;
        out.extend_from_slice(bytes.get(from..from + size).ok_or("a chunk is cut short")?);
        bytes = bytes.get(from + size + 2..).ok_or("a chunk without its end")?;
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
