//! One request: asked within a deadline, answered within bounds.

use super::config::{Auth, BODY_BYTES_MAX, JobConfig, Protocol, Secret, Tls};
use crate::{model::time::format_duration_ms, protocol::scraped::Format, telemetry::build};
use base64::Engine as _;
use flate2::write::MultiGzDecoder;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue},
    redirect,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use std::{error::Error, io::Write, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections are kept between scrapes, whose intervals are seldom longer.
const IDLE: Duration = Duration::from_secs(300);
/// As Go's client, where redirects are followed at all.
const REDIRECTS_MAX: usize = 10;
/// Bodies above this take turns.
const LARGE_BYTES: usize = 1 << 20;
/// Large bodies held at once: four of 64 MiB are what hostile targets can take.
pub const LARGE_AT_ONCE: usize = 4;
/// Compressed bytes undone at once: what they may become at worst, a thousandfold, is still little.
const STEP_BYTES: usize = 4 << 10;
/// A bundle of all authorities is half as long; a longer file was given by mistake.
const SECRET_BYTES_MAX: u64 = 1 << 20;

/// Why a scrape gave nothing.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FetchError {
    #[error("the target did not answer within {0}")]
    Timeout(String),
    #[error("server returned HTTP status {0}")]
    Status(StatusCode),
    #[error("server returned HTTP status {0}; set `follow_redirects: true` if this target may send us elsewhere")]
    Redirect(StatusCode),
    #[error("body size limit exceeded: more than {limit} bytes")]
    BodyLimit { limit: usize },
    #[error(
        "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target"
    )]
    NoContentType,
    #[error("received unsupported Content-Type \"{0}\" and no fallback_scrape_protocol specified for target")]
    ContentType(String),
    #[error("the body is no valid gzip: {0}")]
    Gzip(String),
    /// Of the connection, or of the settings.
    #[error("{0}")]
    Failed(String),
}

/// Asks the targets of one job.
pub struct Fetcher {
    client: Client,
    accept: HeaderValue,
    accept_encoding: HeaderValue,
    auth: Option<Auth>,
    fallback: Option<Protocol>,
    body_bytes_max: usize,
    large: Arc<Semaphore>,
}

/// A body and how to read it. Large ones hold their turn until dropped.
pub struct Body {
    pub bytes: Vec<u8>,
    pub format: Format,
    turn: Option<OwnedSemaphorePermit>,
}

impl Body {
    /// One that was made here.
    pub fn own(bytes: Vec<u8>) -> Body {
        Body { bytes, format: Format::Text, turn: None }
    }

    /// Whether it had to wait for its turn.
    pub fn is_large(&self) -> bool {
        self.turn.is_some()
    }
}

impl Fetcher {
    /// Reads certificates, so that it blocks and may fail; the text says what to do. The machine's authorities are read
    /// only where there is `tls`. `large` is shared by all jobs.
    pub fn new(job: &JobConfig, tls: bool, large: Arc<Semaphore>) -> Result<Fetcher, String> {
        let policy = match job.follow_redirects {
            true => redirect::Policy::limited(REDIRECTS_MAX),
            false => redirect::Policy::none(),
        };
        let agent = format!("observatory/{} (compatible; Prometheus/{})", build::VERSION, build::PROMETHEUS_VERSION);
        let client = Client::builder()
            .tls_backend_preconfigured(tls_config(&job.tls, tls || job.follow_redirects)?)
            .redirect(policy)
            .referer(false)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            // Only what is configured decides whom we talk to, not the environment.
            .no_proxy()
            .user_agent(agent)
            .build()
            .map_err(|cause| causes(&cause))?;
        Ok(Fetcher {
            client,
            accept: accept(&job.protocols),
            accept_encoding: HeaderValue::from_static(if job.compression { "gzip" } else { "identity" }),
            auth: job.auth.clone(),
            fallback: job.fallback,
            body_bytes_max: if job.limits.body_bytes == 0 { BODY_BYTES_MAX } else { job.limits.body_bytes },
            large,
        })
    }

