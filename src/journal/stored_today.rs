//! How much was stored since a point in time, counted on from one question to the next: a busy day has a million receipts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _};

use super::row::nanoseconds;
use super::{Journal, JournalError};

/// What was stored of each watched folder since a point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StoredSince {
    since: Option<SystemTime>,
    /// The newest receipt that is counted.
    newest: i64,
    by_root: BTreeMap<PathBuf, StoredSum>,
}

/// Stored files and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StoredSum {
    pub(crate) files: u64,
    /// In bytes.
    pub(crate) bytes: u64,
}

impl StoredSince {
    /// What was stored of the files below this root.
    pub(crate) fn of(&self, root: &Path) -> StoredSum {
        self.by_root.get(root).copied().unwrap_or_default()
    }
}

static SUMS: LazyLock<String> = LazyLock::new(|| {
    "SELECT root.value, count(*), total(r.size), max(r.seq) FROM receipt r JOIN attempt a ON a.id = r.attempt \
     JOIN term root ON root.id = a.root WHERE r.seq > ?1 AND r.stored >= ?2 GROUP BY a.root"
        .to_owned()
});

impl Journal {
    /// Adds the receipts that are newer than the counted ones; begins anew where `since` is another time than before. Blocks.
    pub(crate) fn count_stored(&self, counted: &mut StoredSince, since: SystemTime) -> Result<(), JournalError> {
        if counted.since != Some(since) {
            *counted = StoredSince { since: Some(since), ..StoredSince::default() };
            counted.newest = self.inner.readers.read(|connection| last_before(connection, nanoseconds(since)))?;
        }
        let after = counted.newest;
        let sums = self.inner.readers.read(|connection| {
            let mut statement = connection.prepare_cached(&SUMS)?;
            let rows = statement.query_map((after, nanoseconds(since)), |row| {
                Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?, row.get::<_, f64>(2)?, row.get::<_, i64>(3)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        for (root, files, bytes, newest) in sums {
            let sum = counted.by_root.entry(OsString::from_vec(root).into()).or_default();
            sum.files += files.unsigned_abs();
            // Beyond 2^53 bytes a day the sum is rounded.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let bytes = bytes as u64;
            sum.bytes += bytes;
            counted.newest = counted.newest.max(newest);
        }
        Ok(())
    }
}

/// The newest receipt from before a point in time, by halving: the times of receipts grow with their numbers, and have no index.
fn last_before(connection: &Connection, since: i64) -> rusqlite::Result<i64> {
    let (mut low, mut high) =
        connection.query_row("SELECT ifnull(min(seq), 0) - 1, ifnull(max(seq), 0) FROM receipt", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })?;
    let mut at = connection.prepare_cached("SELECT stored FROM receipt WHERE seq <= ?1 ORDER BY seq DESC LIMIT 1")?;
    while low < high {
        let middle = low + (high - low + 1) / 2;
        let stored: Option<i64> = at.query_row([middle], |row| row.get(0)).optional()?;
        if stored.is_none_or(|stored| stored < since) { low = middle } else { high = middle - 1 }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::file::FileStamp;
    use crate::journal::{Begun, Intent, Stored};
    use crate::vault::{DocumentId, RemotePath};

    async fn store(journal: &Journal, root: &str, name: &str, size: u64) {
        let stamp = FileStamp { device: 1, inode: 2, size, mtime: 3, ctime: 4 };
        let (dest, folder) = (RemotePath::default(), DocumentId("f".into()));
        let intent = Intent { root: root.into(), relative: name.into(), stamp, dest, folder, name: name.into() };
        let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("the name is taken") };
        let document = DocumentId(name.into());
        let (sha256, user) = ("0".repeat(64), "me".into());
        let stored = Stored { sha256, size, document, document_version: None, user, already_present: false };
        journal.stored(id, stored).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_stored_since_a_time_is_counted_once_and_by_folder() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let mut counted = StoredSince::default();
        for (root, name, size) in [("/a", "1", 10), ("/a", "2", 20), ("/b", "3", 30)] {
            store(&journal, root, name, size).await;
        }
        let midnight = SystemTime::now() - Duration::from_secs(60);
        for _ in 0..2 {
            journal.count_stored(&mut counted, midnight).unwrap();
            assert_eq!(counted.of(Path::new("/a")), StoredSum { files: 2, bytes: 30 });
        }
        store(&journal, "/b", "4", 5).await;
        journal.count_stored(&mut counted, midnight).unwrap();
        assert_eq!(counted.of(Path::new("/b")), StoredSum { files: 2, bytes: 35 });
        // Tomorrow nothing was stored yet.
        journal.count_stored(&mut counted, SystemTime::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(counted.of(Path::new("/a")), StoredSum::default());
        store(&journal, "/a", "5", 1).await;
        journal.count_stored(&mut counted, midnight).unwrap();
        assert_eq!(counted.of(Path::new("/a")), StoredSum { files: 3, bytes: 31 });
    }
}
