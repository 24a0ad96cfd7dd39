//! `push`: uploads the named files now.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use astran_backup::vault::RemotePath;

use crate::support::{World, eventually};

#[test]
fn files_and_folders_are_stored_and_kept() {
    let world = World::new();
    fs::write(world.dir.path().join("single"), "single").unwrap();
    let inner = world.put("sub/inner", "inner");
    world.put("sub/half.part", "half");
    let output = world.run(["push", "single", "watched"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/single").unwrap(), b"single");
    assert_eq!(world.stored("/HR_Backup/inner").unwrap(), b"inner");
    assert_eq!(world.sandbox().uploads().len(), 2, "what is in progress is none of it");
    assert!(inner.exists() && world.dir.path().join("single").exists());
}

#[test]
fn a_file_that_is_pushed_again_is_sent_again() {
    let world = World::new();
    fs::write(world.dir.path().join("file"), "content").unwrap();
    for times in 1..=2 {
        let output = world.run(["push", "file"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(world.times_stored("/HR_Backup/file"), times);
    }
}

#[test]
fn delete_deletes_what_is_stored_and_nothing_else() {
    let world = World::new();
    let (body, content_type) = (None, None);
    let refused = Fault::Status { status: 422, retry_after: None, body, content_type, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused).named("bad"));
    world.put("good", "good");
    world.put("bad", "bad");
    let output = world.run(["push", "watched", "--delete"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(world.files_left(), [std::path::PathBuf::from("bad")]);
}

#[test]
fn a_limited_rate_holds_for_large_and_small_files_together() {
    let world = World::new();
    world.put("large", vec![7; 1_000_000]);
    world.put("small", vec![7; 100_000]);
    let start = Instant::now();
    let output = world.run(["push", "watched", "--limit-rate", "1000kB"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/large").unwrap().len(), 1_000_000);
    // The first share is sent at once.
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn names_with_a_leading_dash_go_after_two_dashes() {
    let world = World::new();
    for name in ["-rf", "--delete"] {
        fs::write(world.dir.path().join(name), name).unwrap();
    }
    let output = world.run(["push", "--", "-rf", "--delete"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/-rf").unwrap(), b"-rf");
    assert_eq!(world.stored("/HR_Backup/--delete").unwrap(), b"--delete");
}

#[test]
fn a_missing_file_ends_with_4_before_anything_is_uploaded() {
    let world = World::new();
    world.put("there", "there");
    let output = world.run(["push", "watched/there", "not-there"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("not-there"), "{output:?}");
    assert!(world.sandbox().uploads().is_empty());
}

#[test]
fn links_and_other_special_files_fail_with_a_reason_and_are_not_followed() {
    let world = World::new();
    fs::write(world.dir.path().join("secret"), "secret").unwrap();
    symlink("secret", world.dir.path().join("link")).unwrap();
    let output = world.run(["push", "link"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("symbolic link"), "{output:?}");
    assert!(world.sandbox().uploads().is_empty());
}

#[test]
fn two_files_of_one_name_do_not_hide_each_other() {
    let world = World::new();
    world.put("a/report.pdf", "of a");
    world.put("b/report.pdf", "of b");
    let output = world.run(["push", "watched/a/report.pdf", "watched/b/report.pdf"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let uploads = world.sandbox().uploads();
    let mut contents: Vec<_> = uploads.iter().map(|upload| world.stored(&upload.path).unwrap()).collect();
    contents.sort();
    assert_eq!(contents, [b"of a", b"of b"]);
}

#[test]
fn push_waits_for_a_file_that_is_being_written() {
    let world = World::new();
    let path = world.put("growing", "half");
    let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let daemon = crate::support::Daemon::start(world.command().args(["push", "watched/growing", "-v"]));
    eventually("it has logged in", || world.sandbox().stats().requests["filesystem"] > 0);
    std::thread::sleep(Duration::from_millis(300));
    writer.write_all(b" and half").unwrap();
    drop(writer);
    let output = daemon.end();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/growing").unwrap(), b"half and half");
    assert_eq!(world.times_stored("/HR_Backup/growing"), 1);
}

#[test]
fn a_large_file_is_streamed_and_never_held_in_memory() {
    const SIZE: u64 = 160 << 20;
    let world = World::new();
    fs::File::create(world.watched().join("large")).unwrap().set_len(SIZE).unwrap();
    // The answer comes late, so that the process still exists when its memory is measured after the last byte.
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 1500 }));
    let daemon = crate::support::Daemon::start(world.command().args(["push", "watched/large"]));
    eventually("the file is stored", || world.times_stored("/HR_Backup/large") == 1);
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert_eq!(daemon.end().code, Some(0));
    assert_eq!(world.sandbox().uploads()[0].size, SIZE);
    assert!(peak < 40 << 10, "{peak} KiB for a file of {} KiB", SIZE >> 10);
}

#[test]
fn json_has_one_line_for_each_file_and_the_summary() {
    let world = World::new();
    world.put("a", "a");
    world.put("b", "b");
    let output = world.run(["push", "watched", "--json"]);
    let stored = output.events("stored");
    assert_eq!((stored.len(), output.stdout.lines().count()), (2, 3), "{output:?}");
    assert!(stored.iter().all(|event| event["local"] == "kept"), "{output:?}");
    let summary = &output.events("summary")[0];
    assert_eq!((&summary["stored"], &summary["bytes"], &summary["exit"]), (&2.into(), &2.into(), &0.into()));
}

#[test]
fn a_stopped_push_ends_with_130_and_its_file_stays_whole() {
    let world = World::new();
    let path = world.put("file", "content");
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    let daemon = crate::support::Daemon::start(world.command().args(["push", "watched/file", "--delete"]));
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    let start = Instant::now();
    daemon.signal("-INT");
    std::thread::sleep(Duration::from_millis(200));
    daemon.signal("-INT");
    assert_eq!(daemon.end().code, Some(130));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(fs::read(path).unwrap(), b"content");
}

#[test]
fn a_folder_that_holds_our_own_state_is_not_pushed() {
    let world = World::new();
    let output = world.run(["push", ".", "--state-dir", "state"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("--state-dir"), "{output:?}");
    assert!(world.sandbox().uploads().is_empty());
}

#[test]
fn a_file_that_is_named_twice_is_stored_once() {
    let world = World::new();
    world.put("a", "a");
    world.put("sub/b", "b");
    let output = world.run(["push", "watched/a", "watched", "./watched/a", "watched/", "watched/sub/../a"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 2, "{}", output.stdout);
}

/// Regression: the second of the two folders found each file gone that the first had stored, and reported them all as failed.
#[test]
fn a_folder_that_is_named_beside_one_that_it_lies_in_stores_its_files_once() {
    for arguments in [
        &["watched", "watched/sub"][..],
        &["watched/sub", "watched", "watched/sub/deep/c"],
        &["watched/sub/deep", "watched/sub/../sub", "watched"],
    ] {
        for delete in [false, true] {
            let world = World::new();
            for name in ["a", "sub/b", "sub/deep/c", "subway/d"] {
                world.put(name, name);
            }
            let output = world.run(["push"].iter().chain(arguments).chain(delete.then_some(&"--delete")));
            assert_eq!(output.code, Some(0), "{arguments:?} {output:?}");
            assert_eq!(world.sandbox().uploads().len(), 4, "{arguments:?} {output:?}");
            assert_eq!(world.files_left().is_empty(), delete, "{arguments:?} {output:?}");
        }
    }
}

#[test]
fn a_hidden_folder_that_is_named_beside_the_one_that_it_lies_in_goes_too() {
    let world = World::new();
    world.put("a", "a");
    world.put(".hidden/b", "b");
    let output = world.run(["push", "watched", "watched/.hidden", "--delete"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/b").unwrap(), b"b");
    assert!(world.files_left().is_empty(), "{output:?}");
}

#[test]
fn in_layout_mirror_a_folder_within_a_folder_makes_documents_of_its_own() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/HR_Backup/sub").unwrap()));
    world.put("sub/b", "b");
    world.configure("[upload]\nlayout = \"mirror\"\n");
    let output = world.run(["push", "watched", "watched/sub", "--config", "config.toml"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/sub/b"), 1, "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/b"), 1, "{output:?}");
}

/// Staged files lie side by side in the private folder: those beside the named one are not this push's.
#[test]
fn a_file_that_goes_again_from_the_private_folder_leaves_what_waits_beside_it() {
    let world = World::new();
    let private = world.watched().join(".astran-backup/0");
    fs::create_dir_all(&private).unwrap();
    fs::set_permissions(world.watched().join(".astran-backup"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    // A staged file whose name is taken stays there.
    fs::write(private.join("waits"), "the only copy").unwrap();
    world.put("waits", "another");
    let report = world.put("report", "first");
    let push = crate::support::Daemon::start(world.command().args(["push", "watched/report", "--delete"]));
    let aside = world.wait_for_staged("report");
    fs::write(&report, "a newcomer").unwrap();
    fs::write(aside, "first, changed").unwrap();
    assert_eq!(push.end().code, Some(0));
    assert_eq!(fs::read(private.join("waits")).unwrap(), b"the only copy");
    assert_eq!(fs::read(report).unwrap(), b"a newcomer");
    assert!(world.staged("report").is_none());
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"first, changed");
}