    /// Asks once. No retry: the next scrape is one.
    pub async fn fetch(&self, url: &Url, timeout_ms: i64) -> Result<Body, FetchError> {
        let timeout = Duration::from_millis(timeout_ms.unsigned_abs());
        match tokio::time::timeout(timeout, self.fetch_unbounded(url, timeout)).await {
            Ok(result) => result,
            Err(_) => Err(FetchError::Timeout(format_duration_ms(timeout_ms))),
        }
    }

    async fn fetch_unbounded(&self, url: &Url, timeout: Duration) -> Result<Body, FetchError> {
        let mut request = self
            .client
            .get(url.clone())
            .header(ACCEPT, &self.accept)
            .header(ACCEPT_ENCODING, &self.accept_encoding)
            .header("X-Prometheus-Scrape-Timeout-Seconds", timeout.as_secs_f64().to_string());
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, authorization(auth).await.map_err(FetchError::Failed)?);
        }
        let response = request.send().await.map_err(|cause| FetchError::Failed(causes(&cause)))?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(FetchError::Redirect(status)),
            status => return Err(FetchError::Status(status)),
        }
        self.read(response).await
    }

    async fn read(&self, mut response: Response) -> Result<Body, FetchError> {
        let header =
            |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let content_type = header(CONTENT_TYPE);
        let gzip = header(CONTENT_ENCODING).is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
        let mut reader = BodyReader::new(gzip, self.body_bytes_max);
        let mut turn = None;
        while let Some(chunk) = response.chunk().await.map_err(|cause| FetchError::Failed(causes(&cause)))? {
            for part in chunk.chunks(if gzip { STEP_BYTES } else { usize::MAX }) {
                reader.take(part)?;
                if turn.is_none() && reader.len() > LARGE_BYTES {
                    turn = Some(
                        self.large
                            .clone()
                            .acquire_owned()
                            .await
                            .map_err(|cause| FetchError::Failed(cause.to_string()))?,
                    );
                }
            }
            if turn.is_some() {
                tokio::task::yield_now().await;
            }
        }
        let bytes = reader.finish()?;
        // An empty body says nothing in any format, and is a success in each.
        let format = match bytes.is_empty() {
            true => Format::Text,
            false => format_of(content_type.as_deref(), self.fallback)?,
        };
        Ok(Body { bytes, format, turn })
    }
}

/// Collects a body, undoing its compression as it comes, so that no more is held than may be.
enum BodyReader {
    Plain(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>, bool),
}

struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() + part.len() >= self.limit {
            return Err(std::io::Error::from(std::io::ErrorKind::FileTooLarge));
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl BodyReader {
    fn new(gzip: bool, limit: usize) -> BodyReader {
        let bounded = Bounded { bytes: Vec::new(), limit };
        if gzip { BodyReader::Gzip(Box::new(MultiGzDecoder::new(bounded)), false) } else { BodyReader::Plain(bounded) }
    }

    fn limit(&self) -> usize {
        match self {
            BodyReader::Plain(bounded) => bounded.limit,
            BodyReader::Gzip(decoder, _) => decoder.get_ref().limit,
        }
    }

    fn len(&self) -> usize {
        match self {
            BodyReader::Plain(bounded) => bounded.bytes.len(),
            BodyReader::Gzip(decoder, _) => decoder.get_ref().bytes.len(),
        }
    }

    fn take(&mut self, part: &[u8]) -> Result<(), FetchError> {
        let limit = self.limit();
        let taken = match self {
            BodyReader::Plain(bounded) => bounded.write_all(part),
            BodyReader::Gzip(decoder, any) => {
                *any |= !part.is_empty();
                decoder.write_all(part)
            }
        };
        taken.map_err(|cause| failed(&cause, limit))
    }

    fn finish(self) -> Result<Vec<u8>, FetchError> {
        let limit = self.limit();
        match self {
            BodyReader::Plain(bounded) => Ok(bounded.bytes),
            // Nothing at all is no broken gzip.
            BodyReader::Gzip(_, false) => Ok(Vec::new()),
            BodyReader::Gzip(decoder, true) => {
                decoder.finish().map(|bounded| bounded.bytes).map_err(|cause| failed(&cause, limit))
            }
        }
    }
}

fn failed(cause: &std::io::Error, limit: usize) -> FetchError {
    match cause.kind() {
        std::io::ErrorKind::FileTooLarge => FetchError::BodyLimit { limit },
        _ => FetchError::Gzip(cause.to_string()),
    }
}

/// The protocols, the first with the largest weight, as Prometheus counts them down.
fn accept(protocols: &[Protocol]) -> HeaderValue {
    let mut weight = 6;
    let mut out = String::new();
    for protocol in protocols {
        let kind = match protocol {
            Protocol::OpenMetricsText1 => "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8",
            Protocol::OpenMetricsText0 => "application/openmetrics-text;version=0.0.1",
            Protocol::PrometheusText1 => "text/plain;version=1.0.0;escaping=allow-utf-8",
            Protocol::PrometheusText0 => "text/plain;version=0.0.4",
        };
        out.push_str(&format!("{kind};q=0.{weight},"));
        weight -= 1;
    }
    out.push_str(&format!("*/*;q=0.{weight}"));
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static("*/*"))
}

