//! `observatory storage`, `observatory storage compact` and `observatory storage plan`: of a running server, or of a data directory without one.

use super::{
    arguments::{ConfiguredPlace, Storage, StorageCommand},
    client::{Client, read},
    config::refused_failure,
    dispatch::Failure,
    storage_plan, storage_table,
};
use crate::{
    app::Offline,
    config::load,
    jobs::{Job, JobState},
    stdx::size::format_bytes,
    store::{StorageReport, Upkeep, tsdb::block::Progress},
};
use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

const TICK: Duration = Duration::from_millis(250);
const BAR_WIDTH: u64 = 30;

/// Reports on the store, or compacts it.
pub fn storage(arguments: Storage) -> Result<(), Failure> {
    match arguments.command {
        Some(StorageCommand::Compact(place)) => match &place.store.data_dir {
            Some(data) => compact_offline(data, &place),
            None => compact_server(&Client::of(&place.store.server)?),
        },
        Some(StorageCommand::Plan(arguments)) => storage_plan::plan(&arguments),
        None => {
            let report = report(&arguments.place, arguments.top)?;
            if arguments.json {
                let text = serde_json::to_string_pretty(&report).map_err(|cause| Failure::failed(cause.to_string()))?;
                return print(&format!("{text}\n"));
            }
            print(&storage_table::print(&report))
        }
    }
}

/// Whoever reads may have seen enough: `| head` is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(cause) if cause.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(cause.to_string())),
        _ => Ok(()),
    }
}

fn report(place: &ConfiguredPlace, top: usize) -> Result<StorageReport, Failure> {
    match &place.store.data_dir {
        Some(data) => open(data, place)?.store.storage(top).map_err(|error| Failure::failed(error.to_string())),
        None => {
            let data = Client::of(&place.store.server)?.get(&format!("status/storage?limit={top}"))?;
            read(data)
        }
    }
}

fn open(data: &Path, place: &ConfiguredPlace) -> Result<Offline, Failure> {
    let config = place.config.as_ref().map(|file| load(file).map_err(|refused| refused_failure(&refused)));
    let config = config.transpose()?.map(|loaded| loaded.config);
    Offline::open(data, config.as_ref()).map_err(|error| Failure::failed(format!("{error:#}")))
}

fn compact_server(client: &Client) -> Result<(), Failure> {
    let job = follow(client, read(client.post("admin/storage/compact")?)?)?;
    match job.state {
        JobState::Done => print(&format!("{}\n", job.message)),
        JobState::Cancelled => Err(Failure::failed("it was cancelled; nothing is lost, and the next one goes on")),
        _ => Err(Failure::failed(format!("the compaction failed: {}", job.message))),
    }
}

/// Shows how far a job of the server is, until it ends; gives it as it is then.
pub fn follow(client: &Client, mut job: Job) -> Result<Job, Failure> {
    let mut bar = Bar::new();
    if bar.is_shown {
        eprintln!("Job {} runs on the server, also without this command.", job.id);
    }
    while job.state == JobState::Running {
        std::thread::sleep(TICK);
        job = read(client.get(&format!("jobs/{}", job.id))?)?;
        bar.show(job.progress.done, job.progress.total, &job.progress.unit);
    }
    bar.end();
    Ok(job)
}

fn compact_offline(data: &Path, place: &ConfiguredPlace) -> Result<(), Failure> {
    let offline = open(data, place)?;
    let progress = Arc::new(Progress::default());
    let mut bar = Bar::new();
    let done = std::thread::scope(|scope| {
        let running = scope.spawn(|| offline.store.compact(&progress));
        while !running.is_finished() {
            std::thread::sleep(TICK.min(Duration::from_millis(50)));
            let (done, total) = (&progress.series_done, &progress.series_total);
            bar.show(done.load(Ordering::Relaxed), total.load(Ordering::Relaxed), "series");
        }
        running.join()
    });
    bar.end();
    let done = done.map_err(|_| Failure::failed("the compaction panicked; please report this"))?;
    let done = done.map_err(|error| Failure::failed(error.to_string()))?;
    let (before, after) = (format_bytes(done.bytes_before), format_bytes(done.bytes_after));
    let (merges, tiers) = (done.merges, done.tiers);
    print(&format!("{merges} merges, {tiers} stretches built into tiers, {before} before and {after} after\n"))
}

/// A line that fills up, where somebody is watching.
struct Bar {
    is_shown: bool,
    is_drawn: bool,
}

impl Bar {
    fn new() -> Bar {
        Bar { is_shown: std::io::stderr().is_terminal(), is_drawn: false }
    }

    fn show(&mut self, done: u64, total: u64, unit: &str) {
        if self.is_shown && total > 0 {
            eprint!("\r{}", bar(done, total, unit));
            self.is_drawn = true;
        }
    }

    fn end(&self) {
        if self.is_drawn {
            eprintln!();
        }
    }
}

fn bar(done: u64, total: u64, unit: &str) -> String {
    let done = done.min(total);
    let filled = (u128::from(done) * u128::from(BAR_WIDTH) / u128::from(total.max(1))) as usize;
    let (full, empty) = ("#".repeat(filled), ".".repeat(BAR_WIDTH as usize - filled));
    format!("[{full}{empty}] {done} of {total} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills_up() {
        assert_eq!(bar(0, 0, "series"), "[..............................] 0 of 0 series");
        assert_eq!(bar(5, 10, "series"), "[###############...............] 5 of 10 series");
        assert_eq!(bar(11, 10, "series"), "[##############################] 10 of 10 series");
    }
}
