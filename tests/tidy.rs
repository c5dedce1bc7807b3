//! The house rules, checked on the text of the repository: floors, doors, sizes, module docs, words, links.
//!
//! Exceptions are lists in this file. They only shrink.

#![allow(clippy::unwrap_used, reason = "in a test, the place it stopped says what failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which room stands on which floor: a file imports from its own room or from a lower floor.
const FLOORS: &[(&str, u32)] = &[
    ("stdx", 0),
    ("model", 1),
    ("telemetry", 1),
    ("store", 2),
    ("protocol", 2),
    ("promql", 3),
    ("ingest", 3),
    ("mailbox", 3),
    ("jobs", 3),
    ("logs", 3),
    ("traces", 3),
    ("errors", 3),
    ("auth", 3),
    ("scrape", 4),
    ("hosts", 4),
    ("rules", 4),
    ("alerts", 4),
    ("sonar", 4),
    ("peers", 4),
    ("api", 5),
    ("web", 5),
    ("config", 6),
    ("app", 7),
    ("cli", 8),
    ("main", 9),
];

/// Without their tests.
const LINES_MAX: usize = 800;
const LINES_NINE_IN_TEN: usize = 450;
const LINES_MEDIAN: usize = 200;

/// Tables: longer than a file of code may be.
const TABLES: &[&str] = &[];

/// Doors that hold more than docs, modules and names, with the reason.
const DOORS_WITH_CONTENT: &[(&str, &str)] = &[
    ("src/promql/functions/mod.rs", "the table of functions is what the room is about"),
    ("src/protocol/exposition/mod.rs", "the shape of what is read, which every file below gives or takes"),
];

/// A door may name a trait or a plain type that the room is about: so many lines that are neither docs, attributes,
/// `mod` nor `use`, and so many functions with a body (a `Default`, say).
const DOOR_LINES_MAX: usize = 40;
const DOOR_FUNCTIONS_MAX: usize = 1;

/// A crate and the only places that may name it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("redb", &["src/store/kv"]),
    ("anyhow", &["src/cli", "src/app", "src/main.rs"]),
    ("tsink", &["src/store/tsink"]),
    ("redis", &["src/mailbox"]),
];

/// Names of files that say nothing about what is in them.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

/// What has no place in a finished tree: in code, unfinished work; anywhere, how it came to be and whose machine it was.
const BANNED_IN_CODE: &[&str] = &["todo!", "unimplemented!", "dbg!", "#[ignore", "panic!(\"not implemented"];
const BANNED: &[&str] = &[
    "FIXME",
    "TODO",
    "XXX:",
    "HACK:",
    "/work/",
    "/home/",
    "/Users/",
    "/root/",
    "claude",
    "anthropic",
    "chatgpt",
    "openai",
    "subagent",
    "language model",
    "as requested",
    "the brief",
    "worktree",
];

/// File and banned word that may be there, with the reason.
const WORD_EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Folders that are built or installed, not written.
const NOT_OURS: &[&str] = &["target", ".git", "observatory-data", "node_modules"];

/// Text that others wrote.
const OF_OTHERS: &[&str] = &["Cargo.lock", "LICENSE", "assets/ui", "web/package-lock.json", "tests/tidy.rs"];

struct Source {
    /// From the project's top, with `/`.
    path: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn all_files(below: &str, extension: &str) -> Vec<Source> {
    let mut files = Vec::new();
    let mut open = vec![root().join(below)];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if NOT_OURS.contains(&name.as_str()) || path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if name.ends_with(extension)
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
                files.push(Source { path, text });
            }
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    files
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} found:\n{}", problems.len(), problems.join("\n"));
}

/// The room of a file below `src`; `lib.rs` has none.
fn room(path: &str) -> Option<&str> {
    let rest = path.strip_prefix("src/")?;
    match rest.split_once('/') {
        Some((room, _)) => Some(room),
        None => rest.strip_suffix(".rs").filter(|name| *name != "lib"),
    }
}

fn floor(room: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// The text without comments, so that a doc may name what the code may not use.
fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

/// The rooms named by `crate::room`, `beast_observatory::room` and `use crate::{room::x, other::{y}}`.
fn crate_paths(text: &str) -> Vec<String> {
    let code = without_comments(text);
    let mut rooms = Vec::new();
    for prefix in ["crate::", "beast_observatory::"] {
        for (at, _) in code.match_indices(prefix) {
            let part_of_longer =
                code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$');
            if !part_of_longer {
                first_segments(&code[at + prefix.len()..], &mut rooms);
            }
        }
    }
    rooms
}

/// The first segment of a path, or of each path in braces.
fn first_segments(text: &str, out: &mut Vec<String>) {
    let Some(inside) = text.trim_start().strip_prefix('{') else {
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        out.push(text[..end].to_owned());
        return;
    };
    let (mut depth, mut begin) = (0, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                push_segment(&inside[begin..at], out);
                return;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                push_segment(&inside[begin..at], out);
                begin = at + 1;
            }
            _ => {}
        }
    }
}

