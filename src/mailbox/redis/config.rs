//! Where the server is, and who we are there.

use redis::{ConnectionInfo, IntoConnectionInfo};
use std::{fmt, path::PathBuf};

/// How to reach a Redis server and which streams are ours.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// `redis://` or `rediss://`, with user, password and database where they are needed.
    pub url: String,
    /// Holds the password, and is read at each connection.
    pub password_file: Option<PathBuf>,
    pub prefix: String,
    pub agent: String,
    /// One more stream to read, by its literal key.
    pub stream: Option<String>,
    /// What a stream is trimmed to when we write to it, roughly.
    pub stream_length: u64,
}

/// Why an address of a server is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("expected an address such as redis://127.0.0.1:6379/0, or rediss:// for TLS")]
    Scheme,
    #[error("is no address: {0}")]
    Parts(String),
    #[error(
        "TLS without looking at the certificate is not offered: leave `#insecure` out, and make the authority known"
    )]
    Insecure,
}

impl RedisConfig {
    /// The stream that messages for an agent are put in.
    pub fn inbox(&self, agent: &str) -> String {
        format!("{}:{agent}:in", self.prefix)
    }

    /// Where what we could not handle is kept.
    pub fn dead(&self) -> String {
        format!("{}:{}:dead", self.prefix, self.agent)
    }

    /// The consumer group of an agent.
    pub fn group(agent: &str) -> String {
        format!("{agent}:group")
    }

    /// Server and database, without user and password.
    pub fn shown(&self) -> String {
        match address(&self.url) {
            Ok(info) => format!("{}/{}", info.addr(), info.redis_settings().db()),
            Err(error) => error.to_string(),
        }
    }

    /// The address with `<secret>` in place of a password.
    pub fn url_without_password(&self) -> String {
        let password = address(&self.url).ok().and_then(|info| info.redis_settings().password().map(str::to_owned));
        let Some((scheme, rest)) = self.url.split_once("://") else { return self.url.clone() };
        match (password, rest.split_once('@')) {
            (Some(_), Some((login, host))) => {
                format!("{scheme}://{}:<secret>@{host}", login.split(':').next().unwrap_or_default())
            }
            _ => self.url.clone(),
        }
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &self.url_without_password())
            .field("password_file", &self.password_file)
            .field("prefix", &self.prefix)
            .field("agent", &self.agent)
            .field("stream", &self.stream)
            .field("stream_length", &self.stream_length)
            .finish()
    }
}

/// Reads an address.
pub(super) fn address(url: &str) -> Result<ConnectionInfo, AddressError> {
    if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(AddressError::Scheme);
    }
    if url.contains('#') {
        return Err(AddressError::Insecure);
    }
    url.into_connection_info().map_err(|error| AddressError::Parts(error.to_string()))
}

impl RedisConfig {
    /// Whether `url` is an address we can use.
    pub fn check_url(url: &str) -> Result<(), AddressError> {
        address(url).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> RedisConfig {
        let (prefix, agent) = ("beast:observatory".to_owned(), "metrics".to_owned());
        RedisConfig { url: url.to_owned(), password_file: None, prefix, agent, stream: None, stream_length: 1000 }
    }

    #[test]
    fn names_are_those_of_the_library() {
        let config = config("redis://localhost");
        assert_eq!(config.inbox("metrics"), "beast:observatory:metrics:in");
        assert_eq!(RedisConfig::group("metrics"), "metrics:group");
        assert_eq!(config.dead(), "beast:observatory:metrics:dead");
    }

    #[test]
    fn a_password_is_never_shown() {
        for url in ["redis://me:hunter2@localhost:1/3", "rediss://:hunter2@localhost:1/3", "redis://x:hunter2%40@h"] {
            let config = config(url);
            for text in [format!("{config:?}"), config.shown(), config.url_without_password()] {
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
        assert_eq!(config("redis://me:hunter2@localhost:1/3").shown(), "localhost:1/3");
        assert_eq!(config("redis://me:p@h").url_without_password(), "redis://me:<secret>@h");
        assert_eq!(config("redis://h/2").url_without_password(), "redis://h/2");
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for url in ["http://h", "localhost:6379", "", "unix:///x"] {
            assert_eq!(RedisConfig::check_url(url), Err(AddressError::Scheme), "{url}");
        }
        assert!(matches!(RedisConfig::check_url("redis://h/x"), Err(AddressError::Parts(_))));
        assert_eq!(RedisConfig::check_url("rediss://h#insecure"), Err(AddressError::Insecure));
    }
}
