//! Label sets: sorted, unique names; one allocation; cheap to clone, hash and compare.

use std::{cmp::Ordering, fmt, hash::Hash, sync::Arc};

/// The label that holds the metric name.
pub const METRIC_NAME: &str = "__name__";

/// Why a list of pairs is no label set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("label name \"{0}\" is not unique")]
    DuplicateName(String),
    #[error("a label name is empty")]
    EmptyName,
    #[error("label bytes are damaged")]
    Damaged,
}

/// A label set, sorted by name, without empty values (an empty value equals absence).
///
/// Held as `varint(name length) name varint(value length) value ...` in one shared buffer, so equal sets have
/// equal bytes: they serve as hash key and as the form on disk.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The set without labels.
    pub fn empty() -> Labels {
        Labels(Arc::from([]))
    }

    /// Sorts the pairs and drops those with an empty value.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Labels, LabelError> {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        pairs.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut bytes = Vec::with_capacity(64);
        for (index, (name, value)) in pairs.iter().enumerate() {
            let name = name.as_ref();
            if name.is_empty() {
                return Err(LabelError::EmptyName);
            }
            if index > 0 && pairs[index - 1].0.as_ref() == name {
                return Err(LabelError::DuplicateName(name.to_owned()));
            }
            if !value.as_ref().is_empty() {
                push_pair(&mut bytes, name, value.as_ref());
            }
        }
        Ok(Labels(bytes.into()))
    }

    /// Takes back what [`Labels::as_bytes`] gave, after checking it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Labels, LabelError> {
        let mut rest = bytes;
        let mut previous: Option<&str> = None;
        while !rest.is_empty() {
            let name = checked_text(&mut rest)?;
            let value = checked_text(&mut rest)?;
            if name.is_empty() || value.is_empty() || previous.is_some_and(|p| p >= name) {
                return Err(LabelError::Damaged);
            }
            previous = Some(name);
        }
        Ok(Labels(bytes.into()))
    }

    /// The canonical bytes: equal for equal sets, and the form on disk.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Name and value pairs in order of name.
    pub fn iter(&self) -> Pairs<'_> {
        Pairs { rest: &self.0 }
    }

    /// The value of `name`; `None` where the label is absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Compared as bytes, so that only the value found is checked for UTF-8.
        let mut rest: &[u8] = &self.0;
        while !rest.is_empty() {
            let key = take_bytes(&mut rest);
            let value = take_bytes(&mut rest);
            match key.cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(text(value)),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric name, where there is one.
    pub fn metric_name(&self) -> Option<&str> {
        self.get(METRIC_NAME)
    }

    pub fn len(&self) -> usize {
        self.iter().count()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set without the metric name.
    pub fn without_name(&self) -> Labels {
        match self.get(METRIC_NAME) {
            None => self.clone(),
            Some(_) => self.filtered(|name| name != METRIC_NAME),
        }
    }

    /// The labels whose name `keep` accepts.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Labels {
        let mut bytes = Vec::with_capacity(self.0.len());
        for (name, value) in self.iter() {
            if keep(name) {
                push_pair(&mut bytes, name, value);
            }
        }
        Labels(bytes.into())
    }

    /// Starts a changed copy.
    pub fn builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }
}

/// Changes a label set; each name at most once, whatever the order of calls.
#[derive(Debug, Clone, Default)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    pub fn new() -> LabelsBuilder {
        LabelsBuilder::default()
    }

    /// Sets a label; an empty value removes it. An empty name is ignored.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.remove(name);
        if !name.is_empty() && !value.is_empty() {
            self.pairs.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub fn build(mut self) -> Labels {
        self.pairs.sort_unstable();
        let mut bytes = Vec::with_capacity(64);
        for (name, value) in &self.pairs {
            push_pair(&mut bytes, name, value);
        }
        Labels(bytes.into())
    }
}

