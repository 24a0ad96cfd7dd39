//! `status`: what a running daemon does, and why each file is still here.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;

use crate::support::{Output, World, eventually};

/// The statuses, one for each daemon, and the whole output.
fn status(world: &World, arguments: &[&str]) -> (Vec<Value>, Output) {
    let output = world.run([&["status", "--json"], arguments].concat());
    (output.events("status"), output)
}

fn file<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    let files = status["folders"][0]["files"].as_array().unwrap();
    files.iter().find(|file| file["local_path"].as_str().unwrap().ends_with(name))
}

fn sockets(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.state().join("astran-backup")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|end| end == "socket")).collect()
}

#[test]
fn a_daemon_tells_of_uploads_in_flight_and_why_each_file_is_still_here() {
    let world = World::new();
    let daemon = world.watch_quick(&["--limit-rate", "200kB"]);
    world.put("large", vec![7; 4_000_000]);
    world.put("draft.tmp", "draft");
    let open = fs::OpenOptions::new().append(true).create(true).open(world.watched().join("open")).unwrap();
    eventually("the daemon tells of the upload", || {
        let (all, _) = status(&world, &[]);
        let transfer = &all[0]["folders"][0]["transfers"][0];
        transfer["rate"].as_u64().is_some_and(|rate| (50_000..400_000).contains(&rate))
            && transfer["sent"].as_u64() > Some(0)
    });
    let (all, output) = status(&world, &[]);
    assert_eq!((all.len(), output.code), (1, Some(0)), "{output:?}");
    assert_eq!((&all[0]["running"], &all[0]["pid"]), (&true.into(), &daemon.pid().into()));
    assert_eq!(all[0]["user"], world.access.username.as_str());
    assert_eq!(file(&all[0], "draft.tmp").unwrap()["standing"], "ignored");
    let reason = file(&all[0], "open").unwrap()["reason"].as_str().unwrap();
    assert!(reason.contains("open for writing") && reason.contains(&std::process::id().to_string()), "{reason}");
    assert!(file(&all[0], "large").is_none(), "it is told among the uploads");
    drop(open);
    let text = world.run(["status"]).stdout;
    for part in ["is running", "% of 3.8 MiB", "/s", "left", "its name matches `*.tmp`", "-> rename it"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    daemon.kill();
}

#[test]
fn what_holds_up_uploads_is_told_with_its_time_and_exit_code_1() {
    let mut world = World::new();
    let daemon = world.watch_quick(&[]);
    world.stop_sandbox();
    world.put("letter", "a letter");
    eventually("the trouble is told", || {
        let (all, output) = status(&world, &[]);
        let trouble = &all[0]["troubles"][0];
        output.code == Some(1) && trouble["component"] == "service" && trouble["since"].is_string()
    });
    eventually("the file is told to wait", || {
        let text = world.run(["status"]).stdout;
        text.contains("! uploads are held up since ") && text.contains(" waiting (") && text.contains("letter")
    });
    daemon.kill();
}

/// Regression: such a daemon was said not to run, and no file to wait.
#[test]
fn a_daemon_that_waits_for_the_service_at_its_start_is_told_to_run_and_its_files_to_wait() {
    let mut world = World::new();
    world.stop_sandbox();
    world.put("letter", "a letter");
    let daemon = world.start(&[]);
    daemon.wait_for("the service can't be reached");
    let (all, output) = status(&world, &[]);
    assert_eq!((all.len(), output.code), (1, Some(1)), "{output:?}");
    assert_eq!((&all[0]["running"], &all[0]["pid"]), (&true.into(), &daemon.pid().into()));
    assert_eq!(all[0]["folders"][0]["waiting"]["files"], 1, "{}", all[0]);
    let start = &all[0]["troubles"][0];
    assert!(start["component"] == "start" && start["since"].is_string(), "{start}");
    let text = world.run(["status"]).stdout;
    assert!(text.contains("is running") && text.contains("the start waits for the service"), "{text}");
    daemon.kill();
}

#[test]
fn a_stopped_daemon_holds_up_no_status_that_a_signal_ends() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    daemon.signal("-STOP");
    // It ends by itself after fifteen seconds, with the pid of the daemon that does not answer.
    let asking = crate::support::Daemon::start(world.command().arg("status"));
    eventually("the signal is handled", || {
        let caught = fs::read_to_string(format!("/proc/{}/status", asking.pid())).unwrap();
        let mask = caught.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        u64::from_str_radix(&mask, 16).unwrap() & 0b10 != 0
    });
    let before = std::time::Instant::now();
    asking.signal("-INT");
    assert_eq!(asking.end().code, Some(130));
    assert!(before.elapsed() < std::time::Duration::from_secs(10));
    daemon.kill();
}

