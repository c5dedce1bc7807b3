//! The log against a disk that loses power, flips bytes and fails calls.

use super::*;
use crate::stdx::vfs::simulated::{Random, SimulatedVfs};
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
        let (mut acknowledged, mut next) = (Vec::new(), 0);
        for _ in 0..rounds {
            let (log, records, stats) = reopen(&vfs, Position(0));
            let seen = numbers(&records);
            prop_assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once: {seen:?}");
            prop_assert!(acknowledged.iter().all(|n| seen.contains(n)), "{acknowledged:?} in {seen:?}");
            prop_assert_eq!(stats.damaged_records, 0);
            acknowledged = seen;
            let mut open_tickets = Vec::new();
            for _ in 0..random.below(40) {
                let ticket = append(&log, next, random.below(1500) as usize);
                next += 1;
                if random.below(3) == 0 {
                    ticket.wait_blocking().unwrap();
                    acknowledged.extend(open_tickets.drain(..).map(|(n, _)| n));
                    acknowledged.push(next - 1);
                } else {
                    open_tickets.push((next - 1, ticket));
                }
            }
            vfs = vfs.after_power_cut(random.next());
        }
    }
}
