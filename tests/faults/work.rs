//! `kill -9` amid long work: what is half done when it comes is gone or goes on, and what has its name is whole.
//!
//! A kind of work is a row of [`WORK`] and a function that does it once. Kills are spread over its whole course. After
//! each, the server has what was acknowledged; the work done once more ends well and leaves nothing beside itself; and
//! every backup and snapshot that has its name, of the killed run too, opens with the same answers.

use super::load::{Acknowledged, Load};
use super::past::{HOUR_MS, Past};
use super::support::server::{Options, TestServer, command, run};
use super::support::tools::{eventually, now_ms};
use super::support::{http, wire};
use super::{Random, START_MAX, rounds, turn};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const WAIT: Duration = Duration::from_secs(20);
const DAY_MS: i64 = 24 * HOUR_MS;
/// Days whose buckets are built.
const TIERED_DAYS: i64 = 12;
/// Where these are in the data directory.
const TIERS: [&str; 2] = ["tiers/300000", "tiers/3600000"];

/// Where these days end: every stretch that they lie in is over.
static TIERED_END_MS: LazyLock<i64> = LazyLock::new(|| now_ms() - now_ms().rem_euclid(5 * DAY_MS) - 5 * DAY_MS);

/// Whose end the kill is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Victim {
    Server,
    /// The one that [`Bench::command`] runs.
    Command,
}

/// A kind of work.
struct Work {
    name: &'static str,
    /// Asks for it and waits for its end; an error where the server or the command is gone.
    run: fn(&Bench) -> Result<(), String>,
    victim: Victim,
    /// Whether everything is sealed, merged and expired meanwhile.
    is_kept: bool,
    /// Whether something with a name comes of it.
    is_copy: bool,
}

const WORK: [Work; 7] = [
    Work { name: "compaction", run: compact, victim: Victim::Server, is_kept: false, is_copy: false },
    Work { name: "tiers", run: build_tiers, victim: Victim::Server, is_kept: false, is_copy: false },
    Work { name: "deletion", run: delete, victim: Victim::Server, is_kept: true, is_copy: false },
    Work { name: "backup", run: download, victim: Victim::Server, is_kept: true, is_copy: true },
    Work { name: "backup command", run: download, victim: Victim::Command, is_kept: false, is_copy: true },
    Work { name: "scheduled backup", run: schedule, victim: Victim::Server, is_kept: true, is_copy: true },
    Work { name: "snapshot", run: snapshot, victim: Victim::Server, is_kept: true, is_copy: true },
];

fn compact(bench: &Bench) -> Result<(), String> {
    bench.command(["storage", "compact", "--url", &bench.url()].map(OsStr::new))
}

/// Something more in all stretches that are over, so that their buckets are built again, of all samples.
fn build_tiers(bench: &Bench) -> Result<(), String> {
    let number = bench.next() as i64;
    let points: Vec<(i64, f64)> =
        (1..=TIERED_DAYS).map(|day| (*TIERED_END_MS - day * DAY_MS + 1 + number, number as f64)).collect();
    let body = wire::write_request(&[wire::Series::new("fault_more", &[], &points)]);
    let answer = http::try_send("POST", &format!("{}/api/v1/write", bench.url()), wire::WRITE_HEADERS, &body)?;
    assert_eq!(answer.status, 204, "{answer}");
    compact(bench)?;
    for resolution in TIERS {
        assert!(!names(&bench.data.join(resolution)).is_empty(), "no buckets in {resolution}");
    }
    Ok(())
}

/// Of what is there for that alone: what is answered is gone, what was half deleted before too, and nothing else is.
fn delete(bench: &Bench) -> Result<(), String> {
    let api = format!("{}/api/v1", bench.url());
    let number = bench.next();
    let points: Vec<(i64, f64)> = (0..50).map(|ago| (now_ms() - ago * HOUR_MS / 60, number as f64)).collect();
    let body = wire::write_request(&[wire::Series::new("fault_gone", &[], &points)]);
    let answer = http::try_send("POST", &format!("{api}/write"), wire::WRITE_HEADERS, &body)?;
    // A time that was deleted may be written again, and one that was not has another value.
    assert!(answer.status == 204 || answer.status == 400, "{answer}");
    let headers = &[("Content-Type", "application/x-www-form-urlencoded")];
    let answer = http::try_send("POST", &format!("{api}/admin/storage/delete"), headers, b"match[]=fault_gone")?;
    assert!((200..300).contains(&answer.status), "{answer}");
    let left = http::try_get(&format!("{api}/query?query=count_over_time(fault_gone%5B1d%5D)"))?;
    assert!(left.text().contains("\"result\":[]"), "{left}");
    Ok(())
}

