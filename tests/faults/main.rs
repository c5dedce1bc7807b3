//! What was acknowledged survives: `kill -9`, power cuts, damage, a full disk, too few handles, too many series.
//!
//! 1. [`load`] runs writers that count an acknowledgement only once its answer is there; [`keeper`] has everything they
//!    wrote sealed, merged and dropped all the while, around the fixed samples of [`past`].
//! 2. [`kill`] ends the process with SIGKILL, [`power`] cuts the disk under it as well; the counters are read *before*.
//! 3. [`full`] fills the disk and frees it again; [`handles`] leaves the process without file handles; [`bomb`] makes
//!    more series than there shall be.
//! 4. After the restart, which has to take less than two seconds, everything counted is asked for over HTTP: it has to
//!    be there, and once, and the questions about the past have to have the answers they had.
//! 5. [`work`] kills the server, or the command that asks it, amid compactions, backups and snapshots, and a restore amid
//!    its writing; whatever a backup's name stands for afterwards is restored and asked the same.
//! 6. [`damage`] changes files of a data directory at random, and starts on that.
//!
//! A few rounds by default, so that every test run has them; `FAULT_ROUNDS=100` for the long form, whose figures are in
//! `docs/reliability.md`. The tests here take turns: two of them at once would measure each other.

#![allow(clippy::unwrap_used, reason = "in a test, the place it stopped says what failed")]

#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its part of what they share")]
mod support;

mod bomb;
mod damage;
mod full;
mod handles;
mod keeper;
mod kill;
mod load;
mod past;
mod power;
mod work;

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a start on an existing data directory may take.
const START_MAX: Duration = Duration::from_secs(2);

static TURN: Mutex<()> = Mutex::new(());

/// One fault test at a time; one that failed does not fail the others.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn rounds() -> u32 {
    match std::env::var("FAULT_ROUNDS") {
        Ok(text) => text.parse().expect("FAULT_ROUNDS is a number"),
        Err(_) => 5,
    }
}

/// xorshift, seeded by the clock.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        Random(random_between(1, u64::from(u32::MAX)).as_millis() as u64 | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % end
    }
}

/// A different moment every round and run; when it fails, the data tells more than a seed would.
fn random_between(low_ms: u64, high_ms: u64) -> Duration {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970").subsec_nanos();
    let mixed = u64::from(nanoseconds).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Duration::from_millis(low_ms + mixed % (high_ms - low_ms))
}
