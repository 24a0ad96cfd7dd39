//! Is this file ready? Pure: looks at a file and a time go in, a verdict comes out.
//!
//! A file is taken when nobody writes it any more. What proves that depends on how it came (see [`Cause`]), on whether
//! the file system can tell of writers, and on how long nothing happened. The file's own times are compared with each
//! other only, never with a clock: copies keep old times, and a share's clock is not ours.

use std::time::Duration;

use tokio::time::Instant;

use crate::file::Version;

/// How a file came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Renamed in: whoever renames has finished writing.
    Renamed,
    /// Closed after writing.
    Closed,
    /// Created, nothing else: a hard link, or the first moment of a file that is still to be written.
    Created,
    /// Found lying there by a scan.
    Scanned,
    /// Came back from the pipeline: it changed while it was uploaded or removed.
    Returned,
}

/// What a look at a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// Nothing of this name is there.
    Gone,
    /// A folder.
    Folder,
    /// Something that is not uploaded: a link, a pipe, a device.
    Unfit,
    /// It can't be opened: whoever uploads it finds out why, and says so.
    Unreadable,
    /// Somebody has it open for writing.
    Busy(Version),
    /// The kernel says that nobody has it open for writing.
    Quiet(Version),
    /// Nobody can tell whether it is being written.
    Unsure(Version),
}

/// How long a file must stay untouched, by how it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// After it was closed, or came back.
    pub closed: Duration,
    /// After it was created and nothing else.
    pub created: Duration,
    /// After a scan found it.
    pub scanned: Duration,
    /// While it is empty, unless renamed in: many writers create first and write later.
    pub empty: Duration,
    /// Where nobody can tell of its writers.
    pub unsure: Duration,
    /// How long a file that is open for writing may stay unchanged before it is given up; never where `None`.
    pub patience: Option<Duration>,
}

impl Rules {
    /// The rules for a settle time; all other times follow from it, but for the one that stands in for a lease.
    pub fn new(settle: Duration) -> Self {
        Self {
            closed: settle,
            created: settle * 2,
            scanned: settle * 2,
            empty: settle * 10,
            unsure: settle.max(UNSURE),
            patience: None,
        }
    }

    /// The same, but a file that stays open for writing and unchanged for this long is given up.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Upload it.
    Ready,
    /// Look again then, or when something happens to it.
    Wait(Instant),
    /// It is still open for writing and nothing has changed for too long: leave it to the next run.
    StillOpen,
    /// It is a folder: look into it.
    Folder,
    /// Forget it: it is gone, or never was a document.
    Forget,
}

/// A file on its way to being ready.
#[derive(Debug, Clone)]
pub struct Candidate {
    cause: Cause,
    seen: Option<Version>,
    /// Since when nothing has happened to it.
    still_since: Instant,
    /// Since when it has been open for writing.
    busy_since: Option<Instant>,
    /// How often it was closed again while it waited, or came back: scanners reopen what others have closed.
    reopened: u32,
    /// Since when it has been coming back.
    returning_since: Option<Instant>,
}

/// So often a file may come back, however quickly, before patience ends.
const MOST_RETURNS: u32 = 10;

/// Where no lease can tell of writers, nothing but time can; a shorter settle time must not shorten this.
const UNSURE: Duration = Duration::from_secs(10);
/// A file's last close is told before the kernel lets go of it; so soon after, ask again quickly.
const CLOSING: Duration = Duration::from_millis(50);
const CLOSING_STEP: Duration = Duration::from_millis(1);
/// An open file's close is told by an event. In case that is lost, it is looked at this often.
const BUSY_STEP: Duration = Duration::from_secs(1);
/// Growth of the settle time for files that are reopened: by half each time, up to about eight times.
const MAX_REOPENED: u32 = 5;

impl Candidate {
    /// A file that is to be looked at now.
    pub fn new(cause: Cause, now: Instant) -> Self {
        Self { cause, seen: None, still_since: now, busy_since: None, reopened: 0, returning_since: None }
    }

