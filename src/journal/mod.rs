//! What was tried, what is stored, what was removed: on disk before it is acted on.
//!
//! An *intent* is written before each upload, its *outcome* after it, *removed* after the unlink. A receipt is durable
//! before its file is removed; after a crash every open intent is resolved by asking the store.
//!
//! The face is narrow on purpose: another backend (several hosts, one folder) can stand behind it.
//!
//! Inside: `writer` is the one thread that commits, in groups; `record` writes, `query` reads, `chain` looks along
//! all receipts and prunes them; `receipt` says, purely, what a receipt's hash is and where a chain is broken, which `report` puts in words; `fate` is the chain of
//! what became of the local files; `anchor` is what is kept of both elsewhere, `heads` reads and compares their ends, `key` signs;
//! `row`
//! turns rows into the types below; `services` finds the journal of a service; `schema` and `open` bring a journal to where it can be used.

pub mod anchor;
mod chain;
mod entry;
mod fate;
mod fields;
mod heads;
mod key;
mod open;
mod query;
mod receipt;
mod record;
mod report;
mod row;
mod schema;
mod services;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

pub use self::anchor::{Claim, Compared};
pub(crate) use self::entry::GONE_AT_START;
pub use self::entry::{AttemptId, Begun, End, Entry, Intent, Link, LocalEnd, Record, State, Stored};
pub use self::heads::{Anchored, Signed};
pub use self::query::{Filter, NamePattern, Receipt};
pub use self::report::{Broken, ChainEnd, CheckReport, Damage};
pub use self::services::Opened;
use self::writer::{Writer, explain, is_busy};
use crate::budget;
use crate::file::FileStamp;
use crate::vault::{DocumentId, RemotePath};

/// The journal. A clone is another handle to the same one; one writer thread commits what all of them ask for in groups.
#[derive(Debug, Clone)]
pub struct Journal {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    writer: Writer,
    /// For reads, which must not wait for the writer. Opened as they are needed.
    readers: Mutex<Vec<Connection>>,
    /// Failures written by this process.
    failures: AtomicU64,
}

/// Why the journal did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// It can't be opened, read or written: our own trouble. Uploads stop; nothing is removed.
    #[error("{0}")]
    Unusable(String),
    /// What was asked for contradicts what it holds, and nothing was written: no trouble but that of who asked.
    #[error("{0}")]
    Refused(String),
}

