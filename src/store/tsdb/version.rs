//! What a newer program wrote is not damage: a directory with any of it is refused before anything in it is touched.

use super::{block::newer_format, checkpoint, keeping::KEPT, log, options::TIERS};
use crate::{
    stdx::vfs::{OpenMode, Vfs},
    store::StoreError,
};
use std::path::Path;

/// Files that begin with seven letters and a version as a byte, and end with the CRC32C of all before; each with the newest
/// version known.
const MARKED: [(&str, &[u8; 7], u8); 5] = [
    ("checkpoint", b"OBSCKPT", checkpoint::VERSION_KEPT),
    ("checkpoint.copy", b"OBSCKPT", checkpoint::VERSION_KEPT),
    ("exemplars", b"OBSEXMP", 1),
    ("tombstones", b"OBSTOMB", 1),
    ("tombstones.copy", b"OBSTOMB", 1),
];

/// Fails with what is newer; reads little and changes nothing.
pub fn check(vfs: &dyn Vfs, directory: &Path) -> Result<(), StoreError> {
    log::check_version(vfs, &directory.join("log"))?;
    for (name, magic, known) in MARKED {
        if let Some(version) = newer_marked(vfs, &directory.join(name), magic, known) {
            return Err(newer(name, u64::from(version), u64::from(known)));
        }
    }
    check_blocks(vfs, directory, "blocks")?;
    check_blocks(vfs, directory, KEPT)?;
    let tiers = vfs.list(&directory.join(TIERS)).unwrap_or_default();
    tiers.iter().try_for_each(|tier| check_blocks(vfs, directory, &format!("{TIERS}/{tier}")))
}

fn check_blocks(vfs: &dyn Vfs, directory: &Path, below: &str) -> Result<(), StoreError> {
    let blocks = directory.join(below);
    for name in vfs.list(&blocks).unwrap_or_default().iter().filter(|name| name.ends_with(".block")) {
        if let Some(version) = newer_format(vfs, &blocks.join(name)) {
            return Err(newer(&format!("{below}/{name}"), u64::from(version), 1));
        }
    }
    Ok(())
}

/// The text is for the person who starts the program.
fn newer(name: &str, version: u64, known: u64) -> StoreError {
    StoreError::Directory(format!(
        "{name} was written by a newer program: it is of format {version} and this program knows formats up to {known}; \
         start the newer program again, or choose another data directory. Nothing was changed"
    ))
}

fn newer_marked(vfs: &dyn Vfs, path: &Path, magic: &[u8; 7], known: u8) -> Option<u8> {
    let mut beginning = [0; 8];
    vfs.open(path, OpenMode::Read).ok()?.read_exact_at(&mut beginning, 0).ok()?;
    let version = beginning[7];
    if !beginning.starts_with(magic) || version <= known {
        return None;
    }
    // A flipped bit is no newer version: the checksum of the whole tells.
    let bytes = vfs.read(path).ok()?;
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32c::crc32c(body) == u32::from_le_bytes(*crc)).then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        stdx::vfs::VfsFile,
        store::{
            Appendable, WriteBatch,
            tsdb::{
                Tsdb,
                tests::{Bench, NOW, labels},
            },
        },
    };
    use std::sync::Arc;

    fn filled() -> Bench {
        let bench = Bench::new();
        let store = bench.open();
        let mut batch = WriteBatch::default();
        batch.push(store.series_id(&labels(1)).unwrap(), NOW, 1.0);
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
        store.seal_all().unwrap();
        store.append(&batch).unwrap().ticket.wait_blocking().unwrap();
        bench
    }

    fn rewrite(bench: &Bench, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let path = Path::new("/data").join(name);
        let mut bytes = bench.vfs.read(&path).unwrap();
        change(&mut bytes);
        let file: Arc<dyn VfsFile> = bench.vfs.open(&path, OpenMode::ReadWrite).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
    }

    fn refusal(bench: &Bench) -> Option<String> {
        bench.try_open().map(|_: Tsdb| ()).err().map(|error| error.to_string())
    }

    fn seal(bytes: &mut [u8]) {
        let (body, crc) = bytes.split_last_chunk_mut::<4>().unwrap();
        *crc = crc32c::crc32c(body).to_le_bytes();
    }

    #[test]
    fn a_newer_checkpoint_is_refused_and_a_damaged_one_is_not() {
        for name in ["checkpoint", "checkpoint.copy"] {
            let bench = filled();
            rewrite(&bench, name, |bytes| bytes[7] = 3);
            assert_eq!(refusal(&bench), None, "its checksum says that it is damaged");
            let bench = filled();
            rewrite(&bench, name, |bytes| {
                bytes[7] = 3;
                seal(bytes);
            });
            let message = refusal(&bench).unwrap();
            assert!(message.contains("newer program") && message.contains(name), "{message}");
        }
    }

    #[test]
    fn a_newer_block_is_refused_and_a_damaged_one_is_not() {
        let bench = filled();
        let name = bench.vfs.list(Path::new("/data/blocks")).unwrap().remove(0);
        rewrite(&bench, &format!("blocks/{name}"), |bytes| bytes[8] = 2);
        assert_eq!(refusal(&bench), None, "one flipped bit in the header, and both footers as they were");
        let bench = filled();
        let name = bench.vfs.list(Path::new("/data/blocks")).unwrap().remove(0);
        rewrite(&bench, &format!("blocks/{name}"), |bytes| {
            bytes[8] = 2;
            let end = bytes.len();
            bytes[end - 1] = b'2';
            bytes[16 + 151] = b'2';
        });
        let message = refusal(&bench).unwrap();
        assert!(message.contains("newer program") && message.contains(&name), "{message}");
    }

    #[test]
    fn a_newer_log_is_refused_before_anything_is_touched() {
        let bench = filled();
        let name = bench.vfs.list(Path::new("/data/log")).unwrap().into_iter().find(|n| n.starts_with('0')).unwrap();
        rewrite(&bench, &format!("log/{name}"), |bytes| {
            bytes[8] = 2;
            let crc = crc32c::crc32c(&bytes[..60]).to_le_bytes();
            bytes[60..64].copy_from_slice(&crc);
        });
        let before: Vec<_> = ["/data", "/data/log", "/data/blocks"].map(|dir| bench.files(dir)).to_vec();
        assert!(refusal(&bench).unwrap().contains("format 2"));
        let after: Vec<_> = ["/data", "/data/log", "/data/blocks"].map(|dir| bench.files(dir)).to_vec();
        assert_eq!(before, after);
    }
}
