//! Out of file handles: more connections than the process may have open, while windows are sealed and merged. It turns
//! callers away, loses nothing it acknowledged, and is well again once the connections are gone.

use super::load::Load;
use super::support::server::{Options, TestServer};
use super::support::tools::{eventually, now_ms};
use super::support::wire;
use super::{rounds, turn};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A server with so many keeps some for its files and takes as many connections as are left.
const FILES_FEW: u32 = 96;

/// It has 14 when idle and takes 16 connections at least, so that some of its own files cannot be opened.
const FILES_TOO_FEW: u32 = 26;

const CONNECTIONS: usize = 300;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);
const RECOVERED_MAX: Duration = Duration::from_secs(5);

fn write_one(server: &TestServer) -> Option<u16> {
    let body = wire::write_request(&[wire::Series::new("fault_handles", &[], &[(now_ms(), 1.0)])]);
    let url = format!("{}/api/v1/write", server.url());
    super::support::http::try_send("POST", &url, wire::WRITE_HEADERS, &body).ok().map(|answer| answer.status)
}

#[test]
fn without_file_handles_nothing_acknowledged_is_lost_and_it_recovers_by_itself() {
    let _turn = turn();
    for files_max in [FILES_FEW, FILES_TOO_FEW] {
        exhaust(files_max);
    }
}

fn exhaust(files_max: u32) {
    let mut load = Load::new();
    let mut server = TestServer::with(Options { files_max: Some(files_max), ..Options::default() });
    let (mut slowest, mut held_most) = (Duration::ZERO, 0);
    for round in 1..=rounds().div_ceil(5) {
        load.start_with_keeper(&server);
        std::thread::sleep(Duration::from_millis(200));
        // Once the queue in front of the process is full too, the next ones would wait for as long as they care to.
        let address = server.address().parse().expect("an address");
        let connect = |_| TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok();
        let connections: Vec<TcpStream> = (0..CONNECTIONS).map_while(connect).collect();
        // Whoever has a connection goes on or is told 503; nobody new gets in.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(1_500) {
            let held = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
            held_most = held_most.max(held);
        }
        drop(connections);
        let began = Instant::now();
        eventually("writes are taken again", RECOVERED_MAX, || {
            Some(write_one(&server)?).filter(|status| *status == 204)
        });
        slowest = slowest.max(began.elapsed());
        load.stop();
        let acknowledged = load.acknowledged();
        assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new(), "round {round}");
        super::keeper::compact(server.url()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new(), "round {round}, merged");
        server.assert_healthy();
        server.kill();
        server = server.start_again();
        assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new(), "round {round}, started again");
        assert_eq!(server.own_metric("observatory_storage_damaged_total"), 0.0, "round {round}");
    }
    assert!(files_max > FILES_TOO_FEW || held_most + 1 >= files_max as usize, "{held_most} handles were used");
    let acknowledged = load.acknowledged().count();
    assert!(acknowledged > 100, "too little was acknowledged to show anything: {acknowledged}");
    println!(
        "{files_max} handles, up to {CONNECTIONS} connections, {held_most} handles held, {acknowledged} acknowledged, 0 lost, \
         {} compactions failed, writes again after {slowest:?} at most",
        load.kept().failed.len()
    );
}
