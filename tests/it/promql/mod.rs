//! Plays `tests/promql/*.test`: scripts in the language of Prometheus' promqltest, sent to the real server.
//!
//! 1. [`script`] reads the language: `load`, `clear`, `eval instant`, `eval range`, `expect ...`.
//! 2. [`runner`] writes what a script loads by remote write, asks what it evaluates and compares.
//!
//! 3. [`differential`] asks random queries of us and of Prometheus.
//!
//! Every instant query that answers a vector or a scalar is asked again as a range query around its time, which has to
//! give the same: the two take different paths through the engine.

mod differential;
mod runner;
mod script;

use std::path::{Path, PathBuf};

#[test]
fn every_script_gives_what_it_says() {
    let mut failures = Vec::new();
    let mut evaluations = 0;
    for path in scripts() {
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let commands = script::parse(&text).unwrap_or_else(|error| panic!("tests/promql/{name}:{error}"));
        let report = runner::Runner::default().play(&commands);
        evaluations += report.evaluations;
        failures.extend(report.failures.iter().map(|failure| format!("tests/promql/{name}:{failure}")));
    }
    assert!(evaluations > 0, "no script evaluates anything");
    assert!(failures.is_empty(), "{} of {evaluations} evaluations failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_reader_of_scripts_refuses_what_it_does_not_know() {
    let known = "load 1m\n  a{b=\"c d\"} 1+1x2 _ stale NaN\n\neval instant at 2m a\n  a{b=\"c d\"} 3\n";
    assert_eq!(script::parse(known).map(|commands| commands.len()), Ok(2));
    for wrong in
        ["lod 1m\n", "load 1q\n", "load 1m\n  a 1xx\n", "eval instant at 1m a\n  a{b=c} 1\n", "eval sometimes a\n"]
    {
        assert!(script::parse(wrong).is_err(), "{wrong}");
    }
}

fn scripts() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql");
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    scripts.sort();
    scripts
}
