//! `watch`: how it ends, and with which exit code.

use std::fs;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{World, eventually};

fn refused() -> Rule {
    let (body, content_type) = (Some(r#"{"message":"not this one"}"#.into()), None);
    Rule::new(Call::Upload, Fault::Status { status: 422, retry_after: None, body, content_type, carried_out: false })
}

#[test]
fn once_over_an_empty_folder_ends_with_0() {
    let world = World::new();
    let output = world.once(&[]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""), "{output:?}");
}

#[test]
fn once_ends_with_1_if_one_file_failed_and_all_others_are_stored() {
    let world = World::new();
    world.faults().add(refused().named("bad").always());
    for name in ["good-1", "bad", "good-2"] {
        world.put(name, name);
    }
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(world.files_left(), [std::path::PathBuf::from("bad")]);
    assert!(output.stdout.contains("failed  bad: ") && output.stdout.contains("not this one"), "{output:?}");
}

#[test]
fn a_failed_file_is_not_sent_again_until_it_changes_or_retry() {
    let world = World::new();
    world.faults().add(refused().times(2));
    let path = world.put("bad", "bad");
    assert_eq!(world.once_quick(&[]).code, Some(1));
    let again = world.once_quick(&[]);
    assert_eq!(again.code, Some(1), "a cron job does not go quiet over what it could not do: {again:?}");
    assert!(again.stderr.contains("has failed before"), "{again:?}");
    assert_eq!(world.sandbox().stats().requests["upload"], 1);
    assert_eq!(world.run(["retry"]).code, Some(0));
    assert_eq!(world.once_quick(&[]).code, Some(1));
    assert_eq!(world.sandbox().stats().requests["upload"], 2);
    fs::write(&path, "better").unwrap();
    assert_eq!(world.once_quick(&[]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/bad").unwrap(), b"better");
}

#[test]
fn a_second_instance_on_the_same_folder_ends_with_6() {
    let world = World::new();
    let daemon = world.watch(&[]);
    for arguments in [&["watch", "watched"][..], &["watch", "./watched/../watched", "--once"]] {
        let output = world.run(arguments);
        assert_eq!(output.code, Some(6), "{output:?}");
        assert!(output.stderr.contains("another instance"), "{output:?}");
    }
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.once(&[]).code, Some(0), "the folder is free again");
}

#[test]
fn a_watch_beside_a_push_that_removes_files_says_so_and_ends_with_6() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    world.put("file", "content");
    let push = crate::support::Daemon::start(world.command().args(["push", "watched", "--delete"]));
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    for once in [&[][..], &["--once"]] {
        let output = world.run(["watch", "watched"].iter().chain(once));
        assert_eq!(output.code, Some(6), "{output:?}");
        assert!(output.stderr.contains("a push is removing files from watched"), "{output:?}");
    }
    push.kill();
    assert_eq!(world.once_quick(&[]).code, Some(0), "the folder is free again");
}

#[test]
fn a_stop_while_nothing_is_under_way_ends_with_0() {
    for signal in ["-TERM", "-INT"] {
        let world = World::new();
        let daemon = world.watch(&[]);
        daemon.signal(signal);
        assert_eq!(daemon.end().code, Some(0), "{signal}");
    }
}

/// Regression: systemd counted the stop as a failure of the service.
#[test]
fn a_stop_before_the_service_was_there_ends_with_0() {
    for (once, code) in [(&[][..], 0), (&["--once"], 130)] {
        let mut world = World::new();
        let path = world.put("file", "content");
        world.stop_sandbox();
        let daemon = world.start(once);
        daemon.wait_for("can't be reached");
        assert_eq!(daemon.stop().code, Some(code), "{once:?}");
        assert_eq!(fs::read(path).unwrap(), b"content");
    }
}

#[test]
fn a_stop_gives_an_upload_under_way_its_grace() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 1000 }));
    world.put("under-way", "content");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/under-way").unwrap(), b"content");
    assert!(world.files_left().is_empty(), "what is stored is removed before the end");
}

#[test]
fn an_upload_that_outlasts_the_grace_is_cut_and_its_file_stays_whole() {
    let world = World::new();
    world.configure("[daemon]\ngrace = \"300ms\"\n");
    let daemon = world.watch_quick(&["--config", "config.toml"]);
    eventually("the first one is removed", || world.files_left().is_empty());
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    let path = world.put("under-way", "content");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "nothing is lost, so it is no failure: {output:?}");
    assert_eq!(fs::read(path).unwrap(), b"content");
    assert_eq!(world.once_quick(&[]).code, Some(0), "the next run takes it");
    assert_eq!(world.times_stored("/HR_Backup/under-way"), 1);
}

#[test]
fn a_second_signal_ends_at_once_with_130() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    eventually("the first one is removed", || world.files_left().is_empty());
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 60_000 }));
    let path = world.put("under-way", "content");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    let start = Instant::now();
    daemon.signal("-TERM");
    // Two pending signals of one kind are delivered as one, so the first must be handled before the second is sent.
    std::thread::sleep(Duration::from_millis(200));
    daemon.signal("-TERM");
    assert_eq!(daemon.end().code, Some(130));
    assert!(start.elapsed() < Duration::from_secs(10), "the grace of 30 s is not waited for");
    assert_eq!(fs::read(path).unwrap(), b"content");
}

#[test]
fn a_stopped_once_that_has_not_done_all_ends_with_130() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 1000 }));
    world.put("file", "content");
    let daemon = world.start(&["--once", "--settle", "50ms"]);
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    assert_eq!(daemon.stop().code, Some(130));
    assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"content");
}
