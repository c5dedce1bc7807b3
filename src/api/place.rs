//! Where we are: below which path of our port, and how people reach us.

use reqwest::Url;

/// As the config says it; everything empty where nothing stands between us and our clients.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Below which path of our port everything is: empty, or `/a/b`.
    pub prefix: String,
    /// What people's browsers see in front of the path, such as `https://example.com`.
    pub origin: Option<String>,
    /// Where we listen.
    pub port: u16,
}

impl Place {
    /// A URL of this machine as seen from another one. As in Prometheus: what is on our own port is where people reach
    /// us; of the rest only the host is known, and where nothing is configured, that is `hostname`.
    pub fn global_url(&self, url: &str, hostname: &str) -> String {
        let Ok(mut found) = Url::parse(url) else { return url.to_owned() };
        let is_local = found.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host));
        if !is_local {
            return url.to_owned();
        }
        let external = self.origin.as_deref().and_then(|origin| Url::parse(origin).ok());
        let port = found.port_or_known_default();
        let host = external.as_ref().and_then(Url::host_str).unwrap_or(hostname).to_owned();
        if let Some(external) = external.filter(|_| port == Some(self.port)) {
            // Neither can fail: both schemes are http or https, and any port goes with them.
            let _ = found.set_scheme(external.scheme());
            let _ = found.set_port(external.port());
        }
        match found.set_host(Some(&host)) {
            Ok(()) => found.into(),
            Err(_) => url.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_this_machine_are_seen_from_outside() {
        let bare = Place { port: 9090, ..Place::default() };
        let behind = Place { origin: Some("https://example.com".to_owned()), ..bare.clone() };
        for (url, without, with) in [
            ("http://127.0.0.1:9090/obs/metrics", "http://h:9090/obs/metrics", "https://example.com/obs/metrics"),
            ("http://localhost:9100/metrics", "http://h:9100/metrics", "http://example.com:9100/metrics"),
            ("https://[::1]/metrics?a=b", "https://h/metrics?a=b", "https://example.com/metrics?a=b"),
            ("http://localhost.example:1/", "http://localhost.example:1/", "http://localhost.example:1/"),
            ("", "", ""),
        ] {
            assert_eq!(bare.global_url(url, "h"), without);
            assert_eq!(behind.global_url(url, "h"), with);
        }
    }
}
