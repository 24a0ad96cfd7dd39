//! How many uploads at once: a fixed number, or one that is found by measuring.
//!
//! More uploads at once help as long as the time goes into waiting for the service; beyond that they only take memory. So the
//! number doubles while the rate of finished uploads grows with it, and stays where the rate does not grow. Now and then a larger
//! number is tried again, because lines and services change.

use std::time::Duration;

use tokio::time::Instant;

use crate::budget;
use crate::config::Transfers;

/// The most that is ever tried.
const MOST: usize = 64;
/// Where the search starts.
const START: usize = 8;
/// The shortest time over which a rate is measured, so that a burst is not taken for one.
const WINDOW: Duration = Duration::from_millis(100);
/// A rate counts as faster if it is so many times the best one.
const BETTER: f64 = 1.05;
/// After so many windows without a change the best number is forgotten, and a larger one is tried again.
const STALE: u32 = 50;

/// The search for the best number. Pure: finished uploads and the time go in.
#[derive(Debug)]
pub(super) struct Limit {
    now: usize,
    search: Option<Search>,
    /// What a shortage of descriptors allowed, and when.
    scarcity: Option<(usize, Instant)>,
}

#[derive(Debug)]
struct Search {
    since: Instant,
    finished: usize,
    /// The best number so far and its rate, in uploads a second.
    best: Option<(usize, f64)>,
    /// Windows since the number last changed.
    steady: u32,
}

impl Limit {
    /// The limit that a configuration asks for.
    pub(super) fn new(transfers: Transfers, now: Instant) -> Self {
        match transfers {
            Transfers::Fixed(number) => Self { now: number.max(1), search: None, scarcity: None },
            Transfers::Auto => {
                let search = Search { since: now, finished: 0, best: None, steady: 0 };
                Self { now: START, search: Some(search), scarcity: None }
            }
        }
    }

    /// How many files may be uploaded at once now. What a shortage of descriptors allows doubles step by step until it is no limit.
    pub(super) fn get(&self, now: Instant) -> usize {
        let Some((mut allowed, since)) = self.scarcity else { return self.now };
        let mut steps = now.duration_since(since).as_secs_f64() / budget::SCARCE_STEP.as_secs_f64();
        while steps >= 1.0 && allowed < self.now {
            (allowed, steps) = (allowed * 2, steps - 1.0);
        }
        allowed.min(self.now)
    }

    /// No file can be opened, for want of descriptors: half as many at once, but no less than one. The files that are uploaded meet
    /// the same shortage together, so it counts only once in a while.
    pub(super) fn scarce(&mut self, now: Instant) {
        let allowed = self.get(now);
        let recent = self.scarcity.is_some_and(|(_, since)| now.duration_since(since) < budget::SCARCE_PAUSE);
        if !recent {
            self.scarcity = Some(((allowed / 2).max(1), now));
        }
    }

    /// An upload has ended. The number makes a difference only where other files were `waiting` for their turn.
    pub(super) fn finished(&mut self, waiting: bool, now: Instant) {
        let Some(search) = &mut self.search else { return };
        if !waiting {
            (search.since, search.finished) = (now, 0);
            return;
        }
        search.finished += 1;
        let took = now - search.since;
        if took < WINDOW || search.finished < 2 * self.now {
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let rate = search.finished as f64 / took.as_secs_f64();
        (search.since, search.finished) = (now, 0);
        self.now = search.next(self.now, rate);
    }
}

impl Search {
    fn next(&mut self, current: usize, rate: f64) -> usize {
        match self.best {
            Some((best, _)) if best == current => {
                self.best = Some((current, rate));
                self.steady += 1;
                if self.steady < STALE {
                    return current;
                }
            }
            Some((best, best_rate)) if rate < best_rate * BETTER => {
                // The larger number was not faster: back to the best one.
                self.steady = 0;
                return best;
            }
            _ => self.best = Some((current, rate)),
        }
        self.steady = 0;
        (current * 2).min(MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit that is found with uploads that take `latency` each, on a service that finishes at most `rate` a second.
    fn found(latency: f64, rate: f64) -> usize {
        let start = Instant::now();
        let mut limit = Limit::new(Transfers::Auto, start);
        let mut elapsed = 0.0;
        for _ in 0..5000 {
            #[allow(clippy::cast_precision_loss)]
            let pace = (limit.now as f64 / latency).min(rate);
            elapsed += 1.0 / pace;
            limit.finished(true, start + Duration::from_secs_f64(elapsed));
        }
        limit.now
    }

    #[test]
    fn a_fixed_number_stays() {
        let mut limit = Limit::new(Transfers::Fixed(3), Instant::now());
        (0..100).for_each(|_| limit.finished(true, Instant::now() + Duration::from_secs(1)));
        assert_eq!(limit.now, 3);
    }

    #[test]
    fn far_from_the_service_the_number_grows_to_where_the_service_is_full() {
        assert_eq!(found(0.05, 10_000.0), MOST);
        assert!((20..=40).contains(&found(0.05, 500.0)));
    }

    #[test]
    fn near_to_a_full_service_the_number_stays_small() {
        assert!(found(0.001, 500.0) <= 2 * START);
    }

    #[test]
    fn uploads_that_no_file_waited_behind_change_no_limit() {
        let start = Instant::now();
        let mut limit = Limit::new(Transfers::Auto, start);
        (1..1000).for_each(|second| limit.finished(false, start + Duration::from_secs(second)));
        assert_eq!(limit.now, START);
    }
}
