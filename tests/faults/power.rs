//! Power cuts: an ext4 image on a loop device is shut down at once, without its journal being flushed, the process
//! killed, the image mounted again. What was not synced is gone, as with a pulled plug.
//!
//! Needs root and a loop device. Where there is neither, `OBSERVATORY_NO_POWER_CUT=1` says that this is known.

use super::load::Load;
use super::past::Past;
use super::support::server::{Options, TestServer};
use super::support::tools::{program, run_ok};
use super::{START_MAX, random_between, rounds, turn};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `EXT4_IOC_SHUTDOWN`, and its way that drops what has not reached the disk, the journal included.
const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587D;
const NO_LOG_FLUSH: u32 = 2;

/// A filesystem whose plug can be pulled.
#[derive(Debug)]
pub struct Disk {
    image: PathBuf,
    pub mount: PathBuf,
    _directory: tempfile::TempDir,
}

impl Disk {
    /// `None` where the machine cannot and the environment says that this is known.
    fn new() -> Option<Disk> {
        Disk::of(256)
    }

    /// One of so many MiB.
    pub fn of(mib: u64) -> Option<Disk> {
        if std::env::var_os("OBSERVATORY_NO_POWER_CUT").is_some_and(|value| value == "1") {
            println!("no power cut was tried: OBSERVATORY_NO_POWER_CUT=1");
            return None;
        }
        assert!(
            rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists(),
            "power cuts and full disks need root and a loop device; set OBSERVATORY_NO_POWER_CUT=1 to leave them out"
        );
        let directory = tempfile::tempdir().unwrap();
        let (image, mount) = (directory.path().join("image"), directory.path().join("mount"));
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        run_ok(Command::new(program("mkfs.ext4", "e2fsprogs")).args(["-q", "-m", "0"]).arg(&image));
        let disk = Disk { image, mount, _directory: directory };
        disk.attach();
        Some(disk)
    }

    fn attach(&self) {
        run_ok(Command::new(program("mount", "mount")).args(["-o", "loop"]).arg(&self.image).arg(&self.mount));
    }

    /// Everything written and not synced is lost from here on; nothing more can be written.
    fn cut(&self) {
        let root = File::open(&self.mount).unwrap();
        // SAFETY: the opcode reads one u32 behind the pointer, which is what `Setter` passes.
        let shutdown = unsafe { rustix::ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH) };
        // SAFETY: shutting a filesystem down touches no memory of this process.
        unsafe { rustix::ioctl::ioctl(&root, shutdown) }.expect("shut the filesystem down");
    }

    /// Power comes back: the journal is replayed. Every process that used the disk has to be gone.
    fn restore(&self) {
        self.detach();
        self.attach();
    }

    fn detach(&self) {
        let began = Instant::now();
        let umount = program("umount", "mount");
        while !Command::new(&umount).arg(&self.mount).output().is_ok_and(|output| output.status.success()) {
            assert!(began.elapsed() < Duration::from_secs(10), "{} stays busy", self.mount.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also after a failed test; a mount that is gone already is no trouble.
        let _ = Command::new("umount").arg("--lazy").arg(&self.mount).output();
    }
}

#[test]
fn the_harness_drops_what_was_not_synced_and_keeps_what_was() {
    let _turn = turn();
    let Some(disk) = Disk::new() else { return };
    let write = |name: &str, sync: bool| {
        let mut file = File::create(disk.mount.join(name)).unwrap();
        file.write_all(name.as_bytes()).unwrap();
        if sync {
            file.sync_all().unwrap();
            File::open(&disk.mount).unwrap().sync_all().unwrap();
        }
    };
    write("synced", true);
    write("not_synced", false);
    disk.cut();
    disk.restore();
    assert_eq!(fs::read_to_string(disk.mount.join("synced")).unwrap(), "synced");
    let rest = fs::read_to_string(disk.mount.join("not_synced")).unwrap_or_default();
    assert_eq!(rest, "", "an unsynced file came through: this harness would prove nothing");
}

#[test]
fn acknowledged_pushes_and_writes_survive_a_power_cut_at_any_moment() {
    let _turn = turn();
    let Some(disk) = Disk::new() else { return };
    let mut load = Load::new();
    let data = Some(disk.mount.join("data"));
    let mut server = TestServer::with(Options { data, ..Options::default() });
    let past = Past::write(&server, load.late_ms());
    let before = past.answers(&server);
    let mut slowest = server.ready_after;
    for round in 1..=rounds() {
        load.start_with_keeper(&server);
        // The first is long enough for a block to expire.
        std::thread::sleep(if round == 1 { Duration::from_millis(1_500) } else { random_between(150, 1_500) });
        let acknowledged = load.acknowledged();
        disk.cut();
        server.kill();
        load.stop();
        load.forget_since(&acknowledged);
        disk.restore();
        server = server.start_again();
        slowest = slowest.max(server.ready_after);
        assert!(server.ready_after < START_MAX, "round {round}: ready after {:?}", server.ready_after);
        let missing = load.missing(&server, &acknowledged);
        assert!(
            missing.is_empty(),
            "round {round}: {} lost, first {:?}",
            missing.len(),
            &missing[..missing.len().min(5)]
        );
        assert_eq!(past.answers(&server), before, "round {round}: the past answers otherwise");
        assert_eq!(server.own_metric("observatory_storage_damaged_total"), 0.0, "round {round}: a cut damages nothing");
    }
    load.kept().assert_busy(rounds());
    let acknowledged = load.acknowledged().count();
    assert!(acknowledged > 100, "too little was acknowledged to show anything: {acknowledged}");
    println!(
        "{} power cuts, {acknowledged} acknowledged, 0 lost, none twice, slowest start {slowest:?}, {}",
        rounds(),
        load.kept()
    );
    drop(server);
}
