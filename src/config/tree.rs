//! YAML as a tree that knows its lines. Scalars keep the text they were written with, so that `0123` or `1e3` can
//! still become a name.

use super::problem::Problem;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::fmt;

/// Deeper than any config; reading one more level takes tens of KiB of stack.
const DEPTH_MAX: usize = 24;

/// A value and the line it begins on.
#[derive(Debug, Clone)]
pub struct Node {
    pub line: u64,
    pub value: Value,
}

#[derive(Debug, Clone)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text, number or switch, as written, without quotes.
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map and what stands under it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub line: u64,
    pub node: Node,
}

impl Node {
    /// The value under `key`, where this is a map that has it and it is not null.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => {
                let entry = entries.iter().find(|entry| entry.key == key)?;
                (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
            }
            _ => None,
        }
    }

    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; none where this is something else.
    pub fn elements(&self) -> &[Node] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => &[],
        }
    }
}

/// Reads one document. An error is one of syntax, and the only one, since nothing after it can be trusted.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! { budget: serde_saphyr::budget! { max_depth: DEPTH_MAX } };
    let read: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let message = error.without_snippet().to_string();
        // The parser's own text ends in the place, which stands in front already.
        let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
        Problem { path: String::new(), line, message: format!("not readable as YAML: {message}"), hint: None }
    })?;
    Ok(read.into_node(text))
}

/// As deserialized: numbers and switches are found again in the text by their place.
enum Raw {
    Null,
    Text(String),
    Typed(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

trait IntoNode {
    fn into_node(self, text: &str) -> Node;
}

impl IntoNode for Spanned<Raw> {
    fn into_node(self, text: &str) -> Node {
        let line = self.referenced.line();
        let value = match self.value {
            Raw::Null => Value::Null,
            Raw::Text(written) => Value::Scalar(written),
            Raw::Typed(read) => Value::Scalar(as_written(text, &self.defined).unwrap_or(read)),
            Raw::List(nodes) => Value::List(nodes.into_iter().map(|node| node.into_node(text)).collect()),
            Raw::Map(entries) => {
                let entry = |(key, node): (Spanned<Raw>, Spanned<Raw>)| {
                    let key = key.into_node(text);
                    let name = key.scalar().unwrap_or("null").to_owned();
                    Entry { key: name, line: key.line, node: node.into_node(text) }
                };
                Value::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { line, value }
    }
}

/// The plain scalar at a place of the text.
fn as_written(text: &str, place: &serde_saphyr::Location) -> Option<String> {
    let line = text.lines().nth(usize::try_from(place.line()).ok()?.checked_sub(1)?)?;
    let column = usize::try_from(place.column()).ok()?.checked_sub(1)?;
    let length = usize::try_from(place.span().len()).ok()?;
    let written: String = line.chars().skip(column).take(length).collect();
    let written = written.trim();
    (!written.is_empty() && !written.starts_with(['"', '\'', '!', '&', '*'])).then(|| written.to_owned())
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Typed(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = access.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_keep_their_text_and_everything_its_line() {
        let text = "a: 0123\nb:\n  - yes\n  - \"5\"\n  - 1e3 # comment\n  - 30d\nc:\n? 7\n: x\n";
        let tree = parse(text).unwrap();
        assert_eq!(tree.get("a").unwrap().scalar(), Some("0123"));
        let list = tree.get("b").unwrap();
        let texts: Vec<_> = list.elements().iter().filter_map(Node::scalar).collect();
        assert_eq!(texts, ["yes", "5", "1e3", "30d"]);
        assert_eq!(list.elements().iter().map(|node| node.line).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert!(tree.get("c").is_none() && tree.get("7").is_some());
    }

    #[test]
    fn wrong_syntax_names_its_line() {
        for (text, line) in [("a: [1\nb: 2\n", 2), ("a: 1\na: 2\n", 2), ("a:\n\t- x\n", 2)] {
            let problem = parse(text).unwrap_err();
            assert!(problem.line >= line - 1 && problem.line <= line + 1, "{text:?}: {problem}");
        }
    }

    #[test]
    fn deep_nesting_and_alias_bombs_are_errors() {
        assert!(parse(&"[".repeat(100_000)).is_err());
        assert!(parse(&format!("{}{}", "[".repeat(200), "]".repeat(200))).is_err());
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
        for level in 1..12 {
            let before = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        assert!(parse(&bomb).is_err());
    }
}
