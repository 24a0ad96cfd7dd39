//! Which folders go, and which stay, whatever writers do meanwhile.

use super::*;
use crate::file::lease::LeaseBreaks;
use crate::removal::staged::finish;
use crate::removal::test_support::{Scratch, stage};
use crate::removal::{Disposition, put_back};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stages and deletes a file, and returns the folder that it lay in.
fn taken(scratch: &Scratch, relative: &str) -> Option<Parent> {
    fs::create_dir_all(scratch.path(relative).parent().unwrap()).unwrap();
    let file = scratch.write(relative, "1234");
    let parent = Parent::of(&file);
    finish(&stage(&file, || ()).unwrap(), &Disposition::Delete).unwrap();
    parent
}

fn scratch() -> Scratch {
    LeaseBreaks::install().unwrap();
    Scratch::new()
}

/// Whether the file system of the tests tells when a folder was made. Without that no folder is removed.
fn tells_births(scratch: &Scratch) -> bool {
    FolderId::of(scratch.root.dir()).is_some()
}

#[tokio::test]
async fn folders_that_are_emptied_go_up_to_the_root_and_those_that_hold_anything_stay() {
    let scratch = scratch();
    let parents: Vec<_> =
        ["a/b/c/x", "a/b/c/y", "kept/d/x", "x"].iter().filter_map(|file| taken(&scratch, file)).collect();
    fs::write(scratch.path("kept/other"), "").unwrap();
    prune(parents);
    assert!(scratch.path("kept/other").exists() && scratch.root.path().exists());
    assert!(scratch.path("sub").exists(), "nothing was taken from it");
    assert_eq!(!scratch.path("a").exists(), tells_births(&scratch));
    assert_eq!(!scratch.path("kept/d").exists(), tells_births(&scratch));
}

#[tokio::test]
async fn a_folder_that_a_writer_made_since_stays_also_where_it_has_the_old_number() {
    let scratch = scratch();
    let Some(parent) = taken(&scratch, "a/x") else { return };
    for _ in 0..20 {
        fs::remove_dir(scratch.path("a")).unwrap();
        fs::create_dir(scratch.path("a")).unwrap();
        prune(vec![parent.clone()]);
        assert!(scratch.path("a").exists());
    }
    fs::remove_dir(scratch.path("a")).unwrap();
    fs::create_dir(scratch.dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(scratch.dir.path().join("elsewhere"), scratch.path("a")).unwrap();
    prune(vec![parent]);
    assert!(scratch.dir.path().join("elsewhere").exists() && scratch.path("a").exists());
}

#[tokio::test]
async fn a_folder_stays_while_a_file_that_belongs_to_it_is_set_aside() {
    let scratch = scratch();
    let Some(parent) = taken(&scratch, "a/b/x") else { return };
    let second = scratch.write("a/b/y", "1234");
    let staged = stage(&second, || ()).unwrap();
    prune(vec![parent.clone()]);
    assert!(scratch.path("a/b").exists());
    assert_eq!(put_back(&scratch.root, &staged.place), Some("a/b/y".into()));
    prune(vec![parent.clone()]);
    assert_eq!(scratch.read("a/b/y"), "1234");
    finish(&stage(&second, || ()).unwrap(), &Disposition::Delete).unwrap();
    prune(vec![parent]);
    assert!(!scratch.path("a").exists());
}

/// The writers make folders and files as fast as they can while the folders are removed under them: whatever a writer could create
/// is there at the end.
#[tokio::test]
async fn no_file_of_a_writer_that_races_with_the_removal_of_its_folder_is_lost() {
    let scratch = scratch();
    let (ended, path) = (Arc::new(AtomicBool::new(false)), scratch.path("a/b"));
    let over = Arc::clone(&ended);
    let writer = std::thread::spawn(move || {
        let mut written = Vec::new();
        for number in 0.. {
            if over.load(Ordering::Relaxed) {
                break;
            }
            fs::create_dir_all(&path).ok();
            let file = path.join(format!("{number}"));
            if fs::write(&file, "1234").is_ok() {
                written.push(file);
            }
            // The folder is empty again now and then, so that the removal has a chance.
            if number % 3 == 0
                && let Some(file) = written.pop()
            {
                fs::rename(&file, path.with_file_name("moved")).unwrap();
                fs::remove_file(path.with_file_name("moved")).unwrap();
            }
            if written.len() > 4 {
                for file in written.drain(..) {
                    assert!(file.exists(), "{file:?} was written and is gone");
                    fs::remove_file(file).unwrap();
                }
            }
        }
        written
    });
    for _ in 0..3000 {
        let dir = beneath_folder(scratch.root.dir(), Path::new("a/b"));
        if let Some(id) = dir.ok().and_then(|dir| FolderId::of(&dir)) {
            prune(vec![Parent { root: Arc::clone(&scratch.root), folder: "a/b".into(), id }]);
        }
    }
    ended.store(true, Ordering::Relaxed);
    for file in writer.join().unwrap() {
        assert!(file.exists(), "{file:?}");
    }
}