    /// The same file once more, now that it came back.
    #[must_use]
    pub fn returned(&self, now: Instant) -> Self {
        let since = self.returning_since.unwrap_or(now);
        Self { reopened: self.reopened + 1, returning_since: Some(since), ..Self::new(Cause::Returned, now) }
    }

    /// Something happened to the file.
    pub fn hint(&mut self, cause: Cause, now: Instant) {
        if cause == Cause::Closed && self.cause == Cause::Closed {
            self.reopened += 1;
        }
        // Who comes back was put back by a rename of our own, because somebody writes it.
        if (cause, self.cause) != (Cause::Renamed, Cause::Returned) {
            self.cause = cause;
        }
        self.still_since = now;
        self.busy_since = None;
    }

    /// Judges a look at the file.
    pub fn look(&mut self, seen: Seen, now: Instant, rules: &Rules) -> Verdict {
        match seen {
            Seen::Gone | Seen::Unfit => Verdict::Forget,
            Seen::Folder => Verdict::Folder,
            Seen::Unreadable => Verdict::Ready,
            Seen::Busy(version) => self.busy(version, now, rules),
            Seen::Quiet(version) => self.at_rest(version, now, self.needed(version, rules), rules),
            Seen::Unsure(version) => self.at_rest(version, now, self.needed(version, rules).max(rules.unsure), rules),
        }
    }

    fn busy(&mut self, version: Version, now: Instant, rules: &Rules) -> Verdict {
        self.note(version, now);
        // A rename says that its writer has finished; that it is still open proves it wrong.
        if self.cause == Cause::Renamed && self.busy_since.is_some_and(|since| now - since >= CLOSING) {
            self.cause = Cause::Closed;
        }
        let since = *self.busy_since.get_or_insert(now);
        if rules.patience.is_some_and(|patience| now.duration_since(self.still_since.max(since)) >= patience) {
            return Verdict::StillOpen;
        }
        Verdict::Wait(now + if now - since < CLOSING { CLOSING_STEP } else { BUSY_STEP })
    }

    fn at_rest(&mut self, version: Version, now: Instant, needed: Duration, rules: &Rules) -> Verdict {
        if self.busy_since.take().is_some_and(|since| now - since >= CLOSING) {
            // It was being written until just now, whatever brought it.
            self.still_since = now;
        }
        self.note(version, now);
        let returning = self.returning_since.map(|since| now - since).filter(|_| self.reopened > MOST_RETURNS);
        if returning.zip(rules.patience).is_some_and(|(returning, patience)| returning >= patience) {
            return Verdict::StillOpen;
        }
        let ready_at = self.still_since + needed;
        if now >= ready_at { Verdict::Ready } else { Verdict::Wait(ready_at) }
    }

    /// Starts the wait anew where the file is not as it was.
    fn note(&mut self, version: Version, now: Instant) {
        if self.seen.is_some_and(|before| before != version) {
            self.still_since = now;
        }
        self.seen = Some(version);
    }

