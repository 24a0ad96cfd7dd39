//! The search for the best number of uploads at once. Pure: what ended, how many were in flight, and the time go in.
//!
//! More uploads at once help as long as the time goes into waiting for the service; beyond that they only take memory and wait for
//! each other. Two signs tell which it is: the rate, in files or bytes a second, and how long one upload takes. The search has two
//! phases:
//! - *Ramp*: the number grows two- or fourfold while uploads take hardly longer than the fastest one did, which means that none
//!   waits for another, and while the rate grows with the number.
//! - *Steady*: the smallest number counts as the best whose rate is nearly the highest. Now and then the next larger or smaller
//!   number is tried, because lines and services change; more rarely the longer nothing changes.
//!
//! A service that is overloaded (429, 503) halves the number at once. The number at which that happened is not tried again for a
//! while, and for twice as long each time that it happens again, so that the number does not swing around it.

use std::time::Duration;

use tokio::time::Instant;

/// The numbers that are tried. Neighbours are so far apart that their rates differ by more than the noise.
const LADDER: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];
/// Until the first upload has ended, or for so long, only so many go at once: near to the service the first ones then show how long an
/// upload takes that waits for no other, and far from it no time is lost.
const FIRST: usize = 8;
pub(super) const FIRST_TIME: Duration = Duration::from_millis(25);
/// The ramp's steps, in rungs of the ladder: twofold and fourfold.
const TWOFOLD: usize = 2;
const FOURFOLD: usize = 4;
/// The ramp grows fourfold where uploads take less than this many times as long as the fastest, and ends where they take more than that.
const HARDLY_SLOWER: f64 = 1.5;
const MUCH_SLOWER: f64 = 2.5;
/// The ramp ends where a step brings a rate less than this many times the one before.
const PAYS: f64 = 1.3;
/// A number is as good as the best one if it brings this part of the highest rate.
const NEARLY: f64 = 0.95;
/// A number counts as in use where so many of its places were taken, on average. Otherwise files were missing, and the rate says
/// nothing about the number.
const IN_USE: f64 = 0.8;
/// A window lasts so long at least, so that a burst is not taken for a rate: in the ramp, where the differences are large, and later,
/// where the noise of a busy machine would hide them.
const SHORTEST_IN_RAMP: Duration = Duration::from_millis(100);
const SHORTEST: Duration = Duration::from_millis(500);
/// The windows between two trials of another number: at first, and after long without a change.
const PAUSE: u32 = 4;
const LONGEST_PAUSE: u32 = 16;
/// After so many windows a rate says nothing any more.
const FORGOTTEN: u32 = 100;
/// A rate that differs from the last one of the same number by more than this factor says that the world has changed.
const CHANGED: f64 = 2.0;
/// Overloads that come together are one.
const ONE_OVERLOAD: Duration = Duration::from_secs(1);
/// How long the number at which the service was overloaded is not tried again: the first time, and at most.
const AVOIDED: Duration = Duration::from_secs(10);
const AVOIDED_MOST: Duration = Duration::from_secs(600);

/// What a rate is measured in, and so how much makes a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Files that have ended: a window is two of them for each place.
    Files,
    /// Samples of the bytes that were sent: large files end too rarely. A window is two samples.
    Bytes,
}

#[derive(Debug)]
pub(super) struct Search {
    measure: Measure,
    /// The number now, and the largest, as rungs of the ladder.
    rung: usize,
    highest: usize,
    phase: Phase,
    /// The newest rate of each rung.
    rates: [Option<Rate>; LADDER.len()],
    /// Windows so far.
    windows: u32,
    window: Window,
    /// When the first upload began.
    begun: Option<Instant>,
    /// How long the fastest upload took.
    fastest: Option<Duration>,
    overload: Option<Overload>,
}

#[derive(Debug)]
enum Phase {
    Ramp { before: Option<f64> },
    Steady { home: usize, pause: u32, left: u32, upwards: bool },
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    value: f64,
    window: u32,
}

/// What was measured since a moment.
#[derive(Debug)]
struct Window {
    since: Instant,
    last: Instant,
    /// Places taken, times seconds.
    taken: f64,
    work: f64,
    ended: usize,
    /// How long the uploads took together, and how many those were.
    seconds: f64,
    timed: usize,
    /// So many that end next were begun with another number.
    skipped: usize,
}

#[derive(Debug, Clone, Copy)]
struct Overload {
    at: Instant,
    /// The highest rung that is tried.
    ceiling: usize,
    /// How long the ceiling stayed at first.
    avoided: Duration,
    /// When the ceiling rises by a rung, and how long it stays from then on: half as long each time.
    rises: Instant,
    pace: Duration,
}

