//! How many uploads may be in flight: a fixed number, or one that is found by measuring; fewer while descriptors are scarce.

use std::time::Duration;

use tokio::time::Instant;

use super::Class;
use super::search::{Ended, FIRST_TIME, Measure, Search};
use crate::budget;
use crate::config::Transfers;

/// Where the search begins, for small files: 64 at once are no burden for a service, and at 200 ms a search from below would take
/// longer than a thousand files.
const START: usize = 64;
/// Where the search begins for files that are measured in bytes, and the most that it tries: each has some buffers of its own, and
/// few of them fill a line.
const START_BYTES: usize = 8;
const MOST_BYTES: usize = 64;
/// So many bytes of a small file count as much as the file itself, so that the rate tells the same of any mix of sizes.
const BYTES_LIKE_A_FILE: f64 = 65_536.0;
/// The time between two samples of the bytes that were sent.
const SAMPLE: Duration = Duration::from_millis(500);

/// How many places there are. Pure: what ends, how many are in flight, and the time go in.
#[derive(Debug)]
pub(super) struct Limit {
    number: Number,
    /// What a shortage of descriptors allowed, and when.
    scarcity: Option<(usize, Instant)>,
}

#[derive(Debug)]
enum Number {
    Fixed(usize),
    Found(Box<Found>),
}

#[derive(Debug)]
struct Found {
    /// How many files at once, of any size.
    files: Search,
    /// How many of them may be measured in bytes.
    bytes: Search,
    /// How many bytes were sent at the last sample, and when that was.
    sampled: (u64, Instant),
}

/// The places that are taken.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) all: usize,
    /// Those of files that are measured in bytes, and of large ones among them.
    pub(super) by_bytes: usize,
    pub(super) large: usize,
}

impl Taken {
    pub(super) fn add(&mut self, class: Class) {
        self.all += 1;
        self.by_bytes += usize::from(class != Class::Small);
        self.large += usize::from(class == Class::Large);
    }

    pub(super) fn remove(&mut self, class: Class) {
        self.all -= 1;
        self.by_bytes -= usize::from(class != Class::Small);
        self.large -= usize::from(class == Class::Large);
    }
}

/// An upload that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload {
    pub(super) class: Class,
    pub(super) size: u64,
    /// How long it took; `None` if it was tried more than once or waited for something else.
    pub(super) took: Option<Duration>,
}

impl Limit {
    /// The limit that a configuration asks for; a number that is found is `most` at most.
    pub(super) fn new(transfers: Transfers, most: usize, now: Instant) -> Self {
        let number = match transfers {
            Transfers::Fixed(number) => Number::Fixed(number.max(1)),
            Transfers::Auto => Number::Found(Box::new(Found {
                files: Search::new(Measure::Files, (START, most), now),
                bytes: Search::new(Measure::Bytes, (START_BYTES, MOST_BYTES.min(most)), now),
                sampled: (0, now),
            })),
        };
        Self { number, scarcity: None }
    }

    /// Whether there is room for one more file of this class.
    ///
    /// Large files never have all places. A number that is found may shrink below the large files in flight, which may take days: then one
    /// other file goes all the same, whose end is what the number grows by again.
    pub(super) fn has_room(&self, class: Class, taken: Taken, now: Instant) -> bool {
        let all = self.all(now);
        let (by_bytes, may_exceed) = match &self.number {
            Number::Fixed(_) => (all, false),
            Number::Found(found) => {
                (found.bytes.allowed(now).min(all), class != Class::Large && all == self.number(now))
            }
        };
        let has_room = |taken_so_far, allowed| taken_so_far < allowed || (may_exceed && taken_so_far == taken.large);
        has_room(taken.all, all)
            && (class == Class::Small || has_room(taken.by_bytes, by_bytes))
            && (class != Class::Large || taken.large < for_large(by_bytes))
    }

    /// How many files may be uploaded at once now. What a shortage of descriptors allows doubles step by step until it is no limit.
    pub(super) fn all(&self, now: Instant) -> usize {
        let number = self.number(now);
        let Some((mut allowed, since)) = self.scarcity else { return number };
        let mut steps = now.duration_since(since).as_secs_f64() / budget::SCARCE_STEP.as_secs_f64();
        while steps >= 1.0 && allowed < number {
            (allowed, steps) = (allowed * 2, steps - 1.0);
        }
        allowed.min(number)
    }

    /// The same without a shortage of descriptors.
    fn number(&self, now: Instant) -> usize {
        match &self.number {
            Number::Fixed(number) => *number,
            Number::Found(found) => found.files.allowed(now),
        }
    }

    /// How long until the number may change by time alone.
    pub(super) fn changes_after(&self, now: Instant) -> Duration {
        match &self.number {
            Number::Found(found) if found.files.is_beginning(now) => FIRST_TIME,
            _ => budget::PLACES_LOOK,
        }
    }

