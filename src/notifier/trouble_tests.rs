//! What is told, and when: troubles and times go in, messages come out.

use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const FOLDER: &str = "/w";

fn rules() -> Notify {
    Notify { stuck_after: HOUR, every: HOUR, ..Notify::default() }
}

/// A run with its clock, and all that it has told.
struct Story {
    troubles: Troubles,
    marks: Marks,
    up: Duration,
    told: Vec<(Duration, Message)>,
}

impl Story {
    fn new() -> Self {
        let mut troubles = Troubles::new(rules());
        troubles.watches(Path::new(FOLDER));
        Self { troubles, marks: Marks::default(), up: Duration::ZERO, told: Vec::new() }
    }

    fn now(&self) -> Wall {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.up
    }

    fn tell(&mut self, when: When) {
        let now = self.now();
        for message in self.troubles.due(&self.marks, when, self.up, now) {
            self.troubles.told(&message, &mut self.marks, now);
            self.told.push((self.up, message));
        }
    }

    /// Time passes in steps of two seconds, while these troubles are seen.
    fn pass(&mut self, time: Duration, seen: &[Seen]) {
        let end = self.up + time;
        while self.up < end {
            self.up += Duration::from_secs(2);
            self.troubles.look(seen.to_vec(), true, self.up);
            self.tell(When::Running);
        }
    }

    fn fail(&mut self, file: &str) {
        let reason = Words::new("refused", format!("{file}: refused"));
        let named = NamedFile { path: Path::new(FOLDER).join(file), reason: reason.clone() };
        self.troubles.failed(Some(Path::new(FOLDER)), reason, Some(named), self.up);
    }

    fn lie_there(&mut self, count: u64) {
        self.up += Duration::from_millis(1);
        self.troubles.failed_files_are(Path::new(FOLDER), count, Vec::new(), self.up);
    }

    fn words(&self) -> Vec<&'static str> {
        self.told.iter().map(|(_, message)| message.word()).collect()
    }
}

fn seen(kind: Kind, cause: &'static str) -> Seen {
    let reason = Words::new(cause, cause);
    Seen { topic: Topic { kind, folder: None }, cause, reason, count: 0, age: Duration::ZERO }
}

/// A file of the folder has waited for hours.
fn waiting() -> Seen {
    let topic = Topic { kind: Kind::Stuck, folder: Some(FOLDER.into()) };
    Seen { topic, age: 10 * HOUR, count: 1, ..seen(Kind::Stuck, WAITING) }
}

#[test]
fn ten_thousand_failed_files_are_one_message_with_their_number_and_the_newest() {
    let mut story = Story::new();
    for number in 0..10_000 {
        story.fail(&number.to_string());
    }
    story.lie_there(10_000);
    story.pass(HOUR / 2, &[]);
    assert_eq!(story.words(), ["failed"]);
    let message = &story.told[0].1;
    assert_eq!((message.count, message.files.len()), (10_000, 3));
    assert!(message.files[0].path.ends_with("9999"));
    // A further failure is told when an hour has passed since.
    story.fail("more");
    story.lie_there(10_001);
    story.pass(HOUR, &[]);
    assert_eq!(story.words(), ["failed", "failed"]);
    assert!(story.told[1].0 >= story.told[0].0 + HOUR);
}

#[test]
fn failed_files_are_told_to_be_mended_once_none_lies_there() {
    let mut story = Story::new();
    story.fail("a");
    story.lie_there(1);
    story.pass(10 * QUIET, &[]);
    story.lie_there(0);
    story.pass(HOUR, &[]);
    assert_eq!(story.words(), ["failed", "recovered"]);
}

/// Regression: files that failed after the message, and were too soon for another one, kept the end from being told.
#[test]
fn the_end_is_told_also_of_failures_that_were_not_told_themselves() {
    let mut story = Story::new();
    story.fail("a");
    story.lie_there(1);
    story.pass(10 * QUIET, &[]);
    story.fail("b");
    story.pass(10 * QUIET, &[]);
    assert_eq!(story.words(), ["failed"], "the new one may lie there");
    story.lie_there(0);
    story.pass(10 * QUIET, &[]);
    assert_eq!(story.words(), ["failed", "recovered"]);
}

