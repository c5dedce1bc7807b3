//! Reads the script language: text to commands. Expressions are left as they are.

use std::collections::BTreeMap;

/// Label names and values; `__name__` holds the metric's name.
pub type LabelSet = BTreeMap<String, String>;

#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    Clear,
    Load { step_ms: i64, series: Vec<(LabelSet, Vec<Point>)> },
    Eval(Eval),
}

/// One place in a sequence: nothing, the end of the series, or a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Point {
    Gap,
    Stale,
    Value(f64),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Eval {
    /// Counts from 1.
    pub line: usize,
    pub expression: String,
    pub when: When,
    pub expect: Expect,
    pub scalar: Option<f64>,
    pub series: Vec<(LabelSet, Vec<Point>)>,
}

/// Milliseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    Instant { at: i64 },
    Range { start: i64, end: i64, step: i64 },
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expect {
    pub ordered: bool,
    pub fail: Option<Message>,
    pub warn: Option<Message>,
    pub info: Option<Message>,
    pub no_warn: bool,
    pub no_info: bool,
    pub string: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    Any,
    Contains(String),
    Matches(String),
}

/// Gives the commands, or `line: what is wrong`.
pub fn parse(text: &str) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    for (index, whole) in text.lines().enumerate() {
        let at = |error: String| format!("{}: {error}", index + 1);
        let line = whole.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if whole.starts_with([' ', '\t']) {
            match commands.last_mut() {
                Some(Command::Load { series, .. }) => series.push(sequence_line(line).map_err(at)?),
                Some(Command::Eval(eval)) => eval_line(eval, line).map_err(at)?,
                _ => return Err(at("an indented line belongs to a `load` or an `eval`".to_owned())),
            }
        } else {
            commands.push(command(line, index + 1).map_err(at)?);
        }
    }
    Ok(commands)
}

fn command(line: &str, number: usize) -> Result<Command, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let mut expect = Expect::default();
    match word {
        "clear" if rest.is_empty() => return Ok(Command::Clear),
        "load" => return Ok(Command::Load { step_ms: duration(rest)?, series: Vec::new() }),
        "eval" => {}
        "eval_fail" => expect.fail = Some(Message::Any),
        "eval_warn" => expect.warn = Some(Message::Any),
        "eval_info" => expect.info = Some(Message::Any),
        "eval_ordered" => expect.ordered = true,
        other => return Err(format!("`{other}` is no command")),
    }
    let (when, expression) = match rest.split_once(char::is_whitespace) {
        Some(("instant", rest)) => instant(rest.trim())?,
        Some(("range", rest)) => range(rest.trim())?,
        _ => return Err("say `eval instant at ...` or `eval range from ... to ... step ...`".to_owned()),
    };
    Ok(Command::Eval(Eval { line: number, expression, when, expect, scalar: None, series: Vec::new() }))
}

fn instant(text: &str) -> Result<(When, String), String> {
    let rest = text.strip_prefix("at ").ok_or("`at` and a time")?;
    let (at, expression) = rest.split_once(' ').ok_or("an expression after the time")?;
    Ok((When::Instant { at: duration(at)? }, expression.trim().to_owned()))
}

fn range(text: &str) -> Result<(When, String), String> {
    let words: Vec<&str> = text.splitn(7, ' ').collect();
    match words[..] {
        ["from", start, "to", end, "step", step, expression] => {
            let when = When::Range { start: duration(start)?, end: duration(end)?, step: duration(step)? };
            Ok((when, expression.trim().to_owned()))
        }
        _ => Err("`from <time> to <time> step <duration> <expression>`".to_owned()),
    }
}

fn eval_line(eval: &mut Eval, line: &str) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("expect ") {
        return expectation(&mut eval.expect, rest.trim());
    }
    if let Ok(Point::Value(value)) = point(line) {
        eval.scalar = Some(value);
        return Ok(());
    }
    if line.starts_with('"') {
        eval.expect.string = Some(quoted(&mut Cursor { text: line, at: 0 })?);
        return Ok(());
    }
    eval.series.push(sequence_line(line)?);
    Ok(())
}

fn expectation(expect: &mut Expect, text: &str) -> Result<(), String> {
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    let message = match rest.trim() {
        "" => Message::Any,
        rest => match rest.split_once(':') {
            Some(("msg", text)) => Message::Contains(text.trim().to_owned()),
            Some(("regex", text)) => Message::Matches(text.trim().to_owned()),
            _ if word == "string" => Message::Any,
            _ => return Err("`msg: text` or `regex: pattern`".to_owned()),
        },
    };
    match word {
        "ordered" => expect.ordered = true,
        "fail" => expect.fail = Some(message),
        "warn" => expect.warn = Some(message),
        "info" => expect.info = Some(message),
        "no_warn" => expect.no_warn = true,
        "no_info" => expect.no_info = true,
        "string" => expect.string = Some(quoted(&mut Cursor { text: rest.trim(), at: 0 })?),
        other => return Err(format!("nothing can be expected as `{other}`")),
    }
    Ok(())
}

