//! The uploads in flight: of which file, and how many bytes of it the connection has taken. The daemon's status, the metrics and the
//! progress display read from here what happens now.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// All uploads in flight of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Transfers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    uploads: BTreeMap<u64, Entry>,
    begun: u64,
    /// How many bytes the connections have taken since the start, those that were sent once more included.
    sent: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Entry {
    folder: PathBuf,
    path: PathBuf,
    size: u64,
    started: Instant,
    sent: SentBytes,
}

/// How many bytes of one upload the connection has taken. Clones share the number.
#[derive(Debug, Clone, Default)]
pub struct SentBytes {
    of_this: Arc<AtomicU64>,
    of_all: Arc<AtomicU64>,
}

impl SentBytes {
    /// Counts more bytes.
    pub fn add(&self, bytes: u64) {
        self.of_this.fetch_add(bytes, Ordering::Relaxed);
        self.of_all.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Starts again at zero, because the body is sent once more.
    pub fn restart(&self) {
        self.of_this.store(0, Ordering::Relaxed);
    }

    /// How many bytes were counted.
    pub fn get(&self) -> u64 {
        self.of_this.load(Ordering::Relaxed)
    }
}

/// One upload in flight, as it was when somebody looked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferInFlight {
    /// The number of the upload: later uploads have higher numbers.
    pub id: u64,
    /// The watched folder that the file belongs to, or the folder that `push` took it from.
    pub folder: PathBuf,
    /// The path of the file below the folder.
    pub path: PathBuf,
    /// The size of the file, in bytes.
    pub size: u64,
    /// How many bytes the connection has taken. With all of them sent, the store's answer is waited for.
    pub sent: u64,
    /// When the upload began.
    pub started: Instant,
}

/// Takes the upload out of the table when it is dropped.
#[derive(Debug)]
pub struct TransferGuard {
    transfers: Transfers,
    id: u64,
    sent: SentBytes,
}

impl Transfers {
    /// Adds the upload of a file; it is in flight until the guard is dropped.
    pub fn begin(&self, folder: PathBuf, path: PathBuf, size: u64) -> TransferGuard {
        let mut table = self.table();
        let sent = SentBytes { of_this: Arc::default(), of_all: Arc::clone(&table.sent) };
        let entry = Entry { folder, path, size, started: Instant::now(), sent: sent.clone() };
        table.begun += 1;
        let id = table.begun;
        table.uploads.insert(id, entry);
        drop(table);
        TransferGuard { transfers: self.clone(), id, sent }
    }

    /// All uploads in flight, those that began first come first.
    pub fn all(&self) -> Vec<TransferInFlight> {
        let in_flight = |(&id, entry): (&u64, &Entry)| TransferInFlight {
            id,
            folder: entry.folder.clone(),
            path: entry.path.clone(),
            size: entry.size,
            sent: entry.sent.get(),
            started: entry.started,
        };
        self.table().uploads.iter().map(in_flight).collect()
    }

    /// How many bytes all uploads have sent since the start, in flight or ended; bytes that were sent once more count twice.
    pub fn sent(&self) -> u64 {
        self.table().sent.load(Ordering::Relaxed)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TransferGuard {
    /// Where the bytes of this upload are counted.
    pub fn sent(&self) -> &SentBytes {
        &self.sent
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        self.transfers.table().uploads.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_in_flight_until_its_guard_is_dropped() {
        let transfers = Transfers::default();
        let first = transfers.begin("/w".into(), "a".into(), 10);
        let second = transfers.begin("/w".into(), "b".into(), 20);
        first.sent().add(4);
        second.sent().add(9);
        second.sent().restart();
        let sent: Vec<_> = transfers.all().into_iter().map(|it| (it.id, it.path, it.sent, it.size)).collect();
        assert_eq!(sent, [(1, "a".into(), 4, 10), (2, "b".into(), 0, 20)]);
        drop(first);
        assert_eq!(transfers.all().len(), 1);
        drop(second);
        assert_eq!(transfers.all(), []);
        assert_eq!(transfers.sent(), 13);
    }
}
