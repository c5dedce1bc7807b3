//! Small state in redb, which nothing else in the program uses: one file, checked page by page when it is opened.

use super::{Kv, Pair, trees};
use crate::store::{StateChange, StoreError, Tree};
use parking_lot::Mutex;
use redb::{Database, Error, ReadableDatabase, ReadableTable, TableDefinition};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

const FILE: &str = "state.redb";

/// All trees in one table, told apart by the first byte of the key.
const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("state");

/// All of the state is in the engine's memory already: there is no need to cache it once more.
const CACHE_BYTES: usize = 256 << 10;

/// Small state in a directory of its own.
pub struct RedbKv {
    path: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` after a failure, until the next call opens it again: redb answers nothing any more after an I/O error.
    open: Option<Database>,
    position: u64,
}

impl RedbKv {
    /// Opens the directory, which is made where it is missing. A damaged file is moved aside and an empty one takes its
    /// place; that is logged. Fails where the disk or another process keeps it from being used.
    pub fn open(dir: &Path) -> Result<RedbKv, StoreError> {
        std::fs::create_dir_all(dir).map_err(StoreError::io("creating the directory of the small state"))?;
        let path = dir.join(FILE);
        let (open, position) = match open(&path) {
            Err(error) if is_damage(&error) => {
                let aside = move_aside(&path).map_err(StoreError::io("moving a damaged state file aside"))?;
                tracing::error!(
                    %error,
                    "The small state is damaged. It was moved to {}; push groups and jobs are rebuilt from what the log \
                     still holds.",
                    aside.display()
                );
                open(&path)
            }
            opened => opened,
        }
        .map_err(|error| refused(&path, error))?;
        // The file is synced by every commit, its name by this.
        std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("syncing the small state"))?;
        Ok(RedbKv { path, inner: Mutex::new(Inner { open: Some(open), position }) })
    }

    /// Runs `work` on the open database, opening it first where a failure has closed it, and closing it on failure.
    fn with<T>(&self, inner: &mut Inner, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, StoreError> {
        let open = match inner.open.take() {
            Some(open) => open,
            None => open(&self.path).map_err(|error| refused(&self.path, error))?.0,
        };
        let done = caught(|| work(&open)).map_err(|error| refused(&self.path, error))?;
        inner.open = Some(open);
        Ok(done)
    }
}

impl Kv for RedbKv {
    fn load(&self, tree: Tree) -> Result<Vec<Pair>, StoreError> {
        self.with(&mut self.inner.lock(), |open| {
            let table = open.begin_read()?.open_table(TABLE)?;
            let (first, end) = ([tree as u8], [tree as u8 + 1]);
            let mut pairs = Vec::new();
            for item in table.range(&first[..]..&end[..])? {
                let (key, value) = item?;
                pairs.push((key.value()[1..].to_vec(), value.value().to_vec()));
            }
            Ok(pairs)
        })
    }

    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        if position <= inner.position {
            return Ok(());
        }
        self.with(&mut inner, |open| {
            let transaction = open.begin_write()?;
            {
                let mut table = transaction.open_table(TABLE)?;
                for change in changes {
                    let key = trees::disk_key(change.tree, &change.key);
                    match &change.value {
                        Some(value) => table.insert(&key[..], &value[..])?,
                        None => table.remove(&key[..])?,
                    };
                }
                table.insert(trees::POSITION_KEY, &position.to_le_bytes()[..])?;
            }
            // Synced when it returns.
            transaction.commit()?;
            Ok(())
        })?;
        inner.position = position;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.inner.lock().position
    }
}

/// Opens and checks every page; gives the position too.
fn open(path: &Path) -> Result<(Database, u64), Error> {
    caught(|| {
        let mut builder = Database::builder();
        let open = builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).create(path)?;
        // Made here, so that readers find it.
        let transaction = open.begin_write()?;
        let position = {
            let table = transaction.open_table(TABLE)?;
            let stored = table.get(trees::POSITION_KEY)?;
            match stored.as_ref().map(|stored| stored.value().try_into()) {
                None => 0,
                Some(Ok(bytes)) => u64::from_le_bytes(bytes),
                Some(Err(_)) => return Err(Error::Corrupted("the position is no number".to_owned())),
            }
        };
        transaction.commit()?;
        Ok((open, position))
    })
}

/// A panic inside the database is damage it did not expect; it must not end the program.
fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(Error::Corrupted("reading it panicked".to_owned())))
}

/// Whether the bytes are to blame, and not the disk, the rights or another process.
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Corrupted(_) | Error::UpgradeRequired(_) | Error::RepairAborted => true,
        Error::Io(cause) => {
            matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        Error::TableTypeMismatch { .. } | Error::TypeDefinitionChanged { .. } => true,
        _ => false,
    }
}

fn refused(path: &Path, error: Error) -> StoreError {
    match error {
        Error::DatabaseAlreadyOpen => {
            StoreError::Directory(format!("{} is in use by another process; stop that one first", path.display()))
        }
        Error::Io(cause) => StoreError::io("keeping the small state")(cause),
        error => StoreError::Damaged(format!("{}: {error}", path.display())),
    }
}

fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = (1..).map(|n| path.with_extension(format!("damaged-{n}"))).find(|aside| !aside.exists());
    let aside = aside.unwrap_or_else(|| path.with_extension("damaged"));
    std::fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::kv::MemoryKv;
    use proptest::prelude::*;

    fn put(tree: Tree, key: &str, value: &str) -> StateChange {
        StateChange { tree, key: key.into(), value: Some(value.into()) }
    }

    fn remove(tree: Tree, key: &str) -> StateChange {
        StateChange { tree, key: key.into(), value: None }
    }

    #[test]
    fn state_and_position_are_there_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kv");
        let kv = RedbKv::open(&path).unwrap();
        assert_eq!(kv.position(), 0);
        kv.apply(10, &[put(Tree::Jobs, "a", "1"), put(Tree::Cursors, "a", "2"), put(Tree::Jobs, "b", "3")]).unwrap();
        kv.apply(20, &[remove(Tree::Jobs, "b"), put(Tree::Jobs, "a", "4")]).unwrap();
        drop(kv);
        let kv = RedbKv::open(&path).unwrap();
        assert_eq!(kv.position(), 20);
        assert_eq!(kv.load(Tree::Jobs).unwrap(), [(b"a".to_vec(), b"4".to_vec())]);
        assert_eq!(kv.load(Tree::Cursors).unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
        assert_eq!(kv.load(Tree::PushGroups).unwrap(), []);
    }

    #[test]
    fn what_was_applied_before_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kv = RedbKv::open(&dir.path().join("kv")).unwrap();
        kv.apply(20, &[put(Tree::Jobs, "a", "new")]).unwrap();
        kv.apply(10, &[put(Tree::Jobs, "a", "old")]).unwrap();
        kv.apply(20, &[put(Tree::Jobs, "a", "old")]).unwrap();
        assert_eq!((kv.position(), kv.load(Tree::Jobs).unwrap()[0].1.as_slice()), (20, &b"new"[..]));
    }

    #[test]
    fn a_second_process_is_told_that_the_directory_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let _kv = RedbKv::open(&dir.path().join("kv")).unwrap();
        let second = RedbKv::open(&dir.path().join("kv"));
        assert!(matches!(second, Err(StoreError::Directory(message)) if message.contains("another process")));
    }

    #[test]
    fn whichever_page_is_damaged_the_store_opens_and_takes_changes() {
        let original = tempfile::tempdir().unwrap();
        let kv = RedbKv::open(&original.path().join("kv")).unwrap();
        let long = "x".repeat(200);
        for round in 0..5u64 {
            let changes: Vec<_> =
                (0..100).map(|n| put(Tree::PushGroups, &format!("{n:03}"), &format!("{n}{long}"))).collect();
            kv.apply(round + 1, &changes).unwrap();
        }
        drop(kv);
        let bytes = std::fs::read(original.path().join("kv").join(FILE)).unwrap();
        let pages = bytes.len() / 4096;
        for page in (0..pages).step_by((pages / 40).max(1)) {
            for cut in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let copy = dir.path().join("kv");
                std::fs::create_dir_all(&copy).unwrap();
                let mut damaged = bytes.clone();
                match cut {
                    true => damaged.truncate(page * 4096 + 1000),
                    false => damaged[page * 4096 + 100] ^= 1,
                }
                std::fs::write(copy.join(FILE), damaged).unwrap();
                let kv = RedbKv::open(&copy).unwrap_or_else(|e| panic!("page {page}, cut {cut}: {e}"));
                kv.apply(1000, &[put(Tree::PushGroups, "after", "x")]).unwrap();
                drop(kv);
                let kv = RedbKv::open(&copy).unwrap();
                let pairs = kv.load(Tree::PushGroups).unwrap();
                assert!(pairs.iter().any(|(key, _)| key == b"after"));
                assert!(pairs.iter().all(|(key, value)| key == b"after" || value.ends_with(long.as_bytes())));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn redb_and_the_map_in_memory_agree(
            batches in prop::collection::vec(prop::collection::vec((0..3u8, "[a-d]{0,3}", prop::option::of(".{0,40}")), 0..30), 1..10),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("kv");
            let memory = MemoryKv::default();
            for (index, batch) in batches.iter().enumerate() {
                let change = |(tree, key, value): &(u8, String, Option<String>)| StateChange {
                    tree: trees::TREES[*tree as usize],
                    key: key.clone().into(),
                    value: value.clone().map(Into::into),
                };
                let changes: Vec<StateChange> = batch.iter().map(change).collect();
                let kv = RedbKv::open(&path).unwrap();
                kv.apply(index as u64 + 1, &changes).unwrap();
                memory.apply(index as u64 + 1, &changes).unwrap();
                drop(kv);
                let kv = RedbKv::open(&path).unwrap();
                prop_assert_eq!(kv.position(), memory.position());
                for tree in trees::TREES {
                    prop_assert_eq!(kv.load(tree).unwrap(), memory.load(tree).unwrap());
                }
            }
        }
    }
}
