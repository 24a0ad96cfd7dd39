//! What the journal is told: one attempt's way from its intent to its end. Runs under the write lock.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, params};

use super::fields::Hash;
use super::receipt::{self, Confirmed};
use super::row::{
    ATTEMPTS, COLUMNS, TERMS, attempted, columns, nanoseconds, path_bytes, record, state, version_columns,
};
use super::writer::Fault;
use super::{AttemptId, Begun, End, Intent, Stored, fate, query, schema};

/// Has the journal belong to a service; one that belongs to another refuses. Answers whether it held receipts or attempts before it
/// belonged to any.
pub(super) fn claim(connection: &Connection, claiming: &str) -> Result<bool, Fault> {
    match service(connection)? {
        Some(known) if known == claiming => Ok(false),
        Some(known) => Err(Fault::Refused(format!("it has the receipts of {known}, which say nothing of {claiming}"))),
        None => {
            connection.prepare_cached("INSERT INTO service VALUES (1, ?1)")?.execute([claiming])?;
            Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM attempt)", [], |row| row.get(0))?)
        }
    }
}

/// The service that the journal belongs to.
pub(super) fn service(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT name FROM service", [], |row| row.get(0)).optional()
}

/// Writes an intent, unless another local path owns its name.
pub(super) fn begin(connection: &Connection, intent: &Intent, now: SystemTime) -> Result<Begun, Fault> {
    let folder = known_term(connection, intent.folder.0.as_bytes())?;
    if let Some(folder) = folder
        && let Some(owner) = query::owner(connection, folder, &intent.name)?
        && (owner.intent.root != intent.root || !same_bytes(&owner.intent.relative, &intent.relative))
    {
        return Ok(Begun::NameTaken(Box::new(owner)));
    }
    insert(connection, intent, now).map(Begun::Go)
}

/// Writes an intent and its receipt in one, for a file that the store has already, whoever owns its name.
pub(super) fn adopt(
    connection: &Connection,
    intent: &Intent,
    confirmed: &Stored,
    now: SystemTime,
) -> Result<AttemptId, Fault> {
    let id = insert(connection, intent, now)?;
    stored(connection, id, confirmed, now)?;
    Ok(id)
}

/// Writes the receipt of an attempt whose file has another path by now: for the old path, whose name it is, and for the new
/// one, where it will be looked for.
pub(super) fn moved(
    connection: &Connection,
    id: AttemptId,
    intent: &Intent,
    confirmed: &Stored,
    now: SystemTime,
) -> Result<AttemptId, Fault> {
    stored(connection, id, confirmed, now)?;
    end(connection, id, &End::Superseded)?;
    adopt(connection, intent, confirmed, now)
}

/// Writes an attempt that failed before anything was sent, in one: an intent without an outcome would be asked for.
pub(super) fn refuse(
    connection: &Connection,
    intent: &Intent,
    reason: &str,
    now: SystemTime,
) -> Result<AttemptId, Fault> {
    let id = insert(connection, intent, now)?;
    end(connection, id, &End::Failed { reason: reason.to_owned() })?;
    Ok(id)
}

/// Writes a failure anew, as the newest of its path. Answers its number.
pub(super) fn renew(connection: &Connection, id: AttemptId, now: SystemTime) -> Result<AttemptId, Fault> {
    let entry = query::by_id(connection, id)?.ok_or_else(|| unknown(id))?.entry;
    let super::State::Ended(End::Failed { reason }) = entry.state else { return Ok(id) };
    end(connection, id, &End::Abandoned { reason: format!("stands in a later attempt: {reason}") })?;
    refuse(connection, &entry.intent, &reason, now)
}

fn insert(connection: &Connection, intent: &Intent, now: SystemTime) -> Result<AttemptId, Fault> {
    let [device, inode, size, mtime, ctime] = version_columns(&intent.stamp);
    let mut insert = connection.prepare_cached(
        "INSERT INTO attempt (root, relative, device, inode, size, mtime, ctime, dest, folder, name, started, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0)",
    )?;
    let id = insert.insert(params![
        term(connection, path_bytes(&intent.root))?,
        path_bytes(&intent.relative),
        device,
        inode,
        size,
        mtime,
        ctime,
        term(connection, intent.dest.to_string().as_bytes())?,
        term(connection, intent.folder.0.as_bytes())?,
        intent.name,
        nanoseconds(now),
    ])?;
    Ok(AttemptId(id))
}

