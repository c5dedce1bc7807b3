//! `observatory config check` and `show`.

use super::{arguments::ConfigFile, dispatch::Failure};
use crate::config::{Config, Loaded, Problem, load};
use std::path::{Path, PathBuf};

/// Reports every mistake of a file.
pub fn check(file: ConfigFile) -> Result<(), Failure> {
    let Some(file) = named(file) else {
        return Err(Failure::wrong("which file? Write `observatory config check observatory.yml`"));
    };
    let loaded = load_and_warn(&file)?;
    let warnings = loaded.warnings.len();
    match warnings {
        0 => println!("{}: no mistakes", file.display()),
        _ => println!("{}: no mistakes, {warnings} warnings", file.display()),
    }
    Ok(())
}

/// Prints the config in force.
pub fn show(file: ConfigFile) -> Result<(), Failure> {
    let config = match named(file) {
        Some(file) => load_and_warn(&file)?.config,
        None => Config::empty(),
    };
    print!("{}", config.to_yaml());
    Ok(())
}

fn named(file: ConfigFile) -> Option<PathBuf> {
    file.file.or(file.config)
}

fn load_and_warn(file: &Path) -> Result<Loaded, Failure> {
    let warn = |warnings: &[Problem]| {
        warnings.iter().for_each(|warning| eprintln!("{}: warning: {warning}", file.display()));
    };
    match load(file) {
        Ok(loaded) => {
            warn(&loaded.warnings);
            Ok(loaded)
        }
        Err(refused) => {
            warn(&refused.warnings);
            Err(refused_failure(&refused))
        }
    }
}

/// A config that cannot be run with.
pub fn refused_failure(refused: &crate::config::Refused) -> Failure {
    let count = refused.errors.len();
    let mistakes = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") };
    Failure::wrong(format!("{} has {mistakes}:\n{refused}", refused.file.display()))
}
