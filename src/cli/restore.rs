//! `observatory restore`: a data directory out of a backup, or only the question whether it is whole.

use super::{
    arguments::Restore,
    backup::{Bar, summary},
    dispatch::Failure,
};
use crate::{
    app,
    store::backup::{Backup, BackupError, CONFIG_FILE, Nowhere, part_name},
};

/// Restores or checks.
pub fn restore(arguments: &Restore) -> Result<(), Failure> {
    let shown = arguments.file.display();
    let refused = |error: BackupError| Failure::failed(format!("{shown} is refused: {error}"));
    let mut backup = Backup::open(&arguments.file).map_err(refused)?;
    let mut bar = Bar::new(if arguments.verify { "checking" } else { "restoring" });
    let mut progress = |done, total| bar.show(done, total);
    let Some(directory) = &arguments.data_dir else {
        backup.read(&mut Nowhere, &mut progress).map_err(refused)?;
        drop(bar);
        println!("{shown}: whole; {}", summary(&backup));
        return Ok(());
    };
    app::restore(&mut backup, directory, &mut progress).map_err(|error| match error.downcast::<BackupError>() {
        Ok(error) => refused(error),
        Err(error) => Failure::failed(format!("nothing is restored: {error:#}")),
    })?;
    drop(bar);
    let directory = directory.display();
    println!("{directory}: restored from {shown}; {}", summary(&backup));
    if backup.manifest.parts.iter().any(|part| part.name == part_name::CONFIG) {
        println!("  its config, without secrets: {directory}/{CONFIG_FILE}");
    }
    println!("  start it: observatory up --data {directory}");
    Ok(())
}
