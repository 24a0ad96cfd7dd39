//! The rules of [`super`], with times that the tests choose.

use super::*;
use proptest::prelude::*;

const SETTLE: Duration = Duration::from_millis(500);
/// The wall clock at which no file of these tests is older than a moment.
const NO_AGE: SystemTime = UNIX_EPOCH;

fn stamp(size: u64, mtime: i64) -> FileStamp {
    FileStamp { device: 1, inode: 1, size, mtime, ctime: mtime }
}

struct Scenario {
    start: Instant,
    rules: Rules,
    file: Candidate,
}

impl Scenario {
    fn of(cause: Cause) -> Self {
        let start = Instant::now();
        Self { start, rules: Rules::new(SETTLE), file: Candidate::new(cause, start) }
    }
    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }
    fn inspected(&mut self, ms: u64, seen: Observation) -> Readiness {
        let now = self.at(ms);
        self.file.judge(seen, (now, NO_AGE), &self.rules)
    }
    fn touched(&mut self, ms: u64, cause: Cause) {
        let now = self.at(ms);
        self.file.touched(cause, now);
    }
}

#[test]
fn a_file_renamed_in_is_ready_at_once_even_if_empty() {
    assert_eq!(Scenario::of(Cause::Renamed).inspected(0, Observation::Quiet(stamp(4, 1))), Readiness::Ready);
    assert_eq!(Scenario::of(Cause::Renamed).inspected(0, Observation::Quiet(stamp(0, 1))), Readiness::Ready);
}

#[test]
fn a_closed_file_is_ready_a_settle_time_after_its_last_event() {
    let mut scenario = Scenario::of(Cause::Closed);
    assert_eq!(scenario.inspected(0, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(500)));
    scenario.touched(400, Cause::Renamed);
    scenario.touched(400, Cause::Closed);
    assert_eq!(scenario.inspected(500, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(900)));
    assert_eq!(scenario.inspected(900, Observation::Quiet(stamp(4, 1))), Readiness::Ready);
}

#[test]
fn a_file_that_is_reopened_again_and_again_waits_longer_each_time() {
    let mut scenario = Scenario::of(Cause::Closed);
    scenario.touched(100, Cause::Closed);
    assert_eq!(scenario.inspected(100, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(850)));
    for _ in 0..100 {
        scenario.touched(200, Cause::Closed);
    }
    let Readiness::Wait(until) = scenario.inspected(200, Observation::Quiet(stamp(4, 1))) else { panic!() };
    assert!(until <= scenario.at(200) + SETTLE * 8);
}

#[test]
fn a_file_found_by_a_scan_must_lie_unchanged_for_twice_the_settle_time() {
    let mut scenario = Scenario::of(Cause::Scanned);
    assert_eq!(scenario.inspected(0, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(1000)));
    assert_eq!(scenario.inspected(1000, Observation::Quiet(stamp(5, 2))), Readiness::Wait(scenario.at(2000)));
    assert_eq!(scenario.inspected(2000, Observation::Quiet(stamp(5, 2))), Readiness::Ready);
}

#[test]
fn a_file_that_lay_untouched_before_a_walk_found_it_is_ready_at_the_first_look() {
    let start = Instant::now();
    let judge = |cause, seen, age: u64| {
        Candidate::new(cause, start).judge(seen, (start, NO_AGE + Duration::from_millis(age)), &Rules::new(SETTLE))
    };
    let wait = |ms| Readiness::Wait(start + Duration::from_millis(ms));
    // The content may be as old as it likes: a copy keeps its time.
    let quiet = |size| Observation::Quiet(FileStamp { mtime: -1_000_000_000, ..stamp(size, 0) });
    assert_eq!(judge(Cause::Scanned, quiet(4), 1000), Readiness::Ready);
    assert_eq!(judge(Cause::Scanned, quiet(4), 900), wait(100));
    assert_eq!(judge(Cause::Scanned, quiet(0), 1000), wait(4000));
    assert_eq!(judge(Cause::Scanned, quiet(0), 5000), Readiness::Ready);
    for cause in [Cause::Closed, Cause::Returned] {
        assert_eq!(judge(cause, quiet(4), 3_600_000), wait(500), "something happened to it just now: {cause:?}");
    }
    let unknown = Observation::WritersUnknown(stamp(4, 0));
    assert_eq!(judge(Cause::Scanned, unknown, 3_600_000), wait(10_000), "its times are those of another clock");
    let ahead = Observation::Quiet(stamp(4, 3_600_000_000_000));
    assert_eq!(judge(Cause::Scanned, ahead, 1000), wait(1000), "the clock was set back since");
}

