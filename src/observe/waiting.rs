//! How many files of a folder wait: the watch knows of them, and the store does not have them yet.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// The files of one folder that wait, as the watch counted them last. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<Option<WaitingFiles>>>);

/// A count of files that wait, those in flight included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitingFiles {
    /// How many the watch knows of. A folder may hold more: files are taken up as there is room.
    pub files: u64,
    /// Their size together in bytes, as far as they were looked at.
    pub bytes: u64,
    /// When the one was found that waits longest.
    pub oldest: Option<Instant>,
}

impl Waiting {
    /// Sets the newest count.
    pub fn set(&self, files: WaitingFiles) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(files);
    }

    /// The newest count, at most a second old while files come and go; `None` as long as the folder's watch has not begun, because the
    /// service does not answer perhaps.
    pub fn get(&self) -> Option<WaitingFiles> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
