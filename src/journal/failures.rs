//! Attempts that failed: written, listed, cleared so that their files are tried again, and forgotten.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::attempts::{end, insert};
use super::error::{RefusedRequest, RequestError};
use super::row::{entry, nanoseconds};
use super::sql::{Sql, select_attempts, state};
use super::{AttemptId, End, Entry, Intent, Journal, JournalError, State, query};
use crate::budget;

impl Journal {
    /// Writes that a file failed before anything was sent, in the place of an earlier failure of its path.
    pub async fn refuse(&self, intent: Intent, reason: String) -> Result<AttemptId, JournalError> {
        let id = self.write(move |connection| refuse(connection, &intent, &reason, SystemTime::now())).await?;
        self.limit_failures().await?;
        Ok(id)
    }

    /// Now and then forgets the oldest failures beyond the most that are kept: any number of names that can't be sent may be put into
    /// a folder.
    pub(super) async fn limit_failures(&self) -> Result<(), JournalError> {
        let written = self.inner.failures.fetch_add(1, Ordering::Relaxed);
        if !written.is_multiple_of(budget::FAILURES_COUNTED_EVERY) {
            return Ok(());
        }
        let forgotten = self.write(|connection| limit_failures(connection, budget::FAILURES)).await?;
        if forgotten > 0 {
            tracing::warn!(
                forgotten,
                limit = budget::FAILURES,
                "the journal has too many failures: the oldest were forgotten"
            );
        }
        Ok(())
    }

    /// Some failures without a receipt that began before this time, oldest first, from the one behind `after` on.
    pub async fn failures_page(&self, before: SystemTime, after: AttemptId) -> Result<Vec<Entry>, JournalError> {
        self.read(move |connection| failures_page(connection, before, after)).await
    }

    /// How many failures the journal has, those included whose files are gone since a day or less.
    pub async fn count_failures(&self) -> Result<u64, JournalError> {
        let count = |connection: &Connection| connection.query_row(&COUNT_FAILURES, [], |row| row.get::<_, i64>(0));
        self.read(count).await.map(i64::cast_unsigned)
    }

    /// Forgets these failures, except those that have a receipt by now. Returns how many.
    pub async fn forget_failures(&self, ids: Vec<AttemptId>) -> Result<u64, JournalError> {
        self.write(move |connection| forget_failures(connection, &ids)).await
    }

    /// Writes a failure anew as the newest attempt of its path, where people look for it, if another file has had that path since
    /// and has not failed. Returns the failure's number from now on.
    pub async fn renew(&self, id: AttemptId) -> Result<AttemptId, JournalError> {
        // Two files of one path that have both failed must not replace each other for ever.
        if self.short_read(move |connection| path_has_failed(connection, id)).await? {
            return Ok(id);
        }
        self.write(move |connection| renew(connection, id, SystemTime::now())).await
    }

    /// Clears failures, so that their files are tried again: those of these paths (absolute; a folder means all below it), or all
    /// where there are no paths. Returns how many.
    pub async fn retry(&self, paths: Vec<PathBuf>) -> Result<usize, JournalError> {
        let wanted = move |root: &Path, relative: &Path| paths.is_empty() || is_below(&paths, root, relative);
        self.write(move |connection| clear(connection, &wanted)).await
    }
}

/// Writes intent and failure in one commit: the vault would be asked about an intent without an outcome.
fn refuse(connection: &Connection, intent: &Intent, reason: &str, now: SystemTime) -> Result<AttemptId, RequestError> {
    let id = insert(connection, intent, now)?;
    end(connection, id, &End::Failed { reason: reason.to_owned() })?;
    Ok(id)
}

fn renew(connection: &Connection, id: AttemptId, now: SystemTime) -> Result<AttemptId, RequestError> {
    let entry = query::by_id(connection, id)?.ok_or(RefusedRequest::UnknownAttempt(id))?;
    let State::Ended(End::Failed { reason }) = entry.state else { return Ok(id) };
    end(connection, id, &End::Abandoned { reason: format!("stands in a later attempt: {reason}") })?;
    refuse(connection, &entry.intent, &reason, now)
}

static PATH_HAS_FAILED: Sql = Sql::new(|| {
    format!(
        "SELECT b.state = {failed} FROM attempt a JOIN attempt b ON b.root = a.root AND b.relative = a.relative \
         WHERE a.id = ?1 ORDER BY b.id DESC LIMIT 1",
        failed = state::FAILED
    )
});

