//! The folders that files are moved to: `move_to` and `failed_dir`.
//!
//! Whoever may change such a folder, or the way to it, could have files written wherever this user may write: into a folder of
//! commands, say, under a name that is run. So the folder must be this user's or root's, and nobody else's to write; it is opened
//! once, and all below it is reached from there without a link. On the way to it a link is followed only where no other user can
//! have made it. A folder that is replaced meanwhile is opened anew by the same rules.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, fstat, mkdirat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::file::{Root, open_without_links};

/// A folder that files are moved to, open.
#[derive(Debug)]
pub struct MoveTarget {
    /// As it was configured.
    configured: PathBuf,
    folder: Root,
}

/// Why no file may be moved to a folder, and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum MoveTargetError {
    /// Another user owns it.
    #[error(
        "{0} belongs to another user, who could take files away from there or put links into it: make it this user's (chown), or name \
         another folder"
    )]
    Foreign(PathBuf),
    /// Others may write it.
    #[error(
        "{0} can be written by its group or by everybody, who could take files away from there or put links into it: run chmod go-w \
         {0}, or name another folder"
    )]
    Writable(PathBuf),
    /// A link on the way that another user could have made.
    #[error("{0} is a link, and lies in a folder that another user may write: name the folder that is meant")]
    Link(PathBuf),
    /// The system refuses, for this reason.
    #[error("{0} can't be opened: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// What decides whether a folder, or an entry in it, can be changed by others.
#[derive(Debug, Clone, Copy)]
struct Owned {
    uid: u32,
    mode: u32,
}

impl Owned {
    fn by_us(self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }

    fn is_writable_by_others(self) -> bool {
        self.mode & 0o022 != 0
    }

    /// Whether only this user and root can change what this entry of it is.
    fn protects(self, entry: Self) -> bool {
        let is_sticky = self.mode & 0o1000 != 0;
        self.by_us() && (!self.is_writable_by_others() || is_sticky && entry.by_us())
    }
}

impl MoveTarget {
    /// Opens the folder, which is made for this user alone where it is missing.
    pub fn open(configured: &Path) -> Result<Self, MoveTargetError> {
        let real = without_links(configured)?;
        let dir = make(&real).map_err(|errno| MoveTargetError::Io(real.clone(), errno.into()))?;
        check(&dir, &real)?;
        Ok(Self { configured: configured.to_owned(), folder: Root::held(dir, real) })
    }

    pub(super) fn configured(&self) -> &Path {
        &self.configured
    }

    /// The folder as it is now, and the mode for folders in it: who may read it may read them.
    pub(super) fn folder(&self) -> io::Result<(Root, Mode)> {
        let folder = if self.folder.is_current() {
            let dir = self.folder.dir().try_clone()?;
            check(&dir, self.folder.path()).map_err(io::Error::other)?;
            Root::held(dir, self.folder.path().to_owned())
        } else {
            Self::open(&self.configured).map_err(io::Error::other)?.folder
        };
        let mode = Mode::from_raw_mode(fstat(folder.dir())?.st_mode) & Mode::from_raw_mode(0o777);
        Ok((folder, mode))
    }
}

/// Whether files may be moved to this folder; one that is missing will be made. Makes nothing itself.
pub fn check_move_target(configured: &Path) -> Result<(), MoveTargetError> {
    let real = without_links(configured)?;
    match open_without_links(&real) {
        Ok(dir) => check(&dir, &real),
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(MoveTargetError::Io(real, errno.into())),
    }
}

// The type of a mode differs between platforms.
#[allow(clippy::useless_conversion)]
fn check(dir: &OwnedFd, path: &Path) -> Result<(), MoveTargetError> {
    let stat = fstat(dir).map_err(|errno| MoveTargetError::Io(path.to_owned(), errno.into()))?;
    judge(Owned { uid: stat.st_uid, mode: u32::from(stat.st_mode) }, path)
}

/// Pure.
fn judge(folder: Owned, path: &Path) -> Result<(), MoveTargetError> {
    if !folder.by_us() {
        return Err(MoveTargetError::Foreign(path.to_owned()));
    }
    if folder.is_writable_by_others() {
        return Err(MoveTargetError::Writable(path.to_owned()));
    }
    Ok(())
}

/// Opens a folder by a path without links; makes what is missing of it.
fn make(real: &Path) -> Result<OwnedFd, Errno> {
    match open_without_links(real) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else { return Err(Errno::NOENT) };
    match mkdirat(make(parent)?, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_without_links(real),
        Err(errno) => Err(errno),
    }
}

/// As many links as the kernel follows.
const MOST_LINKS: usize = 40;

