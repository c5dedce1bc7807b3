//! The history of code quality from SonarQube or SonarCloud.

use super::{
    problem::Problems,
    raw::{Located, RawSonar, RawWords},
};
use crate::{
    model::time::{format_duration_ms, parse_duration_ms},
    sonar::{Branches, Config, Projects, SECRET_BYTES_MIN, Scheme, default_keys},
    stdx::{secret_file::read_line, spelling::nearest},
};
use std::path::{Path, PathBuf};

const URL_DEFAULT: &str = "https://sonarcloud.io";
/// Hosts where every project is in an organization.
const CLOUDS: &[&str] = &["sonarcloud.io", "sonarqube.us"];
const DAY_MS: i64 = 24 * 3_600_000;
const INTERVAL_MS_DEFAULT: i64 = 3_600_000;
/// More often brings nothing that a webhook would not; less often than a week loses what the server wipes.
const INTERVAL_MS_BOUNDS: (i64, i64) = (60_000, 7 * DAY_MS);
const HISTORY_MS_DEFAULT: i64 = 30 * DAY_MS;
/// What `history: all` means: longer than anything was ever kept.
const HISTORY_MS_ALL: i64 = 100 * 365 * DAY_MS;
/// A thousand projects every hour, and their branches when they change. SonarCloud takes some hundred thousand.
const CALLS_PER_HOUR_DEFAULT: u64 = 5_000;
const CALLS_PER_HOUR_BOUNDS: (u64, u64) = (20, 1_000_000);
/// A page of history has a column for each.
const METRICS_MAX: usize = 200;

/// `None` where none is asked for. `kept_ms` says for how long samples of some metrics are kept, given their keys.
pub fn resolve(
    raw: Option<Located<RawSonar>>,
    base: &Path,
    kept_ms: impl Fn(&[String]) -> i64,
    problems: &mut Problems,
) -> Option<Config> {
    let Located { value: raw, line } = raw?;
    let url = url(raw.url, raw.token_file.is_some(), problems);
    let projects = projects(raw.projects, problems);
    let organization = raw.organization.map(|found| found.value);
    let is_cloud = CLOUDS.iter().any(|host| url.contains(host));
    if is_cloud && organization.is_none() && projects == Projects::All {
        let hint = "add `organization:`, or name some `projects: [..]`";
        problems.error_with_hint("sonar", line, "says neither which organization nor which projects", hint);
    }
    let metrics = metrics(raw.metrics, problems);
    Some(Config {
        organization,
        projects,
        branches: branches(raw.branches, problems),
        interval_ms: interval(raw.interval_ms, problems),
        history_ms: history(raw.history, kept_ms(&metrics), problems),
        metrics,
        calls_per_hour: calls_per_hour(raw.calls_per_hour, problems),
        token_file: secret_file(raw.token_file, "sonar.token_file", 1, base, problems),
        webhook_secret_file: secret_file(
            raw.webhook_secret_file,
            "sonar.webhook_secret_file",
            SECRET_BYTES_MIN,
            base,
            problems,
        ),
        names: names(raw.names, problems),
        url,
    })
}

fn url(raw: Option<Located<String>>, has_token: bool, problems: &mut Problems) -> String {
    let Some(found) = raw else { return URL_DEFAULT.to_owned() };
    let parsed = reqwest::Url::parse(&found.value).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let Some(parsed) = parsed.filter(|url| url.has_host()) else {
        let message = format!("`{}` is no address; write it as {URL_DEFAULT}", found.value);
        problems.error("sonar.url", found.line, message);
        return URL_DEFAULT.to_owned();
    };
    if !parsed.username().is_empty() || parsed.password().is_some() {
        problems.error("sonar.url", found.line, "must not hold a password; write the token into `sonar.token_file`");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        problems.error("sonar.url", found.line, "must end with the path that the server is below");
    }
    let is_near = ["localhost", "127.0.0.1", "[::1]"].contains(&parsed.host_str().unwrap_or_default());
    if has_token && parsed.scheme() == "http" && !is_near {
        problems.warn("sonar.url", found.line, "the token is sent in the clear; use https");
    }
    found.value.trim_end_matches('/').to_owned()
}

