//! Grouping keys: `job/<job>{/<label>/<value>}` with the base64 forms.

use base64::{
    DecodeError, Engine,
    alphabet::URL_SAFE,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// Names a value that is base64 in its URL-safe alphabet, which is how a slash or nothing gets into a path.
const BASE64_SUFFIX: &str = "@base64";
/// Labels of a grouping key: as many as a series may have.
const LABELS_MAX: usize = 64;

/// As forgiving as Go's decoder: bits after the last whole byte are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone),
);

/// A path that is no grouping key; all are answered with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupingError {
    #[error("job name is required")]
    JobMissing,
    #[error("invalid URL escape \"{0}\"")]
    Escape(String),
    #[error("a grouping label is not UTF-8")]
    Utf8,
    #[error(
        "odd number of components in label string \"{0}\"; a value with a slash in it must be sent as \
         /<label>@base64/<value in base64>"
    )]
    OddComponents(String),
    #[error("improper label name \"{0}\"")]
    LabelName(String),
    #[error("invalid base64 encoding in job name \"{job}\": illegal base64 data at input byte {at}")]
    JobBase64 { job: String, at: usize },
    #[error("invalid base64 encoding for label {name}=\"{value}\": illegal base64 data at input byte {at}")]
    LabelBase64 { name: String, value: String, at: usize },
    #[error("a grouping key has {0} labels, the limit is {LABELS_MAX}")]
    TooManyLabels(usize),
}

/// The labels that identify a push group, sorted by name, `job` among them. Values may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Grouping {
    labels: Vec<(String, String)>,
}

impl Grouping {
    /// Reads the part of a request's path after `/metrics/`, still percent-encoded: `job/a/instance/b`.
    pub fn from_path(path: &str) -> Result<Grouping, GroupingError> {
        // Decoded before it is split, as the Pushgateway does: an encoded slash separates like a bare one.
        let path = percent_decode(path)?;
        let (key, rest) = path.split_once('/').unwrap_or((&path, ""));
        let (job, labels) = match rest.split_once('/') {
            Some((job, labels)) => (job, Some(labels)),
            None => (rest, None),
        };
        let job = match key {
            "job" => job.to_owned(),
            "job@base64" => decode_base64(job)?.map_err(|at| GroupingError::JobBase64 { job: job.to_owned(), at })?,
            _ => return Err(GroupingError::JobMissing),
        };
        let mut pairs = match labels {
            None | Some("") => Vec::new(),
            Some(labels) => split_labels(labels)?,
        };
        if job.is_empty() {
            return Err(GroupingError::JobMissing);
        }
        set(&mut pairs, "job", job);
        Grouping::from_sorted_checked(pairs)
    }

    /// A grouping key from labels. Names must be plain label names, and `job` must be there and not empty.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Grouping, GroupingError> {
        let mut pairs = Vec::new();
        for (name, value) in labels {
            check_label_name(name)?;
            set(&mut pairs, name, value.to_owned());
        }
        match pairs.iter().any(|(name, value)| name == "job" && !value.is_empty()) {
            true => Grouping::from_sorted_checked(pairs),
            false => Err(GroupingError::JobMissing),
        }
    }

    fn from_sorted_checked(mut pairs: Vec<(String, String)>) -> Result<Grouping, GroupingError> {
        if pairs.len() > LABELS_MAX {
            return Err(GroupingError::TooManyLabels(pairs.len()));
        }
        pairs.sort();
        Ok(Grouping { labels: pairs })
    }

    /// Name and value pairs in order of name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a label; an empty one is not an absent one here.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.labels.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        Some(&self.labels[found].1)
    }
}

/// Sets a label; the last of a name wins.
fn set(pairs: &mut Vec<(String, String)>, name: &str, value: String) {
    match pairs.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => pair.1 = value,
        None => pairs.push((name.to_owned(), value)),
    }
}

fn split_labels(labels: &str) -> Result<Vec<(String, String)>, GroupingError> {
    let parts: Vec<&str> = labels.split('/').collect();
    let (pairs, []) = parts.as_chunks::<2>() else {
        return Err(GroupingError::OddComponents(format!("/{labels}")));
    };
    let mut found = Vec::new();
    for [key, value] in pairs {
        let name = key.strip_suffix(BASE64_SUFFIX).unwrap_or(key);
        check_label_name(name)?;
        let value = match name.len() == key.len() {
            true => (*value).to_owned(),
            false => decode_base64(value)?.map_err(|at| GroupingError::LabelBase64 {
                name: name.to_owned(),
                value: (*value).to_owned(),
                at,
            })?,
        };
        set(&mut found, name, value);
    }
    Ok(found)
}

fn check_label_name(name: &str) -> Result<(), GroupingError> {
    let mut bytes = name.bytes();
    let plain = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with("__");
    if plain { Ok(()) } else { Err(GroupingError::LabelName(name.to_owned())) }
}

