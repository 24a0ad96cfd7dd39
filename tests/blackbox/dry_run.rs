//! `--dry-run` says what would be done, does nothing, and the run afterwards does just that.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::Value;

use crate::support::{Output, QUICK, World, run_to_end};

/// All names below a folder, hidden ones too, with inode, size, and the times of the last change of content and of inode.
fn all_below(folder: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            let stat = entry.path().symlink_metadata().unwrap();
            let nanoseconds = |seconds: i64, rest: i64| seconds * 1_000_000_000 + rest;
            let times = (nanoseconds(stat.mtime(), stat.mtime_nsec()), nanoseconds(stat.ctime(), stat.ctime_nsec()));
            found.insert(entry.path(), (stat.ino(), stat.size(), times.0, times.1));
            if stat.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Runs a command, and fails the test if it changes anything in the world: the folder, the vault, the state folder.
fn changes_nothing(world: &World, arguments: &[&str]) -> Output {
    let before = all_below(world.dir.path());
    let uploads = world.sandbox().uploads().len();
    let output = world.run(arguments);
    assert_eq!(all_below(world.dir.path()), before, "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), uploads, "{output:?}");
    output
}

fn events(output: &Output) -> Vec<Value> {
    output.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The events about files of this action: the path in the folder, and that in the vault or the standing.
fn of_action(world: &World, events: &[Value], action: &str) -> BTreeMap<String, String> {
    let below = std::fs::canonicalize(world.watched()).unwrap();
    let of_file = |event: &Value| {
        let local = Path::new(event["local_path"].as_str().unwrap()).strip_prefix(&below).unwrap().to_owned();
        let what = event["standing"].as_str().or(event["remote_path"].as_str()).unwrap();
        (local.to_str().unwrap().to_owned(), what.to_owned())
    };
    events.iter().filter(|event| event["action"] == action).map(of_file).collect()
}

fn pairs(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(one, other)| ((*one).to_owned(), (*other).to_owned())).collect()
}

const WATCH: [&str; 5] = ["watch", "watched", "--settle", "50ms", "--dry-run"];

#[test]
fn a_dry_run_changes_nothing_and_the_run_afterwards_does_what_it_said() {
    let world = World::new();
    world.put("report.pdf", "content");
    world.put("sub/other.pdf", "other");
    world.put("draft.part", "not finished");
    std::os::unix::fs::symlink("report.pdf", world.watched().join("link")).unwrap();
    let output = changes_nothing(&world, &[&WATCH[..], &["--json"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    let plan = events(&output);
    let uploads = of_action(&world, &plan, "upload");
    assert_eq!(uploads, pairs(&[("report.pdf", "/HR_Backup/report.pdf"), ("sub/other.pdf", "/HR_Backup/other.pdf")]));
    assert_eq!(of_action(&world, &plan, "leave"), pairs(&[("draft.part", "ignored"), ("link", "not_regular")]));
    assert!(plan.iter().all(|event| event["v"] == 1 && event["time"].as_str().unwrap().ends_with('Z')));
    let sum = plan.last().unwrap();
    assert_eq!(
        (&sum["type"], &sum["upload"], &sum["bytes"], &sum["leave"]),
        (&"summary".into(), &2.into(), &12.into(), &2.into())
    );

    let real = world.once_quick(&[]);
    assert_eq!(real.code, Some(0), "{real:?}");
    for remote in uploads.values() {
        assert!(world.stored(remote).is_some(), "{remote}");
    }
    assert_eq!(world.files_left(), ["draft.part", "link"].map(PathBuf::from));
    // Nothing that would go is left; the state folder is there now, and stays as it is.
    let again = changes_nothing(&world, &[&WATCH[..], &["--json"]].concat());
    assert!(of_action(&world, &events(&again), "upload").is_empty(), "{again:?}");
}

#[test]
fn a_dry_run_in_words_says_what_would_be_deleted_and_what_left_and_why() {
    let world = World::new();
    world.put("report.pdf", "content");
    world.put("big", "1234567890");
    world.configure("[upload]\nmax_size = \"8B\"\n");
    let output = changes_nothing(&world, &[&WATCH[..], &["--config", "config.toml"]].concat());
    let lines: Vec<_> = output.stdout.lines().collect();
    let has = |start: &str, end: &str| lines.iter().any(|line| line.starts_with(start) && line.contains(end));
    assert!(has("upload  ", "report.pdf -> /HR_Backup/report.pdf (7 bytes), then delete it here"), "{output:?}");
    assert!(has("leave   ", "big: it has 10 bytes, and max_size allows 8 bytes; raise max_size"), "{output:?}");
    assert_eq!(
        *lines.last().unwrap(),
        "would upload 1 file (7 bytes), and leave 1; nothing was sent, written or removed"
    );
    let kept = changes_nothing(&world, &[&WATCH[..], &["--keep"]].concat());
    assert!(!kept.stdout.contains("delete"), "{kept:?}");
}

#[test]
fn a_name_that_another_file_has_is_planned_under_the_name_that_the_run_gives_it() {
    let world = World::new();
    world.put("a/x.pdf", "of a");
    assert_eq!(world.once_quick(&[]).code, Some(0));
    world.put("b/x.pdf", "of b");
    world.put("c/x.pdf", "of a");
    let plan = events(&changes_nothing(&world, &[&WATCH[..], &["--json"]].concat()));
    assert_eq!(of_action(&world, &plan, "upload"), pairs(&[("b/x.pdf", "/HR_Backup/x (from b).pdf")]));
    assert_eq!(of_action(&world, &plan, "finish"), pairs(&[("c/x.pdf", "/HR_Backup/x.pdf")]), "the same bytes");
    let plan = events(&changes_nothing(&world, &[&WATCH[..], &["--json", "--on-conflict", "fail"]].concat()));
    assert_eq!(of_action(&world, &plan, "leave"), pairs(&[("b/x.pdf", "name_taken")]));
    assert_eq!(world.once_quick(&[]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/x (from b).pdf").unwrap(), b"of b");
    assert_eq!(world.times_stored("/HR_Backup/x.pdf"), 1);
}

#[test]
fn a_file_that_is_open_for_writing_or_has_failed_is_left_and_says_why() {
    let world = World::new();
    world.put("failed", "content");
    let refused = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused).always());
    assert_eq!(world.once_quick(&[]).code, Some(1));
    let open = world.put("open", "content");
    let _writer = OpenOptions::new().append(true).open(open).unwrap();
    let plan = events(&changes_nothing(&world, &[&WATCH[..], &["--json"]].concat()));
    let left = of_action(&world, &plan, "leave");
    // Where the file system has no leases nobody can tell that the file is open.
    assert_eq!(left.get("failed").map(String::as_str), Some("failed"), "{plan:?}");
    assert!(left.get("open").is_none_or(|standing| standing == "open"), "{plan:?}");
}

#[test]
fn a_dry_run_of_push_names_each_file_and_standard_input_and_changes_nothing() {
    let world = World::new();
    world.put("a/x.pdf", "content");
    world.put("y.part", "content");
    let output = changes_nothing(&world, &["push", "watched/a", "watched/y.part", "--delete", "--dry-run", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let uploads = of_action(&world, &events(&output), "upload");
    assert_eq!(uploads, pairs(&[("a/x.pdf", "/HR_Backup/x.pdf"), ("y.part", "/HR_Backup/y.part")]));
    assert!(output.stdout.contains("\"local\":\"removed\""), "{output:?}");
    let twice = changes_nothing(
        &world,
        &["push", "watched", "watched/a", "watched/a/x.pdf", "watched/y.part", "--dry-run", "--json"],
    );
    assert_eq!(twice.stdout.lines().count(), 3, "each file once, and the sum: {twice:?}");
    let output = changes_nothing(&world, &["push", "-", "--name", "input", "--dry-run"]);
    assert!(output.stdout.starts_with("upload  - -> /HR_Backup/input\n"), "{output:?}");
    let output = changes_nothing(&world, &["push", "watched/none", "--dry-run"]);
    assert_eq!(output.code, Some(4), "{output:?}");
}

#[test]
fn a_dry_run_ends_with_the_code_that_the_run_would_end_with_and_changes_nothing() {
    let mut world = World::new();
    world.put("x", "content");
    let dry = ["watch", "watched", "--once", "--dry-run"];
    let missing = changes_nothing(&world, &[&dry[..], &["--dest", "/Nowhere"]].concat());
    assert_eq!(missing.code, Some(4), "{missing:?}");
    let folder = changes_nothing(&world, &["watch", "nowhere", "--once", "--dry-run"]);
    assert_eq!(folder.code, Some(4), "{folder:?}");
    let before = all_below(world.dir.path());
    let refused = run_to_end(world.command().env("ASTRAN_BACKUP_PASSWORD", "wrong").args(dry));
    assert_eq!(refused.code, Some(3), "{refused:?}");
    let none = run_to_end(world.command().env_remove("ASTRAN_BACKUP_DEST").args(dry));
    assert_eq!(none.code, Some(2), "{none:?}");
    assert_eq!(all_below(world.dir.path()), before);
    world.stop_sandbox();
}

#[test]
fn a_dry_run_beside_a_running_watch_disturbs_nothing() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    world.put("later.part", "content");
    let output = world.run([&WATCH[..], &["--json"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    let left = of_action(&world, &events(&output), "leave");
    assert_eq!(left.get("later.part").map(String::as_str), Some("ignored"), "{output:?}");
    world.put("x", "content");
    crate::support::eventually("the watch goes on", || world.times_stored("/HR_Backup/x") == 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_dry_run_with_the_sandbox_makes_no_vault() {
    let world = World::new();
    world.put("x", "content");
    let mut command = world.command();
    for (name, _) in crate::support::access_variables(&world.access) {
        command.env_remove(name);
    }
    let before = all_below(world.dir.path());
    let output = run_to_end(command.args(["watch", "watched", "--sandbox", "--dry-run"]).args(QUICK));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("-> /HR_Backup/x (7 bytes), then delete it here"), "{output:?}");
    assert_eq!(all_below(world.dir.path()), before);
}

#[test]
fn a_document_that_is_there_already_is_told_and_a_file_whose_folder_is_missing_waits() {
    let world = World::new();
    for number in 0..30 {
        world.put(format!("{number}.pdf"), "old");
    }
    assert_eq!(world.once_quick(&["--keep"]).code, Some(0));
    let new = ["3.pdf", "29.pdf"];
    for name in new {
        std::fs::remove_file(world.watched().join(name)).unwrap();
        world.put(name, "newer content");
    }
    world.put("sub/x", "content");
    let output = changes_nothing(&world, &[&WATCH[..], &["--keep", "--json", "--layout", "mirror"]].concat());
    let plan = events(&output);
    let there: Vec<_> = plan.iter().filter(|event| event["exists"] == true).collect();
    assert_eq!(there.len(), new.len(), "{output:?}");
    assert!(there.iter().all(|event| event["reason"].as_str().unwrap().contains("new version")), "{output:?}");
    let left = of_action(&world, &plan, "leave");
    assert_eq!(left.get("sub/x").map(String::as_str), Some("blocked"), "{output:?}");
    assert_eq!(left.values().filter(|standing| *standing == "kept").count(), 28, "{output:?}");
    assert!(plan.iter().any(|event| event["standing"] == "kept" && event["receipt"].is_i64()), "{output:?}");
}

#[test]
fn names_are_listed_in_one_call_where_there_are_many_files() {
    let world = World::new();
    for number in 0..100 {
        world.put(format!("{number}.pdf"), "content");
    }
    let output = changes_nothing(&world, &WATCH);
    assert!(output.stdout.contains("would upload 100 files"), "{output:?}");
    let asked: u64 = world.sandbox().stats().requests.values().sum();
    assert!(asked < 60, "{asked} requests");
}
