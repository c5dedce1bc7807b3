//! The log against a disk that loses power, flips bytes and fails calls.

use super::*;
use crate::stdx::vfs::{
    Vfs,
    simulated::{Random, SimulatedVfs},
};
use proptest::prelude::*;
use std::{path::Path, sync::Arc};

const DIR: &str = "/log";

fn options() -> LogOptions {
    LogOptions { segment_bytes: 4096, ..LogOptions::default() }
}

/// Opens, giving the records that were replayed.
fn reopen(vfs: &SimulatedVfs, from: Position) -> (Log, Vec<(Position, Vec<u8>)>, ReplayStats) {
    let mut records = Vec::new();
    let opened = open(Arc::new(vfs.clone()), Path::new(DIR), options()).unwrap();
    let visit = &mut |record: Record<'_>| records.push((record.position, record.payload.to_vec()));
    let (log, stats) = opened.replay(from, visit).unwrap();
    (log, records, stats)
}

/// A payload that names itself, so that losses and repetitions show.
fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + bytes, number as u8);
    payload
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(payload[..8].try_into().unwrap())
}

fn append(log: &Log, number: u64, bytes: usize) -> crate::store::Ticket {
    log.append(|writer| writer.record(1, |out| out.extend(payload(number, bytes))))
}

fn numbers(records: &[(Position, Vec<u8>)]) -> Vec<u64> {
    records.iter().map(|(_, payload)| number(payload)).collect()
}

#[test]
fn what_was_appended_is_replayed_in_order_across_segments_and_restarts() {
    let vfs = SimulatedVfs::new();
    let mut next = 0;
    for round in 0..5 {
        let (log, records, stats) = reopen(&vfs, Position(0));
        assert_eq!(numbers(&records), (0..next).collect::<Vec<_>>());
        assert_eq!((stats.damaged_records, stats.torn_bytes), (0, 0), "round {round}");
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for _ in 0..40 {
            append(&log, next, 300).wait_blocking().unwrap();
            next += 1;
        }
        assert_eq!(log.stats().failed_groups, 0);
        assert!(log.stats().segments > 1);
    }
}

#[test]
fn the_records_of_one_append_stand_together_and_know_their_segment() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    let mut segments = Vec::new();
    let mut positions = Vec::new();
    for number in 0..30 {
        log.append(|writer| {
            for _ in 0..3 {
                segments.push(writer.segment());
                positions.push(writer.position());
                writer.record(number as u8, |out| out.extend(payload(number, 200)));
            }
        })
        .wait_blocking()
        .unwrap();
    }
    log.close();
    assert!(segments.chunks(3).all(|of_one| of_one[0] == of_one[2]));
    assert!(segments.last() > segments.first());
    let mut seen = Vec::new();
    let opened = open(Arc::new(vfs), Path::new(DIR), options()).unwrap();
    opened.replay(Position(0), &mut |record| seen.push((record.segment, record.position))).unwrap();
    assert_eq!(seen, segments.into_iter().zip(positions).collect::<Vec<_>>());
}

