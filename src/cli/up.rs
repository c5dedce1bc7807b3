//! `observatory up`.

use super::{arguments::Up, config::refused_failure, dispatch::Failure};
use crate::{
    app::{Settings, StartError, run},
    config::{Config, Loaded, load, parse_listen, parse_retention, parse_size},
    telemetry::log,
};
use std::path::PathBuf;

/// Runs the server to its end.
pub fn up(arguments: Up) -> Result<(), Failure> {
    let filter = std::env::var("OBSERVATORY_LOG").ok();
    log::start(arguments.log.log_format.into(), filter.as_deref()).map_err(Failure::wrong)?;
    let rest_of_line = rest_of_line(&arguments);
    let Loaded { mut config, warnings } = match &arguments.config {
        None => Loaded { config: Config::empty(), warnings: vec![] },
        Some(file) => load(file).map_err(|refused| refused_failure(&refused))?,
    };
    if let Some(file) = &arguments.config {
        warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", file.display()));
    }
    if let Some(listen) = &arguments.listen {
        config.listen = parse_listen(listen).map_err(|message| Failure::wrong(format!("--listen: {message}")))?;
    }
    if let Some(data) = arguments.data {
        config.data = data;
    }
    set_retention(&mut config, arguments.retention_time.as_deref(), arguments.retention_size.as_deref())?;
    let config_file = arguments.config;
    let settings = Settings { config, config_file, insecure_public_http: arguments.insecure_public_http, rest_of_line };
    run(settings).map_err(|error| match &error {
        StartError::Refused(_) => Failure::wrong(error.to_string()),
        StartError::Failed(_) => Failure::failed(error.to_string()),
    })
}

/// As the flags of Prometheus say it.
fn set_retention(config: &mut Config, time: Option<&str>, size: Option<&str>) -> Result<(), Failure> {
    let wrong = |flag: &str, problem: String| Failure::wrong(format!("--storage.tsdb.retention.{flag}: {problem}"));
    if let Some(text) = time {
        config.retention_ms = parse_retention(text).map_err(|problem| wrong("time", problem))?;
        config.overrides.retention_ms = Some(config.retention_ms);
    }
    if let Some(text) = size {
        let expected = || wrong("size", format!("expected a size such as 10GB, got `{text}`"));
        config.bytes_max = parse_size(text).ok_or_else(expected)?;
        config.overrides.bytes_max = Some(config.bytes_max);
    }
    Ok(())
}

/// What else was asked for, to be written again.
fn rest_of_line(arguments: &Up) -> String {
    let path = |name: &str, path: &Option<PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| format!(" {name} {}", quoted(&path.to_string_lossy())))
    };
    let mut rest = path("--data", &arguments.data) + &path("--config", &arguments.config);
    let text = |name: &str, text: &Option<String>| {
        text.as_ref().map_or_else(String::new, |text| format!(" {name} {}", quoted(text)))
    };
    rest += &text("--storage.tsdb.retention.time", &arguments.retention_time);
    rest += &text("--storage.tsdb.retention.size", &arguments.retention_size);
    if arguments.insecure_public_http {
        rest.push_str(" --insecure-public-http");
    }
    rest
}

/// As a shell reads it back.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+=:,@%".contains(c));
    if plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
