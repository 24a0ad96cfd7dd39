use std::fs;

use super::*;
use crate::file::lease::LeaseBreaks;
use crate::journal::LocalEnd;
use crate::removal::test_support::{Scratch, stage, to};
use crate::removal::{finish, staging};

#[tokio::test]
async fn a_moved_file_keeps_its_sub_folder_and_overwrites_nothing() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let done = scratch.dir.path().join("done");
    for expected in ["sub/report.pdf", "sub/report (1).pdf"] {
        let staged = stage(&scratch.write("sub/report.pdf", expected), || ()).unwrap();
        assert_eq!(finish(&staged, &to(&done)).unwrap(), LocalEnd::Moved(done.join(expected)));
        assert_eq!(fs::read_to_string(done.join(expected)).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_file_moves_to_another_file_system_complete() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let staged = stage(&scratch.write("report", "content"), || ()).unwrap();
    let moved = finish(&staged, &to(elsewhere.path())).unwrap();
    assert_eq!(moved, LocalEnd::Moved(elsewhere.path().join("report")));
    assert_eq!(fs::read_to_string(elsewhere.path().join("report")).unwrap(), "content");
    assert!(staging::leftovers(&scratch.root, Path::new("")).is_empty());
}

/// A folder on another file system than the watched folder; `None` where there is none.
fn elsewhere(scratch: &Scratch) -> Option<tempfile::TempDir> {
    let elsewhere = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if device(elsewhere.path()) == device(scratch.root.path()) {
        eprintln!("skipped: /dev/shm is no other file system here");
        return None;
    }
    Some(elsewhere)
}

/// Moves a file of this content, and returns its name there.
fn moved(scratch: &Scratch, content: &str, folder: &Path) -> String {
    let staged = stage(&scratch.write("report", content), || ()).unwrap();
    let LocalEnd::Moved(place) = finish(&staged, &to(folder)).unwrap() else { panic!("not moved") };
    assert!(staging::leftovers(&scratch.root, Path::new("")).is_empty());
    place.file_name().unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_copy_that_a_crash_left_on_another_file_system_is_not_made_twice() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Some(done) = elsewhere(&scratch) else { return };
    let done = done.path();
    fs::write(done.join("report"), "of another").unwrap();
    fs::write(done.join("report (1)"), "content").unwrap();
    assert_eq!(moved(&scratch, "content", done), "report (1)");
    assert_eq!(moved(&scratch, "conTent", done), "report (2)");
    assert_eq!(fs::read_to_string(done.join("report")).unwrap(), "of another");
    assert_eq!(fs::read_to_string(done.join("report (2)")).unwrap(), "conTent");
}

#[tokio::test]
async fn a_file_that_may_still_change_does_not_count_as_a_copy() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Some(done) = elsewhere(&scratch) else { return };
    let done = done.path();
    fs::write(done.join("report"), "content").unwrap();
    let writer = fs::OpenOptions::new().append(true).open(done.join("report")).unwrap();
    assert_eq!(moved(&scratch, "content", done), "report (1)");
    drop(writer);
    fs::remove_file(done.join("report")).unwrap();
    std::os::unix::fs::symlink("report (1)", done.join("report")).unwrap();
    // A link leads to the same bytes, but does not count as a copy; the file that it leads to does.
    assert_eq!(moved(&scratch, "content", done), "report (1)");
    assert!(fs::symlink_metadata(done.join("report")).unwrap().is_symlink());
}

#[tokio::test]
async fn a_move_to_another_file_system_overwrites_nothing() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    for expected in ["report.pdf", "report (1).pdf"] {
        let staged = stage(&scratch.write("report.pdf", expected), || ()).unwrap();
        let moved = finish(&staged, &to(elsewhere.path())).unwrap();
        assert_eq!(moved, LocalEnd::Moved(elsewhere.path().join(expected)));
        assert_eq!(fs::read_to_string(elsewhere.path().join(expected)).unwrap(), expected);
    }
}
