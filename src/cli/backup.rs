//! `observatory backup`: from a running server, or a directory that none has.

use super::{arguments::Backup, client::Client, dispatch::Failure};
use crate::{
    app::Offline,
    stdx::new_file::{NewFile, remove_left_over},
    store::backup::{self, BackupError, Nowhere, SnapshotSource, write},
};
use std::{
    io::{self, IsTerminal, Write},
    path::Path,
    time::{Duration, Instant},
};

/// Writes one file.
pub fn backup(arguments: &Backup) -> Result<(), Failure> {
    let path = &arguments.file;
    let shown = path.display();
    // Of others than this one too: who backs up by a clock gives each a name of its own.
    remove_left_over(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    let mut file = NewFile::create(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists => Failure::wrong(format!("{shown} is there already; choose another name")),
        io::ErrorKind::WouldBlock => Failure::failed(format!("{shown} is being written by another process")),
        _ => Failure::failed(format!("{shown} cannot be made: {cause}")),
    })?;
    let mut bar = Bar::new("backing up");
    match &arguments.place.data_dir {
        Some(directory) => {
            let offline = Offline::open(directory, None).map_err(|error| Failure::failed(format!("{error:#}")))?;
            let written = offline.store.snapshot().map_err(BackupError::from);
            let written =
                written.and_then(|snapshot| write(snapshot, &mut file, &mut |done, total| bar.show(done, total)));
            written.map_err(|error| failed(path, &error))?;
        }
        None => {
            let server = Client::of(&arguments.place.server)?;
            server.download("admin/backup", &mut file, &mut |done, total| {
                bar.show(done, total);
            })?;
        }
    }
    // As it will be restored: a disk or a proxy may have changed it on the way.
    let mut written = backup::Backup::open(file.temporary()).map_err(|error| failed(path, &error))?;
    let mut bar = Bar::new("checking");
    written.read(&mut Nowhere, &mut |done, total| bar.show(done, total)).map_err(|error| failed(path, &error))?;
    drop(bar);
    file.finish().map_err(|cause| Failure::failed(format!("{shown} cannot be finished: {cause}")))?;
    println!("{shown}: {}, checked", summary(&written));
    Ok(())
}

fn failed(path: &Path, error: &BackupError) -> Failure {
    Failure::failed(format!("{} is not written: {error}", path.display()))
}

/// What a backup is, in one line.
pub fn summary(backup: &backup::Backup) -> String {
    let manifest = &backup.manifest;
    let at = backup::stamp(manifest.taken_ms);
    format!("{} bytes in {} parts, taken {at} by {}", backup.file_bytes, manifest.parts.len(), manifest.program)
}

/// How far it is, for a person at a terminal.
pub struct Bar {
    what: &'static str,
    shown: Option<Instant>,
    is_seen: bool,
}

impl Bar {
    pub fn new(what: &'static str) -> Bar {
        Bar { what, shown: None, is_seen: io::stderr().is_terminal() }
    }

    /// Always `true`: a person who has enough presses Ctrl-C.
    pub fn show(&mut self, done: u64, total: u64) -> bool {
        const EVERY: Duration = Duration::from_millis(100);
        if self.is_seen && self.shown.is_none_or(|shown| shown.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            let part = done.saturating_mul(20).checked_div(total).unwrap_or(0).min(20) as usize;
            let _ = write!(
                io::stderr(),
                "\r{} [{}{}] {} of {} MiB",
                self.what,
                "#".repeat(part),
                " ".repeat(20 - part),
                done >> 20,
                total >> 20
            );
        }
        true
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}
