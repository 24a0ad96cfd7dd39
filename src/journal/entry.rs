//! What the journal holds: an attempt, from its intent to its end, and its receipt's place in the chain.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::file::FileStamp;
use crate::vault::{DocumentId, RemotePath};

/// One attempt's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub i64);

/// What is about to be uploaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// The watched folder, absolute; for `push` the file's folder.
    pub root: PathBuf,
    /// The file's path below it, byte for byte.
    pub relative: PathBuf,
    /// Which file, and which state of it.
    pub stamp: FileStamp,
    /// The destination folder's path.
    pub dest: RemotePath,
    /// The destination folder's id.
    pub folder: DocumentId,
    /// The name that is sent.
    pub name: String,
}

impl Intent {
    /// Whether the intent names a folder of the vault: a file that can't be sent at all has an intent too, so that it can fail.
    pub fn names_folder(&self) -> bool {
        !self.folder.0.is_empty()
    }
}

/// What the vault confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Bytes sent.
    pub size: u64,
    /// The document's id.
    pub document: DocumentId,
    /// The document's version, where the service tells it.
    pub document_version: Option<String>,
    /// Who was logged in.
    pub user: String,
    /// The vault had a document with the same bytes already, so nothing was sent (again).
    pub already_present: bool,
}

/// Why a start abandons an upload without an outcome: its file is gone, so no upload asks the vault about it. It may have been sent
/// whole, and just now.
pub(crate) const GONE_AT_START: &str = "the file was gone at the next start";

/// What became of the local file of a document that the vault has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalEnd {
    /// The file is unlinked.
    Removed,
    /// The file was moved to this path.
    Moved(PathBuf),
    /// The file stays, as the configuration says.
    Kept,
}

/// How an attempt ended, once it is known.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Stored, and the local file is dealt with.
    Local(LocalEnd),
    /// Stored, but the local file is no longer what was stored: it is uploaded again.
    Superseded,
    /// The file itself can't be uploaded. It is not tried again until it changes or `retry` clears the failure.
    Failed {
        /// What failed and why.
        reason: String,
    },
    /// The attempt came to nothing, and as far as is known the vault took nothing: the file is uploaded again.
    Abandoned {
        /// Why the attempt was given up.
        reason: String,
    },
}

/// How far an attempt is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// An intent without an outcome: the vault must be asked.
    Open,
    /// Stored, with a receipt; the local file not yet dealt with.
    Stored,
    /// Over.
    Ended(End),
}

impl State {
    /// Whether the file itself could not be uploaded.
    pub(crate) fn is_failed(&self) -> bool {
        matches!(self, Self::Ended(End::Failed { .. }))
    }
}

/// One attempt as the journal holds it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its number, growing.
    pub id: AttemptId,
    /// What was to be uploaded.
    pub intent: Intent,
    /// When the intent was written.
    pub started: SystemTime,
    /// How far it is.
    pub state: State,
    /// The receipt's content, where the vault confirmed.
    pub stored: Option<Stored>,
    /// When the vault's confirmation was written.
    pub stored_at: Option<SystemTime>,
    /// The number of the receipt.
    pub receipt: Option<i64>,
}

/// The answer to an intent.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// The intent is written; upload under this number.
    Go(AttemptId),
    /// Another local path has an open attempt or a receipt for this name in this destination: nothing was written.
    NameTaken(Box<Entry>),
}

/// A receipt's place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1, without gaps.
    pub seq: i64,
    /// The hash of the receipt before it, lower-case hexadecimal; zeros for the first.
    pub prev: String,
    /// Its own hash, lower-case hexadecimal.
    pub hash: String,
}

/// An entry with its place in the chain, for commands that show or prove it.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The attempt.
    pub entry: Entry,
    /// Its receipt's place in the chain. `None` where the vault confirmed nothing, or the receipt was pruned.
    pub link: Option<Link>,
}
