//! Data directories of earlier versions open with their answers; one of a later version is refused with a clear word.

use super::support::server::{Options as ServerOptions, TestServer, command, number};
use beast_observatory::model::{Exemplar, Histogram, Labels, Span};
use beast_observatory::stdx::clock::ManualClock;
use beast_observatory::store::tsdb::{Options, Tsdb};
use beast_observatory::store::{Appendable, RunChange, WriteBatch};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A moment that all of it is about, in milliseconds.
const AT: i64 = 1_790_000_000_000;
const HOUR: i64 = 3_600_000;
const SERIES: usize = 40;

fn labels(name: &str, index: usize) -> Labels {
    Labels::from_pairs([("__name__", name), ("index", &index.to_string())]).unwrap()
}

/// Everything a directory can have: a block of several windows, a log behind it, runs, histograms, exemplars.
fn write_store(directory: &Path) {
    let options = Options {
        retention_ms: 100 * 365 * 24 * HOUR,
        clock: Arc::new(ManualClock::new(AT + HOUR)),
        ..Options::new(directory)
    };
    let store = Tsdb::open(options).unwrap();
    let append = |batch: &WriteBatch| store.append(batch).unwrap().ticket.wait_blocking().unwrap();
    for step in 0..360i64 {
        let at = AT - 6 * HOUR + step * 60_000;
        let mut batch = WriteBatch::default();
        for index in 0..SERIES {
            let value = (step * (index as i64 + 1)) as f64 + if index % 2 == 0 { 0.25 } else { 0.0 };
            batch.push(store.series_id(&labels("compat_value", index)).unwrap(), at, value);
        }
        if step % 30 == 0 {
            let series = store.series_id(&labels("compat_run", 0)).unwrap();
            batch.runs.push(RunChange::Open { series, value: step as f64, first: at, step_ms: 15_000 });
        }
        if step % 60 == 0 {
            let histogram = Histogram {
                schema: 3,
                count: 4.0,
                sum: 10.0,
                positive_spans: vec![Span { offset: 0, length: 2 }],
                positive_buckets: vec![1.0, 3.0],
                ..Histogram::default()
            };
            let series = store.series_id(&labels("compat_histogram", 0)).unwrap();
            batch.histograms.push((series, at, histogram.into()));
            let series = store.series_id(&labels("compat_value", 1)).unwrap();
            let labels = Labels::from_pairs([("trace_id", step.to_string().as_str())]).unwrap();
            batch.exemplars.push((series, Exemplar { labels, value: step as f64, timestamp: at }));
        }
        append(&batch);
        // One seal before the compaction and one behind it: blocks of both kinds.
        if step == 200 || step == 300 {
            store.seal_all().unwrap();
        }
        if step == 250 {
            store.compact(&Default::default()).unwrap();
        }
    }
    let series = store.series_id(&labels("compat_run", 0)).unwrap();
    append(&WriteBatch { runs: vec![RunChange::Close { series, at: AT }], ..WriteBatch::default() });
}

fn start_on(data: &Path) -> TestServer {
    let config = Some("storage: {retention: 100y}\n".to_owned());
    TestServer::with(ServerOptions { config, data: Some(data.to_owned()), ..ServerOptions::default() })
}

/// A store, opened by a server that took some pushes, and ended.
fn write_directory(directory: &Path) {
    write_store(directory);
    let mut server = start_on(directory);
    for group in 0..3 {
        let body = format!("# TYPE compat_pushed gauge\ncompat_pushed {group}.5\n");
        assert_eq!(server.push("PUT", &format!("compat/group/{group}"), &body).status, 200);
    }
    assert!(server.terminate().0.success());
}

