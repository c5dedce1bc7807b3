//! How much the mailbox takes, how long, how often: each limit with its reason.

use crate::model::Timestamp;

/// A message of more is refused: as much as a push may have. A log record takes sixteen times that.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What a message takes beside its text, in memory and on disk: keys, index, status. It counts against the limit, so that
/// many tiny messages are not free.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 1024;
/// Ids of handled messages that are remembered, at about 200 bytes each: a sender that was cut off asks again within
/// minutes, not after as many others.
pub const HANDLED_MAX: usize = 20_000;
/// And no longer than a sender may be off over a long weekend.
pub const HANDLED_AGE_MS_MAX: i64 = 7 * 24 * 3_600_000;
/// A handler writes to our own store; one that takes longer hangs.
pub const HANDLE_MS_MAX: u64 = 60_000;
/// The first pause after a failure; each one after it is twice as long.
const PAUSE_MS: i64 = 1_000;
/// A full disk is looked at within minutes.
pub const PAUSE_MS_MAX: i64 = 5 * 60_000;

/// What is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of all messages, before compression; dead letters take at most half of it.
    pub bytes_max: u64,
    /// Messages that wait longer become dead letters; dead letters that lie longer go.
    pub age_ms_max: i64,
    /// After so many the message is a dead letter.
    pub attempts_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // A first sync of a large organisation fits; compressed it is some 8 MiB of memory.
            bytes_max: 64 << 20,
            // Somebody comes back from a holiday and still finds what went wrong.
            age_ms_max: 14 * 24 * 3_600_000,
            // A quarter of an hour with the pauses between.
            attempts_max: 10,
        }
    }
}

impl Limits {
    /// Of one message.
    pub fn message_bytes_max(&self) -> usize {
        usize::try_from(self.bytes_max / 2).unwrap_or(usize::MAX).min(MESSAGE_BYTES_MAX)
    }
}

/// How long to wait after so many attempts. `dice` is between 0 and 1: those that failed together do not come again
/// together.
pub fn pause_ms(attempts: u64, dice: f64) -> Timestamp {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = PAUSE_MS.saturating_mul(1 << doublings).min(PAUSE_MS_MAX);
    pause / 2 + (pause as f64 / 2.0 * dice.clamp(0.0, 1.0)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_spread() {
        let pauses: Vec<i64> = (1..=12).map(|attempts| pause_ms(attempts, 1.0)).collect();
        assert_eq!(pauses[..4], [1_000, 2_000, 4_000, 8_000]);
        assert_eq!(pauses[11], PAUSE_MS_MAX);
        assert_eq!(pause_ms(u64::MAX, 0.0), PAUSE_MS_MAX / 2);
    }
}
