//! Places for uploads under way, as many as the [`Limit`] says at the time. Large files never have all of them: an upload of a
//! terabyte takes days, and a letter of a kilobyte must not wait for it.

mod limit;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::budget;
use crate::config::Transfers;
use crate::file::Settled;
use crate::observe::metrics::Gauge;
use crate::observe::stall::Activity;
use limit::Limit;

/// How large a file is, for its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Small,
    /// It may take all day.
    Large,
}

impl Class {
    pub(super) fn of(size: u64) -> Self {
        if size > budget::LARGE_FILE { Self::Large } else { Self::Small }
    }

    /// By what was seen of a file. Where nobody looked (`push`), no class is told from another.
    pub(super) fn seen(file: &Settled) -> Self {
        file.size.map_or(Self::Small, Self::of)
    }
}

#[derive(Debug)]
pub(super) struct Concurrency {
    places: Mutex<Places>,
    freed: Notify,
    counted: Gauge,
    flow: Activity,
}

#[derive(Debug)]
struct Places {
    limit: Limit,
    taken: usize,
    /// Those of them that large files have.
    large: usize,
    /// When a shortage of descriptors was told last.
    scarcity_told: Option<Instant>,
}

impl Places {
    fn has_free(&mut self, class: Class) -> bool {
        let all = self.limit.get(Instant::now());
        let for_large = all - (all / budget::KEPT_FOR_SMALL).max(1).min(all - 1);
        self.taken < all && (class == Class::Small || self.large < for_large)
    }
}

impl Concurrency {
    /// All free; `counted` shows how many are taken, `flow` that they wait for something.
    pub(super) fn new(transfers: Transfers, counted: Gauge, flow: Activity) -> Self {
        let limit = Limit::new(transfers, Instant::now());
        let places = Places { limit, taken: 0, large: 0, scarcity_told: None };
        Self { places: Mutex::new(places), freed: Notify::new(), counted, flow }
    }

    /// Waits for a free place. Nothing is taken before [`Concurrency::take`], so that waiting can be given up.
    pub(super) async fn free(&self, class: Class) {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Registers before the look, so that no change in between is lost.
            freed.as_mut().enable();
            if self.places().has_free(class) {
                return;
            }
            // A shortage of descriptors ends by time alone.
            drop(tokio::time::timeout(budget::SCARCE_STEP, freed).await);
        }
    }

    /// Takes a place.
    pub(super) fn take(&self, class: Class) {
        let mut places = self.places();
        places.taken += 1;
        places.large += usize::from(class == Class::Large);
        drop(places);
        self.counted.inc();
        self.flow.started();
    }

    /// Gives a place back for a while, in the middle of a file: nothing is learnt from that, and the file waits for no mend.
    pub(super) fn lend(&self, class: Class) {
        let mut places = self.places();
        places.taken -= 1;
        places.large -= usize::from(class == Class::Large);
        drop(places);
        self.counted.dec();
        self.flow.finished(1);
        self.freed.notify_waiters();
    }

    /// Gives a place back after an upload, and learns from it; `waiting` if other files waited for places meanwhile.
    pub(super) fn give_back(&self, class: Class, waiting: bool) {
        let mut places = self.places();
        places.taken -= 1;
        places.large -= usize::from(class == Class::Large);
        places.limit.finished(waiting, Instant::now());
        drop(places);
        self.counted.dec();
        self.flow.finished(1);
        self.freed.notify_waiters();
    }

    /// Nothing could be opened, for want of descriptors, so many times in a row: fewer at once from now on. Answers how long to wait
    /// before the next try.
    pub(super) fn scarce(&self, tries: u32, why: &str) -> Duration {
        let now = Instant::now();
        let mut places = self.places();
        places.limit.scarce(now);
        let left = places.limit.get(now);
        let is_due = places.scarcity_told.is_none_or(|told| now - told >= budget::SCARCE_TOLD);
        if is_due {
            places.scarcity_told = Some(now);
        }
        drop(places);
        if is_due {
            tracing::warn!(
                uploads_at_once = left,
                "fewer files at once, for no more can be opened: {why}; raise the limit (ulimit -n)"
            );
        }
        budget::scarce_pause(tries)
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn concurrency(transfers: Transfers) -> Concurrency {
        Concurrency::new(transfers, Gauge::default(), Activity::default())
    }

    /// The number under way grew by seven every few seconds, for a lower limit took back only what was free just then.
    #[tokio::test(start_paused = true)]
    async fn never_more_are_under_way_than_the_limit_allows_however_long_it_goes_on() {
        let concurrency = Arc::new(concurrency(Transfers::Auto));
        let service = Arc::new(tokio::sync::Semaphore::new(8));
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < Duration::from_secs(120) {
            concurrency.free(Class::Small).await;
            concurrency.take(Class::Small);
            most = most.max(concurrency.places().taken);
            let (concurrency, service) = (Arc::clone(&concurrency), Arc::clone(&service));
            tokio::spawn(async move {
                let served = service.acquire().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(served);
                concurrency.give_back(Class::Small, true);
            });
        }
        assert!(most <= 64, "{most} were under way");
    }

    #[test]
    fn large_files_have_all_places_but_a_quarter_and_the_only_one_where_there_is_one() {
        for (all, for_large) in [(1, 1), (2, 1), (3, 2), (8, 6), (64, 48), (256, 192)] {
            let concurrency = concurrency(Transfers::Fixed(all));
            let mut large = 0;
            while concurrency.places().has_free(Class::Large) {
                concurrency.take(Class::Large);
                large += 1;
            }
            assert_eq!(large, for_large, "of {all}");
            assert_eq!(concurrency.places().has_free(Class::Small), all > 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_descriptors_fewer_go_at_once_and_all_of_them_again_some_time_later() {
        let concurrency = concurrency(Transfers::Fixed(8));
        (0..8).for_each(|_| concurrency.take(Class::Small));
        for tries in 1..=4 {
            let pause = concurrency.scarce(tries, "none left");
            // Those that meet it together count once.
            assert_eq!(concurrency.scarce(tries, "none left"), pause);
            tokio::time::sleep(pause).await;
        }
        assert_eq!(concurrency.scarce(40, "none left"), budget::SCARCE_PAUSE_MOST);
        (0..7).for_each(|_| concurrency.give_back(Class::Small, true));
        assert!(!concurrency.places().has_free(Class::Small), "one at once");
        concurrency.free(Class::Small).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        (0..7).for_each(|_| concurrency.take(Class::Small));
        assert!(!concurrency.places().has_free(Class::Small));
    }
}
