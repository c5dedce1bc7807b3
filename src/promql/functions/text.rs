//! Functions on label texts: templates of `label_replace`, natural order of `sort_by_label`.

use regex::Captures;
use std::cmp::Ordering;

/// Fills `$1`, `$name`, `${name}` and `$$` in a template as Go's regexp does; what is not captured is empty.
pub fn expand(template: &str, captures: &Captures<'_>, out: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = reference(rest) else {
            out.push('$');
            continue;
        };
        let found = match name.parse::<usize>() {
            Ok(number) => captures.get(number),
            Err(_) => captures.name(name),
        };
        out.push_str(found.map_or("", |found| found.as_str()));
        rest = tail;
    }
    out.push_str(rest);
}

/// The name after a `$` and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    if let Some(braced) = text.strip_prefix('{') {
        let (name, tail) = braced.split_once('}')?;
        let valid = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        return valid.then_some((name, tail));
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Orders texts as people do: runs of digits by their number.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_part, a_tail) = split_part(a_rest);
        let (b_part, b_tail) = split_part(b_rest);
        let digits = |part: &str| part.as_bytes()[0].is_ascii_digit();
        let order = if digits(a_part) && digits(b_part) {
            let (x, y) = (a_part.trim_start_matches('0'), b_part.trim_start_matches('0'));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y)).then_with(|| a_part.len().cmp(&b_part.len()))
        } else {
            a_part.cmp(b_part)
        };
        if order != Ordering::Equal {
            return order;
        }
        (a_rest, b_rest) = (a_tail, b_tail);
    }
    a_rest.len().cmp(&b_rest.len())
}

/// The leading run of digits, or of anything else.
fn split_part(text: &str) -> (&str, &str) {
    let digits = text.as_bytes()[0].is_ascii_digit();
    let end = text.bytes().position(|b| b.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn expanded(pattern: &str, text: &str, template: &str) -> String {
        let regex = Regex::new(pattern).unwrap();
        let mut out = String::new();
        expand(template, &regex.captures(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn templates_take_groups_by_number_and_name() {
        assert_eq!(expanded("^(.*)-(?P<tail>.*)$", "a-b", "$1/${tail}/$2/$$"), "a/b/b/$");
        assert_eq!(expanded("^(.*)$", "a", "x$1y|$9|$"), "x||$");
        assert_eq!(expanded("^(.*)$", "a", "${1}y"), "ay");
    }

    #[test]
    fn numbers_in_texts_sort_by_size() {
        let mut texts = ["b10", "b9", "a", "b09", "10", "9"];
        texts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(texts, ["9", "10", "a", "b9", "b09", "b10"]);
    }
}