/// What [`write_directory`] wrote is all there.
fn check(data: &Path) {
    let server = start_on(data);
    let at = AT as f64 / 1000.0;
    let value = |query: &str| {
        let data = server.query(query, Some(at));
        let result = data["result"].as_array().expect("a vector").clone();
        assert_eq!(result.len(), 1, "{query}: {data}");
        number(&result[0]["value"][1])
    };
    assert_eq!(value("count(compat_value)"), SERIES as f64);
    assert_eq!(value("sum(count_over_time(compat_value[7h]))"), 360.0 * SERIES as f64);
    let steps: f64 = (0..360).map(f64::from).sum();
    let factors: f64 = (1..=SERIES).map(|factor| factor as f64).sum();
    let quarters = 0.25 * 360.0 * SERIES as f64 / 2.0;
    assert_eq!(value("sum(sum_over_time(compat_value[7h]))"), steps * factors + quarters);
    assert_eq!(value("compat_value{index='39'}"), 359.0 * 40.0);
    assert_eq!(value("max_over_time(compat_run[7h])"), 330.0);
    assert_eq!(value("compat_run offset 3h"), 180.0);
    assert_eq!(value("histogram_count(last_over_time(compat_histogram[2h]))"), 4.0);
    assert_eq!(value("histogram_sum(sum_over_time(compat_histogram[7h]))"), 60.0);
    let exemplars = server.get("/api/v1/query_exemplars?query=compat_value&start=0&end=1790000000").data();
    assert_eq!(exemplars[0]["exemplars"].as_array().map(Vec::len), Some(6), "{exemplars}");
    let groups = server.get("/api/v1/metrics").data();
    assert_eq!(groups.as_array().map(Vec::len), Some(3), "{groups}");
    assert_eq!(server.value("sum(compat_pushed)"), Some(4.5), "pushed, and still there");
    assert_eq!(server.value("observatory_storage_damaged_total or vector(0)"), Some(0.0));
    let damaged = server.get("/metrics").text();
    assert!(damaged.contains("observatory_storage_damaged_total 0"), "{damaged}");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn pack(from: &Path, to: &Path) {
    for path in files(from) {
        let place = to.join(path.strip_prefix(from).unwrap());
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        let mut name = place.into_os_string();
        name.push(".gz");
        let mut packed = GzEncoder::new(std::fs::File::create(name).unwrap(), Compression::best());
        packed.write_all(&std::fs::read(&path).unwrap()).unwrap();
        packed.finish().unwrap();
    }
}

fn unpack(from: &Path, to: &Path) {
    for path in files(from) {
        let place = to.join(path.strip_prefix(from).unwrap()).with_extension("");
        let name = path.file_name().unwrap().to_string_lossy().trim_end_matches(".gz").to_owned();
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        let mut bytes = Vec::new();
        GzDecoder::new(std::fs::File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
        std::fs::write(place.with_file_name(name), bytes).unwrap();
    }
}

#[test]
fn a_directory_as_this_version_writes_it_survives_packing() {
    let directory = tempfile::tempdir().unwrap();
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy"));
    write_directory(&data);
    let packed = std::env::var_os("OBSERVATORY_COMPAT_WRITE").map_or(directory.path().join("packed"), PathBuf::from);
    pack(&data, &packed);
    unpack(&packed, &copy);
    check(&copy);
}

#[test]
fn directories_of_every_version_open_with_their_answers() {
    let compat = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat");
    let mut versions = 0;
    for entry in std::fs::read_dir(compat).unwrap() {
        let version = entry.unwrap().path();
        if version.is_dir() {
            let directory = tempfile::tempdir().unwrap();
            let data = directory.path().join("data");
            unpack(&version, &data);
            check(&data);
            versions += 1;
        }
    }
    assert!(versions > 0, "there is at least one");
}

/// Of any file: later than all there are.
const LATER: u8 = 9;

#[test]
fn a_directory_of_a_later_version_is_refused_with_a_clear_word_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    write_store(&data);
    drop(std::fs::File::create(data.join("lock")).unwrap());
    let block = files(&data.join("blocks")).remove(0);
    let log = files(&data.join("log")).into_iter().find(|path| !path.to_string_lossy().contains("spare")).unwrap();
    let change = |path: &Path, change: &dyn Fn(&mut [u8])| {
        let before = std::fs::read(path).unwrap();
        let mut bytes = before.clone();
        change(&mut bytes);
        std::fs::write(path, &bytes).unwrap();
        let contents = || -> Vec<(PathBuf, Vec<u8>)> {
            let all = files(&data).into_iter().filter(|path| !path.ends_with("lock"));
            all.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
        };
        let held = contents();
        let ended = command().args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(&data).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains("newer program"), "{}: {said}", path.display());
        assert_eq!(contents(), held, "nothing was changed");
        std::fs::write(path, before).unwrap();
    };
    let seal = |bytes: &mut [u8]| {
        let end = bytes.len() - 4;
        let crc = crc32c::crc32c(&bytes[..end]).to_le_bytes();
        bytes[end..].copy_from_slice(&crc);
    };
    change(&log, &|bytes| {
        bytes[8] = LATER;
        seal(&mut bytes[..64]);
    });
    for name in ["checkpoint", "checkpoint.copy", "exemplars"] {
        change(&data.join(name), &|bytes| {
            bytes[7] = LATER;
            seal(bytes);
        });
    }
    change(&block, &|bytes| {
        bytes[8] = LATER;
        let end = bytes.len();
        (bytes[end - 1], bytes[16 + 151]) = (b'2', b'2');
    });
    // As it was, it opens.
    drop(start_on(&data));
}
