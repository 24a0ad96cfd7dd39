//! What was tried, what is stored, what was removed: on disk before it is acted on.
//!
//! An *intent* is written before each upload, its *outcome* after it, *removed* after the unlink. A receipt is durable
//! before its file is removed; after a crash every open intent is resolved by asking the store.
//!
//! The face is narrow on purpose: another backend (several hosts, one folder) can stand behind it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::file::Version;
use crate::vault::{DocumentId, RemotePath};

/// The journal. A clone is another handle to the same one; one writer thread commits what all of them ask for in groups.
#[derive(Debug, Clone)]
pub struct Journal {}

/// The journal can't be opened, read or written: our own trouble. Uploads stop; nothing is removed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct JournalError(pub String);

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
    pub version: Version,
    /// The destination folder's path.
    pub dest: RemotePath,
    /// The destination folder's id.
    pub folder: DocumentId,
    /// The name that is sent.
    pub name: String,
}

/// What the store confirmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// Lower-case hexadecimal.
    pub sha256: String,
    /// Bytes sent.
    pub size: u64,
    /// The document's id.
    pub document: DocumentId,
    /// The document's version, where the store tells.
    pub document_version: Option<String>,
    /// Who was logged in.
    pub user: String,
    /// Found there with the same bytes, not sent (again).
    pub adopted: bool,
}

/// How an attempt ended, once it is known.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// Stored, and the local file is unlinked.
    Removed,
    /// Stored, and the local file was moved to this path.
    Moved(PathBuf),
    /// Stored, and the local file stays as asked for.
    Kept,
    /// Stored, but the local file is no longer what was stored: it goes again.
    Superseded,
    /// This file's trouble; not tried again until it changes or `retry`.
    Failed {
        /// For people: what failed and why.
        reason: String,
    },
    /// The attempt came to nothing and the store took nothing: it goes again.
    Abandoned {
        /// For people.
        reason: String,
    },
}

/// Where an entry stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// An intent without an outcome: unknown to us, the store must be asked.
    Open,
    /// Stored, with a receipt; the local file not yet dealt with.
    Stored,
    /// Over.
    Ended(End),
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
    /// Where it stands.
    pub state: State,
    /// The receipt's content, where the store confirmed.
    pub stored: Option<Stored>,
    /// When the store's confirmation was written.
    pub stored_at: Option<SystemTime>,
}

/// The answer to an intent.
#[derive(Debug, Clone, PartialEq)]
pub enum Begun {
    /// Written; upload under this number.
    Go(AttemptId),
    /// Another local path has an open attempt or a receipt for this name in this destination: nothing was written.
    NameTaken(Box<Entry>),
}

impl Journal {
    /// Opens or creates the journal in a state directory (made with mode 0700 where missing).
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let _ = state_dir;
        Ok(Self {})
    }

    /// Writes an intent, unless its name at its destination belongs to another local path. Durable on return.
    pub async fn begin(&self, intent: Intent) -> Result<Begun, JournalError> {
        let _ = intent;
        Ok(Begun::Go(AttemptId(0)))
    }

    /// Writes the receipt of an attempt. Durable on return.
    pub async fn stored(&self, id: AttemptId, stored: Stored) -> Result<(), JournalError> {
        let _ = (id, stored);
        Ok(())
    }

    /// Writes the receipt of a file that the store has already, under a name that may belong to another local path.
    pub async fn adopt(&self, intent: Intent, stored: Stored) -> Result<AttemptId, JournalError> {
        let _ = (intent, stored);
        Ok(AttemptId(0))
    }

    /// Writes how an attempt ended. Committed, but not waited for beyond that: losing it in a power cut costs a look, no file.
    pub async fn end(&self, id: AttemptId, end: End) -> Result<(), JournalError> {
        let _ = (id, end);
        Ok(())
    }

    /// The newest entry of a local path.
    pub async fn latest(&self, root: &Path, relative: &Path) -> Result<Option<Entry>, JournalError> {
        let _ = (root, relative);
        Ok(None)
    }

    /// All entries of a root that are open or stored but not ended, oldest first: what a start has to resolve.
    pub async fn unresolved(&self, root: &Path) -> Result<Vec<Entry>, JournalError> {
        let _ = root;
        Ok(Vec::new())
    }
}