#[test]
fn a_name_that_is_no_text_is_told_with_all_its_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let world = World::new();
    world.configure("[[folder]]\npath = \"watched\"\ndest = \"/HR_Backup\"\n");
    world.put(std::ffi::OsStr::from_bytes(b"b\xff.pdf"), "content");
    let (all, output) = status(&world, &["--config", "config.toml"]);
    let bytes = all[0]["folders"][0]["files"][0]["local_path_bytes"].as_str();
    assert!(bytes.is_some_and(|bytes| bytes.ends_with("62ff2e706466")), "{output:?}");
}

#[test]
fn a_configured_folder_that_is_missing_is_trouble_where_no_daemon_runs() {
    let world = World::new();
    world.configure("[[folder]]\npath = \"gone\"\ndest = \"/HR_Backup\"\n");
    let (all, output) = status(&world, &["--config", "config.toml"]);
    let trouble = &all[0]["troubles"][0];
    assert_eq!((output.code, &trouble["component"]), (Some(1), &"folder".into()), "{output:?}");
    assert!(trouble["folder"].as_str().unwrap().ends_with("/gone") && trouble["since"].is_null(), "{trouble}");
}

#[test]
fn without_a_daemon_journal_and_folders_tell_and_its_socket_is_removed_by_the_next() {
    let world = World::new();
    world.configure("[[folder]]\npath = \"watched\"\ndest = \"/HR_Backup\"\n");
    let with_config = ["--config", "config.toml"];
    let daemon = world.watch_quick(&[]);
    world.put("first", "1");
    daemon.wait_for("stored");
    daemon.kill();
    let left = sockets(&world);
    assert_eq!(left.len(), 1, "a killed daemon leaves its socket");
    world.put("second", "22");
    let (all, output) = status(&world, &with_config);
    assert_eq!((all.len(), output.code, &all[0]["running"]), (1, Some(0), &false.into()), "{output:?}");
    let folder = &all[0]["folders"][0];
    // The first one is the file by which the test waited for the daemon.
    assert_eq!((&folder["stored_today"]["files"], &folder["waiting"]["bytes"]), (&2.into(), &2.into()), "{folder}");
    let daemon = world.watch_quick(&[]);
    let now = sockets(&world);
    assert!(now.len() == 1 && now != left, "{now:?}");
    assert_eq!(daemon.stop().code, Some(0));
    assert!(sockets(&world).is_empty(), "a daemon that ends takes its socket with it");
}

#[test]
fn each_daemon_of_a_state_directory_tells_for_itself() {
    let world = World::new();
    fs::create_dir(world.dir.path().join("other")).unwrap();
    let first = world.watch_quick(&[]);
    let second = crate::support::Daemon::start(world.command().args(["watch", "other", "--settle", "50ms"]));
    second.wait_for("watching");
    let (all, _) = status(&world, &[]);
    let mut pids: Vec<_> = all.iter().map(|status| status["pid"].as_u64().unwrap()).collect();
    pids.sort_unstable();
    let mut expected = [u64::from(first.pid()), u64::from(second.pid())];
    expected.sort_unstable();
    assert_eq!(pids, expected);
    assert_eq!(world.run(["status"]).stdout.matches("is running").count(), 2);
    first.kill();
    second.kill();
}

#[test]
fn a_socket_works_below_a_long_path_and_a_client_that_reads_nothing_harms_no_other() {
    let world = World::new();
    let state = world.dir.path().join("s".repeat(150));
    let state = state.to_str().unwrap();
    let daemon = world.watch_quick(&["--state-dir", state]);
    let names = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let name = names.into_iter().find(|name| name.ends_with(".socket")).unwrap();
    let folder = fs::File::open(state).unwrap();
    let _silent = UnixStream::connect(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd())).unwrap();
    let (all, output) = status(&world, &["--state-dir", state]);
    assert_eq!((all.len(), output.code), (1, Some(0)), "{output:?}");
    world.put("letter", "a letter");
    daemon.wait_for("stored");
    daemon.kill();
}