/// Whether the newest attempt of its path is a failure.
fn path_has_failed(connection: &Connection, id: AttemptId) -> rusqlite::Result<bool> {
    let newest = connection.prepare_cached(&PATH_HAS_FAILED)?.query_row([id.0], |row| row.get(0)).optional()?;
    // A failure that is gone was replaced by a newer one.
    Ok(newest.unwrap_or(true))
}

pub(super) static LIMIT_FAILURES: Sql = Sql::new(|| {
    format!(
        "DELETE FROM attempt WHERE {is_failed} AND seq IS NULL AND {IS_NOT_NEWEST} AND id <= \
         (SELECT id FROM attempt WHERE {is_failed} ORDER BY id DESC LIMIT 1 OFFSET ?1)",
        is_failed = is_failed("")
    )
});

/// The newest attempt of all stays, so that its number never comes again.
const IS_NOT_NEWEST: &str = "id <> (SELECT max(id) FROM attempt)";

/// The condition by which the index `attempt_failed` finds failures, in their order. `table` is the table's name with a dot, or empty.
pub(super) fn is_failed(table: &str) -> String {
    format!("{table}state = {failed}", failed = state::FAILED)
}

static COUNT_FAILURES: Sql =
    Sql::new(|| format!("SELECT count(*) FROM attempt WHERE state = {failed}", failed = state::FAILED));

/// Forgets the oldest failures without a receipt beyond the newest `limit`. Returns how many.
fn limit_failures(connection: &Connection, limit: usize) -> Result<usize, RequestError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    Ok(connection.prepare_cached(&LIMIT_FAILURES)?.execute([limit])?)
}

static FORGET_FAILURE: Sql = Sql::new(|| {
    let failed = state::FAILED;
    format!("DELETE FROM attempt WHERE id = ?1 AND state = {failed} AND seq IS NULL AND {IS_NOT_NEWEST}")
});

fn forget_failures(connection: &Connection, ids: &[AttemptId]) -> Result<u64, RequestError> {
    let mut delete = connection.prepare_cached(&FORGET_FAILURE)?;
    let mut count = 0;
    for id in ids {
        count += delete.execute([id.0])? as u64;
    }
    Ok(count)
}

/// How many failures [`Journal::failures_page`] returns at a time.
const FAILURES_AT_ONCE: i64 = 1000;

pub(super) static FAILURES_PAGE: Sql = Sql::new(|| {
    format!(
        "{} WHERE {} AND a.seq IS NULL AND a.started < ?1 AND a.id > ?2 ORDER BY a.id LIMIT ?3",
        select_attempts(),
        is_failed("a.")
    )
});

fn failures_page(connection: &Connection, before: SystemTime, after: AttemptId) -> rusqlite::Result<Vec<Entry>> {
    let mut statement = connection.prepare_cached(&FAILURES_PAGE)?;
    statement.query_map(params![nanoseconds(before), after.0, FAILURES_AT_ONCE], entry)?.collect()
}

static ALL_FAILURES: Sql = Sql::new(|| format!("{} WHERE {}", select_attempts(), is_failed("a.")));

/// Clears the failures that `wanted` takes by their root and path. Returns how many, without those whose path another file has had
/// since: most of them are long gone, but one may lie set aside.
fn clear(connection: &Connection, wanted: &dyn Fn(&Path, &Path) -> bool) -> Result<usize, RequestError> {
    let failed = connection.prepare_cached(&ALL_FAILURES)?.query_map([], entry)?.collect::<Result<Vec<_>, _>>()?;
    let mut count = 0;
    for entry in failed {
        let State::Ended(End::Failed { reason }) = &entry.state else { continue };
        if wanted(&entry.intent.root, &entry.intent.relative) {
            count += usize::from(!query::has_newer(connection, entry.id)?);
            let reason = format!("retry asked for after: {reason}");
            end(connection, entry.id, &End::Abandoned { reason })?;
        }
    }
    Ok(count)
}

/// Whether one of `paths` is the file, or a folder above it.
fn is_below(paths: &[PathBuf], root: &Path, relative: &Path) -> bool {
    let path = root.join(relative);
    paths.iter().any(|wanted| path.starts_with(wanted))
}
