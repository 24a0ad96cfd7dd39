//! `--json` as docs/scripting.md promises it to scripts, and readers that close the pipe.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{Output, World, run_to_end, schema};

/// A world with a stored file, and a failed one that lies in the watched folder.
fn used_world() -> World {
    let world = World::new();
    let (body, content_type) = (None, None);
    let refused = Fault::Status { status: 422, retry_after: None, body, content_type, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused).named("bad").always());
    world.put("good", "content");
    world.put("bad", "bad");
    assert_eq!(world.once_quick(&[]).code, Some(1));
    world
}

/// Asserts that each line is an event, and the last one the summary of this command with the program's exit code.
#[track_caller]
fn assert_events(output: &Output, command: &str) {
    let faults: Vec<_> =
        output.stdout.lines().filter_map(|line| schema::fault(line).map(|fault| (line, fault))).collect();
    assert!(faults.is_empty(), "{command}: {faults:#?}");
    let last: serde_json::Value = serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["command"]), (&"summary".into(), &command.into()), "{output:?}");
    assert_eq!(last["exit"].as_i64().map(|exit| i32::try_from(exit).unwrap()), output.code, "{output:?}");
    assert_eq!(output.events("summary").len(), 1, "{output:?}");
}

#[test]
fn every_command_prints_events_and_nothing_else_and_the_summary_last() {
    let world = used_world();
    let commands: &[(&[&str], &str)] = &[
        (&["ls", "/HR_Backup"], "document"),
        (&["get", "/HR_Backup/good", "-o", "fetched"], "fetched"),
        (&["check"], "check"),
        (&["history"], "attempt"),
        (&["history", "--failed"], "attempt"),
        (&["history", "--check"], "history_check"),
        (&["history", "--check", "--offline"], "history_check"),
        (&["history", "anchor", "--anchor", "/HR_Backup"], "anchor"),
        (&["history", "--prune-before", "365d"], "pruned"),
        (&["verify"], "verified"),
        (&["push", "watched", "--dry-run"], "plan"),
        (&["watch", "watched", "--once", "--dry-run"], "plan"),
        (&["push", "watched"], "failed"),
        (&["watch", "watched", "--once"], "summary"),
        (&["retry"], "retry"),
    ];
    for (arguments, kind) in commands {
        let output = world.run([arguments, &["--json", "-v"][..]].concat());
        assert_events(&output, arguments[0]);
        assert!(!output.events(kind).is_empty(), "{arguments:?}: {output:?}");
    }
    let fetched = &world.run(["get", "/HR_Backup/good", "-o", "again", "--json"]).events("fetched")[0];
    assert_eq!((&fetched["size"], &fetched["matches_receipt"]), (&7.into(), &true.into()));
}

#[test]
fn a_fatal_error_is_an_event_with_its_code_and_a_text_on_standard_error() {
    let world = used_world();
    let refused = |arguments: &[&str], exit: i32, code: &str| {
        let output = world.run([arguments, &["--json"]].concat());
        let error = &output.events("error")[0];
        assert_eq!(
            (output.code, &error["exit"], &error["code"]),
            (Some(exit), &exit.into(), &code.into()),
            "{output:?}"
        );
        assert_eq!(output.events("summary")[0]["code"], code);
        let message = error["message"].as_str().unwrap();
        assert!(!message.is_empty() && output.stderr.contains(message), "{output:?}");
    };
    refused(&["ls", "/none"], 4, "missing");
    refused(&["push", "watched/none"], 4, "missing");
    refused(&["ls", "--no-such-flag"], 2, "usage");
    refused(&["get", "/HR_Backup/good", "-o", "-"], 2, "usage");
    refused(&["get", "/HR_Backup/good", "-o", "watched/bad"], 1, "exists");
    let mut wrong = world.command();
    let output = run_to_end(wrong.env("ASTRAN_BACKUP_PASSWORD", "wrong").args(["ls", "--json"]));
    assert_eq!((output.code, &output.events("error")[0]["code"]), (Some(3), &"login_refused".into()), "{output:?}");
}

