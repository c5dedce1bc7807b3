//! Answers as tables and CSV.

use super::outcome::Outcome;
use std::collections::BTreeSet;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// One line a series where each has one point, else one line a point; columns aligned.
pub fn table(outcome: &Outcome) -> String {
    let single = outcome.series.iter().all(|series| series.points.len() <= 1);
    let mut rows: Vec<[String; 3]> = Vec::new();
    for series in &outcome.series {
        let name = series.name();
        for (at, value) in &series.points {
            let time = if single { String::new() } else { rfc3339(*at) };
            rows.push([name.clone(), time, value.clone()]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let (names, times, values) = (width(0), width(1), width(2));
    let mut out = String::new();
    for [name, time, value] in &rows {
        let time = if single { String::new() } else { format!("{time:<times$}  ") };
        out.push_str(&format!("{name:<names$}  {time}{value:>values$}\n"));
    }
    out
}

/// A column for each label, then time and value; RFC 4180.
pub fn csv(outcome: &Outcome) -> String {
    let names: BTreeSet<&str> =
        outcome.series.iter().flat_map(|series| series.labels.iter().map(|(name, _)| name.as_str())).collect();
    let mut out = String::new();
    for name in &names {
        push_cell(&mut out, name);
        out.push(',');
    }
    out.push_str("time,value\n");
    for series in &outcome.series {
        for (at, value) in &series.points {
            for wanted in &names {
                let found = series.labels.iter().find(|(name, _)| name == wanted);
                push_cell(&mut out, found.map_or("", |(_, value)| value));
                out.push(',');
            }
            out.push_str(&rfc3339(*at));
            out.push(',');
            push_cell(&mut out, value);
            out.push('\n');
        }
    }
    out
}

fn push_cell(out: &mut String, text: &str) {
    // A spreadsheet takes what begins so for a formula.
    let formula = text.starts_with(['=', '@']) || (text.starts_with(['+', '-']) && text.parse::<f64>().is_err());
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(&text);
    }
}

/// Seconds since the epoch as RFC 3339, to the millisecond.
pub fn rfc3339(seconds: f64) -> String {
    let ms = (seconds * 1000.0).round() as i128;
    let time = OffsetDateTime::from_unix_timestamp_nanos(ms * 1_000_000);
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::outcome::Series, *};

    fn outcome() -> Outcome {
        let series = |job: &str, points: &[(f64, &str)]| Series {
            labels: vec![("__name__".to_owned(), "up".to_owned()), ("job".to_owned(), job.to_owned())],
            points: points.iter().map(|(at, value)| (*at, (*value).to_owned())).collect(),
        };
        Outcome { series: vec![series("a", &[(0.0, "1")]), series("b,\"c\"", &[(1.5, "-20")])], ..Outcome::default() }
    }

    #[test]
    fn tables_are_aligned() {
        assert_eq!(table(&outcome()), "up{job=\"a\"}          1\nup{job=\"b,\\\"c\\\"\"}  -20\n");
        let mut long = outcome();
        long.series[0].points.push((60.0, "2".to_owned()));
        assert!(table(&long).contains("1970-01-01T00:01:00Z      2\n"), "{}", table(&long));
        assert_eq!(table(&Outcome::default()), "");
    }

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        let text = csv(&outcome());
        assert_eq!(
            text,
            "__name__,job,time,value\nup,a,1970-01-01T00:00:00Z,1\nup,\"b,\"\"c\"\"\",1970-01-01T00:00:01.5Z,-20\n"
        );
        let mut cell = String::new();
        push_cell(&mut cell, "=cmd()");
        assert_eq!(cell, "'=cmd()");
    }
}
