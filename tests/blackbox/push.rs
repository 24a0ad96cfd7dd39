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
fn what_is_stored_already_and_unchanged_is_sent_again_only_when_that_is_asked_for() {
    let world = World::new();
    fs::write(world.dir.path().join("file"), "content").unwrap();
    let push = |arguments: &[&str], times| {
        let output = world.run([&["push", "file"][..], arguments].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(world.times_stored("/HR_Backup/file"), times, "{output:?}");
        output
    };
    push(&[], 1);
    let output = push(&[], 1);
    assert_eq!(output.stdout, "stored already  file -> /HR_Backup/file (7 bytes)\n");
    let event = &push(&["--json"], 1).events("skipped")[0];
    assert_eq!((&event["remote_path"], &event["local"]), (&"/HR_Backup/file".into(), &"kept".into()));
    push(&["--again"], 2);
    // The same bytes in another file, and other bytes of the same length.
    fs::remove_file(world.dir.path().join("file")).unwrap();
    fs::write(world.dir.path().join("file"), "content").unwrap();
    push(&[], 2);
    fs::write(world.dir.path().join("file"), "Content").unwrap();
    push(&[], 3);
    assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"Content");
}

#[test]
fn what_is_stored_already_is_deleted_after_its_bytes_were_compared_and_sent_to_another_folder() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/other").unwrap()));
    world.put("same", "same");
    let changed = world.put("changed", "before");
    assert_eq!(world.run(["push", "watched"]).code, Some(0));
    assert_eq!(world.run(["push", "watched/same", "--dest", "/other"]).code, Some(0));
    assert_eq!(world.times_stored("/other/same"), 1, "the receipt is of another folder");
    // Only the inode tells: length and modification time are as before.
    let time = fs::metadata(&changed).unwrap().modified().unwrap();
    fs::write(&changed, "after!").unwrap();
    fs::File::options().write(true).open(&changed).unwrap().set_modified(time).unwrap();
    let output = world.run(["push", "watched", "--delete", "--dest", "/HR_Backup"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty(), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/changed").unwrap(), b"after!");
    assert_eq!(world.times_stored("/HR_Backup/changed"), 2);
}

#[test]
fn a_file_that_has_failed_is_tried_again_by_a_push() {
    let world = World::new();
    let refused = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused));
    world.put("x", "x");
    assert_eq!(world.run(["push", "watched/x"]).code, Some(1));
    world.faults().clear();
    assert_eq!(world.run(["push", "watched/x"]).code, Some(0));
}

#[test]
fn a_changed_file_becomes_a_new_version_and_with_on_conflict_fail_it_fails_and_stays() {
    let world = World::new();
    let path = world.put("report", "first");
    let push = |arguments: &[&str]| world.run([&["push", "watched/report"][..], arguments].concat());
    assert_eq!(push(&["--on-conflict", "fail"]).code, Some(0));
    fs::write(&path, "second, changed").unwrap();
    let plan = push(&["--on-conflict", "fail", "--dry-run"]);
    assert!(plan.stdout.starts_with("leave "), "{plan:?}");
    for arguments in [&["--on-conflict", "fail"][..], &["--on-conflict", "fail", "--again", "--delete"]] {
        let output = push(arguments);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stdout.contains("other content at /HR_Backup/report"), "{output:?}");
        assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"first");
    }
    assert_eq!(push(&[]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"second, changed");
    let output = push(&["--on-conflict", "fail", "--again"]);
    assert_eq!(output.code, Some(0), "the same bytes are there: {output:?}");
}

#[test]
fn paths_are_printed_as_they_were_typed_and_json_has_them_absolute() {
    let world = World::new();
    world.put("a", "a");
    world.put("sub/b", "b");
    let absolute = world.put("c", "c");
    let typed = ["push", "./watched/a", "watched/sub/", absolute.to_str().unwrap()];
    let output = world.run(typed);
    for line in ["stored  ./watched/a -> ", "stored  watched/sub/b -> ", &format!("stored  {} -> ", absolute.display())]
    {
        assert!(output.stdout.contains(line), "{line} {output:?}");
    }
    let output = world.run(typed.iter().chain(&["--json", "--again"]));
    let mut paths: Vec<_> =
        output.events("stored").iter().map(|event| event["local_path"].as_str().unwrap().to_owned()).collect();
    paths.sort();
    let root = fs::canonicalize(world.watched()).unwrap();
    assert_eq!(paths, ["a", "c", "sub/b"].map(|file| root.join(file).to_str().unwrap().to_owned()));
}