/// Paths compare equal with `a//b` and `a/b`; the journal's are byte strings.
fn same_bytes(one: &Path, other: &Path) -> bool {
    path_bytes(one) == path_bytes(other)
}

/// Writes the receipt of an attempt and makes it the chain's newest.
pub(super) fn stored(connection: &Connection, id: AttemptId, stored: &Stored, now: SystemTime) -> Result<(), Fault> {
    let (seq, prev) = mark(connection, schema::HEAD)?;
    let confirmed = Confirmed {
        sha256: stored.sha256.as_bytes(),
        size: stored.size.cast_signed(),
        document: stored.document.0.as_bytes(),
        document_version: stored.document_version.as_deref().map(str::as_bytes),
        user: stored.user.as_bytes(),
        already_present: stored.already_present,
        at: nanoseconds(now),
    };
    let sql = format!("{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.id = ?1");
    let mut statement: CachedStatement<'_> = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([id.0])?;
    let row = rows.next()?.ok_or_else(|| unknown(id))?;
    if !open(row, id, stored)? {
        return Ok(());
    }
    let hash = receipt::hash(seq + 1, &prev, &attempted(row)?, &confirmed);
    insert_receipt(connection, id, stored, seq + 1, &prev, &hash, confirmed.at)?;
    set_mark(connection, schema::HEAD, seq + 1, &hash, confirmed.at)?;
    let mut update =
        connection.prepare_cached("UPDATE attempt SET state = 1, detail = NULL, seq = ?2 WHERE id = ?1")?;
    update.execute(params![id.0, seq + 1])?;
    Ok(())
}

/// Whether the attempt waits for its receipt. The same receipt once more is no error: the caller may have lost the answer.
fn open(row: &Row<'_>, id: AttemptId, stored: &Stored) -> Result<bool, Fault> {
    let has_receipt = row.get::<_, Option<i64>>(14)?.is_some();
    if matches!(row.get(12)?, state::OPEN | state::ABANDONED) && !has_receipt {
        return Ok(true);
    }
    match record(row)?.entry.stored {
        Some(known) if known == *stored => Ok(false),
        Some(_) => Err(refused(id, "has another receipt already")),
        None => Err(refused(id, "is over without having been stored")),
    }
}

fn insert_receipt(
    connection: &Connection,
    id: AttemptId,
    stored: &Stored,
    seq: i64,
    prev: &[u8],
    hash: &Hash,
    at: i64,
) -> Result<(), Fault> {
    let mut insert =
        connection.prepare_cached("INSERT INTO receipt VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)")?;
    insert.execute(params![
        seq,
        id.0,
        stored.sha256,
        stored.size.cast_signed(),
        stored.document.0,
        stored.document_version,
        term(connection, stored.user.as_bytes())?,
        i64::from(stored.already_present),
        at,
        prev,
        hash,
    ])?;
    Ok(())
}

/// Writes how an attempt ended, with an entry in the chain of fates where it has a receipt. The last word counts.
pub(super) fn end(connection: &Connection, id: AttemptId, end: &End) -> Result<(), Fault> {
    let (state, detail) = columns(end);
    // Without a receipt no file may be gone. (One that was kept may, also where its receipt was pruned since.)
    let mut update = connection.prepare_cached(
        "UPDATE attempt SET state = ?2, detail = ?3 \
         WHERE id = ?1 AND (?2 IN (2, 3) OR seq IS NOT NULL OR state NOT IN (0, 2, 3)) RETURNING seq",
    )?;
    if let Some(receipt) = update.query_row(params![id.0, state, detail], |row| row.get(0)).optional()? {
        let write = |receipt: i64| fate::write(connection, receipt, state, detail);
        Option::map_or(receipt, Ok(()), write).map_err(Fault::from)?;
        return if state == state::FAILED { forget_earlier_failure(connection, id) } else { Ok(()) };
    }
    let known = query::by_id(connection, id)?.is_some();
    Err(if known { refused(id, "has no receipt, so its file can't have been dealt with") } else { unknown(id) })
}

