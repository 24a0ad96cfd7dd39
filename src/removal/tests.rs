use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rustix::fs::{Mode, OFlags, openat};

use crate::file::lease::LeaseBreaks;
use crate::file::staged_name::{is_beside, origin};
use crate::file::{PRIVATE, few_descriptors};
use crate::removal::MoveTarget;
use crate::removal::folder::make_below;
use crate::removal::staging::{probe, probe_private, recover, tidy};

struct Scratch {
    dir: tempfile::TempDir,
    root: Arc<Root>,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("watched");
        fs::create_dir_all(watched.join("sub")).unwrap();
        let root = Arc::new(Root::open(&watched).unwrap());
        Self { dir, root }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn write(&self, relative: &str, content: &str) -> Settled {
        fs::write(self.path(relative), content).unwrap();
        Settled::new(Arc::clone(&self.root), PathBuf::from(relative))
    }

    fn read(&self, relative: impl AsRef<Path>) -> String {
        fs::read_to_string(self.root.path().join(relative)).unwrap()
    }
}

/// Opens, leases and sets aside, as an upload does, with something happening after the read.
fn uploaded(settled: &Settled, then: impl FnOnce()) -> Result<Staged, NotRemoved> {
    let opened = settled.root.open_file(&settled.relative).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    let sha256 = opened.sha256().ok();
    then();
    set_aside(settled, &opened, Some(&lease), sha256)
}

fn to(folder: &Path) -> Disposition {
    Disposition::MoveTo(Arc::new(MoveTarget::open(folder).unwrap()))
}

#[tokio::test]
async fn an_unchanged_file_is_removed_and_leaves_nothing_behind() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "1234");
    let aside = uploaded(&settled, || ()).unwrap();
    assert!(!scratch.path("sub/report").exists());
    assert_eq!(finish(&aside, &Disposition::Delete).unwrap(), LocalEnd::Removed);
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
    let refused = uploaded(&settled, || fs::rename(&other, scratch.path("report")).unwrap()).unwrap_err();
    assert!(matches!(refused.error, RemovalError::Replaced));
    assert_eq!(refused.place, Path::new("report"));
    assert_eq!(scratch.read("report"), "new");
}

#[tokio::test]
async fn a_file_written_while_it_lay_aside_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let aside = uploaded(&settled, || ()).unwrap();
    fs::write(scratch.root.path().join(&aside.place), "grown").unwrap();
    let refused = finish(&aside, &Disposition::Delete).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedDuringGrace));
    assert_eq!(scratch.read("report"), "grown");
}

#[tokio::test]
async fn a_file_still_open_for_writing_at_the_end_of_the_grace_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let aside = uploaded(&settled, || ()).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(scratch.root.path().join(&aside.place)).unwrap();
    assert!(finish(&aside, &Disposition::Delete).is_err());
    drop(writer);
    assert_eq!(scratch.read("report"), "old");
}

#[tokio::test]
async fn a_file_whose_name_was_taken_meanwhile_is_kept_under_the_private_name_and_never_overwrites() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "first");
    let aside = uploaded(&settled, || ()).unwrap();
    scratch.write("sub/report", "second");
    let kept = aside.put_back(RemovalError::Replaced);
    assert_eq!(scratch.read("sub/report"), "second");
    assert_eq!(scratch.read(&kept.place), "first");
    assert_eq!(origin(&kept.place), Path::new("sub/report"));
    assert_eq!(staging::leftovers(&scratch.root, Path::new("")), [kept.place]);
}

#[tokio::test]
async fn two_files_of_one_name_lie_aside_beside_each_other() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let first = uploaded(&scratch.write("report", "first"), || ()).unwrap();
    let second = uploaded(&scratch.write("report", "second"), || ()).unwrap();
    assert_ne!(first.place, second.place);
    finish(&first, &Disposition::Delete).unwrap();
    finish(&second, &Disposition::Delete).unwrap();
    assert!(staging::leftovers(&scratch.root, Path::new("")).is_empty());
}

