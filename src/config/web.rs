//! Where people find this server when a proxy stands before it: flags and keys of Prometheus' names.

use super::{problem::Problems, raw::Located};
use reqwest::Url;

/// How this server is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Web {
    pub external: Option<External>,
    /// Below which path of our own port everything is, if not below that of the external URL. Empty, or `/a/b`.
    pub route_prefix: Option<String>,
}

impl Web {
    /// Below which path of our own port everything is: empty, or `/a/b`.
    pub fn prefix(&self) -> &str {
        let external = self.external.as_ref().map_or("", |external| &external.path);
        self.route_prefix.as_deref().unwrap_or(external)
    }
}

/// The address that people use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// Such as `https://example.com`; `None` where only a path is said.
    pub origin: Option<String>,
    /// Empty, or `/a/b`.
    pub path: String,
}

impl External {
    /// Its name or address without the port, lower case.
    pub fn host(&self) -> Option<String> {
        let url = Url::parse(self.origin.as_deref()?).ok()?;
        url.host_str().map(str::to_ascii_lowercase)
    }

    /// Without a slash at the end.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin.as_deref().unwrap_or_default(), self.path)
    }
}

/// Reads `https://example.com/observatory`, or `/observatory` where the host is not known.
pub fn parse_external_url(text: &str) -> Result<External, String> {
    let wrong = || format!("`{text}` is no address of this server; write one such as https://example.com/observatory");
    if !text.contains("://") {
        return Ok(External { origin: None, path: parse_path(text).ok_or_else(wrong)? });
    }
    let url = Url::parse(text).map_err(|_| wrong())?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() || !is_plain || url.fragment().is_some() {
        return Err(wrong());
    }
    let path = parse_path(url.path()).ok_or_else(wrong)?;
    Ok(External { origin: Some(url.origin().ascii_serialization()), path })
}

/// Reads `/observatory`; `/` is the root, whatever the external URL says.
pub fn parse_route_prefix(text: &str) -> Result<String, String> {
    parse_path(text).ok_or_else(|| format!("`{text}` is no path; write one such as /observatory, or / for the root"))
}

/// Segments with single slashes, as a browser sends them: empty, or `/a/b`.
fn parse_path(text: &str) -> Option<String> {
    let trimmed = text.trim_matches('/');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~/%+@:,=".contains(c);
    let odd = |segment: &str| ["", ".", ".."].contains(&segment);
    match trimmed {
        "" => Some(String::new()),
        _ if !trimmed.chars().all(is_plain) || trimmed.split('/').any(odd) => None,
        _ => Some(format!("/{trimmed}")),
    }
}

/// Decides.
pub fn resolve(
    external_url: Option<Located<String>>,
    route_prefix: Option<Located<String>>,
    problems: &mut Problems,
) -> Web {
    let external = external_url.and_then(|found| {
        let read = parse_external_url(&found.value);
        read.map_err(|message| problems.error("web.external_url", found.line, message)).ok()
    });
    let route_prefix = route_prefix.and_then(|found| {
        let read = parse_route_prefix(&found.value);
        read.map_err(|message| problems.error("web.route_prefix", found.line, message)).ok()
    });
    Web { external, route_prefix }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_urls_are_split_into_origin_and_path() {
        for (text, origin, path) in [
            ("https://Example.com", Some("https://example.com"), ""),
            ("https://example.com:443/", Some("https://example.com"), ""),
            ("http://example.com:8080/obs/", Some("http://example.com:8080"), "/obs"),
            ("https://example.com/a/b", Some("https://example.com"), "/a/b"),
            ("https://[::1]:9090/a%20b", Some("https://[::1]:9090"), "/a%20b"),
            ("/obs/", None, "/obs"),
            ("obs", None, "/obs"),
            ("/", None, ""),
        ] {
            let found = parse_external_url(text).unwrap();
            assert_eq!((found.origin.as_deref(), found.path.as_str()), (origin, path), "{text}");
        }
        for wrong in [
            "ftp://example.com",
            "https://",
            "https://user@example.com/",
            "https://example.com/?a=b",
            "https://example.com/#a",
            "https://example.com/a//b",
            "a b",
            "\"https://example.com\"",
        ] {
            assert!(parse_external_url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_prefix_is_the_external_path_unless_told() {
        let external = Some(parse_external_url("https://example.com/obs").unwrap());
        let web = |route_prefix: Option<&str>| Web {
            external: external.clone(),
            route_prefix: route_prefix.map(|text| parse_route_prefix(text).unwrap()),
        };
        assert_eq!(web(None).prefix(), "/obs");
        assert_eq!(web(Some("/")).prefix(), "");
        assert_eq!(web(Some("inner/")).prefix(), "/inner");
        assert_eq!(Web::default().prefix(), "");
    }
}
