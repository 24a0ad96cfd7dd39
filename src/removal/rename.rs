//! Renaming without ever replacing what lies there, also where the file system knows no such rename.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

/// What a file system says that knows no rename without replacing: NFS and old SMB, some FUSE, old kernels.
const NO_SUCH_RENAME: [Errno; 3] = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP];
/// What it says where it knows no hard links either, or not for this file.
const NO_LINKS: [Errno; 5] = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP, Errno::INVAL, Errno::MLINK];

/// A name in an open folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct At<'a> {
    dir: BorrowedFd<'a>,
    name: &'a Path,
}

impl<'a> At<'a> {
    pub(super) fn new(dir: &'a impl AsFd, name: &'a (impl AsRef<Path> + ?Sized)) -> Self {
        Self { dir: dir.as_fd(), name: name.as_ref() }
    }

    /// A path as the system resolves it.
    #[cfg(test)]
    fn path(path: &'a Path) -> Self {
        Self { dir: rustix::fs::CWD, name: path }
    }
}

/// Whose name the file has now, and so who may put another file under it while it is renamed in more than one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OldName {
    /// A name of our own: nobody.
    Ours,
    /// A name in the user's folder: anybody. Unlinking that name after a look at it could unlink a newcomer.
    Users,
}

/// Renames a file; `EXIST` where something has the new name.
pub(super) fn rename_new(from: At<'_>, to: At<'_>, old_name: OldName) -> Result<(), Errno> {
    match renameat_with(from.dir, from.name, to.dir, to.name, RenameFlags::NOREPLACE) {
        Err(errno) if NO_SUCH_RENAME.contains(&errno) => in_steps(from, to, old_name),
        other => other,
    }
}

fn in_steps(from: At<'_>, to: At<'_>, old_name: OldName) -> Result<(), Errno> {
    if old_name == OldName::Users {
        return by_lookup(from, to);
    }
    match by_link(from, to) {
        Err(errno) if NO_LINKS.contains(&errno) => by_lookup(from, to),
        other => other,
    }
}

/// Renames by a link and an unlink: a link replaces nothing, even if another process makes that name at the same moment.
fn by_link(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    match linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty()) {
        Ok(()) => {}
        // A crash came between the two steps: this is what is left of them.
        Err(Errno::EXIST) if are_links_of_one_file(from, to) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(from.dir, from.name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => {
            // The file has not moved: it must have one name, as before.
            unlinkat(to.dir, to.name, AtFlags::empty()).ok();
            Err(errno)
        }
    }
}

/// Whether these are two names of one file. If they were the same name twice, unlinking one would remove the file.
fn are_links_of_one_file(one: At<'_>, other: At<'_>) -> bool {
    let look = |at: At<'_>| statat(at.dir, at.name, AtFlags::SYMLINK_NOFOLLOW);
    let (Ok(first), Ok(second)) = (look(one), look(other)) else { return false };
    // A file system that invents inode numbers may give one to two files, but then counts no links.
    let one_file = (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino);
    one_file && first.st_nlink > 1 && second.st_nlink > 1 && are_two_names(one, other)
}

fn are_two_names(one: At<'_>, other: At<'_>) -> bool {
    let folder = |at: At<'_>| {
        let path = at.name.parent().filter(|path| !path.as_os_str().is_empty());
        statat(at.dir, path.unwrap_or(Path::new(".")), AtFlags::empty()).map(|stat| (stat.st_dev, stat.st_ino))
    };
    match (folder(one), folder(other)) {
        (Ok(first), Ok(second)) => first != second || one.name.file_name() != other.name.file_name(),
        _ => false,
    }
}

