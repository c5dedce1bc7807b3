//! The text format 0.0.4, as scrapers read it.

use crate::model::{Labels, METRIC_NAME, Timestamp, number::format_general};
use axum::http::{HeaderMap, header};
use std::fmt::Write;

/// The last sample of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    pub labels: Labels,
    pub at: Timestamp,
    pub value: f64,
}

impl Newest {
    /// Empty where it has none.
    pub fn name(&self) -> &str {
        self.labels.metric_name().unwrap_or_default()
    }
}

/// What becomes of names that have other characters than letters, digits, `_` and, of metrics, `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Each such character becomes `_`.
    Underscored,
    /// They are written as they are, in quotes.
    Quoted,
}

impl Names {
    /// What the client reads, by its `Accept`.
    pub fn asked_for(headers: &HeaderMap) -> Names {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let is_text = |part: &&str| part.trim_start().starts_with("text/plain");
        let quoted = |part: &str| part.split(';').any(|term| term.trim().replace(' ', "") == "escaping=allow-utf-8");
        match values.flat_map(|value| value.split(',')).filter(is_text).any(quoted) {
            true => Names::Quoted,
            false => Names::Underscored,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Names::Underscored => "text/plain; version=0.0.4; charset=utf-8",
            Names::Quoted => "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        }
    }
}

/// Writes `found`, which is in the order of names, as families of unknown type. Series without a name have no place.
/// Each gets the `external` labels that it has none of its own of, and an `instance`, be it empty: without that, who
/// scrapes them would put in its own.
pub fn write_untyped(found: &[Newest], external: &[(String, String)], names: Names) -> String {
    let mut out = String::with_capacity(found.len() * 128);
    let mut family = "";
    for newest in found.iter().filter(|newest| !newest.name().is_empty()) {
        let name = newest.name();
        if name != family {
            out.push_str("# TYPE ");
            push_name(&mut out, name, names, true);
            out.push_str(" untyped\n");
            family = name;
        }
        let quoted = names == Names::Quoted && !is_plain(name, true);
        if !quoted {
            push_name(&mut out, name, names, true);
        }
        out.push('{');
        if quoted {
            push_name(&mut out, name, names, true);
            out.push(',');
        }
        let own = newest.labels.iter().filter(|(label, _)| *label != METRIC_NAME);
        let lacks = |label: &str| newest.labels.get(label).is_none();
        let added = external.iter().map(|(label, value)| (label.as_str(), value.as_str())).filter(|(l, _)| lacks(l));
        let is_external = external.iter().any(|(label, _)| label == INSTANCE);
        let instance = (lacks(INSTANCE) && !is_external).then_some((INSTANCE, ""));
        for (index, (label, value)) in own.chain(added).chain(instance).enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_name(&mut out, label, names, false);
            out.push_str("=\"");
            push_escaped(&mut out, value);
            out.push('"');
        }
        // Writing to a text cannot fail.
        let _ = writeln!(out, "}} {} {}", format_general(newest.value), newest.at);
    }
    out
}

const INSTANCE: &str = "instance";

/// Only names of metrics may have colons.
fn is_plain(name: &str, is_metric: bool) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit()) && name.chars().all(|c| is_plain_char(c, is_metric))
}

fn is_plain_char(c: char, is_metric: bool) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || (c == ':' && is_metric)
}

fn push_name(out: &mut String, name: &str, names: Names, is_metric: bool) {
    match names {
        _ if is_plain(name, is_metric) => out.push_str(name),
        Names::Quoted => {
            out.push('"');
            push_escaped(out, name);
            out.push('"');
        }
        Names::Underscored => out.extend(name.char_indices().map(|(index, c)| {
            let is_leading_digit = index == 0 && c.is_ascii_digit();
            if is_plain_char(c, is_metric) && !is_leading_digit { c } else { '_' }
        })),
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(pairs: &[(&str, &str)], value: f64) -> Newest {
        Newest { labels: Labels::from_pairs(pairs.iter().copied()).unwrap(), at: 1_500, value }
    }

    #[test]
    fn families_carry_their_labels_the_external_ones_and_an_instance() {
        let found = [
            newest(&[("job", "nameless")], 1.0),
            newest(&[("__name__", "a"), ("Zone", "z"), ("site", "own")], 1e6),
            newest(&[("__name__", "a"), ("instance", "i\"\\\n")], f64::NAN),
            newest(&[("__name__", "b")], -0.5),
        ];
        let external = [("site".to_owned(), "here".to_owned())];
        let expected = "# TYPE a untyped\n\
             a{Zone=\"z\",site=\"own\",instance=\"\"} 1e+06 1500\n\
             a{instance=\"i\\\"\\\\\\n\",site=\"here\"} NaN 1500\n\
             # TYPE b untyped\n\
             b{site=\"here\",instance=\"\"} -0.5 1500\n";
        assert_eq!(write_untyped(&found, &external, Names::Underscored), expected);
        let external = [("instance".to_owned(), "us".to_owned())];
        let text = write_untyped(&found[3..], &external, Names::Underscored);
        assert_eq!(text, "# TYPE b untyped\nb{instance=\"us\"} -0.5 1500\n");
        assert_eq!(write_untyped(&[], &[], Names::Quoted), "");
    }

    #[test]
    fn other_characters_in_names_are_quoted_for_those_who_read_that() {
        let found = [newest(&[("__name__", "http.größe"), ("a.b", "c"), ("instance", "i")], 1.0)];
        let text = write_untyped(&found, &[], Names::Underscored);
        assert_eq!(text, "# TYPE http_gr__e untyped\nhttp_gr__e{a_b=\"c\",instance=\"i\"} 1 1500\n");
        let text = write_untyped(&found, &[], Names::Quoted);
        assert_eq!(text, "# TYPE \"http.größe\" untyped\n{\"http.größe\",\"a.b\"=\"c\",instance=\"i\"} 1 1500\n");
        let found = [newest(&[("__name__", "9:a"), ("b:c", "d"), ("instance", "i")], 1.0)];
        let text = write_untyped(&found, &[], Names::Underscored);
        assert_eq!(text, "# TYPE _:a untyped\n_:a{b_c=\"d\",instance=\"i\"} 1 1500\n");
    }

    #[test]
    fn what_a_client_reads_is_in_its_accept_header() {
        let asked = |accept: &str| Names::asked_for(&HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]));
        assert_eq!(
            asked("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"),
            Names::Underscored
        );
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2";
        assert_eq!(asked(three), Names::Quoted);
        assert_eq!(Names::asked_for(&HeaderMap::new()), Names::Underscored);
    }
}
