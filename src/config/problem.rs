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
