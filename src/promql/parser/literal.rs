//! Numbers and strings: what a literal is worth, and how a string is quoted again.

use crate::model::number::parse_float;
use std::fmt::Write;

/// Reads a number as Go reads it: decimal, `0x` hexadecimal, octal with a leading zero, floats, `Inf`, `NaN`;
/// underscores between digits. The error is the message.
pub fn number(text: &str) -> Result<f64, String> {
    if let Some(value) = integer(text) {
        return Ok(value as f64);
    }
    let wrong = |why| format!("error parsing number: strconv.ParseFloat: parsing {}: {why}", quote(text));
    let plain = if text.contains('_') {
        if !underscores_separate_digits(text) {
            return Err(wrong("invalid syntax"));
        }
        text.replace('_', "")
    } else {
        text.to_owned()
    };
    match parse_float(&plain) {
        Some(value) if value.is_infinite() && plain.contains(|c: char| c.is_ascii_digit()) => {
            Err(wrong("value out of range"))
        }
        Some(value) => Ok(value),
        None => Err(wrong("invalid syntax")),
    }
}

/// Go's integer literals with the base in the prefix; `None` for anything else, larger than 64 bits included.
fn integer(text: &str) -> Option<i64> {
    if text.contains('_') && !underscores_separate_digits(text) {
        return None;
    }
    let plain = text.replace('_', "");
    let hexadecimal = plain.strip_prefix("0x").or_else(|| plain.strip_prefix("0X"));
    match (hexadecimal, plain.strip_prefix('0')) {
        (Some(digits), _) if digits.starts_with(['+', '-']) => None,
        (Some(digits), _) => i64::from_str_radix(digits, 16).ok(),
        (None, Some(digits)) if !digits.is_empty() => i64::from_str_radix(digits, 8).ok(),
        _ => plain.parse().ok(),
    }
}

/// Each underscore stands between two digits, or between the prefix of a base and a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let digits = if hexadecimal { &text[1..] } else { text };
    let is_digit = |b: u8| b.is_ascii_digit() || (hexadecimal && (b.is_ascii_hexdigit() || matches!(b, b'x' | b'X')));
    let bytes = digits.as_bytes();
    (0..bytes.len())
        .filter(|at| bytes[*at] == b'_')
        .all(|at| at > 0 && is_digit(bytes[at - 1]) && bytes.get(at + 1).is_some_and(|b| is_digit(*b)))
}

/// The value of a string literal, quotes included, whose escapes the lexer has checked. The error is the message:
/// escapes can spell bytes that are no UTF-8, which no label can hold.
pub fn unquote(literal: &str) -> Result<String, String> {
    let inner = &literal[1..literal.len() - 1];
    if literal.starts_with('`') || !inner.contains('\\') {
        return Ok(inner.to_owned());
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let Some(c) = rest.chars().next() else { break };
        let radix = if c.is_digit(8) { 8 } else { 16 };
        let (skip, length) = match c {
            'x' => (1, 2),
            'u' => (1, 4),
            'U' => (1, 8),
            '0'..='7' => (0, 3),
            _ => {
                bytes.push(simple_escape(c));
                rest = &rest[1..];
                continue;
            }
        };
        let digits = rest.get(skip..skip + length).unwrap_or_default();
        let value = u32::from_str_radix(digits, radix).unwrap_or(u32::from(char::REPLACEMENT_CHARACTER));
        if length >= 4 {
            let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            bytes.push(value as u8);
        }
        rest = rest.get(skip + length..).unwrap_or_default();
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| format!("error unquoting string {}: not valid UTF-8", quote(literal)))
}

fn simple_escape(c: char) -> u8 {
    match c {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        // A quote or a backslash: the lexer lets nothing else through.
        other => other as u8,
    }
}

/// A text in double quotes as Go's `strconv.Quote` writes it.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

pub(super) fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            _ if is_printable(c) => out.push(c),
            // Writing to a String cannot fail.
            _ if c.is_ascii() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            _ if u32::from(c) <= 0xffff => drop(write!(out, "\\u{:04x}", u32::from(c))),
            _ => drop(write!(out, "\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Letters, marks, numbers, punctuation, symbols and the plain space; invisible formatting and private use are not.
fn is_printable(c: char) -> bool {
    let invisible = matches!(u32::from(c), 0xad | 0x200b..=0x200f | 0x202a..=0x202e | 0x2060..=0x206f | 0xfeff
        | 0xe000..=0xf8ff | 0xe0000..=0xe0fff | 0xf0000..=0x10ffff);
    c == ' ' || !(c.is_control() || c.is_whitespace() || invisible)
}

/// Whether a label can be written without quotes.
pub fn is_plain_label(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_worth_what_go_says() {
        for (text, value) in [
            ("1", 1.0),
            ("017", 15.0),
            ("08", 8.0),
            ("0x1F", 31.0),
            ("0X_1f", 31.0),
            ("1_000", 1000.0),
            ("1_000.5_0e1_0", 1000.5e10),
            (".5", 0.5),
            ("2.", 2.0),
            ("1e3", 1000.0),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("iNf", f64::INFINITY),
        ] {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert_eq!(number("NaN").unwrap().to_bits(), 0x7ff8_0000_0000_0001);
        for wrong in ["0x", "0xFFFFFFFFFFFFFFFFFF", "1__0", "1_", "_1", "1_.5", "1e999"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            number("1e999").unwrap_err(),
            r#"error parsing number: strconv.ParseFloat: parsing "1e999": value out of range"#
        );
    }

    #[test]
    fn strings_are_unquoted_and_quoted_as_in_go() {
        for (literal, value) in [
            (r#""a\nb""#, "a\nb"),
            (r"'it\'s'", "it's"),
            (r#""\x41\101\u00e9\U0001F600\\""#, "AAé😀\\"),
            (r#""\xc3\xa9""#, "é"),
            (r"`a\n`", r"a\n"),
            (r#""\a\b\f\v\t\r""#, "\x07\x08\x0c\x0b\t\r"),
        ] {
            assert_eq!(unquote(literal).as_deref(), Ok(value), "{literal}");
            assert_eq!(unquote(&quote(value)).as_deref(), Ok(value));
        }
        assert!(unquote(r#""\xff""#).unwrap_err().contains("not valid UTF-8"));
        assert_eq!(quote("é\u{0}\u{200b}\u{1f600}"), "\"é\\x00\\u200b😀\"");
    }
}
