//! What an upload asks before it begins, and a start before it lets any begin. Reads only.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::{entry, nanoseconds, path_bytes, stamp_columns};
use super::sql::{Sql, select_attempts, state};
use super::{AttemptId, End, Entry, GONE_AT_START, Journal, JournalError, State};
use crate::file::FileStamp;
use crate::vault::DocumentId;

impl Journal {
    /// The entry that speaks for a file at a local path: the newest of just this file at the path, else one of this file without a
    /// receipt under whatever path, else the newest of the path. A file that was set aside may have been followed by others;
    /// a file whose answer was lost may have been moved.
    pub async fn of_file(&self, root: &Path, relative: &Path, stamp: FileStamp) -> Result<Option<Entry>, JournalError> {
        let (root, relative) = (root.to_owned(), relative.to_owned());
        self.short_read(move |connection| at_one_moment(connection, || of_file(connection, &root, &relative, &stamp)))
            .await
    }

    /// [`Journal::of_file`] and [`Journal::open_of_inode`] of a file, at one moment: what an upload asks of each file.
    pub async fn of_file_and_inode(
        &self,
        root: &Path,
        relative: &Path,
        stamp: FileStamp,
        most: usize,
    ) -> Result<(Option<Entry>, Vec<Entry>), JournalError> {
        let (root, relative) = (root.to_owned(), relative.to_owned());
        let ask = move |connection: &Connection| {
            let of_file = of_file(connection, &root, &relative, &stamp)?;
            Ok((of_file, open_of_inode(connection, stamp.inode, most)?))
        };
        self.short_read(move |connection| at_one_moment(connection, || ask(connection))).await
    }

    /// Open attempts of files with this inode number, under whatever path: the oldest `most`, oldest first.
    ///
    /// [`Journal::of_file`] finds at most one attempt, and one of an earlier content only while that has the same path.
    pub async fn open_of_inode(&self, inode: u64, most: usize) -> Result<Vec<Entry>, JournalError> {
        self.short_read(move |connection| open_of_inode(connection, inode, most)).await
    }

    /// Whether an attempt at a name in a folder of the vault that began before `before` has no outcome, or was abandoned without one
    /// and began at `since` or later. An attempt that a start abandoned counts whenever it began, until the name has a receipt
    /// again: a large file may have been sent for hours, and just before that start. Looks at the newest `most` attempts of the name.
    pub async fn was_cut_off(
        &self,
        folder: &DocumentId,
        name: &str,
        (since, before): (SystemTime, SystemTime),
        most: usize,
    ) -> Result<bool, JournalError> {
        let (folder, name) = (folder.clone(), name.to_owned());
        let (since, before, most) = (nanoseconds(since), nanoseconds(before), i64::try_from(most).unwrap_or(i64::MAX));
        let ask = move |connection: &Connection| {
            let parameters = params![folder.0.as_bytes(), name, most, since, before, GONE_AT_START.as_bytes()];
            connection.prepare_cached(&CUT_OFF)?.query_row(parameters, |row| row.get(0))
        };
        self.short_read(ask).await
    }

    /// Whether a later attempt is of the same local path.
    pub async fn has_newer(&self, id: AttemptId) -> Result<bool, JournalError> {
        self.short_read(move |connection| has_newer(connection, id)).await
    }

    /// Whether a later attempt is under the same name in the same folder of the vault, of whatever local path.
    pub async fn has_newer_of_name(&self, id: AttemptId) -> Result<bool, JournalError> {
        self.short_read(move |connection| has_newer_of_name(connection, id)).await
    }

    /// All entries of a root that are open or stored but not ended, oldest first: what a start has to resolve.
    pub async fn unresolved(&self, root: &Path) -> Result<Vec<Entry>, JournalError> {
        let root = root.to_owned();
        let ask = move |connection: &Connection| {
            connection.prepare_cached(&UNRESOLVED)?.query_map([path_bytes(&root)], entry)?.collect()
        };
        self.short_read(ask).await
    }
}

