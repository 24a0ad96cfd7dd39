//! Locks on folders and files: other programs that read the folder can't disturb, and two instances never share a folder or a file.

use std::fs::{self, File};
use std::path::Path;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{Daemon, Output, QUICK, World, eventually, run_to_end};

/// Runs `watch --once` with a state folder of its own.
fn once_with_state(world: &World, state: &str) -> Output {
    run_to_end(world.command().args(["watch", "watched", "--once", "--state-dir", state]).args(QUICK))
}

fn private(world: &World) -> std::path::PathBuf {
    world.watched().join(".astran-backup")
}

/// Regression: the start ended with 6, "another instance".
#[test]
fn a_reader_that_locks_the_folder_keeps_no_watch_from_starting_and_no_push_from_removing() {
    let world = World::new();
    let reader = File::open(world.watched()).unwrap();
    reader.lock_shared().unwrap();
    world.put("report", "content");
    let watched = world.once_quick(&[]);
    assert_eq!(watched.code, Some(0), "{watched:?}");
    world.put("pushed", "content");
    reader.unlock().unwrap();
    reader.lock().unwrap();
    let pushed = world.run(["push", "--delete", "watched/pushed"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(world.files_left().is_empty() && world.sandbox().uploads().len() == 2);
}

/// Regression: the file was never taken, with the reason "another upload of it is under way".
#[test]
fn a_reader_that_locks_a_file_does_not_keep_it_from_being_stored() {
    let world = World::new();
    let reader = File::open(world.put("report", "content")).unwrap();
    reader.lock_shared().unwrap();
    let daemon = world.watch(&QUICK);
    eventually("the file is stored and removed", || world.files_left().is_empty());
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_second_watch_of_the_folder_ends_with_6_whatever_state_it_has() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    for state in ["state/astran-backup", "other-state"] {
        let second = once_with_state(&world, state);
        assert_eq!(second.code, Some(6), "{state}: {second:?}");
        assert!(second.stderr.contains("another instance watches"), "{state}: {second:?}");
    }
    world.put("report", "content");
    eventually("the first one goes on", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    let after = once_with_state(&world, "other-state");
    assert_eq!(after.code, Some(0), "the folder is free again: {after:?}");
}

#[test]
fn a_watch_with_another_state_beside_a_push_that_removes_files_ends_with_6() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    world.put("report", "content");
    let push = Daemon::start(world.command().args(["push", "watched", "--delete"]));
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    let watch = once_with_state(&world, "other-state");
    assert_eq!(watch.code, Some(6), "{watch:?}");
    assert!(watch.stderr.contains("a push is removing files from watched"), "{watch:?}");
    push.kill();
    assert_eq!(once_with_state(&world, "other-state").code, Some(0), "the folder is free again");
    assert!(world.files_left().is_empty());
}

#[test]
fn the_lock_file_is_never_uploaded_and_goes_when_its_watch_ends() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    eventually("the first one is removed", || world.files_left().is_empty());
    assert!(private(&world).join("lock").is_file());
    daemon.kill();
    assert!(private(&world).join("lock").is_file(), "a killed watch leaves it");
    let after = world.once_quick(&[]);
    assert_eq!(after.code, Some(0), "{after:?}");
    assert!(!private(&world).exists(), "the next one removes it");
    assert_eq!(world.sandbox().uploads().len(), 1);
    let locks: Vec<_> = fs::read_dir(world.state().join("astran-backup/locks")).unwrap().flatten().collect();
    assert!(locks.len() <= 2 && locks.iter().all(|lock| lock.metadata().unwrap().len() == 0), "{locks:?}");
}

#[test]
fn a_watch_that_keeps_files_makes_nothing_in_the_folder() {
    let world = World::new();
    world.put("report", "content");
    let daemon = world.watch_quick(&["--keep"]);
    eventually("both are stored", || world.sandbox().uploads().len() == 2);
    assert!(!private(&world).exists());
    let second = world.once_quick(&["--keep"]);
    assert_eq!(second.code, Some(6), "{second:?}");
    assert_eq!(daemon.stop().code, Some(0));
}

/// A person may remove the private folder, not knowing what it is.
/// Regression: two instances sent the same files then, and 170 of 200 documents were stored twice.
#[test]
fn a_watch_that_lost_the_folder_to_another_one_stands_by_until_that_one_ends() {
    let world = World::new();
    let first = world.watch_quick(&[]);
    eventually("it holds the folder", || private(&world).join("lock").is_file());
    fs::remove_dir_all(private(&world)).unwrap();
    let mut second = world.command();
    second.args(["watch", "watched", "--settle", "10ms", "--state-dir", "other-state"]);
    let second = Daemon::start(&mut second);
    eventually("the second one holds it", || private(&world).join("lock").is_file());
    first.wait_for("another instance holds the folder");
    for number in 0..20 {
        world.put(format!("report-{number}"), format!("content {number}"));
    }
    eventually("they are stored", || world.files_left().is_empty());
    let reports = || world.sandbox().uploads().iter().filter(|upload| upload.path.contains("report-")).count();
    assert_eq!(reports(), 20, "each once");
    assert_eq!(second.stop().code, Some(0));
    world.put("late", "content");
    eventually("the first one has it again", || {
        world.times_stored("/HR_Backup/late") == 1 && world.files_left().is_empty()
    });
    assert_eq!(first.stop().code, Some(0));
    assert_eq!(reports(), 20);
}

#[test]
fn a_watch_whose_private_folder_was_removed_still_holds_the_folder() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    eventually("the first one is removed", || world.files_left().is_empty());
    fs::remove_dir_all(private(&world)).unwrap();
    eventually("the lock is taken again", || private(&world).join("lock").is_file());
    let second = once_with_state(&world, "other-state");
    assert_eq!(second.code, Some(6), "{second:?}");
    assert_eq!(daemon.stop().code, Some(0));
    assert!(!private(&world).exists() && world.files_left() == Vec::<&Path>::new());
}

/// Regression: the lock file and its folder stayed behind.
#[test]
fn a_start_that_fails_leaves_no_private_folder() {
    let world = World::new();
    let path = world.put("report", "content");
    let no_target = ["watch", "watched", "--move-to", "watched/report/sub"];
    let cases: [(&[&str], i32); 4] = [
        (&["watch", "watched", "--dest", "/Nowhere", "--strict"], 4),
        (&["push", "watched/report", "--delete", "--dest", "/Nowhere"], 4),
        (&["push", "nowhere", "--delete"], 4),
        (&no_target, 2),
    ];
    for (line, code) in cases {
        let output = world.run(line);
        assert_eq!(output.code, Some(code), "{line:?}: {output:?}");
        assert!(!private(&world).exists(), "{line:?}: {output:?}");
    }
    assert_eq!(fs::read(path).unwrap(), b"content");
}
