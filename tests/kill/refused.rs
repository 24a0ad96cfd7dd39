//! Kills while the store refuses some files and `failed_dir` collects them: each refused file ends there once and whole, and is
//! never stored; the other files are stored as usual.

use std::collections::BTreeMap;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::World;
use crate::support::proof::{Comparison, assert_nothing_left};
use crate::{SETTLE, kill_rounds, sums_below};

const ARGUMENTS: [&str; 4] = [SETTLE[0], SETTLE[1], "--failed-dir", "failed"];
/// A world whose store refuses each file with "bad" in its name.
const NAMES: [&str; 4] = ["bad", "bad.pdf", "good", "good.txt"];

fn world() -> World {
    let world = World::new();
    let refused = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused).named("bad").always());
    world
}

/// Runs until the program ends by itself; then compares what was closed into the folder with what is stored and what was collected.
fn compare(world: &World, what: &str, closed: &BTreeMap<String, String>) {
    let output = world.once(&ARGUMENTS);
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
    let is_bad = |place: &String| place.rsplit('/').next().unwrap().contains("bad");
    let (bad, good): (BTreeMap<_, _>, BTreeMap<_, _>) =
        closed.clone().into_iter().partition(|(_, place)| is_bad(place));
    let comparison = Comparison::of(world, &good);
    let failed = sums_below(&world.dir.path().join("failed"));
    println!("{what}: {}; refused {}, collected {}", comparison.summary(), bad.len(), failed.len());
    // A refused file that is stored all the same shows as "truncated", since it is not among the good ones.
    comparison.assert_perfect();
    assert_eq!(failed.keys().collect::<Vec<_>>(), bad.keys().collect::<Vec<_>>(), "{bad:?}");
    assert!(failed.values().all(|times| *times == 1), "{failed:?} of {bad:?}");
    assert_nothing_left(world);
    assert_eq!(world.run(["history", "--check"]).code, Some(0));
}

#[test]
fn killed_at_any_moment_each_refused_file_ends_in_failed_dir_once_and_whole() {
    let world = world();
    let closed = kill_rounds(&world, "refused", &NAMES, &ARGUMENTS);
    compare(&world, "refused", &closed);
}

#[cfg(feature = "failpoints")]
#[test]
fn killed_at_each_step_of_its_removal_a_refused_file_ends_in_failed_dir_once_and_whole() {
    let steps = ["before-set-aside", "after-set-aside", "during-grace", "after-grace", "after-unlink", "before-end"];
    for step in steps {
        std::thread::scope(|scope| {
            for nth in 1..=3 {
                scope.spawn(move || killed_at(step, nth));
            }
        });
    }
}

#[cfg(feature = "failpoints")]
fn killed_at(step: &str, nth: u64) {
    use crate::support::proof::{sha256, unique};

    let world = world();
    let mut closed = BTreeMap::new();
    let mut put = |name: &str, what: &str, size| {
        let content = unique(&format!("{what} {name}"), size);
        closed.insert(sha256(&content), name.to_owned());
        world.put(name, content);
    };
    for (name, size) in [("bad", 10), ("good", 10), ("sub/bad", 300_000), ("sub/good", 300_000)] {
        put(name, "first", size);
    }
    let killed = crate::steps::killed_with(&world, &format!("{step}:{nth}"), &ARGUMENTS);
    assert!(killed || nth > 1, "{step} was never reached");
    // A file that is gone has been staged or moved: the next file of its name must not take its place.
    for name in ["bad", "good"] {
        if !world.watched().join(name).exists() {
            put(name, "second", 20);
        }
    }
    compare(&world, &format!("{step}:{nth}, killed {killed}"), &closed);
}
