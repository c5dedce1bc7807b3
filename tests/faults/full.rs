//! A full disk: writes are refused with a 503 that says so, reads go on, and all is well again once there is room.

use super::load::Load;
use super::power::Disk;
use super::support::server::{Options, TestServer};
use super::support::tools::{eventually, now_ms};
use super::support::wire;
use super::{rounds, turn};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How soon the server has to notice, and how soon it has to be well again.
const NOTICED_MAX: Duration = Duration::from_secs(5);

/// Takes what is free but for about `left` bytes.
fn fill(ballast: &Path, left: u64) {
    let mut file = File::options().create(true).append(true).open(ballast).unwrap();
    let chunk = vec![0x5a; 1 << 18];
    loop {
        let free = rustix::fs::statvfs(ballast).unwrap();
        let free = free.f_bavail * free.f_frsize;
        let part = free.saturating_sub(left).min(chunk.len() as u64) as usize;
        if part == 0 || file.write_all(&chunk[..part]).is_err() {
            return;
        }
    }
}

fn write_one(server: &TestServer, value: f64) -> super::support::http::Answer {
    server.write(&wire::write_request(&[wire::Series::new("fault_full", &[], &[(now_ms(), value)])]))
}

#[test]
fn a_disk_filled_and_freed_loses_nothing_acknowledged_and_needs_no_restart() {
    let _turn = turn();
    let Some(disk) = Disk::of(96) else { return };
    let ballast = disk.mount.join("ballast");
    let mut load = Load::new();
    let data = Some(disk.mount.join("data"));
    let mut server = TestServer::with(Options { data, ..Options::default() });
    let mut slowest = Duration::ZERO;
    for round in 1..=rounds() {
        load.start(&server);
        std::thread::sleep(Duration::from_millis(300));
        // Every other time to the last byte, under the writers.
        fill(&ballast, if round % 2 == 0 { 0 } else { 8 << 20 });
        let refused = eventually("writes are refused", NOTICED_MAX, || {
            Some(write_one(&server, 1.0)).filter(|answer| answer.status == 503)
        });
        assert_eq!(refused.header("retry-after"), Some("1"), "{refused}");
        let told = eventually("the reason is told", NOTICED_MAX, || {
            Some(server.push("PUT", "full", "fault_full_push 1\n"))
                .filter(|answer| answer.text().contains("disk is full"))
        });
        assert_eq!(told.status, 503, "{told}");
        assert!(server.value("count(fault_pushed)").is_some_and(|count| count > 0.0), "reads go on");
        fs::remove_file(&ballast).unwrap();
        let began = Instant::now();
        eventually("writes are taken again", NOTICED_MAX, || {
            Some(write_one(&server, 2.0)).filter(|answer| answer.status == 204)
        });
        slowest = slowest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(200));
        load.stop();
        let acknowledged = load.acknowledged();
        assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new(), "round {round}");
        server.kill();
        server = server.start_again();
        assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new(), "round {round}, started again");
    }
    let acknowledged = load.acknowledged().count();
    assert!(acknowledged > 100, "too little was acknowledged to show anything: {acknowledged}");
    println!("{} rounds, {acknowledged} acknowledged, 0 lost, writes again after {slowest:?} at most", rounds());
    drop(server);
}
