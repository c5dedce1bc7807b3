//! `observatory sonar sync` and `observatory sonar status`: of a running server.

use super::{
    arguments::{SonarCommand, SonarStatus, SonarSync},
    client::{Client, read},
    dispatch::Failure,
    plain::plain,
    storage::{follow, print},
};
use crate::jobs::JobState;
use serde_json::Value;
use std::fmt::Write;

/// Rows of the table of projects, unless all are asked for as JSON.
const ROWS_MAX: usize = 200;

/// Asks the server to sync, or how its syncs stand.
pub fn sonar(command: &SonarCommand) -> Result<(), Failure> {
    match command {
        SonarCommand::Sync(arguments) => sync(arguments),
        SonarCommand::Status(arguments) => status(arguments),
    }
}

fn sync(arguments: &SonarSync) -> Result<(), Failure> {
    let client = Client::of(&arguments.place)?;
    let fields = [("since", &arguments.since), ("project", &arguments.project)];
    let fields: Vec<(&str, &str)> =
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect();
    let mut answer = client.ask("sonar/sync", &fields)?;
    if answer["status"] != "success" {
        return Err(Failure::failed(answer["error"].as_str().unwrap_or("the server refuses").to_owned()));
    }
    let job = follow(&client, read(answer["data"].take())?)?;
    match job.state {
        JobState::Done => print(&format!("{}\n", job.message)),
        JobState::Cancelled => Err(Failure::failed("it was cancelled; what is stored stays, and the next one goes on")),
        _ => Err(Failure::failed(format!("the sync failed: {}", job.message))),
    }
}

fn status(arguments: &SonarStatus) -> Result<(), Failure> {
    let client = Client::of(&arguments.place)?;
    let status = client.get("sonar/status")?;
    let projects = client.get("sonar/projects")?;
    if arguments.json {
        let both = serde_json::json!({ "status": status, "projects": projects["projects"] });
        let text = serde_json::to_string_pretty(&both).map_err(|cause| Failure::failed(cause.to_string()))?;
        return print(&format!("{text}\n"));
    }
    print(&table(&status, &projects))
}

fn table(status: &Value, projects: &Value) -> String {
    let mut out = String::new();
    let moment = |value: &Value| {
        let at = value.as_i64().and_then(|ms| time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000)).ok());
        let print = |at: time::OffsetDateTime| {
            let (hour, minute, second) = at.to_hms();
            format!("{} {hour:02}:{minute:02}:{second:02}Z", at.date())
        };
        at.map_or_else(|| "never".to_owned(), print)
    };
    // Writing to a text cannot fail.
    if status["is_configured"] != true {
        let _ = writeln!(out, "no `sonar:` is configured; name its `organization` or `projects` in the config");
    } else {
        let _ = writeln!(out, "server        {}", status["url"].as_str().unwrap_or_default());
        let _ = writeln!(out, "last success  {}", moment(&status["success_ms"]));
        let _ = writeln!(out, "next sync     {}", moment(&status["next_ms"]));
        let _ = writeln!(out, "calls left    {} of {} an hour", status["calls_left"], status["calls_per_hour"]);
    }
    let problems = status["problems"].as_array().map_or(&[][..], Vec::as_slice);
    for problem in problems {
        let text = |name: &str| plain(problem[name].as_str().unwrap_or_default());
        let _ = writeln!(out, "problem       {} {} {}", text("project"), text("branch"), text("message"));
    }
    let rows = projects["projects"].as_array().map_or(&[][..], Vec::as_slice);
    if !rows.is_empty() {
        let _ = writeln!(out, "\n{:<40} {:<24} {:<6} stored until", "project", "branch", "gate");
    }
    for project in rows.iter().take(ROWS_MAX) {
        for branch in project["branches"].as_array().map_or(&[][..], Vec::as_slice) {
            let text = |value: &Value| plain(value.as_str().unwrap_or("-"));
            let (name, gate) = (text(&branch["name"]), text(&branch["gate"]));
            let stored = moment(&branch["stored_ms"]);
            let _ = writeln!(out, "{:<40} {name:<24} {gate:<6} {stored}", text(&project["key"]));
        }
    }
    if rows.len() > ROWS_MAX {
        let _ = writeln!(out, "and {} projects more; --json has all", rows.len() - ROWS_MAX);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_says_what_is_stored_and_what_is_wrong() {
        let status = json!({"is_configured": true, "url": "https://sonarcloud.io", "success_ms": 1_769_868_000_000i64,
            "next_ms": null, "calls_left": 5, "calls_per_hour": 10,
            "problems": [{"project": "a", "message": "is not\u{1b}[2J there"}]});
        let projects =
            json!({"projects": [{"key": "a", "branches": [{"name": "main", "gate": "OK", "stored_ms": 0}]}]});
        let table = table(&status, &projects);
        for said in
            ["2026-01-31 14:00:00Z", "never", "5 of 10 an hour", "is not\u{fffd}[2J there", "1970-01-01 00:00:00Z"]
        {
            assert!(table.contains(said), "{said} in\n{table}");
        }
        assert!(super::table(&json!({"is_configured": false}), &json!({})).contains("no `sonar:`"));
    }
}
