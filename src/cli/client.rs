//! A running server, asked over HTTP.

use super::dispatch::Failure;
use crate::scrape::{Tls, tls_config};
use serde_json::Value;
use std::{path::Path, time::Duration};

/// A report on a large store takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// One server and who we are to it.
pub struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
    token: Option<String>,
}

impl Client {
    /// `url` without a path; `token_file` holds a token and nothing else.
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Client, Failure> {
        let url = url.trim_end_matches('/');
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(Failure::wrong(format!("--url: `{url}` is no address such as http://127.0.0.1:9090")));
        }
        let token = token_file.map(|file| {
            let text = std::fs::read_to_string(file);
            text.map(|text| text.trim().to_owned())
                .map_err(|cause| Failure::wrong(format!("--token-file: {} cannot be read: {cause}", file.display())))
        });
        let tls = tls_config(&Tls::default(), url.starts_with("https://")).map_err(Failure::failed)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(|cause| Failure::failed(cause.to_string()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::failed(format!("no thread to ask with: {cause}")))?;
        Ok(Client { http, runtime, url: url.to_owned(), token: token.transpose()? })
    }

    /// The `data` of a GET.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.data(self.http.get(format!("{}{path}", self.url)))
    }

    /// The `data` of a POST without a body.
    pub fn post(&self, path: &str) -> Result<Value, Failure> {
        self.data(self.http.post(format!("{}{path}", self.url)))
    }

    fn data(&self, request: reqwest::RequestBuilder) -> Result<Value, Failure> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answered = self.runtime.block_on(async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status(), response.bytes().await?))
        });
        let (status, body) = answered.map_err(|cause| {
            let url = &self.url;
            let advice =
                "is it running? Name another with --url, or a data directory that no server has with --data-dir";
            Failure::failed(format!("{url} does not answer ({}); {advice}", causes(&cause)))
        })?;
        let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() && answer.get("data").is_some() {
            return Ok(answer["data"].take());
        }
        let said = answer["error"].as_str().map_or_else(|| String::from_utf8_lossy(&body).into_owned(), str::to_owned);
        let hint = match status.as_u16() {
            401 | 403 if self.token.is_none() => " (with --token-file)",
            _ => "",
        };
        let said: String = said.trim().chars().take(500).collect();
        Err(Failure::failed(format!("{} answered {status}: {said}{hint}", self.url)))
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    // The outermost repeats the address, the innermost says what happened.
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
