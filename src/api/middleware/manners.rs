//! Who is asking from where, and how often they may: failed logins and pushes are counted, and browsers are answered
//! under our own names alone.

use crate::{
    api::{
        error::{ApiError, ErrorKind},
        server::{Peer, stranger},
    },
    stdx::throttle::Throttle,
};
use axum::http::{HeaderMap, header};
use std::{net::IpAddr, time::Instant};

/// Pushes at once: a build of a few hundred jobs that all end together.
const PUSHES_BURST: u64 = 200;

/// What is counted of those who ask.
pub struct Manners {
    began: Instant,
    failed_logins: Throttle<IpAddr>,
    pushes: Throttle<Pusher>,
    /// Names of ours, beside those that no stranger can own; lower case.
    hosts: Vec<String>,
}

/// Whose pushes are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Pusher {
    /// By the name of its token.
    Token(String),
    Address(IpAddr),
}

impl Manners {
    pub fn new(failed_logins_per_minute: u64, pushes_per_minute: u64, hosts: Vec<String>) -> Manners {
        Manners {
            began: Instant::now(),
            failed_logins: Throttle::new(failed_logins_per_minute, failed_logins_per_minute),
            pushes: Throttle::new(pushes_per_minute, PUSHES_BURST.min(pushes_per_minute)),
            hosts,
        }
    }

    fn now_ms(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    /// Fails where too many wrong tokens came from there lately: then none is looked at, not even a right one.
    pub fn may_log_in(&self, peer: Option<Peer>) -> Result<(), ApiError> {
        let Some(address) = stranger(peer) else { return Ok(()) };
        self.failed_logins.check(&address, self.now_ms()).map_err(|retry_s| {
            let message = "too many wrong tokens came from this address; try again later";
            ApiError::new(ErrorKind::Throttled { retry_s }, message)
        })
    }

    /// Counts a wrong token.
    pub fn failed_login(&self, peer: Option<Peer>) {
        if let Some(address) = stranger(peer) {
            // The next attempt is told.
            let _ = self.failed_logins.take(&address, self.now_ms());
        }
    }

    /// Counts a push, by its token, or by where it comes from if none is needed.
    pub fn push(&self, token: Option<&str>, peer: Option<Peer>) -> Result<(), ApiError> {
        let pusher = match token {
            Some(name) => Pusher::Token(name.to_owned()),
            None => match stranger(peer) {
                Some(address) => Pusher::Address(address),
                None => return Ok(()),
            },
        };
        self.pushes.take(&pusher, self.now_ms()).map_err(|retry_s| {
            let whose = match &pusher {
                Pusher::Token(name) => format!("the token `{name}`"),
                Pusher::Address(address) => format!("the address {address}"),
            };
            let message = format!(
                "{whose} pushes too often; push several metrics in one body, or raise limits.pushes_per_minute_max in \
                 the config"
            );
            ApiError::new(ErrorKind::Throttled { retry_s }, message)
        })
    }

    /// Whether a request may be a page's that got to us under a name of its own: a name that a stranger owns can be
    /// made to lead here (DNS rebinding), and then the page counts as one of ours. Programs send no such requests, and
    /// addresses, names without a dot and names that are never given out cannot be owned.
    pub fn is_rebound(&self, headers: &HeaderMap) -> Option<String> {
        if !from_browser(headers) {
            return None;
        }
        let host = headers.get(header::HOST)?.to_str().unwrap_or("?").to_ascii_lowercase();
        let name = name_of(&host);
        let ours = name.parse::<IpAddr>().is_ok()
            || !name.contains('.')
            || UNOWNED.iter().any(|suffix| name.ends_with(suffix))
            || self.hosts.iter().any(|own| own == name);
        (!ours).then(|| name.to_owned())
    }
}

/// Endings that no registry gives out.
const UNOWNED: &[&str] = &[".localhost", ".local", ".internal", ".home.arpa", ".lan", ".test"];

/// Whether a browser sent it. Names that are not `localhost` get no `Sec-Fetch-*` without TLS, and reads no `Origin`,
/// so that only what all browsers call themselves is left.
fn from_browser(headers: &HeaderMap) -> bool {
    let calls_itself = |agent: &axum::http::HeaderValue| agent.as_bytes().starts_with(b"Mozilla/");
    headers.contains_key(header::ORIGIN)
        || headers.contains_key("sec-fetch-site")
        || headers.get(header::USER_AGENT).is_some_and(calls_itself)
}

/// The name or address of a `Host`, without its port.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.split(':').next().unwrap_or_default().trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn peer(text: &str) -> Option<Peer> {
        Some(Peer(text.parse().unwrap()))
    }

    #[test]
    fn wrong_tokens_are_counted_by_address_and_not_for_this_machine() {
        let manners = Manners::new(3, 600, vec![]);
        for _ in 0..3 {
            manners.may_log_in(peer("192.0.2.1")).unwrap();
            manners.failed_login(peer("192.0.2.1"));
        }
        let refused = manners.may_log_in(peer("192.0.2.1")).unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::Throttled { retry_s: 20 | 19 }), "{refused:?}");
        assert!(manners.may_log_in(peer("::ffff:192.0.2.1")).is_err(), "the same address, written longer");
        manners.may_log_in(peer("192.0.2.2")).unwrap();
        for _ in 0..100 {
            manners.failed_login(peer("127.0.0.1"));
            manners.failed_login(peer("2001:db8::1:2:3:4"));
        }
        manners.may_log_in(peer("127.0.0.1")).unwrap();
        assert!(manners.may_log_in(peer("2001:db8::5:6:7:8")).is_err(), "the same network");
        manners.may_log_in(None).unwrap();
    }

    #[test]
    fn pushes_are_counted_by_token_or_address() {
        let manners = Manners::new(10, 60, vec![]);
        for _ in 0..60 {
            manners.push(Some("ci"), peer("127.0.0.1")).unwrap();
            manners.push(None, peer("192.0.2.1")).unwrap();
        }
        let refused = manners.push(Some("ci"), peer("192.0.2.9")).unwrap_err();
        assert!(refused.message.contains("the token `ci`") && refused.message.contains("limits."), "{refused:?}");
        assert!(manners.push(None, peer("192.0.2.1")).is_err());
        manners.push(Some("other"), None).unwrap();
        manners.push(None, peer("192.0.2.2")).unwrap();
        manners.push(None, peer("::1")).unwrap();
    }

    #[test]
    fn browsers_are_answered_under_names_that_are_ours() {
        let manners = Manners::new(10, 600, vec!["metrics.example.com".to_owned()]);
        let asked = |host: &'static str, agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            headers.insert(header::USER_AGENT, HeaderValue::from_static(agent));
            manners.is_rebound(&headers)
        };
        let browser = "Mozilla/5.0 (X11; Linux x86_64)";
        for host in [
            "127.0.0.1:9090",
            "[::1]:9090",
            "192.0.2.1",
            "localhost:9090",
            "herbert:9090",
            "herbert.local",
            "a.localhost:80",
            "METRICS.example.com:9090",
            "metrics.example.com.",
        ] {
            assert_eq!(asked(host, browser), None, "{host}");
        }
        for host in ["evil.example:9090", "127.0.0.1.evil.example", "metrics.example.com.evil.example"] {
            assert!(asked(host, browser).is_some(), "{host}");
            for program in ["curl/8.5", "Grafana/12", "Prometheus/3.5", "python-requests/2", "Go-http-client/1.1"] {
                assert_eq!(asked(host, program), None, "{host} {program}");
            }
        }
    }
}
