//! Places for uploads under way, as many as the [`Limit`] says at the time.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::limit::Limit;
use crate::config::Transfers;

#[derive(Debug)]
pub(super) struct Slots {
    limit: Mutex<Limit>,
    free: Arc<Semaphore>,
}

/// A place; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot(OwnedSemaphorePermit);

impl Slots {
    pub(super) fn new(transfers: Transfers) -> Self {
        let limit = Limit::new(transfers, Instant::now());
        let free = Arc::new(Semaphore::new(limit.get()));
        Self { limit: Mutex::new(limit), free }
    }

    /// The next free place.
    pub(super) async fn take(&self) -> Slot {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Slot(permit),
            // The semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives a place back after an upload, and learns from it; `waiting` if other files waited for places meanwhile.
    pub(super) fn finished(&self, slot: Slot, waiting: bool) {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let before = limit.get();
        limit.finished(waiting, Instant::now());
        let after = limit.get();
        drop(limit);
        if after > before {
            self.free.add_permits(after - before);
        } else if after < before {
            // This one vanishes; of the others, those that are free now.
            slot.0.forget();
            self.free.forget_permits(before - after - 1);
        }
    }
}