/// One row for each path: a failure takes the place of the failure before it, if that was of the same file, or of one that was never
/// sent. Any other one may be of a file that lies set aside, and is not to be sent again.
fn forget_earlier_failure(connection: &Connection, id: AttemptId) -> Result<(), Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM attempt WHERE id = (SELECT b.id FROM attempt a JOIN attempt b ON b.root = a.root AND b.relative = a.relative \
         AND b.id < a.id WHERE a.id = ?1 ORDER BY b.id DESC LIMIT 1) AND state = 2 AND seq IS NULL \
         AND (inode = (SELECT inode FROM attempt WHERE id = ?1) OR folder = (SELECT id FROM term WHERE value = x''))",
    )?;
    delete.execute([id.0])?;
    Ok(())
}

/// Forgets the oldest failures without a receipt beyond the newest `most`. Answers how many. The newest attempt of all stays, so that
/// its number never comes again.
pub(super) fn limit_failures(connection: &Connection, most: usize) -> Result<usize, Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM attempt WHERE state <= 2 AND state = 2 AND seq IS NULL AND id <> (SELECT max(id) FROM attempt) AND id <= \
         (SELECT id FROM attempt WHERE state <= 2 AND state = 2 ORDER BY id DESC LIMIT 1 OFFSET ?1)",
    )?;
    Ok(delete.execute([i64::try_from(most).unwrap_or(i64::MAX)])?)
}

/// Forgets failures without a receipt, but for the newest attempt of all. Answers how many.
pub(super) fn forget_failures(connection: &Connection, ids: &[AttemptId]) -> Result<u64, Fault> {
    let mut delete = connection.prepare_cached(
        "DELETE FROM attempt WHERE id = ?1 AND state = 2 AND seq IS NULL AND id <> (SELECT max(id) FROM attempt)",
    )?;
    let mut count = 0;
    for id in ids {
        count += delete.execute([id.0])? as u64;
    }
    Ok(count)
}

/// Lets failed files be tried again: those that `wanted` takes by their root and path. Answers how many. Not counted are those
/// whose path another file has had since: most are long gone, but one may lie set aside.
pub(super) fn clear(connection: &Connection, wanted: &dyn Fn(&Path, &Path) -> bool) -> Result<usize, Fault> {
    let sql = format!("{COLUMNS}{ATTEMPTS}{TERMS}WHERE a.state <= 2 AND a.state = 2");
    let failed = connection.prepare_cached(&sql)?.query_map([], record)?.collect::<Result<Vec<_>, _>>()?;
    let mut count = 0;
    for entry in failed.into_iter().map(|record| record.entry) {
        let super::State::Ended(End::Failed { reason }) = &entry.state else { continue };
        if wanted(&entry.intent.root, &entry.intent.relative) {
            count += usize::from(!query::has_newer(connection, entry.id)?);
            let reason = format!("retry asked for after: {reason}");
            end(connection, entry.id, &End::Abandoned { reason })?;
        }
    }
    Ok(count)
}

/// Whether one of `paths` is the file, or a folder above it.
pub(super) fn is_below(paths: &[PathBuf], root: &Path, relative: &Path) -> bool {
    let path = root.join(relative);
    paths.iter().any(|wanted| path.starts_with(wanted))
}

/// A mark's receipt: its number and hash.
pub(super) fn mark(connection: &Connection, kind: i64) -> rusqlite::Result<(i64, Vec<u8>)> {
    let mut statement = connection.prepare_cached("SELECT seq, hash FROM mark WHERE kind = ?1")?;
    statement.query_row([kind], |row| Ok((row.get(0)?, row.get(1)?)))
}

/// Moves a mark.
pub(super) fn set_mark(connection: &Connection, kind: i64, seq: i64, hash: &[u8], at: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE mark SET seq = ?2, hash = ?3, at = ?4 WHERE kind = ?1")?;
    statement.execute(params![kind, seq, hash, at]).map(drop)
}

fn term(connection: &Connection, value: &[u8]) -> rusqlite::Result<i64> {
    if let Some(id) = known_term(connection, value)? {
        return Ok(id);
    }
    connection.prepare_cached("INSERT INTO term (value) VALUES (?1)")?.insert([value])
}

fn known_term(connection: &Connection, value: &[u8]) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM term WHERE value = ?1")?;
    statement.query_row([value], |row| row.get(0)).optional()
}

fn unknown(id: AttemptId) -> Fault {
    Fault::Refused(format!("the journal has no attempt {}", id.0))
}

fn refused(id: AttemptId, why: &str) -> Fault {
    Fault::Refused(format!("the journal's attempt {} {why}", id.0))
}
