//! What the journal is asked. Reads only.

use std::path::Path;
use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::row::{ATTEMPTS, COLUMNS, TERMS, entry, nanoseconds, path_bytes, record, version_columns};
use super::{AttemptId, End, Entry, GONE_AT_START, Record, State, Stored};
use crate::file::FileStamp;
use crate::vault::{DocumentId, RemotePath};

/// Which entries of the history are asked for. The default one asks for all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those of this name.
    pub name: Option<NamePattern>,
    /// Those that failed, where nothing newer is known of the file. With `pending`: those and those.
    pub failed: bool,
    /// Those that are open, or stored with the local file not yet dealt with.
    pub pending: bool,
    /// Those that began or were stored at this time or later.
    pub since: Option<SystemTime>,
}

/// A name as people ask for it: a glob where it has one of `*?[{`, else any part of the name.
#[derive(Debug, Clone)]
pub struct NamePattern(Matcher);

#[derive(Debug, Clone)]
enum Matcher {
    Part(String),
    Glob(GlobMatcher),
}

impl NamePattern {
    /// Reads a pattern; the error says what is wrong with the glob.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Self(Matcher::Part(text.to_owned())));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        glob.map(|glob| Self(Matcher::Glob(glob.compile_matcher()))).map_err(|error| error.to_string())
    }

    /// Whether the name sent, the local file's name or its path below the root is meant.
    pub fn matches(&self, entry: &Entry) -> bool {
        let relative = &entry.intent.relative;
        match &self.0 {
            Matcher::Part(part) => {
                entry.intent.name.contains(part.as_str()) || relative.to_string_lossy().contains(part.as_str())
            }
            Matcher::Glob(glob) => {
                glob.is_match(&entry.intent.name)
                    || glob.is_match(relative)
                    || relative.file_name().is_some_and(|name| glob.is_match(name))
            }
        }
    }
}

/// A receipt, and whether a later one is for the same name in the same folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The entry, with its receipt.
    pub record: Record,
    /// Whether the store's document has had newer content since.
    pub superseded: bool,
}

/// The newest entry of a local path.
pub(super) fn latest(connection: &Connection, root: &Path, relative: &Path) -> rusqlite::Result<Option<Entry>> {
    let sql = format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.root = (SELECT id FROM term WHERE value = ?1) AND a.relative = ?2 \
         ORDER BY a.id DESC LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(params![path_bytes(root), path_bytes(relative)], entry).optional()
}

/// What the journal has to say of a file: the newest of its path that is this very file's and came to something; else an
/// attempt of it without a receipt, under whatever path, if nothing came of it there later; else the newest of its path.
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
    let [_, inode, size, mtime, _] = version_columns(stamp);
    // One that was set aside may have been followed by others of its path.
    if newest.is_some() {
        let mut statement = connection.prepare_cached(&own_sql())?;
        let own = statement.query_row(params![inode, size, mtime, path_bytes(root), path_bytes(relative)], entry);
        if let Some(own) = own.optional()? {
            return Ok(Some(own));
        }
    }
    let unknown = connection.prepare_cached(&unknown_sql())?.query_row(params![inode, size, mtime], entry);
    Ok(unknown.optional()?.or(newest))
}

const SAME_FILE: &str = "a.inode = ?1 AND a.size = ?2 AND a.mtime = ?3";

/// The newest attempt of just this file at a path. The plus signs keep the path's index out of it: one path may have any number.
fn own_sql() -> String {
    format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE +a.root = (SELECT id FROM term WHERE value = ?4) AND +a.relative = ?5 \
         AND a.state <> 3 AND {SAME_FILE} ORDER BY a.id DESC LIMIT 1"
    )
}

/// An attempt of this file without a receipt, under whatever path.
fn unknown_sql() -> String {
    format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.state IN (0, 3) AND {SAME_FILE} \
         AND (a.state = 0 OR NOT EXISTS (SELECT 1 FROM attempt b WHERE +b.root = a.root AND +b.relative = a.relative \
         AND +b.id > a.id AND b.inode = a.inode AND b.size = a.size AND b.mtime = a.mtime AND b.state NOT IN (0, 3))) \
         ORDER BY a.state, a.id DESC LIMIT 1"
    )
}

/// Open attempts of files with this inode number, oldest first. Looks at the newest `most` open attempts.
pub(super) fn open_of_inode(connection: &Connection, inode: u64, most: usize) -> rusqlite::Result<Vec<Entry>> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&open_of_inode_sql())?;
    statement.query_map(params![inode.cast_signed(), most], entry)?.collect()
}

/// By the index of unended attempts, which are few; one inode may have any number of ended ones.
fn open_of_inode_sql() -> String {
    format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.id IN (SELECT b.id FROM attempt b WHERE b.state <= 2 AND b.state = 0 \
         ORDER BY b.id DESC LIMIT ?2) AND +a.inode = ?1 ORDER BY a.id"
    )
}

