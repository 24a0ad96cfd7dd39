//! `push -`: standard input, which is first written to a file of its own, beside the files of other pushes.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{Daemon, Output, World, eventually};

/// Runs `push` with this standard input.
fn push_input(world: &World, input: &[u8], arguments: &[&str]) -> Output {
    let mut command = world.command();
    command.arg("push").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The program may end without reading: then the write fails, which is fine here.
    child.stdin.take().unwrap().write_all(input).ok();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn standard_input_is_stored_under_its_name_and_leaves_nothing_behind() {
    let world = World::new();
    let output = push_input(&world, b"from a pipe", &["-", "--name", "dump.sql"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/dump.sql").unwrap(), b"from a pipe");
    let kept = crate::support::files_below(&world.state());
    assert!(kept.iter().all(|file| !file.ends_with("dump.sql")), "{kept:?}");
    assert!(!walk_has(&world, "dump.sql"), "nor in a private folder");
}

fn walk_has(world: &World, name: &str) -> bool {
    let found = std::process::Command::new("find").arg(world.state()).args(["-name", name]).output().unwrap();
    !found.stdout.is_empty()
}

#[test]
fn standard_input_that_could_not_be_stored_is_kept_and_its_place_is_printed() {
    let world = World::new();
    let (body, content_type) = (None, None);
    let refused = Fault::Status { status: 422, retry_after: None, body, content_type, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused));
    let output = push_input(&world, b"the only copy", &["-", "--name", "dump.sql"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("is kept in") && walk_has(&world, "dump.sql"), "{output:?}");
}

#[test]
fn standard_input_without_a_name_and_a_name_without_it_are_usage_errors() {
    let world = World::new();
    let output = push_input(&world, b"", &["-"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("--name"), "{output:?}");
    world.put("file", "content");
    assert_eq!(world.run(["push", "watched/file", "--name", "other"]).code, Some(2));
    assert!(world.sandbox().uploads().is_empty());
}

#[test]
fn a_stop_while_standard_input_is_read_ends_with_130_and_leaves_no_half_of_it_behind() {
    let world = World::new();
    let mut command = world.command();
    let daemon = Daemon::start(command.args(["push", "-", "--name", "dump.sql"]).stdin(Stdio::piped()));
    eventually("it reads", || walk_has(&world, "dump.sql"));
    daemon.signal("-INT");
    assert_eq!(daemon.end().code, Some(130));
    assert!(!walk_has(&world, "dump.sql"));
}

#[test]
fn standard_input_whose_upload_was_cut_is_kept_and_its_place_is_printed() {
    let world = World::new();
    fs::write(world.dir.path().join("input"), "the only copy").unwrap();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    let mut command = world.command();
    command.args(["push", "-", "--name", "dump.sql"]).stdin(fs::File::open(world.dir.path().join("input")).unwrap());
    let daemon = Daemon::start(&mut command);
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    daemon.signal("-INT");
    std::thread::sleep(Duration::from_millis(200));
    daemon.signal("-INT");
    let output = daemon.end();
    assert_eq!(output.code, Some(130), "{output:?}");
    assert!(output.stdout.contains("is kept in") && walk_has(&world, "dump.sql"), "{output:?}");
}

/// Kills a push during its upload. Returns the file with the only copy of what was piped in.
fn killed(world: &World, name: &str) -> PathBuf {
    fs::write(world.dir.path().join("input"), "the only copy").unwrap();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }).named(name));
    let mut command = world.command();
    command.args(["push", "-", "--name", name]).stdin(fs::File::open(world.dir.path().join("input")).unwrap());
    let push = Daemon::start(&mut command);
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    push.kill();
    find(world, name)
}

#[test]
fn standard_input_of_a_killed_push_is_reported_until_the_store_has_it() {
    for delete in [None, Some("--delete")] {
        let world = World::new();
        let left = killed(&world, "dump.sql");
        let output = push_input(&world, b"of today", &["-", "--name", "dump.sql"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(
            output.stderr.contains(left.to_str().unwrap()) && output.stderr.contains("push --delete"),
            "{output:?}"
        );
        assert_eq!(fs::read(&left).unwrap(), b"the only copy");
        // Does what the message says.
        let output = world.run(["push", left.to_str().unwrap()].into_iter().chain(delete));
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(world.sandbox().uploads().len() == 2 && left.exists() == delete.is_none());
        let output = push_input(&world, b"of tomorrow", &["-", "--name", "dump.sql"]);
        assert!(output.code == Some(0) && output.stderr.starts_with("1 stored"), "{output:?}");
        assert!(!left.exists(), "the receipt makes the file needless");
        assert_eq!(world.sandbox().uploads().len(), 3);
    }
}

/// The file is no leftover, though the journal has no entry for it yet.
#[test]
fn standard_input_of_a_running_push_is_neither_reported_nor_touched() {
    let world = World::new();
    let mut command = world.command();
    let (input, mut pipe) = std::io::pipe().unwrap();
    let reading = Daemon::start(command.args(["push", "-", "--name", "slow"]).stdin(input));
    // The child holds the other end of the pipe too.
    drop(command);
    eventually("it reads", || walk_has(&world, "slow"));
    let output = push_input(&world, b"from a pipe", &["-", "--name", "dump.sql"]);
    assert!(output.code == Some(0) && output.stderr.starts_with("1 stored"), "{output:?}");
    pipe.write_all(b"in the end").unwrap();
    drop(pipe);
    assert_eq!(reading.end().code, Some(0));
    assert_eq!(world.stored("/HR_Backup/slow").unwrap(), b"in the end");
}

#[test]
fn an_empty_file_and_empty_standard_input_are_stored() {
    let world = World::new();
    world.put("empty", "");
    assert_eq!(world.run(["push", "watched/empty"]).code, Some(0));
    assert_eq!(push_input(&world, b"", &["-", "--name", "nothing"]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/empty").unwrap(), b"");
    assert_eq!(world.stored("/HR_Backup/nothing").unwrap(), b"");
}

/// What lies in the state folder: standard input of a failed push, and a file that a person put there.
fn neighbours(world: &World) -> Vec<(PathBuf, &'static str)> {
    let folder = world.state().join("astran-backup/stdin");
    let (failed, notes) = (folder.join(".astran-backup/00000000000000ff/dump.sql"), folder.join("notes"));
    for file in [&failed, &notes] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "the only copy").unwrap();
    }
    vec![(failed, "the only copy"), (notes, "the only copy")]
}

#[track_caller]
fn assert_only_these(world: &World, files: &[(PathBuf, &str)]) {
    for (file, content) in files {
        assert_eq!(fs::read_to_string(file).unwrap(), *content, "{}", file.display());
    }
    let found = walkdir::WalkDir::new(world.state().join("astran-backup/stdin")).into_iter().map(Result::unwrap);
    let found: Vec<PathBuf> =
        found.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).collect();
    assert!(found.iter().all(|found| files.iter().any(|(file, _)| file == found)), "left behind: {found:?}");
}

#[test]
fn files_beside_standard_input_are_never_touched() {
    let world = World::new();
    let neighbours = neighbours(&world);
    let arguments = ["-", "--name", "dump.sql"];
    assert_eq!(push_input(&world, b"from a pipe", &arguments).code, Some(0));
    assert_only_these(&world, &neighbours);
    // One standard input is stored while another one still waits for its upload.
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }).named("slow"));
    fs::write(world.dir.path().join("input"), "slow").unwrap();
    let mut slow = world.command();
    slow.args(["push", "-", "--name", "slow"]).stdin(fs::File::open(world.dir.path().join("input")).unwrap());
    let slow = Daemon::start(&mut slow);
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    assert_eq!(push_input(&world, b"from another pipe", &arguments).code, Some(0));
    slow.kill();
    let kept = find(&world, "slow");
    assert_only_these(&world, &[neighbours, vec![(kept, "slow")]].concat());
}

fn find(world: &World, name: &str) -> PathBuf {
    let found = walkdir::WalkDir::new(world.state()).into_iter().map(Result::unwrap);
    found.into_iter().find(|entry| entry.file_name() == name).expect(name).into_path()
}
