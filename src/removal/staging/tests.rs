use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{OFlags, openat};

use super::*;
use crate::file::few_descriptors;
use crate::file::lease::LeaseBreaks;
use crate::file::staged_name::is_beside;
use crate::journal::LocalEnd;
use crate::removal::test_support::{Scratch, stage};
use crate::removal::{Disposition, RemovalError, finish};

#[tokio::test]
async fn a_file_whose_name_was_taken_stays_set_aside_and_overwrites_nothing() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "first");
    let staged = stage(&settled, || ()).unwrap();
    scratch.write("sub/report", "second");
    let kept = staged.put_back(RemovalError::Replaced);
    assert_eq!(scratch.read("sub/report"), "second");
    assert_eq!(scratch.read(&kept.place), "first");
    assert_eq!(origin(&kept.place), Path::new("sub/report"));
    assert_eq!(leftovers(&scratch.root, Path::new("")), [kept.place]);
}

#[tokio::test]
async fn two_files_of_one_name_can_be_set_aside_at_once() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let first = stage(&scratch.write("report", "first"), || ()).unwrap();
    let second = stage(&scratch.write("report", "second"), || ()).unwrap();
    assert_ne!(first.place, second.place);
    finish(&first, &Disposition::Delete).unwrap();
    finish(&second, &Disposition::Delete).unwrap();
    assert!(leftovers(&scratch.root, Path::new("")).is_empty());
}

#[tokio::test]
async fn a_file_that_a_crash_left_set_aside_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    drop(stage(&scratch.write("sub/report", "content"), || ()).unwrap());
    assert!(recover(&scratch.root, Path::new("")).is_empty());
    assert_eq!(scratch.read("sub/report"), "content");
}

/// Regression: the error was taken for "gone", and the file was uploaded every half second; later it stayed for ever.
#[tokio::test]
async fn a_file_in_the_place_of_the_private_folder_stops_no_removal() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    scratch.write(".astran-backup", "not a folder");
    let staged = stage(&scratch.write("sub/report", "content"), || ()).unwrap();
    assert_eq!(origin(&staged.place), Path::new("sub/report"));
    assert!(!scratch.path("sub/report").exists() && scratch.root.path().join(&staged.place).exists());
    assert_eq!(finish(&staged, &Disposition::Delete).unwrap(), LocalEnd::Removed);
    assert!(!scratch.root.path().join(&staged.place).exists());
}

/// Regression: the private folder, which can't be made there, was blamed, and the file was reported as failed.
#[tokio::test]
async fn a_file_whose_watched_folder_was_removed_is_gone() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "content");
    let refused = stage(&settled, || fs::remove_dir_all(scratch.root.path()).unwrap()).unwrap_err();
    assert!(matches!(refused.error, RemovalError::Gone), "{refused:?}");
}

#[tokio::test]
async fn names_and_paths_too_long_for_the_private_folder_wait_elsewhere_and_come_back() {
    LeaseBreaks::install().unwrap();
    let (scratch, long) = (Scratch::new(), "n".repeat(255));
    let deep = format!("sub/{}", "d".repeat(220));
    fs::create_dir_all(scratch.path(&"f".repeat(200)).join("g")).unwrap();
    let far = format!("{}/g/{}", "f".repeat(200), "x".repeat(100));
    for (name, hidden) in [(long.as_str(), false), (&format!("sub/{long}"), false), (&deep, false), (&far, true)] {
        let staged = stage(&scratch.write(name, "content"), || ()).unwrap();
        assert_eq!((origin(&staged.place), staged.place.file_name().is_some_and(is_beside)), (name.into(), hidden));
        staged.put_back(RemovalError::Replaced);
        assert_eq!(scratch.read(name), "content");
        let staged = stage(&scratch.write(name, "content"), || ()).unwrap();
        assert_eq!(finish(&staged, &Disposition::Delete).unwrap(), LocalEnd::Removed);
        assert_eq!(fs::read_dir(scratch.path(PRIVATE)).unwrap().count(), 0, "no folder is left for it");
    }
}

/// A user who may write the watched folder may rename the private folder away at any time, and put another one there.
#[tokio::test]
async fn files_in_a_private_folder_that_others_may_enter_are_neither_put_back_nor_removed() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let staged = stage(&scratch.write("sub/report", "content"), || ()).unwrap();
    let mode = |mode| fs::set_permissions(scratch.path(PRIVATE), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o750);
    let stays = finish(&staged, &Disposition::Delete).unwrap_err();
    assert!(stays.to_string().contains("chmod 700") && stays.place == staged.place, "{stays}");
    assert!(recover(&scratch.root, Path::new("")).is_empty() && !scratch.path("sub/report").exists());
    let other = stage(&scratch.write("sub/report", "newer"), || ()).unwrap();
    assert!(other.place.file_name().is_some_and(is_beside), "it is set aside without the private folder: {other:?}");
    finish(&other, &Disposition::Delete).unwrap();
    mode(0o700);
    assert_eq!(finish(&staged, &Disposition::Delete).unwrap(), LocalEnd::Removed);
}

#[test]
fn the_probe_leaves_everything_as_it_was() {
    let scratch = Scratch::new();
    probe(&scratch.root).unwrap();
    assert!(!scratch.path(PRIVATE).exists());
    scratch.write(PRIVATE, "not a folder");
    assert!(probe_private(&scratch.root).is_err());
    probe(&scratch.root).unwrap();
    assert_eq!(scratch.read(PRIVATE), "not a folder");
    assert_eq!(fs::read_dir(scratch.root.path()).unwrap().count(), 2);
}

/// Regression: the search held one descriptor open for each level.
#[test]
fn a_very_deep_private_folder_is_searched_and_cleared_with_few_descriptors() {
    const LEVELS: usize = 2000;
    const NAME: &str =
        "removal::staging::tests::a_very_deep_private_folder_is_searched_and_cleared_with_few_descriptors";
    if !few_descriptors::in_process_with(64, NAME) {
        return;
    }
    let scratch = Scratch::new();
    fs::create_dir(scratch.path(PRIVATE)).unwrap();
    fs::set_permissions(scratch.path(PRIVATE), fs::Permissions::from_mode(0o700)).unwrap();
    let deep: PathBuf = std::iter::once(PRIVATE).chain(std::iter::repeat_n("d", LEVELS)).collect();
    let dir = make_below(scratch.root.dir(), &deep, Mode::RWXU).unwrap();
    openat(&dir, "report", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    assert_eq!(leftovers(&scratch.root, Path::new("")), [deep.join("report")]);
    tidy(&scratch.root);
    assert!(scratch.path(PRIVATE).exists(), "a file lies in it");
    unlinkat(&dir, "report", AtFlags::empty()).unwrap();
    tidy(&scratch.root);
    assert!(!scratch.path(PRIVATE).exists());
}
