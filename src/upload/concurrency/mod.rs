//! How many files are uploaded at once: each takes a [`Place`], and there are as many as the [`Limit`] says at the time. Large files
//! never have all places: an upload of a terabyte takes days, and a letter of a kilobyte must not wait for it.
//!
//! A number that is found by measuring is one for the whole process: the folders share its [`Places`]. Who waits for a place stands
//! in a line, with one file of each folder, so that a folder with a hundred thousand files and one with a single file take turns.
//! A fixed number is each folder's own.

mod limit;
mod line;
mod places;
mod search;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::Asked;
use crate::budget;
use crate::file::Settled;
use crate::observe::metrics::Gauge;
use crate::observe::stall::Activity;
use limit::Upload;
use places::State;
pub(super) use places::{Places, Turn};

/// How large a file is, as far as its place is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// What counts is that it is a file.
    Small,
    /// What counts are its bytes.
    Medium,
    /// The file may take all day.
    Large,
}

impl Class {
    pub(super) fn of(size: u64) -> Self {
        if size <= budget::SMALL_FILE {
            Self::Small
        } else if size <= budget::LARGE_FILE {
            Self::Medium
        } else {
            Self::Large
        }
    }

    /// By the size that a file had when it settled. A `push` sends its files in their order, so none of them has to make room for others.
    pub(super) fn seen(file: &Settled, asked: Asked) -> Self {
        match file.size.map_or(Self::Small, Self::of) {
            Self::Large if asked != Asked::ByWatch => Self::Medium,
            class => class,
        }
    }
}

/// The places as one uploader sees them.
#[derive(Debug, Clone)]
pub(super) struct Concurrency {
    places: Arc<Places>,
    /// Shows how many places this uploader has taken.
    gauge: Gauge,
    /// Is told that their files wait for something.
    activity: Activity,
}

/// What an upload's trouble says of the number of uploads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing: one file is concerned.
    OfFile,
    /// Nothing can be measured now.
    OfService,
    /// The service has too much to do: there are to be fewer.
    Overload,
}

/// A file's place among those that are uploaded; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    concurrency: Concurrency,
    class: Class,
    size: u64,
    since: Instant,
    /// The file failed once, or lent its place: how long it takes says nothing about the service.
    is_disturbed: AtomicBool,
}

impl Concurrency {
    pub(super) fn new(places: Arc<Places>, gauge: Gauge, activity: Activity) -> Self {
        Self { places, gauge, activity }
    }

    /// Joins the line of those who wait for a place.
    pub(super) fn join(&self, class: Class) -> Turn {
        Turn::join(&self.places, class, false)
    }

    /// The place of a file whose turn has come (see [`Turn::taken`]).
    pub(super) fn place_of(&self, file: &Settled, class: Class) -> Place {
        self.took();
        Place {
            concurrency: self.clone(),
            class,
            size: file.size.unwrap_or(0),
            since: Instant::now(),
            is_disturbed: AtomicBool::new(false),
        }
    }

    fn took(&self) {
        self.gauge.inc();
        self.activity.started();
    }

    fn gave_back(&self, class: Class, before: impl FnOnce(&mut State, Instant)) {
        self.places.change(|state, now| {
            before(state, now);
            state.taken.remove(class);
            true
        });
        self.gauge.dec();
        self.activity.finished(1);
    }

    /// Nothing could be opened, for want of descriptors, so many times in a row: fewer files at once from now on. Returns how long to
    /// wait before the next try.
    pub(super) fn scarce(&self, tries: u32, why: &dyn std::fmt::Display) -> Duration {
        let (mut left, mut is_due) = (0, false);
        self.places.change(|state, now| {
            state.limit.scarce(state.taken, now);
            left = state.limit.all(now);
            is_due = state.scarcity_logged.is_none_or(|at| now - at >= budget::SCARCE_TOLD);
            if is_due {
                state.scarcity_logged = Some(now);
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
    /// The upload met trouble. After an overload there are fewer places.
    pub(super) fn troubled(&self, trouble: Trouble) {
        self.is_disturbed.store(true, Ordering::Relaxed);
        if trouble == Trouble::OfFile {
            return;
        }
        self.concurrency.places.change(|state, now| {
            match trouble {
                Trouble::Overload => state.limit.overloaded(state.taken, now),
                Trouble::OfService | Trouble::OfFile => state.limit.disturbed(state.taken, now),
            }
            // No place got free.
            false
        });
    }

    /// Before another try: where there are fewer places by now than are taken, waits for one, before all files that have not begun.
    pub(super) async fn fit(&self) {
        if self.concurrency.places.are_too_few() {
            self.lend(Duration::ZERO).await;
        }
    }

    /// Gives the place to other files for this time, and then waits for a free one. The limit learns nothing from that.
    pub(super) async fn lend(&self, time: Duration) {
        self.lend_during(sleep(time)).await;
    }

    /// The same until something has come that the file waits for.
    pub(super) async fn lend_during<T>(&self, wait: impl Future<Output = T>) -> T {
        self.is_disturbed.store(true, Ordering::Relaxed);
        self.concurrency.gave_back(self.class, |_, _| ());
        let mut lent = Lent { place: self, has_taken: false };
        let come = wait.await;
        Turn::join(&self.concurrency.places, self.class, true).taken().await;
        lent.has_taken = true;
        come
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_clean = !*self.is_disturbed.get_mut();
        let (class, size) = (self.class, self.size);
        self.concurrency.gave_back(class, |state, now| {
            let upload = Upload { class, size, took: is_clean.then(|| now - self.since) };
            state.limit.ended(upload, state.taken, now);
            state.sample(now);
        });
    }
}

/// A place that is lent to other files. Taken again when this is dropped, also where the wait is cancelled: the place itself is given
/// back once more when its file ends.
struct Lent<'a> {
    place: &'a Place,
    has_taken: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Place { concurrency, class, .. } = self.place;
        if !self.has_taken {
            concurrency.places.change(|state, _| {
                state.taken.add(*class);
                false
            });
        }
        concurrency.took();
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
