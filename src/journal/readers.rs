//! Connections for reads, which must not wait for the writer. Opened as they are needed.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::JournalError;
use super::error::is_busy;
use super::open::{self, Access};

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    access: Access,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, access: Access) -> Self {
        Self { path, access, idle: Mutex::default() }
    }

    /// Reads without waiting; `None` where no connection is open yet, or another process holds the journal.
    pub(super) fn read_at_once<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Option<Result<T, JournalError>> {
        // Opening a connection needs the disk, and may have to wait.
        let connection = self.take()?;
        let value = connection.busy_timeout(Duration::ZERO).and_then(|()| work(&connection));
        let restored = connection.busy_timeout(open::BUSY);
        if restored.is_ok() {
            self.put_back(connection);
        }
        match value {
            Err(error) if is_busy(&error) => None,
            value => Some(value.map_err(|error| JournalError::database(&self.path, error))),
        }
    }

    /// Reads, and waits where another process holds the journal. Blocks.
    pub(super) fn read<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, JournalError> {
        let explain = |error| JournalError::database(&self.path, error);
        let connection = self.take().map_or_else(|| open::connect_for(&self.path, self.access), Ok).map_err(explain)?;
        let value = work(&connection).map_err(explain);
        self.put_back(connection);
        value
    }

    // A thread that panicked with the lock left at worst one connection less, so a poisoned lock is fine.
    fn take(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put_back(&self, connection: Connection) {
        // One whose transaction could not be ended would show the same state of the journal for ever.
        if !connection.is_autocommit() {
            return;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Journal;
    use std::path::Path;

    /// Regression: a read that had to wait for another process's lock stopped the whole runtime for up to ten seconds.
    #[tokio::test]
    async fn a_read_that_waits_for_another_process_does_not_block_the_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        // After this a connection is open, so that the next read is tried at once.
        journal.unresolved(Path::new("/")).await.unwrap();
        let other = open::connect(&journal.inner.path).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        // No read of the journal's own needs this lock; it stands for whatever may hold one up.
        let read = journal.short_read(|connection| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
        let mut ticks = 0;
        let ticking = async {
            while ticks < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
                ticks += 1;
            }
            other.execute_batch("ROLLBACK").unwrap();
        };
        // If the read blocked this only thread, the other transaction would never end, and the read would fail.
        let (read, ()) = tokio::join!(read, ticking);
        read.unwrap();
        assert_eq!(ticks, 20);
    }
}