#[test]
fn a_file_that_changed_or_was_open_since_the_first_look_settles_from_there() {
    let old = NO_AGE + Duration::from_secs(3600);
    for first in [Observation::Busy(stamp(4, 1)), Observation::Quiet(stamp(0, i64::MAX))] {
        let mut scenario = Scenario::of(Cause::Scanned);
        scenario.file.judge(first, (scenario.start, old), &scenario.rules);
        let later = scenario.at(100);
        let readiness = scenario.file.judge(Observation::Quiet(stamp(5, 2)), (later, old), &scenario.rules);
        assert_eq!(readiness, Readiness::Wait(scenario.at(1100)), "{first:?}");
    }
}

#[test]
fn an_empty_file_waits_longer_and_one_with_unknown_writers_longest() {
    let mut scenario = Scenario::of(Cause::Closed);
    assert_eq!(scenario.inspected(0, Observation::Quiet(stamp(0, 1))), Readiness::Wait(scenario.at(5000)));
    assert_eq!(scenario.inspected(10, Observation::WritersUnknown(stamp(0, 1))), Readiness::Wait(scenario.at(10_000)));
}

#[test]
fn a_busy_file_is_inspected_quickly_at_first_and_settles_from_its_release() {
    let mut scenario = Scenario::of(Cause::Closed);
    assert_eq!(scenario.inspected(0, Observation::Busy(stamp(4, 1))), Readiness::Wait(scenario.at(1)));
    assert_eq!(scenario.inspected(100, Observation::Busy(stamp(4, 1))), Readiness::Wait(scenario.at(1100)));
    assert_eq!(scenario.inspected(1100, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(1600)));
}

#[test]
fn a_file_renamed_in_while_it_is_written_is_no_longer_taken_at_once() {
    let mut scenario = Scenario::of(Cause::Renamed);
    scenario.inspected(0, Observation::Busy(stamp(4, 1)));
    scenario.inspected(60, Observation::Busy(stamp(4, 1)));
    assert_eq!(scenario.inspected(200, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(700)));
}

#[test]
fn a_run_that_is_to_end_waits_for_a_writer_as_long_as_a_file_settles_and_no_longer() {
    let once = |cause| Scenario { rules: Rules::new(SETTLE).for_once(), ..Scenario::of(cause) };
    let mut scenario = once(Cause::Scanned);
    let mut now = 0;
    // However much the file grows.
    let left_at = loop {
        match scenario.inspected(now, Observation::Busy(stamp(now, 1))) {
            Readiness::Wait(until) => now = u64::try_from((until - scenario.start).as_millis()).unwrap(),
            other => break (now, other),
        }
    };
    assert_eq!(left_at, (1000, Readiness::StillOpen));

    let mut scenario = once(Cause::Scanned);
    scenario.inspected(0, Observation::Busy(stamp(4, 1)));
    scenario.touched(990, Cause::Closed);
    assert_eq!(scenario.inspected(990, Observation::Quiet(stamp(5, 2))), Readiness::Wait(scenario.at(1490)));
    assert_eq!(scenario.inspected(1490, Observation::Quiet(stamp(5, 2))), Readiness::Ready);
}

