//! Kills while files are moved to another file system, where a move is a copy and a deletion: each file ends there once, whole.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::World;
use crate::{SETTLE, assert_each_is_in, kill_to_the_end};

/// A folder on another file system than the world's; `None` where this machine has none.
fn elsewhere(world: &World) -> Option<tempfile::TempDir> {
    let device = |path: &Path| std::fs::metadata(path).unwrap().dev();
    let folder = tempfile::tempdir_in("/dev/shm").ok();
    let folder = folder.filter(|folder| device(folder.path()) != device(world.dir.path()));
    if folder.is_none() {
        eprintln!("skipped: /dev/shm is no other file system here");
    }
    folder
}

#[test]
fn killed_at_any_moment_each_file_that_is_moved_to_another_file_system_is_there_once_and_whole() {
    let world = World::new();
    let Some(done) = elsewhere(&world) else { return };
    let to = done.path().to_str().unwrap();
    kill_to_the_end(&world, "moved elsewhere", &[SETTLE[0], SETTLE[1], "--move-to", to]);
    assert_each_is_in(&world, done.path());
}

/// Killed processes leave halves of copies, and whole copies whose originals are still in the watched folder.
#[cfg(feature = "failpoints")]
#[test]
fn killed_before_and_after_a_copy_each_file_is_moved_once_and_whole() {
    use crate::steps::killed_with;
    use crate::support::proof::{clean_run, unique};

    for step in ["before-copy", "after-copy"] {
        for nth in 1..=3 {
            let world = World::new();
            let Some(done) = elsewhere(&world) else { return };
            let arguments = [SETTLE[0], SETTLE[1], "--move-to", done.path().to_str().unwrap()];
            // Other bytes have one of the names there: that file gets a numbered name, and the next start must find its copy under that name.
            std::fs::create_dir(done.path().join("sub")).unwrap();
            std::fs::write(done.path().join("sub/small"), "of another").unwrap();
            for (name, size) in [("small", 10), ("large", 3_000_000), ("sub/small", 10)] {
                world.put(name, unique(name, size));
            }
            assert!(killed_with(&world, &format!("{step}:{nth}"), &arguments), "{step}:{nth} was never reached");
            clean_run(&world, &arguments);
            std::fs::remove_file(done.path().join("sub/small")).unwrap();
            assert_each_is_in(&world, done.path());
            assert_eq!(world.sandbox().uploads().len(), 3, "{step}:{nth}: stored twice");
        }
    }
}
