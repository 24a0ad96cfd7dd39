//! What a killed process leaves behind is finished by the next one: the store is asked, files are removed or put back; nothing is sent
//! twice.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::path::PathBuf;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use support::proof::{assert_nothing_left, clean_run};
use support::{World, eventually};

const SETTLE: [&str; 2] = ["--settle", "10ms"];
/// Longer than any test lasts.
const NEVER: u64 = 600_000;

fn history(world: &World, key: &str) -> usize {
    world.run(["history", "--json"]).stdout.matches(key).count()
}

/// A process that was killed while this file was staged; returns where the file lies.
fn killed_in_the_grace(world: &World, name: &str) -> PathBuf {
    let daemon = world.watch(&SETTLE);
    world.put(name, "first");
    let place = world.wait_for_staged(name);
    daemon.kill();
    place
}

#[test]
fn an_upload_that_was_stored_but_not_answered_before_a_crash_is_adopted() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: NEVER }));
    let daemon = world.watch(&SETTLE);
    world.put("report", "content");
    eventually("the store has it", || world.times_stored("/HR_Backup/report") == 1);
    daemon.kill();
    assert_eq!(history(&world, "\"state\":\"pending\""), 1);
    clean_run(&world, &SETTLE);
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
    assert_eq!(history(&world, "\"already_present\":true"), 1);
}

/// Regression: an empty file could not be hashed and stayed for ever, and no command helped.
#[test]
fn an_empty_file_whose_upload_was_killed_or_whose_answer_was_lost_goes_like_any_other() {
    for (fault, stored_before) in [(Fault::Delay { ms: NEVER }, 1), (Fault::Stall { ms: NEVER }, 0)] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, fault));
        let daemon = world.watch(&SETTLE);
        world.put("empty", "");
        eventually("its upload is under way", || world.sandbox().stats().requests.get("upload") == Some(&1));
        eventually("the store is as far", || world.times_stored("/HR_Backup/empty") == stored_before);
        daemon.kill();
        clean_run(&world, &SETTLE);
        assert_eq!(world.times_stored("/HR_Backup/empty"), 1);
    }
}

#[test]
fn an_upload_that_was_not_stored_before_a_crash_goes_again() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: NEVER }));
    let daemon = world.watch(&SETTLE);
    world.put("report", "content");
    eventually("the file is under way", || world.sandbox().stats().requests["upload"] == 1);
    daemon.kill();
    clean_run(&world, &SETTLE);
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
}

#[test]
fn an_open_upload_whose_file_is_gone_does_not_stay_open_for_ever() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: NEVER }));
    let daemon = world.watch(&SETTLE);
    let place = world.put("report", "content");
    eventually("the file is under way", || world.sandbox().stats().requests["upload"] == 1);
    daemon.kill();
    std::fs::remove_file(place).unwrap();
    clean_run(&world, &SETTLE);
}

/// Regression: the store was asked by the old path only, and the file was stored a second time.
#[test]
fn a_file_moved_after_a_crash_is_not_sent_again_if_the_store_has_it() {
    for to in ["sub/report", "renamed", "sub/renamed"] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: NEVER }));
        let daemon = world.watch(&SETTLE);
        let place = world.put("report", "content");
        eventually("the store has it", || world.sandbox().uploads().len() == 1);
        daemon.kill();
        std::fs::create_dir_all(world.watched().join("sub")).unwrap();
        std::fs::rename(place, world.watched().join(to)).unwrap();
        let keep = [SETTLE[0], SETTLE[1], "--keep"];
        for arguments in [&keep[..], &keep, &SETTLE] {
            assert_eq!(world.once(arguments).code, Some(0), "{to}");
        }
        assert_nothing_left(&world);
        assert_eq!(world.sandbox().uploads().len(), 1, "{to}");
    }
}

#[test]
fn a_file_moved_after_a_crash_is_sent_under_its_new_name_if_the_store_lacks_it() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: NEVER }));
    let daemon = world.watch(&SETTLE);
    let place = world.put("report", "content");
    eventually("the file is under way", || world.sandbox().stats().requests["upload"] == 1);
    daemon.kill();
    std::fs::rename(place, world.watched().join("renamed")).unwrap();
    clean_run(&world, &SETTLE);
    assert_eq!(world.times_stored("/HR_Backup/renamed"), 1);
    assert_eq!(world.sandbox().uploads().len(), 1);
}

/// Regression: the upload of the new file replaced the document by which the older upload was to be found.
#[test]
fn a_staged_and_changed_file_whose_upload_was_cut_is_not_sent_again() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    world.put("report", "first");
    let place = world.wait_for_staged("report");
    let mut newcomer = std::fs::File::create(world.watched().join("report")).unwrap();
    std::io::Write::write_all(&mut newcomer, b"newcomer").unwrap();
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: NEVER }));
    std::fs::write(&place, "changed").unwrap();
    eventually("the store has it", || world.sandbox().uploads().len() == 2);
    daemon.kill();
    drop(newcomer);
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 3);
}

#[test]
fn a_file_staged_at_a_crash_is_removed_without_a_second_upload() {
    let world = World::new();
    killed_in_the_grace(&world, "sub/report");
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 1);
    assert_eq!(history(&world, "\"state\":\"removed\""), 1);
}

#[test]
fn a_file_staged_at_a_crash_is_sent_again_if_it_changed_since() {
    let world = World::new();
    let place = killed_in_the_grace(&world, "report");
    std::fs::write(place, "other").unwrap();
    clean_run(&world, &SETTLE);
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"other");
    assert_eq!(world.times_stored("/HR_Backup/report"), 2);
}

#[test]
fn a_file_staged_at_a_crash_is_not_sent_again_though_its_name_is_taken() {
    for same_size in ["other", "another"] {
        let world = World::new();
        killed_in_the_grace(&world, "report");
        world.put("report", same_size);
        clean_run(&world, &SETTLE);
        assert_eq!(world.stored("/HR_Backup/report").unwrap(), same_size.as_bytes());
        assert_eq!(world.times_stored("/HR_Backup/report"), 2);
    }
}

#[test]
fn a_stored_file_that_was_only_touched_is_not_sent_again() {
    let world = World::new();
    let place = killed_in_the_grace(&world, "report");
    let file = std::fs::File::options().write(true).open(place).unwrap();
    file.set_modified(std::time::SystemTime::now()).unwrap();
    drop(file);
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 1);
}

#[test]
fn a_file_that_a_killed_push_was_about_to_remove_is_removed_by_the_next() {
    let world = World::new();
    world.put("report", "content");
    let mut command = world.command();
    let push = support::Daemon::start(command.args(["push", "--delete", "watched/report"]));
    let place = world.wait_for_staged("report");
    push.kill();
    assert_eq!(world.run(["push", "--delete", "watched"]).code, Some(0));
    assert!(!place.exists() && world.files_left().is_empty());
    assert_eq!(world.sandbox().uploads().len(), 1);
}
