//! `watch`: unfinished files, and what is not a regular file, are left where they are.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{CWD, FileType, Mode};

use crate::support::{World, eventually};

/// Names that say that the file is in progress or hidden.
const IN_PROGRESS: [&str; 12] = [
    "a.part",
    "a.partial",
    "a.crdownload",
    "a.download",
    "a.filepart",
    "a.tmp",
    "a.swp",
    "a.swx",
    "a.txt~",
    "~$a.docx",
    ".hidden",
    ".git/config",
];

#[test]
fn links_pipes_sockets_and_devices_are_left_alone() {
    let world = World::new();
    let secret = world.dir.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    fs::create_dir(world.dir.path().join("elsewhere")).unwrap();
    fs::write(world.dir.path().join("elsewhere/inside"), "secret").unwrap();
    let watched = world.watched();
    let make = |suffix: &str| {
        symlink(&secret, watched.join(format!("link{suffix}"))).unwrap();
        symlink(world.dir.path().join("elsewhere"), watched.join(format!("folder{suffix}"))).unwrap();
        rustix::fs::mknodat(CWD, watched.join(format!("pipe{suffix}")), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let device = rustix::fs::makedev(1, 5);
        let zero = watched.join(format!("zero{suffix}"));
        if rustix::fs::mknodat(CWD, zero, FileType::CharacterDevice, Mode::RUSR, device).is_err() {
            eprintln!("skipped: only root can make a device");
        }
        UnixListener::bind(watched.join(format!("socket{suffix}"))).unwrap()
    };
    let _before = make("-before");
    let daemon = world.watch_quick(&[]);
    let _after = make("-after");
    let left = world.files_left().len();
    world.put("last", "last");
    daemon.wait_for("last ->");
    let output = world.run(["ls", "/HR_Backup"]);
    assert_eq!(output.stdout.lines().count(), 2, "only the first and the last file are documents: {output:?}");
    assert!(
        left >= 8 && world.files_left().iter().filter(|file| file.to_str() != Some("first-of-all")).count() >= left - 1
    );
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.once_quick(&[]).code, Some(0), "what is left alone has not failed");
}

#[test]
fn names_in_progress_are_left_alone_before_and_after_the_start() {
    let world = World::new();
    for name in &IN_PROGRESS[..6] {
        world.put(name, "half");
    }
    let daemon = world.watch_quick(&[]);
    for name in &IN_PROGRESS[6..] {
        world.put(name, "half");
    }
    world.put("last", "last");
    daemon.wait_for("last ->");
    assert_eq!(world.files_left().len(), IN_PROGRESS.len());
    assert_eq!(world.sandbox().uploads().len(), 2);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_file_or_folder_renamed_to_a_finished_name_is_taken() {
    let world = World::new();
    world.put("a.part", "a");
    world.put(".folder/b", "b");
    let daemon = world.watch_quick(&[]);
    assert_eq!(world.files_left().iter().filter(|file| file.to_str() != Some("first-of-all")).count(), 2);
    fs::rename(world.watched().join("a.part"), world.watched().join("a")).unwrap();
    fs::rename(world.watched().join(".folder"), world.watched().join("folder")).unwrap();
    eventually("both are stored", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/a").unwrap(), b"a");
    assert_eq!(world.stored("/HR_Backup/b").unwrap(), b"b");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn names_to_ignore_add_to_those_in_progress() {
    let world = World::new();
    for name in ["a.bak", "b.part", "c"] {
        world.put(name, name);
    }
    assert_eq!(world.once_quick(&["--ignore", "*.bak"]).code, Some(0));
    assert_eq!(world.files_left(), ["a.bak", "b.part"].map(std::path::PathBuf::from));
}
