//! A file system in memory for tests. It knows what is durable and what is not, so the power can be cut at any moment,
//! and it fails the calls it is told to fail.

use super::{OpenMode, Space, Vfs, VfsFile};
use crate::stdx::clock::{Clock, ManualClock};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Sectors survive a power cut whole or not at all.
const SECTOR_BYTES: usize = 512;

/// A small generator (splitmix64): the same seed, the same faults.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }
}

/// A disk in memory. Clones share it.
#[derive(Clone, Default)]
pub struct SimulatedVfs(Arc<Mutex<Disk>>);

#[derive(Default)]
struct Disk {
    files: Vec<Inode>,
    /// Names as programs see them, and as they would be after a power cut.
    names: BTreeMap<PathBuf, usize>,
    names_durable: BTreeMap<PathBuf, usize>,
    /// Changes of names that no `sync_dir` has made durable yet, in order.
    name_changes: Vec<NameChange>,
    calls: u64,
    /// Calls numbered `faults.0 .. faults.0 + faults.1` fail.
    faults: (u64, u64),
    /// Bytes that all files may have together; `None` for as many as one likes.
    capacity: Option<u64>,
    /// What files are stamped with when they are written to.
    clock: Option<ManualClock>,
}

/// What a disk without a capacity says that it has.
const ENDLESS: u64 = 1 << 50;

