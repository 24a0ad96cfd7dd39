//! Mounted file systems, in place of the watched folder or below it, that do not see all changes of their files.
#![cfg(target_os = "linux")]

use std::process::Command;

use crate::support::{Daemon, World, eventually, run_to_end};

/// A shell script that may mount, with process numbers of its own: all of it ends with the script.
fn script(world: &World, script: &str) -> Command {
    world.unshared("-rmpf --kill-child", script)
}

const MOUNT: &str = "mount -t proc none /proc && bindfs --no-allow-other backing";

fn has_bindfs(world: &World, at: &str) -> bool {
    for folder in ["backing", at] {
        std::fs::create_dir_all(world.dir.path().join(folder)).unwrap();
    }
    let able =
        run_to_end(&mut script(world, &format!("{MOUNT} {at} && grep -q ' fuse' /proc/self/mounts"))).code == Some(0);
    if !able {
        eprintln!("skipped: no FUSE file system can be mounted here (bindfs)");
    }
    able
}

/// Regression: half of the file was stored, and the rest was deleted.
#[test]
fn on_a_fuse_file_system_a_writer_that_pauses_for_long_loses_nothing() {
    let world = World::new();
    if !has_bindfs(&world, "watched") {
        return;
    }
    let writer = "(exec 3>watched/document; echo half >&3; sleep 14; echo rest >&3) &";
    let shell = format!("{MOUNT} watched && {writer} exec \"$1\" watch watched --settle 10ms");
    let daemon = Daemon::start(&mut script(&world, &shell));
    daemon.wait_for("stored");
    assert_eq!(world.stored("/HR_Backup/document").as_deref(), Some(&b"half\nrest\n"[..]));
    assert_eq!(world.times_stored("/HR_Backup/document"), 1);
    daemon.kill();
}

/// Regression: a file that another host (here the backing folder) put there was found only minutes later, by the next walk.
#[test]
fn a_share_mounted_below_the_folder_is_polled_while_the_rest_uses_events() {
    let world = World::new();
    if !has_bindfs(&world, "watched/share") {
        return;
    }
    let shell = format!("{MOUNT} watched/share && exec \"$1\" watch watched --settle 50ms");
    let daemon = Daemon::start(&mut script(&world, &shell));
    let line = daemon.wait_for("polling: FUSE is mounted there");
    assert!(line.contains("watched/share"), "{line}");
    world.put("beside", "announced by an event");
    eventually("a file beside the share is stored at once", || world.times_stored("/HR_Backup/beside") == 1);
    std::fs::write(world.dir.path().join("backing/scan"), "announced by no event").unwrap();
    eventually("the scan is stored", || world.times_stored("/HR_Backup/scan") == 1);
    eventually("and removed", || !world.dir.path().join("backing/scan").exists());
    daemon.kill();
}
