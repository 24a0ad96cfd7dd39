//! The one thread that writes: it takes whatever waits into one transaction, commits, and answers.
//!
//! It knows nothing of what it is asked to do.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use super::JournalError;

/// How many requests one transaction takes at most: more would only make the first of them wait.
const GROUP: usize = 256;

/// How many requests may wait before those who ask have to wait with them.
const QUEUE: usize = 1024;

/// Why one request can't be done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// `SQLite` said no. The group is undone, for each of them.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// The request makes no sense, and has written nothing. Others in its group go on.
    #[error("{0}")]
    Refused(String),
}

/// What is asked of the thread.
trait Job: Send {
    /// Called a second time where the first time's group was undone.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Called once, after the commit or with the reason why there was none.
    fn answer(self: Box<Self>, failure: Option<&JournalError>);
}

struct Ask<T, F> {
    work: F,
    value: Option<Result<T, JournalError>>,
    reply: oneshot::Sender<Result<T, JournalError>>,
}

impl<T, F> Job for Ask<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, Fault> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.value = Some(match (self.work)(connection) {
            Ok(value) => Ok(value),
            Err(Fault::Refused(why)) => Err(JournalError::Refused(why)),
            Err(Fault::Sql(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<&JournalError>) {
        let value = match (failure, self.value) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(value)) => value,
            (None, None) => Err(stopped()),
        };
        // Whoever asked may have been cancelled meanwhile; what is written stays written.
        let _gone = self.reply.send(value);
    }
}

/// The thread, and the way to it.
pub(super) struct Writer {
    /// `None` once it is told to stop.
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Starts the thread on a connection that is ready for use. `path` is named in errors.
    pub(super) fn start(connection: Connection, path: PathBuf) -> Result<Self, JournalError> {
        let (queue, requests) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || serve(&connection, &path, requests))
            .map_err(|error| JournalError::Unusable(format!("the journal's thread can't be started: {error}")))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Has `work` done in the next group; the answer comes after its commit. `work` runs again where its group was undone.
    pub(super) async fn ask<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let job = Box::new(Ask { work, value: None, reply });
        queue.send(job).await.map_err(|_closed| stopped())?;
        answer.await.map_err(|_dropped| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // What was asked for without waiting (the ends of files) is still written: only then the thread is done.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn stopped() -> JournalError {
    JournalError::Unusable("the journal's thread has stopped: start the program anew, and report this".to_owned())
}

/// Which file a path leads to.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn serve(connection: &Connection, path: &Path, mut requests: mpsc::Receiver<Box<dyn Job>>) {
    let opened = file_at(path);
    let mut group = Vec::with_capacity(GROUP);
    while let Some(first) = requests.blocking_recv() {
        group.push(first);
        while group.len() < GROUP
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        // What is written into a file that was deleted is gone with this process: no receipt, so nothing may be removed.
        let failure = if file_at(path) == opened {
            run_group(connection, &mut group).err().map(|error| explain(path, &error))
        } else {
            Some(removed(path))
        };
        group.drain(..).for_each(|job| job.answer(failure.as_ref()));
    }
}

fn removed(path: &Path) -> JournalError {
    JournalError::Unusable(format!(
        "the journal {} was removed or replaced while the program runs: put it back, or start the program anew; until then nothing \
         is uploaded or removed",
        path.display()
    ))
}

fn run_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    // Still open only where the last group could not even be undone.
    undo(connection)?;
    // The chain's end is read and moved on under the write lock, so that it stays one chain over several processes.
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let done = group
        .iter_mut()
        .try_for_each(|job| job.run(connection))
        .and_then(|()| connection.prepare_cached("COMMIT")?.execute([]).map(drop));
    if done.is_err() {
        undo(connection)?;
    }
    done
}

fn undo(connection: &Connection) -> rusqlite::Result<()> {
    if connection.is_autocommit() { Ok(()) } else { connection.execute_batch("ROLLBACK") }
}

/// Whether another connection has a lock that was needed.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the journal is as large as this process may make a file: `SQLite` tells that as a disk that fails.
fn meets_size_limit(path: &Path) -> bool {
    let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current else { return false };
    let name = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    ["", "-wal", "-shm"].into_iter().any(|ending| {
        let size = std::fs::metadata(name(ending)).map_or(0, |found| found.len());
        // The next piece that it would write is no larger.
        size > 0 && size + 64 * 1024 > limit
    })
}

/// The error for the person who gets it: which file, why, what to do.
pub(super) fn explain(path: &Path, error: &rusqlite::Error) -> JournalError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            "its disk is full; free some space there, nothing is uploaded or removed until it can be written"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            "it can't be written; make its folder writable for this user"
        }
        Some(ErrorCode::SystemIoFailure) if meets_size_limit(path) => {
            "it can't grow, for this process may make no file larger (ulimit -f, LimitFSIZE=); raise that limit, nothing is uploaded \
             or removed until it can be written"
        }
        Some(ErrorCode::SystemIoFailure) => "its disk fails; look at the system's log",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another process holds it for too long; end that one or try again"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "it is damaged; stop all instances, keep a copy, and put back a backup of it or move it away"
        }
        Some(ErrorCode::CannotOpen) => "it can't be opened; look at its folder and the permissions there",
        _ => "it can't be used",
    };
    JournalError::Unusable(format!("the journal {}: {advice} ({error})", path.display()))
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
