//! Each standing of a file, in a folder of the test's own.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::symlink;
use std::time::{SystemTime, UNIX_EPOCH};

use super::*;
use crate::config::{After, MaxSize};
use crate::journal::{Begun, End, Intent, LocalEnd, Stored};
use crate::vault::DocumentId;

struct Folder {
    dir: tempfile::TempDir,
    root: Arc<Root>,
    journal: Journal,
    policy: Policy,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("watched")).unwrap();
        let root = Arc::new(Root::open(&dir.path().join("watched")).unwrap());
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let policy = Policy { settle: Duration::ZERO, ..Policy::default() };
        Self { dir, root, journal, policy }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    fn put(&self, relative: &str, content: &str) -> PathBuf {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn look(&self) -> Look {
        let breaks = LeaseBreaks::install().unwrap();
        let dest = RemotePath::parse("/HR").unwrap();
        Look::new(Arc::clone(&self.root), self.policy.clone(), dest, Some(self.journal.clone()), breaks).unwrap()
    }

    fn take(&self) -> Inventory {
        take(&self.look(), Limits::default()).unwrap()
    }

    /// The standing of one file, or of an ignored folder.
    fn standing(&self, relative: &str) -> Standing {
        let found = self.take().files.into_iter().find(|file| file.relative == Path::new(relative));
        found.unwrap_or_else(|| panic!("{relative} is not in the inventory")).standing
    }

    fn intent(&self, relative: &str) -> Intent {
        let stamp = self.root.open_file(Path::new(relative)).unwrap().stamp;
        Intent {
            root: self.root.path().to_owned(),
            relative: relative.into(),
            stamp,
            dest: RemotePath::parse("/HR").unwrap(),
            folder: DocumentId("1".into()),
            name: relative.into(),
        }
    }

    /// Writes an attempt for a file as it is now, with a receipt.
    async fn stored(&self, relative: &str) -> crate::journal::AttemptId {
        let attempt = self.begun(relative).await;
        let stored = Stored {
            sha256: "0".repeat(64),
            size: 4,
            document: DocumentId("7".into()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        };
        self.journal.stored(attempt, stored).await.unwrap();
        attempt
    }

    async fn begun(&self, relative: &str) -> crate::journal::AttemptId {
        match self.journal.begin(self.intent(relative)).await.unwrap() {
            Begun::Go(attempt) => attempt,
            Begun::NameTaken(_) => panic!("nobody has that name"),
        }
    }
}

#[tokio::test]
async fn a_quiet_file_is_ready_and_its_place_in_the_vault_is_told() {
    let mut folder = Folder::new();
    folder.put("a/report.pdf", "1234");
    let to = |folder: &Folder| folder.standing("a/report.pdf").remote().unwrap().to_string();
    // File systems without leases can't tell that nobody writes: then the file settles for some seconds.
    assert!(matches!(folder.standing("a/report.pdf"), Standing::Ready { .. } | Standing::Settling { .. }));
    assert_eq!(to(&folder), "/HR/report.pdf");
    folder.policy.layout = crate::config::Layout::Mirror;
    assert_eq!(to(&folder), "/HR/a/report.pdf");
}

#[tokio::test]
async fn a_file_that_changed_just_now_settles_and_an_old_one_does_not() {
    let mut folder = Folder::new();
    folder.policy.settle = Duration::from_secs(1800);
    folder.put("new", "1234");
    let Standing::Settling { left, .. } = folder.standing("new") else { panic!("it changed just now") };
    assert!(left > Duration::from_secs(3000) && left <= Duration::from_secs(3600), "{left:?}");
    folder.policy.settle = Duration::ZERO;
    assert!(!matches!(folder.standing("new"), Standing::Settling { .. }) || !folder.root.leases_tell_of_writers());
}

#[tokio::test]
async fn a_file_open_for_writing_names_the_process_that_has_it_open() {
    let folder = Folder::new();
    let path = folder.put("log", "1234");
    let _writer = OpenOptions::new().append(true).open(&path).unwrap();
    let _reader = fs::File::open(folder.put("other", "1234")).unwrap();
    if !folder.root.leases_tell_of_writers() {
        return;
    }
    let Standing::OpenForWriting { by, .. } = folder.standing("log") else { panic!("it is open") };
    assert!(by.is_empty() || by[0].pid == std::process::id(), "{by:?}");
    assert!(!matches!(folder.standing("other"), Standing::OpenForWriting { .. }), "reading is not writing");
    let words = folder.standing("log").to_string();
    assert!(words.starts_with("open for writing") && words.contains("last changed"), "{words}");
}

#[tokio::test]
async fn an_ignored_name_tells_its_pattern_and_an_ignored_folder_is_not_entered() {
    let folder = Folder::new();
    folder.put("x.part", "1234");
    folder.put(".git/objects/1", "1234");
    let ignored = |relative: &str| match folder.standing(relative) {
        Standing::Ignored { why, is_folder } => (why, is_folder),
        other => panic!("{other:?}"),
    };
    assert_eq!(ignored("x.part"), ("its name matches `*.part`".to_owned(), false));
    assert_eq!(ignored(".git"), ("its name matches `.*`".to_owned(), true));
    assert_eq!(folder.take().files.len(), 2, "nothing below the ignored folder");
}

#[tokio::test]
async fn an_excluded_file_one_that_is_not_included_and_a_young_one_tell_why_they_stay() {
    let mut folder = Folder::new();
    folder.policy.exclude = vec!["logs/".into(), "/a/*.bak".into()];
    folder.policy.include = vec!["*.pdf".into(), "*.bak".into()];
    folder.policy.min_age = Duration::from_secs(3600);
    folder.policy.settle = Duration::ZERO;
    for file in ["logs/x.pdf", "a/x.bak", "a/x.txt", "a/x.pdf"] {
        folder.put(file, "1234");
    }
    assert_eq!(folder.standing("logs").to_string(), "its name matches `logs/`, so nothing in it is uploaded");
    assert_eq!(folder.standing("a/x.bak").to_string(), "its name matches `/a/*.bak`");
    assert_eq!(folder.standing("a/x.txt").to_string(), "no pattern of `include` matches it");
    if folder.root.leases_tell_of_writers() {
        let Standing::TooYoung { left, .. } = folder.standing("a/x.pdf") else { panic!("it was made just now") };
        assert!(left > Duration::from_secs(3000) && left <= Duration::from_secs(3600), "{left:?}");
    }
    assert_eq!(folder.take().files.len(), 4, "nothing below the excluded folder");
}

#[tokio::test]
async fn what_is_no_regular_file_is_told_and_a_pipe_is_not_opened() {
    let folder = Folder::new();
    symlink("nowhere", folder.path("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, folder.path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for name in ["link", "pipe"] {
        assert!(matches!(folder.standing(name), Standing::NotUploadable(_)), "{name}");
        assert!(folder.standing(name).mend().is_some());
    }
}

#[tokio::test]
async fn a_failed_file_tells_its_reason_until_it_changes() {
    let folder = Folder::new();
    folder.put("x", "1234");
    let attempt = folder.begun("x").await;
    folder.journal.end(attempt, End::Failed { reason: "413".into() }).await.unwrap();
    assert!(matches!(folder.standing("x"), Standing::Failed { reason, at } if reason == "413" && at > UNIX_EPOCH));
    assert!(folder.standing("x").needs_a_person());
    folder.put("x", "12345");
    assert!(!matches!(folder.standing("x"), Standing::Failed { .. }));
}

#[tokio::test]
async fn a_stored_file_tells_its_receipt_and_whether_it_is_kept() {
    let mut folder = Folder::new();
    folder.put("x", "1234");
    let attempt = folder.stored("x").await;
    assert!(matches!(folder.standing("x"), Standing::Stored { receipt: Some(1), .. }));
    folder.journal.end(attempt, End::Local(LocalEnd::Kept)).await.unwrap();
    folder.policy.after = After::Keep;
    assert!(matches!(folder.standing("x"), Standing::Kept { receipt: Some(1), .. }));
    let to = folder.standing("x").remote().unwrap().to_string();
    assert_eq!(to, "/HR/x");
}

#[tokio::test]
async fn an_upload_without_an_outcome_is_pending() {
    let folder = Folder::new();
    folder.put("x", "1234");
    folder.begun("x").await;
    assert!(matches!(folder.standing("x"), Standing::Pending { .. }));
}

#[tokio::test]
async fn a_file_that_is_too_large_or_has_no_name_for_the_vault_needs_a_person() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut folder = Folder::new();
    folder.policy.max_size = MaxSize(Some(3));
    folder.put("x", "1234");
    assert!(matches!(folder.standing("x"), Standing::TooLarge { size: 4, allowed: 3 }));
    folder.policy.max_size = MaxSize(None);
    let odd = Path::new(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::write(folder.root.path().join(odd), "1").unwrap();
    let files = folder.take().files;
    let odd = files.iter().find(|file| file.relative == odd).unwrap();
    assert!(matches!(odd.standing, Standing::BadName(_)) && odd.standing.needs_a_person());
}

#[tokio::test]
async fn a_file_that_is_set_aside_is_told_under_the_path_that_it_had() {
    let folder = Folder::new();
    folder.put(".astran-backup/0123456789abcdef~sub%2Fx", "1234");
    folder.put(".astran-backup/lock", "");
    folder.put("sub/.astran-backup~0123456789abcdef~y", "1234");
    assert!(matches!(folder.standing("sub/x"), Standing::SetAside { .. }));
    assert!(matches!(folder.standing("sub/y"), Standing::SetAside { .. }));
    assert_eq!(folder.take().files.len(), 2);
}

#[tokio::test]
async fn an_inventory_has_a_limit_of_files_and_says_when_there_are_more() {
    let folder = Folder::new();
    for number in 0..20 {
        folder.put(&number.to_string(), "1");
    }
    let limits = |files| Limits { files, time: Duration::from_secs(60) };
    for (files, complete) in [(20, true), (19, false), (0, false)] {
        let inventory = take(&folder.look(), limits(files)).unwrap();
        assert_eq!((inventory.files.len(), inventory.complete), (files, complete));
    }
    let none = take(&folder.look(), Limits { files: 20, time: Duration::ZERO }).unwrap();
    assert!(!none.complete, "no time at all");
}

/// A program that opens a file for writing waits while a lease on that file lives.
#[tokio::test]
async fn a_look_leaves_no_lease_behind() {
    use std::os::unix::fs::OpenOptionsExt as _;
    let folder = Folder::new();
    let path = folder.put("x", "1234");
    folder.take();
    let opened = OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path);
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn a_look_changes_neither_the_folder_nor_its_files() {
    use std::os::unix::fs::MetadataExt as _;
    let folder = Folder::new();
    folder.put("a/x", "1234");
    let state = |folder: &Folder| {
        ["", "a", "a/x"].map(|path| {
            let found = folder.path(path).metadata().unwrap();
            (found.ino(), found.size(), found.mtime_nsec(), found.ctime_nsec(), found.atime_nsec())
        })
    };
    let before = state(&folder);
    folder.take();
    assert_eq!(state(&folder)[2], before[2]);
    assert_eq!(state(&folder).map(|it| (it.0, it.1, it.2, it.3)), before.map(|it| (it.0, it.1, it.2, it.3)));
    assert!(!folder.path(".astran-backup").exists());
}

#[tokio::test]
async fn failed_files_are_counted_until_they_are_gone_changed_or_readable() {
    let folder = Folder::new();
    for name in ["a", "b", "c", "d", "gone", "changed", "readable"] {
        folder.put(name, "1234");
        let mut intent = folder.intent(name);
        if name == "readable" {
            intent.stamp.ctime = 0;
            intent.folder = DocumentId(String::new());
        }
        folder.journal.refuse(intent, format!("reason of {name}")).await.unwrap();
    }
    fs::remove_file(folder.path("gone")).unwrap();
    folder.put("changed", "12345");
    let found =
        failed_here(&folder.journal, &[folder.root.path().to_owned()], SystemTime::now(), Duration::from_secs(60))
            .unwrap();
    assert!(found.complete);
    assert_eq!(found.count, 4);
    let newest: Vec<_> = found.newest.iter().map(|file| file.reason.as_str()).collect();
    assert_eq!(newest, ["reason of d", "reason of c", "reason of b"]);
    assert_eq!(found.newest[0].path, folder.path("d"));
    let other =
        failed_here(&folder.journal, &[folder.dir.path().join("other")], SystemTime::now(), Duration::from_secs(60))
            .unwrap();
    assert_eq!(other.count, 0, "failures of other folders are told by those");
    let places = [folder.root.path().to_owned()];
    let earlier = failed_here(&folder.journal, &places, UNIX_EPOCH, Duration::from_secs(60)).unwrap();
    assert_eq!(earlier.count, 0, "what failed later is told as it fails");
}