/// Decodes with or without padding; the inner error is the byte at which it fails.
fn decode_base64(text: &str) -> Result<Result<String, usize>, GroupingError> {
    let bare = text.trim_end_matches('=');
    match BASE64.decode(bare) {
        Ok(bytes) => Ok(Ok(String::from_utf8(bytes).map_err(|_| GroupingError::Utf8)?)),
        Err(DecodeError::InvalidByte(at, _)) => Ok(Err(at)),
        Err(_) => Ok(Err(bare.len())),
    }
}

/// Undoes `%41`; a `+` stays what it is.
fn percent_decode(text: &str) -> Result<String, GroupingError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = tail.split_first_chunk::<2>().and_then(|(digits, tail)| {
            let digit = |at: usize| char::from(digits[at]).to_digit(16);
            Some((digit(0)? * 16 + digit(1)?, tail))
        });
        let Some((decoded, tail)) = digits else {
            let shown: String = String::from_utf8_lossy(tail).chars().take(2).collect();
            return Err(GroupingError::Escape(format!("%{shown}")));
        };
        out.push(decoded as u8);
        rest = tail;
    }
    String::from_utf8(out).map_err(|_| GroupingError::Utf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(path: &str) -> String {
        match Grouping::from_path(path) {
            Ok(grouping) => {
                let labels: Vec<String> = grouping.labels().map(|(n, v)| format!("{n}={v}")).collect();
                labels.join(",")
            }
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn paths_give_sorted_labels() {
        for (path, expected) in [
            ("job/j", "job=j"),
            ("job/j/", "job=j"),
            ("job/j/x/", "job=j,x="),
            ("job/j/x@base64/", "job=j,x="),
            ("job/j/x@base64/=", "job=j,x="),
            ("job/j/x@base64/%3D", "job=j,x="),
            ("job/j/instance/i/a/b", "a=b,instance=i,job=j"),
            ("job/j/x//y/z", "job=j,x=,y=z"),
            ("job/a%20b+c/x/%C3%A9", "job=a b+c,x=é"),
            ("job/j/x/1/x/2", "job=j,x=2"),
            ("job/j/job/other", "job=j"),
            ("job@base64/YS9i/x@base64/ZmVhdHVyZS94", "job=a/b,x=feature/x"),
            ("job@base64/YQ==/x@base64/YQ", "job=a,x=a"),
            ("job/j/branch/a/b/c", "b=c,branch=a,job=j"),
            ("job/j/U__foo_2e_bar/1", "U__foo_2e_bar=1,job=j"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
    }

    #[test]
    fn wrong_paths_say_what_is_wrong() {
        for (path, expected) in [
            ("job", "job name is required"),
            ("job/", "job name is required"),
            ("job@base64/=", "job name is required"),
            ("other/x", "job name is required"),
            ("job/j/x", "odd number of components in label string \"/x\""),
            ("job/j/x/a%2Fb", "odd number of components in label string \"/x/a/b\""),
            ("job/j/a-b/c", "improper label name \"a-b\""),
            ("job/j/a=b/c", "improper label name \"a=b\""),
            ("job/j/__x/c", "improper label name \"__x\""),
            ("job/j/1a/c", "improper label name \"1a\""),
            ("job/j//c", "improper label name \"\""),
            ("job/j/l@base64/@@", "invalid base64 encoding for label l=\"@@\": illegal base64 data at input byte 0"),
            ("job/j/l@base64/foo.bar", "illegal base64 data at input byte 3"),
            ("job/j/l@base64/a+b_", "illegal base64 data at input byte 1"),
            ("job@base64/ab.c", "invalid base64 encoding in job name"),
            ("job@base64/_w", "not UTF-8"),
            ("job/%zz", "invalid URL escape \"%zz\""),
            ("job/%4", "invalid URL escape \"%4\""),
            ("job/%ff", "not UTF-8"),
        ] {
            assert!(shown(path).contains(expected), "{path}: {}", shown(path));
        }
    }

    #[test]
    fn order_and_emptiness_decide_identity() {
        let key = |path| Grouping::from_path(path).unwrap();
        assert_eq!(key("job/j/a/1/b/2"), key("job/j/b/2/a/1"));
        assert_ne!(key("job/j/a/"), key("job/j"));
        assert_eq!(Grouping::new([("b", "2"), ("job", "j"), ("a", "1")]).unwrap(), key("job/j/a/1/b/2"));
        assert_eq!(Grouping::new([("a", "b")]), Err(GroupingError::JobMissing));
    }

    proptest! {
        #[test]
        fn any_path_is_read_without_panic(path in "(job(@base64)?/)?[a-z@%/=0-9é]{0,40}") {
            let _ = Grouping::from_path(&path);
        }

        #[test]
        fn base64_carries_any_value(value in "\\PC{0,20}", padded: bool) {
            let mut encoded = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&value);
            if padded || encoded.is_empty() {
                encoded.push('=');
            }
            let grouping = Grouping::from_path(&format!("job/j/x@base64/{encoded}")).unwrap();
            prop_assert_eq!(grouping.get("x"), Some(value.as_str()));
        }
    }
}
