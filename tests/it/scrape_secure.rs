//! Targets that prove who they are, and ask us to: TLS with an authority of its own, passwords, tokens, certificates.

use crate::support::server::TestServer;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Signs certificates of servers and clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// A certificate and its key.
struct Identity {
    pem: String,
    key_pem: String,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (pem, certificate) = (certificate.pem(), certificate.der().clone());
        Authority { issuer: Issuer::new(params, key), certificate, pem }
    }

    /// For a name or an address, until the end of a year.
    fn sign(&self, name: &str, last_year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }
}

/// Answers every scrape with what `Authorization` it came with: `seen{authorization="..."} 1`; where `wants` is given,
/// only that is let in. With `clients`, only who has a certificate of that authority.
fn serve(identity: &Identity, clients: Option<&Authority>, wants: Option<&'static str>) -> SocketAddr {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![identity.certificate.clone()], identity.key.clone_key()).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            std::thread::spawn(move || answer(StreamOwned::new(connection, stream), wants));
        }
    });
    address
}

fn answer(stream: StreamOwned<ServerConnection, TcpStream>, wants: Option<&str>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            // Whoever does not like our certificate goes away here.
            if !reader.read_line(&mut head).is_ok_and(|read| read > 0) {
                return;
            }
        }
        let header = head.lines().find_map(|line| line.split_once(": ").filter(|(name, _)| *name == "authorization"));
        let seen = header.map_or("", |(_, value)| value);
        let answer = match wants.is_none_or(|wanted| wanted == seen) {
            true => {
                let body = format!("seen{{authorization=\"{seen}\"}} 1\n");
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            }
            false => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned(),
        };
        if reader.get_mut().write_all(answer.as_bytes()).and_then(|()| reader.get_mut().flush()).is_err() {
            return;
        }
    }
}

/// A server that scrapes `jobs`, whose paths start beside its config; `write` puts what they name there.
fn scraping(jobs: &[String], write: impl FnOnce(&Path)) -> TestServer {
    let server = TestServer::start();
    write(server.data().parent().unwrap());
    server.rewrite_config(&format!("global: {{scrape_interval: 300ms}}\nscrape_configs:\n{}", jobs.concat()));
    let answer = server.send("POST", "/-/reload", &[], b"");
    assert_eq!(answer.status, 200, "{answer}");
    server
}

fn job(name: &str, address: SocketAddr, more: &str) -> String {
    format!("  - {{job_name: {name}, scheme: https, static_configs: [{{targets: ['{address}']}}]{more}}}\n")
}

fn target(server: &TestServer, job: &str) -> Value {
    let data = server.get("/api/v1/targets").data();
    let targets = data["activeTargets"].as_array().unwrap();
    targets.iter().find(|target| target["scrapePool"] == job).cloned().unwrap()
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The error of the first scrape; empty where there is none.
fn error_of(server: &TestServer, job: &str) -> String {
    wait(job, || target(server, job)["health"] != "unknown");
    target(server, job)["lastError"].as_str().unwrap().to_owned()
}

/// What a job's target was told of us.
fn seen(server: &TestServer, job: &str) -> String {
    let data = server.query(&format!("seen{{job=\"{job}\"}}"), None);
    data["result"][0]["metric"]["authorization"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn targets_prove_who_they_are() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = serve(&authority.sign("127.0.0.1", 2999), None, None);
    let named = serve(&authority.sign("metrics.example", 2999), None, None);
    let old = serve(&authority.sign("127.0.0.1", 2001), None, None);
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_address = plain.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in plain.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\na 1\n");
        }
    });
    let inline = serde_json::Value::from(authority.pem.as_str());
    let with = |more: &str| format!(", tls_config: {{ca_file: ca.pem{more}}}");
    let server = scraping(
        &[
            job("file", good, &with("")),
            job("inline", good, &format!(", tls_config: {{ca: {inline}}}")),
            job("stranger", good, ""),
            job("other", good, ", tls_config: {ca_file: other.pem}"),
            job("skips", good, ", tls_config: {insecure_skip_verify: true}"),
            job("wrong-name", named, &with("")),
            job("named", named, &with(", server_name: metrics.example")),
            job("wrong-server-name", good, &with(", server_name: metrics.example")),
            job("old", old, &with("")),
            job("missing", good, ", tls_config: {ca_file: missing.pem}"),
            job("plain", plain_address, &with("")),
        ],
        |folder| {
            std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
            std::fs::write(folder.join("other.pem"), &other.pem).unwrap();
        },
    );
    for (job, expected) in [
        ("file", ""),
        ("inline", ""),
        ("skips", ""),
        ("named", ""),
        // On a machine without any authority, that is what is said.
        ("stranger", "certificate"),
        ("other", "invalid peer certificate: BadSignature"),
        ("wrong-name", "certificate not valid for name \"127.0.0.1\""),
        ("wrong-server-name", "certificate not valid for name \"metrics.example\""),
        ("old", "certificate expired"),
        ("missing", "missing.pem"),
        ("plain", "received corrupt message"),
    ] {
        let error = error_of(&server, job);
        assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{job}: {error}");
        assert_eq!(server.value(&format!("up{{job=\"{job}\"}}")), Some(f64::from(expected.is_empty())), "{job}");
    }
    assert_eq!(target(&server, "file")["scrapeUrl"], format!("https://{good}/metrics"));
    // A name that is wrong is not said to be right by a second try.
    assert_eq!(server.value("count(count_over_time(seen{job=~\"wrong.*|stranger|other|old\"}[1m]))"), None);
}