fn projects(raw: Option<Located<RawWords>>, problems: &mut Problems) -> Projects {
    match raw {
        None => Projects::All,
        Some(Located { value: RawWords::One(word), .. }) if word == "all" => Projects::All,
        Some(Located { value: RawWords::Many(keys), .. }) if !keys.is_empty() => Projects::These(keys),
        Some(found) => {
            problems.error(
                "sonar.projects",
                found.line,
                "expected `all` or a list of keys, such as [org_app, org_lib]",
            );
            Projects::All
        }
    }
}

fn branches(raw: Option<Located<RawWords>>, problems: &mut Problems) -> Branches {
    match raw {
        None => Branches::Main,
        Some(Located { value: RawWords::One(word), .. }) if word == "main" => Branches::Main,
        Some(Located { value: RawWords::One(word), .. }) if word == "all" => Branches::All,
        Some(Located { value: RawWords::Many(names), .. }) if !names.is_empty() => Branches::These(names),
        Some(found) => {
            let message = "expected `main`, `all` or a list of names, such as [main, develop]";
            problems.error("sonar.branches", found.line, message);
            Branches::Main
        }
    }
}

fn metrics(raw: Option<Located<RawWords>>, problems: &mut Problems) -> Vec<String> {
    let default = || default_keys().map(str::to_owned).collect::<Vec<_>>();
    let (written, line) = match raw {
        None => return default(),
        Some(Located { value: RawWords::One(word), .. }) if word == "default" => return default(),
        Some(Located { value: RawWords::Many(keys), line }) if !keys.is_empty() => (keys, line),
        Some(found) => {
            let message = "expected `default` or a list of metric keys, such as [coverage, bugs]";
            problems.error("sonar.metrics", found.line, message);
            return default();
        }
    };
    let mut keys: Vec<String> = Vec::new();
    for (index, key) in written.into_iter().enumerate() {
        // `[default, lines]` is the default and one more.
        let these = if key == "default" { default() } else { vec![key] };
        for key in these {
            if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
                problems.error(&format!("sonar.metrics[{index}]"), line, format!("`{key}` is no key of a metric"));
            } else if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    if keys.len() > METRICS_MAX {
        problems.error("sonar.metrics", line, format!("has more than {METRICS_MAX} metrics"));
    }
    keys
}

fn interval(raw: Option<Located<i64>>, problems: &mut Problems) -> i64 {
    let Some(found) = raw else { return INTERVAL_MS_DEFAULT };
    if found.value < INTERVAL_MS_BOUNDS.0 || found.value > INTERVAL_MS_BOUNDS.1 {
        let [least, most] = [INTERVAL_MS_BOUNDS.0, INTERVAL_MS_BOUNDS.1].map(format_duration_ms);
        problems.error("sonar.interval", found.line, format!("must be between {least} and {most}"));
    }
    found.value
}

/// What the store does not keep need not be read: said, and left out.
fn history(raw: Option<Located<String>>, kept_ms: i64, problems: &mut Problems) -> i64 {
    let Some(found) = raw else { return HISTORY_MS_DEFAULT };
    let history_ms = match found.value.as_str() {
        "all" => HISTORY_MS_ALL,
        text => match parse_duration_ms(text) {
            Ok(ms) if ms > 0 => ms.min(HISTORY_MS_ALL),
            _ => {
                let message = format!("expected `all` or a duration such as 30d, got `{text}`");
                problems.error("sonar.history", found.line, message);
                HISTORY_MS_DEFAULT
            }
        },
    };
    if history_ms > kept_ms {
        let kept = format_duration_ms(kept_ms);
        let message = format!(
            "only the last {kept} are read, for the store keeps no more; raise `storage.retention`, or keep them longer: \
             `storage.policies: [{{match: '{{__name__=~\"sonar_.*\"}}', raw: 730d}}]`"
        );
        problems.warn("sonar.history", found.line, message);
    }
    history_ms
}

fn calls_per_hour(raw: Option<Located<u64>>, problems: &mut Problems) -> u64 {
    let Some(found) = raw else { return CALLS_PER_HOUR_DEFAULT };
    let (least, most) = CALLS_PER_HOUR_BOUNDS;
    if !(least..=most).contains(&found.value) {
        problems.error("sonar.calls_per_hour", found.line, format!("must be between {least} and {most}"));
    }
    found.value
}

/// A file that holds a secret, which is looked at now so that a mistake is told now.
fn secret_file(
    raw: Option<Located<String>>,
    path: &str,
    bytes_min: usize,
    base: &Path,
    problems: &mut Problems,
) -> Option<PathBuf> {
    let found = raw?;
    let file = base.join(&found.value);
    match read_line(&file) {
        Err(error) => problems.error(path, found.line, error),
        Ok(secret) if secret.len() < bytes_min => {
            let message = format!("{} holds fewer than {bytes_min} characters, which can be guessed", file.display());
            problems.error(path, found.line, message);
        }
        Ok(_) => {}
    }
    Some(file)
}

fn names(raw: Option<Located<String>>, problems: &mut Problems) -> Scheme {
    let Some(found) = raw else { return Scheme::default() };
    Scheme::parse(&found.value).unwrap_or_else(|| {
        let known = Scheme::ALL.map(Scheme::as_str);
        let hint = match nearest(&found.value, known.into_iter()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("known: {}", known.join(", ")),
        };
        let message = format!("`{}` is no scheme of names", found.value);
        problems.error_with_hint("sonar.names", found.line, message, hint);
        Scheme::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_text;

    fn sonar(text: &str) -> Config {
        let loaded = load_text(text, Path::new("/etc")).unwrap_or_else(|problems| panic!("{:?}", problems.errors));
        loaded.config.sonar.unwrap()
    }

    #[test]
    fn little_is_needed_and_everything_can_be_said() {
        let found = sonar("sonar: {organization: acme}\n");
        assert_eq!((found.url.as_str(), found.branches, found.interval_ms), (URL_DEFAULT, Branches::Main, 3_600_000));
        assert!(found.metrics.contains(&"coverage".to_owned()));
        let text = "sonar:\n  url: http://localhost:9000/sonar/\n  projects: [a, 'b:c']\n  branches: all\n  metrics: [ncloc, default]\n  \
                    interval: 5m\n  history: 7d\n  calls_per_hour: 100\n  names: sonarcloud\n";
        let found = sonar(text);
        assert_eq!(found.url, "http://localhost:9000/sonar");
        assert_eq!(found.projects, Projects::These(vec!["a".to_owned(), "b:c".to_owned()]));
        assert_eq!((found.metrics[0].as_str(), found.history_ms), ("ncloc", 7 * DAY_MS));
        assert_eq!(found.names, Scheme::Sonarcloud);
        let again = load_text(text, Path::new("/etc")).unwrap().config;
        assert_eq!(load_text(&again.to_yaml(), Path::new("/etc")).unwrap().config.sonar, again.sonar);
    }

    #[test]
    fn every_mistake_is_told_with_what_to_write() {
        let text = "sonar:\n  url: sonar\n  projects: some\n  branches: []\n  metrics: [a b]\n  interval: 1s\n  history: x\n  \
                    calls_per_hour: 1\n  token_file: /nowhere/token\n  names: sonarclaud\n";
        let refused = load_text(text, Path::new("/etc")).unwrap_err();
        let refused = format!("{:?}", refused.errors);
        for said in [
            "is no address",
            "`all` or a list of keys",
            "`main`, `all` or a list",
            "`a b` is no key",
            "between 1m and 1w",
            "`all` or a duration",
            "between 20 and",
            "/nowhere/token",
            "did you mean `sonarcloud`?",
        ] {
            assert!(refused.contains(said), "{said} in {refused}");
        }
        let refused = load_text("sonar: {}\n", Path::new("/etc")).unwrap_err();
        let refused = format!("{:?}", refused.errors);
        assert!(refused.contains("neither which organization"), "{refused}");
        let loaded = load_text("sonar: {organization: a, history: all}\n", Path::new("/etc")).unwrap();
        assert!(loaded.warnings[0].message.contains("storage.retention"), "{:?}", loaded.warnings);
    }
}
