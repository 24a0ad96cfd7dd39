//! No link, no dots, no pipe: what opens and what does not.

use super::*;
use crate::file::beneath::beneath_by_steps;
use crate::file::few_descriptors;
use rustix::process::Uid;
use std::os::unix::fs::symlink;

fn root() -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("watched/sub")).unwrap();
    std::fs::write(dir.path().join("watched/sub/report"), b"1234").unwrap();
    std::fs::write(dir.path().join("outside"), b"secret").unwrap();
    let root = Root::open(&dir.path().join("watched")).unwrap();
    (dir, root)
}

type Opener = fn(&OwnedFd, &Path, OFlags) -> Result<OwnedFd, Errno>;
const OPENERS: [Opener; 3] = [
    |dir, path, flags| beneath(dir, path, flags),
    |dir, path, flags| beneath_by_steps(std::os::fd::AsFd::as_fd(dir), path, flags),
    |dir, path, flags| beneath_on_its_mount(dir, path, flags).ok_or(Errno::XDEV),
];

#[test]
fn a_document_below_the_folder_opens_with_its_size() {
    let (_dir, root) = root();
    assert_eq!(root.open_file(Path::new("sub/report")).unwrap().stamp.size, 4);
}

#[test]
fn no_link_and_no_dots_lead_out_of_the_folder() {
    let (dir, root) = root();
    symlink(dir.path().join("outside"), dir.path().join("watched/link")).unwrap();
    symlink(dir.path(), dir.path().join("watched/folder-link")).unwrap();
    for open in OPENERS {
        for path in ["link", "folder-link/outside", "../outside", "sub/../../outside"] {
            assert!(open(&root.dir, Path::new(path), READ).is_err(), "{path} was opened");
        }
        assert!(open(&root.dir, Path::new("sub/report"), READ).is_ok());
    }
}

#[test]
fn folders_and_pipes_are_no_documents() {
    let (dir, root) = root();
    let pipe = dir.path().join("watched/pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(root.open_file(Path::new("pipe")), Err(OpenError::NotRegular(SpecialFile::Pipe))));
    assert!(matches!(root.open_file(Path::new("sub")), Err(OpenError::Folder)));
    assert!(matches!(root.open_file(Path::new("none")), Err(OpenError::Gone)));
}

#[test]
#[cfg(target_os = "linux")]
fn a_path_that_is_longer_than_the_system_takes_at_once_opens_and_no_link_on_it_is_followed() {
    let (_dir, root) = root();
    let mut at = beneath(&root.dir, Path::new("."), FOLDER).unwrap();
    let name = "d".repeat(250);
    for _ in 0..40 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = openat(&at, &name, FOLDER, Mode::empty()).unwrap();
    }
    openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    rustix::fs::symlinkat(".", &at, "link").unwrap();
    let deep: PathBuf = std::iter::repeat_n(name.as_str(), 40).collect();
    assert!(root.open_file(&deep.join("file")).is_ok());
    assert!(matches!(root.open_file(&deep.join("none")), Err(OpenError::Gone)));
    assert!(matches!(root.open_file(&deep.join("link/file")), Err(OpenError::NotRegular(SpecialFile::Link))));
    for too_long in [deep.join("n".repeat(256)), "n".repeat(5000).into()] {
        assert_eq!(beneath(&root.dir, &too_long, READ).unwrap_err(), Errno::NAMETOOLONG);
    }
}

#[test]
fn a_replaced_folder_is_noticed() {
    let (dir, root) = root();
    assert!(root.is_current().unwrap());
    std::process::Command::new("mv").args(["watched", "moved"]).current_dir(dir.path()).status().unwrap();
    assert!(!root.is_current().unwrap());
    std::fs::create_dir(dir.path().join("watched")).unwrap();
    assert!(!root.is_current().unwrap());
}

/// Regression: the watch took a shortage of descriptors for a removed folder, and gave the folder's lock away.
#[test]
fn without_descriptors_a_folder_does_not_count_as_replaced() {
    if !few_descriptors::in_process_with(
        40,
        "file::root::tests::without_descriptors_a_folder_does_not_count_as_replaced",
    ) {
        return;
    }
    let (_dir, root) = root();
    let mut taken = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        taken.push(file);
    }
    let (current, reopened) = (root.is_current(), root.reopen());
    drop(taken);
    assert!(current.is_err_and(|error| is_scarcity(&error)));
    assert!(reopened.is_err_and(|error| error.is_scarcity()));
    assert!(root.is_current().unwrap());
}

#[test]
fn without_a_lease_times_that_are_set_back_hide_no_change() {
    let (_dir, root) = root();
    let path = root.path().join("sub/report");
    let opened = root.open_file(Path::new("sub/report")).unwrap();
    assert!(opened.is_unchanged(None));
    let times = std::fs::metadata(&path).unwrap().modified().unwrap();
    // A change of the inode shows with the next tick of the kernel's clock.
    while opened.now().unwrap().ctime == opened.stamp.ctime {
        std::fs::write(&path, b"4321").unwrap();
        File::options().append(true).open(&path).unwrap().set_modified(times).unwrap();
    }
    assert!(opened.now().unwrap().same_content(&opened.stamp) && !opened.is_unchanged(None));
}

/// A link that an unprivileged user made to a file that is not theirs would be uploaded with the rights of root.
#[test]
fn root_takes_no_second_name_of_somebody_elses_file() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (dir, root) = root();
    std::fs::hard_link(dir.path().join("outside"), root.path().join("link")).unwrap();
    assert!(root.open_file(Path::new("link")).is_ok(), "our own");
    std::os::unix::fs::chown(dir.path().join("outside"), Some(65534), None).unwrap();
    assert!(matches!(root.open_file(Path::new("link")), Err(OpenError::ForeignLink)));
}

/// Regression: where the kernel does not protect them, a link to the daemon's own password file was uploaded and removed.
#[test]
fn a_file_with_several_links_is_refused_where_anybody_could_have_made_one_to_it() {
    let (root, me, other) = (Uid::ROOT, Uid::from_raw(1000), Uid::from_raw(1001).as_raw());
    for user in [root, me] {
        assert!(check_links(user, user.as_raw(), true).is_ok());
        assert!(matches!(check_links(user, user.as_raw(), false), Err(OpenError::UnprotectedLink)));
    }
    assert!(matches!(check_links(root, other, true), Err(OpenError::ForeignLink)));
    assert!(check_links(me, other, false).is_ok(), "what this user may read anybody may give it");
}
