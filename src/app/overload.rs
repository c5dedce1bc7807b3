//! Short of memory, the process sheds load: first new reads, then new series, and samples of known series never.

use crate::{
    api::Api,
    stdx::size::format_bytes,
    store::tsdb::Tsdb,
    telemetry::{Metrics, Reading, memory},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Without a setting: this part of what the machine or the control group has. The rest is the page cache, which blocks
/// are read through, and whoever else is there.
const BUDGET_PERCENT: u64 = 75;
/// Where nobody says what the machine has.
const BUDGET_UNKNOWN: u64 = 2 << 30;
/// A query allocates some hundred megabytes a second at most: what is between two looks fits above the thresholds.
const TICK: Duration = Duration::from_millis(100);
/// Percent of the budget: above the first it is shed, below the second no more.
const READS: (u64, u64) = (80, 75);
const SERIES: (u64, u64) = (90, 85);
/// The head may have this part of the budget before its coldest window is sealed.
const HEAD_PART: u64 = 4;

/// What is shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Shed {
    reads: bool,
    series: bool,
}

impl Shed {
    /// What is shed next, given what is used.
    fn next(self, used: u64, budget: u64) -> Shed {
        let percent = (u128::from(used) * 100 / u128::from(budget.max(1))) as u64;
        let step = |on: bool, (above, below): (u64, u64)| percent >= if on { below } else { above };
        Shed { reads: step(self.reads, READS), series: step(self.series, SERIES) }
    }
}

/// The budget in bytes.
pub fn budget(set: Option<u64>) -> u64 {
    set.unwrap_or_else(|| memory::machine_bytes().map_or(BUDGET_UNKNOWN, |bytes| bytes / 100 * BUDGET_PERCENT))
}

/// How much of the budget windows in memory may take.
pub fn head_bytes_max(budget: u64, default: usize) -> usize {
    usize::try_from(budget / HEAD_PART).unwrap_or(usize::MAX).min(default)
}

/// Figures of the last look.
#[derive(Debug, Default)]
struct Seen {
    used: AtomicU64,
    changes: AtomicU64,
}

/// Looks at the memory until `stop`.
pub fn start(budget: u64, api: Arc<Api>, store: &Arc<Tsdb>, stop: CancellationToken) -> JoinHandle<()> {
    let seen = Arc::new(Seen::default());
    register(&api.metrics, budget, seen.clone());
    let store = Arc::downgrade(store);
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shed = Shed::default();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            // Without a figure nothing is shed: an unknown kernel is no reason to refuse.
            let (Some(used), Some(store)) = (memory::used_bytes(), store.upgrade()) else { continue };
            seen.used.store(used, Ordering::Relaxed);
            let next = shed.next(used, budget);
            if next != shed {
                seen.changes.fetch_add(1, Ordering::Relaxed);
                tell(shed, next, used, budget);
                api.admission.shed_reads(next.reads.then(|| sentence(used, budget)));
                store.refuse_new_series(next.series);
                shed = next;
            }
        }
    })
}

fn sentence(used: u64, budget: u64) -> String {
    format!(
        "memory is short, {} of {} are in use, so no new reads are taken; try again in some seconds, ask for less, or \
         raise `storage.memory_max`",
        format_bytes(used),
        format_bytes(budget)
    )
}

fn tell(before: Shed, next: Shed, used: u64, budget: u64) {
    let (used, budget) = (format_bytes(used), format_bytes(budget));
    match (before.reads, next.reads) {
        (false, true) => tracing::warn!(used, budget, "Memory is short: new reads are refused with 503."),
        (true, false) => tracing::info!(used, budget, "Memory is there again: reads are taken."),
        _ => {}
    }
    match (before.series, next.series) {
        (false, true) => {
            tracing::warn!(used, budget, "Memory is very short: new series are refused, known ones go on.")
        }
        (true, false) => tracing::info!(used, budget, "Memory is there again: new series are taken."),
        _ => {}
    }
}

fn register(metrics: &Metrics, budget: u64, seen: Arc<Seen>) {
    metrics.readings(move || {
        vec![
            Reading::gauge("observatory_memory_budget_bytes", "Memory this process may take.", budget as f64),
            Reading::gauge(
                "observatory_memory_used_bytes",
                "Memory of its own this process has, as of the last look; mapped files do not count.",
                seen.used.load(Ordering::Relaxed) as f64,
            ),
            Reading::counter(
                "observatory_memory_changes_total",
                "How often shedding of reads or of new series began or ended.",
                seen.changes.load(Ordering::Relaxed) as f64,
            ),
        ]
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_go_before_series_and_both_come_back_a_little_later() {
        let (mut shed, mut seen) = (Shed::default(), Vec::new());
        for used in [0, 79, 80, 76, 89, 90, 86, 84, 75, 74, 95, 10] {
            shed = shed.next(used, 100);
            seen.push((used, shed.reads, shed.series));
        }
        let expected = [
            (0, false, false),
            (79, false, false),
            (80, true, false),
            (76, true, false),
            (89, true, false),
            (90, true, true),
            (86, true, true),
            (84, true, false),
            (75, true, false),
            (74, false, false),
            (95, true, true),
            (10, false, false),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_budget_is_what_was_set_or_a_part_of_the_machine() {
        assert_eq!(budget(Some(5)), 5);
        let machine = memory::machine_bytes().unwrap();
        assert!((machine / 2..machine).contains(&budget(None)));
        assert_eq!(head_bytes_max(400, 1000), 100);
    }
}
