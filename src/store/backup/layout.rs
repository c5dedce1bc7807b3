//! A data directory, made of parts.

use super::{BackupError, Part, Sink, StateDump, part_name, write::CHUNK_BYTES};
use crate::store::kv::{Kv, RedbKv};
use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Where the config goes: beside the data, for people. The server does not read it here.
pub const CONFIG_FILE: &str = "config-of-backup.yml";
/// Written bytes are synced this often, so that others who sync do not wait for all of them.
const SYNC_BYTES: u64 = 32 << 20;

/// Makes a data directory in an empty one. It is whole and synced after [`Layout::finish`].
pub struct Layout {
    directory: PathBuf,
    /// Directories of tiers, made when the first file comes.
    tiers: BTreeSet<PathBuf>,
    /// The part being written, and its bytes since it was synced.
    open: Option<(String, Target, u64)>,
}

enum Target {
    File(File),
    /// The small state is no file of its own.
    State(Vec<u8>),
}

impl Layout {
    pub fn new(directory: &Path) -> Result<Layout, BackupError> {
        for name in ["blocks", "log", "state"] {
            std::fs::create_dir_all(directory.join(name)).map_err(failed(name))?;
        }
        Ok(Layout { directory: directory.to_owned(), tiers: BTreeSet::new(), open: None })
    }

    /// Adds a part of a snapshot: a second name for its file where that is possible, else a copy.
    pub fn add(&mut self, mut part: Part) -> Result<(), BackupError> {
        if let Some(path) = part.source.path()
            && std::fs::hard_link(path, self.place_of(&part.name)?).is_ok()
        {
            return Ok(());
        }
        self.begin(&part.name)?;
        let (mut chunk, mut offset) = (vec![0; CHUNK_BYTES], 0);
        while offset < part.bytes {
            let length = usize::try_from(part.bytes - offset).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let read = part.source.read_exact_at(&mut chunk[..length], offset);
            read.map_err(|cause| BackupError::Read { part: part.name.clone(), cause })?;
            self.put(&chunk[..length])?;
            offset += length as u64;
        }
        self.end()
    }

    /// Makes the names durable.
    pub fn finish(self) -> Result<(), BackupError> {
        let tiers = self.tiers.iter().map(PathBuf::as_path);
        let places = ["blocks", "log", "state", "."].map(Path::new);
        for place in tiers.chain(places) {
            let synced = File::open(self.directory.join(place)).and_then(|open| open.sync_all());
            synced.map_err(failed(&place.to_string_lossy()))?;
        }
        Ok(())
    }

    /// Where the file of a part goes, in a directory that is there.
    fn place_of(&mut self, name: &str) -> Result<PathBuf, BackupError> {
        let file = file_of(name)?;
        if let Some(directory) =
            file.parent().filter(|_| [part_name::TIERS, part_name::KEPT].iter().any(|place| name.starts_with(place)))
        {
            std::fs::create_dir_all(self.directory.join(directory)).map_err(failed(name))?;
            self.tiers.extend(directory.ancestors().filter(|place| *place != Path::new("")).map(Path::to_owned));
        }
        Ok(self.directory.join(file))
    }
}

impl Sink for Layout {
    fn begin(&mut self, name: &str) -> Result<(), BackupError> {
        let target = if name == part_name::STATE {
            Target::State(Vec::new())
        } else {
            let path = self.place_of(name)?;
            Target::File(OpenOptions::new().write(true).create_new(true).open(path).map_err(failed(name))?)
        };
        self.open = Some((name.to_owned(), target, 0));
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let Some((name, target, unsynced)) = &mut self.open else { return Ok(()) };
        match target {
            Target::State(state) => state.extend_from_slice(bytes),
            Target::File(file) => {
                *unsynced += bytes.len() as u64;
                let mut written = file.write_all(bytes);
                if *unsynced >= SYNC_BYTES {
                    *unsynced = 0;
                    written = written.and_then(|()| file.sync_data());
                }
                written.map_err(failed(name))?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), BackupError> {
        match self.open.take() {
            None => Ok(()),
            Some((name, Target::File(file), _)) => file.sync_all().map_err(failed(&name)),
            Some((name, Target::State(bytes), _)) => {
                let dump = StateDump::decode(&bytes).ok_or(BackupError::UnknownPart(name))?;
                let kv = RedbKv::open(&self.directory.join("state"))?;
                Ok(kv.apply(dump.position, &dump.changes)?)
            }
        }
    }
}

fn failed(part: &str) -> impl FnOnce(io::Error) -> BackupError {
    let part = part.to_owned();
    move |cause| BackupError::Restore { part, cause }
}

/// Where a part goes, below the directory. Only our own names: a file of a stranger must not write elsewhere.
fn file_of(name: &str) -> Result<PathBuf, BackupError> {
    use part_name::{BLOCKS, CONFIG, KEPT, LOG, REPLACED, TIERS};
    if name == CONFIG {
        return Ok(PathBuf::from(CONFIG_FILE));
    }
    let is_name = |file: &str, ending: &str| {
        file.strip_suffix(ending).is_some_and(|stem| {
            !stem.is_empty() && stem.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        })
    };
    let known = REPLACED.contains(&name)
        || name.strip_prefix(LOG).is_some_and(|file| is_name(file, ".log"))
        || [BLOCKS, KEPT].iter().filter_map(|place| name.strip_prefix(place)).any(|file| is_name(file, ".block"))
        || name.strip_prefix(TIERS).and_then(|rest| rest.split_once('/')).is_some_and(|(resolution, file)| {
            !resolution.is_empty() && resolution.bytes().all(|b| b.is_ascii_digit()) && is_name(file, ".block")
        });
    if known { Ok(PathBuf::from(name)) } else { Err(BackupError::UnknownPart(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_store_become_files() {
        for name in [
            "checkpoint",
            "log/0000000001-0000000000000000.log",
            "blocks/-1-00-0.block",
            "config",
            "tiers/300000/-1-00-0.block",
        ] {
            assert!(file_of(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "lock",
            "log/",
            "log/.log",
            "blocks/../x.block",
            "/etc/passwd",
            "log/a/b.log",
            "blocks/a.tmp",
            "tiers/a.block",
            "tiers/../a.block",
            "tiers//a.block",
            "tiers/3/../a.block",
        ] {
            assert!(matches!(file_of(name), Err(BackupError::UnknownPart(_))), "{name}");
        }
    }
}