/// Pairs of a [`Labels`] in order of name.
#[derive(Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = text(take_bytes(&mut self.rest));
        Some((name, text(take_bytes(&mut self.rest))))
    }
}

/// Orders as Prometheus does: pair by pair, name before value, and a prefix comes first.
impl Ord for Labels {
    fn cmp(&self, other: &Labels) -> Ordering {
        let (mut a, mut b): (&[u8], &[u8]) = (&self.0, &other.0);
        while !a.is_empty() && !b.is_empty() {
            let order = take_bytes(&mut a).cmp(take_bytes(&mut b));
            let order = order.then_with(|| take_bytes(&mut a).cmp(take_bytes(&mut b)));
            if order != Ordering::Equal {
                return order;
            }
        }
        a.len().cmp(&b.len())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Prints the set as a selector: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pairs = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        let metric = self.metric_name();
        f.write_str(metric.unwrap_or_default())?;
        if pairs.peek().is_none() && metric.is_some() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, (name, value)) in pairs.enumerate() {
            write!(f, "{}{name}={value:?}", if index > 0 { ", " } else { "" })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn push_pair(bytes: &mut Vec<u8>, name: &str, value: &str) {
    for part in [name, value] {
        let mut length = part.len();
        while length >= 0x80 {
            bytes.push(length as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(part.as_bytes());
    }
}

/// Takes one length-prefixed part of bytes this module has built or checked.
fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (mut length, mut shift, mut at) = (0usize, 0, 0);
    loop {
        let byte = rest[at];
        at += 1;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
    }
    let part = &rest[at..at + length];
    *rest = &rest[at + length..];
    part
}

fn checked_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, LabelError> {
    let (mut length, mut shift) = (0usize, 0);
    loop {
        let (&byte, tail) = rest.split_first().ok_or(LabelError::Damaged)?;
        *rest = tail;
        length |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
        shift += 7;
        if shift > 28 {
            return Err(LabelError::Damaged);
        }
    }
    let (part, tail) = rest.split_at_checked(length).ok_or(LabelError::Damaged)?;
    *rest = tail;
    std::str::from_utf8(part).map_err(|_| LabelError::Damaged)
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("label bytes are built from text")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied()).unwrap()
    }

    #[test]
    fn pairs_are_sorted_and_empty_values_absent() {
        let set = labels(&[("job", "x"), ("__name__", "up"), ("a", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("__name__", "up"), ("job", "x")]);
        assert_eq!((set.get("job"), set.get("a"), set.get("zz")), (Some("x"), None, None));
        assert_eq!(set.to_string(), "up{job=\"x\"}");
        assert_eq!(Labels::from_bytes(set.as_bytes()).unwrap(), set);
    }

    #[test]
    fn long_values_keep_their_length() {
        let long = "v".repeat(70_000);
        let set = labels(&[("l", &long), ("m", "n")]);
        assert_eq!(set.get("l").map(str::len), Some(70_000));
        assert_eq!(set.get("m"), Some("n"));
        assert_eq!(Labels::from_bytes(set.as_bytes()).unwrap(), set);
    }

    #[test]
    fn order_is_by_pair_then_prefix_first() {
        assert!(labels(&[("a", "b")]) < labels(&[("a", "b"), ("c", "d")]));
        assert!(labels(&[("a", "b"), ("c", "d")]) < labels(&[("a", "c")]));
        assert!(labels(&[("a", "bb")]) > labels(&[("a", "b")]));
        assert!(labels(&[("a", &"x".repeat(200))]) < labels(&[("a", "y")]));
    }

    #[test]
    fn damaged_bytes_and_duplicate_names_are_refused() {
        assert_eq!(Labels::from_bytes(&[5, b'a']), Err(LabelError::Damaged));
        assert_eq!(Labels::from_bytes(&[1, b'a', 1, 0xff]), Err(LabelError::Damaged));
        assert!(Labels::from_pairs([("a", "1"), ("a", "2")]).is_err());
    }
}