/// Each with a name of its own, as those that a cron job gives.
fn download(bench: &Bench) -> Result<(), String> {
    let file = bench.copies.join(format!("{}.backup", bench.next()));
    bench.command(["backup".as_ref(), "--url".as_ref(), bench.url().as_ref(), file.as_os_str()])
}

/// The first is due at once, where there is none yet.
fn schedule(bench: &Bench) -> Result<(), String> {
    bench.collect();
    bench.reload(&format!("backup: {{directory: '{}', interval: 1d, keep: 1000}}", bench.scheduled.display()))?;
    while !names(&bench.scheduled).iter().any(|name| name.ends_with(".backup")) {
        http::try_get(&format!("{}/-/healthy", bench.url()))?;
        std::thread::sleep(Duration::from_millis(2));
    }
    // Once it is put to the others, one more would be due.
    bench.reload("")
}

fn snapshot(bench: &Bench) -> Result<(), String> {
    let answer = http::try_send("POST", &format!("{}/api/v1/admin/tsdb/snapshot", bench.url()), &[], b"")?;
    assert_eq!(answer.status, 200, "{answer}");
    Ok(())
}

/// Where the work is done.
struct Bench {
    url: Mutex<String>,
    config: PathBuf,
    data: PathBuf,
    snapshots: PathBuf,
    copies: PathBuf,
    scheduled: PathBuf,
    running: Mutex<Option<Child>>,
    number: AtomicU64,
    _directory: tempfile::TempDir,
}

