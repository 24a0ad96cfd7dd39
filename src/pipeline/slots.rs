//! Places for uploads under way, as many as the [`Limit`] says at the time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::limit::Limit;
use crate::config::Transfers;
use crate::metrics::Gauge;

#[derive(Debug)]
pub(super) struct Slots {
    places: Mutex<Places>,
    freed: Notify,
    counted: Gauge,
}

#[derive(Debug)]
struct Places {
    limit: Limit,
    taken: usize,
}

impl Slots {
    /// All free; `counted` shows how many are taken.
    pub(super) fn new(transfers: Transfers, counted: Gauge) -> Self {
        let limit = Limit::new(transfers, Instant::now());
        Self { places: Mutex::new(Places { limit, taken: 0 }), freed: Notify::new(), counted }
    }

    /// Waits for a free place. Nothing is taken before [`Slots::take`], so that waiting can be given up.
    pub(super) async fn free(&self) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registers before the look, so that no change in between is lost.
            freed.as_mut().enable();
            {
                let places = self.places();
                if places.taken < places.limit.get() {
                    return;
                }
            }
            freed.await;
        }
    }

    /// Takes a place.
    pub(super) fn take(&self) {
        self.places().taken += 1;
        self.counted.inc();
    }

    /// Gives a place back for a while, in the middle of a file: nothing is learnt from that.
    pub(super) fn lend(&self) {
        self.places().taken -= 1;
        self.counted.dec();
        self.freed.notify_one();
    }

    /// Gives a place back after an upload, and learns from it; `waiting` if other files waited for places meanwhile.
    pub(super) fn give_back(&self, waiting: bool) {
        let mut places = self.places();
        places.taken -= 1;
        places.limit.finished(waiting, Instant::now());
        drop(places);
        self.counted.dec();
        self.freed.notify_one();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    /// The number under way grew by seven every few seconds, for a lower limit took back only what was free just then.
    #[tokio::test(start_paused = true)]
    async fn never_more_are_under_way_than_the_limit_allows_however_long_it_goes_on() {
        let slots = Arc::new(Slots::new(Transfers::Auto, Gauge::default()));
        let service = Arc::new(tokio::sync::Semaphore::new(8));
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < Duration::from_secs(120) {
            slots.free().await;
            slots.take();
            most = most.max(slots.places().taken);
            let (slots, service) = (Arc::clone(&slots), Arc::clone(&service));
            tokio::spawn(async move {
                let served = service.acquire().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(served);
                slots.give_back(true);
            });
        }
        assert!(most <= 64, "{most} were under way");
    }
}
