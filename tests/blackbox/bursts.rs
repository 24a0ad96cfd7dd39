//! `watch`: nothing is missed, however many files come at once and whatever the event source loses.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::support::{Daemon, World, eventually};

/// The names of all documents that were stored, each of which must have been stored once.
fn stored_once(world: &World) -> BTreeSet<String> {
    let uploads = world.sandbox().uploads();
    let names: BTreeSet<String> = uploads.iter().map(|upload| upload.path.clone()).collect();
    assert_eq!(names.len(), uploads.len(), "something was stored twice");
    names
}

#[test]
fn of_2_000_files_in_fresh_folder_trees_none_is_missed_and_none_stored_twice() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    for tree in 0..200 {
        for file in 0..10 {
            let name = format!("{}/{}/{tree}/{file}/{tree}-{file}", tree % 7, tree % 3);
            world.put(&name, &name);
        }
    }
    eventually("all are stored and removed", || world.files_left().is_empty());
    assert_eq!(stored_once(&world).len(), 2_001);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_folder_tree_of_500_files_moved_in_at_once_is_stored_whole() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    let tree = world.dir.path().join("tree");
    for file in 0..500 {
        let folder = tree.join(format!("{}/{}", file % 5, file % 25));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(file.to_string()), file.to_string()).unwrap();
    }
    fs::rename(&tree, world.watched().join("tree")).unwrap();
    eventually("all are stored and removed", || world.files_left().is_empty());
    assert_eq!(stored_once(&world).len(), 501);
    assert_eq!(daemon.stop().code, Some(0));
}

/// A stopped process takes no events: the kernel's queue (16,384 by default) overflows, and files that come then cause no event.
#[test]
fn files_whose_events_an_overflowing_queue_dropped_are_found_by_a_walk() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    daemon.signal("-STOP");
    let noise = world.watched().join("noise.tmp");
    // Two events for each file: it is opened and closed.
    for _ in 0..most_events() {
        drop(fs::File::create(&noise).unwrap());
    }
    for file in 0..50 {
        world.put(format!("new/{file}"), file.to_string());
    }
    daemon.signal("-CONT");
    daemon.wait_for("events were lost");
    eventually("all are stored", || stored_once(&world).len() == 51);
    // Folders that were made while the process was stopped are watched from then on.
    world.put("new/later", "later");
    eventually("all are removed", || world.files_left().len() == 1);
    assert_eq!(stored_once(&world).len(), 52);
    assert_eq!(daemon.stop().code, Some(0));
}

fn most_events() -> usize {
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap_or_default();
    limit.trim().parse().unwrap_or(16_384)
}

#[test]
fn folders_beyond_the_systems_limit_of_watches_are_polled_and_that_is_logged() {
    let world = World::new();
    world.configure("[upload]\nrescan = \"1s\"\n");
    for folder in 0..10 {
        fs::create_dir(world.watched().join(folder.to_string())).unwrap();
    }
    // A user namespace has limits of its own.
    let limited = "echo 4 > /proc/sys/user/max_inotify_watches || exit 77; exec \"$@\"";
    let unshared = |program: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", limited, "sh"]).args(program);
        command
    };
    if !unshared(&["true"]).output().is_ok_and(|output| output.status.success()) {
        return eprintln!("skipped: this system makes no user name spaces");
    }
    let own = world.command();
    let mut command = unshared(&[own.get_program().to_str().unwrap()]);
    command
        .env_clear()
        .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(world.dir.path());
    command.args(["watch", "watched", "--config", "config.toml", "--settle", "50ms"]);
    let daemon = Daemon::start(&mut command);
    assert!(daemon.wait_for("polling").contains("max_user_watches"));
    for folder in 0..10 {
        world.put(format!("{folder}/file-{folder}"), folder.to_string());
    }
    eventually("all are stored and removed", || world.files_left().is_empty());
    assert_eq!(stored_once(&world).len(), 10);
    let output = daemon.stop();
    assert_eq!(output.code, Some(0));
    // Files that no event announced would be a warning only where events work.
    assert!(!output.stdout.contains("no event told"), "{output:?}");
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_watched_on() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    eventually("the first one is removed", || world.files_left().is_empty());
    fs::rename(world.watched(), world.dir.path().join("gone")).unwrap();
    fs::create_dir(world.watched()).unwrap();
    world.put("sub/after", "after");
    daemon.wait_for("replaced");
    eventually("what lies in the new one is stored", || world.files_left().is_empty());
    world.put("sub/later", "later");
    eventually("events announce later files", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/after").unwrap(), b"after");
    assert_eq!(world.stored("/HR_Backup/later").unwrap(), b"later");
    assert_eq!(daemon.stop().code, Some(0));
}
