//! Which file answers an address, and what browsers may do with it.

use super::assets::{Asset, INDEX, find};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
};
use xxhash_rust::xxh3::xxh3_64;

/// Only what comes from here runs, and no text becomes markup: a label value cannot do anything but be shown.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'self'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types svelte-trusted-html";

/// The name changes with the content, so the content never does.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Kept, but asked for each time; mostly answered with 304.
const ASK_AGAIN: &str = "no-cache";

/// Stands in the page for the way to its root.
const BASE: &str = "<base href=\"./\"";

/// The addresses of the page, and those that Prometheus had, which it leads on. An address that is none of them gets
/// the page as well, with 404, if it is a browser that asks for one.
const PAGES: &[&str] = &[
    "",
    "explore",
    "explore/metrics",
    "targets",
    "push",
    "mailbox",
    "quality",
    "status",
    "alerts",
    "rules",
    "alertmanager-discovery",
    "graph",
    "query",
    "config",
    "flags",
    "tsdb-status",
    "service-discovery",
];

/// Below these, one more segment is a name that others chose, which may have a dot.
const NAMED: &[&str] = &["quality"];

/// Below these, older releases of Prometheus had the same pages once more.
const OLDER: &[&str] = &["classic", "new"];

/// What belongs to programs. They are told 404, never given a page.
const RESERVED: &[&str] = &["api", "metrics", "-", "v1", "v2", "loki", "otlp", "debug", "federate", "write", "read"];

/// The page and its files, and where people find them.
#[derive(Debug, Clone, Default)]
pub struct Site {
    /// Such as `https://example.com`, if it is known.
    pub origin: Option<String>,
    /// Below it: empty, or `/a/b`.
    pub path: String,
}

