//! `observatory up`.

use super::{arguments::Up, config::refused_failure, dispatch::Failure};
use crate::{
    app::{Settings, StartError, run},
    config::{
        Config, Loaded, Overrides, load, parse_external_url, parse_listen, parse_retention, parse_route_prefix,
        parse_size,
    },
    telemetry::log,
};
use std::path::PathBuf;

/// Runs the server to its end.
pub fn up(arguments: Up) -> Result<(), Failure> {
    let filter = std::env::var("OBSERVATORY_LOG").ok();
    log::start(arguments.log.log_format.into(), filter.as_deref()).map_err(Failure::wrong)?;
    let rest_of_line = rest_of_line(&arguments);
    let overrides = overrides(&arguments)?;
    let Loaded { mut config, text: config_text, warnings } = match &arguments.config {
        None => Loaded { config: Config::empty(), text: String::new(), warnings: vec![] },
        Some(file) => load(file).map_err(|refused| refused_failure(&refused))?,
    };
    if let Some(file) = &arguments.config {
        warnings.iter().for_each(|warning| tracing::warn!("{}: {warning}", file.display()));
    }
    overrides.apply(&mut config);
    let insecure_public_http = arguments.insecure_public_http;
    let (admin_api, config_file) = (arguments.enable_admin_api, arguments.config);
    let settings =
        Settings { config, config_text, admin_api, config_file, overrides, insecure_public_http, rest_of_line };
    run(settings).map_err(|error| match &error {
        StartError::Refused(_) => Failure::wrong(error.to_string()),
        StartError::Failed(_) => Failure::failed(error.to_string()),
    })
}

fn overrides(arguments: &Up) -> Result<Overrides, Failure> {
    fn parsed<T>(
        name: &str,
        text: Option<&String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        text.map(|text| parse(text).map_err(|message| Failure::wrong(format!("{name}: {message}")))).transpose()
    }
    let size = |text: &str| parse_size(text).ok_or_else(|| format!("expected a size such as 10GB, got `{text}`"));
    Ok(Overrides {
        listen: parsed("--listen", arguments.listen.as_ref(), parse_listen)?,
        data: arguments.data.clone(),
        external: parsed("--web.external-url", arguments.external_url.as_ref(), parse_external_url)?,
        route_prefix: parsed("--web.route-prefix", arguments.route_prefix.as_ref(), parse_route_prefix)?,
        retention_ms: parsed("--storage.tsdb.retention.time", arguments.retention_time.as_ref(), parse_retention)?,
        bytes_max: parsed("--storage.tsdb.retention.size", arguments.retention_size.as_ref(), size)?,
    })
}

/// What else was asked for, to be written again.
fn rest_of_line(arguments: &Up) -> String {
    let path = |name: &str, path: &Option<PathBuf>| {
        path.as_ref().map_or_else(String::new, |path| format!(" {name} {}", quoted(&path.to_string_lossy())))
    };
    let mut rest = path("--data", &arguments.data) + &path("--config", &arguments.config);
    for (name, text) in [
        ("--web.external-url", &arguments.external_url),
        ("--web.route-prefix", &arguments.route_prefix),
        ("--storage.tsdb.retention.time", &arguments.retention_time),
        ("--storage.tsdb.retention.size", &arguments.retention_size),
    ] {
        if let Some(text) = text {
            rest.push_str(&format!(" {name} {}", quoted(text)));
        }
    }
    if arguments.enable_admin_api {
        rest.push_str(" --web.enable-admin-api");
    }
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
