//! Holds a tree against the table of keys and reports everything that does not fit.

use super::{
    problem::Problems,
    schema::{Key, Shape},
    tree::{Entry, Node, Value},
};
use crate::{model::time::parse_duration_ms, stdx::spelling::nearest};

/// Checks `node` at `path` and all below it.
pub fn check(node: &Node, shape: Shape, path: &str, problems: &mut Problems) {
    let fits = match (shape, &node.value) {
        (Shape::Any, _) => true,
        (Shape::Map(tables), Value::Map(entries)) => {
            entries.iter().for_each(|entry| check_entry(entry, tables, path, problems));
            true
        }
        (Shape::TextMap, Value::Map(entries)) => {
            for entry in entries {
                check(&entry.node, Shape::Text, &join(path, &entry.key), problems);
            }
            true
        }
        (Shape::List(element) | Shape::ListOrNone(element), Value::List(nodes)) => {
            check_elements(nodes, *element, path, problems);
            true
        }
        (Shape::Texts, Value::List(nodes)) => {
            check_elements(nodes, Shape::Text, path, problems);
            true
        }
        // A section without content is written so to be filled later: it has the defaults.
        (_, Value::Null) => true,
        (_, Value::Scalar(text)) => return check_scalar(text, shape, node.line, path, problems),
        _ => false,
    };
    if !fits {
        problems.error(path, node.line, format!("expected {}, got {}", describe(shape), describe_value(&node.value)));
    }
}

fn check_elements(nodes: &[Node], element: Shape, path: &str, problems: &mut Problems) {
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match node.value {
            Value::Null => problems.error_with_hint(
                &path,
                node.line,
                "empty or null entry",
                "remove the `-` or write something after it",
            ),
            _ => check(node, element, &path, problems),
        }
    }
}

fn check_entry(entry: &Entry, tables: &[&[Key]], path: &str, problems: &mut Problems) {
    let here = join(path, &entry.key);
    let keys = tables.iter().copied().flatten();
    if let Some(key) = keys.clone().find(|key| key.name == entry.key) {
        let Some(consequence) = key.inactive else { return check(&entry.node, key.shape, &here, problems) };
        problems.warn(&here, entry.line, format!("understood, but not active yet: {consequence}"));
        // What is said below it is part of what does nothing: one warning covers it.
        return problems.without_warnings(|problems| check(&entry.node, key.shape, &here, problems));
    }
    let hint = match nearest(&entry.key, keys.clone().map(|key| key.name)) {
        Some(name) => format!("did you mean `{name}`?"),
        None if keys.clone().count() <= 12 => {
            let names: Vec<String> = keys.map(|key| format!("`{}`", key.name)).collect();
            format!("known here: {}", names.join(", "))
        }
        None => "neither observatory nor Prometheus knows it at this place".to_owned(),
    };
    problems.error_with_hint(&here, entry.line, "unknown key", hint);
}

fn check_scalar(text: &str, shape: Shape, line: u64, path: &str, problems: &mut Problems) {
    let error = match shape {
        Shape::Any | Shape::Text => return,
        Shape::Bool => parse_bool(text).is_none().then(|| "expected true or false".to_owned()),
        Shape::Whole => text.parse::<u64>().is_err().then(|| "expected a whole number".to_owned()),
        Shape::Number => text.parse::<f64>().is_err().then(|| "expected a number".to_owned()),
        Shape::Duration => {
            parse_duration_ms(text).is_err().then(|| "expected a duration such as 15s or 1h30m".to_owned())
        }
        Shape::Size => parse_size(text).is_none().then(|| "expected a size such as 16MiB".to_owned()),
        Shape::ListOrNone(_) if text == "none" => return,
        Shape::OneOf(known) if known.contains(&text) => return,
        Shape::OneOf(known) => {
            let message = format!("`{text}` is none of {}", known.join(", "));
            return match nearest(text, known.iter().copied()) {
                Some(name) => problems.error_with_hint(path, line, message, format!("did you mean `{name}`?")),
                None => problems.error(path, line, message),
            };
        }
        Shape::ListOrNone(_) => Some(format!("expected {}", describe(shape))),
        Shape::Texts | Shape::List(_) => Some(format!("expected {}: write `- {text}`", describe(shape))),
        Shape::Map(_) | Shape::TextMap => Some(format!("expected {}", describe(shape))),
    };
    if let Some(message) = error {
        problems.error(path, line, format!("{message}, got `{text}`"));
    }
}

/// As YAML 1.1 writes switches.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Some(true),
        "false" | "no" | "off" | "n" => Some(false),
        _ => None,
    }
}

/// Bytes: `16MiB`, `16MB` and `16M` are the same, as in Prometheus.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
    let power = ["", "K", "M", "G", "T", "P", "E"].iter().position(|known| *known == unit)?;
    number.parse::<u64>().ok()?.checked_mul(1u64.checked_shl(u32::try_from(power).ok()? * 10)?)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn describe(shape: Shape) -> &'static str {
    match shape {
        Shape::Any => "anything",
        Shape::Text => "a text",
        Shape::Bool => "true or false",
        Shape::Whole => "a whole number",
        Shape::Number => "a number",
        Shape::Duration => "a duration such as 1h30m",
        Shape::Size => "a size such as 16MiB",
        Shape::OneOf(_) => "one of a few words",
        Shape::Texts | Shape::List(_) => "a list",
        Shape::ListOrNone(_) => "a list, or none",
        Shape::TextMap | Shape::Map(_) => "keys and values",
    }
}

fn describe_value(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "keys and values",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_count_in_1024_whatever_their_spelling() {
        for (text, bytes) in [("512", 512), ("16MiB", 16 << 20), ("10MB", 10 << 20), ("1K", 1024), ("2 GiB", 2 << 30)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for wrong in ["", "MB", "1XB", "-1", "1.5MB", "99999999999EB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }
}