#[test]
fn an_append_that_writes_nothing_or_panics_leaves_no_trace() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    log.append(|_| {}).wait_blocking().unwrap();
    let panics = std::panic::AssertUnwindSafe(|| {
        log.append(|writer| {
            writer.record(1, |out| out.extend(payload(99, 10)));
            panic!("an encoder's mistake");
        })
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    append(&log, 1, 10).wait_blocking().unwrap();
    log.barrier().wait_blocking().unwrap();
    drop(log);
    assert_eq!(numbers(&reopen(&vfs, Position(0)).1), [1]);
}

#[test]
fn appends_after_the_close_say_stopped() {
    let (log, ..) = reopen(&SimulatedVfs::new(), Position(0));
    let ticket = append(&log, 1, 10);
    log.close();
    ticket.wait_blocking().unwrap();
    assert!(matches!(append(&log, 2, 10).wait_blocking(), Err(crate::store::StoreError::Stopped)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn acknowledged_records_survive_any_power_cut(seed: u64, rounds in 1..6u64) {
        let mut random = Random(seed);
        let mut vfs = SimulatedVfs::new();
        let (mut acknowledged, mut next, mut kept_from) = (Vec::new(), 0, Position(0));
        for _ in 0..rounds {
            let (log, records, stats) = reopen(&vfs, Position(0));
            let seen = numbers(&records);
            prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once: {seen:?}");
            let must = |(at, n): &(Position, u64)| *at < kept_from || seen.contains(n);
            prop_assert!(acknowledged.iter().all(must), "{acknowledged:?} in {seen:?}");
            prop_assert_eq!(stats.damaged_records, 0);
            acknowledged = records.iter().map(|(at, payload)| (*at, number(payload))).collect();
            let mut open_tickets = Vec::new();
            for _ in 0..random.below(60) {
                let bytes = random.below(1500) as usize;
                let mut at = Position(0);
                let ticket = log.append(|writer| {
                    at = writer.position();
                    writer.record(1, |out| out.extend(payload(next, bytes)));
                });
                open_tickets.push(((at, next), ticket));
                next += 1;
                if random.below(3) == 0 {
                    for (record, ticket) in open_tickets.drain(..) {
                        ticket.wait_blocking().unwrap();
                        acknowledged.push(record);
                    }
                }
                if random.below(20) == 0 {
                    kept_from = log.durable_end();
                    log.truncate_before(kept_from).unwrap();
                }
            }
            vfs = vfs.after_power_cut(random.number());
        }
    }
}

fn files(vfs: &SimulatedVfs) -> Vec<std::path::PathBuf> {
    let dir = Path::new(DIR);
    vfs.list(dir).unwrap().iter().filter(|name| !name.starts_with("spare")).map(|name| dir.join(name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn flipped_bytes_cost_the_records_they_hit_and_no_other(seed: u64, flips in 1..12usize) {
        let mut random = Random(seed);
        let vfs = SimulatedVfs::new();
        let (log, ..) = reopen(&vfs, Position(0));
        for n in 0..60 {
            append(&log, n, random.below(600) as usize).wait_blocking().unwrap();
        }
        log.close();
        let (log, records, _) = reopen(&vfs, Position(0));
        drop(log);
        let (files, mut masks) = (files(&vfs), std::collections::BTreeMap::<u64, u8>::new());
        for _ in 0..flips {
            let file = &files[random.below(files.len() as u64) as usize];
            let base = u64::from_str_radix(&file.file_stem().unwrap().to_str().unwrap()[11..], 16).unwrap();
            let offset = random.below(vfs.length(file).unwrap());
            let mask = 1 << random.below(8);
            vfs.corrupt(file, offset as usize, mask);
            *masks.entry(base + offset).or_default() ^= mask;
        }
        // Two flips of one bit are none.
        masks.retain(|_, mask| *mask != 0);
        let expected: Vec<u64> = records
            .iter()
            .filter(|(at, payload)| {
                let range = at.0..at.0 + (record::HEADER_BYTES + payload.len()) as u64;
                masks.range(range).next().is_none()
            })
            .map(|(_, payload)| number(payload))
            .collect();
        let (log, seen, stats) = reopen(&vfs, Position(0));
        let seen = numbers(&seen);
        prop_assert!(expected.iter().all(|n| seen.contains(n)), "{expected:?} in {seen:?}");
        prop_assert!(seen.len() == 60 || stats.damaged_records > 0 || *seen.last().unwrap() != 59 || stats.torn_bytes > 0);
        // The damage is counted, but never in the way of new records.
        append(&log, 1000, 10).wait_blocking().unwrap();
        drop(log);
        prop_assert_eq!(numbers(&reopen(&vfs, Position(0)).1).last().copied(), Some(1000));
    }
}

/// Appends one by one; gives what was acknowledged and what was refused.
fn run(log: &Log, range: std::ops::Range<u64>) -> (Vec<u64>, Vec<u64>) {
    range.partition(|n| append(log, *n, 700).wait_blocking().is_ok())
}

fn disk_that_fails_at(call: u64, count: u64) -> Option<u64> {
    let vfs = SimulatedVfs::new();
    vfs.fail(call, count);
    let opened = open(Arc::new(vfs.clone()), Path::new(DIR), options());
    let log = match opened.and_then(|opened| opened.replay(Position(0), &mut |_| ())) {
        Ok((log, _)) => log,
        // Nothing was acknowledged yet; a directory that cannot be made is told at once.
        Err(_) => {
            vfs.heal();
            reopen(&vfs, Position(0)).0
        }
    };
    let (acknowledged, refused) = run(&log, 0..24);
    assert_eq!(log.stats().last_error.is_some(), !refused.is_empty());
    let calls = vfs.calls();
    let after = vfs.after_power_cut(call);
    drop(log);
    vfs.heal();
    for (disk, clean) in [(&after, false), (&vfs, true)] {
        let (log, records, stats) = reopen(disk, Position(0));
        let seen = numbers(&records);
        assert!(acknowledged.iter().all(|n| seen.contains(n)), "call {call}: {acknowledged:?} in {seen:?}");
        let last = acknowledged.last().copied().unwrap_or(0);
        assert!(seen.iter().all(|n| *n > last || acknowledged.contains(n)), "call {call}: {seen:?}, {refused:?}");
        assert_eq!(stats.damaged_records, 0, "call {call}, clean {clean}");
        append(&log, 100, 10).wait_blocking().unwrap();
        drop(log);
        assert_eq!(numbers(&reopen(disk, Position(0)).1).last(), Some(&100));
    }
    (call < calls).then_some(calls)
}

#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost_and_nothing_refused_comes_back() {
    for count in [1, 2, 5] {
        let mut call = 0;
        while disk_that_fails_at(call, count).is_some() {
            call += 1;
        }
        assert!(call > 30, "the workload made {call} calls");
    }
}

#[test]
fn a_disk_that_is_full_for_a_while_costs_only_what_was_refused_meanwhile() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    let (mut kept, _) = run(&log, 0..10);
    vfs.break_down();
    let (none, refused) = run(&log, 10..20);
    assert_eq!((none.len(), refused.len()), (0, 10));
    assert!(log.failed_groups() >= 10 && log.stats().last_error.is_some());
    vfs.heal();
    kept.extend(run(&log, 20..30).0);
    assert_eq!(kept.len(), 20);
    let (_log, records, stats) = reopen(&vfs.after_power_cut(3), Position(0));
    assert_eq!(numbers(&records), kept);
    assert_eq!((stats.damaged_records, stats.torn_bytes), (0, 0));
}

/// A backup waits for a barrier, in a segment that nothing was written to, before the disk fails for a moment.
#[test]
fn a_segment_of_a_barrier_alone_that_fails_and_goes_is_not_missed() {
    for goes_on in [false, true] {
        let vfs = SimulatedVfs::new();
        let (log, ..) = reopen(&vfs, Position(0));
        append(&log, 0, 10).wait_blocking().unwrap();
        log.leave_segment();
        log.barrier().wait_blocking().unwrap();
        // The note that another segment follows is written behind the answer.
        let is_noted = || {
            let file = vfs.open(&files(&vfs)[0], crate::stdx::vfs::OpenMode::Read).unwrap();
            let mut bytes = vec![0; file.len().unwrap() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes.windows(3).any(|start| start == [0xb7, 0x0b, 255])
        };
        while !is_noted() {
            std::thread::yield_now();
        }
        vfs.fail(vfs.calls(), 1);
        append(&log, 1, 10).wait_blocking().unwrap_err();
        if goes_on {
            append(&log, 2, 10).wait_blocking().unwrap();
        }
        let synced_through = log.synced_end();
        drop(log);
        let options = LogOptions { synced_through, ..options() };
        let opened = open(Arc::new(vfs), Path::new(DIR), options).unwrap();
        let (_log, stats) = opened.replay(Position(0), &mut |_| ()).unwrap();
        assert_eq!((stats.records, stats.damaged_records), (1 + u64::from(goes_on), 0), "goes on: {goes_on}");
    }
}

#[test]
fn appends_behind_a_failed_group_fail_with_it() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    append(&log, 0, 10).wait_blocking().unwrap();
    vfs.break_down();
    let tickets: Vec<_> = (1..50).map(|n| append(&log, n, 10)).collect();
    assert!(tickets.into_iter().all(|ticket| ticket.wait_blocking().is_err()));
    vfs.heal();
    append(&log, 50, 10).wait_blocking().unwrap();
    drop(log);
    assert_eq!(numbers(&reopen(&vfs, Position(0)).1), [0, 50]);
}

#[test]
fn truncated_segments_are_written_over_and_their_records_never_come_back() {
    let vfs = SimulatedVfs::new();
    let mut next = 0;
    for round in 0..6 {
        let (log, records, stats) = reopen(&vfs, Position(0));
        assert_eq!((stats.damaged_records, stats.torn_bytes), (0, 0), "round {round}");
        assert!(numbers(&records).windows(2).all(|pair| pair[0] + 1 == pair[1]));
        assert_eq!(numbers(&records).last().copied().unwrap_or(0), next);
        for _ in 0..60 {
            next += 1;
            append(&log, next, 700).wait_blocking().unwrap();
            if next.is_multiple_of(20) {
                log.truncate_before(log.durable_end()).unwrap();
                assert_eq!(log.stats().segments, 1);
            }
        }
        assert!(log.stats().spare_segments > 0);
        assert!(log.stats().bytes <= 5 * 2 * 4096);
    }
}

#[test]
fn replay_begins_with_the_segment_that_holds_the_position() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    run(&log, 0..30);
    drop(log);
    let (log, all, _) = reopen(&vfs, Position(0));
    drop(log);
    let from = all[17].0;
    let (_log, part, _) = reopen(&vfs, from);
    let skipped = all.len() - part.len();
    assert!(skipped > 0 && skipped <= 17);
    assert_eq!(part, all[skipped..]);
}

#[test]
fn positions_begin_behind_what_checkpoints_have_seen() {
    let vfs = SimulatedVfs::new();
    let options = LogOptions { position_min: Position(1 << 30), ..options() };
    let opened = open(Arc::new(vfs.clone()), Path::new(DIR), options).unwrap();
    let (log, _) = opened.replay(Position(0), &mut |_| ()).unwrap();
    append(&log, 1, 10).wait_blocking().unwrap();
    drop(log);
    let (_log, records, stats) = reopen(&vfs, Position(0));
    assert!(records[0].0 > Position(1 << 30));
    assert_eq!(stats.damaged_bytes, 0);
}

#[test]
fn appenders_on_many_threads_share_syncs_and_keep_their_own_order() {
    let vfs = SimulatedVfs::new();
    let (log, ..) = reopen(&vfs, Position(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..200 {
                    append(log, thread * 1000 + n, 20).wait_blocking().unwrap();
                }
            });
        }
    });
    assert!(log.stats().syncs <= 1600);
    log.close();
    let seen = numbers(&reopen(&vfs, Position(0)).1);
    assert_eq!(seen.len(), 1600);
    for thread in 0..8 {
        let own: Vec<u64> = seen.iter().copied().filter(|n| n / 1000 == thread).collect();
        assert_eq!(own, (thread * 1000..thread * 1000 + 200).collect::<Vec<_>>());
    }
}

#[test]
fn appenders_wait_while_too_much_is_pending() {
    let vfs = SimulatedVfs::new();
    let options = LogOptions { pending_bytes_max: 10_000, segment_bytes: 1 << 20, ..options() };
    let opened = open(Arc::new(vfs.clone()), Path::new(DIR), options).unwrap();
    let (log, _) = opened.replay(Position(0), &mut |_| ()).unwrap();
    let tickets: Vec<_> = (0..200)
        .map(|n| {
            assert!(log.stats().pending_bytes < 10_000 + 2_100);
            append(&log, n, 2000)
        })
        .collect();
    tickets.into_iter().for_each(|ticket| ticket.wait_blocking().unwrap());
}
