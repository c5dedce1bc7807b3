//! What can go wrong with a backup.

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("`{part}` cannot be read: {cause}")]
    Read { part: String, cause: std::io::Error },
    #[error("the backup cannot be written: {0}")]
    Write(std::io::Error),
    #[error("the directory cannot be written, at `{part}`: {cause}")]
    Restore { part: String, cause: std::io::Error },
    #[error("it was cancelled")]
    Cancelled,
    #[error("it is no backup: it does not begin as one")]
    NoBackup,
    #[error("its end is missing: the file was cut short, or is still being written")]
    CutShort,
    #[error("`{0}` is damaged: it is not what was backed up; use another backup")]
    Damaged(String),
    #[error("it was made by a newer program: it is of format {found} and this program knows formats up to {known}")]
    Newer { found: u32, known: u32 },
    #[error("it holds `{0}`, which this program does not know: a newer program made it")]
    UnknownPart(String),
}