#[test]
fn a_run_that_is_to_end_waits_out_the_settle_time_of_a_file_that_nobody_touches_and_leaves_one_that_changes_again_and_again()
 {
    for (size, ready) in [(4, 1000), (0, 5000)] {
        let mut scenario = Scenario { rules: Rules::new(SETTLE).for_once(), ..Scenario::of(Cause::Scanned) };
        assert_eq!(scenario.inspected(0, Observation::Quiet(stamp(size, 1))), Readiness::Wait(scenario.at(ready)));
        assert_eq!(scenario.inspected(ready, Observation::Quiet(stamp(size, 1))), Readiness::Ready);
    }
    let mut scenario = Scenario { rules: Rules::new(SETTLE).for_once(), ..Scenario::of(Cause::Scanned) };
    let mut readiness = scenario.inspected(0, Observation::Quiet(stamp(4, 0)));
    let mut now = 0;
    while matches!(readiness, Readiness::Wait(_)) && now < 10_000 {
        now += 200;
        scenario.touched(now, Cause::Closed);
        readiness = scenario.inspected(now, Observation::Quiet(stamp(4 + now, 1)));
    }
    assert_eq!(readiness, Readiness::StillOpen);
    assert!(now <= 1600, "left after {now} ms");
}

#[test]
fn a_file_returned_again_and_again_waits_longer_until_patience_ends() {
    let (start, rules) = (Instant::now(), Rules { patience: Some(Duration::from_secs(10)), ..Rules::new(SETTLE) });
    let mut file = Candidate::new(Cause::Closed, start);
    for n in 0..crate::budget::RETURNS {
        file = file.returned(start);
        let readiness = file.judge(Observation::Quiet(stamp(4, 1)), (start, NO_AGE), &rules);
        let Readiness::Wait(until) = readiness else { panic!("{readiness:?} after {n} times") };
        assert!(until > start + SETTLE && until <= start + SETTLE * 8);
    }
    let later = start + Duration::from_secs(10);
    assert_ne!(
        file.returned(start).judge(Observation::Quiet(stamp(4, 1)), (start, NO_AGE), &rules),
        Readiness::StillOpen
    );
    assert_eq!(
        file.returned(later).judge(Observation::Quiet(stamp(4, 1)), (later, NO_AGE), &rules),
        Readiness::StillOpen
    );
}

#[test]
fn the_rename_that_puts_a_returned_file_back_does_not_shorten_its_wait() {
    let mut scenario = Scenario::of(Cause::Returned);
    scenario.touched(10, Cause::Renamed);
    assert_eq!(scenario.inspected(10, Observation::Quiet(stamp(4, 1))), Readiness::Wait(scenario.at(510)));
}

#[test]
fn a_file_that_is_gone_or_of_another_kind_is_forgotten() {
    assert_eq!(Scenario::of(Cause::Closed).inspected(0, Observation::Gone), Readiness::Forget);
    assert_eq!(Scenario::of(Cause::Closed).inspected(0, Observation::NotUploadable), Readiness::Forget);
    assert_eq!(Scenario::of(Cause::Closed).inspected(0, Observation::Folder), Readiness::Folder);
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Write,
    Touch(Cause),
}

fn steps() -> impl Strategy<Value = Vec<(Step, u8)>> {
    let cause = prop_oneof![Just(Cause::Closed), Just(Cause::Created), Just(Cause::Returned)];
    let step = prop_oneof![(1..3000u64).prop_map(Step::Pass), Just(Step::Write), cause.prop_map(Step::Touch)];
    proptest::collection::vec((step, 0..3u8), 1..60)
}

