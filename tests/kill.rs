//! `kill -9` at random moments and at each named step, while files come: what was closed into the folder is stored, whole,
//! once, and nothing else is gone.
//!
//! `ASTRAN_TEST_ROUNDS` says how many kills (default 18), `ASTRAN_TEST_SEED` where chance starts. The named steps need
//! `--features failpoints`.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

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
    let world = kill_rounds("versions", Duplicates::Version, &SETTLE);
    assert!(world.left().is_empty());
}

#[test]
fn killed_at_any_moment_nothing_is_lost_truncated_or_stored_twice_where_the_store_keeps_two_under_one_name() {
    kill_rounds("second documents", Duplicates::SecondDocument, &SETTLE);
}

#[test]
fn killed_at_any_moment_each_file_that_is_to_be_moved_is_moved_whole() {
    let arguments = [SETTLE[0], SETTLE[1], "--move-to", "done"];
    let world = kill_rounds("moved", Duplicates::Version, &arguments);
    let done = world.dir.path().join("done");
    let moved: Vec<String> =
        support::files_below(&done).iter().map(|file| sha256(&std::fs::read(done.join(file)).unwrap())).collect();
    let uploads = world.sandbox().uploads();
    assert_eq!(moved.len(), uploads.len());
    assert!(uploads.iter().all(|upload| moved.contains(upload.sha256.as_ref().unwrap())));
}

fn kill_rounds(what: &str, duplicates: Duplicates, arguments: &[&str]) -> World {
    let rounds = rounds(18).div_ceil(3);
    let mut dice = Dice::new(seed(what));
    let world = World::with(|options| options.duplicates = duplicates);
    let stop = AtomicBool::new(false);
    let closed = std::thread::scope(|scope| {
        let (folder, stop, chance) = (world.watched(), &stop, Dice::new(dice.next()));
        let writer = scope.spawn(move || write_until(&folder, stop, chance));
        for _ in 0..rounds {
            let daemon = world.start(arguments);
            let longest = *dice.of(&[60, 400, 2500]);
            std::thread::sleep(Duration::from_millis(dice.within(0, longest)));
            daemon.kill();
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    clean_run(&world, arguments);
    let reckoning = Reckoning::of(&world, &closed);
    println!("{rounds} kills, {what}: {}", reckoning.told());
    reckoning.assert_perfect();
    world
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

    /// A step, and the one at which an earlier run must have been killed to come there.
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
                assert!(killed, "{step} never came");
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
        let mut closed = BTreeMap::new();
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
            // Only where the first one is gone: set aside or removed. Nobody overwrites it.
            if !world.watched().join(name).exists() {
                put(name, "second", 20);
            }
        }
        clean_run(&world, &SETTLE);
        let reckoning = Reckoning::of(&world, &closed);
        println!("{step}:{nth} {duplicates:?}, killed {killed}: {}", reckoning.told());
        reckoning.assert_perfect();
        killed
    }

    /// Answers whether it was killed.
    fn killed(world: &World, step: &str) -> bool {
        let mut command = world.command();
        command.args(["watch", "watched", "--once"]).args(SETTLE).env("ASTRAN_BACKUP_FAILPOINT", step);
        support::said(&mut command).code.is_none()
    }

    #[test]
    fn killed_while_a_file_that_changed_in_its_grace_is_put_back_both_contents_are_stored_once() {
        let world = World::new();
        let (first, second) = (unique("first", 20), unique("second", 30));
        let place = world.put("report", &first);
        let changed = std::thread::scope(|scope| {
            let aside = world.watched().join(".astran-backup/0/report");
            let changed = scope.spawn(move || {
                support::eventually("it is set aside", || aside.exists());
                std::fs::write(&aside, &second).unwrap();
                second
            });
            assert!(killed(&world, "before-put-back"));
            changed.join().unwrap()
        });
        assert!(!place.exists(), "put back too early for this test");
        let closed = [(sha256(&first), "first".to_owned()), (sha256(&changed), "second".to_owned())].into();
        clean_run(&world, &SETTLE);
        Reckoning::of(&world, &closed).assert_perfect();
    }
}
