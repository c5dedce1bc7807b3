//! The mailbox: how much it may hold, and the Redis server it is shared over.

use super::{
    problem::Problems,
    raw::{Located, RawMailbox},
};
use crate::{
    mailbox::{Limits, RedisConfig},
    model::time::format_duration_ms,
};
use std::path::Path;

/// One message and its dead letters have to fit.
const BYTES_MAX_BOUNDS: (u64, u64) = (1 << 20, 1 << 30);
const DAY_MS: i64 = 24 * 3_600_000;
const AGE_MS_BOUNDS: (i64, i64) = (60_000, 365 * DAY_MS);
const ATTEMPTS_BOUNDS: (u64, u64) = (1, 1_000);
/// Those of beast-mailbox-core would be `beast:mailbox`; ours is the one that its observatory listens to.
const PREFIX_DEFAULT: &str = "beast:observatory";
const AGENT_DEFAULT: &str = "metrics";
/// Ten times the library's: a consumer that is down for long loses what is trimmed meanwhile.
const STREAM_LENGTH_DEFAULT: u64 = 10_000;
const STREAM_LENGTH_BOUNDS: (u64, u64) = (10, 10_000_000);

/// How the mailbox is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MailboxConfig {
    pub limits: Limits,
    pub redis: Option<RedisConfig>,
}

pub fn resolve(raw: Option<RawMailbox>, base: &Path, problems: &mut Problems) -> MailboxConfig {
    let Some(raw) = raw else { return MailboxConfig::default() };
    let default = Limits::default();
    let mut whole = |key: &str, found: &Option<Located<u64>>, default: u64, bounds: (u64, u64)| {
        if let Some(found) = found.as_ref().filter(|found| found.value < bounds.0 || found.value > bounds.1) {
            problems.error(key, found.line, format!("must be between {} and {}", bounds.0, bounds.1));
        }
        found.as_ref().map_or(default, |found| found.value)
    };
    let bytes_max = whole("mailbox.max_bytes", &raw.bytes_max, default.bytes_max, BYTES_MAX_BOUNDS);
    let attempts_max = whole("mailbox.attempts", &raw.attempts_max, default.attempts_max, ATTEMPTS_BOUNDS);
    let stream_length = whole("mailbox.stream_length", &raw.stream_length, STREAM_LENGTH_DEFAULT, STREAM_LENGTH_BOUNDS);
    if let Some(found) = raw.age_ms_max.as_ref().filter(|f| f.value < AGE_MS_BOUNDS.0 || f.value > AGE_MS_BOUNDS.1) {
        let [least, most] = [AGE_MS_BOUNDS.0, AGE_MS_BOUNDS.1].map(format_duration_ms);
        problems.error("mailbox.max_age", found.line, format!("must be between {least} and {most}"));
    }
    let age_ms_max = raw.age_ms_max.as_ref().map_or(default.age_ms_max, |found| found.value);
    let limits = Limits { bytes_max, age_ms_max, attempts_max };
    MailboxConfig { limits, redis: resolve_redis(raw, stream_length, base, problems) }
}

fn resolve_redis(raw: RawMailbox, stream_length: u64, base: &Path, problems: &mut Problems) -> Option<RedisConfig> {
    let beside = [
        ("redis_password_file", raw.password_file.as_ref().map(|found| found.line)),
        ("prefix", raw.prefix.as_ref().map(|found| found.line)),
        ("agent", raw.agent.as_ref().map(|found| found.line)),
        ("stream", raw.stream.as_ref().map(|found| found.line)),
        ("stream_length", raw.stream_length.as_ref().map(|found| found.line)),
    ];
    let Some(url) = raw.redis else {
        for (key, line) in beside {
            if let Some(line) = line {
                problems.error(&format!("mailbox.{key}"), line, "means something only with `redis:` beside it");
            }
        }
        return None;
    };
    if let Err(error) = RedisConfig::check_url(&url.value) {
        problems.error("mailbox.redis", url.line, error.to_string());
    }
    for (key, found) in [("prefix", &raw.prefix), ("agent", &raw.agent), ("stream", &raw.stream)] {
        if let Some(found) = found.as_ref().filter(|found| found.value.is_empty()) {
            problems.error(&format!("mailbox.{key}"), found.line, "must not be empty");
        }
    }
    let password_file = raw.password_file.map(|found| (base.join(found.value), found.line));
    if let Some((file, line)) = &password_file
        && let Err(cause) = std::fs::read_to_string(file)
    {
        let message = format!("{} cannot be read: {cause}", file.display());
        problems.error("mailbox.redis_password_file", *line, message);
    }
    let or =
        |found: Option<Located<String>>, default: &str| found.map_or_else(|| default.to_owned(), |found| found.value);
    Some(RedisConfig {
        url: url.value,
        password_file: password_file.map(|(file, _)| file),
        prefix: or(raw.prefix, PREFIX_DEFAULT),
        agent: or(raw.agent, AGENT_DEFAULT),
        stream: raw.stream.map(|found| found.value),
        stream_length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    #[test]
    fn what_is_shown_reads_back_but_for_the_password() {
        let text = "mailbox: {redis: 'rediss://me:hunter2@h:1/2', prefix: p, agent: a, stream: s, stream_length: 50, \
                    max_bytes: 2MB, max_age: 3d, attempts: 4}\n";
        let loaded = load_text(text, Path::new("/etc")).unwrap();
        let shown = loaded.config.to_yaml();
        assert!(!shown.contains("hunter2") && !loaded.text.contains("hunter2"), "{shown}");
        let mut expected = loaded.config.mailbox;
        if let Some(redis) = &mut expected.redis {
            redis.url = redis.url_without_password();
        }
        assert_eq!(load_text(&shown, Path::new("/etc")).unwrap().config.mailbox, expected);
        assert_eq!(load_text("", Path::new("/etc")).unwrap().config.mailbox, MailboxConfig::default());
    }

    #[test]
    fn mistakes_are_told_by_their_keys() {
        let mistakes = |text: &str| -> String {
            let problems = load_text(text, Path::new("/etc")).unwrap_err();
            problems.errors.iter().map(|problem| format!("{problem}\n")).collect()
        };
        assert!(mistakes("mailbox: {agent: a}\n").contains("only with `redis:` beside it"));
        let text = "mailbox: {redis: 'http://h', prefix: '', max_bytes: 1, max_age: 1s, attempts: 0, stream_length: 1, \
                    redis_password_file: /nowhere}\n";
        let found = mistakes(text);
        for key in ["redis", "prefix", "max_bytes", "max_age", "attempts", "stream_length", "redis_password_file"] {
            assert!(found.contains(&format!("mailbox.{key}")), "{key}: {found}");
        }
    }
}
