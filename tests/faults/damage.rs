//! Damage on disk: a data directory with everything in it loses a byte, a page, its end or a whole file. The program
//! starts all the same, serves what the damage did not cover, says what it lost, and takes writes.

use super::keeper::compact;
use super::past::{HOUR_MS, origin_ms};
use super::support::server::{Options, TestServer, number};
use super::support::tools::now_ms;
use super::support::wire;
use super::{Random, START_MAX, rounds, turn};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SERIES: u64 = 12;
const PAGE_BYTES: u64 = 4096;

/// A damage is quicker than a crash under load: more of them, and 300 in the long form of 50 rounds.
const ROUNDS_FACTOR: u32 = 6;

/// Series to its samples.
type Contents = BTreeMap<String, BTreeMap<i64, u64>>;

/// What a server answers about everything there was at one time.
#[derive(Debug, PartialEq)]
struct Served {
    samples: Contents,
    exemplars: usize,
    groups: usize,
}

impl Served {
    fn ask(server: &TestServer, end_ms: i64) -> Served {
        let data = server.query("{__name__=~\"fault_.+\"}[7d]", Some(end_ms as f64 / 1000.0));
        let mut samples = Contents::new();
        for series in data["result"].as_array().expect("a matrix") {
            let values = series["values"].as_array().expect("values").iter();
            let values = values.map(|pair| ((number(&pair[0]) * 1000.0) as i64, number(&pair[1]).to_bits()));
            samples.insert(series["metric"].to_string(), values.collect());
        }
        let (start, end) = (end_ms / 1000 - 7 * 86_400, end_ms / 1000);
        let path = format!("/api/v1/query_exemplars?query=fault_fresh&start={start}&end={end}");
        let exemplars = server.get(&path).data();
        let exemplars = exemplars.as_array().expect("a list").iter();
        let exemplars = exemplars.map(|series| series["exemplars"].as_array().map_or(0, Vec::len)).sum();
        let groups = server.get("/api/v1/metrics").data();
        Served { samples, exemplars, groups: groups.as_array().expect("a list").len() }
    }

    fn count(&self) -> usize {
        self.samples.values().map(BTreeMap::len).sum()
    }

    /// How much of `before` is not there; panics where something is there that was not.
    fn lost_since(&self, before: &Served, context: &str) -> Vec<i64> {
        let mut lost = Vec::new();
        for (series, samples) in &before.samples {
            let after = self.samples.get(series);
            lost.extend(samples.keys().filter(|at| after.is_none_or(|after| !after.contains_key(at))));
        }
        for (series, samples) in &self.samples {
            let known = before.samples.get(series).unwrap_or_else(|| panic!("{context}: new series {series}"));
            for (at, value) in samples {
                assert_eq!(known.get(at), Some(value), "{context}: {series} at {at} changed");
            }
        }
        lost
    }
}

/// Blocks of days and of windows, small state, exemplars, a checkpoint, a log of several segments. Gives the time that
/// everything lies before.
fn fill(server: &TestServer) -> i64 {
    let origin_ms = origin_ms();
    let write = |name: &str, from: i64, step_ms: i64, samples: i64| {
        let series: Vec<wire::Series> = (0..SERIES)
            .map(|number| {
                let samples: Vec<_> =
                    (0..samples).map(|n| (from + n * step_ms, (n * n % 97 + number as i64) as f64)).collect();
                let mut one = wire::Series::new(name, &[("series", &number.to_string())], &samples);
                let newest = samples.last().expect("some samples").0;
                let labels = vec![("trace".to_owned(), format!("{newest:x}"))];
                one.exemplars.push(wire::Exemplar { labels, value: number as f64, timestamp: newest });
                one
            })
            .collect();
        let answer = server.write(&wire::write_request(&series));
        assert_eq!(answer.status, 204, "{answer}");
    };
    // Merged, then late samples of the same days in blocks of their own.
    write("fault_days", origin_ms, 60_000, 2_880);
    compact(server.url()).expect("blocks are merged");
    for window in 0..3 {
        write("fault_late", origin_ms + window * 6 * HOUR_MS + 7, 15_000, 400);
    }
    for group in 0..20 {
        let body = format!("fault_pushed {group}\n");
        assert_eq!(server.push("PUT", &format!("damage/instance/{group}"), &body).status, 200);
    }
    write("fault_fresh", now_ms() - HOUR_MS, 15_000, 100);
    compact(server.url()).expect("the late ones are merged");
    // What only the log has, one record each; the last ones are its end.
    for batch in 0..60 {
        write("fault_fresh", now_ms() - HOUR_MS / 2 + batch * 20_000, 5_000, 4);
    }
    now_ms() + 1
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Files that hold something.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(files(&path));
        } else if name != "lock" && !name.starts_with("spare-") && path.metadata().unwrap().len() > 0 {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Damage {
    Byte,
    Page,
    Truncated,
    Missing,
}

impl Damage {
    fn inflict(self, file: &Path, random: &mut Random) -> u64 {
        let opened = File::options().read(true).write(true).open(file).unwrap();
        let length = opened.metadata().unwrap().len();
        // The rest of a log segment has not been written yet.
        let mut used = fs::read(file).unwrap();
        used.truncate(used.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1));
        let offset = random.below(used.len() as u64);
        match self {
            Damage::Byte => {
                let flipped = used[offset as usize] ^ (1 + random.below(255) as u8);
                opened.write_all_at(&[flipped], offset).unwrap();
            }
            Damage::Page => {
                let start = offset - offset % PAGE_BYTES;
                let page: Vec<u8> = (0..PAGE_BYTES.min(length - start)).map(|_| random.below(256) as u8).collect();
                opened.write_all_at(&page, start).unwrap();
            }
            Damage::Truncated => opened.set_len(offset).unwrap(),
            Damage::Missing => fs::remove_file(file).unwrap(),
        }
        offset
    }
}