impl Bench {
    fn of(server: &TestServer) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let bench = Bench {
            url: Mutex::new(server.url().to_owned()),
            config: server.data().parent().unwrap().join("observatory.yml"),
            data: server.data().to_owned(),
            snapshots: server.data().join("snapshots"),
            copies: directory.path().join("copies"),
            scheduled: directory.path().join("scheduled"),
            running: Mutex::default(),
            number: AtomicU64::new(0),
            _directory: directory,
        };
        fs::create_dir(&bench.copies).unwrap();
        bench
    }

    fn url(&self) -> String {
        self.url.lock().unwrap().clone()
    }

    fn next(&self) -> u64 {
        self.number.fetch_add(1, Ordering::SeqCst)
    }

    /// Has the server take another config.
    fn reload(&self, config: &str) -> Result<(), String> {
        fs::write(&self.config, format!("{config}\nself_scrape: false\nhosts: {{enabled: false}}\n")).unwrap();
        let answer = http::try_send("POST", &format!("{}/-/reload", self.url()), &[], b"")?;
        assert_eq!(answer.status, 200, "{answer}");
        Ok(())
    }

    /// Runs the program to its end, unless [`Bench::kill_command`] is that.
    fn command<const N: usize>(&self, arguments: [&OsStr; N]) -> Result<(), String> {
        let mut command = command();
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        *self.running.lock().unwrap() = Some(command.spawn().expect("start the program"));
        loop {
            let ended = self.running.lock().unwrap().as_mut().map(|child| child.try_wait().expect("ask for its end"));
            match ended.flatten() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(status.to_string()),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    fn kill_command(&self) {
        if let Some(child) = self.running.lock().unwrap().as_mut() {
            // It may have ended already.
            let _ = child.kill();
        }
    }

    /// Puts scheduled backups to the others, so that the next is due.
    fn collect(&self) {
        for name in names(&self.scheduled).into_iter().filter(|name| name.ends_with(".backup")) {
            fs::rename(self.scheduled.join(&name), self.copies.join(format!("{}-{name}", self.next()))).unwrap();
        }
    }

    /// What an interrupted write may have left, here and in the data directory.
    fn left_over(&self, data: &Path) -> Vec<PathBuf> {
        let places = [data, &data.join("blocks"), &data.join("log"), &self.snapshots, &self.copies, &self.scheduled];
        let tiers = TIERS.map(|tier| data.join(tier));
        let places = places.into_iter().chain(tiers.iter().map(PathBuf::as_path));
        let all = places.flat_map(|place| names(place).into_iter().map(|name| place.join(name)));
        // Late samples wait, which a file of its own remembers.
        let endings = ["", "backup", "block", "copy", "log", "waiting"];
        all.filter(|path| !endings.contains(&ending(path))).collect()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn ending(path: &Path) -> &str {
    path.extension().and_then(OsStr::to_str).unwrap_or_default()
}

/// What never changes: the past, and so many samples in the same windows that work takes its time.
struct Expected {
    past: Past,
    end: f64,
    answers: Vec<String>,
}

impl Expected {
    fn write(server: &TestServer, origin_ms: i64) -> Expected {
        for window in 0..8i64 {
            let point = |series: u64, step: i64| {
                let mixed = (series + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_mul((window * 100 + step) as u64);
                (origin_ms + window * 2 * HOUR_MS + (step + 1) * 60_000, mixed as f64 / 7.0)
            };
            let series: Vec<wire::Series> = (0..500)
                .map(|n| {
                    let points: Vec<(i64, f64)> = (0..100).map(|step| point(n, step)).collect();
                    wire::Series::new("fault_bulk", &[("n", &n.to_string())], &points)
                })
                .collect();
            assert_eq!(server.write(&wire::write_request(&series)).status, 204);
        }
        for day in 1..=TIERED_DAYS {
            let point = |series: i64, step: i64| {
                (*TIERED_END_MS - day * DAY_MS + (step + 1) * 300_000, (step * step * series % 977) as f64)
            };
            let series: Vec<wire::Series> = (0..200)
                .map(|n| {
                    let points: Vec<(i64, f64)> = (0..288).map(|step| point(n, step)).collect();
                    wire::Series::new("fault_tiered", &[("n", &n.to_string())], &points)
                })
                .collect();
            assert_eq!(server.write(&wire::write_request(&series)).status, 204);
        }
        let past = Past::write(server, origin_ms);
        let end = (origin_ms + 16 * HOUR_MS) as f64 / 1000.0;
        let mut expected = Expected { past, end, answers: Vec::new() };
        expected.answers = expected.found(server);
        expected
    }

    fn found(&self, server: &TestServer) -> Vec<String> {
        let mut found = self.past.answers(server);
        for question in ["count_over_time(fault_bulk[1d])", "max_over_time(fault_bulk[1d])"] {
            found.push(server.query(question, Some(self.end)).to_string());
        }
        // Windows that begin and end with days: of buckets, where these are there.
        for function in ["count_over_time", "sum_over_time", "max_over_time"] {
            let question = format!("{function}(fault_tiered[{TIERED_DAYS}d])");
            found.push(server.query(&question, Some(*TIERED_END_MS as f64 / 1000.0)).to_string());
        }
        found
    }

    /// Panics where `server` has not all of `acknowledged` once, answers otherwise about the past, or met damage.
    fn check(&self, server: &TestServer, load: &Load, acknowledged: &Acknowledged, what: &str) {
        let missing = load.missing(server, acknowledged);
        assert!(missing.is_empty(), "{what}: {} lost, first {:?}", missing.len(), &missing[..missing.len().min(5)]);
        assert!(self.found(server) == self.answers, "{what}: the past answers otherwise");
        assert_eq!(server.own_metric("observatory_storage_damaged_total"), 0.0, "{what}: a kill damages nothing");
    }

    /// Opens everything that has its name, asks it the same, and removes it. What is in one was acknowledged before it
    /// was begun, or is on `live`. Gives how many there were.
    fn check_copies(&self, bench: &Bench, live: &TestServer, load: &Load, begun: &Acknowledged, what: &str) -> u32 {
        bench.collect();
        let mut directories: Vec<PathBuf> =
            names(&bench.snapshots).iter().map(|name| bench.snapshots.join(name)).collect();
        directories.retain(|path| ending(path).is_empty());
        for file in names(&bench.copies).iter().map(|name| bench.copies.join(name)) {
            if ending(&file) == "backup" {
                let checked = run(&["restore", "--verify"], |command| _ = command.arg(&file));
                assert!(checked.status.success() && checked.text.contains("whole"), "{what}: {}", checked.text);
                let target = bench.copies.join("restored").join(bench.next().to_string());
                restore_to_its_end(&file, &target);
                fs::remove_file(file).unwrap();
                directories.push(target);
            }
        }
        for directory in &directories {
            let copy = TestServer::with(Options { data: Some(directory.clone()), ..Options::default() });
            self.check(&copy, load, begun, what);
            let missing = load.missing(live, &load.stored(&copy));
            assert!(missing.is_empty(), "{what}: a copy has what its source has not: {:?}", missing.first());
            drop(copy);
            fs::remove_dir_all(directory).unwrap();
        }
        // A number of copies is one.
        directories.len() as u32
    }
}

fn restore_to_its_end(file: &Path, target: &Path) {
    let restored = run(&["restore", "--data-dir"], |command| _ = command.arg(target).arg(file));
    assert!(restored.status.success(), "{}", restored.text);
}

/// A moment in the `index`th of `count` equal parts of what takes `whole`.
fn moment(random: &mut Random, whole: Duration, index: u32, count: u32) -> Duration {
    whole.mul_f64((f64::from(index) + random.below(1000) as f64 / 1000.0) / f64::from(count))
}

#[test]
fn a_kill_amid_long_work_loses_nothing_and_what_has_its_name_is_whole() {
    let _turn = turn();
    let (began, mut random, mut load) = (Instant::now(), Random::seeded(), Load::new());
    let arguments = vec!["--web.enable-admin-api".to_owned()];
    let mut server = TestServer::with(Options { arguments, ..Options::default() });
    let bench = Arc::new(Bench::of(&server));
    let expected = Expected::write(&server, load.late_ms());
    let mut takes = [Duration::ZERO; WORK.len()];
    for (work, takes) in WORK.iter().zip(&mut takes) {
        *takes = undisturbed(work, &bench, &server, &mut load).1;
    }
    expected.check_copies(&bench, &server, &load, &Acknowledged::default(), "before any kill");
    // Twice each at least: in its first half and in its second.
    let (kinds, count) = (WORK.len() as u32, rounds().max(2 * WORK.len() as u32));
    let (mut amid, mut copies, mut slowest) = (0, 0, server.ready_after);
    for round in 0..count {
        let place = round as usize % WORK.len();
        let work = &WORK[place];
        let what = format!("round {round}, {}", work.name);
        if work.is_kept {
            load.start_with_keeper(&server)
        } else {
            load.start(&server)
        }
        std::thread::sleep(Duration::from_millis(50 + random.below(200)));
        let begun = load.acknowledged();
        let worker = {
            let (bench, run) = (Arc::clone(&bench), work.run);
            std::thread::spawn(move || run(&bench))
        };
        std::thread::sleep(moment(&mut random, takes[place], round / kinds, count.div_ceil(kinds)));
        let acknowledged = load.acknowledged();
        match work.victim {
            Victim::Server => server.kill(),
            Victim::Command => bench.kill_command(),
        }
        amid += u32::from(worker.join().expect("work ends without a panic").is_err());
        load.stop();
        if work.victim == Victim::Server {
            server = server.start_again();
            *bench.url.lock().unwrap() = server.url().to_owned();
            slowest = slowest.max(server.ready_after);
            assert!(server.ready_after < START_MAX, "{what}: ready after {:?}", server.ready_after);
        }
        expected.check(&server, &load, &acknowledged, &what);
        copies += expected.check_copies(&bench, &server, &load, &begun, &what);
        let (begun, took) = undisturbed(work, &bench, &server, &mut load);
        takes[place] = took;
        let again = expected.check_copies(&bench, &server, &load, &begun, &what);
        assert!(again > 0 || !work.is_copy, "{what}: nothing came of it");
        copies += again;
        // A checkpoint may be on its way.
        eventually(&format!("{what}: no file left over"), WAIT, || {
            bench.left_over(server.data()).is_empty().then_some(())
        });
        eventually("the end of all jobs", WAIT, || {
            let jobs = server.get("/api/v1/jobs").data();
            jobs["jobs"].as_array()?.iter().all(|job| job["state"] != "running").then_some(())
        });
    }
    assert_eq!(load.kept().failed, Vec::<String>::new(), "compactions that failed before a kill");
    assert!(amid * 3 >= count, "only {amid} of {count} kills came amid the work");
    println!(
        "{count} kills, {amid} amid the work, {} acknowledged, 0 lost, none twice, {copies} backups and snapshots opened, \
         slowest start {slowest:?}, {:?}",
        load.acknowledged().count(),
        began.elapsed()
    );
}

/// The same once more, under load; gives what was acknowledged before it began, and how long it took.
fn undisturbed(work: &Work, bench: &Bench, server: &TestServer, load: &mut Load) -> (Acknowledged, Duration) {
    load.start(server);
    std::thread::sleep(Duration::from_millis(50));
    let (begun, began) = (load.acknowledged(), Instant::now());
    let done = (work.run)(bench);
    let took = began.elapsed();
    load.stop();
    assert_eq!(done, Ok(()), "{}: done again", work.name);
    (begun, took)
}

#[test]
fn a_restore_that_is_killed_is_completed_by_the_next_one() {
    let _turn = turn();
    let (began, mut random, mut load) = (Instant::now(), Random::seeded(), Load::new());
    let server = TestServer::start();
    let expected = Expected::write(&server, load.late_ms());
    load.start(&server);
    std::thread::sleep(Duration::from_millis(300));
    let acknowledged = load.acknowledged();
    let directory = tempfile::tempdir().unwrap();
    let (file, target) = (directory.path().join("a.backup"), directory.path().join("data"));
    let made = run(&["backup", "--url", server.url()], |command| _ = command.arg(&file));
    assert!(made.status.success(), "{}", made.text);
    load.stop();
    let restore_began = Instant::now();
    restore_to_its_end(&file, &target);
    let takes = restore_began.elapsed();
    let mut amid = 0;
    for round in 0..rounds() {
        let what = format!("round {round}");
        // Some are killed again where they go on from what another left.
        for _ in 0..1 + round % 3 {
            let _ = fs::remove_dir_all(&target);
            let mut command = command();
            command.args(["restore", "--data-dir"]).arg(&target).arg(&file).stdin(Stdio::null());
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("start the program");
            std::thread::sleep(moment(&mut random, takes, round, rounds()));
            child.kill().expect("kill the program");
            child.wait().expect("wait for the program");
            if !target.exists() {
                amid += 1;
                refused_until_restored(&target);
            }
        }
        if !target.exists() {
            restore_to_its_end(&file, &target);
        }
        let restored = TestServer::with(Options { data: Some(target.clone()), ..Options::default() });
        expected.check(&restored, &load, &acknowledged, &what);
        let missing = load.missing(&server, &load.stored(&restored));
        assert!(missing.is_empty(), "{what}: restored what the source has not: {:?}", missing.first());
        drop(restored);
        let mut left = names(directory.path());
        left.sort();
        assert_eq!(left, ["a.backup", "data"], "{what}: nothing is left of those that were killed");
    }
    assert!(amid > 0, "no kill came amid the work");
    println!("{amid} kills amid a restore, 0 lost, none twice, {:?}", began.elapsed());
}

/// A server on what is not restored yet would be an empty one, and in the way of the restore.
fn refused_until_restored(target: &Path) {
    if names(target.parent().unwrap()).iter().any(|name| name.ends_with(".restoring")) {
        let started = run(&["up", "--listen", "127.0.0.1:0", "--data"], |command| _ = command.arg(target));
        assert!(!started.status.success() && started.text.contains("restore"), "{}", started.text);
        assert!(!target.exists());
    }
}
