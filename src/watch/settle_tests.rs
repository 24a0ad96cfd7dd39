//! Rules of [`super`], told by a clock of the tests' own.

use super::*;
use proptest::prelude::*;

const SETTLE: Duration = Duration::from_millis(500);

fn stamp(size: u64, mtime: i64) -> FileStamp {
    FileStamp { device: 1, inode: 1, size, mtime, ctime: mtime }
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
    fn look(&mut self, ms: u64, seen: Observation) -> Verdict {
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
    assert_eq!(Story::of(Cause::Renamed).look(0, Observation::Quiet(stamp(4, 1))), Verdict::Ready);
    assert_eq!(Story::of(Cause::Renamed).look(0, Observation::Quiet(stamp(0, 1))), Verdict::Ready);
}

#[test]
fn a_closed_file_waits_out_the_settle_time_from_its_last_event() {
    let mut story = Story::of(Cause::Closed);
    assert_eq!(story.look(0, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(500)));
    story.hint(400, Cause::Renamed);
    story.hint(400, Cause::Closed);
    assert_eq!(story.look(500, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(900)));
    assert_eq!(story.look(900, Observation::Quiet(stamp(4, 1))), Verdict::Ready);
}

#[test]
fn a_file_that_is_reopened_again_and_again_waits_longer_each_time() {
    let mut story = Story::of(Cause::Closed);
    story.hint(100, Cause::Closed);
    assert_eq!(story.look(100, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(850)));
    for _ in 0..100 {
        story.hint(200, Cause::Closed);
    }
    let Verdict::Wait(until) = story.look(200, Observation::Quiet(stamp(4, 1))) else { panic!() };
    assert!(until <= story.at(200) + SETTLE * 8);
}

#[test]
fn a_file_found_by_a_scan_must_lie_unchanged_for_twice_the_settle_time() {
    let mut story = Story::of(Cause::Scanned);
    assert_eq!(story.look(0, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(1000)));
    assert_eq!(story.look(1000, Observation::Quiet(stamp(5, 2))), Verdict::Wait(story.at(2000)));
    assert_eq!(story.look(2000, Observation::Quiet(stamp(5, 2))), Verdict::Ready);
}

#[test]
fn an_empty_file_waits_longer_and_a_file_whose_writers_nobody_can_tell_longest() {
    let mut story = Story::of(Cause::Closed);
    assert_eq!(story.look(0, Observation::Quiet(stamp(0, 1))), Verdict::Wait(story.at(5000)));
    assert_eq!(story.look(10, Observation::Unsure(stamp(0, 1))), Verdict::Wait(story.at(10_000)));
}

#[test]
fn a_busy_file_is_asked_quickly_at_first_and_settles_from_when_it_was_let_go() {
    let mut story = Story::of(Cause::Closed);
    assert_eq!(story.look(0, Observation::Busy(stamp(4, 1))), Verdict::Wait(story.at(1)));
    assert_eq!(story.look(100, Observation::Busy(stamp(4, 1))), Verdict::Wait(story.at(1100)));
    assert_eq!(story.look(1100, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(1600)));
}

#[test]
fn a_file_renamed_in_while_it_is_written_is_no_longer_taken_at_once() {
    let mut story = Story::of(Cause::Renamed);
    story.look(0, Observation::Busy(stamp(4, 1)));
    story.look(60, Observation::Busy(stamp(4, 1)));
    assert_eq!(story.look(200, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(700)));
}

#[test]
fn patience_ends_only_for_a_file_that_stays_open_and_does_not_grow() {
    let mut story = Story::of(Cause::Scanned);
    story.rules = Rules::new(SETTLE).with_patience(Duration::from_secs(10));
    for second in 0..30 {
        let verdict = story.look(second * 1000, Observation::Busy(stamp(second, 1)));
        assert!(matches!(verdict, Verdict::Wait(_)), "given up while it grew");
    }
    assert_eq!(story.look(39_000, Observation::Busy(stamp(29, 1))), Verdict::StillOpen);
}

#[test]
fn a_file_that_comes_back_again_and_again_waits_longer_and_patience_with_it_ends() {
    let (start, rules) = (Instant::now(), Rules::new(SETTLE).with_patience(Duration::from_secs(10)));
    let mut file = Candidate::new(Cause::Closed, start);
    for n in 0..crate::budget::RETURNS {
        file = file.returned(start);
        let verdict = file.look(Observation::Quiet(stamp(4, 1)), start, &rules);
        let Verdict::Wait(until) = verdict else { panic!("{verdict:?} after {n} times") };
        assert!(until > start + SETTLE && until <= start + SETTLE * 8);
    }
    let later = start + Duration::from_secs(10);
    assert_ne!(file.returned(start).look(Observation::Quiet(stamp(4, 1)), start, &rules), Verdict::StillOpen);
    assert_eq!(file.returned(later).look(Observation::Quiet(stamp(4, 1)), later, &rules), Verdict::StillOpen);
}

#[test]
fn an_event_of_our_own_putting_back_does_not_shorten_the_wait_of_a_file_that_came_back() {
    let mut story = Story::of(Cause::Returned);
    story.hint(10, Cause::Renamed);
    assert_eq!(story.look(10, Observation::Quiet(stamp(4, 1))), Verdict::Wait(story.at(510)));
}

#[test]
fn what_is_gone_or_no_document_is_forgotten() {
    assert_eq!(Story::of(Cause::Closed).look(0, Observation::Gone), Verdict::Forget);
    assert_eq!(Story::of(Cause::Closed).look(0, Observation::Unfit), Verdict::Forget);
    assert_eq!(Story::of(Cause::Closed).look(0, Observation::Folder), Verdict::Folder);
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
            let seen = [Observation::Busy, Observation::Quiet, Observation::Unsure][usize::from(look)](stamp(size, 1));
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
            story.look(now, [Observation::Busy, Observation::Quiet, Observation::Unsure][usize::from(look)](stamp(1, 1)));
        }
        for _ in 0..3 {
            match story.look(now, Observation::Quiet(stamp(1, 1))) {
                Verdict::Ready => return Ok(()),
                Verdict::Wait(until) => now = u64::try_from((until - story.start).as_millis()).unwrap() + 1,
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert!(false, "never ready");
    }
}
