//! Kills at each named step, with one file of each kind and size, and with a new file of the same name before the next start.

use std::collections::BTreeMap;

use astran_backup::sandbox::Duplicates;

use crate::SETTLE;
use crate::support::proof::{Comparison, Dice, clean_run, identity, rounds, seed, sha256, unique};
use crate::support::{World, run_to_end};

/// A step, and the step at which an earlier run must have been killed so that the step is reached.
const STEPS: [(&str, Option<&str>); 16] = [
    ("before-intent", None),
    ("after-intent", None),
    ("mid-body", None),
    ("after-send", None),
    ("before-receipt", None),
    ("after-receipt", None),
    ("after-set-aside", None),
    ("during-grace", None),
    ("after-grace", None),
    ("after-unlink", None),
    ("before-end", None),
    ("after-end", None),
    ("resolving", Some("after-send:3")),
    ("after-recovery", Some("after-send:3")),
    ("after-recovery", Some("after-set-aside:2")),
    ("before-receipt", Some("after-send:3")),
];

#[test]
fn killed_at_each_named_step_nothing_is_lost_truncated_or_stored_twice() {
    for duplicates in [Duplicates::Version, Duplicates::SecondDocument] {
        for (step, before) in STEPS {
            let killed = killed_at(step, before, 1, duplicates);
            assert!(killed, "{step} was never reached");
        }
    }
}

#[test]
fn killed_at_a_named_step_for_the_nth_time_nothing_is_lost_truncated_or_stored_twice() {
    let mut dice = Dice::new(seed("nth"));
    for _ in 0..rounds(16) / 2 {
        let nth = dice.within(2, 7);
        let (step, before) = *dice.of(&STEPS);
        killed_at(step, before, nth, *dice.of(&[Duplicates::Version, Duplicates::SecondDocument]));
    }
}

fn killed_at(step: &str, before: Option<&str>, nth: u64, duplicates: Duplicates) -> bool {
    let world = World::with(|options| options.duplicates = duplicates);
    world.put("nothing", "");
    let mut closed = BTreeMap::from([(identity("nothing", "", 0), "nothing".to_owned())]);
    let mut put = |name: &str, what: &str, size| {
        let content = unique(&format!("{what} {name}"), size);
        closed.insert(sha256(&content), format!("{what} {name}"));
        world.put(name, content);
    };
    for (name, size) in [("small", 10), ("large", 700_000), ("sub/small", 10), ("sub/other", 300_000)] {
        put(name, "first", size);
    }
    if let Some(before) = before {
        assert!(killed(&world, before));
    }
    let killed = killed(&world, &format!("{step}:{nth}"));
    for name in ["small", "large"] {
        // Only where the first file is gone (staged or removed): the writer never overwrites.
        if !world.watched().join(name).exists() {
            put(name, "second", 20);
        }
    }
    clean_run(&world, &SETTLE);
    let comparison = Comparison::of(&world, &closed);
    println!("{step}:{nth} {duplicates:?}, killed {killed}: {}", comparison.summary());
    comparison.assert_perfect();
    killed
}

/// Runs until the program reaches this step; returns whether it was killed there.
pub(crate) fn killed_with(world: &World, step: &str, arguments: &[&str]) -> bool {
    let mut command = world.command();
    command.args(["watch", "watched", "--once"]).args(arguments).env("ASTRAN_BACKUP_FAILPOINT", step);
    run_to_end(&mut command).code.is_none()
}

fn killed(world: &World, step: &str) -> bool {
    killed_with(world, step, &SETTLE)
}

#[test]
fn killed_while_a_file_that_changed_in_its_grace_is_put_back_both_contents_are_stored_once() {
    let world = World::new();
    let (first, second) = (unique("first", 20), unique("second", 30));
    let place = world.put("report", &first);
    let changed = std::thread::scope(|scope| {
        let changed = scope.spawn(|| {
            std::fs::write(world.wait_for_staged("report"), &second).unwrap();
            second
        });
        assert!(killed(&world, "before-put-back"));
        changed.join().unwrap()
    });
    assert!(!place.exists(), "the file was put back too early for this test");
    let closed = [(sha256(&first), "first".to_owned()), (sha256(&changed), "second".to_owned())].into();
    clean_run(&world, &SETTLE);
    Comparison::of(&world, &closed).assert_perfect();
}

/// The bytes of standard input lie in the state folder, where the next push finds them.
#[test]
fn standard_input_of_a_killed_push_is_discarded_by_the_next_one_only_with_a_receipt() {
    for (step, kept) in
        [("before-intent", true), ("after-send", true), ("before-receipt", true), ("after-receipt", false)]
    {
        let world = World::new();
        let push = |name: &str, step: &str| {
            let input = world.dir.path().join("input");
            std::fs::write(&input, name).unwrap();
            let mut command = world.command();
            command.args(["push", "-", "--name", name]).stdin(std::fs::File::open(input).unwrap());
            run_to_end(command.env("ASTRAN_BACKUP_FAILPOINT", step))
        };
        let left = || {
            let files = walkdir::WalkDir::new(world.state()).into_iter().filter_map(Result::ok);
            files.filter(|file| file.file_name() == "first").count()
        };
        assert_eq!((push("first", step).code, left()), (None, 1), "{step}");
        let next = push("second", "none");
        assert_eq!((next.code, left() == 1, next.stderr.contains("first")), (Some(0), kept, kept), "{step}: {next:?}");
    }
}

/// Regression: the files of the batch had no report, and the run never ended.
#[test]
fn a_panic_in_the_middle_of_a_removal_is_reported_and_the_run_ends() {
    for step in ["before-set-aside", "after-grace"] {
        let world = World::new();
        for name in ["one", "two"] {
            world.put(name, name);
        }
        let mut command = world.command();
        command.args(["watch", "watched", "--once"]).args(SETTLE).env("ASTRAN_BACKUP_PANIC", step);
        let ended = run_to_end(&mut command);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout.matches("internal error").count(), 2, "{ended:?}");
        let again = world.once(&SETTLE);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert!(world.files_left().is_empty() && world.sandbox().uploads().len() == 2);
    }
}
