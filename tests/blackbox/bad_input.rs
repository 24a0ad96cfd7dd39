//! Mistakes on the command line are reported at once, in a sentence, with their exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{World, run_to_end};

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_watched_folder_that_is_missing_ends_with_4_and_a_sentence() {
    let world = World::new();
    let output = world.run(["watch", "missing", "--strict"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("the folder") && output.stderr.contains("missing: make it"), "{output:?}");
}

#[test]
fn a_file_instead_of_a_folder_ends_with_4_and_a_hint_to_push() {
    let world = World::new();
    world.put("file", "content");
    let output = world.run(["watch", "watched/file", "--once"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("not a folder") && output.stderr.contains("astran-backup push"), "{output:?}");
}

#[test]
fn no_destination_is_a_usage_error_that_says_what_to_give() {
    let world = World::new();
    world.put("file", "content");
    for command in [&["watch", "watched"][..], &["push", "watched/file"]] {
        let output = run_to_end(world.command().env_remove("ASTRAN_BACKUP_DEST").args(command));
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("--dest"), "{output:?}");
    }
}

#[test]
fn an_unreadable_file_stays_and_fails_with_a_reason_while_others_go() {
    let world = World::new();
    let locked = world.put("locked", "content");
    set_mode(&locked, 0o000);
    world.put("open", "content");
    let output = world.run_as_ordinary_user(&["watch", "watched", "--once", "--settle", "50ms"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("failed  locked: ") && output.stdout.contains("(mode 000)"), "{output:?}");
    assert_eq!(world.files_left(), [std::path::PathBuf::from("locked")]);
    assert_eq!(world.times_stored("/HR_Backup/open"), 1);
}

#[test]
fn an_unreadable_sub_folder_is_reported_and_counts_as_a_failure() {
    let world = World::new();
    world.put("locked/inside", "content");
    set_mode(&world.watched().join("locked"), 0o000);
    world.put("open", "content");
    for (command, number) in [(&["watch", "watched", "--once", "--settle", "50ms"][..], 1), (&["push", "watched"], 1)] {
        let output = world.run_as_ordinary_user(command);
        assert_eq!(output.code, Some(1), "{output:?}");
        // `push` prints it as a file that failed, `watch` logs it.
        let told = [output.stdout.as_str(), output.stderr.as_str()].concat();
        assert!(told.contains("locked") && told.contains("can't be read"), "{output:?}");
        assert_eq!(world.times_stored("/HR_Backup/open"), number);
    }
    set_mode(&world.watched().join("locked"), 0o700);
}

#[test]
fn an_unreadable_watched_folder_ends_with_4() {
    let world = World::new();
    set_mode(&world.watched(), 0o000);
    let output = world.run_as_ordinary_user(&["watch", "watched", "--once"]);
    set_mode(&world.watched(), 0o700);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("can't be opened"), "{output:?}");
}

#[test]
fn a_folder_in_which_nothing_may_be_removed_is_reported_and_nothing_is_sent_twice() {
    let world = World::new();
    let file = world.put("sub/file", "content");
    set_mode(file.parent().unwrap(), 0o555);
    set_mode(&world.watched(), 0o555);
    let first = world.run_as_ordinary_user(&["watch", "watched", "--once", "--settle", "50ms"]);
    let second = world.run_as_ordinary_user(&["watch", "watched", "--once", "--settle", "50ms"]);
    for folder in [world.watched(), world.watched().join("sub")] {
        set_mode(&folder, 0o755);
    }
    assert_eq!((first.code, second.code), (Some(1), Some(1)), "{first:?} {second:?}");
    assert!(first.stdout.contains("stored, but stays here"), "{first:?}");
    assert!(file.exists());
    assert_eq!(world.times_stored("/HR_Backup/file"), 1);
}
