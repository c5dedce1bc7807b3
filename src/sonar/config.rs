//! What the room is told: checked before it comes here.

use super::naming::Scheme;
use std::path::PathBuf;

/// Where history comes from, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Without a slash at the end.
    pub url: String,
    /// Read at every sync. Without one, only what is public is seen.
    pub token_file: Option<PathBuf>,
    /// SonarCloud's; a SonarQube server has none.
    pub organization: Option<String>,
    pub projects: Projects,
    pub branches: Branches,
    /// Keys.
    pub metrics: Vec<String>,
    pub interval_ms: i64,
    /// How far back the first sync goes; what the store keeps bounds it as well.
    pub history_ms: i64,
    pub calls_per_hour: u64,
    /// Webhooks are refused without one. Read at every webhook.
    pub webhook_secret_file: Option<PathBuf>,
    pub names: Scheme,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Projects {
    All,
    /// Keys.
    These(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Branches {
    Main,
    All,
    /// Names; a project need not have all of them.
    These(Vec<String>),
}

impl Branches {
    /// Whether a branch is wanted.
    pub fn take(&self, name: &str, is_main: bool) -> bool {
        match self {
            Branches::Main => is_main,
            Branches::All => true,
            Branches::These(names) => names.iter().any(|wanted| wanted == name),
        }
    }
}

impl Projects {
    /// Whether a project is wanted.
    pub fn take(&self, key: &str) -> bool {
        match self {
            Projects::All => true,
            Projects::These(keys) => keys.iter().any(|wanted| wanted == key),
        }
    }
}
