//! Locks within one process and between processes; other locks of the same state directory stand for another process.

use super::*;
use std::path::PathBuf;

/// A folder with the file `report`, and a state directory beside it.
struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["watched", "state", "other-state"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("watched/report"), "content").unwrap();
        Self { dir }
    }

    /// The folder as another process would open it.
    fn root(&self, state: &str, removes: bool) -> Root {
        let locks = Locks::open(&self.dir.path().join(state)).unwrap();
        Root::open(&self.dir.path().join("watched")).unwrap().with_locks(&locks, removes)
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.path().join("watched").join(PRIVATE).join(LOCK)
    }
}

/// Whether this comes true soon. Another test of this process may just be starting a program: until that runs, it has a copy of each
/// open file, and with it the locks.
fn soon(mut holds: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::time::Instant::now() < end {
        if holds() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

fn report(root: &Root) -> Opened {
    root.open_file(Path::new("report")).unwrap()
}

#[test]
fn a_locked_folder_can_not_be_locked_again_and_is_free_when_it_is_closed() {
    let scratch = Scratch::new();
    for removes in [false, true] {
        let [first, second] = [(); 2].map(|()| scratch.root("state", removes));
        assert!(first.lock().unwrap() && first.lock().unwrap(), "again by the same one");
        assert!(!second.lock().unwrap() && !second.share());
        drop(first);
        assert!(soon(|| second.lock().unwrap()));
    }
}

#[test]
fn a_shared_folder_can_be_locked_by_nobody_alone() {
    let scratch = Scratch::new();
    let [first, second, third] = [(); 3].map(|()| scratch.root("state", true));
    assert!(first.lock().unwrap() && first.share(), "no longer alone");
    assert!(second.share() && !third.lock().unwrap());
    drop((first, second));
    assert!(soon(|| third.lock().unwrap()));
}

#[test]
fn instances_with_different_states_exclude_each_other_where_files_are_removed() {
    let scratch = Scratch::new();
    let (one, other) = (scratch.root("state", true), scratch.root("other-state", true));
    assert!(one.lock().unwrap() && !other.lock().unwrap());
    // The instance that was refused holds no lock.
    assert!(soon(|| scratch.root("other-state", false).lock().unwrap()));
    one.unlock();
    assert!(soon(|| other.lock().unwrap()));
}

#[test]
fn a_private_folder_of_others_gets_no_lock_file() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let private = scratch.lock_file().parent().unwrap().to_owned();
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(scratch.root("state", true).lock().unwrap());
    assert!(!scratch.lock_file().exists());
}

/// The process that has the folder alone removes the lock file, maybe between our opening and our locking it.
#[test]
fn a_lock_on_a_lock_file_that_was_removed_does_not_count() {
    let scratch = Scratch::new();
    let (first, second) = (scratch.root("state", true), scratch.root("other-state", true));
    assert!(first.has_lock_file());
    std::process::Command::new("rm").arg(scratch.lock_file()).status().unwrap();
    assert!(first.lock().unwrap(), "it makes another one");
    assert!(scratch.lock_file().exists() && !second.lock().unwrap());
}

#[test]
fn a_lock_file_is_removed_only_where_nobody_else_shares_the_folder() {
    let scratch = Scratch::new();
    let [first, second] = [(); 2].map(|()| scratch.root("state", true));
    assert!(first.share() && second.share() && !first.has_lock_file());
    assert!(soon(|| second.has_lock_file()));
    assert!(!scratch.root("state", false).has_lock_file(), "where files are kept there is none of ours");
}

#[test]
fn a_file_is_locked_for_one_upload_at_a_time_in_this_process_and_in_others() {
    let scratch = Scratch::new();
    let (here, elsewhere) = (scratch.root("state", false), scratch.root("state", true));
    let lock = here.lock_for_upload(&report(&here)).unwrap();
    assert!(here.lock_for_upload(&report(&here)).is_none(), "in this process");
    assert!(elsewhere.lock_for_upload(&report(&elsewhere)).is_none(), "in another one");
    let stamp = report(&here).stamp;
    assert!(
        here.is_locked_for_upload(&stamp) && (elsewhere.is_locked_for_upload(&stamp) || !cfg!(target_os = "linux"))
    );
    drop(lock);
    assert!(!here.is_locked_for_upload(&stamp) && !elsewhere.is_locked_for_upload(&stamp));
    let lock = elsewhere.lock_for_upload(&report(&elsewhere)).unwrap();
    assert!(here.lock_for_upload(&report(&here)).is_none());
    drop(lock);
    assert!(here.lock_for_upload(&report(&here)).is_some());
}

/// Regression: any user who may read the folder or the file could keep this program from it.
#[test]
fn the_locks_of_readers_of_the_folder_do_not_matter() {
    let scratch = Scratch::new();
    let [folder, file] = ["watched", "watched/report"].map(|path| File::open(scratch.dir.path().join(path)).unwrap());
    folder.lock_shared().unwrap();
    file.lock().unwrap();
    let root = scratch.root("state", true);
    assert!(root.lock().unwrap() && root.lock_for_upload(&report(&root)).is_some());
}

#[test]
fn neighbouring_inodes_have_different_positions() {
    let positions: HashSet<_> = (0..100).flat_map(|n| (0..100).map(move |m| position(n, m) >> 33)).collect();
    assert!(positions.len() > 9_990, "{}", positions.len());
}
