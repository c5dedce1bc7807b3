//! The config in force, as YAML: what was written and the defaults of what was not, secrets redacted.

use super::resolve::{Config, Token};
use crate::model::time::format_duration_ms;
use std::fmt::Write;

/// What stands in place of a secret.
const REDACTED: &str = "<secret>";

impl Config {
    /// YAML that reads back as this config, but for the secrets.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        let _ = self.write_yaml(&mut out);
        out
    }

    fn write_yaml(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "listen: {}", quoted(&self.listen.to_string()))?;
        writeln!(out, "data: {}", quoted(&self.data.to_string_lossy()))?;
        writeln!(out, "storage:")?;
        writeln!(out, "  retention: {}", format_duration_ms(self.retention_ms))?;
        writeln!(out, "  series_max: {}", self.series_max)?;
        writeln!(out, "auth:")?;
        if self.tokens.is_empty() {
            writeln!(out, "  tokens: []")?;
        } else {
            writeln!(out, "  tokens:")?;
            self.tokens.iter().try_for_each(|token| write_token(out, token))?;
        }
        let limits = &self.limits;
        writeln!(out, "limits:")?;
        writeln!(out, "  connections_max: {}", limits.connections_max)?;
        writeln!(out, "  body_bytes_max: {}", limits.body_bytes_max)?;
        writeln!(out, "  query_timeout: {}", format_duration_ms(limits.query_timeout_ms))?;
        writeln!(out, "  query_samples_max: {}", limits.query_samples_max)?;
        writeln!(out, "  query_lookback_delta: {}", format_duration_ms(limits.query_lookback_delta_ms))?;
        let features: Vec<&str> = self.features.iter().map(|feature| feature.as_str()).collect();
        writeln!(out, "features: [{}]", features.join(", "))?;
        writeln!(out, "hosts:")?;
        writeln!(out, "  enabled: {}", self.hosts.enabled)?;
        writeln!(out, "  interval: {}", format_duration_ms(self.hosts.interval_ms))
    }
}

fn write_token(out: &mut String, token: &Token) -> std::fmt::Result {
    writeln!(out, "    - name: {}", quoted(&token.key.name))?;
    match &token.file {
        Some(file) => writeln!(out, "      token_file: {}", quoted(&file.to_string_lossy()))?,
        None => writeln!(out, "      sha256: {REDACTED}")?,
    }
    let scopes: Vec<&str> = token.key.scopes.iter().map(|scope| scope.as_str()).collect();
    writeln!(out, "      scopes: [{}]", scopes.join(", "))
}

/// Plain where YAML reads it back as the same text, else as a JSON text, which is YAML as well.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_ascii_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