/// Renames if a look says that the new name is free. Only our own process makes names in a private folder; in the user's folder a
/// name that appears between look and rename is lost: the price of such a file system.
fn by_lookup(from: At<'_>, to: At<'_>) -> Result<(), Errno> {
    match statat(to.dir, to.name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Err(Errno::EXIST),
        Err(Errno::NOENT) => renameat(from.dir, from.name, to.dir, to.name),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    type Rename = fn(At<'_>, At<'_>) -> Result<(), Errno>;
    const RENAMES: [Rename; 5] = [
        |from, to| rename_new(from, to, OldName::Users),
        |from, to| in_steps(from, to, OldName::Users),
        |from, to| in_steps(from, to, OldName::Ours),
        by_link,
        by_lookup,
    ];

    fn read(dir: &Path, name: &str) -> Option<String> {
        fs::read_to_string(dir.join(name)).ok()
    }

    #[test]
    fn each_kind_of_rename_renames_and_none_replaces() {
        for rename in RENAMES {
            let dir = tempfile::tempdir().unwrap();
            let dir = dir.path();
            let (from, to) = (dir.join("from"), dir.join("to"));
            fs::write(&from, "first").unwrap();
            rename(At::path(&from), At::path(&to)).unwrap();
            assert_eq!((read(dir, "from"), read(dir, "to").unwrap()), (None, "first".to_owned()));
            fs::write(&from, "second").unwrap();
            assert_eq!(rename(At::path(&from), At::path(&to)), Err(Errno::EXIST));
            assert_eq!((read(dir, "from").unwrap(), read(dir, "to").unwrap()), ("second".into(), "first".into()));
            std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
            assert_eq!(rename(At::path(&from), At::path(&dir.join("link"))), Err(Errno::EXIST), "a link is a name too");
            assert_eq!(rename(At::path(&dir.join("none")), At::path(&dir.join("other"))), Err(Errno::NOENT));
        }
    }

    #[test]
    fn names_in_open_folders_are_renamed_as_paths_are() {
        let dir = tempfile::tempdir().unwrap();
        let open = fs::File::open(dir.path()).unwrap();
        for rename in RENAMES {
            fs::write(dir.path().join("from"), "content").unwrap();
            rename(At::new(&open, "from"), At::new(&open, "to")).unwrap();
            fs::remove_file(dir.path().join("to")).unwrap();
        }
    }

    #[test]
    fn a_crash_between_link_and_unlink_is_ended_by_the_next_rename() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (from, to) = (dir.join("from"), dir.join("to"));
        fs::write(&from, "content").unwrap();
        fs::hard_link(&from, &to).unwrap();
        // By one rename it is just a name that is taken, as it is where the old name is the user's.
        for rename in [RENAMES[0], RENAMES[1]] {
            assert_eq!(rename(At::path(&from), At::path(&to)), Err(Errno::EXIST));
        }
        assert!(from.exists() && to.exists());
        in_steps(At::path(&from), At::path(&to), OldName::Ours).unwrap();
        assert_eq!((read(dir, "from"), read(dir, "to").unwrap()), (None, "content".to_owned()));
    }

    #[test]
    fn a_file_is_never_ended_by_a_rename_to_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("name");
        fs::write(&name, "content").unwrap();
        fs::hard_link(&name, dir.path().join("link")).unwrap();
        for rename in RENAMES {
            assert_eq!(rename(At::path(&name), At::path(&name)), Err(Errno::EXIST));
            assert!(name.exists());
        }
    }

    #[test]
    fn what_a_file_system_says_that_can_not_leads_on_and_other_trouble_does_not() {
        for errno in [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP] {
            assert!(NO_SUCH_RENAME.contains(&errno) && NO_LINKS.contains(&errno));
        }
        for errno in [Errno::EXIST, Errno::NOENT, Errno::XDEV, Errno::NOSPC, Errno::ROFS, Errno::ACCESS, Errno::IO] {
            assert!(!NO_SUCH_RENAME.contains(&errno) && !NO_LINKS.contains(&errno), "{errno}");
        }
        assert!(!NO_SUCH_RENAME.contains(&Errno::PERM), "a folder that may not be written is no missing feature");
    }
}
