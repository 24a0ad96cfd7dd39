//! Killed while the store refuses some files and `failed_dir` collects them: each of those ends there, once and whole, and is
//! never stored; the others go as ever.

use std::collections::BTreeMap;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::World;
use crate::support::proof::{Reckoning, assert_nothing_left};
use crate::{SETTLE, kill_rounds, sums_below};

const ARGUMENTS: [&str; 4] = [SETTLE[0], SETTLE[1], "--failed-dir", "failed"];
/// The store refuses each whose name says "bad".
const NAMES: [&str; 4] = ["bad", "bad.pdf", "good", "good.txt"];

fn world() -> World {
    let world = World::new();
    let refused = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused).named("bad").always());
    world
}

/// Runs to the end; then holds what was closed into the folder against what is stored and what was collected.
fn reckon(world: &World, what: &str, closed: &BTreeMap<String, String>) {
    let said = world.once(&ARGUMENTS);
    assert!(matches!(said.code, Some(0 | 1)), "{said:?}");
    let is_bad = |place: &String| place.rsplit('/').next().unwrap().contains("bad");
    let (bad, good): (BTreeMap<_, _>, BTreeMap<_, _>) =
        closed.clone().into_iter().partition(|(_, place)| is_bad(place));
    let reckoning = Reckoning::of(world, &good);
    let failed = sums_below(&world.dir.path().join("failed"));
    println!("{what}: {}; refused {}, collected {}", reckoning.told(), bad.len(), failed.len());
    // What was refused and is stored all the same would be "truncated": nobody closed it among the good ones.
    reckoning.assert_perfect();
    assert_eq!(failed.keys().collect::<Vec<_>>(), bad.keys().collect::<Vec<_>>(), "{bad:?}");
    assert!(failed.values().all(|times| *times == 1), "{failed:?} of {bad:?}");
    assert_nothing_left(world);
    assert_eq!(world.run(["history", "--check"]).code, Some(0));
}

#[test]
fn killed_at_any_moment_each_refused_file_ends_in_failed_dir_once_and_whole() {
    let world = world();
    let closed = kill_rounds(&world, "refused", &NAMES, &ARGUMENTS);
    reckon(&world, "refused", &closed);
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
    assert!(killed || nth > 1, "{step} never came");
    // What is gone has been set aside or moved: the next one of its name must not take its place.
    for name in ["bad", "good"] {
        if !world.watched().join(name).exists() {
            put(name, "second", 20);
        }
    }
    reckon(&world, &format!("{step}:{nth}, killed {killed}"), &closed);
}