    fn needed(&self, version: Version, rules: &Rules) -> Duration {
        let by_cause = match self.cause {
            Cause::Renamed => return Duration::ZERO,
            Cause::Closed | Cause::Returned => {
                rules.closed.mul_f64(1.5f64.powi(self.reopened.min(MAX_REOPENED).cast_signed()))
            }
            Cause::Created => rules.created,
            Cause::Scanned => rules.scanned,
        };
        if version.size == 0 { by_cause.max(rules.empty) } else { by_cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTLE: Duration = Duration::from_millis(500);

    fn version(size: u64, mtime: i64) -> Version {
        Version { device: 1, inode: 1, size, mtime, ctime: mtime }
    }

    struct Story {
        start: Instant,
        rules: Rules,
        file: Candidate,
    }

    impl Story {
        fn of(cause: Cause) -> Self {
            let start = Instant::now();
            Self { start, rules: Rules::new(SETTLE), file: Candidate::new(cause, start) }
        }
        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }
        fn look(&mut self, ms: u64, seen: Seen) -> Verdict {
            let now = self.at(ms);
            self.file.look(seen, now, &self.rules)
        }
        fn hint(&mut self, ms: u64, cause: Cause) {
            let now = self.at(ms);
            self.file.hint(cause, now);
        }
    }

    #[test]
    fn a_file_renamed_in_is_ready_at_once_even_if_empty() {
        assert_eq!(Story::of(Cause::Renamed).look(0, Seen::Quiet(version(4, 1))), Verdict::Ready);
        assert_eq!(Story::of(Cause::Renamed).look(0, Seen::Quiet(version(0, 1))), Verdict::Ready);
    }

    #[test]
    fn a_closed_file_waits_out_the_settle_time_from_its_last_event() {
        let mut story = Story::of(Cause::Closed);
        assert_eq!(story.look(0, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(500)));
        story.hint(400, Cause::Renamed);
        story.hint(400, Cause::Closed);
        assert_eq!(story.look(500, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(900)));
        assert_eq!(story.look(900, Seen::Quiet(version(4, 1))), Verdict::Ready);
    }

    #[test]
    fn a_file_that_is_reopened_again_and_again_waits_longer_each_time() {
        let mut story = Story::of(Cause::Closed);
        story.hint(100, Cause::Closed);
        assert_eq!(story.look(100, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(850)));
        for _ in 0..100 {
            story.hint(200, Cause::Closed);
        }
        let Verdict::Wait(until) = story.look(200, Seen::Quiet(version(4, 1))) else { panic!() };
        assert!(until <= story.at(200) + SETTLE * 8);
    }

    #[test]
    fn a_file_found_by_a_scan_must_lie_unchanged_for_twice_the_settle_time() {
        let mut story = Story::of(Cause::Scanned);
        assert_eq!(story.look(0, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(1000)));
        assert_eq!(story.look(1000, Seen::Quiet(version(5, 2))), Verdict::Wait(story.at(2000)));
        assert_eq!(story.look(2000, Seen::Quiet(version(5, 2))), Verdict::Ready);
    }

    #[test]
    fn an_empty_file_waits_longer_and_a_file_whose_writers_nobody_can_tell_longest() {
        let mut story = Story::of(Cause::Closed);
        assert_eq!(story.look(0, Seen::Quiet(version(0, 1))), Verdict::Wait(story.at(5000)));
        assert_eq!(story.look(10, Seen::Unsure(version(0, 1))), Verdict::Wait(story.at(10_000)));
    }

    #[test]
    fn a_busy_file_is_asked_quickly_at_first_and_settles_from_when_it_was_let_go() {
        let mut story = Story::of(Cause::Closed);
        assert_eq!(story.look(0, Seen::Busy(version(4, 1))), Verdict::Wait(story.at(1)));
        assert_eq!(story.look(100, Seen::Busy(version(4, 1))), Verdict::Wait(story.at(1100)));
        assert_eq!(story.look(1100, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(1600)));
    }

    #[test]
    fn a_file_renamed_in_while_it_is_written_is_no_longer_taken_at_once() {
        let mut story = Story::of(Cause::Renamed);
        story.look(0, Seen::Busy(version(4, 1)));
        story.look(60, Seen::Busy(version(4, 1)));
        assert_eq!(story.look(200, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(700)));
    }

    #[test]
    fn patience_ends_only_for_a_file_that_stays_open_and_does_not_grow() {
        let mut story = Story::of(Cause::Scanned);
        story.rules = Rules::new(SETTLE).with_patience(Duration::from_secs(10));
        for second in 0..30 {
            let verdict = story.look(second * 1000, Seen::Busy(version(second, 1)));
            assert!(matches!(verdict, Verdict::Wait(_)), "given up while it grew");
        }
        assert_eq!(story.look(39_000, Seen::Busy(version(29, 1))), Verdict::StillOpen);
    }

    #[test]
    fn a_file_that_comes_back_again_and_again_waits_longer_and_patience_with_it_ends() {
        let (start, rules) = (Instant::now(), Rules::new(SETTLE).with_patience(Duration::from_secs(10)));
        let mut file = Candidate::new(Cause::Closed, start);
        for n in 0..MOST_RETURNS {
            file = file.returned(start);
            let verdict = file.look(Seen::Quiet(version(4, 1)), start, &rules);
            let Verdict::Wait(until) = verdict else { panic!("{verdict:?} after {n} times") };
            assert!(until > start + SETTLE && until <= start + SETTLE * 8);
        }
        let later = start + Duration::from_secs(10);
        assert_ne!(file.returned(start).look(Seen::Quiet(version(4, 1)), start, &rules), Verdict::StillOpen);
        assert_eq!(file.returned(later).look(Seen::Quiet(version(4, 1)), later, &rules), Verdict::StillOpen);
    }

    #[test]
    fn an_event_of_our_own_putting_back_does_not_shorten_the_wait_of_a_file_that_came_back() {
        let mut story = Story::of(Cause::Returned);
        story.hint(10, Cause::Renamed);
        assert_eq!(story.look(10, Seen::Quiet(version(4, 1))), Verdict::Wait(story.at(510)));
    }

    #[test]
    fn what_is_gone_or_no_document_is_forgotten() {
        assert_eq!(Story::of(Cause::Closed).look(0, Seen::Gone), Verdict::Forget);
        assert_eq!(Story::of(Cause::Closed).look(0, Seen::Unfit), Verdict::Forget);
        assert_eq!(Story::of(Cause::Closed).look(0, Seen::Folder), Verdict::Folder);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Write,
        Hint(Cause),
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, u8)>> {
        let cause = prop_oneof![Just(Cause::Closed), Just(Cause::Created), Just(Cause::Returned)];
        let step = prop_oneof![(1..3000u64).prop_map(Step::Pass), Just(Step::Write), cause.prop_map(Step::Hint)];
        proptest::collection::vec((step, 0..3u8), 1..60)
    }

    proptest! {
        /// Whatever happens in whatever order: ready means not busy, and nothing seen to change for the settle time.
        #[test]
        fn ready_is_never_said_of_a_file_that_is_busy_or_was_touched_within_the_settle_time(steps in steps()) {
            let mut story = Story::of(Cause::Closed);
            let (mut now, mut touched, mut size) = (0, 0, 1);
            let mut shown = None;
            for (step, look) in steps {
                match step {
                    Step::Pass(ms) => now += ms,
                    Step::Write => size += 1,
                    Step::Hint(cause) => {
                        story.hint(now, cause);
                        touched = now;
                    }
                }
                let seen = [Seen::Busy, Seen::Quiet, Seen::Unsure][usize::from(look)](version(size, 1));
                if shown != Some(size) {
                    if shown.is_some() { touched = now; }
                    shown = Some(size);
                }
                let verdict = story.look(now, seen);
                if verdict == Verdict::Ready {
                    prop_assert!(look != 0, "ready while open for writing");
                    prop_assert!(now - touched >= 500, "ready {} ms after a change", now - touched);
                }
                if let Verdict::Wait(until) = verdict {
                    prop_assert!(until > story.at(now), "a wait that is over already would spin");
                }
            }
        }

        /// Nothing is missed: a file left alone becomes ready when it is looked at as told.
        #[test]
        fn a_file_left_alone_becomes_ready(steps in steps()) {
            let mut story = Story::of(Cause::Closed);
            let mut now = 0;
            for (step, look) in steps {
                match step {
                    Step::Pass(ms) => now += ms,
                    Step::Write => {}
                    Step::Hint(cause) => story.hint(now, cause),
                }
                story.look(now, [Seen::Busy, Seen::Quiet, Seen::Unsure][usize::from(look)](version(1, 1)));
            }
            for _ in 0..3 {
                match story.look(now, Seen::Quiet(version(1, 1))) {
                    Verdict::Ready => return Ok(()),
                    Verdict::Wait(until) => now = u64::try_from((until - story.start).as_millis()).unwrap() + 1,
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            prop_assert!(false, "never ready");
        }
    }
}
