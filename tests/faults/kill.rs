//! `kill -9` at any moment.

use super::load::Load;
use super::past::Past;
use super::support::server::TestServer;
use super::{START_MAX, random_between, rounds, turn};
use std::time::Duration;

#[test]
fn acknowledged_pushes_and_writes_survive_a_kill_at_any_moment() {
    let _turn = turn();
    let mut load = Load::new();
    let mut server = TestServer::start();
    let past = Past::write(&server, load.late_ms());
    let before = past.answers(&server);
    let mut slowest = server.ready_after;
    for round in 1..=rounds() {
        load.start_with_keeper(&server);
        // The first is long enough for a block to expire.
        std::thread::sleep(if round == 1 { Duration::from_millis(1_500) } else { random_between(150, 1_500) });
        let acknowledged = load.acknowledged();
        server.kill();
        load.stop();
        server = server.start_again();
        slowest = slowest.max(server.ready_after);
        assert!(server.ready_after < START_MAX, "round {round}: ready after {:?}", server.ready_after);
        let missing = load.missing(&server, &acknowledged);
        assert!(
            missing.is_empty(),
            "round {round}: {} lost, first {:?}",
            missing.len(),
            &missing[..missing.len().min(5)]
        );
        assert_eq!(past.answers(&server), before, "round {round}: the past answers otherwise");
        assert_eq!(
            server.own_metric("observatory_storage_damaged_total"),
            0.0,
            "round {round}: a kill damages nothing"
        );
    }
    load.kept().assert_busy(rounds());
    assert_eq!(load.kept().failed, Vec::<String>::new(), "compactions that failed before a kill");
    let acknowledged = load.acknowledged();
    assert!(acknowledged.count() > 100, "too little was acknowledged to show anything: {}", acknowledged.count());
    println!(
        "{} rounds, {} acknowledged, 0 lost, none twice, slowest start {slowest:?}, {}",
        rounds(),
        acknowledged.count(),
        load.kept()
    );
}

#[test]
fn a_kill_while_it_starts_loses_nothing() {
    let _turn = turn();
    let mut load = Load::new();
    let mut server = TestServer::start();
    load.start(&server);
    std::thread::sleep(random_between(300, 600));
    let acknowledged = load.acknowledged();
    server.kill();
    load.stop();
    for _ in 0..rounds() {
        let mut starting = super::support::server::command();
        starting.args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(server.data());
        starting
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut starting = starting.spawn().expect("start the program");
        std::thread::sleep(random_between(1, 60));
        starting.kill().expect("kill the program");
        starting.wait().expect("wait for the program");
    }
    let server = server.start_again();
    assert_eq!(load.missing(&server, &acknowledged), Vec::<String>::new());
}