fn format_of(content_type: Option<&str>, fallback: Option<Protocol>) -> Result<Format, FetchError> {
    let fallback = fallback.map(|protocol| match protocol {
        Protocol::OpenMetricsText1 | Protocol::OpenMetricsText0 => Format::OpenMetrics,
        Protocol::PrometheusText1 | Protocol::PrometheusText0 => Format::Text,
    });
    let Some(text) = content_type.filter(|text| !text.trim().is_empty()) else {
        return fallback.ok_or(FetchError::NoContentType);
    };
    match text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        "text/plain" => Ok(Format::Text),
        _ => fallback.ok_or_else(|| FetchError::ContentType(text.chars().take(100).collect())),
    }
}

async fn authorization(auth: &Auth) -> Result<HeaderValue, String> {
    let text = match auth {
        Auth::Basic { username, password } => {
            let pair = format!("{}:{}", secret(username).await?, secret(password).await?);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        }
        Auth::Header { kind, credentials } => format!("{kind} {}", secret(credentials).await?),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| "the credentials hold characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn secret(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(_) => {
            let secret = secret.clone();
            let read = tokio::task::spawn_blocking(move || read_secret(&secret));
            let text = read.await.map_err(|cause| cause.to_string())??;
            Ok(text.trim().to_owned())
        }
    }
}

fn read_secret(secret: &Secret) -> Result<String, String> {
    match secret {
        Secret::Text(text) => Ok(text.clone()),
        Secret::File(path) => {
            let cannot = |cause: std::io::Error| format!("cannot read {}: {cause}", path.display());
            if std::fs::metadata(path).map_err(cannot)?.len() > SECRET_BYTES_MAX {
                return Err(format!("{} is larger than {SECRET_BYTES_MAX} bytes", path.display()));
            }
            std::fs::read_to_string(path).map_err(cannot)
        }
    }
}

/// How TLS is spoken to others. The machine's authorities are read only where it `is_used`.
pub fn tls_config(tls: &Tls, is_used: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            let pem = read_secret(ca)?;
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(|cause| format!("tls_config.ca is no PEM: {cause}"))?;
                roots.add(certificate).map_err(|cause| format!("tls_config.ca: {cause}"))?;
            }
        }
        None if !is_used => {}
        None => {
            // What cannot be read of the machine's own is not ours to mend.
            let _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let verifier: Arc<dyn ServerCertVerifier> = match roots.is_empty() || tls.insecure_skip_verify {
        true => Arc::new(Unverified { provider: provider.clone(), accept: tls.insecure_skip_verify }),
        false => {
            let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
            let inner = inner.build().map_err(|cause| cause.to_string())?;
            let name = tls.server_name.clone().map(ServerName::try_from).transpose();
            let name = name.map_err(|_| "tls_config.server_name is no name of a server".to_owned())?;
            Arc::new(Named { inner, name })
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|cause| cause.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (read_secret(cert)?, read_secret(key)?);
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
            let chain = chain.map_err(|cause| format!("tls_config.cert is no PEM: {cause}"))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            let key = key.map_err(|cause| format!("tls_config.key is no PEM: {cause}"))?;
            config.with_client_auth_cert(chain, key).map_err(|cause| format!("tls_config.cert: {cause}"))
        }
        _ => Ok(config.with_no_client_auth()),
    }
}

