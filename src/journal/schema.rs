//! The tables, and how an older journal becomes a newer one.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::key::KeyError;

/// Version 1.
///
/// `term` holds the strings that thousands of rows share (roots, folders, users), so that rows and indices stay small.
/// Unsigned numbers lie in the columns bit by bit, times as nanoseconds since 1970. `attempt.state` is one of
/// [`super::sql::state`], `mark.kind` one of [`super::marks::Mark`].
const VERSION_1: &str = "
CREATE TABLE term (
    id INTEGER PRIMARY KEY,
    value BLOB NOT NULL UNIQUE
) STRICT;
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    root INTEGER NOT NULL,
    relative BLOB NOT NULL,
    device INTEGER NOT NULL,
    inode INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL,
    dest INTEGER NOT NULL,
    folder INTEGER NOT NULL,
    name TEXT NOT NULL,
    started INTEGER NOT NULL,
    state INTEGER NOT NULL,
    detail BLOB,
    seq INTEGER
) STRICT;
CREATE INDEX attempt_path ON attempt (root, relative);
CREATE INDEX attempt_name ON attempt (folder, name);
CREATE INDEX attempt_waiting ON attempt (state) WHERE state <= 2;
CREATE TABLE receipt (
    seq INTEGER PRIMARY KEY,
    attempt INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    document TEXT NOT NULL,
    document_version TEXT,
    user INTEGER NOT NULL,
    adopted INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE TABLE mark (
    kind INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    at INTEGER NOT NULL
) STRICT;
INSERT INTO mark VALUES (0, 0, zeroblob(32), 0), (1, 0, zeroblob(32), 0);
";

/// Version 2: an attempt without a receipt is found by its file's inode, wherever that was moved to since.
const VERSION_2: &str = "CREATE INDEX attempt_unknown ON attempt (inode) WHERE state IN (0, 3);";

/// Version 3: which service the receipts are of. Without a row the journal is older, or new, and goes to the first that claims it.
/// And an attempt is found by its file and the file's time, also where one file was written anew under one path 300,000 times.
const VERSION_3: &str = "
CREATE TABLE service (id INTEGER PRIMARY KEY CHECK (id = 1), name TEXT NOT NULL) STRICT;
DROP INDEX attempt_unknown;
CREATE INDEX attempt_file ON attempt (inode, mtime);
";

/// Version 4: what became of the local files is a chain of its own, `fate` ([`super::local_ends`]); where both chains begin is signed
/// (`cut`); and `anchor` notes the key and the newest anchor that was put into the vault. Receipts up to the mark
/// [`super::marks::Mark::LocalEndsSince`] are older than `fate`.
const VERSION_4: &str = "
CREATE TABLE fate (
    seq INTEGER PRIMARY KEY,
    receipt INTEGER NOT NULL,
    state INTEGER NOT NULL,
    detail BLOB,
    at INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX fate_receipt ON fate (receipt);
INSERT INTO mark VALUES (2, 0, zeroblob(32), 0), (3, 0, zeroblob(32), 0);
INSERT INTO mark SELECT 4, seq, hash, at FROM mark WHERE kind = 1;
CREATE TABLE cut (id INTEGER PRIMARY KEY CHECK (id = 1), signature BLOB NOT NULL) STRICT;
CREATE TABLE anchor (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    fates INTEGER NOT NULL,
    at INTEGER NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL
) STRICT;
";

/// Version 5: an open attempt is found by its file's inode, however many attempts are open or wait for their file's removal. Without
/// the inode in this index each upload had to look at all open attempts, which took 2 % of the time of small files. Failures have an
/// index of their own, in their order: there may be a hundred thousand, which are paged through and limited by age.
const VERSION_5: &str = "
DROP INDEX attempt_waiting;
CREATE INDEX attempt_waiting ON attempt (state, inode) WHERE state <= 1;
CREATE INDEX IF NOT EXISTS attempt_failed ON attempt (state) WHERE state = 2;
";

/// The first version in which the beginnings of the chains are signed.
pub(super) const SIGNED: usize = 4;

/// Step `n` turns version `n` into version `n + 1`. A step that was ever released is never edited.
pub(super) const STEPS: &[&str] = &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5];

/// Why a journal can't be brought to this program's version. `JournalError` says it to the caller, with the journal's path.
#[derive(Debug)]
pub(super) enum MigrateError {
    /// A later program has written the journal.
    Newer {
        found: i64,
        known: usize,
    },
    Sql(rusqlite::Error),
    Key(KeyError),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<KeyError> for MigrateError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Takes all the steps that the journal has not taken yet, in one transaction. `sign` comes last; it gets the version before.
pub(super) fn migrate(
    connection: &mut Connection,
    steps: &[&str],
    sign: impl FnOnce(&Connection, usize) -> Result<(), MigrateError>,
) -> Result<(), MigrateError> {
    if version(connection)? == wanted(steps) {
        return Ok(());
    }
    // Two processes may open a new journal at the same moment: the version counts only under the write lock.
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    let taken = usize::try_from(found).ok().filter(|taken| *taken <= steps.len());
    let Some(taken) = taken else {
        return Err(MigrateError::Newer { found, known: steps.len() });
    };
    for step in &steps[taken..] {
        transaction.execute_batch(step)?;
    }
    sign(&transaction, taken)?;
    transaction.pragma_update(None, "user_version", wanted(steps))?;
    Ok(transaction.commit()?)
}

fn wanted(steps: &[&str]) -> i64 {
    i64::try_from(steps.len()).unwrap_or(i64::MAX)
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNSIGNED: fn(&Connection, usize) -> Result<(), MigrateError> = |_, _| Ok(());

    #[test]
    fn later_steps_run_on_an_older_journal_and_keep_what_it_holds() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, STEPS, UNSIGNED).unwrap();
        connection.execute("INSERT INTO term (value) VALUES (x'41')", []).unwrap();
        let mut steps = STEPS.to_vec();
        steps.push("ALTER TABLE term ADD COLUMN note TEXT; UPDATE term SET note = 'seen';");

        migrate(&mut connection, &steps, UNSIGNED).unwrap();
        migrate(&mut connection, &steps, UNSIGNED).unwrap();

        let note: String = connection.query_row("SELECT note FROM term", [], |row| row.get(0)).unwrap();
        assert_eq!((note.as_str(), version(&connection).unwrap()), ("seen", wanted(&steps)));
    }

    #[test]
    fn a_step_that_fails_leaves_the_older_version_whole() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, STEPS, UNSIGNED).unwrap();
        let mut steps = STEPS.to_vec();
        steps.push("CREATE TABLE later (id INTEGER); SELECT nonsense;");

        migrate(&mut connection, &steps, UNSIGNED).unwrap_err();

        assert_eq!(version(&connection).unwrap(), wanted(STEPS));
        connection.prepare("SELECT * FROM later").unwrap_err();
    }

    #[test]
    fn a_newer_journal_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection, STEPS, UNSIGNED).unwrap_err();
        assert!(matches!(error, MigrateError::Newer { found: 99, .. }), "{error:?}");
    }
}