/// Whether one of the newest attempts of a name in a folder came to no outcome: one that began before a time, or that was given up
/// and began since another, or that a start gave up and that no receipt of the name has followed.
pub(super) fn was_cut_off(
    connection: &Connection,
    folder: &DocumentId,
    name: &str,
    (since, before): (SystemTime, SystemTime),
    most: usize,
) -> rusqlite::Result<bool> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let (since, before) = (nanoseconds(since), nanoseconds(before));
    let parameters = params![folder.0.as_bytes(), name, most, since, before, GONE_AT_START.as_bytes()];
    connection.prepare_cached(CUT_OFF)?.query_row(parameters, |row| row.get(0))
}

/// When an attempt was given up stands nowhere, only when it began.
const CUT_OFF: &str = "WITH newest AS (SELECT b.id, b.started, b.state, b.detail, b.seq FROM attempt b \
     WHERE b.folder = (SELECT id FROM term WHERE value = ?1) AND b.name = ?2 ORDER BY b.id DESC LIMIT ?3) \
     SELECT EXISTS (SELECT 1 FROM newest n WHERE n.seq IS NULL AND n.started < ?5 AND (n.state = 0 \
     OR (n.state = 3 AND (n.started >= ?4 OR (n.detail = ?6 \
     AND NOT EXISTS (SELECT 1 FROM newest later WHERE later.seq IS NOT NULL AND later.id > n.id))))))";

/// Whether a later attempt is of the same path.
pub(super) fn has_newer(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attempt a JOIN attempt b \
               ON b.root = a.root AND b.relative = a.relative AND b.id > a.id WHERE a.id = ?1)";
    connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0))
}

/// Whether a later attempt is under the same name in the same folder of the vault.
pub(super) fn has_newer_of_name(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM attempt a JOIN attempt b \
               ON b.folder = a.folder AND b.name = a.name AND b.id > a.id WHERE a.id = ?1)";
    connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0))
}

/// Whether the newest attempt of its path is a failure.
pub(super) fn path_has_failed(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let sql = "SELECT b.state = 2 FROM attempt a JOIN attempt b ON b.root = a.root AND b.relative = a.relative \
               WHERE a.id = ?1 ORDER BY b.id DESC LIMIT 1";
    // One that is gone has made way for a newer failure.
    Ok(connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0)).optional()?.unwrap_or(true))
}

fn is_abandoned(entry: &Entry) -> bool {
    matches!(entry.state, State::Ended(End::Abandoned { .. }))
}

/// The newest receipt for a document's path. Looks at all attempts: for who asks once.
pub(super) fn receipt_of(connection: &Connection, path: &RemotePath) -> rusqlite::Result<Option<Stored>> {
    let Some((name, folder)) = path.segments().split_last() else { return Ok(None) };
    let folder = folder.iter().fold(RemotePath::default(), |path, segment| path.join(segment));
    let sql = format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.name = ?1 AND a.seq IS NOT NULL \
         AND a.dest = (SELECT id FROM term WHERE value = ?2) ORDER BY a.seq DESC LIMIT 1"
    );
    let mut statement = connection.prepare(&sql)?;
    let found = statement.query_row(params![name, folder.to_string().as_bytes()], entry).optional()?;
    Ok(found.and_then(|entry| entry.stored))
}

/// All entries of a root that are open or stored but not ended, oldest first.
pub(super) fn unresolved(connection: &Connection, root: &Path) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.state <= 2 AND a.state IN (0, 1) \
         AND a.root = (SELECT id FROM term WHERE value = ?1) ORDER BY a.id"
    );
    connection.prepare_cached(&sql)?.query_map([path_bytes(root)], entry)?.collect()
}

/// How many failures are looked through at a time.
const FAILURES_AT_ONCE: i64 = 1000;

/// Some failures without a receipt that began before a time, oldest first, from the one behind `after` on.
pub(super) fn failures_page(
    connection: &Connection,
    before: SystemTime,
    after: AttemptId,
) -> rusqlite::Result<Vec<Entry>> {
    let sql = format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.state <= 2 AND a.state = 2 AND a.seq IS NULL AND a.started < ?1 AND a.id > ?2 \
         ORDER BY a.id LIMIT ?3"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map(params![nanoseconds(before), after.0, FAILURES_AT_ONCE], entry)?.collect()
}

/// One entry.
pub(super) fn by_id(connection: &Connection, id: AttemptId) -> rusqlite::Result<Option<Record>> {
    let sql = format!("{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.id = ?1");
    connection.prepare_cached(&sql)?.query_row([id.0], record).optional()
}

