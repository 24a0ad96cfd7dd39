//! Whether the newest reload of the configuration was taken. A failed one holds up no upload, so it is no trouble of the health; but the
//! administrator who asked for it sees only the log of another process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The newest reload, if it failed. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LastReload(Arc<Mutex<Option<FailedReload>>>);

/// A reload of which nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedReload {
    /// When it was asked for.
    pub(crate) at: SystemTime,
    /// Why nothing was taken.
    pub(crate) reason: String,
}

impl LastReload {
    /// Sets how the newest reload ended.
    pub(crate) fn set(&self, failed: Option<FailedReload>) {
        *self.lock() = failed;
    }

    /// The newest reload where it failed; `None` where it was taken, or none was asked for.
    pub(crate) fn failed(&self) -> Option<FailedReload> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<FailedReload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
