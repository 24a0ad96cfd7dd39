//! One upload at a time for each path, here or in the vault.
//!
//! Two files may have one path: one that was set aside, changed, and whose name was taken by then, and the newcomer. Each
//! would take the other's open intent for the leftover of a crash.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(super) struct KeyedLock {
    taken: Mutex<HashSet<PathBuf>>,
    changed: Notify,
}

/// A path's turn; over when dropped.
#[derive(Debug)]
pub(super) struct KeyedGuard<'a> {
    turns: &'a KeyedLock,
    path: PathBuf,
}

impl KeyedLock {
    /// Waits until nobody else has the turn of this path.
    pub(super) async fn take(&self, path: PathBuf) -> KeyedGuard<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the look, so that no change in between is lost.
            changed.as_mut().enable();
            if self.taken().insert(path.clone()) {
                return KeyedGuard { turns: self, path };
            }
            changed.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KeyedGuard<'_> {
    fn drop(&mut self) {
        self.turns.taken().remove(&self.path);
        self.turns.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test(start_paused = true)]
    async fn a_path_has_one_turn_at_a_time_and_others_have_theirs() {
        let turns = KeyedLock::default();
        let first = turns.take("x".into()).await;
        turns.take("y".into()).await;
        assert!(timeout(Duration::from_secs(9), turns.take("x".into())).await.is_err());
        let (second, ()) = tokio::join!(turns.take("x".into()), async { drop(first) });
        drop(second);
    }
}
