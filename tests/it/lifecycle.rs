//! Starting, configuring, stopping: what the person at the terminal sees.

use super::support::server::{Options, TestServer, run};
use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

#[test]
fn it_is_ready_within_a_second_and_names_its_address_and_its_data() {
    let server = TestServer::start();
    assert!(
        server.ready_after < Duration::from_secs(3),
        "a busy machine has time for three seconds: {:?}",
        server.ready_after
    );
    let log = server.log();
    assert!(log.contains(server.url()), "{log}");
    let data = server.data().canonicalize().expect("the data directory exists");
    assert!(log.contains(&*data.to_string_lossy()), "the data directory's absolute path is printed:\n{log}");
}

#[test]
fn it_drains_and_ends_cleanly_on_sigterm_and_sigint() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut server = TestServer::start();
        server.push("PUT", "a", "m 1\n");
        server.signal(signal);
        let status = server.wait_for_exit();
        assert!(status.success(), "{signal:?}: {status}\n{}", server.log());
        assert_eq!(server.start_again().value("m"), Some(1.0));
    }
}

#[test]
fn settings_may_come_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("elsewhere");
    let config = directory.path().join("from_environment.yml");
    std::fs::write(&config, "no_such_key: 1\n").unwrap();
    let finished = run(&["up"], |command| {
        command
            .env("OBSERVATORY_LISTEN", "127.0.0.1:0")
            .env("OBSERVATORY_DATA", &data)
            .env("OBSERVATORY_CONFIG", &config);
    });
    assert!(!finished.status.success());
    assert!(
        finished.text.contains("no_such_key"),
        "the file that OBSERVATORY_CONFIG names was read:\n{}",
        finished.text
    );
}

#[test]
fn one_process_has_a_data_directory() {
    let server = TestServer::start();
    let finished = run(&["up", "--listen", "127.0.0.1:0", "--data"], |command: &mut Command| {
        command.arg(server.data());
    });
    assert!(!finished.status.success());
    assert!(finished.text.contains(&*server.data().to_string_lossy()), "the directory is named:\n{}", finished.text);
    assert_eq!(server.get("/-/healthy").status, 200);
}

#[test]
fn a_taken_port_prints_the_line_that_works() {
    let server = TestServer::start();
    let directory = tempfile::tempdir().unwrap();
    let finished = run(&["up", "--listen", server.address(), "--data"], |command| {
        command.arg(directory.path().join("data"));
    });
    assert!(!finished.status.success());
    assert!(finished.text.contains("observatory up --listen"), "{}", finished.text);
}

#[test]
fn the_version_names_the_commit() {
    let finished = run(&["--version"], |_| {});
    assert!(finished.status.success(), "{}", finished.text);
    assert!(finished.text.contains(env!("CARGO_PKG_VERSION")), "{}", finished.text);
}

#[test]
fn every_mistake_of_a_config_is_reported_at_once_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("observatory.yml");
    let text =
        "storage:\n  retention: forever\n  colour: blue\nauth:\n  tokens:\n    - name: ci\n      scopes: [fly]\n";
    std::fs::write(&file, text).unwrap();
    for command in [&["config", "check", "--config"][..], &["up", "--listen", "127.0.0.1:0", "--config"]] {
        let finished = run(command, |process| {
            process.arg(&file).current_dir(directory.path());
        });
        assert!(!finished.status.success(), "{command:?}");
        for part in ["retention", "colour", "scopes", "observatory.yml"] {
            assert!(finished.text.contains(part), "{command:?}: `{part}` is not named in\n{}", finished.text);
        }
        assert!(finished.text.contains('3'), "the line of the unknown key:\n{}", finished.text);
    }
}

#[test]
fn an_existing_prometheus_config_is_accepted() {
    let prometheus = "global:\n  scrape_interval: 15s\n  external_labels:\n    site: here\nrule_files: [rules.yml]\n\
                      scrape_configs:\n  - job_name: node\n    static_configs:\n      - targets: ['localhost:9100']\n\
                      alerting:\n  alertmanagers:\n    - static_configs:\n        - targets: ['localhost:9093']\n";
    let server = TestServer::with_config(prometheus);
    assert_eq!(server.get("/-/healthy").status, 200);
    let log = server.log();
    for key in ["rule_files", "alerting"] {
        assert!(log.contains(key), "one warning for `{key}`, which is not active yet:\n{log}");
    }
}

#[test]
fn the_config_is_shown_without_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("observatory.yml");
    let secret = "d".repeat(64);
    std::fs::write(&file, format!("auth:\n  tokens:\n    - {{name: ci, sha256: {secret}, scopes: [push]}}\n")).unwrap();
    let finished = run(&["config", "show", "--config"], |command| {
        command.arg(&file);
    });
    assert!(finished.status.success(), "{}", finished.text);
    assert!(finished.text.contains("retention"), "defaults are shown:\n{}", finished.text);
    assert!(!finished.text.contains(&secret), "{}", finished.text);
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    // A file in the directory's place stops root as well, whom permissions do not.
    let file = directory.path().join("taken");
    std::fs::write(&file, "a file").unwrap();
    for data in [file.clone(), file.join("below")] {
        let finished = run(&["up", "--listen", "127.0.0.1:0", "--data"], |command| {
            command.arg(&data);
        });
        assert!(!finished.status.success());
        assert!(finished.text.contains("taken"), "the path is named:\n{}", finished.text);
        assert!(!finished.text.contains("panicked"), "{}", finished.text);
    }
}

#[test]
fn it_stops_while_clients_hold_connections_open() {
    let mut server = TestServer::with(Options::default());
    let idle: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(server.address()).expect("connect")).collect();
    let (status, after) = server.terminate();
    assert!(status.success(), "{status}\n{}", server.log());
    assert!(after < Duration::from_secs(20), "{after:?}");
    drop(idle);
}

#[test]
fn a_push_that_is_under_way_is_finished_before_it_stops() {
    let mut server = TestServer::start();
    let mut stream = std::net::TcpStream::connect(server.address()).expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("set a read timeout");
    let head = "PUT /metrics/job/draining HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("send the head");
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("the body is asked for");
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    server.signal(rustix::process::Signal::TERM);
    stream.write_all(b"draining 1\n").expect("send the body");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer although it is stopping");
    assert_eq!(&status, b"HTTP/1.1 200");
    drop(stream);
    assert!(server.wait_for_exit().success(), "{}", server.log());
    assert_eq!(server.start_again().value("draining"), Some(1.0));
}