/// Where a path leads by links that nobody but this user and root can have made; what does not exist is taken by its words. It is
/// to be opened without links then: what was no link when it was looked at may be one by then, where others may write.
fn without_links(path: &Path) -> Result<PathBuf, MoveTargetError> {
    let failed = |at: &Path, error| MoveTargetError::Io(at.to_owned(), error);
    let path = std::path::absolute(path).map_err(|error| failed(path, error))?;
    let mut left: VecDeque<OsString> = parts(&path);
    let (mut at, mut is_safe, mut links) = (PathBuf::from("/"), vec![true], 0);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            is_safe.truncate(is_safe.len().saturating_sub(1).max(1));
            continue;
        }
        let next = at.join(part);
        let metadata = match next.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            found => Some(found.map_err(|error| failed(&next, error))?),
        };
        let above = at.symlink_metadata().ok().map(|it| owned(&it));
        let protects = |entry: &std::fs::Metadata| above.is_some_and(|above| above.protects(owned(entry)));
        let safe = is_safe.last() == Some(&true) && metadata.as_ref().is_some_and(protects);
        if !metadata.is_some_and(|metadata| metadata.is_symlink()) {
            at = next;
            is_safe.push(safe);
            continue;
        }
        links += 1;
        if !safe || links > MOST_LINKS {
            return Err(MoveTargetError::Link(next));
        }
        let target = next.read_link().map_err(|error| failed(&next, error))?;
        if target.is_absolute() {
            (at, is_safe) = (PathBuf::from("/"), vec![true]);
        }
        left = parts(&target).into_iter().chain(left).collect();
    }
    Ok(at)
}

fn owned(metadata: &std::fs::Metadata) -> Owned {
    Owned { uid: metadata.uid(), mode: metadata.mode() }
}

/// The names of a path, and `..`.
fn parts(path: &Path) -> VecDeque<OsString> {
    let meant = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    meant.map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const OTHER: u32 = 54321;

    #[test]
    fn a_folder_is_trusted_only_if_nobody_but_this_user_and_root_may_write_it() {
        let me = geteuid().as_raw();
        let path = Path::new("/x");
        for (uid, mode) in [(me, 0o40700), (0, 0o40755), (me, 0o42750)] {
            judge(Owned { uid, mode }, path).unwrap();
        }
        assert!(matches!(judge(Owned { uid: OTHER, mode: 0o40700 }, path), Err(MoveTargetError::Foreign(_))));
        for mode in [0o40770, 0o40702, 0o41777] {
            assert!(matches!(judge(Owned { uid: me, mode }, path), Err(MoveTargetError::Writable(_))));
        }
    }

    #[test]
    fn an_entry_is_protected_by_a_folder_of_ours_and_by_the_sticky_bit_if_it_is_ours() {
        let me = geteuid().as_raw();
        let (ours, theirs) = (Owned { uid: me, mode: 0o777 }, Owned { uid: OTHER, mode: 0o777 });
        for (uid, mode, protects_ours, protects_theirs) in [
            (0, 0o755, true, true),
            (0, 0o1777, true, false),
            (me, 0o775, false, false),
            (OTHER, 0o755, false, false),
            (OTHER, 0o1755, false, false),
        ] {
            let folder = Owned { uid, mode };
            assert_eq!(
                (folder.protects(ours), folder.protects(theirs)),
                (protects_ours, protects_theirs),
                "{folder:?}"
            );
        }
    }

    #[test]
    fn a_way_through_links_of_our_own_is_followed_and_what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("real/inner")).unwrap();
        symlink("real/inner/..", base.join("link")).unwrap();
        symlink(base.join("link"), base.join("second")).unwrap();
        assert_eq!(without_links(&base.join("second/./inner/../new")).unwrap(), base.join("real/new"));
        check_move_target(&base.join("second/new/below")).unwrap();
        assert!(!base.join("real/new").exists(), "a check makes nothing");
        let target = MoveTarget::open(&base.join("second/new/below")).unwrap();
        assert_eq!(target.folder.path(), base.join("real/new/below"));
        for folder in ["real/new", "real/new/below"] {
            assert_eq!(fs::metadata(base.join(folder)).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn a_link_is_followed_neither_in_a_circle_nor_where_others_may_write_on_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        symlink("circle", base.join("circle")).unwrap();
        assert!(matches!(without_links(&base.join("circle")), Err(MoveTargetError::Link(_))));
        fs::create_dir_all(base.join("shared/ours")).unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink(base.join("real"), base.join("shared/ours/link")).unwrap();
        without_links(&base.join("shared/ours/link")).unwrap();
        fs::set_permissions(base.join("shared"), fs::Permissions::from_mode(0o777)).unwrap();
        // Whoever may write the folder above may put another one in the place of this one.
        assert!(matches!(without_links(&base.join("shared/ours/link")), Err(MoveTargetError::Link(_))));
        assert_eq!(without_links(&base.join("shared/ours")).unwrap(), base.join("shared/ours"));
        fs::set_permissions(base.join("shared"), fs::Permissions::from_mode(0o1777)).unwrap();
        without_links(&base.join("shared/ours/link")).unwrap();
    }

    #[test]
    fn a_folder_that_is_opened_to_others_later_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let target = MoveTarget::open(&dir.path().join("Done")).unwrap();
        target.folder().unwrap();
        fs::set_permissions(dir.path().join("Done"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(target.folder().unwrap_err().to_string().contains("chmod go-w"));
    }
}
