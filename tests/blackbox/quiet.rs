//! `--quiet` prints nothing where all is well, a file that waits is no failure, and each run ends with its sum.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::World;

fn refuse(world: &World, name: &str) {
    let fault = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, fault).named(name).always());
}

#[test]
fn a_quiet_run_prints_nothing_on_success_and_each_run_says_what_needs_a_person() {
    let world = World::new();
    world.put("good", "good");
    let pushed = world.put("pushed", "pushed");
    for output in [world.run(["push", "--quiet", pushed.to_str().unwrap()]), world.once_quick(&["-q"])] {
        assert_eq!((output.code, &*output.stdout, &*output.stderr), (Some(0), "", ""), "{output:?}");
    }
    refuse(&world, "bad");
    world.put("bad", "bad");
    world.put("good too", "good");
    for run in 0..3 {
        let output = world.once_quick(&["-q"]);
        assert_eq!((output.code, &*output.stdout), (Some(1), ""), "run {run}: {output:?}");
        assert!(output.stderr.contains("bad") && !output.stderr.contains("good"), "run {run}: {output:?}");
        assert_eq!(output.stderr.lines().count(), 1, "run {run}: {output:?}");
    }
}

#[test]
fn a_quiet_run_with_json_still_prints_its_events() {
    let world = World::new();
    world.put("good", "good");
    let output = world.once_quick(&["--quiet", "--json"]);
    assert_eq!((output.events("stored").len(), &*output.stderr), (1, ""), "{output:?}");
}

#[test]
fn each_run_ends_with_its_sum_on_standard_error() {
    let world = World::new();
    world.put("a", "12345");
    let output = world.once_quick(&[]);
    assert!(output.stderr.starts_with("1 stored (5 bytes), 0 failed, 0 skipped in "), "{output:?}");
    assert_eq!((output.stdout.lines().count(), output.stderr.lines().count()), (1, 1), "{output:?}");
    refuse(&world, "bad");
    world.put("bad", "bad");
    let output = world.once_quick(&[]);
    let sum = output.stderr.lines().last().unwrap();
    assert!(sum.starts_with("0 stored, 1 failed, 0 skipped in "), "{output:?}");
    assert!(sum.ends_with(": astran-backup history --failed"), "{output:?}");
    let json = world.once_quick(&["--log-format", "json"]);
    for line in json.stderr.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line} is no JSON"));
    }
    let daemon = world.watch_quick(&[]);
    let ended = daemon.stop();
    assert!(ended.stdout.contains("1 stored (12 bytes), "), "{ended:?}");
}

#[test]
fn a_file_that_is_open_for_writing_fails_no_run_unless_it_is_strict_and_holds_none_up() {
    let world = World::new();
    let path = world.put("held", "half");
    let mut held = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for (arguments, code) in [(&[][..], 0), (&["--quiet"], 0), (&["--strict"], 1)] {
        let free = world.put(format!("free{code}{}", arguments.len()), "free");
        let start = Instant::now();
        let output = world.once_quick(arguments);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(!free.exists() && path.exists(), "{output:?}");
        if arguments == ["--quiet"] {
            assert_eq!((&*output.stdout, &*output.stderr), ("", ""), "{output:?}");
        } else {
            assert!(output.stderr.contains("still open for writing") && output.stderr.contains("held"), "{output:?}");
            assert!(output.stderr.contains("0 failed, 0 skipped, 1 still being written in "), "{output:?}");
        }
    }
    held.write_all(b" and half").unwrap();
    drop(held);
    let json = world.once_quick(&["--json"]);
    assert_eq!(json.events("summary")[0]["still_open"], 0, "{json:?}");
    assert_eq!(world.stored("/HR_Backup/held").unwrap(), b"half and half");
}

/// Regression: a run with `--once` never ended beside a program that appends to a file again and again.
#[test]
fn files_that_are_appended_to_again_and_again_keep_no_run_from_ending() {
    let world = World::new();
    let paths = [world.put("one.log", "x"), world.put("two.log", "x")];
    world.put("free", "free");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let writing = std::thread::spawn(move || {
        while stopped
            .recv_timeout(Duration::from_millis(20))
            .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            for path in &paths {
                fs::OpenOptions::new().create(true).append(true).open(path).unwrap().write_all(b"more").unwrap();
            }
        }
    });
    let start = Instant::now();
    let output = world.once(&["--settle", "200ms"]);
    let took = start.elapsed();
    drop(stop);
    writing.join().unwrap();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(output.code == Some(0) && output.stderr.contains("2 still being written"), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/free"), 1);
}

#[test]
fn a_writer_that_closes_within_the_settle_time_is_waited_for() {
    let world = World::new();
    let path = world.put("late", "half");
    let mut late = fs::OpenOptions::new().append(true).open(&path).unwrap();
    let writing = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1500));
        late.write_all(b" and half").unwrap();
    });
    let output = world.once(&["--settle", "3s"]);
    writing.join().unwrap();
    assert_eq!((output.code, path.exists()), (Some(0), false), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/late").unwrap(), b"half and half");
}
