//! The journal: which uploads were begun, what the vault has stored, and what became of the local files.
//!
//! An *intent* is written before each upload, a *receipt* after it, and the *local end* after the file was dealt with. A receipt is
//! on the disk before its file is removed; after a crash the vault is asked about every intent without an outcome.
//!
//! [`Journal`] is the only way in, and kept narrow: another backend (several hosts, one folder) can stand behind it. Its methods
//! stand beside the SQL that they run:
//!
//! - `attempts` writes an attempt from its intent to its end; `failures` writes and forgets those that failed;
//! - `query` answers what an upload asks before it begins; `history` pages through attempts and receipts for those who look; `look`
//!   answers what a look at a folder asks about many files, `stored_today` how much was stored since a point in time;
//! - `chain` checks and prunes the chain of receipts; `local_ends` is the chain of what became of the local files; `heads` reads,
//!   signs and compares the ends of both chains, `anchor_lock` lets one process at a time put anchors;
//! - `links` hands the chain of receipts out byte for byte, for copies elsewhere;
//! - `service` says which service the journal belongs to; `state_dir` finds the journal of a service.
//!
//! Pure: `receipt` (what a receipt's hash is, and where a chain is broken), `report` (the same in words), `anchor` (what is kept
//! of both chains elsewhere), `known_head` (the head of a chain as it is known from elsewhere).
//!
//! Below them: `entry` (the types), `sql` and `row` (the names in the SQL, and rows turned into types), `marks` (the table of the
//! chains' ends), `fields` (what is hashed), `key` (what signs, `signer` apart from a journal), `writer` (the one thread that commits, in groups), `readers`,
//! `open`, `schema`, `error`.

pub mod anchor;
mod anchor_lock;
mod attempts;
mod chain;
mod entry;
mod error;
mod failures;
mod fields;
mod heads;
mod history;
mod key;
mod known_head;
mod links;
mod local_ends;
mod look;
mod marks;
mod open;
mod query;
mod readers;
mod receipt;
mod report;
mod row;
mod schema;
mod service;
#[cfg(feature = "fleet")]
mod signer;
mod sql;
mod state_dir;
mod stored_today;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rusqlite::Connection;
use tokio::sync::watch;

pub(crate) use self::entry::GONE_AT_START;
pub use self::entry::{AttemptId, Begun, End, Entry, Intent, Link, LocalEnd, Record, State, Stored};
use self::error::RequestError;
pub use self::error::{DatabaseProblem, JournalError, RefusedRequest, Unusable};
pub use self::heads::{AnchorRecord, SignedAnchor};
pub use self::history::{Filter, NamePattern, Receipt};
pub use self::key::{KeyError, KeyProblem};
pub use self::known_head::{Chain, HeadComparison, KnownHead, NotAHead};
pub use self::links::{ChainLink, Ends, is_head_signed};
pub(crate) use self::look::Known;
use self::open::Access;
use self::readers::Readers;
pub use self::report::{ChainDefect, ChainEnd, CheckReport, DefectKind};
#[cfg(feature = "fleet")]
pub(crate) use self::signer::{Signer, is_signed_by};
pub use self::state_dir::Ownership;
pub(crate) use self::stored_today::StoredSince;
use self::writer::Writer;

/// A handle to the journal. A clone is another handle to the same one: one thread writes what all of them ask for.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// `None` where the journal was opened for reads alone.
    writer: Option<Writer>,
    readers: Readers,
    /// How many failures this process has written.
    failures: AtomicU64,
    /// Changes whenever this process has written a receipt.
    receipts: watch::Sender<()>,
}

impl Journal {
    /// Opens or creates the journal in a state directory (made with mode 0700 where missing).
    ///
    /// Several processes may have it open at once. When the last handle of this process is dropped, it waits until everything
    /// that was asked for is written.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let (connection, path) = open::open(state_dir)?;
        let writer = Writer::start(connection, path.clone())?;
        let readers = Readers::new(path.clone(), Access::Full);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writer: Some(writer),
                readers,
                failures: AtomicU64::new(0),
                receipts: watch::Sender::default(),
            }),
        })
    }

    /// Opens the journal in this folder for reads alone. Makes and changes no file.
    fn open_to_peek(dir: &Path) -> Result<Self, JournalError> {
        let path = open::file_in(dir);
        open::check_to_peek(&path)?;
        let readers = Readers::new(path.clone(), Access::Peek);
        Ok(Self {
            inner: Arc::new(Inner {
                path,
                writer: None,
                readers,
                failures: AtomicU64::new(0),
                receipts: watch::Sender::default(),
            }),
        })
    }

    /// The folder that the journal lies in.
    fn dir(&self) -> PathBuf {
        self.inner.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    /// Changes whenever this process has written a receipt.
    #[cfg(feature = "fleet")]
    pub(crate) fn receipts_written(&self) -> watch::Receiver<()> {
        self.inner.receipts.subscribe()
    }

    /// The size of the journal and its write-ahead log on the disk, in bytes. Blocks.
    pub(crate) fn size_on_disk(&self) -> io::Result<u64> {
        open::size(&self.inner.path)
    }

    /// Runs `work` in the writer's next commit. `work` runs again where its group had to be undone.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, RequestError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let Inner { writer, path, .. } = &*self.inner;
        let writer = writer.as_ref().ok_or_else(|| Unusable::ReadOnly { path: path.clone() })?;
        writer.request(work).await
    }

    /// A read that takes some microseconds, on the caller's thread: the way to another thread and back takes tens. A thread that
    /// may block runs it only where no connection is open yet, or another process holds the journal.
    async fn short_read<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        match self.inner.readers.read_at_once(&work) {
            Some(done) => done,
            None => self.read(work).await,
        }
    }

    /// A long read, on a thread that may block, beside the writes.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || inner.readers.read(work)).await;
        done.unwrap_or_else(|ended| Err(Unusable::ReadEnded(Arc::new(ended)).into()))
    }
}