#[tokio::test]
async fn a_moved_file_keeps_its_sub_folder_and_never_overwrites() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let done = scratch.dir.path().join("done");
    for expected in ["sub/report.pdf", "sub/report (1).pdf"] {
        let aside = uploaded(&scratch.write("sub/report.pdf", expected), || ()).unwrap();
        assert_eq!(finish(&aside, &to(&done)).unwrap(), LocalEnd::Moved(done.join(expected)));
        assert_eq!(fs::read_to_string(done.join(expected)).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_file_moves_to_another_file_system_whole() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let aside = uploaded(&scratch.write("report", "content"), || ()).unwrap();
    let moved = finish(&aside, &to(elsewhere.path())).unwrap();
    assert_eq!(moved, LocalEnd::Moved(elsewhere.path().join("report")));
    assert_eq!(fs::read_to_string(elsewhere.path().join("report")).unwrap(), "content");
    assert!(staging::leftovers(&scratch.root, Path::new("")).is_empty());
}

#[tokio::test]
async fn a_file_left_aside_by_a_crash_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    drop(uploaded(&scratch.write("sub/report", "content"), || ()).unwrap());
    assert!(recover(&scratch.root, Path::new("")).is_empty());
    assert_eq!(scratch.read("sub/report"), "content");
}

/// Each removal of a link changed the inode of all others, which were put back, and so on for ever.
#[tokio::test]
async fn hard_links_of_one_file_are_removed_one_after_the_other() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let first = scratch.write("first", "content");
    fs::hard_link(scratch.path("first"), scratch.path("second")).unwrap();
    let second = Settled::new(Arc::clone(&scratch.root), "second".into());
    let (first, second) = (uploaded(&first, || ()).unwrap(), uploaded(&second, || ()).unwrap());
    assert_eq!(finish(&first, &Disposition::Delete).unwrap(), LocalEnd::Removed);
    assert_eq!(finish(&second, &Disposition::Delete).unwrap(), LocalEnd::Removed);
}

#[tokio::test]
async fn times_set_back_hide_no_change() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let aside = uploaded(&settled, || ()).unwrap();
    let place = scratch.root.path().join(&aside.place);
    let times = fs::metadata(&place).unwrap().modified().unwrap();
    fs::write(&place, "new").unwrap();
    fs::File::options().append(true).open(&place).unwrap().set_modified(times).unwrap();
    let refused = finish(&aside, &Disposition::Delete).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedDuringGrace));
    assert_eq!(scratch.read("report"), "new");
}

/// Regression: it was taken for "gone", and the file was uploaded every half second; then it stayed for ever.
#[tokio::test]
async fn a_file_in_the_place_of_the_private_folder_keeps_no_file_from_being_removed() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    scratch.write(".astran-backup", "not a folder");
    let aside = uploaded(&scratch.write("sub/report", "content"), || ()).unwrap();
    assert_eq!(origin(&aside.place), Path::new("sub/report"));
    assert!(!scratch.path("sub/report").exists() && scratch.root.path().join(&aside.place).exists());
    assert_eq!(finish(&aside, &Disposition::Delete).unwrap(), LocalEnd::Removed);
    assert!(!scratch.root.path().join(&aside.place).exists());
}

/// On another file system than the watched folder; `None` where there is none.
fn elsewhere(scratch: &Scratch) -> Option<tempfile::TempDir> {
    let elsewhere = tempfile::tempdir_in("/dev/shm").ok()?;
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&fs::metadata(path).unwrap());
    if device(elsewhere.path()) == device(scratch.root.path()) {
        eprintln!("skipped: /dev/shm is no other file system here");
        return None;
    }
    Some(elsewhere)
}

