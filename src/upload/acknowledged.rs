//! The wait of removals for a second copy of their receipts, kept outside of this machine (`receipts = "before-removal"`).
//!
//! No upload waits: a file whose receipt has no second copy yet is stored, and its removal waits beside the uploads for a moment. Where that
//! is not enough, its lease is given up and the file stays until a later walk, which asks before it reads the file again.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::budget;

/// How far the second copy of the receipts goes. Clones share the limit of files that wait.
#[derive(Debug, Clone)]
pub struct Acknowledged {
    newest: watch::Receiver<Option<i64>>,
    waiting: Arc<Semaphore>,
    /// Until then a walk waits for the database: a run with `--once` comes to the files that an earlier run left just as it connects.
    start_ends: Instant,
}

impl Acknowledged {
    /// `newest` is the number of the newest receipt with a copy; `None` until that is known.
    pub fn new(newest: watch::Receiver<Option<i64>>) -> Self {
        let start_ends = Instant::now() + budget::FLEET_ACKNOWLEDGE;
        Self { newest, waiting: Arc::new(Semaphore::new(budget::FLEET_WAITING)), start_ends }
    }

    /// Whether the receipt of this number has a copy.
    pub(super) fn has(&self, seq: i64) -> bool {
        *self.newest.borrow() >= Some(seq)
    }

    /// The same for a file that an earlier walk has left. Waits at the start of the run, and not later.
    pub(super) async fn has_by_now(&self, seq: i64) -> bool {
        let mut newest = self.newest.clone();
        timeout_at(self.start_ends, newest.wait_for(|newest| *newest >= Some(seq))).await.ok();
        self.has(seq)
    }

    /// A place among the files that wait for their copies; `None` where too many wait.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.waiting).try_acquire_owned().ok()
    }

    /// Waits a moment for the copy of this number. Returns whether it came.
    pub(super) async fn reached(&self, seq: i64) -> bool {
        let mut newest = self.newest.clone();
        let reached = newest.wait_for(|newest| *newest >= Some(seq));
        // An error: nobody will ever say so.
        timeout(budget::FLEET_ACKNOWLEDGE, reached).await.is_ok_and(|reached| reached.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_removal_waits_for_its_receipts_copy_and_not_for_long() {
        let (sender, receiver) = watch::channel(None);
        let acknowledged = Acknowledged::new(receiver);
        let start = Instant::now();
        assert!(!acknowledged.reached(5).await);
        assert_eq!(start.elapsed(), budget::FLEET_ACKNOWLEDGE);
        let waiting = tokio::spawn({
            let acknowledged = acknowledged.clone();
            async move { acknowledged.reached(5).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        sender.send_replace(Some(4));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "receipt 4 is another file's");
        sender.send_replace(Some(6));
        assert!(waiting.await.unwrap());
        drop(sender);
        assert!(!acknowledged.reached(7).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_walk_waits_for_the_database_once_at_the_start() {
        let (sender, receiver) = watch::channel(None);
        let acknowledged = Acknowledged::new(receiver);
        let start = Instant::now();
        sender.send_replace(Some(0));
        assert!(!acknowledged.has_by_now(1).await);
        assert!(!acknowledged.has_by_now(1).await);
        assert_eq!(start.elapsed(), budget::FLEET_ACKNOWLEDGE, "the second question has its answer at once");
        sender.send_replace(Some(1));
        assert!(acknowledged.has_by_now(1).await && !acknowledged.has(2));
    }

    #[tokio::test]
    async fn no_more_files_wait_than_may_hold_leases() {
        let acknowledged = Acknowledged::new(watch::channel(None).1);
        let places: Vec<_> = (0..budget::FLEET_WAITING).map(|_| acknowledged.place().unwrap()).collect();
        assert!(acknowledged.place().is_none());
        drop(places);
        assert!(acknowledged.place().is_some());
    }
}
