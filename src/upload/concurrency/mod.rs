//! How many files are uploaded at once: each takes a [`Place`], and there are as many as the [`Limit`] says at the time. Large files
//! never have all places: an upload of a terabyte takes days, and a letter of a kilobyte must not wait for it.

mod limit;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::budget;
use crate::config::Transfers;
use crate::file::Settled;
use crate::observe::metrics::Gauge;
use crate::observe::stall::Activity;
use limit::Limit;

/// How large a file is, as far as its place is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Small,
    /// The file may take all day.
    Large,
}

impl Class {
    pub(super) fn of(size: u64) -> Self {
        if size > budget::LARGE_FILE { Self::Large } else { Self::Small }
    }

    /// By the size that a file had when it settled. Without one (`push`) all files are of one class.
    pub(super) fn seen(file: &Settled) -> Self {
        file.size.map_or(Self::Small, Self::of)
    }
}

#[derive(Debug)]
pub(super) struct Concurrency {
    /// Files that wait for a free place look again at each change.
    places: watch::Sender<Places>,
    gauge: Gauge,
    activity: Activity,
}

#[derive(Debug)]
struct Places {
    limit: Limit,
    taken: usize,
    /// How many of the taken places large files have.
    large: usize,
    /// When the log last said that descriptors are scarce.
    scarcity_logged: Option<Instant>,
}

impl Places {
    fn has_free(&self, class: Class) -> bool {
        let all = self.limit.get(Instant::now());
        let for_large = all - (all / budget::KEPT_FOR_SMALL).max(1).min(all - 1);
        self.taken < all && (class == Class::Small || self.large < for_large)
    }

    fn take(&mut self, class: Class) {
        self.taken += 1;
        self.large += usize::from(class == Class::Large);
    }

    fn give_back(&mut self, class: Class) {
        self.taken -= 1;
        self.large -= usize::from(class == Class::Large);
    }
}

/// A file's place among those that are uploaded; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    concurrency: Arc<Concurrency>,
    class: Class,
    /// Other files wait for a place meanwhile.
    others_wait: bool,
}

impl Concurrency {
    /// All places are free. `gauge` shows how many are taken; `activity` is told that their files wait for something.
    pub(super) fn new(transfers: Transfers, gauge: Gauge, activity: Activity) -> Arc<Self> {
        let limit = Limit::new(transfers, Instant::now());
        let places = Places { limit, taken: 0, large: 0, scarcity_logged: None };
        Arc::new(Self { places: watch::Sender::new(places), gauge, activity })
    }

    /// Waits for a free place. Nothing is taken before [`Concurrency::take`], so that the wait can be cancelled.
    pub(super) async fn free(&self, class: Class) {
        let mut places = self.places.subscribe();
        // A shortage of descriptors ends by time alone, so this looks again now and then.
        while timeout(budget::SCARCE_STEP, places.wait_for(|places| places.has_free(class))).await.is_err() {}
    }

    /// Takes a place. The limit learns from an upload only if `others_wait` for places meanwhile.
    pub(super) fn take(self: &Arc<Self>, class: Class, others_wait: bool) -> Place {
        self.took(class);
        Place { concurrency: Arc::clone(self), class, others_wait }
    }

    fn took(&self, class: Class) {
        self.places.send_modify(|places| places.take(class));
        self.gauge.inc();
        self.activity.started();
    }

    fn gave_back(&self, change: impl FnOnce(&mut Places)) {
        self.places.send_modify(change);
        self.gauge.dec();
        self.activity.finished(1);
    }

    /// Nothing could be opened, for want of descriptors, so many times in a row: fewer files at once from now on. Returns how long to
    /// wait before the next try.
    pub(super) fn scarce(&self, tries: u32, why: &dyn std::fmt::Display) -> Duration {
        let now = Instant::now();
        let (mut left, mut is_due) = (0, false);
        self.places.send_if_modified(|places| {
            places.limit.scarce(now);
            left = places.limit.get(now);
            is_due = places.scarcity_logged.is_none_or(|at| now - at >= budget::SCARCE_TOLD);
            if is_due {
                places.scarcity_logged = Some(now);
            }
            // No place got free.
            false
        });
        if is_due {
            tracing::warn!(
                uploads_at_once = left,
                "fewer files at once, for no more can be opened: {why}; raise the limit (ulimit -n)"
            );
        }
        budget::scarce_pause(tries)
    }
}

