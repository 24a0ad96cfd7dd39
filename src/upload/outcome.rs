//! What became of a file, as it is reported: by type, for code that counts or matches; as text, for the log, the journal and people.

use std::io;
use std::path::PathBuf;

use super::naming::NameError;
use super::verify::Doubt;
use crate::file::{OpenError, Settled};
use crate::journal::{LocalEnd, RefusedRequest, Stored};
use crate::measure;
use crate::removal::NotRemoved;
use crate::vault::{RemotePath, VaultError};

/// The report on a file that the uploader was given. There is exactly one for each.
#[derive(Debug)]
pub struct Report {
    /// The file.
    pub file: Settled,
    /// What became of the file.
    pub outcome: Outcome,
    /// The file was renamed back to its place, or may have been: the event of that rename is no news.
    pub put_back: bool,
    /// Where the file lies now, below the root, if it could not be put back because its name was taken meanwhile.
    pub aside: Option<PathBuf>,
}

impl Report {
    /// The report on a file that lies where it was.
    pub fn new(file: Settled, outcome: Outcome) -> Self {
        Self { file, outcome, put_back: false, aside: None }
    }
}

/// What became of a file.
#[derive(Debug)]
pub enum Outcome {
    /// The store has the file, and the local file is dealt with.
    Stored {
        /// Where the document is in the vault.
        remote: RemotePath,
        /// The receipt's content.
        stored: Stored,
        /// The receipt's number; `None` where the receipt was pruned.
        receipt: Option<i64>,
        /// What became of the local file.
        local: LocalEnd,
    },
    /// The store had the file already, by an earlier receipt: nothing was sent to it, and the local file is dealt with. Only for files that a
    /// person has named.
    StoredBefore {
        /// Where the document is in the vault.
        remote: RemotePath,
        /// The receipt's content.
        stored: Stored,
        /// The receipt's number; `None` where the receipt was pruned.
        receipt: Option<i64>,
        /// What became of the local file.
        local: LocalEnd,
    },
    /// The file itself is the trouble. The journal has the reason; the file is tried again when it changes, or after `retry`.
    Failed {
        /// What failed and why.
        reason: Failure,
        /// Where the file was moved to, with `failed_dir`.
        moved: Option<PathBuf>,
    },
    /// The file waits until something else is mended. The next walk through its folder tries it again.
    Blocked {
        /// What it waits for.
        reason: BlockedBy,
    },
    /// The file changed, or was put back: it must settle again.
    Again {
        /// What changed.
        reason: Unsettled,
        /// Where the file lies now, below the root.
        place: PathBuf,
    },
    /// The file was kept or has failed before, and has not changed: nothing was done.
    Skipped {
        /// Whether it has failed; the journal has the reason.
        failed: bool,
    },
    /// The file was gone before it was read.
    Gone,
    /// The upload was not begun, or was cut, because the program stops. The file is as it was.
    Left,
}

/// Why a file failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The file is larger than the configuration allows.
    #[error("it has {}, and max_size allows {}: nothing was sent", measure::size(*.size), measure::size(*.allowed))]
    TooLarge {
        /// The file's size in bytes.
        size: u64,
        /// The most that is allowed, in bytes.
        allowed: u64,
    },
    /// The vault can have no document of the file's name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The name in the vault is taken, and the configuration gives no other, or each other one is taken too.
    #[error("there is a document of other content at {0} already")]
    NameTaken(RemotePath),
    /// The store refuses the file.
    #[error(transparent)]
    Refused(VaultError),
    /// The store says that it has the file, and something speaks against that.
    #[error("the store answered that it has it, but {0}")]
    Doubtful(#[source] Doubt),
    /// The file failed earlier, and the journal has this reason.
    #[error("{0}")]
    Earlier(String),
    /// The journal refuses what this attempt came to: another process has ended the attempt in another way.
    #[error(transparent)]
    JournalRefuses(RefusedRequest),
    /// The store has the file, and the local file can't be removed.
    #[error("it is stored, but stays here: {0}")]
    NotRemoved(#[source] NotRemoved),
    /// The file failed, and can't be moved to the folder for failed files.
    #[error("{failure}; it can't be moved away: {not_removed}")]
    NotMoved {
        /// Why the file failed.
        failure: Box<Failure>,
        /// Why it was not moved.
        not_removed: NotRemoved,
    },
    /// `push` found the file gone.
    #[error("it is gone")]
    Gone,
    /// `push` gave the file up after many tries: each time it was not settled.
    #[error("{0}, again and again")]
    NeverSettled(#[source] Unsettled),
    /// This program panicked in the middle of the file.
    #[error("internal error, please report it; the file is tried again at the next walk")]
    Internal,
}

/// Why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The file can't be opened.
    #[error(transparent)]
    NotOpened(OpenError),
    /// This user may not open the file. Holds the owner and the mend.
    #[error("it can't be read: {0}")]
    Denied(String),
    /// Reading failed.
    #[error("it can't be read: {0}")]
    NotRead(#[source] io::Error),
    /// Reading failed while the file was sent.
    #[error(transparent)]
    NotSent(VaultError),
}

/// What a file waits for.
#[derive(Debug, thiserror::Error)]
pub enum BlockedBy {
    /// The service failed with this file again and again, though it works for small requests.
    #[error(transparent)]
    Service(VaultError),
    /// The file's own folder in the vault can't be used.
    #[error("its folder in the vault can't be used: {0}")]
    Folder(#[source] VaultError),
    /// The store gives no answer about the file's document.
    #[error("whether the store has it can't be found out: {0}")]
    Unanswered(#[source] VaultError),
    /// The process, or the system, has nothing left to open the file with.
    #[error(transparent)]
    Scarcity(OpenError),
    /// As many large files as may wait are waiting already.
    #[error("other large files are sent first; it is looked at again at the next walk through the folder")]
    LargeFiles,
    /// The file is stored, and is to be removed only once its receipt has a copy in the fleet's database.
    #[error(
        "it is stored; it stays here until the fleet's database has its receipt, and is looked at again at the next walk through the folder"
    )]
    Receipts,
}

/// Why a file must settle again.
#[derive(Debug, thiserror::Error)]
pub enum Unsettled {
    /// The file is open for writing.
    #[error("it is open for writing")]
    OpenForWriting,
    /// A process opened the file for writing while it was transferred.
    #[error("somebody opened it for writing")]
    OpenedForWriting,
    /// The file changed while it was read.
    #[error("it changed while it was read")]
    Changed,
    /// The file was small when it settled, and is large now: it must wait for a place among the large ones.
    #[error("it has grown since it settled")]
    Grown,
    /// Another upload, of this process or of another one, has the file.
    #[error("another upload of it is under way")]
    Locked,
    /// An older upload of the same name, which was cut off, was stored after this one and covers it.
    #[error("an older upload of its name has come over it in the store")]
    Covered,
    /// The file was to be removed, and the removal found it changed or in use.
    #[error(transparent)]
    NotRemoved(NotRemoved),
}
