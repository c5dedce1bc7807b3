//! `observatory delete`: from a running server, or from a data directory without one.

use super::{arguments::Delete, client::Client, dispatch::Failure};
use crate::{
    api::parse_time,
    app::Offline,
    model::{TimeRange, Timestamp},
    promql::parser::parse_selector,
    stdx::{cancel::Cancel, size::format_bytes},
    store::{DeletePlan, Deletion, Upkeep, backup::stamp},
};
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
};

/// Series that are named before the question.
const LISTED: usize = 20;

/// Says what would go, asks, deletes.
pub fn delete(arguments: &Delete) -> Result<(), Failure> {
    let place = Place::open(arguments)?;
    let plan = place.plan()?;
    println!("{}", text(&plan));
    if plan.series == 0 || arguments.dry_run {
        return Ok(());
    }
    if !arguments.yes && !is_agreed()? {
        return Err(Failure::wrong("nothing was deleted"));
    }
    place.delete()?;
    println!("Deleted. The bytes on disk go when blocks are merged; `observatory storage compact` does it now.");
    Ok(())
}

enum Place {
    Server(Box<Client>, Vec<(&'static str, String)>),
    Directory(Box<Offline>, Deletion),
}

impl Place {
    fn open(arguments: &Delete) -> Result<Place, Failure> {
        let mut selectors = Vec::new();
        for text in &arguments.selectors {
            selectors.push(parse_selector(text).map_err(|error| Failure::wrong(format!("{text}: {error}")))?);
        }
        let time = |name: &str, text: &Option<String>, default: Timestamp| match text {
            None => Ok(default),
            Some(text) => parse_time(text).map_err(|problem| Failure::wrong(format!("--{name}: {problem}"))),
        };
        let (from, to) = (time("from", &arguments.from, i64::MIN)?, time("to", &arguments.to, i64::MAX)?);
        let range = TimeRange::new(from, to).ok_or_else(|| Failure::wrong("--to is before --from"))?;
        if let Some(data) = &arguments.place.data_dir {
            let offline = Offline::open(data, None).map_err(|error| Failure::failed(format!("{error:#}")))?;
            return Ok(Place::Directory(Box::new(offline), Deletion { selectors, range }));
        }
        let mut fields: Vec<(&str, String)> =
            arguments.selectors.iter().map(|text| ("match[]", text.clone())).collect();
        let given = [("start", &arguments.from), ("end", &arguments.to)];
        fields.extend(given.into_iter().filter_map(|(name, text)| Some((name, text.clone()?))));
        Ok(Place::Server(Box::new(Client::of(&arguments.place.server)?), fields))
    }

    fn plan(&self) -> Result<DeletePlan, Failure> {
        match self {
            Place::Directory(offline, deletion) => {
                let plan = offline.store.plan_delete(deletion, LISTED, &Cancel::new());
                plan.map_err(|error| Failure::failed(error.to_string()))
            }
            Place::Server(client, fields) => {
                let limit = LISTED.to_string();
                let fields = with(fields, [("limit", limit.as_str())]);
                client.post_form("admin/storage/delete_plan", &fields).and_then(super::client::read)
            }
        }
    }

    fn delete(&self) -> Result<(), Failure> {
        match self {
            Place::Directory(offline, deletion) => {
                offline.store.delete(deletion).map_err(|error| Failure::failed(error.to_string()))
            }
            Place::Server(client, fields) => client.post_form("admin/storage/delete", &with(fields, [])).map(drop),
        }
    }
}

fn with<'a, const N: usize>(
    fields: &'a [(&'static str, String)],
    more: [(&'a str, &'a str); N],
) -> Vec<(&'a str, &'a str)> {
    fields.iter().map(|(name, value)| (*name, value.as_str())).chain(more).collect()
}

/// What would go, for a person.
fn text(plan: &DeletePlan) -> String {
    let (Some(oldest), Some(newest)) = (plan.oldest_ms, plan.newest_ms) else {
        return "Nothing passes: nothing would be deleted.".to_owned();
    };
    let mut out = String::new();
    for labels in &plan.labels {
        let _ = writeln!(out, "  {labels}");
    }
    let more = plan.series.saturating_sub(plan.labels.len() as u64);
    if more > 0 {
        let _ = writeln!(out, "  and {more} more");
    }
    let count = |number: u64, one: &str, many: &str| format!("{number} {}", if number == 1 { one } else { many });
    let runs = match plan.runs {
        0 => String::new(),
        runs => format!(", {}", count(runs, "value that holds", "values that hold")),
    };
    let buckets = match plan.buckets {
        0 => String::new(),
        buckets => format!(", {}", count(buckets, "bucket", "buckets")),
    };
    let _ = write!(
        out,
        "{}: {}{buckets}{runs}, from {} to {}, about {} in {}",
        count(plan.series, "series", "series"),
        count(plan.samples, "sample", "samples"),
        stamp(oldest),
        stamp(newest),
        format_bytes(plan.bytes),
        count(plan.blocks, "block", "blocks")
    );
    out
}

fn is_agreed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::wrong(
            "nothing was deleted: nobody is there to ask; say --yes, or --dry-run to look only",
        ));
    }
    let failed = |cause: io::Error| Failure::failed(cause.to_string());
    print!("Delete this for good? [y/N] ");
    io::stdout().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(["y", "yes"].contains(&line.trim().to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_reads_as_a_sentence() {
        let plan = DeletePlan {
            series: 3,
            samples: 1,
            buckets: 0,
            runs: 1,
            oldest_ms: Some(0),
            newest_ms: Some(60_000),
            bytes: 10,
            blocks: 2,
            labels: vec!["up{job=\"a\"}".to_owned()],
        };
        let expected = "  up{job=\"a\"}\n  and 2 more\n3 series: 1 sample, 1 value that holds, from 19700101T000000Z to \
                        19700101T000100Z, about 10 B in 2 blocks";
        assert_eq!(text(&plan), expected);
        assert!(text(&DeletePlan::default()).starts_with("Nothing"));
    }
}