/// Regression: while files failed one after the other for long, it was not known that they lie there when that was told, and their end was
/// never told.
#[test]
fn the_end_is_told_of_files_that_failed_for_long_one_after_the_other() {
    let mut story = Story::new();
    for number in 0..20 {
        story.fail(&number.to_string());
        story.lie_there(number + 1);
        story.fail("and another");
        story.pass(Duration::from_secs(2), &[]);
    }
    story.pass(10 * QUIET, &[]);
    story.lie_there(0);
    story.pass(10 * QUIET, &[]);
    assert_eq!(story.words(), ["failed", "recovered"]);
}

#[test]
fn files_that_failed_dir_has_taken_are_never_told_to_be_mended() {
    let mut story = Story::new();
    story.fail("a");
    story.lie_there(0);
    story.pass(HOUR, &[]);
    assert_eq!(story.words(), ["failed"]);
}

#[test]
fn failures_are_told_also_where_the_file_system_does_not_say_how_many_lie_there() {
    let mut story = Story::new();
    story.fail("a");
    story.pass(HOUR / 60, &[]);
    assert_eq!(story.words(), ["failed"]);
}

#[test]
fn stuck_is_told_when_it_has_lasted_long_enough_and_again_while_it_lasts() {
    let mut story = Story::new();
    story.pass(HOUR / 2, &[seen(Kind::Stuck, "service")]);
    assert_eq!(story.words(), [""; 0]);
    story.pass(5 * HOUR, &[seen(Kind::Stuck, "service")]);
    let hours: Vec<_> = story.told.iter().map(|(up, _)| up.as_secs() / 3600).collect();
    assert_eq!(hours, [1, 2, 4]);
    assert!(story.told[2].1.lasted.unwrap() >= 4 * HOUR);
    story.pass(HOUR / 60, &[]);
    assert_eq!(story.words(), ["stuck", "stuck", "stuck", "recovered"]);
}

#[test]
fn a_file_that_waits_for_long_already_when_it_is_first_seen_is_stuck() {
    let mut story = Story::new();
    story.pass(QUIET, &[waiting()]);
    assert_eq!(story.words(), ["stuck"]);
}

/// Regression: the service came back after hours, and the files that went now were told as stuck.
#[test]
fn files_that_waited_for_the_service_have_their_full_time_again_when_it_is_back() {
    let mut story = Story::new();
    story.pass(HOUR + HOUR / 2, &[seen(Kind::Stuck, "service"), waiting()]);
    assert_eq!(story.words(), ["stuck"]);
    story.pass(HOUR / 2, &[waiting()]);
    assert_eq!(story.words(), ["stuck", "recovered"]);
    story.pass(HOUR, &[waiting()]);
    assert_eq!(story.words(), ["stuck", "recovered", "stuck"]);
    assert_eq!(story.told[2].1.topic.folder.as_deref(), Some(Path::new(FOLDER)));
}

#[test]
fn a_breaker_that_tries_again_is_not_taken_for_one_that_has_recovered() {
    let mut story = Story::new();
    story.pass(2 * HOUR, &[seen(Kind::Stuck, "service")]);
    story.pass(Duration::from_secs(2), &[]);
    story.pass(HOUR / 60, &[seen(Kind::Stuck, "service")]);
    assert!(!story.words().contains(&"recovered"), "{:?}", story.words());
}

#[test]
fn a_refused_login_is_told_at_once_and_hides_what_waits_for_it() {
    let mut story = Story::new();
    story.pass(QUIET, &[seen(Kind::Login, "service")]);
    assert_eq!(story.words(), ["login"]);
    story.pass(HOUR / 2, &[seen(Kind::Login, "service"), Seen { age: HOUR, ..seen(Kind::Stuck, "progress") }]);
    assert_eq!(story.words(), ["login"]);
    story.pass(QUIET * 2, &[]);
    assert_eq!(story.words(), ["login", "recovered"]);
}

