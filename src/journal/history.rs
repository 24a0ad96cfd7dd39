//! Pages of attempts and receipts, for commands that show or compare them. Reads only.

use std::time::SystemTime;

use globset::{GlobBuilder, GlobMatcher};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::failures::is_failed;
use super::query::is_pending;
use super::row::{entry, nanoseconds, record};
use super::sql::{Column, STRINGS, Sql, select_attempts};
use super::{AttemptId, Entry, Journal, JournalError, Record, Stored};
use crate::vault::RemotePath;

/// Which entries of the history are asked for. The default one asks for all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Only entries of this name.
    pub name: Option<NamePattern>,
    /// Only entries that failed, where nothing newer is known of the file. With `pending`: both kinds.
    pub failed: bool,
    /// Only entries that are open, or stored with the local file not yet dealt with.
    pub pending: bool,
    /// Only entries that began or were stored at this time or later.
    pub since: Option<SystemTime>,
}

/// A name as people type it: a glob where it has one of `*?[{`, else any part of the name.
#[derive(Debug, Clone)]
pub struct NamePattern(Matcher);

#[derive(Debug, Clone)]
enum Matcher {
    Part(String),
    Glob(GlobMatcher),
}

impl NamePattern {
    /// Reads a pattern; the error says what is wrong with the glob.
    pub fn parse(text: &str) -> Result<Self, globset::Error> {
        if !text.contains(['*', '?', '[', '{']) {
            return Ok(Self(Matcher::Part(text.to_owned())));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build()?;
        Ok(Self(Matcher::Glob(glob.compile_matcher())))
    }

    /// Whether the pattern matches the name sent, the local file's name, or its path below the root.
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
    /// Whether the document has had newer content since.
    pub superseded: bool,
}

impl Journal {
    /// At most `limit` of the entries that a filter takes, oldest first, from the one behind `after` on.
    pub async fn history_page(
        &self,
        filter: &Filter,
        after: Option<AttemptId>,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let filter = filter.clone();
        self.read(move |connection| history_page(connection, &filter, after, limit)).await
    }

    /// The position behind which the newest `count` entries lie that a filter takes, for [`Journal::history_page`]. `None` where there are
    /// not so many.
    pub async fn before_newest(&self, filter: &Filter, count: usize) -> Result<Option<AttemptId>, JournalError> {
        let filter = filter.clone();
        self.read(move |connection| before_newest(connection, &filter, count)).await
    }

    /// At most `limit` receipts stored at `since` or later, in the chain's order, from the one behind `after` on (0: all).
    pub async fn receipts_page(
        &self,
        since: Option<SystemTime>,
        after: i64,
        limit: usize,
    ) -> Result<Vec<Receipt>, JournalError> {
        self.read(move |connection| receipts_page(connection, since, after, limit)).await
    }

    /// The newest receipt for a document's path. Looks along all attempts: for commands that ask once.
    pub async fn receipt_of(&self, path: &RemotePath) -> Result<Option<Stored>, JournalError> {
        let path = path.clone();
        self.read(move |connection| receipt_of(connection, &path)).await
    }
}

fn history_page(
    connection: &Connection,
    filter: &Filter,
    after: Option<AttemptId>,
    limit: usize,
) -> rusqlite::Result<Vec<Record>> {
    let mut statement = connection.prepare_cached(&sql(filter, "ASC"))?;
    let since = filter.since.map_or(i64::MIN, nanoseconds);
    let rows = statement.query_map(params![after.map_or(0, |id| id.0), since], record)?;
    rows.filter(|found| matches(filter, found)).take(limit).collect()
}

fn before_newest(connection: &Connection, filter: &Filter, count: usize) -> rusqlite::Result<Option<AttemptId>> {
    let mut statement = connection.prepare_cached(&sql(filter, "DESC"))?;
    let since = filter.since.map_or(i64::MIN, nanoseconds);
    let rows = statement.query_map(params![0, since], record)?;
    let oldest = rows.filter(|found| matches(filter, found)).nth(count.saturating_sub(1)).transpose()?;
    Ok(oldest.map(|oldest| AttemptId(oldest.entry.id.0 - 1)))
}

fn sql(filter: &Filter, order: &str) -> String {
    format!(
        "{} WHERE a.id > ?1 AND max(a.started, ifnull(r.stored, a.started)) >= ?2 AND {} ORDER BY a.id {order}",
        select_attempts(),
        condition(filter)
    )
}

/// Whether an entry is of the name that is asked for. An error is passed on.
fn matches(filter: &Filter, found: &rusqlite::Result<Record>) -> bool {
    match (found, &filter.name) {
        (Ok(record), Some(name)) => name.matches(&record.entry),
        _ => true,
    }
}

/// All statements that read a page; the first three are those of a page of everything.
#[cfg(test)]
pub(super) fn page_statements() -> Vec<String> {
    let page = |failed, pending| sql(&Filter { failed, pending, ..Filter::default() }, "ASC");
    let newest = sql(&Filter::default(), "DESC");
    vec![page(false, false), newest, RECEIPTS_PAGE.clone(), page(true, false), page(false, true), page(true, true)]
}

fn condition(filter: &Filter) -> String {
    // Failures of files of which nothing newer is known.
    let failed = || {
        format!(
            "{} AND NOT EXISTS (SELECT 1 FROM attempt b WHERE b.root = a.root AND b.relative = a.relative AND b.id > a.id)",
            is_failed("a.")
        )
    };
    match (filter.failed, filter.pending) {
        (false, false) => "TRUE".to_owned(),
        (true, false) => failed(),
        (false, true) => is_pending(),
        (true, true) => format!("(({}) OR ({}))", failed(), is_pending()),
    }
}

static RECEIPTS_PAGE: Sql = Sql::new(|| {
    format!(
        "SELECT {}, EXISTS (SELECT 1 FROM attempt b WHERE b.folder = a.folder AND b.name = a.name AND b.seq > r.seq) \
         AS superseded FROM receipt r JOIN attempt a ON a.id = r.attempt {STRINGS} \
         WHERE r.seq > ?1 AND r.stored >= ?2 ORDER BY r.seq LIMIT ?3",
        Column::LIST
    )
});

fn receipts_page(
    connection: &Connection,
    since: Option<SystemTime>,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<Receipt>> {
    let since = since.map_or(i64::MIN, nanoseconds);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&RECEIPTS_PAGE)?;
    let rows = statement.query_map(params![after, since, limit], |row| {
        Ok(Receipt { record: record(row)?, superseded: row.get("superseded")? })
    })?;
    rows.collect()
}

static RECEIPT_OF: Sql = Sql::new(|| {
    format!(
        "{} WHERE a.name = ?1 AND a.seq IS NOT NULL AND a.dest = (SELECT id FROM term WHERE value = ?2) \
         ORDER BY a.seq DESC LIMIT 1",
        select_attempts()
    )
});

fn receipt_of(connection: &Connection, path: &RemotePath) -> rusqlite::Result<Option<Stored>> {
    let Some((name, folder)) = path.segments().split_last() else { return Ok(None) };
    let folder = folder.iter().fold(RemotePath::default(), |path, segment| path.join(segment));
    let mut statement = connection.prepare(&RECEIPT_OF)?;
    let found = statement.query_row(params![name, folder.to_string().as_bytes()], entry).optional()?;
    Ok(found.and_then(|entry| entry.stored))
}
