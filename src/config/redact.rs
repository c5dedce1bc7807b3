//! The file's text without its secrets, for backups.

use super::{
    Config,
    tree::{self, Node, Value},
};

/// What stands in place of a secret.
const REDACTED: &str = "<secret>";
/// Keys whose value is a secret: their names end in one of these, and never in `_file`.
const ENDINGS: &[&str] =
    &["password", "secret", "secrets", "token", "credentials", "secret_key", "_key", "sha256", "key", "webhook", "dsn"];

/// The text of a file that was read, with its comments, but for every secret. Where one cannot be cut out of the text,
/// what is in force stands for it.
pub fn without_secrets(text: &str, config: &Config) -> String {
    let Ok(tree) = tree::parse(text) else { return config.to_yaml() };
    let mut secrets = Vec::new();
    collect(&tree, false, &mut secrets);
    // Longer ones first: one may be part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let lines = text.lines().filter(|line| !may_hold_one(line)).map(|line| without_remark(line, &secrets));
    let mut out: String = lines.flat_map(|line| [line, "\n"]).collect();
    for secret in &secrets {
        out = out.replace(secret.as_str(), REDACTED);
    }
    let clean = tree::parse(&out).is_ok_and(|tree| {
        let mut left = Vec::new();
        collect(&tree, false, &mut left);
        left.iter().all(|left| left == REDACTED)
    });
    let gone = secrets.iter().all(|secret| REDACTED.contains(secret.as_str()) || !out.contains(secret.as_str()));
    if clean && gone { out } else { config.to_yaml() }
}

/// Whether a line is a comment that may speak of a secret: nobody can tell which word of it that is.
fn may_hold_one(line: &str) -> bool {
    let line = line.trim_start().to_ascii_lowercase();
    line.starts_with('#') && (ENDINGS.iter().any(|ending| line.contains(ending)) || line.contains('@'))
}

/// A line without the comment at its end, where the line speaks of a secret or holds one: the comment may be the one of
/// before. A `#` within quotes looks the same; then what is left does not read back, and what is in force stands for it.
fn without_remark<'a>(line: &'a str, secrets: &[String]) -> &'a str {
    let Some((before, _)) = line.split_once(" #") else { return line };
    let said = line.to_ascii_lowercase();
    let speaks = ENDINGS.iter().any(|ending| said.contains(ending)) || said.contains('@');
    if speaks || secrets.iter().any(|secret| line.contains(secret.as_str())) { before } else { line }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ENDINGS.iter().any(|ending| key.ends_with(ending))
}

/// All scalars below secret keys, and passwords within addresses.
fn collect(node: &Node, secret: bool, found: &mut Vec<String>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar(text) if secret && !text.is_empty() => found.push(text.clone()),
        Value::Scalar(text) => found.extend(password_of(text)),
        Value::List(nodes) => nodes.iter().for_each(|node| collect(node, secret, found)),
        Value::Map(entries) => {
            entries.iter().for_each(|entry| collect(&entry.node, secret || is_secret(&entry.key), found));
        }
    }
}

/// Of `http://name:password@host`.
fn password_of(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty() && password != REDACTED).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_keeps_everything_but_its_secrets() {
        let text = "# ours\nlisten: ':1' # here\n# old password: hunter1\nauth:\n  tokens:\n    - {name: ci, sha256: \
                    'abcdef', scopes: [push], token_file: t.txt}\nremote_write:\n  - url: http://me:hunter2@host/w\n    \
                    basic_auth: {username: me, password: \"hunter3\"} # hunter5 before\n    http_headers: {a: {secrets: [hunter4]}}\n";
        let out = without_secrets(text, &Config::empty());
        assert!(!out.contains("hunter") && !out.contains("abcdef"), "{out}");
        for kept in ["# ours", "# here", "token_file: t.txt", "http://me:<secret>@host/w", "username: me"] {
            assert!(out.contains(kept), "{kept} in {out}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_found_in_the_text_leaves_what_is_in_force() {
        // Written with an escape, so its letters do not stand in the text.
        let text = "remote_write:\n  - url: http://host\n    basic_auth: {username: me, password: \"hunt\\x65r\"}\n";
        let out = without_secrets(text, &Config::empty());
        assert!(!out.contains("hunt") && out.contains("listen:"), "{out}");
    }
}