impl Journal {
    /// Opens or creates the journal in a state directory (made with mode 0700 where missing).
    ///
    /// Several processes may have it open at once. The last handle of this one waits, when dropped, until all that was
    /// asked for is written.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        let (connection, path) = open::open(state_dir)?;
        let writer = Writer::start(connection, path.clone())?;
        Ok(Self { inner: Arc::new(Inner { path, writer, readers: Mutex::default(), failures: AtomicU64::new(0) }) })
    }

    /// Has the journal belong to this service; [`JournalError::Refused`] where it belongs to another one, whose receipts must not
    /// count for this. A journal of an older version goes to the first that claims it. Answers whether it was such a one.
    pub async fn claim(&self, service: &str) -> Result<bool, JournalError> {
        let service = service.to_owned();
        self.write(move |connection| record::claim(connection, &service)).await
    }

    /// Writes an intent, unless its name at its destination belongs to another local path. Durable on return.
    ///
    /// A name belongs to the path with an open attempt or a receipt for it. The same path may begin again. Where the
    /// returned future is dropped, the intent may be written all the same: it is then one of [`Journal::unresolved`].
    pub async fn begin(&self, intent: Intent) -> Result<Begun, JournalError> {
        self.write(move |connection| record::begin(connection, &intent, SystemTime::now())).await
    }

    /// Writes the receipt of an attempt. Durable on return.
    ///
    /// Also of one that was abandoned: another process may have asked for the document too early, and the store's word
    /// counts. The same receipt once more is no error. An error doesn't prove that nothing was written: asking again is safe.
    pub async fn stored(&self, id: AttemptId, stored: Stored) -> Result<(), JournalError> {
        self.write(move |connection| record::stored(connection, id, &stored, SystemTime::now())).await
    }

    /// Writes the receipt of a file that the store has already, under a name that may belong to another local path.
    pub async fn adopt(&self, intent: Intent, stored: Stored) -> Result<AttemptId, JournalError> {
        self.write(move |connection| record::adopt(connection, &intent, &stored, SystemTime::now())).await
    }

    /// Writes the receipt of an attempt whose file was moved since: for its old path, and in an attempt of its own for `intent`,
    /// which says where it is now. Answers that one's number.
    pub async fn moved(&self, id: AttemptId, intent: Intent, stored: Stored) -> Result<AttemptId, JournalError> {
        self.write(move |connection| record::moved(connection, id, &intent, &stored, SystemTime::now())).await
    }

    /// Writes that a file failed before anything was sent, in the place of what an earlier failure of its path said.
    pub async fn refuse(&self, intent: Intent, reason: String) -> Result<AttemptId, JournalError> {
        let id = self.write(move |connection| record::refuse(connection, &intent, &reason, SystemTime::now())).await?;
        self.limit_failures().await?;
        Ok(id)
    }

    /// Now and then forgets the oldest failures beyond the most that are kept: any number of names that can't be sent may be put into
    /// a folder.
    async fn limit_failures(&self) -> Result<(), JournalError> {
        let written = self.inner.failures.fetch_add(1, Ordering::Relaxed);
        if !written.is_multiple_of(budget::FAILURES_COUNTED_EVERY) {
            return Ok(());
        }
        let forgotten = self.write(|connection| record::limit_failures(connection, budget::FAILURES)).await?;
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                most = budget::FAILURES,
                "the journal has too many failures: the oldest were forgotten"
            );
        }
        Ok(())
    }

    /// Some failures without a receipt that began before this time, oldest first, from the one behind `after` on.
    pub async fn failures_page(&self, before: SystemTime, after: AttemptId) -> Result<Vec<Entry>, JournalError> {
        self.read(move |connection| query::failures_page(connection, before, after)).await
    }

    /// Forgets these failures, but for those that have a receipt by now. Answers how many.
    pub async fn forget_failures(&self, ids: Vec<AttemptId>) -> Result<u64, JournalError> {
        self.write(move |connection| record::forget_failures(connection, &ids)).await
    }

    /// Has a failure stand as the newest of its path, where people look for it, though another file has had that path since,
    /// and has not failed. Answers its number from now on.
    pub async fn renew(&self, id: AttemptId) -> Result<AttemptId, JournalError> {
        // Two that have failed must not take turns for ever.
        if self.look(move |connection| query::path_has_failed(connection, id)).await? {
            return Ok(id);
        }
        self.write(move |connection| record::renew(connection, id, SystemTime::now())).await
    }

    /// Writes how an attempt ended. Committed, but not waited for beyond that: losing it in a power cut costs a look, no file.
    ///
    /// The last word counts. `Removed`, `Moved` and `Kept` need a receipt.
    pub async fn end(&self, id: AttemptId, end: End) -> Result<(), JournalError> {
        let has_failed = matches!(end, End::Failed { .. });
        self.write(move |connection| record::end(connection, id, &end)).await?;
        if has_failed { self.limit_failures().await } else { Ok(()) }
    }

    /// Writes how several attempts ended, in one commit.
    pub async fn end_all(&self, ends: Vec<(AttemptId, End)>) -> Result<(), JournalError> {
        self.write(move |connection| ends.iter().try_for_each(|(id, end)| record::end(connection, *id, end))).await
    }

    /// The entry that speaks for a file at a local path: the newest of just this file at the path, else one of it without a
    /// receipt under whatever path, else the newest of the path. A file that was set aside may have been followed by others;
    /// one whose answer was lost may have been moved.
    pub async fn of_file(&self, root: &Path, relative: &Path, stamp: FileStamp) -> Result<Option<Entry>, JournalError> {
        let (root, relative) = (root.to_owned(), relative.to_owned());
        self.look(move |connection| query::of_file(connection, &root, &relative, &stamp)).await
    }

    /// Open attempts of files with this inode number, under whatever path, oldest first. Looks at the newest thousand open attempts.
    pub async fn open_of_inode(&self, inode: u64) -> Result<Vec<Entry>, JournalError> {
        self.look(move |connection| query::open_of_inode(connection, inode, budget::OPEN_ATTEMPTS)).await
    }

    /// Whether an attempt at a name in a folder of the vault that began before `before` has no outcome, or was given up without one
    /// and began at `since` or later. Where a start gave it up, it counts whenever it began, until the name has a receipt again: a large
    /// file may have been sent for hours, and just before that start. Looks at the newest `most` attempts of the name.
    pub async fn was_cut_off(
        &self,
        folder: &DocumentId,
        name: &str,
        (since, before): (SystemTime, SystemTime),
        most: usize,
    ) -> Result<bool, JournalError> {
        let (folder, name) = (folder.clone(), name.to_owned());
        self.look(move |connection| query::was_cut_off(connection, &folder, &name, (since, before), most)).await
    }

    /// Whether a later attempt is of the same local path.
    pub async fn has_newer(&self, id: AttemptId) -> Result<bool, JournalError> {
        self.look(move |connection| query::has_newer(connection, id)).await
    }

    /// Whether a later attempt is under the same name in the same folder of the vault, of whatever local path.
    pub async fn has_newer_of_name(&self, id: AttemptId) -> Result<bool, JournalError> {
        self.look(move |connection| query::has_newer_of_name(connection, id)).await
    }

    /// All entries of a root that are open or stored but not ended, oldest first: what a start has to resolve.
    pub async fn unresolved(&self, root: &Path) -> Result<Vec<Entry>, JournalError> {
        let root = root.to_owned();
        self.look(move |connection| query::unresolved(connection, &root)).await
    }

    /// Lets failed files be tried again: these (absolute; a folder means all below it), or all where there are none.
    /// Answers how many.
    pub async fn retry(&self, paths: Vec<PathBuf>) -> Result<usize, JournalError> {
        let wanted = move |root: &Path, relative: &Path| paths.is_empty() || record::is_below(&paths, root, relative);
        self.write(move |connection| record::clear(connection, &wanted)).await
    }

    /// Deletes the oldest receipts: those stored before this time, up to the first whose file still waits
    /// to be dealt with. What remains can still be checked; a pruned name belongs to nobody. Answers how many.
    pub async fn prune(&self, before: SystemTime) -> Result<u64, JournalError> {
        let mut count = 0;
        loop {
            let dir = self.dir();
            let prune = move |connection: &Connection| chain::prune(connection, &dir, before, SystemTime::now());
            let pruned = self.write(prune).await?;
            count += pruned as u64;
            if pruned < chain::PRUNED_AT_ONCE {
                self.write(move |connection| chain::sweep(connection, before)).await?;
                return Ok(count);
            }
        }
    }

    /// At most `limit` of the entries that a filter takes, oldest first, from the one behind `after` on.
    pub async fn history_page(
        &self,
        filter: &Filter,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let filter = filter.clone();
        self.read(move |connection| query::history_page(connection, &filter, after, limit)).await
    }

    /// At most `limit` receipts stored at `since` or later, in the chain's order, from the one behind `after` on (0: all).
    pub async fn receipts_page(
        &self,
        since: Option<SystemTime>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Receipt>, JournalError> {
        self.read(move |connection| query::receipts_page(connection, since, after, limit)).await
    }

    /// The newest receipt for a document's path.
    pub async fn receipt_of(&self, path: &RemotePath) -> Result<Option<Stored>, JournalError> {
        let path = path.clone();
        self.read(move |connection| query::receipt_of(connection, &path)).await
    }

    /// Looks along the whole chain of receipts, and that of what became of their files.
    pub async fn check(&self) -> Result<CheckReport, JournalError> {
        let dir = self.dir();
        self.read(move |connection| chain::check(connection, &dir)).await
    }

    /// An anchor of the chains as they are now, signed; the journal's key is made where there is none.
    pub async fn sign_anchor(&self) -> Result<Signed, JournalError> {
        let dir = self.dir();
        self.write(move |connection| heads::sign(connection, &dir, SystemTime::now())).await
    }

    /// What an anchor of now would say; without a key where the journal has none yet.
    pub async fn ends(&self) -> Result<anchor::Anchor, JournalError> {
        let (dir, key) = (self.dir(), self.key().await?.unwrap_or_default());
        self.read(move |connection| heads::ends(connection, &dir, &key, SystemTime::now())).await
    }

    /// The lock of who puts an anchor, held while the file is; `None` where another one has it.
    pub fn anchoring(&self) -> Result<Option<std::fs::File>, JournalError> {
        let why = |error| JournalError::Unusable(format!("the lock beside the journal can't be used: {error}"));
        open::anchoring(&self.dir()).map_err(why)
    }

    /// Notes that an anchor was put into the vault.
    pub async fn anchored(&self, anchored: Anchored) -> Result<(), JournalError> {
        self.write(move |connection| heads::note(connection, &anchored)).await
    }

    /// The newest anchor that was put into the vault.
    pub async fn last_anchor(&self) -> Result<Option<Anchored>, JournalError> {
        self.read(heads::last).await
    }

    /// Compares what is claimed of the chains with what the journal has, claim by claim.
    pub async fn compare(&self, claims: Vec<Claim>) -> Result<Vec<Compared>, JournalError> {
        self.read(move |connection| heads::compare(connection, &claims)).await
    }

    /// The public key of the journal's own key; `None` where it has none yet.
    pub async fn key(&self) -> Result<Option<Vec<u8>>, JournalError> {
        let dir = self.dir();
        self.read(move |_| Ok(key::Key::public_at(&dir)))
            .await?
            .map_err(|error| JournalError::Unusable(error.to_string()))
    }

    /// The folder that the journal lies in.
    fn dir(&self) -> PathBuf {
        self.inner.path.parent().map(Path::to_owned).unwrap_or_default()
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnMut(&Connection) -> Result<T, writer::Fault> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.inner.writer.ask(work).await
    }

    /// A short read of what is committed, on the caller's thread: it takes some microseconds, and a way to another thread and back
    /// takes tens. Only where it can't be answered at once (no connection is open yet, or another process holds the journal) it is
    /// done on a thread that may wait.
    async fn look<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        match self.inner.read_at_once(&work) {
            Some(done) => done,
            None => self.read(work).await,
        }
    }

    /// A long read, beside the writes.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, JournalError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || inner.read(work)).await;
        done.unwrap_or_else(|stopped| Err(JournalError::Unusable(format!("reading the journal was ended: {stopped}"))))
    }
}

