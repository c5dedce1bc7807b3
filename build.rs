//! Tells the compiler which commit is built, for `--version`. Without git it is "unknown".

use std::process::Command;

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned()).filter(|text| !text.is_empty())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=OBSERVATORY_COMMIT");
    // A packager without the repository may name the commit.
    let named = std::env::var("OBSERVATORY_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = named.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    if let Some(moves) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&moves).exists()
    {
        println!("cargo::rerun-if-changed={moves}");
    }
    println!("cargo::rustc-env=OBSERVATORY_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}
