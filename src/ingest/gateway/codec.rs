//! The bytes of push groups in the small-state tree: `docs/formats/push-groups.md`.

use super::{
    Grouping,
    group::{Family, Group, GroupSample},
    groups::Groups,
};
use crate::{
    model::{Labels, METRIC_NAME, MetricType},
    protocol::{
        exposition::Value,
        remote_write::{decode_histogram, encode_histogram},
    },
    stdx::bytes::{
        push_slice, push_varint, push_varint_signed, take, take_array, take_slice, take_varint, take_varint_signed,
    },
};
use std::{collections::HashMap, sync::Arc};

const VERSION: u8 = 1;
const FLOAT: u8 = 0;
const HISTOGRAM: u8 = 1;

/// The key of a group's record: its labels and an empty name, which no label has.
pub(super) fn group_key(grouping: &Grouping) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    for (name, value) in grouping.labels() {
        push_slice(&mut key, name.as_bytes());
        push_slice(&mut key, value.as_bytes());
    }
    key.push(0);
    key
}

/// The key of a family's record: right behind its group's.
pub(super) fn family_key(group_key: &[u8], name: &str) -> Vec<u8> {
    [group_key, name.as_bytes()].concat()
}

/// The record of a group: when it was pushed to.
pub(super) fn encode_group(group: &Group) -> Vec<u8> {
    let mut out = vec![VERSION];
    push_varint_signed(&mut out, group.pushed_ms);
    push_varint_signed(&mut out, group.failed_ms);
    out
}

/// The record of a family. Grouping labels are in the key already and left out.
pub(super) fn encode_family(family: &Family, grouping: &Grouping) -> Vec<u8> {
    let mut out = vec![VERSION, family.metric_type.number()];
    push_varint_signed(&mut out, family.pushed_ms);
    push_slice(&mut out, family.help.as_bytes());
    push_varint(&mut out, family.samples.len() as u64);
    let mut part = Vec::new();
    for GroupSample { labels, value } in &family.samples {
        part.clear();
        let mut count = 0;
        for (name, value) in labels.iter().filter(|(name, _)| grouping.get(name).is_none()) {
            push_slice(&mut part, name.as_bytes());
            push_slice(&mut part, value.as_bytes());
            count += 1;
        }
        push_varint(&mut out, count);
        out.extend_from_slice(&part);
        match value {
            Value::Float(value) => {
                out.push(FLOAT);
                out.extend_from_slice(&value.to_le_bytes());
            }
            Value::Histogram(histogram) => {
                part.clear();
                encode_histogram(&mut part, 0, histogram);
                out.push(HISTOGRAM);
                push_slice(&mut out, &part);
            }
        }
    }
    out
}

/// Puts all records, in order of their keys, into `groups`; gives how many could not be read.
pub(super) fn load(records: Vec<(Vec<u8>, Vec<u8>)>, groups: &mut Groups) -> u64 {
    let mut found: HashMap<Vec<u8>, Group> = HashMap::new();
    let mut damaged = 0;
    for (key, value) in &records {
        damaged += u64::from(load_record(key, value, groups, &mut found).is_none());
    }
    for group in found.into_values() {
        groups.put(Arc::new(group));
    }
    damaged
}

fn load_record(key: &[u8], value: &[u8], groups: &mut Groups, found: &mut HashMap<Vec<u8>, Group>) -> Option<()> {
    let (grouping, name) = decode_key(key)?;
    let group_bytes = &key[..key.len() - name.len()];
    if name.is_empty() {
        let (pushed_ms, failed_ms) = decode_group(value)?;
        let group = Group { pushed_ms, failed_ms, ..groups.new_group(grouping) };
        found.insert(group_bytes.to_vec(), group);
        return Some(());
    }
    let family = decode_family(value, &grouping)?;
    found.get_mut(group_bytes)?.families.insert(name.to_owned(), Arc::new(family));
    Some(())
}

fn take_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_slice(input)?).ok()
}