/// Asks several questions of one state of the journal, which also spares the locks of all but one.
fn at_one_moment<T>(connection: &Connection, ask: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let answer = ask();
    let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    // An error of the disk has ended the transaction already: it is the reason, and not that none is left to be ended.
    answer.and_then(|answer| ended.map(|_| answer))
}

/// One attempt, with its receipt where it has one.
pub(super) static BY_ID: Sql = Sql::new(|| format!("{} WHERE a.id = ?1", select_attempts()));

pub(super) fn by_id(connection: &Connection, id: AttemptId) -> rusqlite::Result<Option<Entry>> {
    connection.prepare_cached(&BY_ID)?.query_row([id.0], entry).optional()
}

static LATEST: Sql = Sql::new(|| {
    format!(
        "{} WHERE a.root = (SELECT id FROM term WHERE value = ?1) AND a.relative = ?2 ORDER BY a.id DESC LIMIT 1",
        select_attempts()
    )
});

/// The newest entry of a local path.
fn latest(connection: &Connection, root: &Path, relative: &Path) -> rusqlite::Result<Option<Entry>> {
    let mut statement = connection.prepare_cached(&LATEST)?;
    statement.query_row(params![path_bytes(root), path_bytes(relative)], entry).optional()
}

pub(super) fn of_file(
    connection: &Connection,
    root: &Path,
    relative: &Path,
    stamp: &FileStamp,
) -> rusqlite::Result<Option<Entry>> {
    let newest = latest(connection, root, relative)?;
    if newest.as_ref().is_some_and(|entry| entry.intent.stamp.same_file(stamp) && !is_abandoned(entry)) {
        return Ok(newest);
    }
    let [_, inode, size, mtime, _] = stamp_columns(stamp);
    // A file that was set aside may have been followed by others of its path.
    if newest.is_some() {
        let mut statement = connection.prepare_cached(&OF_FILE_AT_PATH)?;
        let own = statement.query_row(params![inode, size, mtime, path_bytes(root), path_bytes(relative)], entry);
        if let Some(own) = own.optional()? {
            return Ok(Some(own));
        }
    }
    let unresolved = connection.prepare_cached(&OF_FILE_UNRESOLVED)?.query_row(params![inode, size, mtime], entry);
    Ok(unresolved.optional()?.or(newest))
}

fn is_abandoned(entry: &Entry) -> bool {
    matches!(entry.state, State::Ended(End::Abandoned { .. }))
}

/// As [`FileStamp::same_file`] says: whatever the device's number, which may change when a share is mounted anew.
const SAME_FILE: &str = "a.inode = ?1 AND a.size = ?2 AND a.mtime = ?3";

/// The newest attempt of just this file at a path. The plus signs keep the path's index out of it: one path may have any number of
/// attempts.
static OF_FILE_AT_PATH: Sql = Sql::new(|| {
    format!(
        "{} WHERE +a.root = (SELECT id FROM term WHERE value = ?4) AND +a.relative = ?5 AND a.state <> {abandoned} \
         AND {SAME_FILE} ORDER BY a.id DESC LIMIT 1",
        select_attempts(),
        abandoned = state::ABANDONED
    )
});

/// An attempt of just this file whose outcome is unknown, under whatever path: an open one first, else an abandoned one where nothing
/// came of the file at that path later.
static OF_FILE_UNRESOLVED: Sql = Sql::new(|| {
    format!(
        "{} WHERE a.state IN ({open}, {abandoned}) AND {SAME_FILE} AND (a.state = {open} OR NOT EXISTS \
         (SELECT 1 FROM attempt b WHERE +b.root = a.root AND +b.relative = a.relative AND +b.id > a.id \
         AND b.inode = a.inode AND b.size = a.size AND b.mtime = a.mtime AND b.state NOT IN ({open}, {abandoned}))) \
         ORDER BY a.state, a.id DESC LIMIT 1",
        select_attempts(),
        open = state::OPEN,
        abandoned = state::ABANDONED
    )
});

