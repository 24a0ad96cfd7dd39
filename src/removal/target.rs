//! The folders that files are moved to: `move_to` and `failed_dir`.
//!
//! A user who may change such a folder, or the path to it, could have files written wherever this user may write: into a folder of
//! commands, say, under a name that is run. So the folder must be this user's or root's, and nobody else may write it. It is opened
//! once, and all below it is reached from there without a link. The path to it is judged like that to a watched folder: nobody else
//! may be able to put another folder in its place. A folder that is replaced meanwhile is opened anew by the same rules.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fstat, mkdirat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::file::{ControlledPath, FolderError, Root};

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
    /// Another user could put another folder, or a link, in its place.
    #[error(transparent)]
    Controlled(ControlledPath),
    /// The system refuses, for this reason.
    #[error("{0} can't be opened: {1}")]
    Io(PathBuf, #[source] io::Error),
}

/// The owner and mode of a folder, which decide whether others can change it.
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
}

impl MoveTarget {
    /// Opens the folder, which is made for this user alone where it is missing.
    pub fn open(configured: &Path) -> Result<Self, MoveTargetError> {
        let path = std::path::absolute(configured).map_err(|error| MoveTargetError::Io(configured.into(), error))?;
        let folder = open_or_make(&path)?;
        check(folder.dir(), folder.path())?;
        Ok(Self { configured: configured.to_owned(), folder })
    }

    pub(super) fn configured(&self) -> &Path {
        &self.configured
    }

    /// The folder as it is now, and the mode for folders in it: who may read it may read them.
    pub(super) fn folder(&self) -> Result<(Root, Mode), MoveTargetError> {
        let path = self.folder.path();
        let io = |error| MoveTargetError::Io(path.to_owned(), error);
        let folder = if self.folder.is_current().map_err(io)? {
            let dir = self.folder.dir().try_clone().map_err(io)?;
            check(&dir, path)?;
            Root::held(dir, path.to_owned())
        } else {
            Self::open(&self.configured)?.folder
        };
        let stat = fstat(folder.dir()).map_err(|errno| io(errno.into()))?;
        Ok((folder, Mode::from_raw_mode(stat.st_mode) & Mode::from_raw_mode(0o777)))
    }
}

/// Whether files may be moved to this folder; one that is missing will be made. Makes nothing itself.
pub fn check_move_target(configured: &Path) -> Result<(), MoveTargetError> {
    match Root::open_trusted(configured) {
        Ok(folder) => check(folder.dir(), folder.path()),
        Err(FolderError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(not_taken(configured, error)),
    }
}

// The type of a mode differs between platforms.
#[allow(clippy::useless_conversion)]
fn check(dir: &OwnedFd, path: &Path) -> Result<(), MoveTargetError> {
    let stat = fstat(dir).map_err(|errno| MoveTargetError::Io(path.to_owned(), errno.into()))?;
    judge(Owned { uid: stat.st_uid, mode: u32::from(stat.st_mode) }, path)
}

/// Checks owner and mode. Pure.
fn judge(folder: Owned, path: &Path) -> Result<(), MoveTargetError> {
    if !folder.by_us() {
        return Err(MoveTargetError::Foreign(path.to_owned()));
    }
    if folder.is_writable_by_others() {
        return Err(MoveTargetError::Writable(path.to_owned()));
    }
    Ok(())
}

/// Opens a folder by the rules for watched ones; makes the folders that are missing on the path to it.
pub(crate) fn open_or_make(path: &Path) -> Result<Root, MoveTargetError> {
    let missing = match Root::open_trusted(path) {
        Err(FolderError::Io(error)) if error.kind() == io::ErrorKind::NotFound => error,
        opened => return opened.map_err(|error| not_taken(path, error)),
    };
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(MoveTargetError::Io(path.into(), missing));
    };
    match mkdirat(open_or_make(parent)?.dir(), name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => Root::open_trusted(path).map_err(|error| not_taken(path, error)),
        Err(errno) => Err(MoveTargetError::Io(path.into(), errno.into())),
    }
}

fn not_taken(path: &Path, error: FolderError) -> MoveTargetError {
    match error {
        FolderError::Io(error) => MoveTargetError::Io(path.into(), error),
        FolderError::Controlled(controlled) => MoveTargetError::Controlled(controlled),
    }
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
    fn a_path_through_links_of_our_own_is_followed_and_missing_folders_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("real/inner")).unwrap();
        symlink("real/inner/..", base.join("link")).unwrap();
        symlink(base.join("link"), base.join("second")).unwrap();
        check_move_target(&base.join("second/./inner/../new/below")).unwrap();
        assert!(!base.join("real/new").exists(), "a check makes nothing");
        let target = MoveTarget::open(&base.join("second/./inner/../new/below")).unwrap();
        assert_eq!(target.folder.path(), base.join("real/new/below"));
        for folder in ["real/new", "real/new/below"] {
            assert_eq!(fs::metadata(base.join(folder)).unwrap().permissions().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn no_folder_is_used_that_others_could_have_put_there() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        symlink("circle", base.join("circle")).unwrap();
        assert!(matches!(MoveTarget::open(&base.join("circle")), Err(MoveTargetError::Io(..))));
        fs::create_dir_all(base.join("shared/ours")).unwrap();
        fs::create_dir(base.join("real")).unwrap();
        symlink(base.join("real"), base.join("shared/ours/link")).unwrap();
        let paths = ["shared/ours", "shared/ours/link"].map(|path| base.join(path));
        for (mode, taken) in [(0o755, true), (0o777, false), (0o1777, true)] {
            fs::set_permissions(base.join("shared"), fs::Permissions::from_mode(mode)).unwrap();
            for path in &paths {
                let opened = MoveTarget::open(path);
                assert_eq!(opened.is_ok(), taken, "{mode:o} {opened:?}");
                assert!(taken || matches!(opened, Err(MoveTargetError::Controlled(_))), "{opened:?}");
            }
        }
    }

    #[test]
    fn a_folder_that_is_opened_to_others_later_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let target = MoveTarget::open(&dir.path().join("Done")).unwrap();
        target.folder().unwrap();
        fs::set_permissions(dir.path().join("Done"), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(target.folder(), Err(MoveTargetError::Writable(_))));
    }
}