fn push_segment(text: &str, out: &mut Vec<String>) {
    if !text.trim().is_empty() {
        first_segments(text.trim_start(), out);
    }
}

/// As many `super::` as the file is deep lead to the crate's root, and to another room from there.
fn paths_by_super(path: &str, text: &str) -> Vec<String> {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inner.split('/').count();
    let code = without_comments(text);
    let code = code.split("#[cfg(test)]").next().unwrap_or_default();
    let climb = "super::".repeat(depth);
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices(&climb) {
        if !code[..at].ends_with("::") {
            first_segments(&code[at + climb.len()..], &mut rooms);
        }
    }
    rooms
}

#[test]
fn paths_are_read_from_all_forms_of_use() {
    let text = "use crate::{model::{Labels, Matcher}, store};\nuse crate::stdx::clock;\n// crate::api\nlet x = crate::promql::parse(\"\");";
    assert_eq!(crate_paths(text), ["model", "store", "stdx", "promql"]);
    assert_eq!(crate_paths("use beast_observatory::cli;\nmy_crate::nothing"), ["cli"]);
    assert_eq!(paths_by_super("src/model/labels.rs", "use super::super::api::x; use super::Labels;"), ["api"]);
    assert_eq!(paths_by_super("src/store/tsdb/log.rs", "use super::super::StoreError;"), Vec::<String>::new());
}

#[test]
fn imports_go_down_the_floors() {
    let mut problems = Vec::new();
    for source in all_files("src", ".rs") {
        let Some(from) = room(&source.path) else { continue };
        let Some(from_floor) = floor(from) else {
            problems.push(format!(
                "{}: room `{from}` has no floor; add it to FLOORS here and to docs/ARCHITECTURE.md",
                source.path
            ));
            continue;
        };
        for to in crate_paths(&source.text).into_iter().chain(paths_by_super(&source.path, &source.text)) {
            let own = to == from || (from == "main" && to == "cli");
            let macro_or_item = floor(&to).is_none();
            if !own && (macro_or_item || floor(&to).is_some_and(|to_floor| to_floor >= from_floor)) {
                problems.push(format!("{}: `{from}` (floor {from_floor}) may not use `{to}`", source.path));
            }
        }
    }
    report(&problems);
}

#[test]
fn every_file_begins_with_its_story() {
    let mut problems = Vec::new();
    for source in all_files("src", ".rs").into_iter().chain(all_files("tests", ".rs")) {
        if !source.text.starts_with("//! ") {
            problems.push(format!("{}: begin with `//!` and what the file is for", source.path));
        }
    }
    report(&problems);
}

/// Lines before the file's tests.
fn lines_without_tests(text: &str) -> usize {
    let mut lines = text.lines().collect::<Vec<_>>();
    if let Some(at) = lines.windows(2).position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].starts_with("mod "))
    {
        lines.truncate(at);
    }
    lines.len()
}

#[test]
fn files_stay_small() {
    let mut sizes: Vec<(usize, String)> =
        all_files("src", ".rs").into_iter().map(|source| (lines_without_tests(&source.text), source.path)).collect();
    sizes.sort();
    let table = |path: &str| TABLES.contains(&path);
    let too_long: Vec<String> = sizes
        .iter()
        .filter(|(lines, path)| *lines > LINES_MAX && !table(path))
        .map(|(lines, path)| format!("{path}: {lines} lines without its tests, more than {LINES_MAX}"))
        .collect();
    report(&too_long);
    let (median, _) = &sizes[sizes.len() / 2];
    let (ninth, _) = &sizes[sizes.len() * 9 / 10];
    let mut rooms: BTreeMap<&str, usize> = BTreeMap::new();
    for (lines, path) in &sizes {
        *rooms.entry(room(path).unwrap_or("lib")).or_default() += lines;
    }
    println!("{} files, median {median} lines, nine in ten up to {ninth}; by room: {rooms:?}", sizes.len());
    let longest: Vec<_> = sizes.iter().rev().take(12).collect();
    assert!(
        *ninth <= LINES_NINE_IN_TEN,
        "nine in ten files have at most {LINES_NINE_IN_TEN} lines, not {ninth}: {longest:?}"
    );
    assert!(*median <= LINES_MEDIAN, "the median file has at most {LINES_MEDIAN} lines, not {median}");
}

