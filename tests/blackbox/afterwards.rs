//! `watch`: what becomes of the local file once the store has it or has refused it, and what is printed about it.

use std::fs;

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::Value;

use crate::support::{Output, World};

/// The lines of `--json` as values; fails the test with the whole output where a line is not JSON.
fn lines(output: &Output) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{output:?}"))).collect()
}

fn refused() -> Rule {
    let (body, content_type) = (None, None);
    Rule::new(Call::Upload, Fault::Status { status: 422, retry_after: None, body, content_type, carried_out: false })
}

#[test]
fn a_kept_file_is_not_sent_again_until_it_changes() {
    let world = World::new();
    let path = world.put("kept", "content");
    for _ in 0..2 {
        assert_eq!(world.once_quick(&["--keep"]).code, Some(0));
        assert_eq!(world.times_stored("/HR_Backup/kept"), 1);
        assert_eq!(fs::read(&path).unwrap(), b"content");
    }
    fs::write(&path, "changed").unwrap();
    assert_eq!(world.once_quick(&["--keep"]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/kept").unwrap(), b"changed");
    assert_eq!(world.times_stored("/HR_Backup/kept"), 2);
}

#[test]
fn a_kept_file_is_removed_without_another_upload_once_that_is_configured() {
    let world = World::new();
    world.put("kept", "content");
    assert_eq!(world.once_quick(&["--keep"]).code, Some(0));
    assert_eq!(world.once_quick(&[]).code, Some(0));
    assert!(world.files_left().is_empty());
    assert_eq!(world.times_stored("/HR_Backup/kept"), 1);
}

#[test]
fn stored_files_are_moved_below_another_folder_and_replace_nothing_there() {
    let world = World::new();
    let done = world.dir.path().join("done");
    fs::create_dir(&done).unwrap();
    fs::write(done.join("a.txt"), "of before").unwrap();
    world.put("a.txt", "a");
    world.put("sub/b.txt", "b");
    assert_eq!(world.once_quick(&["--move-to", "done"]).code, Some(0));
    assert!(world.files_left().is_empty());
    assert_eq!(fs::read(done.join("a.txt")).unwrap(), b"of before");
    assert_eq!(fs::read(done.join("a (1).txt")).unwrap(), b"a");
    assert_eq!(fs::read(done.join("sub/b.txt")).unwrap(), b"b");
    assert_eq!(world.stored("/HR_Backup/b.txt").unwrap(), b"b");
}

#[test]
fn refused_files_are_moved_to_the_folder_for_them() {
    let world = World::new();
    world.faults().add(refused().named("bad").always());
    world.put("sub/bad", "bad");
    world.put("good", "good");
    let output = world.once_quick(&["--failed-dir", "failed"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(world.files_left().is_empty());
    assert_eq!(fs::read(world.dir.path().join("failed/sub/bad")).unwrap(), b"bad");
}

#[test]
fn a_folder_of_ours_inside_the_watched_one_is_a_usage_error() {
    let world = World::new();
    for flag in ["--move-to", "--failed-dir", "--state-dir"] {
        let output = world.once(&[flag, "watched/inside"]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("watched folder"), "{output:?}");
    }
}

#[test]
fn json_tells_of_each_file_and_the_summary_counts_them() {
    let world = World::new();
    world.faults().add(refused().named("bad").always());
    world.put("good", "good");
    world.put("bad", "bad");
    world.put("sub/waits", "waits");
    let output = world.once_quick(&["--json", "--layout", "mirror"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    let one = |kind: &str| match &output.events(kind)[..] {
        [event] => event.clone(),
        _ => panic!("not one {kind}: {output:?}"),
    };
    let (stored, failed, waiting) = (one("stored"), one("failed"), one("waiting"));
    let path = world.watched().canonicalize().unwrap().join("good");
    assert_eq!((stored["relative"].as_str(), stored["local_path"].as_str()), (Some("good"), path.to_str()));
    assert_eq!((stored["remote_path"].as_str(), stored["local"].as_str()), (Some("/HR_Backup/good"), Some("removed")));
    assert_eq!((stored["size"].as_u64(), stored["already_present"].as_bool()), (Some(4), Some(false)));
    let sha256 = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c";
    assert_eq!((stored["sha256"].as_str(), stored["moved_to"].is_null()), (Some(sha256), true));
    assert!(failed["relative"] == "bad" && waiting["relative"] == "sub/waits");
    let summary = one("summary");
    let counts = ["stored", "bytes", "failed", "waiting", "skipped", "left", "lines_dropped", "exit"];
    assert_eq!(counts.map(|count| summary[count].as_u64().unwrap()), [1, 4, 1, 1, 0, 0, 0, 1]);
}

#[test]
fn json_is_all_that_is_on_standard_output() {
    let world = World::new();
    world.put("a", "a");
    let output = world.once_quick(&["--json", "-vv"]);
    let types: Vec<_> = lines(&output).into_iter().map(|line| line["type"].clone()).collect();
    assert_eq!(types, ["stored", "summary"]);
    assert!(output.stderr.contains("DEBUG") || output.stderr.contains("TRACE"), "{output:?}");
}
