//! Matchers: what a selector asks of a label.

use super::Labels;
use regex::{Regex, RegexBuilder};
use std::fmt;

/// The compiled form of one regex may take this much; `x{1000}{1000}` is refused, not executed.
const REGEX_BYTES_MAX: usize = 2 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// As written in PromQL.
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// The regular expression of a matcher does not compile or is too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct MatcherError(String);

/// One condition on one label. An absent label has the empty value.
#[derive(Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    test: Test,
}

#[derive(Clone)]
enum Test {
    Literal,
    /// A regex that only lists texts, such as `a|b`: sorted.
    OneOf(Vec<String>),
    Pattern(Regex),
}

impl Matcher {
    /// Compiles the regex forms, anchored at both ends as in Prometheus.
    pub fn new(op: MatchOp, name: &str, value: &str) -> Result<Matcher, MatcherError> {
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Literal,
            MatchOp::Regex | MatchOp::NotRegex => match alternatives(value) {
                Some(texts) => Test::OneOf(texts),
                None => Test::Pattern(
                    RegexBuilder::new(&format!("^(?s:{value})$"))
                        .size_limit(REGEX_BYTES_MAX)
                        .build()
                        .map_err(|e| MatcherError(e.to_string()))?,
                ),
            },
        };
        Ok(Matcher { name: name.to_owned(), op, value: value.to_owned(), test })
    }

    /// `name="value"`, which cannot fail.
    pub fn equal(name: &str, value: &str) -> Matcher {
        Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned(), test: Test::Literal }
    }

    /// Whether a label with this value passes.
    pub fn matches(&self, value: &str) -> bool {
        let found = match &self.test {
            Test::Literal => self.value == value,
            Test::OneOf(texts) => texts.binary_search_by(|t| t.as_str().cmp(value)).is_ok(),
            Test::Pattern(regex) => regex.is_match(value),
        };
        found == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// Whether a series without the label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether `labels` pass.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or_default())
    }

    /// The only values that can pass, sorted, where the matcher names them: an index looks them up directly.
    pub fn exact_values(&self) -> Option<Vec<&str>> {
        match (&self.op, &self.test) {
            (MatchOp::Equal, _) => Some(vec![&self.value]),
            (MatchOp::Regex, Test::OneOf(texts)) => Some(texts.iter().map(String::as_str).collect()),
            _ => None,
        }
    }
}

/// `a|b|c` without any other regex syntax, as a sorted list.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    if pattern.contains(|c: char| r"\.+*?()[]{}^$".contains(c)) {
        return None;
    }
    let mut texts: Vec<String> = pattern.split('|').map(str::to_owned).collect();
    texts.sort_unstable();
    texts.dedup();
    Some(texts)
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (self.op, &self.name, &self.value) == (other.op, &other.name, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_on_present_and_absent_values() {
        for (op, pattern, value, expected) in [
            (MatchOp::Equal, "a", "a", true),
            (MatchOp::Equal, "", "", true),
            (MatchOp::NotEqual, "a", "", true),
            (MatchOp::Regex, "a|b", "b", true),
            (MatchOp::Regex, "a|b", "ab", false),
            (MatchOp::Regex, "a.*", "xa", false),
            (MatchOp::Regex, "a.c", "a\nc", true),
            (MatchOp::Regex, "", "", true),
            (MatchOp::NotRegex, "a.*", "ab", false),
            (MatchOp::NotRegex, ".+", "", true),
        ] {
            let matcher = Matcher::new(op, "l", pattern).unwrap();
            assert_eq!(matcher.matches(value), expected, "{matcher} on {value:?}");
        }
    }

    #[test]
    fn hostile_regexes_are_refused() {
        assert!(Matcher::new(MatchOp::Regex, "l", "(").is_err());
        assert!(Matcher::new(MatchOp::Regex, "l", "x{1000}{1000}").is_err());
    }
}
