//! `kill -9` at random moments and at each named step, while files come: what was closed into the folder is stored, whole,
//! once, and nothing else is gone.
//!
//! `ASTRAN_TEST_ROUNDS` says how many kills (default 16), `ASTRAN_TEST_SEED` where chance starts. The named steps need
//! `--features failpoints`.
#![cfg(feature = "sandbox")]

mod support;

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use astran_backup::sandbox::Duplicates;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use support::World;
use support::proof::{Dice, Reckoning, clean_run, rounds, seed, sha256, unique};

const SETTLE: [&str; 2] = ["--settle", "10ms"];

#[test]
fn killed_at_any_moment_nothing_is_lost_truncated_or_stored_twice_where_the_store_keeps_versions() {
    kill_rounds("versions", Duplicates::Version);
}

#[test]
fn killed_at_any_moment_nothing_is_lost_truncated_or_stored_twice_where_the_store_keeps_two_under_one_name() {
    kill_rounds("second documents", Duplicates::SecondDocument);
}

fn kill_rounds(what: &str, duplicates: Duplicates) {
    let rounds = rounds(16).div_ceil(2);
    let mut dice = Dice::new(seed(what));
    let world = World::with(|options| options.duplicates = duplicates);
    let stop = AtomicBool::new(false);
    let closed = std::thread::scope(|scope| {
        let (folder, stop, chance) = (world.watched(), &stop, Dice::new(dice.next()));
        let writer = scope.spawn(move || write_until(&folder, stop, chance));
        for _ in 0..rounds {
            let daemon = world.start(&SETTLE);
            let longest = *dice.of(&[60, 400, 2500]);
            std::thread::sleep(Duration::from_millis(dice.within(0, longest)));
            daemon.kill();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    clean_run(&world, &SETTLE);
    let reckoning = Reckoning::of(&world, &closed);
    println!("{rounds} kills, {what}: {}", reckoning.told());
    reckoning.assert_perfect();
}

/// Closes files into the folder until told to stop; never over a file that is there. Answers what was closed.
fn write_until(folder: &Path, stop: &AtomicBool, mut dice: Dice) -> BTreeMap<String, String> {
    let mut closed = BTreeMap::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let place = place(folder, &mut dice);
        let content = unique(&format!("{number} {}", place.display()), size(&mut dice));
        let slow = dice.one_in(20);
        let written =
            if dice.one_in(3) { by_rename(folder, &place, &content) } else { by_close(&place, &content, slow) };
        if written {
            closed.insert(sha256(&content), place.display().to_string());
        }
        std::thread::sleep(Duration::from_millis(dice.within(1, 60)));
    }
    closed
}

/// Few names, so that the same come again while the last file of that name is still on its way.
fn place(folder: &Path, dice: &mut Dice) -> PathBuf {
    let parent = folder.join(dice.of(&["", "", "sub", "sub/below"]));
    std::fs::create_dir_all(&parent).unwrap();
    parent.join(dice.of(&["a", "b.pdf", "c.txt", "d e", "f.x.y"]))
}

fn size(dice: &mut Dice) -> usize {
    let most = *dice.of(&[100, 5000, 100_000, 600_000, 3_000_000]);
    usize::try_from(dice.within(1, most)).unwrap()
}

fn by_close(place: &Path, content: &[u8], slow: bool) -> bool {
    let Ok(mut file) = OpenOptions::new().write(true).create_new(true).open(place) else { return false };
    let (first, second) = content.split_at(content.len() / 2);
    file.write_all(first).unwrap();
    if slow {
        std::thread::sleep(Duration::from_millis(150));
    }
    file.write_all(second).unwrap();
    true
}

fn by_rename(folder: &Path, place: &Path, content: &[u8]) -> bool {
    let temporary = folder.with_extension("temporary");
    std::fs::write(&temporary, content).unwrap();
    renameat_with(CWD, &temporary, CWD, place, RenameFlags::NOREPLACE).is_ok()
}

/// One file of each way and size killed at one step, with one of the same name coming before the next start.
#[cfg(feature = "failpoints")]
mod steps {
    use super::*;

    const STEPS: [&str; 15] = [
        "before-intent",
        "after-intent",
        "mid-body",
        "after-send",
        "before-receipt",
        "after-receipt",
        "after-set-aside",
        "during-grace",
        "after-grace",
        "after-unlink",
        "before-end",
        "after-end",
        "before-put-back",
        "resolving",
        "after-recovery",
    ];

    #[test]
    fn killed_at_each_named_step_nothing_is_lost_truncated_or_stored_twice() {
        for duplicates in [Duplicates::Version, Duplicates::SecondDocument] {
            for step in STEPS {
                killed_at(step, 1, duplicates);
            }
        }
    }

    #[test]
    fn killed_at_a_named_step_for_the_nth_time_nothing_is_lost_truncated_or_stored_twice() {
        let mut dice = Dice::new(seed("nth"));
        for _ in 0..rounds(16) / 2 {
            let nth = dice.within(2, 7);
            killed_at(dice.of(&STEPS), nth, *dice.of(&[Duplicates::Version, Duplicates::SecondDocument]));
        }
    }

    fn killed_at(step: &str, nth: u64, duplicates: Duplicates) {
        let world = World::with(|options| options.duplicates = duplicates);
        let mut closed = BTreeMap::new();
        let mut put = |name: &str, what: &str, size| {
            let content = unique(&format!("{what} {name}"), size);
            closed.insert(sha256(&content), format!("{what} {name}"));
            world.put(name, content);
        };
        for (name, size) in [("small", 10), ("large", 700_000), ("sub/small", 10), ("sub/other", 300_000)] {
            put(name, "first", size);
        }
        let killed = killed(&world, step, nth);
        for name in ["small", "large"] {
            // Only where the first one is gone: set aside or removed. Nobody overwrites it.
            if !world.watched().join(name).exists() {
                put(name, "second", 20);
            }
        }
        clean_run(&world, &SETTLE);
        let reckoning = Reckoning::of(&world, &closed);
        println!("{step}:{nth} {duplicates:?}, killed {killed}: {}", reckoning.told());
        reckoning.assert_perfect();
    }

    /// Runs until it is killed at the step; a second time too, for steps that only a second start comes to.
    fn killed(world: &World, step: &str, nth: u64) -> u32 {
        let mut killed = 0;
        for before in [None, Some("after-send"), Some("after-set-aside")] {
            let once = |step: &str| {
                let mut command = world.command();
                command.args(["watch", "watched", "--once"]).args(SETTLE);
                support::said(command.env("ASTRAN_BACKUP_FAILPOINT", step)).code
            };
            if let Some(before) = before {
                once(before);
            }
            if once(&format!("{step}:{nth}")).is_none() {
                killed += 1;
                break;
            }
        }
        killed
    }
}
