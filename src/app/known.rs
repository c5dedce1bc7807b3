//! Data directories this user has used: whoever starts in another working directory than yesterday is told where
//! yesterday's data is.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// More are forgotten, the oldest first.
const DIRECTORIES_MAX: usize = 16;

/// Remembers `data` and gives the directory used before it, if `data` is new and that one still exists. Where nothing
/// can be remembered, there is nothing to say.
pub fn remember(data: &Path, is_new: bool) -> Option<PathBuf> {
    remember_in(&state_file()?, data, is_new)
}

fn state_file() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("observatory/known-data"))
}

fn remember_in(file: &Path, data: &Path, is_new: bool) -> Option<PathBuf> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut known: Vec<PathBuf> = text.lines().map(PathBuf::from).filter(|path| path != data).collect();
    let other = known.iter().rev().find(|path| path.join("lock").exists()).cloned();
    known.push(data.to_owned());
    let kept = &known[known.len().saturating_sub(DIRECTORIES_MAX)..];
    let lines: String = kept.iter().map(|path| format!("{}\n", path.display())).collect();
    if lines != text
        && let Err(cause) = write(file, &lines)
    {
        tracing::debug!(%cause, file = %file.display(), "The data directory could not be remembered.");
    }
    other.filter(|_| is_new)
}

/// Through a second file, so that two processes leave one list or the other.
fn write(file: &Path, lines: &str) -> std::io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let temporary = file.with_extension(format!("{}", std::process::id()));
    fs::write(&temporary, lines)?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_told_apart_from_the_last_one_that_still_exists() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("state/observatory/known-data");
        let data = |name: &str| {
            let path = home.path().join(name);
            fs::create_dir_all(&path).unwrap();
            fs::write(path.join("lock"), "").unwrap();
            path
        };
        let (first, second) = (data("first"), data("second"));
        assert_eq!(remember_in(&file, &first, true), None);
        assert_eq!(remember_in(&file, &second, true), Some(first.clone()));
        assert_eq!(remember_in(&file, &first, false), None);
        fs::remove_dir_all(&first).unwrap();
        fs::remove_dir_all(&second).unwrap();
        assert_eq!(remember_in(&file, &data("third"), true), None);
        for index in 0..40 {
            remember_in(&file, &data(&index.to_string()), true);
        }
        assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), DIRECTORIES_MAX);
    }
}
