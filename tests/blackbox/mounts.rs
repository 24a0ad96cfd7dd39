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

/// Mounts a FUSE file system at `share` whose server never answers: each call waits for ever, as on a dead network share.
const DEAD_SHARE: &str = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 none share";

/// Regression: `push` waited for ever for a share that does not answer, and so did every command whose configuration names one.
#[test]
fn a_share_that_does_not_answer_ends_each_command_in_time_with_a_message_that_names_the_trouble() {
    let world = World::new();
    std::fs::create_dir(world.dir.path().join("share")).unwrap();
    world.put("file", "content");
    if run_to_end(&mut script(&world, DEAD_SHARE)).code != Some(0) {
        eprintln!("skipped: no FUSE file system can be mounted here");
        return;
    }
    world.configure("[[folder]]\npath = \"share/below\"\n");
    let (named, unnamed) = ("the file system of share", "the file system of a file or folder");
    let rows = [
        ("push share", named),
        ("push watched/file --move-to share", named),
        ("push --delete share", unnamed),
        ("watch share --strict", named),
        ("watch share --once", named),
        ("watch share/below --once", "the file system of share/below"),
        ("check --config share/config.toml", unnamed),
        ("check --config config.toml", "the file system of share/below"),
    ];
    std::thread::scope(|scope| {
        for (arguments, part) in rows {
            let world = &world;
            scope.spawn(move || {
                let state = arguments.replace([' ', '/'], "-");
                let shell = format!("{DEAD_SHARE} && exec \"$1\" {arguments} --state-dir ./{state}");
                let ended = run_to_end(&mut script(world, &shell));
                assert_eq!(ended.code, Some(4), "{arguments}: {ended:?}");
                let text = format!("{}{}", ended.stdout, ended.stderr);
                assert!(text.contains(part) && text.contains("answer"), "{arguments}: {text}");
            });
        }
    });
    assert!(world.watched().join("file").exists());
}

#[test]
fn a_folder_that_does_not_answer_at_the_start_holds_up_no_other() {
    let world = World::new();
    std::fs::create_dir(world.dir.path().join("share")).unwrap();
    if run_to_end(&mut script(&world, DEAD_SHARE)).code != Some(0) {
        eprintln!("skipped: no FUSE file system can be mounted here");
        return;
    }
    world.configure("[upload]\nsettle = \"50ms\"\n[[folder]]\npath = \"share/below\"\nafter = \"move\"\nmove_to = \"share/done\"\n[[folder]]\npath = \"watched\"\n");
    world.put("file", "content");
    let daemon = Daemon::start(&mut script(&world, &format!("{DEAD_SHARE} && exec \"$1\" watch --config config.toml")));
    let line = daemon.wait_for("does not answer");
    assert!(line.contains("the other folders are watched"), "{line}");
    eventually("the other folder's file is stored and removed", || world.files_left().is_empty());
    daemon.kill();
}

/// Regression: the daemon was started before the share was mounted, and refused the share until a restart, because its root belongs to
/// another user than the empty folder.
#[test]
fn a_file_system_of_another_owner_that_is_mounted_over_the_folder_is_taken_and_the_bare_folder_below_is_not() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make folders of others");
        return;
    }
    let world = World::new();
    let mounts = "mount -t tmpfs -o uid=65534,mode=755 none watched && echo content > watched/document";
    let shell = format!(
        "(while [ ! -e mount ]; do sleep 0.05; done; {mounts}) & exec \"$1\" watch watched --settle 50ms --yes"
    );
    let mut command = world.unshared("-mpf --kill-child --mount-proc", &shell);
    if run_to_end(&mut world.unshared("-mpf --kill-child --mount-proc", "mount -t tmpfs none watched")).code != Some(0)
    {
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let daemon = Daemon::start(&mut command);
    daemon.wait_for("watching");
    std::fs::write(world.dir.path().join("mount"), "").unwrap();
    daemon.wait_for("the folder was replaced");
    eventually("the mount's file is stored", || world.times_stored("/HR_Backup/document") == 1);
    daemon.kill();
}
