//! A watched folder, held open.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::beneath::{FOLDER, OpenFolder, READ, beneath, beneath_on_its_mount, folder_beneath, open_without_links};
use super::lock::FolderLock;
use super::opened::{OpenError, Opened, SpecialFile, check_links, hard_links_are_protected, is_scarcity};
use super::path_rule::{self, ControlledPath, FolderError, Links};
use super::{FileStamp, filesystem, lease};

/// A folder held open: what is opened through it lies in it, whatever its path leads to by then.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    share: Option<&'static str>,
    /// Leases on the folder's own file system tell of writers. That file system stays as long as the folder is held open, whatever is
    /// mounted over its path meanwhile.
    leases_tell: bool,
    /// A network share is mounted somewhere below.
    share_below: AtomicBool,
    pub(super) lock: FolderLock,
}

/// Why the folder at a root's path is not taken in place of the one that was there. In all cases somebody must mend the folder, or the
/// path to it; only where descriptors or memory are scarce the same try may go well soon.
#[derive(Debug, thiserror::Error)]
pub enum ReopenError {
    /// No folder can be opened there.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is a link, or a file.
    #[error("a symbolic link, or a file, is in its place or on its way: it is not followed")]
    Link,
    /// Somebody else could have put it there.
    #[error(transparent)]
    Controlled(ControlledPath),
    /// It has another owner than the one before, and is no mount.
    #[error(
        "the folder that is there now belongs to another user than the one that was watched: put that one back, give the new one to \
         its owner (chown), or start again, which judges the new one by itself"
    )]
    OtherOwner,
}

impl ReopenError {
    /// Whether only descriptors or memory are short.
    pub fn is_scarcity(&self) -> bool {
        matches!(self, Self::Io(error) if is_scarcity(error))
    }
}

impl Root {
    /// Holds a folder open. The path may lead through links; what is below may not.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let dir = openat(rustix::fs::CWD, &path, flags, Mode::empty())?;
        Ok(Self::held(dir, path))
    }

    /// Holds a folder open that is to be emptied, if nobody else could have put it where it is. The path may lead through links
    /// that only trusted users could have made.
    pub fn open_trusted(path: &Path) -> Result<Self, FolderError> {
        let (dir, path) = path_rule::open(path, Links::Follow)?;
        Ok(Self::held(dir, path))
    }

    /// A folder that was opened by its absolute path, through no link.
    pub(crate) fn held(dir: OwnedFd, path: PathBuf) -> Self {
        let share = filesystem::network_share(&dir);
        let leases_tell = lease::tell_of_writers(&dir);
        Self { dir, path, share, leases_tell, share_below: AtomicBool::new(false), lock: FolderLock::default() }
    }

    /// The folder's absolute path when it was opened, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's descriptor.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Whether the path still leads to this very folder: not unmounted, removed, renamed or replaced. A link anywhere on the path
    /// counts as replaced: there was none when the folder was opened. An error means that nobody can say now, because descriptors or
    /// memory are short: to give the folder up for that would let another instance in.
    pub fn is_current(&self) -> io::Result<bool> {
        let there = match open_without_links(&self.path).map_err(io::Error::from) {
            Err(error) if is_scarcity(&error) => return Err(error),
            Err(_) => return Ok(false),
            Ok(there) => there,
        };
        Ok(match (fstat(&self.dir), fstat(&there)) {
            (Ok(here), Ok(there)) => (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        })
    }

    /// Opens the folder that the path leads to now, in place of this one: only if there is no link on the path, the folder has the same
    /// owner, and nobody else could have put it there. Otherwise a user who may rename this folder away could put a link to any other
    /// folder in its place, and have that one emptied. A file system that was mounted over this folder may have another owner: a mount
    /// is no work of a user who may only rename, and at the start the same file system would be taken.
    pub fn reopen(&self) -> Result<Self, ReopenError> {
        let (dir, path) = path_rule::open(&self.path, Links::Refuse).map_err(|refused| match refused {
            FolderError::Io(error) if is_no_folder(&error) => ReopenError::Link,
            FolderError::Io(error) => ReopenError::Io(error),
            FolderError::Controlled(controlled) => ReopenError::Controlled(controlled),
        })?;
        let owner = |dir| fstat(dir).map(|stat| stat.st_uid).map_err(io::Error::from);
        if owner(&dir)? != owner(&self.dir)? && !filesystem::is_mount_root(&dir) {
            return Err(ReopenError::OtherOwner);
        }
        Ok(Self { lock: self.lock.of_replacement(), ..Self::held(dir, path) })
    }

    /// Takes note that a network share is mounted somewhere below: an access to its files may take any time.
    pub(crate) fn note_share_below(&self) {
        self.share_below.store(true, Ordering::Relaxed);
    }

    /// Whether a file of the folder may lie on a share that does not answer, so that opening it may take any time.
    pub(crate) fn may_hang(&self) -> bool {
        self.share.is_some() || self.share_below.load(Ordering::Relaxed)
    }

    /// The name of the network file system that the folder lies on, if any. No events come for what other hosts do there.
    pub fn network_share(&self) -> Option<&'static str> {
        self.share
    }

    /// Whether leases on its file system tell of every writer on this host.
    pub fn leases_tell_of_writers(&self) -> bool {
        self.leases_tell
    }

    /// Whether others may put files there: it belongs to another user, or others may write it.
    pub fn may_hold_files_of_others(&self) -> bool {
        fstat(&self.dir).is_ok_and(|stat| stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o022 != 0)
    }

    /// Opens a document: a regular file below the folder, reached without a link.
    pub fn open_file(&self, relative: &Path) -> Result<Opened, OpenError> {
        let (file, leases_tell) = if let Some(file) = beneath_on_its_mount(&self.dir, relative, READ) {
            (file, self.leases_tell)
        } else {
            let file = beneath(&self.dir, relative, READ)?;
            let leases_tell = lease::tell_of_writers(&file);
            (file, leases_tell)
        };
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(OpenError::Folder),
            other => return Err(OpenError::NotRegular(SpecialFile::of(other))),
        }
        if stat.st_nlink > 1 {
            check_links(geteuid(), stat.st_uid, hard_links_are_protected())?;
        }
        Ok(Opened { stamp: FileStamp::from(&stat), file: Arc::new(File::from(file)), leases_tell })
    }

    /// Opens the folder that a file lies in, through no link, and returns it with the file's name there.
    pub(crate) fn parent_of<'a>(&self, relative: &'a Path) -> Result<(OpenFolder<'_>, &'a OsStr), OpenError> {
        let name = relative.file_name().ok_or(OpenError::Gone)?;
        Ok((folder_beneath(&self.dir, relative.parent().unwrap_or(Path::new("")))?, name))
    }
}

fn is_no_folder(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NOTDIR].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;
