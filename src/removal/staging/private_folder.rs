//! The private folder, `.astran-backup` in the watched folder.
//!
//! It is trusted only if it is this user's and nobody else may enter it, and that is asked of its open descriptor each time. Then
//! nobody but this user can have put anything into it, so all that lies there is put back after a crash, whether the journal knows
//! of it or not (a journal that was lost must not cost a file). Where it is not trusted, nothing is put into it and nothing is
//! taken out; files are set aside beside their places meanwhile. A second private folder under another name would be one more
//! place to search after a crash, and a full disk has no room for it.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::{Mode, fstat, mkdirat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::file::{OpenError, PRIVATE, Root, beneath_folder};
use crate::removal::StagingError;

/// The user of this process, who never changes: asked once, and not for each file.
static US: LazyLock<u32> = LazyLock::new(|| geteuid().as_raw());

/// Opens the private folder in a folder of the root, if it is ours alone. One that another user made before us may hold files that
/// pretend to be somebody's, and what we put there could be taken away.
pub(super) fn open(root: &Root, base: &Path) -> Result<OwnedFd, StagingError> {
    let dir = beneath_folder(root.dir(), &base.join(PRIVATE))?;
    let stat = fstat(&dir)?;
    let ours_alone = stat.st_uid == *US && Mode::from_raw_mode(stat.st_mode & 0o077).is_empty();
    if ours_alone { Ok(dir) } else { Err(StagingError::NotOursAlone) }
}

/// Opens the private folder, and makes it where it is missing. The one that was just made is checked like any other: another
/// process may have been faster.
pub(super) fn open_or_make(root: &Root, base: &Path) -> Result<OwnedFd, StagingError> {
    match open(root, base) {
        Err(StagingError::Open(OpenError::Gone)) => {}
        other => return other,
    }
    // "Gone" here means that the folder that it would lie in was removed, and the file with it.
    match mkdirat(&beneath_folder(root.dir(), base)?, PRIVATE, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    // Something else lies where the private folder should be. The caller must not take that for the file being gone.
    open(root, base).map_err(|error| match error {
        StagingError::Open(OpenError::Gone) => StagingError::NoFolder,
        other => other,
    })
}

/// Warns once for each folder that the private folder in it is not used. What the system refuses is reported with the file that it
/// is refused for.
pub(super) fn warn_once(root: &Root, base: &Path, error: &StagingError) {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let of_the_folder = !matches!(error, StagingError::Open(OpenError::Io(_) | OpenError::Gone));
    let folder = root.path().join(base).join(PRIVATE);
    if of_the_folder && WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone()) {
        tracing::warn!(
            folder = %folder.display(),
            "files are set aside beside their places meanwhile, and what lies in this folder stays there: {error}"
        );
    }
}
