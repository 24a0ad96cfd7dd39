//! A user who may write into the folder can neither stop the files of others nor fill the disk and the log: not by a few huge files,
//! and not by thousands of names that can't be sent.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{Daemon, Output, QUICK, World, eventually};

/// Makes a file of this size that takes no room on the disk.
fn put_sparse(world: &World, name: &str, size: u64) {
    File::create(world.watched().join(name)).unwrap().set_len(size).unwrap();
}

/// Uploads of large files hang from now on.
fn hold_large(world: &World) {
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 3_600_000 }).named("large").always());
}

const TEBIBYTE: u64 = 1 << 40;

/// Regression: eleven files of 1 TiB occupied all uploads, and a file of one byte was not sent.
#[test]
fn large_files_never_occupy_the_upload_that_is_kept_for_small_ones() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    hold_large(&world);
    for number in 0..11 {
        put_sparse(&world, &format!("large-{number}"), TEBIBYTE);
    }
    let under_way = || world.sandbox().stats().requests.get("upload").copied().unwrap_or_default();
    eventually("large files are under way", || under_way() >= 5);
    for number in 0..20 {
        world.put(format!("small-{number}"), "x");
    }
    eventually("the small files go", || {
        (0..20).all(|number| world.stored(&format!("/HR_Backup/small-{number}")).is_some())
    });
    daemon.kill();
}

/// Where one upload at a time is configured, large files are sent one by one, and the others wait.
#[test]
fn large_files_go_too_with_one_upload_at_a_time() {
    let world = World::new();
    world.configure("[upload]\ntransfers = 1\n");
    for number in 0..2 {
        put_sparse(&world, &format!("large-{number}"), 65 << 20);
        world.put(format!("small-{number}"), "x");
    }
    let output = world.once_quick(&["--config", "config.toml"]);
    assert_eq!((output.code, world.sandbox().uploads().len()), (Some(0), 4), "{output:?}");
}

#[test]
fn a_file_over_max_size_is_not_sent_and_its_reason_names_the_setting() {
    let world = World::new();
    world.configure("[upload]\nmax_size = \"1KiB\"\n");
    put_sparse(&world, "large", TEBIBYTE);
    world.put("small", vec![b'x'; 1024]);
    let output = world.once_quick(&["--config", "config.toml"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("max_size"), "{output:?}");
    assert_eq!((world.times_stored("/HR_Backup/small"), world.times_stored("/HR_Backup/large")), (1, 0));
    assert!(world.run(["history", "--failed"]).stdout.contains("max_size"));
    let again = world.once_quick(&["--config", "config.toml"]);
    assert_eq!((again.code, rows(&world)), (Some(1), 2), "{again:?}");
}

/// How many attempts the journal has.
fn rows(world: &World) -> usize {
    world.attempts(&[]).len()
}

/// The size of the state folder on the disk.
fn bytes(world: &World) -> u64 {
    let state = world.state().join("astran-backup");
    std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

fn bad_name(number: usize) -> Vec<u8> {
    [b"\xff-", number.to_string().as_bytes()].concat()
}

/// How many lines of text were logged.
fn log_lines(output: &Output) -> usize {
    output.stderr.lines().count() + output.stdout.lines().count()
}

/// Regression: the journal grew by 46 MB in ten seconds, and never became smaller.
#[test]
fn thousands_of_unsendable_names_leave_one_row_each_until_they_are_gone_and_few_log_lines() {
    let world = World::new();
    let files = 2000;
    let put = |content: &str| {
        for number in 0..files {
            world.put(Path::new(OsStr::from_bytes(&bad_name(number))), content);
        }
    };
    for content in ["one", "two!", "three"] {
        put(content);
        let output = world.once_quick(&[]);
        assert_eq!(output.code, Some(1));
        assert!(log_lines(&output) < 1000, "{} lines, such as\n{:.2000}", log_lines(&output), output.stderr);
    }
    assert_eq!(rows(&world), files);
    assert!(bytes(&world) < 3 << 20, "{} bytes", bytes(&world));
    let unchanged = world.once_quick(&[]);
    assert!(unchanged.code == Some(1) && log_lines(&unchanged) < 1000, "{:.2000}", unchanged.stderr);

    for number in 1..files {
        std::fs::remove_file(world.watched().join(OsStr::from_bytes(&bad_name(number)))).unwrap();
    }
    let journal = rusqlite::Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap();
    journal.execute("UPDATE attempt SET started = started - 2 * 86400 * 1000000000", []).unwrap();
    drop(journal);
    let daemon: Daemon = world.watch(&QUICK);
    eventually("failures of files that are gone are forgotten, but for the newest row", || rows(&world) == 2);
    assert_eq!(daemon.stop().code, Some(0));
}
