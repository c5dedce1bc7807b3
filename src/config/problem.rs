//! Mistakes and warnings, each with its place and what to do.

use std::fmt;

/// Something wrong, or not as expected, at one place of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Such as `scrape_configs[0].job_nam`; empty for the whole file.
    pub path: String,
    /// Counted from 1; 0 where unknown.
    pub line: u64,
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// `line 3: scrape_configs[0].job_nam: unknown key; did you mean "job_name"?`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Collects everything that is found, so that a file is read once and mended once.
#[derive(Debug, Default)]
pub struct Problems {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
}

impl Problems {
    pub fn error(&mut self, path: &str, line: u64, message: impl Into<String>) {
        self.errors.push(Problem { path: path.to_owned(), line, message: message.into(), hint: None });
    }

    pub fn error_with_hint(&mut self, path: &str, line: u64, message: impl Into<String>, hint: impl Into<String>) {
        let hint = Some(hint.into());
        self.errors.push(Problem { path: path.to_owned(), line, message: message.into(), hint });
    }

    /// Said once of a key, wherever in a list it stands: fifty jobs with it are one warning.
    pub fn warn(&mut self, path: &str, line: u64, message: impl Into<String>) {
        let message = message.into();
        let is_same =
            |known: &Problem| known.message == message && without_indexes(&known.path) == without_indexes(path);
        if !self.warnings.iter().any(is_same) {
            self.warnings.push(Problem { path: path.to_owned(), line, message, hint: None });
        }
    }

    /// What `work` warns of is not kept; its errors are.
    pub fn without_warnings(&mut self, work: impl FnOnce(&mut Problems)) {
        let kept = self.warnings.len();
        work(self);
        self.warnings.truncate(kept);
    }
}

fn without_indexes(path: &str) -> String {
    path.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// The known name that `written` most resembles, where one is near enough to have been meant.
pub fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|name| (distance(written, name), name)).min_by_key(|(distance, _)| *distance)?;
    let allowed = (near.1.len() / 3).clamp(1, 3);
    (near.0 <= allowed).then_some(near.1)
}

/// Letters to insert, drop, replace or swap with their neighbour to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
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