#[test]
fn targets_are_told_who_asks() {
    let authority = Authority::new();
    let identity = authority.sign("127.0.0.1", 2999);
    let open = serve(&identity, None, None);
    // user:pass word
    let strict = serve(&identity, None, Some("Basic dXNlcjpwYXNzIHdvcmQ="));
    let with = |auth: &str| format!(", tls_config: {{ca_file: ca.pem}}, {auth}");
    let server = scraping(
        &[
            job("basic", strict, &with("basic_auth: {username: user, password: 'pass word'}")),
            job("basic-file", strict, &with("basic_auth: {username_file: name, password_file: password}")),
            job("wrong", strict, &with("basic_auth: {username: user, password: guess}")),
            job("nobody", strict, ", tls_config: {ca_file: ca.pem}"),
            job("bearer", open, &with("authorization: {credentials: inline}")),
            job("bearer-file", open, &with("authorization: {credentials_file: token}")),
            job("kind", open, &with("authorization: {type: Token, credentials: x}")),
            job("old", open, &with("bearer_token: ancient")),
            job("old-file", open, &with("bearer_token_file: token")),
            job("gone", open, &with("authorization: {credentials_file: gone}")),
        ],
        |folder| {
            for (name, text) in [
                ("ca.pem", authority.pem.as_str()),
                ("name", "user\n"),
                ("password", "pass word\n"),
                ("token", "first\n"),
            ] {
                std::fs::write(folder.join(name), text).unwrap();
            }
        },
    );
    for (job, expected) in [
        ("basic", "Basic dXNlcjpwYXNzIHdvcmQ="),
        ("basic-file", "Basic dXNlcjpwYXNzIHdvcmQ="),
        ("bearer", "Bearer inline"),
        ("bearer-file", "Bearer first"),
        ("kind", "Token x"),
        ("old", "Bearer ancient"),
        ("old-file", "Bearer first"),
    ] {
        assert_eq!(error_of(&server, job), "", "{job}");
        assert_eq!(seen(&server, job), expected, "{job}");
    }
    for job in ["wrong", "nobody"] {
        assert_eq!(error_of(&server, job), "server returned HTTP status 401 Unauthorized", "{job}");
    }
    assert!(error_of(&server, "gone").contains("gone: No such file"), "{}", error_of(&server, "gone"));
    // A file that is written anew counts from the next scrape on.
    std::fs::write(server.data().parent().unwrap().join("token"), "second\n").unwrap();
    wait("the second token", || seen(&server, "bearer-file") == "Bearer second");
    let shown = server.get("/api/v1/status/config").text() + &server.log();
    for secret in ["pass word", "guess", "inline", "ancient", "second"] {
        assert!(!shown.contains(secret), "{secret} is shown");
    }
}

#[test]
fn targets_that_want_a_certificate_get_ours() {
    let (authority, other) = (Authority::new(), Authority::new());
    let address = serve(&authority.sign("127.0.0.1", 2999), Some(&authority), None);
    let (ours, wrong) = (authority.sign("scraper.example", 2999), other.sign("scraper.example", 2999));
    let with = |more: &str| format!(", tls_config: {{ca_file: ca.pem{more}}}");
    let server = scraping(
        &[
            job("ours", address, &with(", cert_file: ours.pem, key_file: ours.key")),
            job("none", address, &with("")),
            job("wrong", address, &with(", cert_file: wrong.pem, key_file: wrong.key")),
            job("mixed", address, &with(", cert_file: ours.pem, key_file: wrong.key")),
        ],
        |folder| {
            std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
            for (name, identity) in [("ours", &ours), ("wrong", &wrong)] {
                std::fs::write(folder.join(format!("{name}.pem")), &identity.pem).unwrap();
                std::fs::write(folder.join(format!("{name}.key")), &identity.key_pem).unwrap();
            }
        },
    );
    assert_eq!(error_of(&server, "ours"), "");
    for (job, expected) in [
        ("none", "received fatal alert: CertificateRequired"),
        ("wrong", "received fatal alert"),
        ("mixed", "tls_config.cert: keys may not be consistent"),
    ] {
        let error = error_of(&server, job);
        assert!(error.contains(expected), "{job}: {error}");
    }
}