/// Moves a file of this name and content; answers under which name.
fn moved(scratch: &Scratch, content: &str, folder: &Path) -> String {
    let aside = uploaded(&scratch.write("report", content), || ()).unwrap();
    let LocalEnd::Moved(place) = finish(&aside, &to(folder)).unwrap() else { panic!("not moved") };
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
async fn what_may_still_become_something_else_is_no_copy() {
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
    // A link leads to the same bytes, but it is no copy; what it leads to is.
    assert_eq!(moved(&scratch, "content", done), "report (1)");
    assert!(fs::symlink_metadata(done.join("report")).unwrap().is_symlink());
}

/// A file opened and leased, while somebody waits to write it.
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

    /// Lets the writer have the file.
    fn end(self) {
        drop((self.lease, self.opened));
        drop(self.writer.join().unwrap());
    }
}

#[tokio::test]
async fn a_file_that_somebody_waits_to_write_stays_where_it_is() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "content");
    let awaited = Awaited::open(&scratch.root, &settled.relative);
    let refused = set_aside(&settled, &awaited.opened, Some(&awaited.lease), None).unwrap_err();
    assert!(matches!(refused.error, RemovalError::ChangedSinceUpload) && refused.place == settled.relative);
    assert!(!scratch.path(".astran-backup").exists(), "it was never away: {refused}");
    awaited.end();
}

#[tokio::test]
async fn a_file_that_somebody_began_to_write_while_it_was_set_aside_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let aside = uploaded(&scratch.write("report", "content"), || ()).unwrap();
    let awaited = Awaited::open(&scratch.root, &aside.place);
    assert!(aside.check_renamed(&awaited.opened, None).is_ok());
    assert!(aside.check_renamed(&awaited.opened, Some(&awaited.lease)).is_err());
    awaited.end();
}

#[tokio::test]
async fn a_file_that_changed_or_was_exchanged_while_it_was_set_aside_is_put_back() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let aside = uploaded(&scratch.write("report", "content"), || ()).unwrap();
    let opened = scratch.root.open_file(&aside.place).unwrap();
    fs::write(scratch.root.path().join(&aside.place), "grown larger").unwrap();
    assert!(matches!(aside.check_renamed(&opened, None), Err(RemovalError::ChangedDuringRename)));
    let opened = scratch.root.open_file(&aside.place).unwrap();
    fs::rename(scratch.write("other", "content").root.path().join("other"), scratch.root.path().join(&aside.place))
        .unwrap();
    assert!(matches!(aside.check_renamed(&opened, None), Err(RemovalError::Replaced)));
}

#[tokio::test]
async fn the_same_bytes_prove_nothing_where_somebody_may_be_writing() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let aside = uploaded(&scratch.write("report", "content"), || ()).unwrap();
    let opened = scratch.root.open_file(&aside.place).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    assert!(aside.has_same_bytes(&opened, Some(&lease)));
    assert!(!aside.has_same_bytes(&opened, None), "without a lease a writer may come after the last byte was read");
    drop(lease);
    let awaited = Awaited::open(&scratch.root, &aside.place);
    assert!(!aside.has_same_bytes(&awaited.opened, Some(&awaited.lease)), "the lease was broken while it was read");
    awaited.end();
}

#[test]
fn what_could_not_be_unlinked_is_not_called_gone() {
    let scratch = Scratch::new();
    unlink(&scratch.root, Path::new("sub")).unwrap_err();
    assert!(scratch.path("sub").exists());
    unlink(&scratch.root, Path::new("none")).unwrap();
}

#[tokio::test]
async fn a_file_that_moves_to_another_file_system_never_overwrites() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    for expected in ["report.pdf", "report (1).pdf"] {
        let aside = uploaded(&scratch.write("report.pdf", expected), || ()).unwrap();
        let moved = finish(&aside, &to(elsewhere.path())).unwrap();
        assert_eq!(moved, LocalEnd::Moved(elsewhere.path().join(expected)));
        assert_eq!(fs::read_to_string(elsewhere.path().join(expected)).unwrap(), expected);
    }
}

