//! The commands we give, each in one place.

use super::{
    entry,
    link::{BLOCK, LinkError},
    reply::{self, Entry, Group, Member, Stream},
};
use crate::mailbox::Message;
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection, cmd};

/// Entries of one read: with the largest message each this is what a batch may take in memory.
pub const BATCH: usize = 10;
/// Entries of one look for what others left pending.
const CLAIM_BATCH: usize = 10;

/// A connection, and what can be asked over it. Clones share it.
#[derive(Clone)]
pub struct Commands(pub MultiplexedConnection);

/// Which stream, in which group, as whom.
#[derive(Debug, Clone)]
pub struct Seat {
    pub stream: String,
    pub group: String,
    pub consumer: String,
}

impl Commands {
    async fn ask(&mut self, command: &Cmd) -> Result<Value, LinkError> {
        Ok(command.query_async::<Value>(&mut self.0).await?)
    }

    /// Makes the group, from the first entry on, and the stream where there is none. True where it was not there.
    pub async fn create_group(&mut self, seat: &Seat) -> Result<bool, LinkError> {
        let mut command = cmd("XGROUP");
        command.arg("CREATE").arg(&seat.stream).arg(&seat.group).arg("0").arg("MKSTREAM");
        match self.ask(&command).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_busy_group() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// New entries, after waiting for one.
    pub async fn read_new(&mut self, seat: &Seat) -> Result<Vec<Entry>, LinkError> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&seat.group).arg(&seat.consumer).arg("COUNT").arg(BATCH);
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS").arg(&seat.stream).arg(">");
        Ok(reply::read(self.ask(&command).await?))
    }

    /// What was given to us before and never acknowledged, after an id.
    pub async fn read_pending(&mut self, seat: &Seat, after: &str) -> Result<Vec<Entry>, LinkError> {
        let mut command = cmd("XREADGROUP");
        command.arg("GROUP").arg(&seat.group).arg(&seat.consumer).arg("COUNT").arg(BATCH);
        command.arg("STREAMS").arg(&seat.stream).arg(after);
        Ok(reply::read(self.ask(&command).await?))
    }

    /// Takes over what nobody has touched for so long. `None` from servers that cannot.
    pub async fn claim_idle(
        &mut self,
        seat: &Seat,
        idle_ms: u64,
        cursor: &str,
    ) -> Result<Option<(String, Vec<Entry>, u64)>, LinkError> {
        let mut command = cmd("XAUTOCLAIM");
        command.arg(&seat.stream).arg(&seat.group).arg(&seat.consumer).arg(idle_ms).arg(cursor);
        match self.ask(command.arg("COUNT").arg(CLAIM_BATCH)).await {
            Ok(answer) => Ok(reply::claimed(answer)),
            Err(error) if error.is_unknown_command() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes an entry of ours once more, which counts as a delivery. Empty where it is gone.
    pub async fn claim(&mut self, seat: &Seat, id: &str) -> Result<Vec<Entry>, LinkError> {
        let mut command = cmd("XCLAIM");
        command.arg(&seat.stream).arg(&seat.group).arg(&seat.consumer).arg(0).arg(id);
        Ok(reply::entries(self.ask(&command).await?))
    }

    /// Says that we still work on these, so that nobody takes them over; counts as no delivery.
    pub async fn keep(&mut self, seat: &Seat, ids: &[String]) -> Result<(), LinkError> {
        let mut command = cmd("XCLAIM");
        command.arg(&seat.stream).arg(&seat.group).arg(&seat.consumer).arg(0).arg(ids).arg("JUSTID");
        self.ask(&command).await.map(drop)
    }

    /// How often a pending entry was delivered; 0 where it is not pending.
    pub async fn deliveries(&mut self, seat: &Seat, id: &str) -> Result<u64, LinkError> {
        let mut command = cmd("XPENDING");
        command.arg(&seat.stream).arg(&seat.group).arg(id).arg(id).arg(1);
        let answer = self.ask(&command).await?;
        Ok(reply::pending(&answer).first().map_or(0, |(_, deliveries)| *deliveries))
    }

    pub async fn acknowledge(&mut self, seat: &Seat, id: &str) -> Result<(), LinkError> {
        self.ask(cmd("XACK").arg(&seat.stream).arg(&seat.group).arg(id)).await.map(drop)
    }

    /// Copies an entry to the dead letters and acknowledges it: both or neither.
    pub async fn bury(
        &mut self,
        seat: &Seat,
        id: &str,
        dead: (&str, u64),
        fields: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), LinkError> {
        let mut pipe = Pipeline::new();
        pipe.atomic();
        let add = pipe.cmd("XADD").arg(dead.0).arg("MAXLEN").arg("~").arg(dead.1).arg("*");
        for (name, value) in fields {
            add.arg(name.as_slice()).arg(value.as_slice());
        }
        pipe.cmd("XACK").arg(&seat.stream).arg(&seat.group).arg(id);
        Ok(pipe.query_async::<Value>(&mut self.0).await.map(drop)?)
    }

    /// Puts an entry back into the stream it came from and takes it from the dead letters: both or neither.
    pub async fn revive(
        &mut self,
        (dead, id): (&str, &str),
        (stream, length): (&str, u64),
        fields: &[(Vec<u8>, Vec<u8>)],
    ) -> Result<(), LinkError> {
        let mut pipe = Pipeline::new();
        pipe.atomic();
        let add = pipe.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(length).arg("*");
        for (name, value) in fields {
            add.arg(name.as_slice()).arg(value.as_slice());
        }
        pipe.cmd("XDEL").arg(dead).arg(id);
        Ok(pipe.query_async::<Value>(&mut self.0).await.map(drop)?)
    }

    /// Adds a message as the library does, trimming the stream roughly to `length`.
    pub async fn add(&mut self, stream: &str, length: u64, message: &Message) -> Result<(), LinkError> {
        let mut command = cmd("XADD");
        command.arg(stream).arg("MAXLEN").arg("~").arg(length).arg("*");
        for (name, value) in entry::fields(message) {
            command.arg(name).arg(value);
        }
        self.ask(&command).await.map(drop)
    }

    /// Entries between two ids, newest first.
    pub async fn range_back(
        &mut self,
        stream: &str,
        from: &str,
        to: &str,
        count: usize,
    ) -> Result<Vec<Entry>, LinkError> {
        let mut command = cmd("XREVRANGE");
        command.arg(stream).arg(to).arg(from).arg("COUNT").arg(count);
        Ok(reply::entries(self.ask(&command).await?))
    }

    pub async fn delete(&mut self, stream: &str, id: &str) -> Result<u64, LinkError> {
        Ok(reply::number(&self.ask(cmd("XDEL").arg(stream).arg(id)).await?).unwrap_or(0))
    }

    pub async fn length(&mut self, stream: &str) -> Result<u64, LinkError> {
        Ok(reply::number(&self.ask(cmd("XLEN").arg(stream)).await?).unwrap_or(0))
    }

    /// The groups of a stream; none where there is no stream.
    pub async fn groups(&mut self, stream: &str) -> Result<Vec<Group>, LinkError> {
        match self.ask(cmd("XINFO").arg("GROUPS").arg(stream)).await {
            Ok(answer) => Ok(reply::groups(&answer)),
            Err(error) if error.is_no_key() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub async fn stream(&mut self, stream: &str) -> Result<Stream, LinkError> {
        Ok(reply::stream(&self.ask(cmd("XINFO").arg("STREAM").arg(stream)).await?))
    }

    pub async fn members(&mut self, seat: &Seat) -> Result<Vec<Member>, LinkError> {
        Ok(reply::members(&self.ask(cmd("XINFO").arg("CONSUMERS").arg(&seat.stream).arg(&seat.group)).await?))
    }

    pub async fn delete_member(&mut self, seat: &Seat, name: &str) -> Result<(), LinkError> {
        let mut command = cmd("XGROUP");
        self.ask(command.arg("DELCONSUMER").arg(&seat.stream).arg(&seat.group).arg(name)).await.map(drop)
    }
}
