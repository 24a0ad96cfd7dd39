//! The one thread that writes: it takes all waiting requests into one transaction, commits, and answers them.
//!
//! A request is a closure; the thread knows nothing of what it does.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::RequestError;
use super::{JournalError, Unusable};

/// How many requests one transaction takes at most: more would only make the first of them wait.
const GROUP: usize = 256;

/// How many requests may wait in the queue; further callers wait for a place in it.
const QUEUE: usize = 1024;

/// A request, whatever its answer's type.
trait Job: Send {
    /// Runs the request. Called again where the group of the first time was undone.
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()>;
    /// Sends the answer. Called once, after the commit or with the reason why there was none.
    fn answer(self: Box<Self>, failure: Option<&JournalError>);
}

struct Request<T, F> {
    work: F,
    value: Option<Result<T, JournalError>>,
    reply: oneshot::Sender<Result<T, JournalError>>,
}

impl<T, F> Job for Request<T, F>
where
    T: Send,
    F: FnMut(&Connection) -> Result<T, RequestError> + Send,
{
    fn run(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.value = Some(match (self.work)(connection) {
            Ok(value) => Ok(value),
            Err(RequestError::Rejected(error)) => Err(error),
            Err(RequestError::Sql(error)) => return Err(error),
        });
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<&JournalError>) {
        let value = match (failure, self.value) {
            (Some(failure), _) => Err(failure.clone()),
            (None, Some(value)) => value,
            (None, None) => Err(Unusable::Stopped.into()),
        };
        // The caller may have been cancelled meanwhile; what is written stays written.
        let _gone = self.reply.send(value);
    }
}

/// The thread, and the queue to it.
pub(super) struct Writer {
    /// `None` once the thread is to stop.
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
            .map_err(|error| Unusable::NoThread(Arc::new(error)))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Runs `work` in the next group; the answer comes after its commit. `work` runs again where its group was undone.
    pub(super) async fn request<T, F>(&self, work: F) -> Result<T, JournalError>
    where
        T: Send + 'static,
        F: FnMut(&Connection) -> Result<T, RequestError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(Unusable::Stopped)?;
        let job = Box::new(Request { work, value: None, reply });
        queue.send(job).await.map_err(|_closed| Unusable::Stopped)?;
        answer.await.map_err(|_dropped| Unusable::Stopped)?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The thread still writes requests whose callers do not wait (the ends of files); only then it is done.
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
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
        // What is written into a deleted file is gone with this process: no receipt, so nothing may be removed.
        let failure = if file_at(path) == opened {
            run_group(connection, &mut group).err().map(|error| JournalError::database(path, error))
        } else {
            Some(Unusable::Replaced { path: path.to_owned() }.into())
        };
        group.drain(..).for_each(|job| job.answer(failure.as_ref()));
    }
}

fn run_group(connection: &Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    // A transaction is still open only where the last group could not even be undone.
    undo(connection)?;
    // The chain's end is read and moved under the write lock, so that several processes write one chain.
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

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
