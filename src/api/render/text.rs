//! The small parts of an answer.

use crate::model::{Labels, Timestamp, number};

/// Digits of a `\u00..` escape.
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Writes a JSON text with Go's escapes: `<`, `>` and `&` as `\u003c` and so on, so that it can stand in a page.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut clean = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            b'<' | b'>' | b'&' | 0..=0x1f => "",
            // U+2028 and U+2029 end lines in scripts.
            0xe2 if matches!(text.as_bytes().get(at + 1..at + 3), Some([0x80, 0xa8 | 0xa9])) => "",
            _ => continue,
        };
        if byte == 0xe2 {
            out.push_str(&text[clean..at]);
            out.push_str(if text.as_bytes()[at + 2] == 0xa8 { "\\u2028" } else { "\\u2029" });
            clean = at + 3;
            continue;
        }
        out.push_str(&text[clean..at]);
        clean = at + 1;
        if escape.is_empty() {
            out.push_str("\\u00");
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[clean..]);
    out.push('"');
}

/// Writes milliseconds as seconds: whole, or with exactly three decimals.
pub fn push_time(out: &mut String, at: Timestamp) {
    if at < 0 {
        out.push('-');
    }
    let size = at.unsigned_abs();
    out.push_str(itoa::Buffer::new().format(size / 1000));
    let rest = size % 1000;
    if rest > 0 {
        let digits = [b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8];
        digits.iter().for_each(|digit| out.push(char::from(*digit)));
    }
}

/// Writes a label set as an object.
pub fn push_labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_text(out, name);
        out.push(':');
        push_text(out, value);
    }
    out.push('}');
}

/// Writes texts as an array.
pub fn push_texts<'a>(out: &mut String, texts: impl IntoIterator<Item = &'a str>) {
    out.push('[');
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_text(out, text);
    }
    out.push(']');
}

/// Writes `[time,"value"]`.
pub fn push_sample(out: &mut String, at: Timestamp, value: f64) {
    out.push('[');
    push_time(out, at);
    out.push_str(",\"");
    number::push_json(out, value);
    out.push_str("\"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut String)) -> String {
        let mut out = String::new();
        write(&mut out);
        out
    }

    #[test]
    fn texts_are_escaped_as_go_does() {
        for (text, expected) in [
            ("a\"b\\c", r#""a\"b\\c""#),
            ("<script>&", r#""\u003cscript\u003e\u0026""#),
            ("\n\r\t\u{8}\u{c}\u{1}\u{7f}", "\"\\n\\r\\t\\b\\f\\u0001\u{7f}\""),
            ("ü\u{2028}☃\u{2029}â", r#""ü\u2028☃\u2029â""#),
            ("", r#""""#),
        ] {
            assert_eq!(written(|out| push_text(out, text)), expected);
            assert_eq!(serde_json::from_str::<String>(expected).unwrap(), text);
        }
    }

    #[test]
    fn times_are_whole_or_have_three_decimals() {
        for (at, expected) in [
            (0, "0"),
            (4_000, "4"),
            (1_795_189_904_090, "1795189904.090"),
            (-1_500, "-1.500"),
            (-1, "-0.001"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(written(|out| push_time(out, at)), expected);
        }
    }

    #[test]
    fn labels_and_samples() {
        let labels = Labels::from_pairs([("job", "a<b"), ("__name__", "up"), ("Zone", "z")]).unwrap();
        let text = written(|out| push_labels(out, &labels));
        assert_eq!(text, r#"{"Zone":"z","__name__":"up","job":"a\u003cb"}"#);
        assert_eq!(written(|out| push_sample(out, 1, 1e-7)), r#"[0.001,"1e-07"]"#);
        assert_eq!(written(|out| push_texts(out, ["a", "b"])), r#"["a","b"]"#);
    }
}
