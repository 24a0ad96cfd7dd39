use std::fs;

use super::*;
use crate::file::lease::LeaseBreaks;
use crate::file::look_at;
use crate::removal::test_support::{Scratch, stage};
use crate::removal::tidy;

/// The state of what lies in a file's new place.
fn named(staged: &Staged) -> FileStamp {
    let (dir, name) = staging::parent_of(&staged.root, &staged.place).unwrap();
    look_at(&dir, name).unwrap()
}

#[tokio::test]
async fn an_unchanged_file_is_removed_and_leaves_nothing_behind() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "1234");
    let staged = stage(&settled, || ()).unwrap();
    assert!(!scratch.path("sub/report").exists());
    assert_eq!(finish(&staged, &Disposition::Delete).unwrap(), LocalEnd::Removed);
    tidy(&scratch.root);
    assert_eq!(fs::read_dir(scratch.root.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_replaced_after_it_was_read_stays() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let other = scratch.path("other");
    fs::write(&other, "new").unwrap();
    let refused = stage(&settled, || fs::rename(&other, scratch.path("report")).unwrap()).unwrap_err();
    assert!(matches!(refused.error, RemovalError::Replaced));
    assert_eq!(refused.place, Path::new("report"));
    assert_eq!(scratch.read("report"), "new");
}

#[tokio::test]
async fn a_file_written_during_its_grace_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let staged = stage(&settled, || ()).unwrap();
    fs::write(scratch.root.path().join(&staged.place), "grown").unwrap();
    let refused = finish(&staged, &Disposition::Delete).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedDuringGrace));
    assert_eq!(scratch.read("report"), "grown");
}

#[tokio::test]
async fn a_file_still_open_for_writing_at_the_end_of_the_grace_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let staged = stage(&settled, || ()).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(scratch.root.path().join(&staged.place)).unwrap();
    assert!(finish(&staged, &Disposition::Delete).is_err());
    drop(writer);
    assert_eq!(scratch.read("report"), "old");
}

/// Regression: each removal of a link changed the inode of all others, which were put back, and so on for ever.
#[tokio::test]
async fn hard_links_of_one_file_are_removed_one_after_the_other() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let first = scratch.write("first", "content");
    fs::hard_link(scratch.path("first"), scratch.path("second")).unwrap();
    let second = Settled::new(Arc::clone(&scratch.root), "second".into());
    let (first, second) = (stage(&first, || ()).unwrap(), stage(&second, || ()).unwrap());
    assert_eq!(finish(&first, &Disposition::Delete).unwrap(), LocalEnd::Removed);
    assert_eq!(finish(&second, &Disposition::Delete).unwrap(), LocalEnd::Removed);
}

#[tokio::test]
async fn times_set_back_hide_no_change() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let staged = stage(&settled, || ()).unwrap();
    let place = scratch.root.path().join(&staged.place);
    let times = fs::metadata(&place).unwrap().modified().unwrap();
    fs::write(&place, "new").unwrap();
    fs::File::options().append(true).open(&place).unwrap().set_modified(times).unwrap();
    let refused = finish(&staged, &Disposition::Delete).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedDuringGrace));
    assert_eq!(scratch.read("report"), "new");
}

/// A file that is open and leased while a writer waits for it.
struct Awaited {
    opened: Opened,
    lease: Lease,
    writer: std::thread::JoinHandle<fs::File>,
}

impl Awaited {
    fn open(root: &Root, relative: &Path) -> Self {
        let opened = root.open_file(relative).unwrap();
        let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
        let path = root.path().join(relative);
        let writer = std::thread::spawn(move || fs::OpenOptions::new().append(true).open(path).unwrap());
        while lease.holds() {
            std::thread::yield_now();
        }
        Self { opened, lease, writer }
    }

    /// Gives the lease up, so that the writer goes on.
    fn end(self) {
        drop((self.lease, self.opened));
        drop(self.writer.join().unwrap());
    }
}

#[tokio::test]
async fn a_file_with_a_waiting_writer_stays_where_it_is() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "content");
    let awaited = Awaited::open(&scratch.root, &settled.relative);
    let refused = set_aside(&settled, &awaited.opened, Some(&awaited.lease), None).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedSinceUpload) && refused.place == settled.relative);
    assert!(!scratch.path(".astran-backup").exists(), "it was never set aside: {refused}");
    awaited.end();
}

#[tokio::test]
async fn a_writer_that_comes_during_the_rename_is_noticed() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let staged = stage(&scratch.write("report", "content"), || ()).unwrap();
    let awaited = Awaited::open(&scratch.root, &staged.place);
    assert!(check_renamed(&named(&staged), &awaited.opened, None).is_ok());
    assert!(check_renamed(&named(&staged), &awaited.opened, Some(&awaited.lease)).is_err());
    awaited.end();
}

#[tokio::test]
async fn a_change_or_exchange_during_the_rename_is_noticed() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let staged = stage(&scratch.write("report", "content"), || ()).unwrap();
    let opened = scratch.root.open_file(&staged.place).unwrap();
    fs::write(scratch.root.path().join(&staged.place), "grown larger").unwrap();
    assert!(matches!(check_renamed(&named(&staged), &opened, None), Err(RemovalError::ChangedDuringRename)));
    let opened = scratch.root.open_file(&staged.place).unwrap();
    fs::rename(scratch.write("other", "content").root.path().join("other"), scratch.root.path().join(&staged.place))
        .unwrap();
    assert!(matches!(check_renamed(&named(&staged), &opened, None), Err(RemovalError::Replaced)));
}

#[tokio::test]
async fn the_same_bytes_prove_nothing_without_a_lease_that_holds() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let staged = stage(&scratch.write("report", "content"), || ()).unwrap();
    let opened = scratch.root.open_file(&staged.place).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    assert!(staged.has_same_bytes(&opened, Some(&lease)));
    assert!(!staged.has_same_bytes(&opened, None), "without a lease a writer may come after the last byte was read");
    drop(lease);
    let awaited = Awaited::open(&scratch.root, &staged.place);
    assert!(!staged.has_same_bytes(&awaited.opened, Some(&awaited.lease)), "the lease was broken while it was read");
    awaited.end();
}

#[test]
fn a_file_that_can_not_be_unlinked_does_not_count_as_gone() {
    let scratch = Scratch::new();
    unlink(&scratch.root, Path::new("sub")).unwrap_err();
    assert!(scratch.path("sub").exists());
    unlink(&scratch.root, Path::new("none")).unwrap();
}

/// A lease told of writers before the rename. Where none can be had after the grace, nothing is known of the time between.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_gets_no_lease_any_more_is_not_removed() {
    // The one file system without leases that every machine has.
    let root = Arc::new(Root::open(Path::new("/proc/self")).unwrap());
    let place = PathBuf::from("status");
    let baseline = root.open_file(&place).unwrap().stamp;
    let staged = Staged { root, origin: place.clone(), place, baseline, leased: true, sha256: None };
    assert!(matches!(staged.check_rested(), Err(RemovalError::WritersUnknown(_))));
}
