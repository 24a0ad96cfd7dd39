//! One upload at a time for each path, here or in the vault.
//!
//! Two files may have one path: one that was set aside, changed, and whose name was taken by then, and the newcomer. Each
//! would take the other's open attempt for the leftover of a crash.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

#[derive(Debug, Default)]
pub(super) struct KeyedLock {
    /// The locks of the paths that are locked or waited for.
    locks: Mutex<HashMap<PathBuf, Arc<AsyncMutex<()>>>>,
}

/// A path that is locked, or waited for. Dropping it unlocks the path, or ends the wait.
#[derive(Debug)]
pub(super) struct KeyedGuard<'a> {
    keyed: &'a KeyedLock,
    path: PathBuf,
    lock: Option<Arc<AsyncMutex<()>>>,
    held: Option<OwnedMutexGuard<()>>,
}

impl KeyedLock {
    /// Waits until this path is free, and locks it. Files that wait for one path get it in the order in which they came.
    pub(super) async fn lock(&self, path: PathBuf) -> KeyedGuard<'_> {
        let lock = Arc::clone(self.locks().entry(path.clone()).or_default());
        let mut guard = KeyedGuard { keyed: self, path, lock: Some(Arc::clone(&lock)), held: None };
        guard.held = Some(lock.lock_owned().await);
        guard
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<AsyncMutex<()>>>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyedGuard<'_> {
    fn drop(&mut self) {
        self.held = None;
        let mut locks = self.keyed.locks();
        // Dropped while the map is locked: of two guards that end at the same moment, the second one sees that it is the last.
        self.lock = None;
        if locks.get(&self.path).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            locks.remove(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_path_is_locked_once_at_a_time_and_others_are_free() {
        let keyed = KeyedLock::default();
        let first = keyed.lock("x".into()).await;
        keyed.lock("y".into()).await;
        assert!(timeout(Duration::from_secs(9), keyed.lock("x".into())).await.is_err());
        let (second, ()) = tokio::join!(keyed.lock("x".into()), async { drop(first) });
        drop(second);
        assert!(keyed.locks().is_empty(), "a path that is free takes no memory");
    }
}