fn open_of_inode(connection: &Connection, inode: u64, most: usize) -> rusqlite::Result<Vec<Entry>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&OPEN_OF_INODE)?;
    statement.query_map(params![inode.cast_signed(), most], entry)?.collect()
}

/// By the index of attempts that wait, which are few: one inode may have any number of ended ones.
static OPEN_OF_INODE: Sql = Sql::new(|| {
    format!(
        "{} WHERE a.state <= {stored} AND a.state = {open} AND a.inode = ?1 ORDER BY a.id LIMIT ?2",
        select_attempts(),
        stored = state::STORED,
        open = state::OPEN
    )
});

/// The journal does not hold when an attempt was abandoned, only when it began.
static CUT_OFF: Sql = Sql::new(|| {
    format!(
        "WITH newest AS (SELECT b.id, b.started, b.state, b.detail, b.seq FROM attempt b \
         WHERE b.folder = (SELECT id FROM term WHERE value = ?1) AND b.name = ?2 ORDER BY b.id DESC LIMIT ?3) \
         SELECT EXISTS (SELECT 1 FROM newest n WHERE n.seq IS NULL AND n.started < ?5 AND (n.state = {open} \
         OR (n.state = {abandoned} AND (n.started >= ?4 OR (n.detail = ?6 \
         AND NOT EXISTS (SELECT 1 FROM newest later WHERE later.seq IS NOT NULL AND later.id > n.id))))))",
        open = state::OPEN,
        abandoned = state::ABANDONED
    )
});

pub(super) fn has_newer(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attempt a JOIN attempt b \
               ON b.root = a.root AND b.relative = a.relative AND b.id > a.id WHERE a.id = ?1)";
    connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0))
}

fn has_newer_of_name(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attempt a JOIN attempt b \
               ON b.folder = a.folder AND b.name = a.name AND b.id > a.id WHERE a.id = ?1)";
    connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0))
}

/// The condition by which the index `attempt_waiting` finds what is open, or stored with the local file not yet dealt with.
pub(super) fn is_pending() -> String {
    format!("a.state <= {stored} AND a.state IN ({open}, {stored})", open = state::OPEN, stored = state::STORED)
}

/// The plus sign keeps the path's index out of it: with it, all attempts of the root were looked at, 80 ms for 100,000.
static UNRESOLVED: Sql = Sql::new(|| {
    format!(
        "{} WHERE {} AND +a.root = (SELECT id FROM term WHERE value = ?1) ORDER BY a.id",
        select_attempts(),
        is_pending()
    )
});

/// The entry of the local path that owns a name in a folder: the path's newest of that name that is not over without a receipt.
///
/// The first path that had the name owns it. Others have the name too where their bytes were the same and were adopted; with other
/// bytes they would hide the owner's document.
pub(super) fn owner(connection: &Connection, folder: i64, name: &str) -> rusqlite::Result<Option<Entry>> {
    connection.prepare_cached(&OWNER)?.query_row(params![folder, name], entry).optional()
}

