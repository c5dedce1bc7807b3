//! A running server, asked over HTTP.

use super::{arguments::ServerPlace, dispatch::Failure};
use crate::{
    scrape::{Tls, tls_config},
    stdx::{error::innermost, secret_file::read_line},
};
use reqwest::{RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;
use std::{io::Write, time::Duration};

/// Longer than a server computes by default.
const TIMEOUT: Duration = Duration::from_secs(150);
/// Years of data over a slow line.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(7 * 86_400);
/// A server that sends nothing for so long will not go on.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Of what a server says that is no JSON.
const SHOWN_CHARS: usize = 500;

/// One server and who we are to it.
pub struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: Url,
    token: Option<String>,
}

impl Client {
    /// The server of a place: its address may have a path, and its token file holds a token and nothing else.
    pub fn of(place: &ServerPlace) -> Result<Client, Failure> {
        let ServerPlace { url, token_file } = place;
        let parsed = Url::parse(url).ok().filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
        let mut parsed = parsed
            .ok_or_else(|| Failure::wrong(format!("`{url}` is no address; write --url http://127.0.0.1:9090")))?;
        if !parsed.path().ends_with('/') {
            let path = format!("{}/", parsed.path());
            parsed.set_path(&path);
        }
        let token = token_file.as_deref().map(read_line).transpose().map_err(Failure::wrong)?;
        let tls = tls_config(&Tls::default(), parsed.scheme() == "https").map_err(Failure::failed)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // A token is for the server that was named.
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .user_agent(concat!("observatory/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|cause| Failure::failed(format!("no client for HTTP can be made: {cause}")))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::failed(format!("no thread to ask with: {cause}")))?;
        Ok(Client { http, runtime, url: parsed, token })
    }

    /// The `data` of a GET of `/api/v1/<path>`.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.data(self.http.get(self.place(path)?))
    }

    /// The `data` of a POST without a body to `/api/v1/<path>`.
    pub fn post(&self, path: &str) -> Result<Value, Failure> {
        self.data(self.http.post(self.place(path)?))
    }

    /// The `data` of a POST of JSON to `/api/v1/<path>`.
    pub fn post_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        let request = self.http.post(self.place(path)?).header("Content-Type", "application/json");
        self.data(request.body(body.to_string()))
    }

    /// The `data` of a POST of a form to `/api/v1/<path>`.
    pub fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        self.data(self.form(path, fields)?)
    }

    fn form(&self, path: &str, fields: &[(&str, &str)]) -> Result<RequestBuilder, Failure> {
        let mut form = Url::parse("http://form").map_err(|cause| Failure::failed(cause.to_string()))?;
        form.query_pairs_mut().extend_pairs(fields);
        let request = self.http.post(self.place(path)?).header("Content-Type", "application/x-www-form-urlencoded");
        Ok(request.body(form.query().unwrap_or_default().to_owned()))
    }

    /// The answer of `/api/v1/<path>` to a form; errors of the API too, whatever their status.
    pub fn ask(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let (status, body) = self.send(self.form(path, fields)?)?;
        serde_json::from_slice(&body).map_err(|_| {
            Failure::failed(format!(
                "{} answers {status} and no JSON: is it a Prometheus-compatible server, and the path before /api/v1 \
                 right?",
                self.shown()
            ))
        })
    }

    /// Asks for `/api/v1/<path>` and writes the answer to `out` as it comes; `progress` hears of bytes done and of all.
    pub fn download(&self, path: &str, out: &mut dyn Write, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Failure> {
        let request = self.authorized(self.http.post(self.place(path)?).timeout(DOWNLOAD_TIMEOUT));
        self.runtime.block_on(async {
            let response = request.send().await.map_err(|cause| self.no_answer(&cause))?;
            let status = response.status();
            if !status.is_success() {
                return Err(self.refused(status, &response.bytes().await.unwrap_or_default()));
            }
            self.receive(response, out, progress).await
        })
    }

    async fn receive(
        &self,
        mut response: Response,
        out: &mut dyn Write,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), Failure> {
        let (total, mut done) = (response.content_length().unwrap_or_default(), 0);
        let early = |done: u64, cause: String| {
            Failure::failed(format!("{} ended the transfer after {done} of {total} bytes: {cause}", self.shown()))
        };
        loop {
            let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk()).await;
            let chunk = chunk.map_err(|_| early(done, format!("nothing came for {} s", SILENCE_MAX.as_secs())))?;
            let Some(chunk) = chunk.map_err(|cause| early(done, innermost(&cause)))? else { break };
            out.write_all(&chunk).map_err(|cause| Failure::failed(format!("the file cannot be written: {cause}")))?;
            done += chunk.len() as u64;
            progress(done, total);
        }
        if done < total { Err(early(done, "it was cancelled, or failed".to_owned())) } else { Ok(()) }
    }

    fn data(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let (status, body) = self.send(request)?;
        let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status.is_success() && answer.get("data").is_some() {
            true => Ok(answer["data"].take()),
            false => Err(self.refused(status, &body)),
        }
    }

    fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), Failure> {
        let request = self.authorized(request);
        let answered = self.runtime.block_on(async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?.to_vec()))
        });
        answered.map_err(|cause| self.no_answer(&cause))
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn place(&self, path: &str) -> Result<Url, Failure> {
        self.url.join(&format!("api/v1/{path}")).map_err(|cause| Failure::wrong(cause.to_string()))
    }

    fn shown(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    fn no_answer(&self, cause: &reqwest::Error) -> Failure {
        Failure::failed(format!(
            "{} does not answer: {}\nIs it running? Start one with `observatory up`, name another with --url, or a data \
             directory that no server has with --data-dir.",
            self.shown(),
            innermost(cause)
        ))
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = answer["error"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
        let said: String = said.trim().chars().take(SHOWN_CHARS).collect();
        let hint = match status.as_u16() {
            401 | 403 if self.token.is_none() => " (with --token-file)",
            _ => "",
        };
        Failure::failed(format!("{} answers {status}: {said}{hint}", self.shown()))
    }
}

/// What a server's answer says.
pub fn read<T: serde::de::DeserializeOwned>(data: Value) -> Result<T, Failure> {
    serde_json::from_value(data)
        .map_err(|cause| Failure::failed(format!("the server is of another version than this command: {cause}")))
}