#[test]
fn what_is_not_in_the_list_is_not_told() {
    let mut story = Story::new();
    story.troubles.rules.on.login = false;
    story.troubles.rules.on.failed = false;
    story.fail("a");
    story.lie_there(1);
    story.pass(HOUR, &[seen(Kind::Login, "service")]);
    assert_eq!(story.words(), [""; 0]);
}

#[test]
fn cron_jobs_that_fail_in_the_same_way_tell_it_once_and_the_first_that_does_not_tells_the_end() {
    let mut marks = Marks::default();
    let mut told = Vec::new();
    for minute in 0..20 {
        let mut story = Story { marks, up: minute * HOUR / 60, ..Story::new() };
        story.troubles.look(Vec::new(), true, story.up);
        if minute < 15 {
            story.troubles.failed_before(Path::new(FOLDER));
            story.lie_there(1);
        } else {
            assert_eq!(story.troubles.to_look_up(&story.marks).is_empty(), minute > 15);
            story.lie_there(0);
        }
        story.tell(When::RunningOnce);
        assert!(story.told.is_empty(), "a run with --once tells at its end");
        story.tell(When::Ended { once: true });
        told.extend(story.told.iter().map(|(_, message)| (minute, message.word())));
        marks = story.marks;
    }
    assert_eq!(told, [(0, "failed"), (15, "recovered")]);
}

#[test]
fn a_run_that_did_not_come_to_its_end_tells_nothing_to_be_over() {
    let mut story = Story::new();
    let topic = Topic { kind: Kind::Login, folder: None };
    story.marks.told(&topic, true, false, story.now());
    story.tell(When::Ended { once: true });
    story.tell(When::Ended { once: false });
    assert!(story.told.is_empty());
}

#[test]
fn troubles_of_other_folders_are_no_concern_of_this_process() {
    let mut story = Story::new();
    let topic = Topic { kind: Kind::Stuck, folder: Some("/elsewhere".into()) };
    story.marks.told(&topic, true, false, story.now());
    story.pass(HOUR, &[]);
    assert!(story.told.is_empty() && story.troubles.is_well(&story.marks, story.up));
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Trouble(u64, Kind),
    Fail,
    LieThere(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1u64..4000).prop_map(Step::Pass),
        ((1u64..8000), prop_oneof![Just(Kind::Stuck), Just(Kind::Login)])
            .prop_map(|(time, kind)| Step::Trouble(time, kind)),
        Just(Step::Fail),
        (0u64..3).prop_map(Step::LieThere),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: the same thing is not told twice within `every`, nothing is told to be over that was not told before, or twice.
    #[test]
    fn no_story_tells_one_thing_too_often_or_ends_what_was_not_told(steps in prop::collection::vec(step(), 1..25)) {
        let mut story = Story::new();
        for step in steps {
            match step {
                Step::Pass(seconds) => story.pass(Duration::from_secs(seconds), &[]),
                Step::Trouble(seconds, kind) => story.pass(Duration::from_secs(seconds), &[seen(kind, "service")]),
                Step::Fail => story.fail("a"),
                Step::LieThere(count) => story.lie_there(count),
            }
        }
        let mut last: BTreeMap<Topic, (Duration, bool)> = BTreeMap::new();
        for (up, message) in &story.told {
            let before = last.get(&message.topic).copied();
            if message.event == Event::Recovered {
                let (told, is_open) = before.expect("it was told before");
                prop_assert!(is_open, "told to be over twice: {:?}", message);
                last.insert(message.topic.clone(), (told, false));
            } else {
                prop_assert!(before.is_none_or(|(told, _)| *up >= told + HOUR), "{:?} at {:?} after {:?}", message, up, before);
                last.insert(message.topic.clone(), (*up, true));
            }
        }
    }
}
