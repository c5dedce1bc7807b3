//! The table of what buckets can answer, in `docs/formats/tiers.md`, is what the code decides.

use super::FUNCTIONS;
use crate::{
    promql::ast::ValueType,
    store::{
        Fidelity,
        tsdb::tier::{Column, Columns, Shape, fidelity, shape_of},
    },
};
use std::fmt::Write;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/formats/tiers.md");
const MARKS: [&str; 2] = ["<!-- table -->\n", "<!-- end of table -->"];

fn table() -> String {
    let kinds = [
        ("counter", Columns::COUNTER.without(Column::Resets)),
        ("counter that fell", Columns::COUNTER),
        ("gauge", Columns::GAUGE),
        ("unknown", Columns::ALL),
        ("histogram", Columns::HISTOGRAMS),
        ("gauge histogram", Columns::GAUGE_HISTOGRAMS),
    ];
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let mut out = format!("| function | {} |\n|---{}|\n", names.join(" | "), "|---".repeat(kinds.len()));
    let over_ranges = FUNCTIONS.iter().filter(|function| function.arguments.contains(&ValueType::Matrix));
    let shapes = over_ranges.map(|function| (format!("`{}`", function.name), shape_of(Some(function.name), 1)));
    for (name, shape) in [("an instant selector".to_owned(), Shape::Instant)].into_iter().chain(shapes) {
        write!(out, "| {name} |").unwrap();
        for (_, columns) in kinds {
            let word = if fidelity(shape, columns, true) == Fidelity::Exact { "exact" } else { "approximate" };
            write!(out, " {word} |").unwrap();
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_page_has_the_table_that_the_code_decides_by() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(MARKS[0]).unwrap();
    let (found, after) = rest.split_once(MARKS[1]).unwrap();
    let expected = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(PAGE, [before, MARKS[0], &expected, MARKS[1], after].concat()).unwrap();
    }
    assert_eq!(found, expected, "run it once with UPDATE_DOCS=1");
}

#[test]
fn what_is_exact_is_widened_where_windows_cut_buckets() {
    assert_eq!(fidelity(shape_of(Some("rate"), 1), Columns::COUNTER, false), Fidelity::Widened);
    assert_eq!(fidelity(shape_of(Some("rate"), 1), Columns::GAUGE, false), Fidelity::Approximate);
    assert_eq!(shape_of(Some("abs"), 0), Shape::Instant);
    assert_eq!(shape_of(None, 1), Shape::Values);
}