/// Checks certificates against a name that is configured, where the address has another.
#[derive(Debug)]
struct Named {
    inner: Arc<WebPkiServerVerifier>,
    name: Option<ServerName<'static>>,
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        self.inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts every certificate, as asked for; or none, where there is no authority to ask.
#[derive(Debug)]
struct Unverified {
    provider: Arc<CryptoProvider>,
    accept: bool,
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.accept {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General(
                "this machine has no certificate authorities; install them (ca-certificates) or set tls_config.ca_file"
                    .to_owned(),
            )),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// All causes in one line, the URL left out: the page shows it beside.
fn causes(error: &reqwest::Error) -> String {
    let mut text = match error.is_redirect() {
        true => "too many redirects".to_owned(),
        false => "the request failed".to_owned(),
    };
    let mut cause = error.source();
    while let Some(found) = cause {
        let next = found.to_string();
        if !text.ends_with(&next) {
            text.push_str(&format!(": {next}"));
        }
        cause = found.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_weighed_as_by_prometheus() {
        assert_eq!(
            accept(&Protocol::DEFAULT).to_str().unwrap(),
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
        );
        assert_eq!(accept(&[Protocol::PrometheusText0]), "text/plain;version=0.0.4;q=0.6,*/*;q=0.5");
    }

    #[test]
    fn the_content_type_chooses_the_format() {
        for (content_type, expected) in [
            ("text/plain; version=0.0.4; charset=utf-8", Ok(Format::Text)),
            ("TEXT/PLAIN", Ok(Format::Text)),
            ("application/openmetrics-text; version=1.0.0", Ok(Format::OpenMetrics)),
            (" ", Err(FetchError::NoContentType)),
            ("text/html", Err(FetchError::ContentType("text/html".to_owned()))),
        ] {
            assert_eq!(format_of(Some(content_type), None), expected, "{content_type}");
        }
        assert_eq!(format_of(None, Some(Protocol::PrometheusText0)), Ok(Format::Text));
        assert_eq!(format_of(Some("text/html"), Some(Protocol::OpenMetricsText1)), Ok(Format::OpenMetrics));
    }

    #[test]
    fn bodies_are_bounded_whatever_they_expand_to() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for _ in 0..100 {
            encoder.write_all(&[b'a'; 100_000]).unwrap();
        }
        let bomb = encoder.finish().unwrap();
        let mut reader = BodyReader::new(true, 1_000_000);
        let error = bomb.chunks(1_000).find_map(|part| reader.take(part).err());
        assert_eq!(error, Some(FetchError::BodyLimit { limit: 1_000_000 }));
        let mut reader = BodyReader::new(true, 20_000_000);
        bomb.chunks(7).for_each(|part| reader.take(part).unwrap());
        assert_eq!(reader.finish().unwrap().len(), 10_000_000);
        let mut reader = BodyReader::new(true, 20_000_000);
        reader.take(&bomb[..bomb.len() / 2]).unwrap();
        assert!(matches!(reader.finish(), Err(FetchError::Gzip(_))));
        let mut reader = BodyReader::new(true, 100);
        assert!(matches!(reader.take(b"no gzip at all").err().or(reader.finish().err()), Some(FetchError::Gzip(_))));
        assert_eq!(BodyReader::new(true, 100).finish(), Ok(vec![]));
        let mut reader = BodyReader::new(false, 3);
        assert_eq!(reader.take(b"abc"), Err(FetchError::BodyLimit { limit: 3 }));
    }

    #[test]
    fn certificates_that_cannot_be_read_say_which() {
        let tls = Tls { ca: Some(Secret::File("/does/not/exist".into())), ..Tls::default() };
        assert!(tls_config(&tls, true).unwrap_err().contains("/does/not/exist"));
        let tls = Tls { ca: Some(Secret::Text("-----BEGIN CERTIFICATE-----\n!\n".to_owned())), ..Tls::default() };
        assert!(tls_config(&tls, true).unwrap_err().contains("tls_config.ca"));
        assert!(tls_config(&Tls { insecure_skip_verify: true, ..Tls::default() }, true).is_ok());
    }
}
