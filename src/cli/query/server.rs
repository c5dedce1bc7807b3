//! Asking a running server.

use crate::cli::dispatch::Failure;
use reqwest::{Client, Url};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use std::{io::Write, path::Path, sync::Arc, time::Duration};

/// Longer than a server computes by default.
const TIMEOUT: Duration = Duration::from_secs(150);
/// Years of data over a slow line.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
/// A server that sends nothing for so long will not go on.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// A token is a line.
const TOKEN_BYTES_MAX: u64 = 64 << 10;

/// A server and how to ask it.
pub struct Server {
    url: Url,
    token: Option<String>,
    client: Client,
}

impl Server {
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Server, Failure> {
        let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let mut parsed = parsed
            .ok_or_else(|| Failure::wrong(format!("`{url}` is no address; write --url http://127.0.0.1:9090")))?;
        if !parsed.path().ends_with('/') {
            let path = format!("{}/", parsed.path());
            parsed.set_path(&path);
        }
        let token = token_file.map(read_token).transpose()?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls(parsed.scheme() == "https")?)
            .timeout(TIMEOUT)
            .user_agent(concat!("observatory/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| Failure::failed(format!("no client for HTTP can be made: {cause}")))?;
        Ok(Server { url: parsed, token, client })
    }

    /// The answer of `/api/v1/<path>` to a form; errors of the API too, whatever their status.
    pub fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::failed(format!("the query cannot be sent: {cause}")))?;
        runtime.block_on(self.send(path, fields))
    }

    /// Asks for `/api/v1/<path>` and writes the answer to `out` as it comes; `progress` hears of bytes done and of all.
    pub fn download(&self, path: &str, out: &mut dyn Write, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::failed(format!("nothing can be asked: {cause}")))?;
        runtime.block_on(self.receive(path, out, progress))
    }

    async fn receive(
        &self,
        path: &str,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Failure> {
        let place = self.url.as_str().trim_end_matches('/');
        let url = self.url.join(&format!("api/v1/{path}")).map_err(|cause| Failure::wrong(cause.to_string()))?;
        let mut request = self.client.post(url).timeout(DOWNLOAD_TIMEOUT);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await.map_err(|cause| no_answer(place, &cause))?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.unwrap_or_default();
            let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
            let said = answer["error"].as_str().map_or_else(|| format!("{status}"), str::to_owned);
            return Err(Failure::failed(format!("{place} refuses: {said}")));
        }
        let (total, mut done) = (response.content_length().unwrap_or_default(), 0);
        let early = |done: u64, cause: String| {
            Failure::failed(format!("{place} ended the transfer after {done} of {total} bytes: {cause}"))
        };
        loop {
            let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
            let chunk = chunk.map_err(|_| early(done, format!("nothing came for {} s", SILENCE_MAX.as_secs())))?;
            let Some(chunk) = chunk.map_err(|cause| early(done, cause_of(&cause)))? else { break };
            out.write_all(&chunk).map_err(|cause| Failure::failed(format!("the file cannot be written: {cause}")))?;
            done += chunk.len() as u64;
            progress(done, total);
        }
        if done < total { Err(early(done, "it was cancelled, or failed".to_owned())) } else { Ok(()) }
    }

    async fn send(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let place = self.url.as_str().trim_end_matches('/');
        let failed = |cause: reqwest::Error| no_answer(place, &cause);
        let url = self.url.join(&format!("api/v1/{path}")).map_err(|cause| Failure::wrong(cause.to_string()))?;
        let mut form = Url::parse("http://form").map_err(|cause| Failure::failed(cause.to_string()))?;
        form.query_pairs_mut().extend_pairs(fields);
        let mut request = self
            .client
            .post(url)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(failed)?;
        let status = response.status();
        let body = response.bytes().await.map_err(failed)?;
        serde_json::from_slice(&body).map_err(|_| {
            Failure::failed(format!(
                "{place} answers {status} and no JSON: is it a Prometheus-compatible server, and the path before \
                 /api/v1 right?"
            ))
        })
    }
}

fn cause_of(cause: &reqwest::Error) -> String {
    std::error::Error::source(cause).map_or_else(|| cause.to_string(), |inner| inner.to_string())
}

fn no_answer(place: &str, cause: &reqwest::Error) -> Failure {
    let cause = cause_of(cause);
    Failure::failed(format!(
        "{place} does not answer: {cause}\nIs it running? Start one with `observatory up`, name another with --url, or \
         read a data directory with --data-dir."
    ))
}

fn read_token(file: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let place = file.display();
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|cause| Failure::wrong(format!("the token cannot be read from {place}: {cause}")))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_control) {
        return Err(Failure::wrong(format!("{place} holds no token: one line is expected")));
    }
    Ok(token.to_owned())
}

/// The machine's authorities where they are needed.
fn tls(needed: bool) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore::empty();
    if needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| Failure::failed(format!("TLS cannot be spoken: {cause}")))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
