//! The lock under which one process at a time puts anchors into the vault.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::{Journal, JournalError, Unusable};

/// The lock's file beside the journal.
const NAME: &str = "anchor.lock";

impl Journal {
    /// Takes the lock, which is held until the file is dropped; `None` where another process has it.
    pub fn lock_anchors(&self) -> Result<Option<File>, JournalError> {
        match lock(&self.dir()) {
            Ok(file) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(Unusable::Lock(Arc::new(error)).into()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone, and a link in it is refused")]
fn lock(dir: &Path) -> Result<File, TryLockError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
    let file = options.open(dir.join(NAME)).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}