#[derive(Default, Clone)]
struct Inode {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
    modified_ms: i64,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn dir(&self) -> Option<&Path> {
        match self {
            NameChange::Create(path, _) | NameChange::Rename(_, path) | NameChange::Remove(path) => path.parent(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

fn write_at(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl Inode {
    /// Applies the changes that were not synced to the durable bytes: all of them, or sector by sector at random.
    fn settle(&mut self, mut random: Option<&mut Random>) {
        let keep_of_8 = random.as_mut().map_or(8, |r| r.below(9));
        let mut kept = || random.as_mut().is_none_or(|r| r.below(8) < keep_of_8);
        for change in self.changes.drain(..) {
            match change {
                Change::Length(length) => {
                    if kept() {
                        self.durable.resize(length, 0);
                    }
                }
                Change::Write { offset, bytes } => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let at = offset + done;
                        let part = (SECTOR_BYTES - at % SECTOR_BYTES).min(bytes.len() - done);
                        if kept() {
                            write_at(&mut self.durable, at, &bytes[done..done + part]);
                        }
                        done += part;
                    }
                }
            }
        }
    }
}

impl Disk {
    /// Counts a call that changes something, and fails it where that was asked for.
    fn call(&mut self) -> io::Result<()> {
        let number = self.calls;
        self.calls += 1;
        if number >= self.faults.0 && number - self.faults.0 < self.faults.1 {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.files[*inode].bytes.len() as u64).sum()
    }

    /// Fails where a file cannot grow to `length`.
    fn grow(&self, inode: usize, length: usize) -> io::Result<()> {
        let more = length.saturating_sub(self.files[inode].bytes.len()) as u64;
        match self.capacity {
            Some(capacity) if more > 0 && self.used() + more > capacity => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl SimulatedVfs {
    pub fn new() -> SimulatedVfs {
        SimulatedVfs::default()
    }

    /// What a machine finds after the power was cut now: synced bytes and names, and a random part of the others.
    pub fn after_power_cut(&self, seed: u64) -> SimulatedVfs {
        let mut random = Random(seed);
        let disk = self.0.lock();
        let mut names = disk.names_durable.clone();
        let kept = random.below(disk.name_changes.len() as u64 + 1) as usize;
        disk.name_changes[..kept].iter().for_each(|change| change.apply(&mut names));
        let mut files = disk.files.clone();
        for file in &mut files {
            file.settle(Some(&mut random));
            file.bytes = file.durable.clone();
        }
        let names_durable = names.clone();
        let (capacity, clock) = (disk.capacity, disk.clock.clone());
        SimulatedVfs(Arc::new(Mutex::new(Disk { files, names, names_durable, capacity, clock, ..Disk::default() })))
    }

    /// How many calls that change something (open to create, write, sync, rename, remove, ...) there were.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Lets `count` changing calls fail, from call number `first` on. A write that fails has written half; what a
    /// failed sync should have made durable stays readable and is lost at the next power cut, in part or whole.
    pub fn fail(&self, first: u64, count: u64) {
        self.0.lock().faults = (first, count);
    }

    /// Lets every changing call fail from now on, until [`SimulatedVfs::heal`].
    pub fn break_down(&self) {
        let mut disk = self.0.lock();
        disk.faults = (disk.calls, u64::MAX);
    }

    /// From now on files may have so many bytes together; those that are there stay.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.0.lock().capacity = bytes;
    }

    /// From now on files say that they were written when this clock says it is.
    pub fn set_clock(&self, clock: ManualClock) {
        self.0.lock().clock = Some(clock);
    }

    pub fn heal(&self) {
        self.0.lock().faults = (0, 0);
    }

    /// Changes one byte of a file on the medium.
    pub fn corrupt(&self, path: &Path, offset: usize, mask: u8) {
        let mut disk = self.0.lock();
        let inode = disk.inode(path).expect("the file to corrupt exists");
        let file = &mut disk.files[inode];
        file.bytes[offset] ^= mask;
        if let Some(byte) = file.durable.get_mut(offset) {
            *byte ^= mask;
        }
    }
}

impl Vfs for SimulatedVfs {
    fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        self.0.lock().call()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut disk = self.0.lock();
        let inode = match disk.inode(path) {
            Err(_) if mode == OpenMode::Create => {
                disk.call()?;
                disk.files.push(Inode::default());
                let inode = disk.files.len() - 1;
                disk.names.insert(path.to_owned(), inode);
                disk.name_changes.push(NameChange::Create(path.to_owned(), inode));
                inode
            }
            found => found?,
        };
        Ok(Arc::new(SimulatedFile { disk: self.0.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call()?;
        disk.inode(from)?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut disk.names);
        disk.name_changes.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call()?;
        disk.inode(path)?;
        disk.names.remove(path);
        disk.name_changes.push(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.0.lock();
        let inside = disk.names.keys().filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<String> = inside.filter_map(|name| Some(name.as_os_str().to_str()?.to_owned())).collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        disk.call()?;
        let Disk { name_changes, names_durable, .. } = &mut *disk;
        name_changes.retain(|change| {
            let here = change.dir() == Some(dir);
            if here {
                change.apply(names_durable);
            }
            !here
        });
        Ok(())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let disk = self.0.lock();
        Ok(disk.files[disk.inode(path)?].bytes.len() as u64)
    }

    fn modified_ms(&self, path: &Path) -> io::Result<i64> {
        let disk = self.0.lock();
        Ok(disk.files[disk.inode(path)?].modified_ms)
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let disk = self.0.lock();
        let total = disk.capacity.unwrap_or(ENDLESS);
        Ok(Space { total, free: total.saturating_sub(disk.used()) })
    }
}

struct SimulatedFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
}

impl VfsFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.lock();
        let bytes = disk.files[self.inode].bytes.get(offset as usize..).unwrap_or_default();
        let read = bytes.len().min(buffer.len());
        buffer[..read].copy_from_slice(&bytes[..read]);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.grow(self.inode, offset as usize + bytes.len())?;
        let result = disk.call();
        let bytes = if result.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        let now_ms = disk.clock.as_ref().map_or(0, Clock::now_ms);
        let file = &mut disk.files[self.inode];
        file.modified_ms = now_ms;
        write_at(&mut file.bytes, offset as usize, bytes);
        file.changes.push(Change::Write { offset: offset as usize, bytes: bytes.to_owned() });
        result
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let result = disk.call();
        let mut random = Random(disk.calls);
        disk.files[self.inode].settle(if result.is_ok() { None } else { Some(&mut random) });
        result
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.grow(self.inode, bytes as usize)?;
        disk.call()?;
        let file = &mut disk.files[self.inode];
        file.bytes.resize(bytes as usize, 0);
        file.changes.push(Change::Length(bytes as usize));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.len()? < bytes { self.set_len(bytes) } else { Ok(()) }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.inode].bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_synced_is_sure_to_survive_a_power_cut() {
        let (dir, path) = (Path::new("/d"), Path::new("/d/a"));
        let vfs = SimulatedVfs::new();
        let file = vfs.open(path, OpenMode::Create).unwrap();
        file.write_all_at(&[1; 4096], 0).unwrap();
        file.sync_data().unwrap();
        assert!((0..20).any(|seed| vfs.after_power_cut(seed).list(dir).unwrap().is_empty()));
        vfs.sync_dir(dir).unwrap();
        file.write_all_at(&[2; 4096], 0).unwrap();
        let seen: Vec<Vec<u8>> = (0..20).map(|seed| vfs.after_power_cut(seed).read(path).unwrap()).collect();
        assert!(seen.iter().all(|bytes| bytes.len() == 4096));
        assert!(seen.iter().any(|bytes| bytes.contains(&1) && bytes.contains(&2)), "some cut tears the write");
        file.sync_data().unwrap();
        assert_eq!(vfs.after_power_cut(1).read(path).unwrap(), [2; 4096]);
    }

    #[test]
    fn a_full_disk_takes_nothing_more_until_something_goes() {
        let vfs = SimulatedVfs::new();
        vfs.set_capacity(Some(1000));
        let [a, b] = ["/d/a", "/d/b"].map(|path| vfs.open(Path::new(path), OpenMode::Create).unwrap());
        a.write_all_at(&[1; 900], 0).unwrap();
        assert_eq!(vfs.space(Path::new("/d")).unwrap(), Space { total: 1000, free: 100 });
        assert_eq!(b.write_all_at(&[1; 101], 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(b.allocate(101).unwrap_err().kind(), io::ErrorKind::StorageFull);
        a.write_all_at(&[2; 900], 0).unwrap();
        vfs.remove(Path::new("/d/a")).unwrap();
        b.write_all_at(&[1; 1000], 0).unwrap();
    }

    #[test]
    fn what_a_failed_sync_lost_no_later_sync_brings_back() {
        let path = Path::new("/d/a");
        let vfs = SimulatedVfs::new();
        let file = vfs.open(path, OpenMode::Create).unwrap();
        vfs.sync_dir(Path::new("/d")).unwrap();
        let mut lost = false;
        for _ in 0..20 {
            file.write_all_at(&[7; 1024], 0).unwrap();
            vfs.fail(vfs.calls(), 1);
            assert!(file.sync_data().is_err());
            assert_eq!(vfs.read(path).unwrap(), [7; 1024]);
            file.sync_data().unwrap();
            lost |= vfs.after_power_cut(0).read(path).unwrap() != [7; 1024];
        }
        assert!(lost);
    }
}