#[test]
fn what_could_not_be_tried_is_no_failed_step() {
    let world = World::new();
    let output = run_to_end(world.command().env("ASTRAN_BACKUP_PASSWORD", "wrong").args(["check", "--json"]));
    assert_eq!(output.code, Some(3), "{output:?}");
    let of = |status: &str| output.events("check").iter().filter(|step| step["status"] == status).count();
    let summary = &output.events("summary")[0];
    assert_eq!((of("failed"), &summary["failed"]), (1, &1.into()), "{output:?}");
    assert_eq!(summary["not_tried"], of("not_tried"));
    assert!(of("not_tried") > 0, "{output:?}");
}

#[test]
fn a_name_that_is_not_utf8_can_be_had_from_its_bytes() {
    let world = World::new();
    let path = world.put(OsStr::from_bytes(b"a\xff"), "content").canonicalize().unwrap();
    let bytes: Vec<String> = path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = bytes.concat();
    for (arguments, kind) in [
        (&["push", "watched", "--json"][..], "failed"),
        (&["history", "--failed", "--json"], "attempt"),
        (&["push", "watched", "--dry-run", "--json"], "plan"),
    ] {
        let output = world.run(arguments);
        assert_eq!(output.events(kind)[0]["local_path_bytes"], bytes.as_str(), "{output:?}");
    }
}

/// Runs a command whose standard output is a pipe without a reader.
fn with_closed_pipe(command: &mut Command) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    // The command holds an end of the pipe, too.
    command.stdout(Stdio::null());
    let ended = child.wait_with_output().unwrap();
    (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure_of_any_command() {
    let world = World::new();
    world.put("good", "content");
    assert_eq!(world.once_quick(&[]).code, Some(0));
    for json in [&[][..], &["--json"]] {
        let commands: &[&[&str]] = &[
            &["ls", "/HR_Backup"],
            &["check"],
            &["history"],
            &["history", "--failed"],
            &["history", "--check", "--offline"],
            &["history", "--prune-before", "365d"],
            &["verify"],
            &["retry"],
            &["completions", "bash"],
            &["man"],
            &["--help"],
        ];
        for arguments in commands {
            let ended = with_closed_pipe(world.command().args(*arguments).args(json));
            assert_eq!(ended, (Some(0), String::new()), "{arguments:?}");
        }
    }
    let ended = with_closed_pipe(world.command().args(["get", "/HR_Backup/good", "-o", "-"]));
    assert_eq!(ended, (Some(0), String::new()), "get");
}

#[test]
fn uploads_go_on_without_a_reader_of_standard_output() {
    for arguments in [&["watch", "watched", "--once"][..], &["push", "watched", "--delete", "--json"]] {
        let world = World::new();
        for number in 0..20 {
            world.put(format!("file-{number}"), "content");
        }
        let (code, stderr) = with_closed_pipe(world.command().args(arguments));
        assert_eq!((code, world.files_left().len()), (Some(0), 0), "{arguments:?}");
        assert!(stderr.lines().all(|line| line.starts_with("20 stored (140 bytes), ")), "{stderr}");
    }
}

#[test]
fn a_sandbox_without_a_reader_goes_on_until_it_is_stopped() {
    let world = World::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command();
    command.args(["sandbox", "--listen", "127.0.0.1:0", "--store", "store", "-v", "--json"]);
    let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    crate::support::eventually("the vault is there", || world.dir.path().join("store/HR_Backup").exists());
    std::thread::sleep(std::time::Duration::from_millis(100));
    let running = child.try_wait().unwrap().is_none();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!((running, child.wait().unwrap().code()), (true, Some(0)));
}

#[test]
fn a_daemon_prints_its_summary_when_it_is_stopped() {
    let world = World::new();
    let daemon = world.watch_quick(&["--json"]);
    daemon.wait_for("\"type\":\"stored\"");
    let all = daemon.stop();
    assert_eq!(all.code, Some(0), "{all:?}");
    let summaries = all.stdout.lines().filter(|line| line.contains("\"type\":\"summary\"")).count();
    assert_eq!(summaries, 1, "{all:?}");
}