/// Gives a list of names to a push on standard input.
fn push_list(world: &World, list: &[u8], arguments: &[&str]) -> crate::support::Output {
    fs::write(world.dir.path().join("list"), list).unwrap();
    let input = fs::File::open(world.dir.path().join("list")).unwrap();
    let command = &mut world.command();
    crate::support::run_to_end(command.args(["push", "--files-from", "-"]).args(arguments).stdin(input))
}

#[test]
fn a_list_of_names_is_pushed_with_newlines_or_nuls_from_a_file_or_standard_input() {
    let world = World::new();
    for name in ["a b", "sub/c", "d\ne", "f"] {
        world.put(name, name);
    }
    let output = push_list(&world, b"watched/a b\n\nwatched/sub/c", &["watched/f"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 3);
    let output = push_list(&world, b"watched/d\ne\0watched/a b\0", &["-0", "--delete"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("stored already  watched/a b -> /HR_Backup/a b (3 bytes), deleted here"),
        "{output:?}"
    );
    assert_eq!(world.files_left().len(), 2);
    let output = world.run(["push", "--files-from", "list", "--null", "--dry-run"]);
    assert_eq!(output.code, Some(4), "both are gone: {output:?}");
}

#[test]
fn what_a_list_can_not_mean_is_reported_and_the_rest_goes() {
    let world = World::new();
    world.put("there", "there");
    world.put("folder/inside", "inside");
    let list = b"watched/there\nwatched/none\nwatched/folder\ncaf\xe9\n";
    for plan in [&["--dry-run"][..], &[]] {
        let output = push_list(&world, list, plan);
        assert_eq!(output.code, Some(1), "{output:?}");
        for part in ["watched/none", "watched/folder is a folder: a list names files", "caf"] {
            assert!(output.stdout.contains(part), "{part}: {output:?}");
        }
    }
    assert_eq!(world.sandbox().uploads().len(), 1);
    let output = push_list(&world, b"none\nnor this\n", &[]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert_eq!(push_list(&world, b"", &[]).code, Some(0));
    assert_eq!(world.run(["push"]).code, Some(2));
    assert_eq!(world.run(["push", "--files-from", "missing"]).code, Some(4));
    assert_eq!(push_list(&world, b"", &["-", "--name", "x"]).code, Some(2));
}

/// The list is longer than all that may be open, or be kept in memory, at once.
#[test]
fn a_list_of_files_in_many_folders_takes_few_descriptors() {
    let world = World::new();
    let names: Vec<String> = (0..160).map(|number| format!("watched/{number}/x{number}\n")).collect();
    for number in 0..160 {
        world.put(format!("{number}/x{number}"), number.to_string());
    }
    fs::write(world.dir.path().join("list"), names.concat()).unwrap();
    let inner = world.command();
    let script = "ulimit -n 160; exec \"$1\" push --files-from list --delete";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", script, "sh"]).arg(inner.get_program()).current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let output = crate::support::run_to_end(&mut command);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 160);
    assert!(world.files_left().is_empty());
}

#[test]
fn young_files_are_left_by_a_push_that_asks_for_an_age() {
    let world = World::new();
    let old = world.put("old", "old");
    world.put("young", "young");
    fs::File::options()
        .write(true)
        .open(old)
        .unwrap()
        .set_modified(std::time::SystemTime::now() - Duration::from_secs(7200))
        .unwrap();
    let output = world.run(["push", "watched", "--min-age", "1h"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 1);
    let output = world.run(["push", "watched/young", "--min-age", "1h"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("younger than min_age"), "{output:?}");
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
fn a_missing_file_is_reported_and_the_rest_goes() {
    let world = World::new();
    world.put("there", "there");
    let output = world.run(["push", "watched/there", "not-there"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("failed  not-there: there is no such file or folder\n"), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/there"), 1);
    let output = world.run(["push", "watched/there", "not-there", "--json"]);
    let failed = &output.events("failed")[0];
    assert!(failed["local_path"].as_str().unwrap().ends_with("/not-there"), "{failed}");
}

#[test]
fn where_nothing_that_was_named_exists_the_end_is_4() {
    let world = World::new();
    let output = world.run(["push", "not-there"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("not-there: there is no such file or folder"), "{output:?}");
    let output = world.run(["push", "not-there", "nor-this"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("none of the 2 files") && output.stderr.contains("not-there"), "{output:?}");
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
