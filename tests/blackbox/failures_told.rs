//! Failures stay visible until somebody mends them: at each start, with `--quiet` too, and in `history`.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::Value;

use crate::support::{QUICK, World};

/// The sandbox refuses all files of this name.
fn refuse(world: &World, name: &str) {
    let fault = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, fault).named(name).always());
}

const TOLD: &str = "that failed before still lie";

#[test]
fn each_later_run_tells_of_a_failed_file_also_quietly_until_it_is_mended() {
    let world = World::new();
    refuse(&world, "bad");
    let path = world.put("bad", "content");
    let first = world.once_quick(&[]);
    assert!(first.code == Some(1) && !first.stderr.contains(TOLD), "nothing had failed before: {first:?}");
    for run in 2..4 {
        let output = world.once_quick(&["--quiet"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        let lines: Vec<_> = output.stderr.lines().filter(|line| line.contains(TOLD)).collect();
        assert_eq!(lines.len(), 1, "run {run}: {output:?}");
        assert!(lines[0].contains("1 file") && lines[0].contains("watched/bad (20"), "run {run}: {output:?}");
    }
    std::fs::remove_file(path).unwrap();
    let mended = world.once_quick(&["--quiet"]);
    assert_eq!((mended.code, mended.stderr.as_str()), (Some(0), ""), "{mended:?}");
}

#[test]
fn a_daemon_tells_at_its_start_of_what_failed_in_an_earlier_one() {
    let world = World::new();
    refuse(&world, "bad");
    world.put("bad", "content");
    assert_eq!(world.once_quick(&[]).code, Some(1));
    let daemon = world.watch(&QUICK);
    daemon.wait_for(TOLD);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_folder_that_can_not_be_read_is_in_the_history_until_it_can() {
    let world = World::new();
    world.put("locked/inside", "content");
    let set_mode = |mode| {
        std::fs::set_permissions(world.watched().join("locked"), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let once = || world.run_as_ordinary_user(&["watch", "watched", "--once", "--settle", "50ms", "--quiet"]);
    let failed = || world.run_as_ordinary_user(&["history", "--failed", "--json"]);
    set_mode(0o000);
    assert_eq!(once().code, Some(1));
    let told = failed();
    assert!(told.stdout.contains("watched/locked\"") && told.stdout.contains("it belongs to "), "{told:?}");
    assert_eq!(told.events("attempt").len(), 1, "{told:?}");
    let again = once();
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains(TOLD) && again.stderr.contains("watched/locked (20"), "{again:?}");
    assert_eq!(failed().events("attempt").len(), 1, "one row, however often it is tried");
    set_mode(0o700);
    let mended = once();
    assert_eq!((mended.code, mended.stderr.as_str()), (Some(0), ""), "{mended:?}");
    assert_eq!(world.stored("/HR_Backup/inside").unwrap(), b"content");
}

#[test]
fn history_tells_what_needs_a_person_or_waits_in_the_configured_folders_and_leaves_the_rest() {
    let world = World::new();
    world.configure("[upload]\nmax_size = \"8B\"\n[[folder]]\npath = \"watched\"\n");
    world.put("big", "1234567890");
    world.put("waits", "1234");
    world.put("draft.part", "1234");
    symlink("nowhere", world.watched().join("link")).unwrap();
    let here = |flag: &str| {
        let output = world.run(["--config", "config.toml", "history", flag, "--json"]);
        let events = output.events("here").into_iter();
        let name = |event: &Value| event["local_path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        events.map(|event| (name(&event), event["standing"].as_str().unwrap().to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(here("--failed"), [("big".to_owned(), "too_large".to_owned())]);
    assert!(matches!(&here("--pending")[..], [(name, _)] if name == "waits"), "{:?}", here("--pending"));
}

#[test]
fn a_folder_that_is_ignored_and_can_not_be_read_needs_nobody() {
    let world = World::new();
    world.configure("[[folder]]\npath = \"watched\"\n");
    world.put(".hidden/inside", "content");
    let hidden = world.watched().join(".hidden");
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o000)).unwrap();
    let failed = world.run_as_ordinary_user(&["--config", "config.toml", "history", "--failed"]);
    let plan = world.run_as_ordinary_user(&["watch", "watched", "--dry-run"]);
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(0), ""), "{failed:?}");
    assert!(plan.stdout.contains(".hidden: its name matches `.*`, so nothing in it is uploaded"), "{plan:?}");
}
