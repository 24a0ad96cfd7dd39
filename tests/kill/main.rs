//! `kill -9` at random moments and at each named step, while files come: each file that was closed into the folder is stored once
//! and whole, and no other file is gone.
//!
//! `ASTRAN_TEST_ROUNDS` says how many kills (default 18), `ASTRAN_TEST_SEED` the seed of the random choices. The named steps need
//! `--features failpoints`.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

#[path = "../support/mod.rs"]
mod support;

mod elsewhere;
mod refused;
#[cfg(feature = "failpoints")]
mod steps;
mod writer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use astran_backup::sandbox::Duplicates;

use support::World;
use support::proof::{Comparison, Dice, clean_run, identity, identity_of, rounds, seed, sha256};
use writer::{NAMES, write_until};

const SETTLE: [&str; 2] = ["--settle", "10ms"];

#[test]
fn killed_at_any_moment_nothing_is_lost_truncated_or_stored_twice_where_the_store_keeps_versions() {
    let world = World::new();
    kill_to_the_end(&world, "versions", &SETTLE);
    assert!(world.files_left().is_empty());
}

#[test]
fn killed_at_any_moment_nothing_is_lost_or_stored_twice_where_names_may_repeat() {
    let world = World::with(|options| options.duplicates = Duplicates::SecondDocument);
    kill_to_the_end(&world, "second documents", &SETTLE);
}

#[test]
fn killed_at_any_moment_each_file_that_is_to_be_moved_is_moved_whole() {
    let world = World::new();
    kill_to_the_end(&world, "moved", &[SETTLE[0], SETTLE[1], "--move-to", "done"]);
    assert_each_is_in(&world, &world.dir.path().join("done"));
}

/// Asserts that each stored document lies in this folder once.
#[track_caller]
fn assert_each_is_in(world: &World, done: &Path) {
    let moved = sums_below(done);
    assert_eq!(moved.values().sum::<usize>(), world.sandbox().uploads().len(), "{moved:?}");
    assert!(world.sandbox().uploads().iter().all(|upload| moved[&identity_of(upload)] == 1), "{moved:?}");
}

/// How often each file, by its identity, lies below a folder; unfinished files are counted too.
fn sums_below(folder: &Path) -> BTreeMap<String, usize> {
    let mut sums = BTreeMap::new();
    for file in support::files_below(folder) {
        let content = std::fs::read(folder.join(&file)).unwrap();
        let name = file.to_string_lossy();
        *sums.entry(identity(&name, &sha256(&content), content.len() as u64)).or_default() += 1;
    }
    sums
}

fn kill_to_the_end(world: &World, what: &str, arguments: &[&str]) {
    let closed = kill_rounds(world, what, &NAMES, arguments);
    clean_run(world, arguments);
    let comparison = Comparison::of(world, &closed);
    println!("{what}: {}", comparison.summary());
    comparison.assert_perfect();
}

/// Kills the program again and again while files come under these names. Returns what was closed into the folder: for each identity
/// the place.
fn kill_rounds(world: &World, what: &str, names: &[&str], arguments: &[&str]) -> BTreeMap<String, String> {
    let rounds = rounds(18).div_ceil(3);
    let mut dice = Dice::new(seed(what));
    let stop = AtomicBool::new(false);
    println!("{what}: {rounds} kills");
    std::thread::scope(|scope| {
        let (folder, stop, chance) = (world.watched(), &stop, Dice::new(dice.next()));
        let writer = scope.spawn(move || write_until(&folder, names, stop, chance));
        for _ in 0..rounds {
            let daemon = world.start(arguments);
            let longest = *dice.of(&[60, 400, 2500]);
            std::thread::sleep(Duration::from_millis(dice.within(0, longest)));
            daemon.kill();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    })
}