impl Place {
    /// Gives the place to other files for this time, and then waits for a free one. The limit learns nothing from that.
    pub(super) async fn lend(&self, time: Duration) {
        self.concurrency.gave_back(|places| places.give_back(self.class));
        let _lent = Lent(self);
        sleep(time).await;
        self.concurrency.free(self.class).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.concurrency.gave_back(|places| {
            places.give_back(self.class);
            places.limit.finished(self.others_wait, Instant::now());
        });
    }
}

/// A place that is lent to other files. Taken again when this is dropped, also where the wait is cancelled: the place itself is given
/// back once more when its file ends.
struct Lent<'a>(&'a Place);

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.concurrency.took(self.0.class);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn concurrency(transfers: Transfers) -> Arc<Concurrency> {
        Concurrency::new(transfers, Gauge::default(), Activity::default())
    }

    /// Regression: the number of uploads at once grew by seven every few seconds, because a lower limit took back only free places.
    #[tokio::test(start_paused = true)]
    async fn never_more_are_under_way_than_the_limit_allows_however_long_it_goes_on() {
        let concurrency = concurrency(Transfers::Auto);
        let service = Arc::new(tokio::sync::Semaphore::new(8));
        let start = Instant::now();
        let mut most = 0;
        while start.elapsed() < Duration::from_secs(120) {
            concurrency.free(Class::Small).await;
            let place = concurrency.take(Class::Small, true);
            most = most.max(concurrency.places.borrow().taken);
            let service = Arc::clone(&service);
            tokio::spawn(async move {
                let served = service.acquire().await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(served);
                drop(place);
            });
        }
        assert!(most <= 64, "{most} were under way");
    }

    #[test]
    fn large_files_have_all_places_but_a_quarter_and_the_only_one_where_there_is_one() {
        for (all, for_large) in [(1, 1), (2, 1), (3, 2), (8, 6), (64, 48), (256, 192)] {
            let concurrency = concurrency(Transfers::Fixed(all));
            let mut large = Vec::new();
            while concurrency.places.borrow().has_free(Class::Large) {
                large.push(concurrency.take(Class::Large, false));
            }
            assert_eq!(large.len(), for_large, "of {all}");
            assert_eq!(concurrency.places.borrow().has_free(Class::Small), all > 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_descriptors_fewer_go_at_once_and_all_of_them_again_some_time_later() {
        let concurrency = concurrency(Transfers::Fixed(8));
        let mut places: Vec<_> = (0..8).map(|_| concurrency.take(Class::Small, true)).collect();
        for tries in 1..=4 {
            let pause = concurrency.scarce(tries, &"none left");
            // Those that meet it together count once.
            assert_eq!(concurrency.scarce(tries, &"none left"), pause);
            tokio::time::sleep(pause).await;
        }
        assert_eq!(concurrency.scarce(40, &"none left"), budget::SCARCE_PAUSE_MOST);
        places.truncate(1);
        assert!(!concurrency.places.borrow().has_free(Class::Small), "one at once");
        concurrency.free(Class::Small).await;
        sleep(Duration::from_secs(60)).await;
        places.extend((0..7).map(|_| concurrency.take(Class::Small, true)));
        assert!(!concurrency.places.borrow().has_free(Class::Small));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lent_place_is_free_for_others_and_is_taken_again_also_where_the_wait_is_cancelled() {
        let concurrency = concurrency(Transfers::Fixed(1));
        let place = concurrency.take(Class::Small, false);
        assert!(timeout(Duration::from_secs(1), place.lend(Duration::from_secs(9))).await.is_err());
        assert_eq!(concurrency.places.borrow().taken, 1);
        let other = async {
            concurrency.free(Class::Small).await;
            concurrency.take(Class::Small, false)
        };
        tokio::join!(place.lend(Duration::from_secs(9)), async {
            let other = other.await;
            sleep(Duration::from_secs(20)).await;
            drop(other);
        });
        drop(place);
        assert_eq!(concurrency.places.borrow().taken, 0);
    }
}
