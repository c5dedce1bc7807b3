//! What somebody who mistyped a name may have meant.

/// The known name that `written` most resembles, where one is near enough to have been meant.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (distance(written, name), name)).min_by_key(|(distance, _)| *distance)?;
    let allowed = (near.1.len() / 3).clamp(1, 3);
    (near.0 <= allowed).then_some(near.1)
}

/// Up to `most` of `known` that resemble `written`, best first: a few letters apart, or one part of the other.
pub fn similar<'a>(written: &str, known: impl Iterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let letters = written.chars().count();
    let allowed = (letters / 3).clamp(1, 6);
    let rank = |name: &'a str| {
        let others = name.chars().count();
        if letters.abs_diff(others) <= allowed {
            let apart = distance(written, name);
            if apart <= allowed {
                return Some((apart, name));
            }
        }
        // Three letters are in half of all names.
        let part = letters.min(others) > 3 && (name.contains(written) || written.contains(name));
        part.then_some((allowed + letters.abs_diff(others), name))
    };
    let mut ranked: Vec<(usize, &str)> = known.filter_map(rank).collect();
    ranked.sort_unstable();
    ranked.truncate(most);
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Letters to insert, drop, replace or swap with their neighbour to get from one text to the other.
pub fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().take(64).collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for row in 1..=from.len() {
        let mut current = vec![row];
        for column in 1..=to.len() {
            let replaced = above[column - 1] + usize::from(from[row - 1] != to[column - 1]);
            let mut best = replaced.min(above[column] + 1).min(current[column - 1] + 1);
            let swapped = row > 1 && column > 1 && from[row - 1] == to[column - 2] && from[row - 2] == to[column - 1];
            if swapped {
                best = best.min(before[column - 2] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut above, current);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_come_best_first() {
        let known = ["http_requests_total", "http_request_total", "requests", "up", "node_cpu_seconds_total"];
        let found = similar("http_requests_totl", known.into_iter(), 3);
        assert_eq!(found, ["http_requests_total", "http_request_total", "requests"]);
        assert!(similar("zzz", known.into_iter(), 3).is_empty());
        assert_eq!(similar("node_cpu_seconds", known.into_iter(), 3), ["node_cpu_seconds_total"]);
    }

    #[test]
    fn a_slip_finds_the_name_that_was_meant_and_a_stranger_none() {
        let known = ["job_name", "scrape_interval", "listen", "data"];
        for (written, expected) in [
            ("job_nam", Some("job_name")),
            ("scrape_intervall", Some("scrape_interval")),
            ("lsiten", Some("listen")),
            ("dta", Some("data")),
            ("kubernetes", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, known.into_iter()), expected, "{written}");
        }
    }
}