proptest! {
    /// In every order of events: a ready file is not busy, and was not seen to change within the settle time.
    #[test]
    fn a_file_is_never_ready_while_busy_or_touched_within_the_settle_time(steps in steps()) {
        let mut scenario = Scenario::of(Cause::Closed);
        let (mut now, mut touched, mut size) = (0, 0, 1);
        let mut seen_size = None;
        for (step, kind) in steps {
            match step {
                Step::Pass(ms) => now += ms,
                Step::Write => size += 1,
                Step::Touch(cause) => {
                    scenario.touched(now, cause);
                    touched = now;
                }
            }
            let seen = [Observation::Busy, Observation::Quiet, Observation::WritersUnknown][usize::from(kind)](stamp(size, 1));
            if seen_size != Some(size) {
                if seen_size.is_some() { touched = now; }
                seen_size = Some(size);
            }
            let readiness = scenario.inspected(now, seen);
            if readiness == Readiness::Ready {
                prop_assert!(kind != 0, "ready while open for writing");
                prop_assert!(now - touched >= 500, "ready {} ms after a change", now - touched);
            }
            if let Readiness::Wait(until) = readiness {
                prop_assert!(until > scenario.at(now), "a wait that is over already would spin");
            }
        }
    }

    /// Nothing is missed: a file that is left alone becomes ready if it is inspected at the times that `Wait` names.
    #[test]
    fn a_file_left_alone_becomes_ready(steps in steps()) {
        let mut scenario = Scenario::of(Cause::Closed);
        let mut now = 0;
        for (step, kind) in steps {
            match step {
                Step::Pass(ms) => now += ms,
                Step::Write => {}
                Step::Touch(cause) => scenario.touched(now, cause),
            }
            scenario.inspected(now, [Observation::Busy, Observation::Quiet, Observation::WritersUnknown][usize::from(kind)](stamp(1, 1)));
        }
        for _ in 0..3 {
            match scenario.inspected(now, Observation::Quiet(stamp(1, 1))) {
                Readiness::Ready => return Ok(()),
                Readiness::Wait(until) => now = u64::try_from((until - scenario.start).as_millis()).unwrap() + 1,
                other => prop_assert!(false, "{other:?}"),
            }
        }
        prop_assert!(false, "never ready");
    }
}

#[test]
fn a_file_waits_until_its_content_is_old_enough_and_none_from_the_future_for_ever() {
    let (hour, now) = (Duration::from_secs(3600), UNIX_EPOCH + Duration::from_secs(1_000_000));
    let rules = Rules::new(SETTLE).with_min_age(hour);
    let at = |mtime: i64, ctime: i64| {
        let seconds = |seconds: i64| (1_000_000 + seconds) * 1_000_000_000;
        rules.too_young_for(&FileStamp { mtime: seconds(mtime), ctime: seconds(ctime), ..stamp(4, 1) }, now)
    };
    assert_eq!(at(-3600, 0), Duration::ZERO, "renamed just now, and old");
    assert_eq!(at(-600, -600), Duration::from_secs(3000));
    assert_eq!(at(0, 0), hour);
    assert_eq!(at(5_000_000, -3000), Duration::from_secs(600), "its writer set another time");
    assert_eq!(at(60, 60), hour + Duration::from_secs(60), "the share's clock is a minute ahead");
    assert_eq!(at(5_000_000, 5_000_000), Duration::ZERO, "its times say nothing");
    assert_eq!(Rules::new(SETTLE).too_young_for(&stamp(4, i64::MAX), UNIX_EPOCH), Duration::ZERO);
}

#[test]
fn a_run_that_has_to_end_leaves_young_files() {
    let (start, rules) = (Instant::now(), Rules::new(SETTLE).with_min_age(Duration::from_secs(3600)));
    for (rules, expected) in
        [(rules.clone(), Readiness::Wait(start + Duration::from_secs(3600))), (rules.for_once(), Readiness::TooYoung)]
    {
        let mut file = Candidate::new(Cause::Renamed, start);
        let readiness = file.judge(Observation::Quiet(stamp(4, 0)), (start, NO_AGE), &rules);
        assert_eq!(file.judge_age(readiness, (start, UNIX_EPOCH), &rules), expected);
        assert_eq!(file.judge_age(Readiness::StillOpen, (start, UNIX_EPOCH), &rules), Readiness::StillOpen);
    }
}
