//! Connections to the server: with user, password and database, over TLS where the address says so, never for longer than
//! a time limit.

use super::config::{RedisConfig, address};
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError, aio::MultiplexedConnection};
use std::time::Duration;

/// A server on the other side of the world answers within it.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a read waits for entries.
pub const BLOCK: Duration = Duration::from_secs(2);
/// How long any answer may take, and a read beyond its wait: one that is stopped is given up, and another connection
/// tried.
const ANSWER: Duration = Duration::from_secs(5);

/// Why the server does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the password cannot be read from {file}: {cause}")]
    Password { file: String, cause: std::io::Error },
    #[error("{hint}{error}")]
    Redis { error: RedisError, hint: &'static str },
}

impl From<RedisError> for LinkError {
    fn from(error: RedisError) -> LinkError {
        let refused = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("WRONGPASS" | "NOAUTH" | "NOPERM"));
        let hint = match refused {
            true => "the user or password is refused (see `mailbox.redis` and `mailbox.redis_password_file`): ",
            false => "",
        };
        LinkError::Redis { error, hint }
    }
}

impl LinkError {
    /// Whether the stream or its group is gone, as after a FLUSHDB or a restart without persistence.
    pub fn is_no_group(&self) -> bool {
        matches!(self, LinkError::Redis { error, .. } if matches!(error.code(), Some("NOGROUP" | "UNBLOCKED")))
            || self.is_no_key()
    }

    /// Whether a key that was asked about does not exist.
    pub fn is_no_key(&self) -> bool {
        matches!(self, LinkError::Redis { error, .. } if error.to_string().contains("no such key"))
    }

    /// Whether the server is too old for a command.
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, LinkError::Redis { error, .. } if error.to_string().contains("unknown command"))
    }

    /// Whether the group was there already.
    pub fn is_busy_group(&self) -> bool {
        matches!(self, LinkError::Redis { error, .. } if error.code() == Some("BUSYGROUP"))
    }

    /// Whether the connection can be used no more, rather than a command refused.
    pub fn is_of_connection(&self) -> bool {
        match self {
            LinkError::Password { .. } => true,
            LinkError::Redis { error, .. } => {
                error.is_io_error() || error.is_timeout() || error.is_connection_dropped()
            }
        }
    }
}

/// Makes connections.
#[derive(Debug, Clone)]
pub struct Link {
    pub config: RedisConfig,
}

impl Link {
    /// A new connection, which has logged in. The password file is read again each time.
    pub async fn connect(&self) -> Result<MultiplexedConnection, LinkError> {
        let mut info = address(&self.config.url)
            .map_err(|error| RedisError::from((ErrorKind::InvalidClientConfig, "address", error.to_string())))?;
        // Each attempt would log what old servers do not know.
        let mut settings = info.redis_settings().clone().set_skip_set_lib_name();
        if let Some(file) = &self.config.password_file {
            let shown = file.display().to_string();
            let text = tokio::task::spawn_blocking({
                let file = file.clone();
                move || std::fs::read_to_string(file)
            });
            let text = text.await.map_err(std::io::Error::other).and_then(|text| text);
            let text = text.map_err(|cause| LinkError::Password { file: shown, cause })?;
            settings = settings.set_password(text.trim_end_matches(['\r', '\n']));
        }
        info = info.set_redis_settings(settings);
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(BLOCK + ANSWER));
        Ok(Client::open(info)?.get_multiplexed_async_connection_with_config(&limits).await?)
    }
}