    /// No file can be opened, for want of descriptors: half as many at once, but no less than one. The files that are uploaded meet
    /// the same shortage together, so it counts only once in a while.
    pub(super) fn scarce(&mut self, taken: Taken, now: Instant) {
        let allowed = self.all(now);
        let recent = self.scarcity.is_some_and(|(_, since)| now.duration_since(since) < budget::SCARCE_PAUSE);
        if !recent {
            self.scarcity = Some(((allowed / 2).max(1), now));
        }
        self.disturbed(taken, now);
    }

    /// So many places were taken until now.
    pub(super) fn passed(&mut self, taken: Taken, now: Instant) {
        if let Number::Found(found) = &mut self.number {
            found.files.passed(taken.all, now);
            found.bytes.passed(taken.by_bytes, now);
        }
    }

    /// An upload has ended; its place counts as taken still.
    pub(super) fn ended(&mut self, upload: Upload, taken: Taken, now: Instant) {
        if let Number::Found(found) = &mut self.number
            && upload.class == Class::Small
        {
            let work = 1.0 + bytes(upload.size) / BYTES_LIKE_A_FILE;
            found.files.ended(Ended { work, took: upload.took }, taken.all, now);
        }
    }

    /// All uploads together have sent so many bytes until now. To be told every now and then while places are taken.
    pub(super) fn sent(&mut self, sent: u64, taken: Taken, now: Instant) {
        let Number::Found(found) = &mut self.number else { return };
        let (before, at) = found.sampled;
        if now - at >= SAMPLE {
            found.sampled = (sent, now);
            let work = bytes(sent.saturating_sub(before));
            found.bytes.ended(Ended { work, took: None }, taken.by_bytes, now);
        }
    }

    /// Uploads fail, or wait for something else than the service.
    pub(super) fn disturbed(&mut self, taken: Taken, now: Instant) {
        if let Number::Found(found) = &mut self.number {
            found.files.disturbed(taken.all, now);
            found.bytes.disturbed(taken.by_bytes, now);
        }
    }

    /// The service says that it has too much to do. A fixed number stays as it is.
    pub(super) fn overloaded(&mut self, taken: Taken, now: Instant) {
        if let Number::Found(found) = &mut self.number {
            found.files.overloaded(taken.all, now);
            found.bytes.overloaded(taken.by_bytes, now);
        }
    }
}

/// How many of so many places large files may have.
fn for_large(places: usize) -> usize {
    places - (places / budget::KEPT_FOR_SMALL).max(1).min(places - 1)
}

#[allow(clippy::cast_precision_loss)]
fn bytes(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_number_stays_whatever_happens() {
        let start = Instant::now();
        let mut limit = Limit::new(Transfers::Fixed(3), 256, start);
        let taken = Taken { all: 3, ..Taken::default() };
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            limit.passed(taken, now);
            limit.ended(Upload { class: Class::Small, size: 1, took: None }, taken, now);
            limit.overloaded(taken, now);
        }
        assert_eq!(limit.all(start), 3);
    }

    #[test]
    fn a_search_never_exceeds_what_the_descriptors_allow() {
        let now = Instant::now();
        assert_eq!(Limit::new(Transfers::Auto, 8, now).all(now), 8);
        assert_eq!(Limit::new(Transfers::Auto, 0, now).all(now), 1);
    }

    /// Regression: after an overload no file began until one of the large ones had ended, and the number of places did not grow again.
    #[test]
    fn a_number_that_shrank_below_the_large_files_in_flight_leaves_room_for_one_other_file() {
        let mut now = Instant::now();
        let mut limit = Limit::new(Transfers::Auto, 256, now);
        let large = Taken { all: 6, by_bytes: 6, large: 6 };
        for _ in 0..20 {
            now += Duration::from_secs(2);
            limit.overloaded(large, now);
        }
        assert_eq!(limit.all(now), 1);
        for class in [Class::Small, Class::Medium] {
            assert!(limit.has_room(class, large, now), "{class:?}");
            let mut taken = large;
            taken.add(class);
            assert!(!limit.has_room(class, taken, now), "one more {class:?}");
        }
        assert!(!limit.has_room(Class::Large, large, now));
        let mut scarce = Limit::new(Transfers::Auto, 256, now);
        scarce.scarce(Taken::default(), now);
        let all = Taken { all: scarce.all(now), by_bytes: 4, large: scarce.all(now) };
        assert!(!scarce.has_room(Class::Small, all, now), "no descriptors are left for more");
    }

    #[test]
    fn files_that_are_measured_in_bytes_have_a_number_of_their_own() {
        let now = Instant::now();
        let mut limit = Limit::new(Transfers::Auto, 256, now);
        limit.ended(Upload { class: Class::Small, size: 1, took: Some(SAMPLE) }, Taken::default(), now);
        let full = Taken { all: START_BYTES, by_bytes: START_BYTES, large: 0 };
        assert!(!limit.has_room(Class::Large, full, now) && !limit.has_room(Class::Medium, full, now));
        assert!(limit.has_room(Class::Small, full, now));
    }
}