/// The entry of the local path that owns a name in a folder: its newest of that name that is not over without a receipt.
///
/// The first that had the name owns it. Others have it too where their bytes were the same and were adopted; with other
/// bytes they would hide the owner's document.
pub(super) fn owner(connection: &Connection, folder: i64, name: &str) -> rusqlite::Result<Option<Entry>> {
    connection.prepare_cached(&owner_sql())?.query_row(params![folder, name], entry).optional()
}

fn owner_sql() -> String {
    let owning = "folder = ?1 AND name = ?2 AND (state NOT IN (2, 3) OR seq IS NOT NULL)";
    let first = |column: &str| format!("(SELECT {column} FROM attempt WHERE {owning} ORDER BY id LIMIT 1)");
    // The newest first, so that the search ends with it: one name may have any number of attempts.
    format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.id = (SELECT b.id FROM attempt b \
         WHERE b.folder = ?1 AND b.name = ?2 AND (b.state NOT IN (2, 3) OR b.seq IS NOT NULL) \
         AND +b.root = {} AND +b.relative = {} ORDER BY b.id DESC LIMIT 1)",
        first("root"),
        first("relative")
    )
}

/// Failed entries of files of which nothing newer is known.
pub(super) const FAILED: &str = "a.state <= 2 AND a.state = 2 AND NOT EXISTS \
     (SELECT 1 FROM attempt b WHERE b.root = a.root AND b.relative = a.relative AND b.id > a.id)";

const PENDING: &str = "a.state <= 2 AND a.state IN (0, 1)";

/// At most `limit` entries after one, oldest first.
pub(super) fn history_page(
    connection: &Connection,
    filter: &Filter,
    after: Option<AttemptId>,
    limit: usize,
) -> rusqlite::Result<Vec<Record>> {
    let wanted = match (filter.failed, filter.pending) {
        (false, false) => "TRUE".to_owned(),
        (true, false) => FAILED.to_owned(),
        (false, true) => PENDING.to_owned(),
        (true, true) => format!("(({FAILED}) OR ({PENDING}))"),
    };
    let sql = format!(
        "{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.id > ?1 AND max(a.started, ifnull(r.stored, a.started)) >= ?2 \
         AND {wanted} ORDER BY a.id"
    );
    let since = filter.since.map_or(i64::MIN, nanoseconds);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after.map_or(0, |id| id.0), since], record)?;
    let meant = |found: &rusqlite::Result<Record>| match (found, &filter.name) {
        (Ok(record), Some(name)) => name.matches(&record.entry),
        _ => true,
    };
    rows.filter(meant).take(limit).collect()
}

/// At most `limit` receipts behind the number `after`, in the chain's order.
pub(super) fn receipts_page(
    connection: &Connection,
    since: Option<SystemTime>,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Receipt>> {
    let sql = format!(
        "{COLUMNS}, EXISTS (SELECT 1 FROM attempt b WHERE b.folder = a.folder AND b.name = a.name AND b.seq > r.seq) \
         FROM receipt r JOIN attempt a ON a.id = r.attempt{TERMS}\
         WHERE r.seq > ?1 AND r.stored >= ?2 ORDER BY r.seq LIMIT ?3"
    );
    let since = since.map_or(i64::MIN, nanoseconds);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, since, limit], |row| {
        Ok(Receipt { record: record(row)?, superseded: row.get(24)? })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::schema;

    /// Regression: a path with 300,000 receipts took 65 ms for each further file, for all of them were looked at.
    #[test]
    fn no_question_about_a_file_or_a_name_looks_along_all_that_one_path_ever_had() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection, schema::STEPS, |_, _| Ok(())).unwrap();
        let plan = |sql: &str| {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            // Its parameters stay unbound: the plan does not depend on them.
            let (mut rows, mut plan) = (statement.raw_query(), String::new());
            while let Some(row) = rows.next().unwrap() {
                plan += &row.get::<_, String>(3).unwrap();
                plan.push('\n');
            }
            plan
        };
        for sql in [own_sql(), unknown_sql()] {
            let plan = plan(&sql);
            assert!(plan.contains("attempt_file (inode=? AND mtime=?)"), "{plan}");
            assert!(!plan.contains("SCAN a") && !plan.contains("attempt_path"), "{plan}");
        }
        let plan_of_open = plan(&open_of_inode_sql());
        assert!(plan_of_open.contains("attempt_waiting (state=?)"), "{plan_of_open}");
        assert!(!plan_of_open.contains("SCAN a") && !plan_of_open.contains("attempt_file"), "{plan_of_open}");
        for sql in [&owner_sql(), CUT_OFF] {
            let plan = plan(sql);
            assert!(plan.contains("b USING INDEX attempt_name (folder=? AND name=?)"), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "nothing is sorted: {plan}");
        }
    }
}
