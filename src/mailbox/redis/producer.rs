//! Putting messages into streams.

use super::{
    RedisConfig,
    commands::Commands,
    link::{Link, LinkError},
    stats::RedisStats,
};
use crate::mailbox::{Accepted, MESSAGE_BYTES_MAX, Mailbox, Message, Pending, PutError};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Puts messages into the inbox of their recipient. One without a recipient is for ourselves.
pub struct Producer {
    link: Link,
    stats: Arc<RedisStats>,
    /// Kept between messages; none before the first and after a failure.
    open: Mutex<Option<Commands>>,
}

impl Producer {
    pub fn new(link: Link, stats: Arc<RedisStats>) -> Producer {
        Producer { link, stats, open: Mutex::new(None) }
    }

    /// An open connection.
    pub async fn commands(&self) -> Result<Commands, LinkError> {
        let mut open = self.open.lock().await;
        if let Some(commands) = &*open {
            return Ok(commands.clone());
        }
        let commands = Commands(self.link.connect().await?);
        *open = Some(commands.clone());
        Ok(commands)
    }

    /// Gives the connection up where an error says that it is of no use any more.
    pub async fn failed(&self, error: &LinkError) {
        self.stats.failed(error);
        if error.is_of_connection() {
            *self.open.lock().await = None;
        }
    }

    async fn put_now(&self, mut message: Message) -> Result<Accepted, PutError> {
        let bytes = message.bytes();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(PutError::TooLarge { bytes, bytes_max: MESSAGE_BYTES_MAX });
        }
        let config = &self.link.config;
        if message.recipient.is_empty() {
            message.recipient.clone_from(&config.agent);
        }
        let (stream, group) = (config.inbox(&message.recipient), RedisConfig::group(&message.recipient));
        let added = async {
            let mut commands = self.commands().await?;
            // What the stream is trimmed by has to have been read: it is refused rather than pushed out.
            let groups = commands.groups(&stream).await?;
            let waiting = groups.iter().find(|found| found.name == group).map_or(0, |g| g.lag.unwrap_or(0) + g.pending);
            if waiting >= config.stream_length {
                return Ok(Some(waiting));
            }
            commands.add(&stream, config.stream_length, &message).await.map(|()| None)
        };
        let answer: Result<Option<u64>, LinkError> = added.await;
        match answer {
            Ok(None) => {
                self.stats.sent.add(1);
                Ok(Accepted::Waits)
            }
            Ok(Some(waiting)) => Err(PutError::Unavailable(format!(
                "{waiting} messages wait in `{stream}`, as many as it keeps (mailbox.stream_length); put it again later"
            ))),
            Err(error) => {
                self.failed(&error).await;
                Err(PutError::Unavailable(error.to_string()))
            }
        }
    }
}

impl Mailbox for Producer {
    fn put(&self, message: Message) -> Pending<'_, Result<Accepted, PutError>> {
        Box::pin(self.put_now(message))
    }
}