/// Whether the samples at these times can have been in the file.
fn covers(file: &Path, lost: &[i64], fresh_ms: i64) -> bool {
    let (name, place) = (file.file_name().unwrap().to_string_lossy(), file.parent().unwrap().file_name().unwrap());
    match place.to_string_lossy().as_ref() {
        "blocks" => {
            let start: i64 = name.rsplitn(3, '-').last().and_then(|text| text.parse().ok()).expect("a block's name");
            lost.iter().all(|at| (start..start + 5 * 24 * HOUR_MS).contains(at))
        }
        // Only what was written after the last compaction is nowhere else.
        "log" => lost.iter().all(|at| *at >= fresh_ms),
        // Values pushed go on as runs, which checkpoint and log have.
        _ => lost.is_empty(),
    }
}

#[test]
fn damage_on_disk_costs_what_it_covered_and_is_named() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let whole = directory.path().join("whole");
    let mut server = TestServer::with(Options { data: Some(whole.clone()), ..Options::default() });
    let end_ms = fill(&server);
    let fresh_ms = end_ms - HOUR_MS / 2 - 60_000;
    let before = Served::ask(&server, end_ms);
    assert_eq!(before.groups, 20);
    assert!(before.exemplars > 0 && before.count() > 30_000, "{}", before.count());
    server.kill();
    let newest_segment = files(&whole.join("log")).pop().unwrap();
    let newest_segment = newest_segment.file_name().unwrap();
    let mut random = Random::seeded();
    let (mut damages_that_cost, mut counted, mut lost_most) = (0, 0, 0);
    for round in 1..=rounds() * ROUNDS_FACTOR {
        let data = directory.path().join(format!("round-{round}"));
        copy(&whole, &data);
        let all = files(&data);
        let file = &all[random.below(all.len() as u64) as usize];
        let kind = [Damage::Byte, Damage::Page, Damage::Truncated, Damage::Missing][random.below(4) as usize];
        let offset = kind.inflict(file, &mut random);
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let context = format!("round {round}: {kind:?} {name} at {offset}");
        let mut server = TestServer::with(Options { data: Some(data.clone()), ..Options::default() });
        assert!(server.ready_after < START_MAX, "{context}: ready after {:?}", server.ready_after);
        let after = Served::ask(&server, end_ms);
        let lost = after.lost_since(&before, &context);
        assert!(covers(file, &lost, fresh_ms), "{context}: {} samples lost that were not in it", lost.len());
        let damaged = server.own_metric("observatory_storage_damaged_total");
        let cost = !lost.is_empty() || after.exemplars < before.exemplars || after.groups < before.groups;
        // Nothing says how far the newest segment went: its end looks as if the power had gone while it was written.
        let is_torn_end = file.file_name() == Some(newest_segment);
        assert!(!cost || damaged > 0.0 || is_torn_end, "{context}: {} samples lost without a word", lost.len());
        if damaged > 0.0 {
            counted += 1;
            let log = server.log();
            let stem = name.trim_end_matches(".copy").trim_end_matches(".redb");
            assert!(
                log.contains(stem) || kind == Damage::Missing && log.contains("ERROR"),
                "{context}: not named in {log}"
            );
        }
        damages_that_cost += u32::from(cost);
        lost_most = lost_most.max(lost.len());
        if round % 3 == 0 {
            compact(server.url()).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(
                Served::ask(&server, end_ms).lost_since(&after, &context),
                Vec::<i64>::new(),
                "{context}: merged"
            );
        }
        server.assert_healthy();
        let now = [(now_ms(), 1.0)];
        assert_eq!(
            server.write(&wire::write_request(&[wire::Series::new("after", &[], &now)])).status,
            204,
            "{context}"
        );
        server.kill();
        let server = server.start_again();
        assert_eq!(server.value("after"), Some(1.0), "{context}: started again");
        drop(server);
        fs::remove_dir_all(&data).unwrap();
    }
    println!(
        "{} damages, {damages_that_cost} cost something, {counted} were counted; at most {lost_most} of {} samples lost",
        rounds() * ROUNDS_FACTOR,
        before.count()
    );
}