/// `name{label="value"} 1 2+1x3 _ stale`
fn sequence_line(line: &str) -> Result<(LabelSet, Vec<Point>), String> {
    let mut cursor = Cursor { text: line, at: 0 };
    let labels = label_set(&mut cursor)?;
    let mut points = Vec::new();
    for item in cursor.rest().split_whitespace() {
        sequence_item(item, &mut points)?;
    }
    Ok((labels, points))
}

/// `5`, `_`, `stale`, `5x3` (four times 5), `_x3`, `5+2x3` (5 7 9 11), `5-2x3`.
fn sequence_item(item: &str, points: &mut Vec<Point>) -> Result<(), String> {
    if item.starts_with("{{") {
        return Err("histograms cannot be written here".to_owned());
    }
    let Some((left, times)) = item.rsplit_once('x').filter(|_| !item.ends_with("x")) else {
        points.push(point(item)?);
        return Ok(());
    };
    let times: usize = times.parse().map_err(|_| format!("`{item}`: a count after x"))?;
    if left == "_" {
        points.extend(std::iter::repeat_n(Point::Gap, times));
        return Ok(());
    }
    // The sign that separates start from step is the last one that is neither at the beginning nor an exponent's.
    let bytes = left.as_bytes();
    let sign = (1..bytes.len())
        .rev()
        .find(|&i| matches!(bytes[i], b'+' | b'-') && !matches!(bytes[i - 1], b'e' | b'E' | b'+' | b'-'));
    let (first, step) = match sign {
        None => (number(left)?, 0.0),
        Some(i) => (number(&left[..i])?, number(&left[i + 1..])? * if bytes[i] == b'-' { -1.0 } else { 1.0 }),
    };
    let mut value = first;
    for _ in 0..=times {
        points.push(Point::Value(value));
        value += step;
    }
    Ok(())
}

fn point(text: &str) -> Result<Point, String> {
    match text {
        "_" => Ok(Point::Gap),
        "stale" => Ok(Point::Stale),
        other => number(other).map(Point::Value),
    }
}

fn number(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.to_ascii_lowercase().as_str() {
        "inf" => f64::INFINITY,
        "nan" => f64::NAN,
        plain if plain.starts_with(|first: char| first.is_ascii_digit() || first == '.') => {
            plain.parse().map_err(|_| format!("`{text}` is not a number"))?
        }
        _ => return Err(format!("`{text}` is not a number")),
    };
    Ok(sign * value)
}

/// `1h30m`, `15s`, `0`, or a bare number of seconds; a minus in front of it for times before the epoch.
pub fn duration(text: &str) -> Result<i64, String> {
    if let Some(rest) = text.strip_prefix('-') {
        return Ok(-duration(rest)?);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Ok((seconds * 1000.0).round() as i64);
    }
    let wrong = || format!("`{text}` is not a duration");
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|&end| end > 0).ok_or_else(wrong)?;
        let count: i64 = rest[..digits].parse().map_err(|_| wrong())?;
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
        let after = &rest[digits..];
        let (unit, factor) = units.iter().find(|(unit, _)| after.starts_with(unit)).ok_or_else(wrong)?;
        total += count * factor;
        rest = &after[unit.len()..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    fn take(&mut self, what: char) -> bool {
        let found = self.rest().starts_with(what);
        if found {
            self.at += what.len_utf8();
        }
        found
    }

    fn word(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }
}

fn label_set(cursor: &mut Cursor<'_>) -> Result<LabelSet, String> {
    let mut labels = LabelSet::new();
    let name = cursor.word();
    if !name.is_empty() {
        labels.insert("__name__".to_owned(), name.to_owned());
    }
    if !cursor.take('{') {
        return if name.is_empty() { Err("a series, or a number".to_owned()) } else { Ok(labels) };
    }
    loop {
        cursor.skip_spaces();
        if cursor.take('}') {
            return Ok(labels);
        }
        let label = if cursor.rest().starts_with('"') { quoted(cursor)? } else { cursor.word().to_owned() };
        cursor.skip_spaces();
        if cursor.take('=') {
            cursor.skip_spaces();
            labels.insert(label, quoted(cursor)?);
        } else {
            labels.insert("__name__".to_owned(), label);
        }
        cursor.skip_spaces();
        if !cursor.take(',') && !cursor.rest().starts_with('}') {
            return Err("`,` or `}` after a label".to_owned());
        }
    }
}

fn quoted(cursor: &mut Cursor<'_>) -> Result<String, String> {
    if !cursor.take('"') {
        return Err("a text in double quotes".to_owned());
    }
    let mut out = String::new();
    let mut escaped = false;
    for (offset, c) in cursor.rest().char_indices() {
        match c {
            _ if escaped => {
                escaped = false;
                out.push(match c {
                    'n' => '\n',
                    't' => '\t',
                    other => other,
                });
            }
            '\\' => escaped = true,
            '"' => {
                cursor.at += offset + 1;
                return Ok(out);
            }
            other => out.push(other),
        }
    }
    Err("the text's end quote is missing".to_owned())
}
