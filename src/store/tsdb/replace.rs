//! Replaces a small file as a whole: what is under its name is the old content or the new one, at any moment.

use crate::{
    stdx::vfs::{OpenMode, Vfs},
    store::StoreError,
};
use std::path::Path;

/// Writes `bytes` beside `name` in `directory`, syncs them, and gives them the name. `action` says in an error what was
/// being done. Where it fails, the name may stand for either.
pub fn replace(
    vfs: &dyn Vfs,
    directory: &Path,
    name: &str,
    bytes: &[u8],
    action: &'static str,
) -> Result<(), StoreError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let write = || {
        let file = vfs.open(&temporary, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        vfs.rename(&temporary, &directory.join(name))?;
        vfs.sync_dir(directory)
    };
    write().map_err(|error| {
        // What is left of it would only take space, which may be what is missing.
        let _ = vfs.remove(&temporary);
        StoreError::io(action)(error)
    })
}
