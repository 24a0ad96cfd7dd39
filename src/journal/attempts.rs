//! Writes an attempt, from its intent to its end.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::{RefusedRequest, RequestError};
use super::fields::Hash;
use super::marks::{self, Mark};
use super::receipt::{self, ReceiptFields};
use super::row::{attempt_fields, end_columns, nanoseconds, path_bytes, record, stamp_columns};
use super::sql::{Column, Sql, state};
use super::{AttemptId, Begun, End, Intent, Journal, JournalError, Stored, local_ends, query};

impl Journal {
    /// Writes an intent, unless its name at its destination belongs to another local path. Durable on return.
    ///
    /// A name belongs to the path with an open attempt or a receipt for it. The same path may begin again. Where the
    /// returned future is dropped, the intent may be written all the same: it is then one of [`Journal::unresolved`].
    pub async fn begin(&self, intent: Intent) -> Result<Begun, JournalError> {
        self.write(move |connection| begin(connection, &intent, SystemTime::now())).await
    }

    /// Writes the receipt of an attempt. Durable on return.
    ///
    /// Also of an attempt that was abandoned: another process may have asked for the document too early, and what the vault says
    /// now counts. The same receipt once more is no error. An error does not prove that nothing was written: asking again is safe.
    pub async fn stored(&self, id: AttemptId, stored: Stored) -> Result<i64, JournalError> {
        let number = self.write(move |connection| write_receipt(connection, id, &stored, SystemTime::now())).await?;
        self.announce_receipt();
        Ok(number)
    }

    /// Writes intent and receipt of a file that the vault has already, under a name that may belong to another local path.
    pub async fn adopt(&self, intent: Intent, stored: Stored) -> Result<(AttemptId, i64), JournalError> {
        let numbers = self.write(move |connection| adopt(connection, &intent, &stored, SystemTime::now())).await?;
        self.announce_receipt();
        Ok(numbers)
    }

    /// Writes the receipt of an attempt whose file was moved since: one for the old path, whose name it is, and one in an attempt of
    /// its own for `intent`, which says where the file is now. Returns the numbers of the second attempt and receipt.
    pub async fn moved(&self, id: AttemptId, intent: Intent, stored: Stored) -> Result<(AttemptId, i64), JournalError> {
        let write = move |connection: &Connection| {
            let now = SystemTime::now();
            write_receipt(connection, id, &stored, now)?;
            end(connection, id, &End::Superseded)?;
            adopt(connection, &intent, &stored, now)
        };
        let numbers = self.write(write).await?;
        self.announce_receipt();
        Ok(numbers)
    }

    fn announce_receipt(&self) {
        self.inner.receipts.send_replace(());
    }

    /// Writes how an attempt ended; the last end written counts. `Removed`, `Moved` and `Kept` need a receipt.
    ///
    /// Committed on return. Losing the end in a power cut would cost one question to the vault, and no file.
    pub async fn end(&self, id: AttemptId, how: End) -> Result<(), JournalError> {
        let has_failed = matches!(how, End::Failed { .. });
        self.write(move |connection| end(connection, id, &how)).await?;
        if has_failed { self.limit_failures().await } else { Ok(()) }
    }

    /// Writes how several attempts ended, in one commit.
    pub async fn end_all(&self, ends: Vec<(AttemptId, End)>) -> Result<(), JournalError> {
        self.write(move |connection| ends.iter().try_for_each(|(id, how)| end(connection, *id, how))).await
    }
}

fn begin(connection: &Connection, intent: &Intent, now: SystemTime) -> Result<Begun, RequestError> {
    let folder = known_string(connection, intent.folder.0.as_bytes())?;
    if let Some(folder) = folder
        && let Some(owner) = query::owner(connection, folder, &intent.name)?
        && (owner.intent.root != intent.root || !same_bytes(&owner.intent.relative, &intent.relative))
    {
        return Ok(Begun::NameTaken(Box::new(owner)));
    }
    insert(connection, intent, now).map(Begun::Go)
}

/// Writes intent and receipt in one commit, whichever path owns the name.
fn adopt(
    connection: &Connection,
    intent: &Intent,
    stored: &Stored,
    now: SystemTime,
) -> Result<(AttemptId, i64), RequestError> {
    let id = insert(connection, intent, now)?;
    let receipt = write_receipt(connection, id, stored, now)?;
    Ok((id, receipt))
}

static INSERT_ATTEMPT: Sql = Sql::new(|| {
    format!(
        "INSERT INTO attempt (root, relative, device, inode, size, mtime, ctime, dest, folder, name, started, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, {open})",
        open = state::OPEN
    )
});

/// Writes an intent.
pub(super) fn insert(connection: &Connection, intent: &Intent, now: SystemTime) -> Result<AttemptId, RequestError> {
    let [device, inode, size, mtime, ctime] = stamp_columns(&intent.stamp);
    let id = connection.prepare_cached(&INSERT_ATTEMPT)?.insert(params![
        string_id(connection, path_bytes(&intent.root))?,
        path_bytes(&intent.relative),
        device,
        inode,
        size,
        mtime,
        ctime,
        string_id(connection, intent.dest.to_string().as_bytes())?,
        string_id(connection, intent.folder.0.as_bytes())?,
        intent.name,
        nanoseconds(now),
    ])?;
    Ok(AttemptId(id))
}

/// `Path` compares `a//b` and `a/b` as equal; the journal's paths are byte strings.
fn same_bytes(one: &Path, other: &Path) -> bool {
    path_bytes(one) == path_bytes(other)
}