/// Its lease told of writers before it was set aside; what can't tell of them now says nothing of the time between.
#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_writers_can_not_be_told_any_more_is_not_removed() {
    // The one file system without leases that every machine has.
    let root = Arc::new(Root::open(Path::new("/proc/self")).unwrap());
    let place = PathBuf::from("status");
    let baseline = root.open_file(&place).unwrap().stamp;
    let aside = Staged { root, origin: place.clone(), place, baseline, leased: true, sha256: None };
    assert!(matches!(aside.check_rested(), Err(RemovalError::WritersUnknown(_))));
}

#[tokio::test]
async fn a_name_or_path_that_is_too_long_for_the_private_folder_waits_elsewhere_and_comes_back() {
    LeaseBreaks::install().unwrap();
    let (scratch, long) = (Scratch::new(), "n".repeat(255));
    let deep = format!("sub/{}", "d".repeat(220));
    fs::create_dir_all(scratch.path(&"f".repeat(200)).join("g")).unwrap();
    let far = format!("{}/g/{}", "f".repeat(200), "x".repeat(100));
    for (name, hidden) in [(long.as_str(), false), (&format!("sub/{long}"), false), (&deep, false), (&far, true)] {
        let aside = uploaded(&scratch.write(name, "content"), || ()).unwrap();
        assert_eq!((origin(&aside.place), aside.place.file_name().is_some_and(is_beside)), (name.into(), hidden));
        aside.put_back(RemovalError::Replaced);
        assert_eq!(scratch.read(name), "content");
        let aside = uploaded(&scratch.write(name, "content"), || ()).unwrap();
        assert_eq!(finish(&aside, &Disposition::Delete).unwrap(), LocalEnd::Removed);
        assert_eq!(fs::read_dir(scratch.path(PRIVATE)).unwrap().count(), 0, "no folder is left for it");
    }
}

/// Who may write the watched folder may rename ours away at any time, and put another one there.
#[tokio::test]
async fn what_lies_in_a_private_folder_that_is_not_ours_alone_any_more_is_neither_put_back_nor_removed() {
    LeaseBreaks::install().unwrap();
    let scratch = Scratch::new();
    let aside = uploaded(&scratch.write("sub/report", "content"), || ()).unwrap();
    let mode = |mode| fs::set_permissions(scratch.path(PRIVATE), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o750);
    let stays = finish(&aside, &Disposition::Delete).unwrap_err();
    assert!(stays.to_string().contains("chmod 700") && stays.place == aside.place, "{stays}");
    assert!(recover(&scratch.root, Path::new("")).is_empty() && !scratch.path("sub/report").exists());
    let other = uploaded(&scratch.write("sub/report", "newer"), || ()).unwrap();
    assert!(other.place.file_name().is_some_and(is_beside), "it goes without the private folder: {other:?}");
    finish(&other, &Disposition::Delete).unwrap();
    mode(0o700);
    assert_eq!(finish(&aside, &Disposition::Delete).unwrap(), LocalEnd::Removed);
}

#[test]
fn the_private_folder_is_tried_and_left_as_it_was() {
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
        "removal::staged::tests::a_very_deep_private_folder_is_searched_and_cleared_with_few_descriptors";
    if !few_descriptors::in_process_with(64, NAME) {
        return;
    }
    let scratch = Scratch::new();
    fs::create_dir(scratch.path(PRIVATE)).unwrap();
    fs::set_permissions(scratch.path(PRIVATE), fs::Permissions::from_mode(0o700)).unwrap();
    let deep: PathBuf = std::iter::once(PRIVATE).chain(std::iter::repeat_n("d", LEVELS)).collect();
    let dir = make_below(scratch.root.dir(), &deep, Mode::RWXU).unwrap();
    openat(&dir, "report", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    assert_eq!(staging::leftovers(&scratch.root, Path::new("")), [deep.join("report")]);
    tidy(&scratch.root);
    assert!(scratch.path(PRIVATE).exists(), "a file lies in it");
    unlinkat(&dir, "report", AtFlags::empty()).unwrap();
    tidy(&scratch.root);
    assert!(!scratch.path(PRIVATE).exists());
}