#[test]
fn doors_hold_no_logic() {
    let mut problems = Vec::new();
    for source in
        all_files("src", "/mod.rs").into_iter().chain(all_files("src", "mod.rs")).chain(all_files("src", "lib.rs"))
    {
        let file = source.path.rsplit('/').next().unwrap_or_default();
        if !matches!(file, "mod.rs" | "lib.rs") || DOORS_WITH_CONTENT.iter().any(|(path, _)| *path == source.path) {
            continue;
        }
        let content = door_content(&source.text);
        let bodies = content.iter().filter(|line| line.contains("fn ") && !line.ends_with(';')).count();
        if content.len() > DOOR_LINES_MAX || bodies > DOOR_FUNCTIONS_MAX {
            problems.push(format!(
                "{}: {} lines of content in a door, such as `{}`",
                source.path,
                content.len(),
                content[0]
            ));
        }
    }
    problems.dedup();
    report(&problems);
}

/// What is neither blank, comment, attribute, `mod` nor `use`.
fn door_content(text: &str) -> Vec<&str> {
    let mut content = Vec::new();
    let mut in_use = false;
    for line in text.lines().map(str::trim) {
        let word = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
        in_use |= word.starts_with("use ") || word.starts_with("pub(super) use ");
        let quiet = line.is_empty()
            || line.starts_with("//")
            || line.starts_with("#[")
            || line.starts_with("#![")
            || word.starts_with("mod ");
        if !quiet && !in_use {
            content.push(line);
        }
        in_use &= !line.ends_with(';');
    }
    content
}

#[test]
fn files_have_names_that_say_something() {
    let mut problems = Vec::new();
    for source in all_files("src", "").into_iter().chain(all_files("tests", "")) {
        let empty = |part: &str| EMPTY_NAMES.contains(&part.split('.').next().unwrap_or_default());
        if source.path.split('/').any(empty) {
            problems.push(format!("{}: name it after what is in it", source.path));
        }
    }
    report(&problems);
}

#[test]
fn some_crates_have_one_home() {
    let mut problems = Vec::new();
    for source in all_files("src", ".rs") {
        let code = without_comments(&source.text);
        for (name, homes) in ONLY_IN {
            let used = [format!("{name}::"), format!("use {name};"), format!("use {name} as")];
            let at_home = homes.iter().any(|home| source.path.starts_with(home));
            if !at_home && used.iter().any(|form| names_crate(&code, form)) {
                problems.push(format!("{}: `{name}` belongs to {homes:?} alone", source.path));
            }
        }
    }
    report(&problems);
}

/// Whether `form` occurs where no longer path or name is meant.
fn names_crate(code: &str, form: &str) -> bool {
    code.match_indices(form).any(|(at, _)| {
        form.starts_with("use ")
            || !code[..at].ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before))
    })
}

#[test]
fn no_word_stands_for_unfinished_work_or_for_how_it_was_done() {
    let mut problems = Vec::new();
    for source in all_files("", "") {
        if OF_OTHERS.iter().any(|path| source.path.starts_with(path)) {
            continue;
        }
        let is_code = source.path.ends_with(".rs");
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            let code = BANNED_IN_CODE.iter().filter(|word| is_code && line.contains(*word));
            let any = BANNED.iter().filter(|word| match word.chars().any(char::is_uppercase) {
                true => line.contains(*word),
                false => lower.contains(*word),
            });
            for word in code.chain(any) {
                if !WORD_EXCEPTIONS.iter().any(|(path, excepted, _)| *path == source.path && excepted == word) {
                    problems.push(format!("{}:{}: `{word}`", source.path, number + 1));
                }
            }
        }
    }
    report(&problems);
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut problems = Vec::new();
    let mut in_dependencies = false;
    let mut above = "";
    for line in text.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains('=') && !line.starts_with('#') && !above.starts_with('#') {
            problems.push(format!("Cargo.toml: a comment above `{line}`: what it is here for"));
        }
        above = line;
    }
    report(&problems);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for source in all_files("", ".md") {
        let directory = root().join(&source.path).parent().map(PathBuf::from).unwrap_or_default();
        for (at, _) in source.text.match_indices("](") {
            let rest = &source.text[at + 2..];
            let target = rest.split([')', ' ', '\n']).next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !directory.join(file).exists() {
                problems.push(format!("{}: `{target}` leads nowhere", source.path));
            }
        }
    }
    report(&problems);
}