/// An upload, or a sample of the bytes, that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// How much it has done: in files, or in bytes.
    pub(super) work: f64,
    /// How long it took; `None` where that says nothing.
    pub(super) took: Option<Duration>,
}

impl Search {
    /// Begins at the number `start` or the next lower one of the ladder, and never exceeds `most`.
    pub(super) fn new(measure: Measure, (start, most): (usize, usize), now: Instant) -> Self {
        let highest = rung_below(most);
        Self {
            measure,
            rung: rung_below(start).min(highest),
            highest,
            phase: Phase::Ramp { before: None },
            rates: [None; LADDER.len()],
            windows: 0,
            window: Window::new(now, 0),
            begun: None,
            fastest: None,
            overload: None,
        }
    }

    /// How many uploads may be in flight now.
    pub(super) fn allowed(&self, now: Instant) -> usize {
        if self.is_beginning(now) { self.number().min(FIRST) } else { self.number() }
    }

    /// Whether nothing has ended yet, and that is still to be expected soon.
    pub(super) fn is_beginning(&self, now: Instant) -> bool {
        self.fastest.is_none() && self.begun.is_none_or(|begun| now.saturating_duration_since(begun) < FIRST_TIME)
    }

    fn number(&self) -> usize {
        LADDER[self.rung]
    }

    /// So many places were taken until now.
    pub(super) fn passed(&mut self, taken: usize, now: Instant) {
        if taken > 0 {
            self.begun.get_or_insert(self.window.last);
        }
        self.window.passed(taken, now);
    }

    /// Something has ended; so many places are taken, this one included.
    pub(super) fn ended(&mut self, ended: Ended, taken: usize, now: Instant) {
        if let Some(took) = ended.took {
            self.fastest = Some(self.fastest.map_or(took, |fastest| fastest.min(took)));
        }
        let (needed, shortest) = match (self.measure, &self.phase) {
            (Measure::Bytes, _) => (2, SHORTEST),
            (Measure::Files, Phase::Ramp { .. }) => (self.number(), SHORTEST_IN_RAMP),
            (Measure::Files, Phase::Steady { .. }) => (2 * self.number(), SHORTEST),
        };
        if !self.window.ended(ended, (needed, shortest), now) {
            return;
        }
        let (is_in_use, rung) = (self.window.is_in_use(self.number()), self.rung);
        if is_in_use {
            let (rate, slower) = (self.window.rate(), self.slower());
            self.raise_ceiling(now);
            self.learn(rate, slower);
        }
        let begun_before = if rung == self.rung { 0 } else { self.begun_before(taken) };
        self.window = Window::new(now, begun_before);
    }

    /// What is measured now says nothing about the number: uploads fail, or wait for something else.
    pub(super) fn disturbed(&mut self, taken: usize, now: Instant) {
        self.window = Window::new(now, self.begun_before(taken));
    }

    /// The service says that it has too much to do.
    pub(super) fn overloaded(&mut self, taken: usize, now: Instant) {
        self.disturbed(taken, now);
        if self.overload.is_some_and(|known| now - known.at < ONE_OVERLOAD) {
            return;
        }
        // After a long quiet it counts as the first one.
        let again = self.overload.filter(|known| now - known.at < 4 * known.avoided);
        let avoided = again.map_or(AVOIDED, |known| (2 * known.avoided).min(AVOIDED_MOST));
        let ceiling = self.rung.saturating_sub(1);
        self.overload = Some(Overload { at: now, ceiling, avoided, rises: now + avoided, pace: avoided });
        self.rung = rung_below(self.number() / 2);
        self.rates = [None; LADDER.len()];
        self.phase = Phase::Steady { home: self.rung, pause: PAUSE, left: 0, upwards: true };
    }

    /// How many of the uploads in flight were begun with another number, or before the trouble.
    fn begun_before(&self, taken: usize) -> usize {
        match self.measure {
            Measure::Files => taken.saturating_sub(1),
            Measure::Bytes => 1,
        }
    }

    /// How many times as long as the fastest upload the uploads of this window took on average; `None` where no times are known.
    fn slower(&self) -> Option<f64> {
        let fastest = self.fastest.filter(|fastest| !fastest.is_zero())?;
        (self.window.timed > 0).then(|| self.window.seconds / count(self.window.timed) / fastest.as_secs_f64())
    }

