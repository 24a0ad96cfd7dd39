//! What a look at a folder asks about many files at once. Reads only; blocks.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension as _};

use super::attempts::known_string;
use super::failures::is_failed;
use super::query::{of_file, owner};
use super::row::entry;
use super::sql::{Sql, select_attempts};
use super::{AttemptId, Entry, Journal, JournalError};
use crate::file::FileStamp;
use crate::vault::DocumentId;

/// What the journal knows of one file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    /// The entry that speaks for the file: see [`Journal::of_file`].
    pub(crate) entry: Entry,
    /// The number of the entry's receipt, where it has one.
    pub(crate) receipt: Option<i64>,
}

impl Journal {
    /// What the journal knows of each of these files below a root, in their order. One read for all of them. Blocks.
    pub(crate) fn known_of_files(
        &self,
        root: &Path,
        files: &[(PathBuf, FileStamp)],
    ) -> Result<Vec<Option<Known>>, JournalError> {
        self.inner.readers.read(|connection| {
            files.iter().map(|(relative, stamp)| known_of(connection, root, relative, stamp)).collect()
        })
    }
}

/// How many failures [`Journal::failed_files`] returns at a time.
const FAILED_AT_ONCE: i64 = 1000;

/// By the index of failures: a journal may have a million attempts, and each start asks this.
pub(super) static FAILED_FILES: Sql = Sql::new(|| {
    format!(
        "{} WHERE {} AND a.id > ?1 AND NOT EXISTS \
         (SELECT 1 FROM attempt b WHERE b.root = a.root AND b.relative = a.relative AND b.id > a.id) ORDER BY a.id LIMIT ?2",
        select_attempts(),
        is_failed("a.")
    )
});

impl Journal {
    /// The entry of the local path that owns a name in a folder of the vault, if one does. Another path's file of other content gets another
    /// name.
    pub(crate) async fn owner_of_name(&self, folder: &DocumentId, name: &str) -> Result<Option<Entry>, JournalError> {
        let (folder, name) = (folder.clone(), name.to_owned());
        self.read(move |connection| match known_string(connection, folder.0.as_bytes())? {
            Some(folder) => owner(connection, folder, &name),
            None => Ok(None),
        })
        .await
    }

    /// Some failures of files of which nothing newer is known, oldest first, from the one behind `after` on. Blocks.
    pub(crate) fn failed_files(&self, after: AttemptId) -> Result<Vec<Entry>, JournalError> {
        self.inner.readers.read(|connection| {
            let mut statement = connection.prepare_cached(&FAILED_FILES)?;
            statement.query_map([after.0, FAILED_AT_ONCE], entry)?.collect()
        })
    }
}

fn known_of(
    connection: &Connection,
    root: &Path,
    relative: &Path,
    stamp: &FileStamp,
) -> rusqlite::Result<Option<Known>> {
    let Some(entry) = of_file(connection, root, relative, stamp)? else { return Ok(None) };
    let receipt = receipt_of(connection, entry.id)?;
    Ok(Some(Known { entry, receipt }))
}

fn receipt_of(connection: &Connection, id: AttemptId) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT seq FROM attempt WHERE id = ?1")?;
    Ok(statement.query_row([id.0], |row| row.get(0)).optional()?.flatten())
}
