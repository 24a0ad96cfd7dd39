//! `watch`: in whatever way a file comes into the folder, it is stored whole and once, and removed from the folder.

use std::fs;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::support::{World, eventually, write_slowly};

/// Runs `watch` while `how` makes a file `arrived.pdf` with "content" at the given path; the file must be stored and removed.
#[track_caller]
fn arrives(how: impl FnOnce(&World, &Path)) {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    how(&world, &world.watched().join("arrived.pdf"));
    eventually("the file is stored and removed", || {
        world.files_left().is_empty() && world.times_stored("/HR_Backup/arrived.pdf") > 0
    });
    assert_eq!(world.stored("/HR_Backup/arrived.pdf").unwrap(), b"content");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.times_stored("/HR_Backup/arrived.pdf"), 1);
}

/// Makes a file with "content" beside the watched folder.
fn outside(world: &World) -> std::path::PathBuf {
    let path = world.dir.path().join("outside");
    fs::write(&path, "content").unwrap();
    path
}

#[test]
fn a_file_that_was_there_before_the_start_is_stored_and_removed() {
    let world = World::new();
    world.put("report.pdf", "content");
    let output = world.once(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/report.pdf").unwrap(), b"content");
    assert!(world.files_left().is_empty());
    assert_eq!(world.times_stored("/HR_Backup/report.pdf"), 1);
}

#[test]
fn a_writer_that_takes_a_second_for_10_000_bytes_ends_as_one_document_of_10_000_bytes() {
    let world = World::new();
    let daemon = world.watch(&[]);
    write_slowly(&world.watched().join("slow.bin"), 10, &[7; 1000], Duration::from_millis(100));
    daemon.wait_for("stored");
    eventually("the file is removed", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/slow.bin").unwrap().len(), 10_000);
    assert_eq!(world.times_stored("/HR_Backup/slow.bin"), 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_writer_that_pauses_far_longer_than_the_settle_time_is_waited_for() {
    arrives(|_, place| {
        let mut file = fs::File::create(place).unwrap();
        for piece in ["con", "te", "nt"] {
            file.write_all(piece.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
    });
}

#[test]
fn a_file_opened_and_closed_for_each_piece_is_stored_once_within_the_settle_time() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "300ms"]);
    let path = world.watched().join("log.txt");
    for _ in 0..8 {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).unwrap();
        file.write_all(b"line\n").unwrap();
        drop(file);
        std::thread::sleep(Duration::from_millis(30));
    }
    daemon.wait_for("stored");
    assert_eq!(world.stored("/HR_Backup/log.txt").unwrap().len(), 40);
    assert_eq!(world.times_stored("/HR_Backup/log.txt"), 1);
}

#[test]
fn a_copied_file_arrives() {
    arrives(|world, place| assert_eq!(fs::copy(outside(world), place).unwrap(), 7));
}

#[test]
fn a_file_renamed_in_arrives() {
    arrives(|world, place| fs::rename(outside(world), place).unwrap());
}

#[test]
fn a_file_renamed_in_arrives_without_a_settle_time() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "1h"]);
    let place = world.watched().join("arrived.pdf");
    fs::rename(outside(&world), &place).unwrap();
    let mut renames = 0;
    eventually("an event announces the rename", || {
        // A file that the first walk has found waits an hour: only an event can bring the file now.
        renames += 1;
        fs::rename(&place, world.watched().join("arrived.tmp"))
            .and_then(|()| fs::rename(world.watched().join("arrived.tmp"), &place))
            .ok();
        std::thread::sleep(Duration::from_millis(100 * renames));
        world.times_stored("/HR_Backup/arrived.pdf") > 0
    });
    daemon.kill();
}

#[test]
fn a_download_renamed_from_its_part_name_arrives_under_its_last_name_only() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    let part = world.put("report.pdf.part", "half");
    fs::write(&part, "all of it").unwrap();
    fs::rename(&part, world.watched().join("report.pdf")).unwrap();
    daemon.wait_for("report.pdf ->");
    assert_eq!(world.stored("/HR_Backup/report.pdf").unwrap(), b"all of it");
    assert_eq!(world.stored("/HR_Backup/report.pdf.part"), None);
}

#[test]
fn a_hard_linked_file_arrives() {
    arrives(|world, place| fs::hard_link(outside(world), place).unwrap());
}

#[test]
fn an_unnamed_temporary_that_is_given_a_name_arrives() {
    arrives(|world, place| {
        let (flags, mode) = (OFlags::TMPFILE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
        let Ok(unnamed) = rustix::fs::open(world.watched(), flags, mode) else {
            eprintln!("skipped: this file system has no unnamed temporaries");
            fs::write(place, "content").unwrap();
            return;
        };
        rustix::io::write(&unnamed, b"content").unwrap();
        let by_number = format!("/proc/self/fd/{}", unnamed.as_raw_fd());
        rustix::fs::linkat(CWD, by_number, CWD, place, AtFlags::SYMLINK_FOLLOW).unwrap();
    });
}

#[test]
fn a_file_in_a_new_sub_folder_arrives() {
    arrives(|world, _| drop(world.put("new/er/arrived.pdf", "content")));
}

#[test]
fn a_folder_tree_moved_in_arrives() {
    arrives(|world, _| {
        let tree = world.dir.path().join("tree/a/b");
        fs::create_dir_all(&tree).unwrap();
        fs::write(tree.join("arrived.pdf"), "content").unwrap();
        fs::rename(world.dir.path().join("tree"), world.watched().join("tree")).unwrap();
    });
}

#[test]
fn a_file_in_a_folder_that_was_renamed_while_watched_arrives() {
    arrives(|world, _| {
        fs::create_dir(world.watched().join("before")).unwrap();
        fs::rename(world.watched().join("before"), world.watched().join("after")).unwrap();
        world.put("after/arrived.pdf", "content");
    });
}

#[test]
fn an_empty_file_arrives() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    world.put("empty", "");
    daemon.wait_for("empty ->");
    assert_eq!(world.stored("/HR_Backup/empty").unwrap(), b"");
    assert!(world.files_left().is_empty());
}

#[test]
fn a_file_that_comes_again_under_the_same_name_is_stored_again() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    for content in ["one", "two"] {
        world.put("again", content);
        eventually("the file is stored", || {
            world.stored("/HR_Backup/again").is_some_and(|it| it == content.as_bytes())
        });
        eventually("the file is removed", || world.files_left().is_empty());
    }
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_file_that_is_rewritten_while_it_is_uploaded_arrives_as_it_is_last() {
    use astran_backup::sandbox::faults::{Call, Fault, Rule};
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 500 }));
    let path = world.put("changing", "first");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    fs::write(&path, "second and last").unwrap();
    eventually("the file is removed", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/changing").unwrap(), b"second and last");
    assert_eq!(daemon.stop().code, Some(0));
}
