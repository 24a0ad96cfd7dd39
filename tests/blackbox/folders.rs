//! `watch` with sub-folders and several folders: where files of the same name go, and what waits for what.

use std::fs;

use astran_backup::sandbox::Duplicates;
use astran_backup::vault::RemotePath;

use crate::support::{World, eventually};

#[test]
fn two_files_of_one_name_in_two_sub_folders_hide_nothing() {
    let world = World::new();
    world.put("a/report.pdf", "of a");
    world.put("b/report.pdf", "of b");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty());
    let mut contents: Vec<Vec<u8>> =
        world.sandbox().uploads().iter().map(|upload| world.stored(&upload.path).unwrap()).collect();
    contents.sort();
    assert_eq!(contents, [b"of a", b"of b"], "each under a name of its own: {output:?}");
    assert!(
        output.stdout.contains("(from a)") || output.stdout.contains("(from b)"),
        "the other name says why: {output:?}"
    );
}

#[test]
fn with_on_conflict_fail_the_file_fails_and_stays() {
    let world = World::new();
    world.put("a/report.pdf", "of a");
    assert_eq!(world.once_quick(&["--on-conflict", "fail"]).code, Some(0));
    let path = world.put("b/report.pdf", "of b");
    let output = world.once_quick(&["--on-conflict", "fail"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("other content"), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/report.pdf").unwrap(), b"of a");
    assert_eq!(fs::read(path).unwrap(), b"of b");
}

#[test]
fn identical_bytes_under_one_name_are_not_sent_again() {
    let world = World::new();
    world.put("a/report.pdf", "the same");
    assert_eq!(world.once_quick(&[]).code, Some(0));
    world.put("b/report.pdf", "the same");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("found  b/report.pdf"), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 1);
    assert!(world.files_left().is_empty());
}

#[test]
fn identical_bytes_behind_a_409_are_not_sent_again() {
    let world = World::with(|options| options.duplicates = Duplicates::Conflict);
    let elsewhere = world.dir.path().join("report.pdf");
    fs::write(&elsewhere, "the same").unwrap();
    assert_eq!(world.run(["push", "report.pdf"]).code, Some(0));
    // Another machine, with a journal of its own.
    world.put("report.pdf", "the same");
    let output = world.once_quick(&["--state-dir", "other-state"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("found  report.pdf"), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 1);
    world.put("sub/report.pdf", "another");
    let output = world.once_quick(&["--state-dir", "other-state"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/report.pdf").unwrap(), b"the same");
    assert_eq!(world.stored("/HR_Backup/report (from sub).pdf").unwrap(), b"another");
}

#[test]
fn layout_mirror_keeps_sub_folders_and_waits_for_those_that_are_missing() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/HR_Backup/there").unwrap()));
    world.put("top", "top");
    world.put("there/a", "a");
    let waiting = world.put("missing/b", "b");
    let output = world.once_quick(&["--layout", "mirror"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/top").unwrap(), b"top");
    assert_eq!(world.stored("/HR_Backup/there/a").unwrap(), b"a");
    assert!(
        output.stdout.contains("waits   missing/b: ") && output.stdout.contains("/HR_Backup/missing"),
        "{output:?}"
    );
    assert_eq!(fs::read(waiting).unwrap(), b"b");
}

#[test]
fn a_file_that_waits_for_its_folder_goes_when_that_is_made() {
    let mut world = World::new();
    world.put("missing/b", "b");
    assert_eq!(world.once_quick(&["--layout", "mirror"]).code, Some(1));
    world.stop_sandbox();
    fs::create_dir(world.dir.path().join("vault/HR_Backup/missing")).unwrap();
    world.start_sandbox();
    let output = world.once_quick(&["--layout", "mirror"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/missing/b").unwrap(), b"b");
}

/// Two folders of a configuration file, the second of which keeps what it sends.
fn two_folders() -> World {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/Legal").unwrap()));
    fs::create_dir(world.dir.path().join("legal")).unwrap();
    world.configure(
        "[upload]\nsettle = \"50ms\"\n[[folder]]\npath = \"watched\"\ndest = \"/HR_Backup\"\n\
         [[folder]]\npath = \"legal\"\ndest = \"/Legal\"\nafter = \"keep\"\n",
    );
    world
}

#[test]
fn each_folder_of_a_configuration_file_goes_its_own_way() {
    let world = two_folders();
    let kept = world.dir.path().join("legal/file");
    fs::write(&kept, "legal").unwrap();
    world.put("file", "hr");
    let output = world.run(["watch", "--once", "--config", "config.toml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"hr");
    assert_eq!(world.stored("/Legal/file").unwrap(), b"legal");
    assert!(world.files_left().is_empty() && kept.exists());
}

#[test]
fn all_folders_of_a_configuration_file_are_watched_at_once() {
    let world = two_folders();
    let daemon = crate::support::Daemon::start(world.command().args(["watch", "--config", "config.toml"]));
    daemon.wait_for("watching");
    daemon.wait_for("watching");
    fs::write(world.dir.path().join("legal/file"), "legal").unwrap();
    world.put("file", "hr");
    eventually("both are stored", || {
        world.stored("/HR_Backup/file").is_some() && world.stored("/Legal/file").is_some()
    });
    eventually("one is removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn each_machine_of_a_fleet_stores_under_its_own_name() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/HR_Backup/scan-01").unwrap()));
    world.configure("[upload]\ndest = \"/nowhere\"\n[fleet]\nname = \"scan-01\"\n");
    world.put("scan0001.pdf", "of this machine");
    let output = world.once_quick(&["--config", "config.toml", "--dest", "/HR_Backup/{host}"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/scan-01/scan0001.pdf").unwrap(), b"of this machine");
    assert!(world.files_left().is_empty());
}
