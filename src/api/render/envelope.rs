//! What stands around every answer of the API.

use super::text::push_texts;
use axum::{
    body::Body,
    http::{Response, header},
    response::IntoResponse,
};

/// Warnings and infos shown of each kind; the rest is counted.
const NOTES_MAX: usize = 10;
const OPENING: &str = "{\"status\":\"success\",\"data\":";

/// Said where a limit cut a list.
pub const TRUNCATED: &str = "results truncated due to limit";

/// An answer in the making: write its data to `out`, then [`Envelope::finish`] it.
pub struct Envelope {
    pub out: String,
}

impl Envelope {
    /// Begins one that will hold about `bytes`.
    pub fn new(bytes: usize) -> Envelope {
        let mut out = String::with_capacity(bytes + 64);
        out.push_str(OPENING);
        Envelope { out }
    }

    /// The answer with 200.
    pub fn finish(self, warnings: &[String], infos: &[String]) -> Response<Body> {
        let mut out = self.out;
        push_notes(&mut out, "warnings", "warning", warnings);
        push_notes(&mut out, "infos", "info", infos);
        out.push('}');
        ([(header::CONTENT_TYPE, "application/json")], out).into_response()
    }
}

/// An answer of small data, which may as well be a tree.
pub fn answer(data: &serde_json::Value) -> Response<Body> {
    answer_with(data, &[])
}

/// As [`answer`], with warnings.
pub fn answer_with(data: &serde_json::Value, warnings: &[String]) -> Response<Body> {
    let mut envelope = Envelope::new(256);
    push_value(&mut envelope.out, data);
    envelope.finish(warnings, &[])
}

/// Writes a tree, with the escapes of [`super::text::push_text`].
pub fn push_value(out: &mut String, value: &serde_json::Value) {
    use serde_json::Value;
    match value {
        Value::String(text) => super::text::push_text(out, text),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                push_value(out, element);
            }
            out.push(']');
        }
        Value::Object(members) => {
            out.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                super::text::push_text(out, name);
                out.push(':');
                push_value(out, member);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn push_notes(out: &mut String, key: &str, kind: &str, notes: &[String]) {
    if notes.is_empty() {
        return;
    }
    out.push_str(&format!(",\"{key}\":"));
    let more = notes.len().saturating_sub(NOTES_MAX);
    let omitted = format!("{more} more {kind} annotations omitted");
    let shown = notes.iter().take(NOTES_MAX).map(String::as_str);
    push_texts(out, shown.chain((more > 0).then_some(omitted.as_str())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surplus_notes_are_counted() {
        let mut out = String::new();
        let notes: Vec<String> = (0..12).map(|index| index.to_string()).collect();
        push_notes(&mut out, "infos", "info", &notes);
        assert!(out.ends_with(r#","9","2 more info annotations omitted"]"#), "{out}");
        assert!(out.starts_with(r#","infos":["0","#), "{out}");
    }

    #[test]
    fn trees_are_written_with_the_same_escapes() {
        let mut out = String::new();
        push_value(&mut out, &serde_json::json!({"a": ["<", 1, null, true, {}]}));
        assert_eq!(out, r#"{"a":["\u003c",1,null,true,{}]}"#);
    }
}
