//! From the arguments to what is printed.

use super::{
    chart::{Terminal, chart},
    disk::{Disk, Times},
    outcome::Outcome,
    text::{csv, table},
};
use crate::{
    api::{parse_duration, parse_time},
    cli::{
        arguments::{Query, QueryFormat},
        client::Client,
        dispatch::Failure,
    },
    promql::parser::{ParseOptions, parse},
    stdx::clock::{Clock, SystemClock},
};
use serde_json::Value;
use std::io::{IsTerminal, Write};

/// Steps of a range that names none: about one a character of a wide terminal, twice.
const STEPS: i64 = 250;

/// Asks and prints.
pub fn query(arguments: &Query) -> Result<(), Failure> {
    let times = times(arguments)?;
    // Every server understands less than this, so what is wrong here is wrong there.
    if let Err(error) = parse(&arguments.expression, &ParseOptions::all()) {
        return Err(Failure::wrong(error.with_caret(&arguments.expression)));
    }
    let format = arguments.format.unwrap_or(QueryFormat::Table);
    // For people: from what it was read. Other formats show what the server answers to anybody.
    let stats = matches!(format, QueryFormat::Table | QueryFormat::Chart);
    let (json, outcome, reasons) = match &arguments.place.data_dir {
        Some(directory) => {
            let disk = Disk::open(directory)?;
            let (json, outcome) = disk.ask(&arguments.expression, times, stats)?;
            let reasons = if outcome.is_empty() { disk.reasons(&arguments.expression, times) } else { vec![] };
            (json, outcome, reasons)
        }
        None => ask_server(arguments, times, stats)?,
    };
    for note in outcome.warnings.iter().chain(&outcome.infos) {
        eprintln!("observatory: {note}");
    }
    outcome.tiers.iter().for_each(|tier| eprintln!("observatory: {tier}"));
    if outcome.is_empty() && format != QueryFormat::Json {
        eprintln!("observatory: the answer is empty");
        reasons.iter().for_each(|reason| eprintln!("  {reason}"));
    }
    let text = match format {
        QueryFormat::Table => table(&outcome),
        QueryFormat::Csv => csv(&outcome),
        QueryFormat::Json => json + "\n",
        QueryFormat::Chart if outcome.is_empty() => String::new(),
        QueryFormat::Chart => chart(&outcome, terminal()),
    };
    // A reader that has seen enough, such as `head`, closes the pipe: no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn times(arguments: &Query) -> Result<Times, Failure> {
    let named = |name: &str, problem: String| Failure::wrong(format!("--{name}: {problem}"));
    let end_ms = match &arguments.time {
        None => SystemClock.now_ms(),
        Some(text) => parse_time(text).map_err(|problem| named("time", problem))?,
    };
    let duration = |name: &str, text: &str| {
        let ms = parse_duration(text).map_err(|problem| named(name, problem))?;
        if ms > 0 { Ok(ms) } else { Err(named(name, format!("{text} is not longer than nothing"))) }
    };
    let Some(range) = &arguments.range else {
        return Ok(Times { start_ms: end_ms, end_ms, step_ms: None });
    };
    let range_ms = duration("range", range)?;
    let step_ms = match &arguments.step {
        Some(step) => duration("step", step)?,
        None => (range_ms / STEPS / 1000 * 1000).max(1000),
    };
    Ok(Times { start_ms: end_ms.saturating_sub(range_ms), end_ms, step_ms: Some(step_ms) })
}

fn ask_server(arguments: &Query, times: Times, stats: bool) -> Result<(String, Outcome, Vec<String>), Failure> {
    let server = Client::of(&arguments.place.server)?;
    let seconds = |ms: i64| format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000));
    let (start, end) = (seconds(times.start_ms), seconds(times.end_ms));
    let step = seconds(times.step_ms.unwrap_or_default());
    let query = arguments.expression.as_str();
    let (path, mut fields) = match times.step_ms {
        None => ("query", vec![("query", query), ("time", &end)]),
        Some(_) => ("query_range", vec![("query", query), ("start", &start), ("end", &end), ("step", &step)]),
    };
    if stats {
        fields.push(("stats", "all"));
    }
    let answer = server.ask(path, &fields)?;
    if answer["status"] != "success" {
        return Err(refused(query, &answer));
    }
    let outcome = Outcome::read(&answer).ok_or_else(|| {
        Failure::failed(format!("{} gives an answer that is none of a query", arguments.place.server.url))
    })?;
    let reasons = if outcome.is_empty() && arguments.format != Some(QueryFormat::Json) {
        // Another Prometheus-compatible server cannot tell.
        server.ask("explain", &fields).map_or_else(|_| vec![], |explained| messages(&explained))
    } else {
        vec![]
    };
    Ok((answer.to_string(), outcome, reasons))
}

fn messages(explained: &Value) -> Vec<String> {
    let reasons = explained["data"]["reasons"].as_array().map_or(&[][..], Vec::as_slice);
    reasons.iter().filter_map(|reason| reason["message"].as_str().map(str::to_owned)).collect()
}

/// What the server says is wrong; with a caret where it says the place.
fn refused(query: &str, answer: &Value) -> Failure {
    let message = answer["error"].as_str().unwrap_or("the server refused the query and did not say why");
    let wrong = answer["errorType"] == "bad_data";
    let position = message.split_once("\": ").map_or(message, |(_, rest)| rest);
    let mut numbers = position.splitn(3, ':').map_while(|part| part.trim().parse::<usize>().ok());
    let message = match (numbers.next(), numbers.next()) {
        (Some(line), Some(column)) => {
            let text = query.lines().nth(line.saturating_sub(1)).unwrap_or_default();
            format!("{message}\n{text}\n{:>column$}", "^")
        }
        _ => message.to_owned(),
    };
    if wrong { Failure::wrong(message) } else { Failure::failed(message) }
}

fn terminal() -> Terminal {
    let size = terminal_size::terminal_size();
    let (columns, rows) = size.map_or((80, 24), |(width, height)| (usize::from(width.0), usize::from(height.0)));
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Terminal { columns, rows, colours }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn refusals_point_at_the_place_they_name() {
        let refusal = refused(
            "sum(\nrate(x)",
            &json!({ "errorType": "bad_data", "error": "invalid parameter \"query\": 2:6: parse error: no" }),
        );
        assert_eq!(refusal.code, 2);
        assert!(refusal.message.ends_with("\nrate(x)\n     ^"), "{}", refusal.message);
        let late = refused("x", &json!({ "errorType": "timeout", "error": "query timed out in query queue" }));
        assert_eq!((late.code, late.message.as_str()), (1, "query timed out in query queue"));
    }
}