    fn learn(&mut self, rate: f64, slower: Option<f64>) {
        self.windows += 1;
        self.note(rate);
        match self.phase {
            Phase::Ramp { before } => {
                let pays = before.is_none_or(|before| rate >= before * PAYS);
                // Without times the rate alone tells.
                let step = match slower.unwrap_or(HARDLY_SLOWER) {
                    slower if slower < HARDLY_SLOWER => FOURFOLD,
                    slower if slower < MUCH_SLOWER => TWOFOLD,
                    _ => 0,
                };
                let next = (self.rung + step).min(self.ceiling());
                if pays && next > self.rung {
                    self.phase = Phase::Ramp { before: Some(rate) };
                    self.rung = next;
                } else {
                    self.phase = Phase::Steady { home: self.rung, pause: PAUSE, left: PAUSE, upwards: false };
                    self.settle();
                }
            }
            Phase::Steady { .. } => self.settle(),
        }
    }

    fn note(&mut self, rate: f64) {
        let known = self.rates[self.rung].filter(|known| self.windows - known.window < FORGOTTEN);
        let value = match known {
            Some(known) if (rate / known.value).max(known.value / rate) < CHANGED => known.value.midpoint(rate),
            Some(_) => {
                self.rates = [None; LADDER.len()];
                rate
            }
            None => rate,
        };
        self.rates[self.rung] = Some(Rate { value, window: self.windows });
    }

    /// Chooses the number for the next window: the best one, or one beside it that is tried.
    fn settle(&mut self) {
        let Phase::Steady { home, pause, left, upwards } = self.phase else { return };
        let best = self.best();
        let (pause, left, upwards) = match best.cmp(&home) {
            // A larger number that has just proved better may not be the best yet: the rate suffers until that is found.
            std::cmp::Ordering::Greater => (PAUSE, 0, true),
            std::cmp::Ordering::Less => (PAUSE, PAUSE, false),
            std::cmp::Ordering::Equal => (pause, left, upwards),
        };
        let beside = if upwards { (best + 1).min(self.ceiling()) } else { best.saturating_sub(1) };
        if left > 0 || (self.rung != best && best == home) {
            self.rung = best;
            self.phase = Phase::Steady { home: best, pause, left: left.saturating_sub(1), upwards };
        } else {
            self.rung = beside;
            self.phase =
                Phase::Steady { home: best, pause: (2 * pause).min(LONGEST_PAUSE), left: pause, upwards: !upwards };
        }
    }

    /// The lowest rung whose rate is nearly the highest.
    fn best(&self) -> usize {
        let known = |rung: usize| {
            self.rates[rung].filter(|rate| self.windows - rate.window < FORGOTTEN).map_or(0.0, |rate| rate.value)
        };
        let rungs = 0..=self.ceiling();
        let highest = rungs.clone().map(known).fold(0.0, f64::max);
        rungs.clone().find(|rung| known(*rung) > 0.0 && known(*rung) >= NEARLY * highest).unwrap_or(self.rung)
    }

    fn ceiling(&self) -> usize {
        self.overload.as_ref().map_or(self.highest, |overload| overload.ceiling.min(self.highest))
    }

    fn raise_ceiling(&mut self, now: Instant) {
        if let Some(overload) = &mut self.overload
            && now >= overload.rises
        {
            overload.ceiling = (overload.ceiling + 1).min(self.highest);
            overload.pace = (overload.pace / 2).max(ONE_OVERLOAD);
            overload.rises = now + overload.pace;
        }
    }
}

impl Window {
    fn new(now: Instant, skipped: usize) -> Self {
        Self { since: now, last: now, taken: 0.0, work: 0.0, ended: 0, seconds: 0.0, timed: 0, skipped }
    }

    fn passed(&mut self, taken: usize, now: Instant) {
        self.taken += count(taken) * now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
    }

    /// Returns whether the window is complete.
    fn ended(&mut self, ended: Ended, (needed, shortest): (usize, Duration), now: Instant) -> bool {
        if self.skipped > 0 {
            *self = Self::new(now, self.skipped - 1);
            return false;
        }
        self.ended += 1;
        self.work += ended.work;
        if let Some(took) = ended.took {
            self.seconds += took.as_secs_f64();
            self.timed += 1;
        }
        self.ended >= needed && now - self.since >= shortest
    }

    fn is_in_use(&self, number: usize) -> bool {
        self.taken >= IN_USE * count(number) * (self.last - self.since).as_secs_f64()
    }

    fn rate(&self) -> f64 {
        self.work / (self.last - self.since).as_secs_f64()
    }
}

/// The highest rung of a number that is not larger; the first rung for zero.
fn rung_below(number: usize) -> usize {
    LADDER.iter().rposition(|rung| *rung <= number).unwrap_or(0)
}

#[allow(clippy::cast_precision_loss)]
fn count(number: usize) -> f64 {
    number as f64
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