impl Site {
    /// Answers `method` on `path` (as the browser wrote it, below our prefix) with a file or the page; `None` where it
    /// is neither.
    pub fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        if ![Method::GET, Method::HEAD].contains(method) {
            return None;
        }
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let name = segments.join("/");
        if segments.first().is_some_and(|first| RESERVED.contains(first)) {
            return None;
        }
        if name != INDEX
            && let Some(asset) = find(&name)
        {
            let lifetime = if name.starts_with("immutable/") { FOR_EVER } else { ASK_AGAIN };
            return Some(file(asset, lifetime, headers));
        }
        let named = matches!(segments.as_slice(), [first, _] if NAMED.contains(first));
        // Never a page in place of a script or an image that is not there.
        if segments.last().is_some_and(|last| last.contains('.')) && name != INDEX && !named {
            return None;
        }
        let older = name.split_once('/').filter(|(first, _)| OLDER.contains(first)).map(|(_, rest)| rest);
        let known = named || PAGES.contains(&older.unwrap_or(&name)) || name == INDEX;
        (known || wants_page(headers)).then(|| self.page(path, known, headers))
    }

    /// The page, told where its root is and what address to give to others.
    fn page(&self, path: &str, known: bool, headers: &HeaderMap) -> Response<Body> {
        // The build is embedded whole and tested to hold the page.
        let Some(index) = find(INDEX) else { return Response::new(Body::empty()) };
        let mut base = format!("<base href=\"{}\"", self.root(path, headers));
        if let Some(origin) = &self.origin {
            // Neither part can hold a quote: both were checked when the config was read.
            base.push_str(&format!(" data-external=\"{origin}{}/\"", self.path));
        }
        let text = String::from_utf8_lossy(&index.bytes).replacen(BASE, &base, 1);
        let tag = format!("\"{:016x}\"", xxh3_64(text.as_bytes()));
        let unchanged = known && is_known(headers, &tag);
        let mut response = answer(index.content_type, &tag, ASK_AGAIN, unchanged, text.into());
        if !known {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }

    /// Where the page's root is: for who came by the configured address, its path, which also holds where a proxy cut
    /// the path down to nothing. For all others as many steps up as `path` is deep, which holds below any path.
    fn root(&self, path: &str, headers: &HeaderMap) -> String {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let external = self.origin.as_deref().and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
        if external.is_some() && external == host {
            return format!("{}/", self.path);
        }
        match path.matches('/').count().saturating_sub(1) {
            0 => "./".to_owned(),
            depth => "../".repeat(depth),
        }
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

fn file(asset: &'static Asset, lifetime: &'static str, headers: &HeaderMap) -> Response<Body> {
    let unchanged = is_known(headers, &asset.tag);
    let zipped = accepts_gzip(headers).then(|| asset.gzip()).flatten();
    let body = zipped.clone().unwrap_or_else(|| asset.bytes.clone());
    let mut response = answer(asset.content_type, &asset.tag, lifetime, unchanged, body);
    if zipped.is_some() {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn answer(kind: &'static str, tag: &str, lifetime: &'static str, unchanged: bool, body: Bytes) -> Response<Body> {
    let mut response = Response::new(if unchanged { Body::empty() } else { Body::from(body) });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, lifetime),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    known.split(',').any(|known| known.trim().trim_start_matches("W/") == tag)
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && quality.trim() != "q=0"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn get(path: &str, headers: &[(header::HeaderName, &'static str)]) -> Option<Response<Body>> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        Site::default().respond(&Method::GET, path, &headers)
    }

    async fn text(response: Response<Body>) -> String {
        String::from_utf8_lossy(&response.into_body().collect().await.unwrap().to_bytes()).into_owned()
    }

    /// The path of the script that the page starts.
    async fn script() -> String {
        let page = text(get("/", &[]).unwrap()).await;
        page.split("src=\"./").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned()
    }

    #[tokio::test]
    async fn the_page_knows_the_way_to_its_root_however_deep_it_is() {
        for (path, base) in [
            ("/", "./"),
            ("/explore", "./"),
            ("/explore/metrics", "../"),
            ("/explore/", "../"),
            ("//", "../"),
            ("/classic/graph", "../"),
            ("/quality", "./"),
            ("/quality/com.example:shop_api", "../"),
            ("/quality/a%2Fb.js", "../"),
        ] {
            let page = get(path, &[]).unwrap();
            assert_eq!(page.status(), StatusCode::OK, "{path}");
            assert!(text(page).await.contains(&format!("<base href=\"{base}\"")), "{path}");
        }
    }

    #[tokio::test]
    async fn who_comes_by_the_configured_address_is_told_its_path() {
        let site = Site { origin: Some("https://example.com".to_owned()), path: "/obs".to_owned() };
        for (path, host, base) in [
            ("/", "example.com", "/obs/"),
            ("/explore/metrics", "example.com", "/obs/"),
            ("/explore/metrics", "127.0.0.1:9090", "../"),
            ("/", "example.com:8080", "./"),
        ] {
            let headers = [(header::HOST, HeaderValue::from_static(host))].into_iter().collect();
            let page = text(site.respond(&Method::GET, path, &headers).unwrap()).await;
            let expected = format!("<base href=\"{base}\" data-external=\"https://example.com/obs/\"");
            assert!(page.contains(&expected), "{path} at {host}: {page}");
        }
    }

    #[test]
    fn addresses_of_every_release_of_prometheus_are_pages() {
        for path in ["/graph", "/query", "/classic/graph", "/new/rules", "/alerts", "/rules", "/classic/config"] {
            assert_eq!(get(path, &[]).unwrap().status(), StatusCode::OK, "{path}");
        }
        for path in ["/classic", "/classic/nothing", "/other/graph"] {
            assert!(get(path, &[]).is_none(), "{path}");
        }
    }

    #[test]
    fn programs_and_missing_files_are_never_given_the_page() {
        let browser = [(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")];
        for path in [
            "/api/v1/nothing",
            "/metrics/x",
            "/-/x",
            "/immutable/gone-1234.js",
            "/a.png",
            "/explore/x.js",
            "/quality/a/b.js",
        ] {
            assert!(get(path, &browser).is_none(), "{path}");
        }
        assert!(get("/nothing", &[]).is_none());
        assert_eq!(get("/nothing", &browser).unwrap().status(), StatusCode::NOT_FOUND);
        assert!(Site::default().respond(&Method::POST, "/", &HeaderMap::new()).is_none());
    }

    #[tokio::test]
    async fn scripts_are_kept_for_ever_and_the_page_is_asked_for_again() {
        let script = get(&format!("/{}", script().await), &[(header::ACCEPT_ENCODING, "br, gzip")]).unwrap();
        assert_eq!(script.headers()[header::CACHE_CONTROL], FOR_EVER);
        assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_eq!(script.headers()[header::CONTENT_ENCODING], "gzip");
        assert_eq!(script.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        let page = get("/", &[]).unwrap();
        assert_eq!(page.headers()[header::CACHE_CONTROL], ASK_AGAIN);
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        let tag: &'static str = page.headers()[header::ETAG].to_str().unwrap().to_owned().leak();
        assert_eq!(get("/", &[(header::IF_NONE_MATCH, tag)]).unwrap().status(), StatusCode::NOT_MODIFIED);
        // The same page at another depth is another text.
        assert_eq!(get("/explore/metrics", &[(header::IF_NONE_MATCH, tag)]).unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn what_is_compressed_is_the_same_and_only_for_those_who_ask() {
        let path = format!("/{}", script().await);
        for refuses in ["", "br", "gzip;q=0"] {
            let plain = get(&path, &[(header::ACCEPT_ENCODING, refuses)]).unwrap();
            assert!(!plain.headers().contains_key(header::CONTENT_ENCODING), "{refuses}");
        }
        let plain = get(&path, &[]).unwrap().into_body().collect().await.unwrap().to_bytes();
        let zipped = get(&path, &[(header::ACCEPT_ENCODING, "gzip")]).unwrap();
        let zipped = zipped.into_body().collect().await.unwrap().to_bytes();
        let mut decoded = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&zipped[..]), &mut decoded).unwrap();
        assert_eq!(decoded, plain);
    }
}
