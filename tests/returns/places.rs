//! One file under different roots: with `watch` and with `push`, before and after its folder was mounted.

use super::*;
use crate::support::proof::clean_run;

const FILE: &str = "watched/sub/report";

#[test]
fn a_file_that_a_killed_push_sent_is_not_sent_again_by_watch() {
    for arguments in [&["push", FILE][..], &["push", "--delete", FILE], &["push", "--delete", "watched/sub"]] {
        let world = World::new();
        world.put("sub/report", "content");
        killed_unanswered(&world, world.command().args(arguments));
        clean_run(&world, &SETTLE);
        assert_sent(&world, &["content"]);
    }
}

#[test]
fn a_file_that_a_killed_watch_sent_is_not_sent_again_by_push() {
    for from in [FILE, "watched/sub", "watched"] {
        let world = World::new();
        answer_lost(&world, "sub/report");
        let output = world.run(["push", "--delete", from]);
        assert_eq!(output.code, Some(0), "{output:?}");
        // The lock file of the killed watch is removed by the next watch.
        clean_run(&world, &SETTLE);
        assert_sent(&world, &["content"]);
    }
}

/// Makes the watched folder an empty mount point; returns the place of the folder that belongs there.
fn unmount(world: &World) -> PathBuf {
    let away = world.dir.path().join("away");
    std::fs::rename(world.watched(), &away).unwrap();
    std::fs::create_dir(world.watched()).unwrap();
    away
}

fn mount(world: &World, away: PathBuf) {
    std::fs::rename(world.watched(), world.dir.path().join("mount-point")).unwrap();
    std::fs::rename(away, world.watched()).unwrap();
}

/// Regression: the entry was ended, since the file seemed to be gone.
#[test]
fn a_run_in_an_empty_mount_point_forgets_no_entry_of_the_folder_mounted_later() {
    let world = World::new();
    answer_lost(&world, "report");
    let away = unmount(&world);
    assert_eq!(world.once(&SETTLE).code, Some(0));
    mount(&world, away);
    clean_run(&world, &SETTLE);
    assert_sent(&world, &["content"]);
}

#[test]
fn a_daemon_started_in_an_empty_mount_point_forgets_no_entry_of_the_folder_mounted_later() {
    let world = World::new();
    answer_lost(&world, "report");
    let away = unmount(&world);
    let daemon = world.watch(&SETTLE);
    // When this file is stored, the start and its walk are over.
    world.put("early", "early");
    eventually("what lay in the mount point is stored", || world.times_stored("/HR_Backup/early") == 1);
    eventually("and gone", || world.files_left().is_empty());
    mount(&world, away);
    eventually("what was mounted is gone", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    clean_run(&world, &SETTLE);
    assert_sent(&world, &["content", "early"]);
}
