//! Reading a data directory that no server has.

use super::outcome::Outcome;
use crate::{
    api::push_data,
    app::Offline,
    cli::dispatch::Failure,
    promql::{
        engine::{Asked, Engine, EngineConfig, QueryOptions},
        explain::explain,
        parser::ParseOptions,
    },
};
use serde_json::Value;
use std::path::Path;

/// Milliseconds since the epoch; an instant has no step.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub start_ms: i64,
    pub end_ms: i64,
    pub step_ms: Option<i64>,
}

/// A directory and an engine over it.
pub struct Disk {
    engine: Engine,
    // Closed after the engine.
    _offline: Offline,
}

impl Disk {
    pub fn open(path: &Path) -> Result<Disk, Failure> {
        let offline = Offline::open(path, None).map_err(|error| Failure::failed(format!("{error:#}")))?;
        let config = EngineConfig { syntax: ParseOptions::all(), ..EngineConfig::default() };
        Ok(Disk { engine: Engine::new(offline.store.clone(), config), _offline: offline })
    }

    /// The answer as JSON, as a server gives it; with what the query took if `stats`.
    pub fn ask(&self, query: &str, times: Times, stats: bool) -> Result<(String, Outcome), Failure> {
        let options = QueryOptions { stats, ..QueryOptions::default() };
        let answer = match times.step_ms {
            None => self.engine.instant(query, times.end_ms, &options),
            Some(step_ms) => self.engine.range(query, times.start_ms, times.end_ms, step_ms, &options),
        };
        let answer = answer.map_err(|error| Failure::wrong(error.to_string()))?;
        let mut json = "{\"status\":\"success\",\"data\":".to_owned();
        push_data(&mut json, &answer.value, stats.then_some(&answer.stats));
        json.push('}');
        let tree: Value = serde_json::from_str(&json).map_err(|cause| Failure::failed(cause.to_string()))?;
        let outcome = Outcome::read(&tree).unwrap_or_default();
        Ok((json, Outcome { warnings: answer.warnings, infos: answer.infos, ..outcome }))
    }

    /// Why there is nothing.
    pub fn reasons(&self, query: &str, times: Times) -> Vec<String> {
        let asked = match times.step_ms {
            None => Ok(Asked::instant(times.end_ms)),
            Some(step_ms) => Asked::range(times.start_ms, times.end_ms, step_ms, 1 << 20),
        };
        let explained = asked.and_then(|asked| explain(&self.engine, query, asked, &QueryOptions::default()));
        explained.map_or_else(|_| Vec::new(), |found| found.reasons.into_iter().map(|reason| reason.message).collect())
    }
}