fn decode_key(key: &[u8]) -> Option<(Grouping, &str)> {
    let mut rest = key;
    let mut labels = Vec::new();
    loop {
        let name = take_text(&mut rest)?;
        if name.is_empty() {
            break;
        }
        labels.push((name, take_text(&mut rest)?));
    }
    Some((Grouping::new(labels).ok()?, std::str::from_utf8(rest).ok()?))
}

fn decode_group(value: &[u8]) -> Option<(i64, i64)> {
    let mut rest = value.strip_prefix(&[VERSION])?;
    Some((take_varint_signed(&mut rest)?, take_varint_signed(&mut rest)?))
}

fn decode_family(value: &[u8], grouping: &Grouping) -> Option<Family> {
    let mut rest = value.strip_prefix(&[VERSION])?;
    let metric_type = MetricType::from_number(u64::from(take(&mut rest, 1)?[0]))?;
    let pushed_ms = take_varint_signed(&mut rest)?;
    let help = take_text(&mut rest)?.to_owned();
    let count = take_varint(&mut rest)?;
    let mut samples = Vec::new();
    for _ in 0..count {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for _ in 0..take_varint(&mut rest)? {
            pairs.push((take_text(&mut rest)?, take_text(&mut rest)?));
        }
        pairs.extend(grouping.labels());
        let labels = Labels::from_pairs(pairs).ok().filter(|labels| labels.get(METRIC_NAME).is_some())?;
        let value = match take(&mut rest, 1)?[0] {
            FLOAT => Value::Float(f64::from_le_bytes(take_array(&mut rest)?)),
            HISTOGRAM => Value::Histogram(Arc::new(decode_histogram(take_slice(&mut rest)?).ok()?.1)),
            _ => return None,
        };
        samples.push(GroupSample { labels, value });
    }
    rest.is_empty().then_some(Family { metric_type, help, pushed_ms, samples })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn example() -> (Grouping, Family) {
        let grouping = Grouping::from_path("job/j/x/").unwrap();
        let sample = |name: &str, value| {
            let labels = [(METRIC_NAME, name), ("job", "j"), ("l", "v")];
            GroupSample { labels: Labels::from_pairs(labels).unwrap(), value }
        };
        let samples = vec![
            sample("a", Value::Float(f64::from_bits(0x7ff8_0000_0000_0001))),
            sample("b", Value::Histogram(Arc::default())),
        ];
        (grouping, Family { metric_type: MetricType::Gauge, help: "é".to_owned(), pushed_ms: 5, samples })
    }

    #[test]
    fn keys_and_records_survive() {
        let (grouping, family) = example();
        let key = family_key(&group_key(&grouping), "a");
        assert_eq!(decode_key(&key), Some((grouping.clone(), "a")));
        let read = decode_family(&encode_family(&family, &grouping), &grouping).unwrap();
        assert_eq!(format!("{read:?}"), format!("{family:?}"));
    }

    #[test]
    fn a_damaged_record_loses_itself_alone() {
        let (grouping, family) = example();
        let mut groups = Groups::default();
        let group = Group { pushed_ms: 7, ..groups.new_group(grouping.clone()) };
        let key = group_key(&grouping);
        let family_bytes = encode_family(&family, &grouping);
        let records = vec![
            (key.clone(), encode_group(&group)),
            (family_key(&key, "a"), family_bytes.clone()),
            (family_key(&key, "b"), family_bytes[..9].to_vec()),
            (vec![9], vec![1]),
        ];
        assert_eq!(load(records, &mut groups), 2);
        let read = groups.get(&key).unwrap();
        assert_eq!((read.pushed_ms, read.families.len()), (7, 1));
    }

    proptest! {
        #[test]
        fn any_and_changed_bytes_are_read_without_panic(bytes: Vec<u8>, at: usize, with: u8) {
            let (grouping, family) = example();
            let mut record = encode_family(&family, &grouping);
            let at = at % record.len();
            record[at] = with;
            for bytes in [&bytes, &record] {
                let _ = decode_family(bytes, &grouping);
                let _ = decode_key(bytes);
                let _ = decode_group(bytes);
            }
        }
    }
}
