use super::*;
use std::fs;

use crate::file::lease::Breaks;

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
fn uploaded(settled: &Settled, then: impl FnOnce()) -> Result<Aside, NotRemoved> {
    let opened = settled.root.open_file(&settled.relative).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    let version = opened.version;
    then();
    set_aside(settled, &opened, Some(&lease), &version)
}

#[tokio::test]
async fn an_unchanged_file_is_removed_and_leaves_nothing_behind() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "1234");
    let aside = uploaded(&settled, || ()).unwrap();
    assert!(!scratch.path("sub/report").exists());
    assert_eq!(finish(&aside, &Fate::Delete).unwrap(), Gone::Removed);
    tidy(&scratch.root);
    assert_eq!(fs::read_dir(scratch.root.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_replaced_after_it_was_read_stays() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let other = scratch.path("other");
    fs::write(&other, "new").unwrap();
    let refused = uploaded(&settled, || fs::rename(&other, scratch.path("report")).unwrap()).unwrap_err();
    assert!(refused.changed);
    assert_eq!(refused.place, Path::new("report"));
    assert_eq!(scratch.read("report"), "new");
}

#[tokio::test]
async fn a_file_written_while_it_lay_aside_is_put_back() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let aside = uploaded(&settled, || ()).unwrap();
    fs::write(scratch.root.path().join(&aside.place), "grown").unwrap();
    let refused = finish(&aside, &Fate::Delete).unwrap_err();
    assert!(refused.changed);
    assert_eq!(scratch.read("report"), "grown");
}

#[tokio::test]
async fn a_file_still_open_for_writing_at_the_end_of_the_grace_is_put_back() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("report", "old");
    let aside = uploaded(&settled, || ()).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(scratch.root.path().join(&aside.place)).unwrap();
    assert!(finish(&aside, &Fate::Delete).is_err());
    drop(writer);
    assert_eq!(scratch.read("report"), "old");
}

#[tokio::test]
async fn a_file_whose_name_was_taken_meanwhile_is_kept_under_the_private_name_and_never_overwrites() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let settled = scratch.write("sub/report", "first");
    let aside = uploaded(&settled, || ()).unwrap();
    scratch.write("sub/report", "second");
    let kept = aside.put_back("for the test");
    assert_eq!(scratch.read("sub/report"), "second");
    assert_eq!(scratch.read(&kept.place), "first");
    assert_eq!(origin(&kept.place), Path::new("sub/report"));
    assert_eq!(private::leftovers(&scratch.root, Path::new("")), [kept.place]);
}

#[tokio::test]
async fn two_files_of_one_name_lie_aside_beside_each_other() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let first = uploaded(&scratch.write("report", "first"), || ()).unwrap();
    let second = uploaded(&scratch.write("report", "second"), || ()).unwrap();
    assert_ne!(first.place, second.place);
    finish(&first, &Fate::Delete).unwrap();
    finish(&second, &Fate::Delete).unwrap();
    assert!(private::leftovers(&scratch.root, Path::new("")).is_empty());
}

#[tokio::test]
async fn a_moved_file_keeps_its_sub_folder_and_never_overwrites() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let done = scratch.dir.path().join("done");
    for expected in ["sub/report.pdf", "sub/report (1).pdf"] {
        let aside = uploaded(&scratch.write("sub/report.pdf", expected), || ()).unwrap();
        assert_eq!(finish(&aside, &Fate::MoveTo(done.clone())).unwrap(), Gone::Moved(done.join(expected)));
        assert_eq!(fs::read_to_string(done.join(expected)).unwrap(), expected);
    }
}

#[tokio::test]
async fn a_file_moves_to_another_file_system_whole() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return };
    let aside = uploaded(&scratch.write("report", "content"), || ()).unwrap();
    let moved = finish(&aside, &Fate::MoveTo(elsewhere.path().to_owned())).unwrap();
    assert_eq!(moved, Gone::Moved(elsewhere.path().join("report")));
    assert_eq!(fs::read_to_string(elsewhere.path().join("report")).unwrap(), "content");
    assert!(private::leftovers(&scratch.root, Path::new("")).is_empty());
}

#[tokio::test]
async fn a_file_left_aside_by_a_crash_is_put_back() {
    Breaks::install().unwrap();
    let scratch = Scratch::new();
    drop(uploaded(&scratch.write("sub/report", "content"), || ()).unwrap());
    assert!(recover(&scratch.root, Path::new("")).is_empty());
    assert_eq!(scratch.read("sub/report"), "content");
}
