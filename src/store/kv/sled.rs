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
    time::Duration,
};

/// Keys in a leaf. Small: one change writes one leaf, and one damaged leaf loses no more than this.
const LEAF_KEYS: usize = 64;

/// All of the state is in the engine's memory already: sled need not cache it once more.
const CACHE_BYTES: usize = 64 << 10;

/// The state is small and opens in milliseconds. Longer than this, and sled has met damage that makes it wait for ever.
const OPEN_SECONDS_MAX: u64 = if cfg!(test) { 1 } else { 10 };

type Db = ::sled::Db<LEAF_KEYS>;
type Batch = ::sled::Batch;
type Item = io::Result<(::sled::InlineArray, ::sled::InlineArray)>;

/// Small state in a sled directory.
pub struct SledKv {
    dir: PathBuf,
    inner: Mutex<Inner>,
}

struct Inner {
    /// `None` after a failure, until the next call opens it again: sled answers nothing any more after an error.
    open: Option<Db>,
    position: u64,
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
                let salvage = salvage(&open);
                if salvage.damage.is_none() {
                    let inner = Mutex::new(Inner { open: Some(open), position: salvage.position });
                    return Ok(SledKv { dir: dir.to_owned(), inner });
                }
                // Closing it would read the damage again, and can panic; so this one stays open until the process ends.
                std::mem::forget(open);
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
        if let Err(error) = caught(|| write(&open, position, changes)) {
            // After a panic the drop could panic again, which ends the process. Kept open, the directory stays locked
            // and each write fails until a restart looks at the damage; the log holds everything meanwhile.
            if is_damage(&error) {
                std::mem::forget(open)
            } else {
                drop(open)
            }
            return Err(StoreError::io("writing the state")(error));
        }
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
        let read =
            || open.scan_prefix([tree as u8]).map(|pair| pair.map(|(k, v)| (k[1..].to_vec(), v.to_vec()))).collect();
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

fn write(db: &Db, position: u64, changes: &[StateChange]) -> io::Result<()> {
    let mut batch = Batch::default();
    for change in changes {
        let key = trees::disk_key(change.tree, &change.key);
        match &change.value {
            Some(value) => batch.insert(key, value.as_slice()),
            None => batch.remove(key),
        }
    }
    batch.insert(trees::POSITION_KEY, position.to_le_bytes().as_slice());
    db.apply_batch(batch)?;
    db.flush()?;
    Ok(())
}

/// Reads everything. A damaged leaf ends a walk, so the other end is tried too.
fn salvage(db: &Db) -> Salvage {
    let mut salvage = Salvage { position: 0, pairs: Vec::new(), damage: None };
    salvage.damage = walk(|| db.iter(), &mut salvage).err();
    if salvage.damage.is_some() {
        // Keys met in both walks are written twice, with the same value.
        let _ = walk(|| db.iter().rev(), &mut salvage);
    }
    salvage
}

fn walk<I: Iterator<Item = Item>>(items: impl FnOnce() -> I, salvage: &mut Salvage) -> io::Result<()> {
    caught(|| {
        for item in items() {
            let (key, value) = item?;
            if key == trees::POSITION_KEY {
                salvage.position = value.as_ref().try_into().map_or(0, u64::from_le_bytes);
            }
            salvage.pairs.extend(trees::read(&key, &value));
        }
        Ok(())
    })
}

/// Opens sled. A thread of its that is just ending may hold the directory a little longer than the last handle.
fn open(dir: &Path) -> io::Result<Db> {
    for _ in 0..20 {
        match open_once(dir) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(50)),
            opened => return opened,
        }
    }
    open_once(dir)
}

/// Opens sled on a thread of its own, because some kinds of damage make it wait for ever.
fn open_once(dir: &Path) -> io::Result<Db> {
    let config = ::sled::Config::new()
        .path(dir)
        .cache_capacity_bytes(CACHE_BYTES)
        .entry_cache_percent(1)
        .flush_every_ms(None)
        .zstd_compression_level(1);
    // sled has the machine sync all its disks before it reads. Done here, so that it does not count as waiting; and on
    // a disk that is busy with other things the second one takes its time too, which is no sign of damage.
    let syncing = std::time::Instant::now();
    rustix::fs::sync();
    let patience = Duration::from_secs(OPEN_SECONDS_MAX).max(syncing.elapsed() * 4);
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    std::thread::Builder::new().name("kv-open".to_owned()).spawn(move || {
        // Nobody listens any more after the time is up; the database closes then.
        let _ = sender.send(caught(|| config.open()));
    })?;
    let opened = receiver.recv_timeout(patience);
    opened
        .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::InvalidData, "sled does not come back from opening it")))
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
        let filled = files(&path).into_iter().filter(|f| f.metadata().unwrap().len() > 0);
        let names: Vec<PathBuf> = filled.map(|f| f.strip_prefix(&path).unwrap().to_owned()).collect();
        assert!(names.len() > 2);
        for name in names {
            for damage in ["flip", "cut", "remove"] {
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