static OWNER: Sql = Sql::new(|| {
    let (failed, abandoned) = (state::FAILED, state::ABANDONED);
    let of_name = format!("folder = ?1 AND name = ?2 AND (state NOT IN ({failed}, {abandoned}) OR seq IS NOT NULL)");
    let first = |column: &str| format!("(SELECT {column} FROM attempt WHERE {of_name} ORDER BY id LIMIT 1)");
    // The newest first, so that the search ends with it: one name may have any number of attempts.
    format!(
        "{} WHERE a.id = (SELECT b.id FROM attempt b \
         WHERE b.folder = ?1 AND b.name = ?2 AND (b.state NOT IN ({failed}, {abandoned}) OR b.seq IS NOT NULL) \
         AND +b.root = {} AND +b.relative = {} ORDER BY b.id DESC LIMIT 1)",
        select_attempts(),
        first("root"),
        first("relative")
    )
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{failures, history, look, schema};

    /// How `SQLite` answers a statement, one step a line.
    fn plan_of(sql: &str) -> String {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, schema::STEPS, |_, _| Ok(())).unwrap();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        // Its parameters stay unbound: the plan does not depend on them.
        let (mut rows, mut plan) = (statement.raw_query(), String::new());
        while let Some(row) = rows.next().unwrap() {
            plan += &row.get::<_, String>("detail").unwrap();
            plan.push('\n');
        }
        plan
    }

    /// Regression: "cannot commit - no transaction is active" was told in place of the error of the disk.
    #[test]
    fn an_error_that_ends_the_transaction_is_the_one_that_is_told() {
        let connection = Connection::open_in_memory().unwrap();
        let fails = || {
            connection.execute_batch("ROLLBACK")?;
            Err::<(), _>(rusqlite::Error::InvalidQuery)
        };
        let error = at_one_moment(&connection, fails).unwrap_err();
        assert!(matches!(error, rusqlite::Error::InvalidQuery), "{error}");
        assert_eq!(at_one_moment(&connection, || Ok(1)).unwrap(), 1);
    }

    /// Regression: a path with 300,000 receipts took 65 ms for each further file, for all of them were looked at.
    #[test]
    fn no_question_looks_along_all_attempts_of_a_path_or_name() {
        for sql in [&OF_FILE_AT_PATH, &OF_FILE_UNRESOLVED] {
            let plan = plan_of(sql);
            assert!(plan.contains("attempt_file (inode=? AND mtime=?)"), "{plan}");
            assert!(!plan.contains("SCAN a") && !plan.contains("attempt_path"), "{plan}");
        }
        for sql in [&OWNER, &CUT_OFF] {
            let plan = plan_of(sql);
            assert!(plan.contains("b USING INDEX attempt_name (folder=? AND name=?)"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "nothing is sorted: {plan}");
        }
        let unresolved = plan_of(&UNRESOLVED);
        assert!(unresolved.contains("attempt_waiting (state"), "{unresolved}");
        assert!(!unresolved.contains("SCAN a") && !unresolved.contains("attempt_path"), "{unresolved}");
        let open = plan_of(&OPEN_OF_INODE);
        assert!(open.contains("attempt_waiting (state=? AND inode=?)"), "{open}");
        // There may be a hundred thousand failures, and each page of them would sort all.
        for sql in [&failures::FAILURES_PAGE, &failures::LIMIT_FAILURES, &look::FAILED_FILES] {
            let plan = plan_of(sql);
            assert!(plan.contains("attempt_failed (state=?") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }

    /// Ten million receipts slow down nothing that a start asks, or an upload, or one page of the history.
    #[test]
    fn no_question_of_a_start_an_upload_or_a_page_looks_along_the_whole_journal() {
        let uploads: [&str; 6] = [&BY_ID, &LATEST, &OWNER, &CUT_OFF, &OPEN_OF_INODE, &OF_FILE_UNRESOLVED];
        let starts: [&str; 3] = [&UNRESOLVED, &look::FAILED_FILES, &failures::FAILURES_PAGE];
        let pages = history::page_statements();
        for sql in uploads.into_iter().chain(starts).chain(pages.iter().map(String::as_str)) {
            let plan = plan_of(sql);
            let scans: Vec<_> = plan.lines().filter(|line| line.starts_with("SCAN ")).collect();
            // The newest attempts of one name, sixteen at most.
            let is_short = |line: &&str| ["SCAN n", "SCAN later", "SCAN CONSTANT ROW"].contains(line);
            assert!(scans.iter().all(is_short), "{sql}:\n{plan}");
        }
        // A page of everything ends after so many rows, so none may be sorted before.
        for sql in &pages[..3] {
            assert!(!plan_of(sql).contains("TEMP B-TREE"), "{sql}:\n{}", plan_of(sql));
        }
        // What failed or is pending are few among many, and are sorted where they have two indices.
        for sql in &pages[3..] {
            assert!(!plan_of(sql).contains("a USING INTEGER PRIMARY KEY (rowid>?)"), "{sql}:\n{}", plan_of(sql));
        }
    }
}
