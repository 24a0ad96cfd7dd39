//! Why a file is still in the watched folder.
//!
//! What the caller can do: where [`RemovalError::calls_for_retry`] says so, the file may be another one than was uploaded, or
//! nothing was wrong with it; it must settle and be judged again. All other errors need somebody to mend the file or its
//! folder first; the same bytes need no second upload.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::MoveTargetError;
use crate::file::lease::NoLease;
use crate::file::{OpenError, PRIVATE, is_scarcity};

/// A file that was not removed.
#[derive(Debug, thiserror::Error)]
pub struct NotRemoved {
    /// Why it was not removed.
    #[source]
    pub error: RemovalError,
    /// Where the file lies now, below the root: put back, or in the private folder where its name was taken meanwhile.
    pub place: PathBuf,
    /// Its absolute path where it could not be put back.
    pub stranded: Option<PathBuf>,
}

impl std::fmt::Display for NotRemoved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.error)?;
        match &self.stranded {
            Some(path) => write!(f, "; it can't be put back, and lies in {}", path.display()),
            None => Ok(()),
        }
    }
}

/// Why a file was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// It changed, or was opened for writing, between its upload and the rename.
    #[error("it changed after it was read, or somebody opened it for writing")]
    ChangedSinceUpload,
    /// Nothing lies under its name any more.
    #[error("it is gone from where it was")]
    Gone,
    /// Another file took its name before the rename.
    #[error("another file took its name")]
    Replaced,
    /// It changed during the rename.
    #[error("it changed while it was set aside")]
    ChangedDuringRename,
    /// Somebody waits to write it.
    #[error("somebody opened it for writing")]
    OpenedForWriting,
    /// Somebody has it open for writing after the grace.
    #[error("somebody has it open for writing")]
    OpenForWriting,
    /// A lease told of its writers before the upload, and no lease can be had after the grace.
    #[error("its writers can't be told any more: {0}")]
    WritersUnknown(#[source] NoLease),
    /// It changed during the grace.
    #[error("it changed while it lay aside")]
    ChangedDuringGrace,
    /// What was set aside can't be looked at.
    #[error("{0}")]
    Unreadable(#[from] StagingError),
    /// The rename to the private folder failed.
    #[error("it can't be set aside: {0}")]
    NotSetAside(#[source] StagingError),
    /// The unlink, or the move to the other folder, failed.
    #[error("it can't be removed: {0}")]
    NotFinished(#[from] FinishError),
    /// This program panicked in the middle of it.
    #[error("internal error, please report it")]
    Internal,
}

impl RemovalError {
    /// Whether the file must settle and be judged again: it is, or may be, another one than was uploaded; or only descriptors
    /// or memory were scarce, which is soon over. Otherwise the system refused, and the same bytes need no second upload.
    pub fn calls_for_retry(&self) -> bool {
        match self {
            Self::NotSetAside(StagingError::Open(error)) => error.is_scarcity(),
            Self::NotFinished(error) => error.is_scarcity(),
            Self::NotSetAside(_) | Self::Internal => false,
            _ => true,
        }
    }
}

/// Why a file can't be set aside or put back, or not be found where it was set aside.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The private folder is not this user's alone, so what lies in it can't be trusted.
    #[error(
        "the private folder {PRIVATE} belongs to another user, or others may enter it: remove it, or run chmod 700 on it"
    )]
    NotOursAlone,
    /// Something that is no folder lies in the place of the private folder.
    #[error("something that is no folder lies in the place of the private folder {PRIVATE}")]
    NoFolder,
    /// Each name that was tried is taken.
    #[error("no name is free for it")]
    NoFreeName,
    /// The file, or a folder on the way to it, can't be opened or renamed.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl From<Errno> for StagingError {
    fn from(errno: Errno) -> Self {
        Self::Open(errno.into())
    }
}

impl StagingError {
    /// Whether the private folder is the trouble, and not the file: then the file can be set aside beside its own place.
    pub(super) fn is_trouble_of_the_folder(&self) -> bool {
        match self {
            Self::NotOursAlone | Self::NoFolder | Self::NoFreeName => true,
            Self::Open(error) => matches!(error, OpenError::Io(_) | OpenError::NotRegular(_)) && !error.is_scarcity(),
        }
    }

    /// Whether the file system takes no name or path as long as this one.
    pub(super) fn is_name_too_long(&self) -> bool {
        let Self::Open(OpenError::Io(error)) = self else { return false };
        error.raw_os_error() == Some(Errno::NAMETOOLONG.raw_os_error())
    }
}

/// Why a file that was set aside was neither unlinked nor moved.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The folder that files are moved to can't be used.
    #[error(transparent)]
    Target(#[from] MoveTargetError),
    /// No folder lies at this path below the one that files are moved to.
    #[error("where it is to be moved, a link or a file lies in the place of the folder {}, and is not followed", .0.display())]
    FolderInTheWay(PathBuf),
    /// It changed while it was copied to another file system.
    #[error("it changed while it was copied to another file system")]
    ChangedDuringCopy,
    /// It can't be found where it was set aside.
    #[error(transparent)]
    Staged(#[from] StagingError),
    /// The system refuses, for this reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<Errno> for FinishError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno.into())
    }
}

impl FinishError {
    /// Whether only descriptors or memory are short: no fault of the file, and soon over.
    fn is_scarcity(&self) -> bool {
        match self {
            Self::Staged(StagingError::Open(error)) => error.is_scarcity(),
            Self::Target(MoveTargetError::Io(_, error)) | Self::Io(error) => is_scarcity(error),
            _ => false,
        }
    }
}
