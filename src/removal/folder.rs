//! Folders that this program makes, and removes whole.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, mkdirat, statat, unlinkat};
use rustix::io::Errno;

use crate::file::beneath_folder;
use crate::file::staged_name::random_digits;

/// A folder below an open one, reached without a link and made where it is missing.
pub(super) fn make_below(dir: &OwnedFd, relative: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
    match beneath_folder(dir, relative) {
        Err(Errno::NOENT) => {}
        other => return other,
    }
    let mut at = beneath_folder(dir, Path::new(""))?;
    for part in relative {
        match mkdirat(&at, part, mode) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        at = beneath_folder(&at, Path::new(part))?;
    }
    Ok(at)
}

/// Makes a new folder for our own use, for this user alone, where temporary files belong.
pub fn temporary_folder(purpose: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("astran-backup-{purpose}-{}", random_digits()?));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Removes a folder of our own with all that is in it; what can't be removed stays.
pub fn discard(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
}

/// Removes a socket of our own from a folder of our own; what is no socket stays.
pub(crate) fn remove_socket(dir: &OwnedFd, name: &str) -> io::Result<()> {
    let found = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        found => found?,
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other("it is no socket"));
    }
    Ok(unlinkat(dir, name, AtFlags::empty())?)
}