/// Writes the receipt of an attempt and makes it the newest of the chain. Returns its number.
fn write_receipt(
    connection: &Connection,
    id: AttemptId,
    stored: &Stored,
    now: SystemTime,
) -> Result<i64, RequestError> {
    let head = marks::read(connection, Mark::ReceiptsHead)?;
    let fields = ReceiptFields {
        sha256: stored.sha256.as_bytes(),
        size: stored.size.cast_signed(),
        document: stored.document.0.as_bytes(),
        document_version: stored.document_version.as_deref().map(str::as_bytes),
        user: stored.user.as_bytes(),
        already_present: stored.already_present,
        at: nanoseconds(now),
    };
    let mut statement = connection.prepare_cached(&query::BY_ID)?;
    let mut rows = statement.query([id.0])?;
    let row = rows.next()?.ok_or(RefusedRequest::UnknownAttempt(id))?;
    if let Some(known) = known_receipt(row, id, stored)? {
        return Ok(known);
    }
    let seq = head.seq + 1;
    let hash = receipt::hash(seq, &head.hash, &attempt_fields(row)?, &fields);
    insert_receipt(connection, id, stored, &NewLink { seq, prev: &head.hash, hash, at: fields.at })?;
    marks::set(connection, Mark::ReceiptsHead, seq, &hash, fields.at)?;
    connection.prepare_cached(&SET_STORED)?.execute(params![id.0, seq])?;
    Ok(seq)
}

static SET_STORED: Sql = Sql::new(|| {
    format!("UPDATE attempt SET state = {stored}, detail = NULL, seq = ?2 WHERE id = ?1", stored = state::STORED)
});

/// The number of the receipt that the attempt has already; `None` where it waits for one. The same receipt once more is no error: the
/// caller may have lost the answer.
fn known_receipt(row: &Row<'_>, id: AttemptId, stored: &Stored) -> Result<Option<i64>, RequestError> {
    let receipt = Column::Seq.get::<Option<i64>>(row)?;
    if matches!(Column::State.get(row)?, state::OPEN | state::ABANDONED) && receipt.is_none() {
        return Ok(None);
    }
    match record(row)?.entry.stored {
        Some(known) if known == *stored => Ok(receipt),
        Some(_) => Err(RefusedRequest::OtherReceipt(id).into()),
        None => Err(RefusedRequest::EndedUnstored(id).into()),
    }
}

/// A receipt's place in the chain, as the journal's bytes.
struct NewLink<'a> {
    seq: i64,
    prev: &'a [u8],
    hash: Hash,
    at: i64,
}

fn insert_receipt(connection: &Connection, id: AttemptId, stored: &Stored, link: &NewLink<'_>) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO receipt (seq, attempt, sha256, size, document, document_version, user, adopted, stored, prev, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    insert.execute(params![
        link.seq,
        id.0,
        stored.sha256,
        stored.size.cast_signed(),
        stored.document.0,
        stored.document_version,
        string_id(connection, stored.user.as_bytes())?,
        i64::from(stored.already_present),
        link.at,
        link.prev,
        link.hash,
    ])?;
    Ok(())
}

/// Without a receipt no file may be gone. (One that was kept may have none: its receipt may have been pruned since.)
static SET_END: Sql = Sql::new(|| {
    format!(
        "UPDATE attempt SET state = ?2, detail = ?3 WHERE id = ?1 AND (?2 IN ({failed}, {abandoned}) OR seq IS NOT NULL \
         OR state NOT IN ({open}, {failed}, {abandoned})) RETURNING seq",
        open = state::OPEN,
        failed = state::FAILED,
        abandoned = state::ABANDONED,
    )
});

/// Writes how an attempt ended, and where it has a receipt an entry in the chain of local ends. The last end written counts.
pub(super) fn end(connection: &Connection, id: AttemptId, how: &End) -> Result<(), RequestError> {
    let (state, detail) = end_columns(how);
    let mut update = connection.prepare_cached(&SET_END)?;
    let written = update.query_row(params![id.0, state, detail], |row| row.get::<_, Option<i64>>("seq")).optional()?;
    let Some(receipt) = written else {
        let is_known = query::by_id(connection, id)?.is_some();
        return Err(if is_known { RefusedRequest::NoReceipt(id) } else { RefusedRequest::UnknownAttempt(id) }.into());
    };
    if let Some(receipt) = receipt {
        local_ends::write(connection, receipt, state, detail)?;
    }
    if state == state::FAILED {
        forget_earlier_failure(connection, id)?;
    }
    Ok(())
}

static FORGET_EARLIER_FAILURE: Sql = Sql::new(|| {
    format!(
        "DELETE FROM attempt WHERE id = (SELECT b.id FROM attempt a \
         JOIN attempt b ON b.root = a.root AND b.relative = a.relative AND b.id < a.id WHERE a.id = ?1 ORDER BY b.id DESC LIMIT 1) \
         AND state = {failed} AND seq IS NULL \
         AND (inode = (SELECT inode FROM attempt WHERE id = ?1) OR folder = (SELECT id FROM term WHERE value = x''))",
        failed = state::FAILED
    )
});

/// One row for each path: a failure replaces the failure before it, if that was of the same file, or of a file that was never
/// sent. Any other earlier failure may be of a file that lies set aside, and is not to be sent again.
fn forget_earlier_failure(connection: &Connection, id: AttemptId) -> rusqlite::Result<()> {
    connection.prepare_cached(&FORGET_EARLIER_FAILURE)?.execute([id.0]).map(drop)
}

/// The number of a string that many rows share; it is written where it is new.
fn string_id(connection: &Connection, value: &[u8]) -> rusqlite::Result<i64> {
    if let Some(id) = known_string(connection, value)? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO term (value) VALUES (?1)")?.insert([value])
}

pub(super) fn known_string(connection: &Connection, value: &[u8]) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM term WHERE value = ?1")?;
    statement.query_row([value], |row| row.get("id")).optional()
}