impl Inner {
    /// Reads without waiting for anybody; `None` where that can't be.
    fn read_at_once<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Option<Result<T, JournalError>> {
        // To open one takes a way to the disk, and may have to wait.
        let connection = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        let value = connection.busy_timeout(Duration::ZERO).and_then(|()| work(&connection));
        let restored = connection.busy_timeout(open::BUSY);
        if restored.is_ok() {
            self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        match value {
            Err(error) if is_busy(&error) => None,
            value => Some(value.map_err(|error| explain(&self.path, &error))),
        }
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        // Whoever panicked while holding it left at worst one connection less.
        let idle = self.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = idle.map_or_else(|| open::connect(&self.path), Ok);
        let connection = connection.map_err(|error| explain(&self.path, &error))?;
        let value = work(&connection).map_err(|error| explain(&self.path, &error));
        self.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a read that had to wait for another process's lock stopped the whole runtime for up to ten seconds.
    #[tokio::test]
    async fn a_read_that_must_wait_for_another_process_lets_all_else_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        // A connection that was used is there to answer at once.
        journal.unresolved(Path::new("/")).await.unwrap();
        let other = open::connect(&journal.inner.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        // No read of the journal's own needs this lock; it stands for whatever may hold one up.
        let read = journal.look(|connection| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
        let mut ticks = 0;
        let ticking = async {
            while ticks < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ticks += 1;
            }
            other.execute_batch("ROLLBACK").unwrap();
        };
        // While the read blocks this only thread nobody ends the other transaction, and the read fails.
        let (read, ()) = tokio::join!(read, ticking);
        read.unwrap();
        assert_eq!(ticks, 20);
    }
}
