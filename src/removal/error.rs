//! Why a file is still in the watched folder.
//!
//! What the caller can do: where [`RemovalError::calls_for_retry`] says so, the file may be another one than was uploaded, or
//! nothing was wrong with it; it must settle and be judged again. All other errors need somebody to mend the file or its
//! folder; the same bytes need no second upload.

use std::io;
use std::path::PathBuf;

use crate::file::OpenError;

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
    #[error("its writers can't be told any more{}", .0.map(|reason| format!(": {reason}")).unwrap_or_default())]
    WritersUnknown(Option<&'static str>),
    /// It changed during the grace.
    #[error("it changed while it lay aside")]
    ChangedDuringGrace,
    /// What was set aside can't be looked at.
    #[error("{0}")]
    Unreadable(#[source] OpenError),
    /// The rename to the private folder failed.
    #[error("it can't be set aside: {0}")]
    NotSetAside(#[source] OpenError),
    /// The unlink, or the move to the other folder, failed.
    #[error("it can't be removed: {0}")]
    NotFinished(#[source] io::Error),
    /// This program panicked in the middle of it.
    #[error("internal error, please report it")]
    Internal,
}

impl RemovalError {
    /// Whether the file must settle and be judged again: it is, or may be, another one than was uploaded; or only descriptors
    /// or memory were scarce, which is soon over. Otherwise the system refused, and the same bytes need no second upload.
    pub fn calls_for_retry(&self) -> bool {
        match self {
            Self::NotSetAside(error) => error.is_scarcity(),
            Self::NotFinished(_) | Self::Internal => false,
            _ => true,
        }
    }
}
