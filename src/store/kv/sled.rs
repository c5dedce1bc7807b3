//! Small state in sled, which nothing else in the program uses.
//!
//! sled flushes by epochs: what was written between two flushes reaches its log as one checksummed frame. No thread of
//! sled flushes here (`flush_every_ms(None)`) and one lock orders the calls, so one [`Kv::apply`] is one epoch.

use super::{Kv, Pair, trees};
use crate::store::{StateChange, StoreError, Tree};
use parking_lot::Mutex;
use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Keys in a leaf. Small: one change writes one leaf, and one damaged leaf loses no more than this.
const LEAF_KEYS: usize = 64;

/// All of the state is in the engine's memory already: sled need not cache it once more.
const CACHE_BYTES: usize = 64 << 10;

type Db = ::sled::Db<LEAF_KEYS>;
type SledTree = ::sled::Tree<LEAF_KEYS>;

/// Small state in a sled directory.
pub struct SledKv {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` after a failure, until the next call opens it again: sled answers nothing any more after an error.
    open: Option<Open>,
    position: u64,
}

struct Open {
    db: Db,
    meta: SledTree,
    /// In the order of [`trees::TREES`].
    trees: Vec<SledTree>,
}

/// What could be read, where the rest is damaged.
struct Salvage {
    position: u64,
    pairs: Vec<StateChange>,
    damage: Option<io::Error>,
}

impl SledKv {
    /// Opens the directory, which is made where it is missing. A damaged one is moved aside, and what can still be
    /// read of it goes into a fresh one; that is logged. Fails where the disk or another process keeps it from being used.
    pub fn open(dir: &Path) -> Result<SledKv, StoreError> {
        let salvage = match open(dir) {
            Ok(open) => {
                let salvage = open.salvage();
                if salvage.damage.is_none() {
                    let inner = Mutex::new(Inner { open: Some(open), position: salvage.position });
                    return Ok(SledKv { dir: dir.to_owned(), inner });
                }
                salvage
            }
            Err(error) if is_damage(&error) => Salvage { position: 0, pairs: Vec::new(), damage: Some(error) },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(StoreError::Directory(format!(
                    "{} is in use by another process; stop that one, or choose another data directory",
                    dir.display()
                )));
            }
            Err(error) => return Err(StoreError::io("opening the state's directory")(error)),
        };
        let aside = move_aside(dir).map_err(StoreError::io("moving a damaged state directory aside"))?;
        tracing::warn!(
            cause = salvage.damage.map(|error| error.to_string()),
            kept_keys = salvage.pairs.len(),
            moved_to = %aside.display(),
            "The state in {} is damaged. It was moved aside; what could be read of it, and what the log still holds, \
             goes on. Push groups or cursors may be missing: push again, or restore the directory from a backup.",
            dir.display()
        );
        let inner = Inner {
            open: Some(open(dir).map_err(StoreError::io("making a new state directory"))?),
            position: salvage.position,
        };
        let kv = SledKv { dir: dir.to_owned(), inner: Mutex::new(inner) };
        kv.write(&mut kv.inner.lock(), salvage.position, &salvage.pairs)?;
        Ok(kv)
    }

    fn write(&self, inner: &mut Inner, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        let result = match inner.open.take() {
            Some(open) => Ok(open),
            None => open(&self.dir),
        };
        let open = result.map_err(StoreError::io("opening the state's directory again"))?;
        caught(|| open.write(position, changes)).map_err(StoreError::io("writing the state"))?;
        inner.open = Some(open);
        inner.position = position;
        Ok(())
    }
}

impl Kv for SledKv {
    fn load(&self, tree: Tree) -> Result<Vec<Pair>, StoreError> {
        let inner = self.inner.lock();
        let Some(open) = &inner.open else {
            return Err(StoreError::Damaged("the state's last write failed; it is opened again by the next".into()));
        };
        let read = || open.tree(tree).iter().map(|pair| pair.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect();
        caught(read).map_err(StoreError::io("reading the state"))
    }

    fn apply(&self, position: u64, changes: &[StateChange]) -> Result<(), StoreError> {
        let mut inner = self.inner.lock();
        if position <= inner.position {
            return Ok(());
        }
        self.write(&mut inner, position, changes)
    }

    fn position(&self) -> u64 {
        self.inner.lock().position
    }
}

impl Open {
    fn tree(&self, tree: Tree) -> &SledTree {
        let index = trees::TREES.iter().position(|t| *t == tree).expect("TREES lists every tree");
        &self.trees[index]
    }

    fn write(&self, position: u64, changes: &[StateChange]) -> io::Result<()> {
        let mut batches: Vec<::sled::Batch> = trees::TREES.iter().map(|_| ::sled::Batch::default()).collect();
        for change in changes {
            let index = trees::TREES.iter().position(|t| *t == change.tree).expect("TREES lists every tree");
            match &change.value {
                Some(value) => batches[index].insert(change.key.as_slice(), value.as_slice()),
                None => batches[index].remove(change.key.as_slice()),
            }
        }
        for (tree, batch) in self.trees.iter().zip(batches) {
            tree.apply_batch(batch)?;
        }
        self.meta.insert(trees::META_POSITION, &position.to_le_bytes())?;
        self.db.flush()?;
        Ok(())
    }

    /// Reads everything. A damaged leaf ends a walk, so each tree is walked from both ends.
    fn salvage(&self) -> Salvage {
        let (mut pairs, mut damage) = (Vec::new(), None);
        for (tree, sled) in trees::TREES.iter().zip(&self.trees) {
            let forward = walk(|| sled.iter(), *tree, &mut pairs);
            if forward.is_err() {
                // Keys met in both walks are written twice, with the same value.
                let _ = walk(|| sled.iter().rev(), *tree, &mut pairs);
            }
            damage = damage.or(forward.err());
        }
        let position = match caught(|| self.meta.get(trees::META_POSITION)) {
            Ok(value) => value.and_then(|v| Some(u64::from_le_bytes(v.as_ref().try_into().ok()?))).unwrap_or(0),
            Err(error) => {
                damage = damage.or(Some(error));
                0
            }
        };
        Salvage { position, pairs, damage }
    }
}

type Item = io::Result<(::sled::InlineArray, ::sled::InlineArray)>;

fn walk<I: Iterator<Item = Item>>(
    pairs_of: impl FnOnce() -> I,
    tree: Tree,
    found: &mut Vec<StateChange>,
) -> io::Result<()> {
    caught(|| {
        for pair in pairs_of() {
            let (key, value) = pair?;
            found.push(StateChange { tree, key: key.to_vec(), value: Some(value.to_vec()) });
        }
        Ok(())
    })
}

fn open(dir: &Path) -> io::Result<Open> {
    let config = ::sled::Config::new()
        .path(dir)
        .cache_capacity_bytes(CACHE_BYTES)
        .entry_cache_percent(1)
        .flush_every_ms(None)
        .zstd_compression_level(1);
    caught(|| {
        let db: Db = config.open()?;
        let meta = db.open_tree(trees::META)?;
        let trees = trees::TREES.iter().map(|tree| db.open_tree(trees::name(*tree))).collect::<io::Result<_>>()?;
        Ok(Open { db, meta, trees })
    })
}

/// Runs sled, which answers some kinds of damage by a panic, and makes an error of it.
fn caught<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(io::Error::new(io::ErrorKind::InvalidData, message_of(&*panic))))
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("sled panicked").to_owned()
}

/// Errors that say the bytes are wrong. Anything else (no permission, a full disk) passes, and the bytes stay.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput)
}

/// Renames the directory to the first free name beside it.
fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    for number in 1.. {
        let mut name = dir.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let aside = PathBuf::from(name);
        if !aside.exists() {
            std::fs::rename(dir, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
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
        let kv = SledKv::open(&path).unwrap();
        assert_eq!(kv.position(), 0);
        kv.apply(10, &[put(Tree::Jobs, "a", "1"), put(Tree::Cursors, "a", "2"), put(Tree::Jobs, "b", "3")]).unwrap();
        kv.apply(20, &[remove(Tree::Jobs, "b"), put(Tree::Jobs, "a", "4")]).unwrap();
        drop(kv);
        let kv = SledKv::open(&path).unwrap();
        assert_eq!(kv.position(), 20);
        assert_eq!(kv.load(Tree::Jobs).unwrap(), [(b"a".to_vec(), b"4".to_vec())]);
        assert_eq!(kv.load(Tree::Cursors).unwrap(), [(b"a".to_vec(), b"2".to_vec())]);
        assert_eq!(kv.load(Tree::PushGroups).unwrap(), []);
    }

    #[test]
    fn what_was_applied_before_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let kv = SledKv::open(&dir.path().join("kv")).unwrap();
        kv.apply(20, &[put(Tree::Jobs, "a", "new")]).unwrap();
        kv.apply(10, &[put(Tree::Jobs, "a", "old")]).unwrap();
        kv.apply(20, &[put(Tree::Jobs, "a", "old")]).unwrap();
        assert_eq!((kv.position(), kv.load(Tree::Jobs).unwrap()[0].1.as_slice()), (20, &b"new"[..]));
    }

    #[test]
    fn a_second_process_is_told_that_the_directory_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let _kv = SledKv::open(&dir.path().join("kv")).unwrap();
        let second = SledKv::open(&dir.path().join("kv"));
        assert!(matches!(second, Err(StoreError::Directory(message)) if message.contains("another process")));
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
        }
        found.sort();
        found
    }

    #[test]
    fn whichever_file_is_damaged_the_store_opens_and_takes_changes() {
        let original = tempfile::tempdir().unwrap();
        let path = original.path().join("kv");
        let kv = SledKv::open(&path).unwrap();
        let long = "x".repeat(200);
        for round in 0..5u64 {
            let changes: Vec<_> =
                (0..100).map(|n| put(Tree::PushGroups, &format!("{n:03}"), &format!("{n}{long}"))).collect();
            kv.apply(round + 1, &changes).unwrap();
        }
        drop(kv);
        let names: Vec<PathBuf> = files(&path).iter().map(|f| f.strip_prefix(&path).unwrap().to_owned()).collect();
        for name in names {
            for damage in ["flip", "cut", "zero", "remove"] {
                let dir = tempfile::tempdir().unwrap();
                let copy = dir.path().join("kv");
                for file in files(&path) {
                    let to = copy.join(file.strip_prefix(&path).unwrap());
                    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                    std::fs::copy(&file, to).unwrap();
                }
                let mut bytes = std::fs::read(copy.join(&name)).unwrap();
                let middle = bytes.len() / 2;
                match damage {
                    "flip" if !bytes.is_empty() => bytes[middle] ^= 1,
                    "cut" => bytes.truncate(middle),
                    "zero" => bytes.fill(0),
                    _ => {}
                }
                std::fs::write(copy.join(&name), bytes).unwrap();
                if damage == "remove" {
                    std::fs::remove_file(copy.join(&name)).unwrap();
                }
                let kv = SledKv::open(&copy).unwrap_or_else(|e| panic!("{} {damage}: {e}", name.display()));
                kv.apply(1000, &[put(Tree::PushGroups, "after", "x")]).unwrap();
                drop(kv);
                let kv = SledKv::open(&copy).unwrap();
                let pairs = kv.load(Tree::PushGroups).unwrap();
                assert!(pairs.iter().any(|(key, _)| key == b"after"));
                eprintln!("{} {damage}: {} of 101 keys", name.display(), pairs.len());
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn sled_and_the_map_in_memory_agree(
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
                let kv = SledKv::open(&path).unwrap();
                kv.apply(index as u64 + 1, &changes).unwrap();
                memory.apply(index as u64 + 1, &changes).unwrap();
                drop(kv);
                let kv = SledKv::open(&path).unwrap();
                prop_assert_eq!(kv.position(), memory.position());
                for tree in trees::TREES {
                    prop_assert_eq!(kv.load(tree).unwrap(), memory.load(tree).unwrap());
                }
            }
        }
    }
}
