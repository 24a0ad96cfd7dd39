//! The service is away or in trouble: nothing is lost, no file is blamed, and uploads go on when the service is back.

use std::net::TcpListener;
use std::time::{Duration, Instant, SystemTime};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{World, eventually, run_to_end};

/// A world whose service can go away and come back: it has a loopback address of its own, whose port no other test can take meanwhile.
pub(super) fn coming_and_going() -> World {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_le_bytes();
    let address = [127, process[0].max(1), process[1], NEXT.fetch_add(1, Ordering::Relaxed)];
    World::with(|options| options.listen = (address, 0).into())
}

fn unavailable(retry_after: Option<u64>) -> Fault {
    Fault::Status { status: 503, retry_after, body: None, content_type: None, carried_out: false }
}

/// An address of this machine at which no program listens.
fn closed() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

#[test]
fn watch_waits_for_a_service_that_is_not_there_at_the_start() {
    let mut world = coming_and_going();
    world.stop_sandbox();
    world.put("file", "content");
    let daemon = world.start(&["--settle", "50ms"]);
    daemon.wait_for("the service can't be reached");
    world.start_sandbox();
    daemon.wait_for("watching");
    eventually("the file is stored and removed", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/file").unwrap(), b"content");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn watch_goes_on_when_a_service_that_went_away_comes_back() {
    let mut world = coming_and_going();
    let daemon = world.watch_quick(&[]);
    eventually("the first one is removed", || world.files_left().is_empty());
    world.stop_sandbox();
    for file in 0..20 {
        world.put(format!("sub/{file}"), file.to_string());
    }
    daemon.wait_for("no file is tried");
    world.start_sandbox();
    eventually("all are stored and removed", || world.files_left().is_empty());
    assert_eq!(world.sandbox().uploads().len(), 20);
    let output = daemon.stop();
    assert_eq!(output.code, Some(0));
    assert!(!output.stdout.contains("failed  "), "no file is blamed: {output:?}");
}

#[test]
fn a_503_is_waited_out_as_long_as_the_service_asks_and_no_file_is_blamed() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, unavailable(Some(2))));
    for file in 0..5 {
        world.put(file.to_string(), file.to_string());
    }
    let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let output = world.once_quick(&["--transfers", "1"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let first = Duration::from_nanos(world.sandbox().uploads()[0].arrived_ns);
    assert!(first >= start + Duration::from_secs(2), "{start:?} {first:?}");
    assert!(!output.stdout.contains("failed"), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 5);
    assert_eq!(world.sandbox().stats().requests["upload"], 6, "while it asks for quiet nothing else is sent");
}

/// Regression: with -v each try of a file added its attempt to all log lines about the file, which grew for days.
#[test]
fn each_log_line_about_a_file_names_one_attempt() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, unavailable(Some(1))).times(2));
    world.put("file", "content");
    let output = world.once_quick(&["-v"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for attempt in 1..=3 {
        assert!(output.stderr.contains(&format!("{{attempt={attempt} dest=/HR_Backup/file}}")), "{output:?}");
    }
    assert!(output.stderr.lines().all(|line| line.matches(" dest=").count() <= 1), "{output:?}");
}

/// A file's story is read with one filter; the login is every file's.
#[test]
fn requests_log_in_the_span_of_their_file_and_the_login_in_a_span_of_its_own() {
    let world = World::new();
    world.put("a.pdf", "content");
    let output = world.once_quick(&["-v"]);
    let line =
        |part: &str| output.stderr.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{output:?}"));
    for of_the_login in ["/openid-connect/token", "a token was granted"] {
        assert!(line(of_the_login).contains("login:") && !line(of_the_login).contains("file{"), "{output:?}");
    }
    assert!(line("/children").contains("file{path=a.pdf}"), "{output:?}");
}

#[test]
fn a_connection_that_breaks_during_or_after_an_upload_loses_nothing_and_stores_nothing_twice() {
    for fault in [Fault::CutBefore { bytes: 1000 }, Fault::CutBefore { bytes: 0 }, Fault::CutAfter] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, fault.clone()));
        world.put("file", vec![7; 100_000]);
        let output = world.once_quick(&[]);
        assert_eq!(output.code, Some(0), "{fault:?}: {output:?}");
        assert_eq!(world.stored("/HR_Backup/file").unwrap(), vec![7; 100_000], "{fault:?}");
        assert_eq!(world.times_stored("/HR_Backup/file"), 1, "{fault:?}");
    }
}

#[test]
fn tokens_that_expire_during_a_run_are_renewed_silently() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Expire));
    world.faults().add(Rule::new(Call::Upload, Fault::ExpireAll).after(2));
    for file in 0..5 {
        world.put(file.to_string(), file.to_string());
    }
    let output = world.once_quick(&["--transfers", "1"]);
    let only_the_sum = output.stderr.lines().count() == 1;
    assert!(output.code == Some(0) && only_the_sum, "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 5);
}

#[test]
fn commands_that_only_look_tell_of_a_service_that_is_not_there_at_once_with_5() {
    let world = World::new();
    let output = run_to_end(world.command().env("ASTRAN_BACKUP_AUTH_URL", closed()).args(["ls"]));
    assert_eq!(output.code, Some(5), "{output:?}");
    assert!(output.stderr.contains("the connection is refused"), "{output:?}");
}

/// A unit test shows, with paused time, that this takes less than a minute where nothing answers at all.
#[test]
fn commands_that_are_to_end_give_up_on_a_service_in_lasting_trouble_with_5() {
    for command in [&["push", "watched"][..], &["watch", "watched", "--once"]] {
        let world = World::new();
        let path = world.put("file", "content");
        world.faults().add(Rule::new(Call::Login, unavailable(Some(300))).always());
        let start = Instant::now();
        let output = world.run(command);
        assert_eq!(output.code, Some(5), "{output:?}");
        assert!(start.elapsed() < Duration::from_secs(20), "longer than its patience: not even begun to wait");
        assert!(path.exists());
    }
}

#[test]
fn a_stop_during_an_outage_does_not_wait_for_waiting_files() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, unavailable(Some(300))).always());
    let path = world.put("file", "content");
    for (once, code) in [(&[][..], 0), (&["--once"], 130)] {
        let daemon = world.start(&[&crate::support::QUICK, once].concat());
        daemon.wait_for("no file is tried");
        let start = Instant::now();
        assert_eq!(daemon.stop().code, Some(code), "a file that waits fails only a run that should have done all");
        assert!(start.elapsed() < Duration::from_secs(10), "the grace of 30 s is for uploads");
    }
    assert!(path.exists());
}
