//! What a server answers, as either protocol writes it: maps are maps or flat lists, nothing is nil, an empty list or a
//! pair that is not there.

use redis::Value;

/// An entry of a stream: its id and the fields as they stand; `None` for one that was deleted while it was pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: String,
    pub fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// A group as `XINFO GROUPS` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    pub name: String,
    pub pending: u64,
    pub last_delivered: String,
    /// Unknown where entries were deleted from the middle, and before Redis 7.
    pub entries_read: Option<u64>,
    pub lag: Option<u64>,
}

/// A stream as `XINFO STREAM` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stream {
    pub length: u64,
    pub last_generated: String,
    pub first_entry: Option<String>,
    /// Since the key was made; unknown before Redis 7.
    pub entries_added: Option<u64>,
}

/// A consumer as `XINFO CONSUMERS` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    pub name: String,
    pub pending: u64,
    pub idle_ms: u64,
}

/// Of `XREADGROUP` for one stream.
pub fn read(value: Value) -> Vec<Entry> {
    match value {
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, list)| entries(list)).unwrap_or_default(),
        Value::Array(streams) => match streams.into_iter().next() {
            Some(Value::Array(pair)) => pair.into_iter().nth(1).map(entries).unwrap_or_default(),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Of `XRANGE`, `XREVRANGE`, `XCLAIM` and the middle of `XAUTOCLAIM`.
pub fn entries(value: Value) -> Vec<Entry> {
    let Value::Array(list) = value else { return Vec::new() };
    let entry = |value| {
        let Value::Array(pair) = value else { return None };
        let mut pair = pair.into_iter();
        let id = text(&pair.next()?)?;
        Some(Entry { id, fields: pair.next().and_then(fields) })
    };
    list.into_iter().filter_map(entry).collect()
}

fn fields(value: Value) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(name, value)| Some((bytes(name)?, bytes(value)?))).collect(),
        Value::Array(flat) => {
            let mut flat = flat.into_iter();
            let mut found = Vec::new();
            while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                found.push((bytes(name)?, bytes(value)?));
            }
            Some(found)
        }
        _ => None,
    }
}

/// Of `XAUTOCLAIM`: where to go on, what was claimed, and how many were found deleted. Redis 6.2 does not tell the last.
pub fn claimed(value: Value) -> Option<(String, Vec<Entry>, u64)> {
    let Value::Array(parts) = value else { return None };
    let mut parts = parts.into_iter();
    let cursor = text(&parts.next()?)?;
    let claimed = entries(parts.next()?);
    let deleted = match parts.next() {
        Some(Value::Array(ids)) => ids.len() as u64,
        _ => 0,
    };
    Some((cursor, claimed, deleted))
}

/// Of `XPENDING` with a range: ids, and how often each was delivered.
pub fn pending(value: &Value) -> Vec<(String, u64)> {
    let Value::Array(list) = value else { return Vec::new() };
    let one = |value: &Value| {
        let Value::Array(parts) = value else { return None };
        Some((text(parts.first()?)?, number(parts.get(3)?)?))
    };
    list.iter().filter_map(one).collect()
}

pub fn groups(value: &Value) -> Vec<Group> {
    records(value, |find| Group {
        name: find("name").and_then(text).unwrap_or_default(),
        pending: find("pending").and_then(number).unwrap_or(0),
        last_delivered: find("last-delivered-id").and_then(text).unwrap_or_default(),
        entries_read: find("entries-read").and_then(number),
        lag: find("lag").and_then(number),
    })
}

pub fn members(value: &Value) -> Vec<Member> {
    records(value, |find| Member {
        name: find("name").and_then(text).unwrap_or_default(),
        pending: find("pending").and_then(number).unwrap_or(0),
        idle_ms: find("idle").and_then(number).unwrap_or(0),
    })
}

pub fn stream(value: &Value) -> Stream {
    let first = |value: &Value| match value {
        Value::Array(pair) => text(pair.first()?),
        _ => None,
    };
    Stream {
        length: lookup(value, "length").and_then(number).unwrap_or(0),
        last_generated: lookup(value, "last-generated-id").and_then(text).unwrap_or_default(),
        first_entry: lookup(value, "first-entry").and_then(first),
        entries_added: lookup(value, "entries-added").and_then(number),
    }
}

fn records<'a, T>(value: &'a Value, read: impl Fn(&dyn Fn(&str) -> Option<&'a Value>) -> T) -> Vec<T> {
    let Value::Array(list) = value else { return Vec::new() };
    list.iter().map(|record| read(&|name| lookup(record, name))).collect()
}

fn lookup<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let is = |key: &Value| text(key).is_some_and(|key| key == name);
    match value {
        Value::Map(pairs) => pairs.iter().find(|(key, _)| is(key)).map(|(_, value)| value),
        Value::Array(flat) => flat.as_chunks::<2>().0.iter().find(|[key, _]| is(key)).map(|[_, value]| value),
        _ => None,
    }
}

fn bytes(value: Value) -> Option<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.into_bytes()),
        Value::Int(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

pub fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        other => text(other)?.parse().ok(),
    }
}

/// The parts of an entry's id: milliseconds and the number within them. Ids compare by these.
pub fn id_parts(id: &str) -> Option<(u64, u64)> {
    let (ms, number) = id.split_once('-')?;
    Some((ms.parse().ok()?, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn entry() -> Value {
        Value::Array(vec![bulk("5-1"), Value::Array(vec![bulk("a"), bulk("b")])])
    }

    #[test]
    fn both_protocols_give_the_same_entries() {
        let expected = [Entry { id: "5-1".to_owned(), fields: Some(vec![(b"a".to_vec(), b"b".to_vec())]) }];
        let list = Value::Array(vec![entry()]);
        assert_eq!(read(Value::Map(vec![(bulk("s"), list.clone())])), expected);
        assert_eq!(read(Value::Array(vec![Value::Array(vec![bulk("s"), list])])), expected);
        assert_eq!(read(Value::Nil), []);
        let deleted = Value::Array(vec![Value::Array(vec![bulk("5-1"), Value::Nil])]);
        assert_eq!(entries(deleted), [Entry { id: "5-1".to_owned(), fields: None }]);
    }

    #[test]
    fn claims_of_old_and_new_servers_are_read() {
        let parts = vec![bulk("0-0"), Value::Array(vec![entry()]), Value::Array(vec![bulk("1-1")])];
        let (cursor, entries, deleted) = claimed(Value::Array(parts.clone())).unwrap();
        assert_eq!((cursor.as_str(), entries.len(), deleted), ("0-0", 1, 1));
        assert_eq!(claimed(Value::Array(parts[..2].to_vec())).unwrap().2, 0);
        assert_eq!(claimed(Value::Nil), None);
    }

    #[test]
    fn groups_are_read_from_maps_and_flat_lists() {
        let pairs = [("name", bulk("g")), ("pending", Value::Int(2)), ("last-delivered-id", bulk("1-0"))];
        let pairs = pairs.map(|(name, value)| (bulk(name), value)).into_iter();
        let more = [(bulk("entries-read"), Value::Nil), (bulk("lag"), Value::Int(3))];
        let pairs: Vec<(Value, Value)> = pairs.chain(more).collect();
        let flat = pairs.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        let expected = Group {
            name: "g".to_owned(),
            pending: 2,
            last_delivered: "1-0".to_owned(),
            entries_read: None,
            lag: Some(3),
        };
        assert_eq!(groups(&Value::Array(vec![Value::Map(pairs)])), std::slice::from_ref(&expected));
        assert_eq!(groups(&Value::Array(vec![Value::Array(flat)])), [expected]);
    }
}
