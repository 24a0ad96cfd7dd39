//! The whole chain of receipts: looking along it, and cutting its old end off.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, params};

use super::fate::{self, noted};
use super::receipt::{self, Walk};
use super::report::CheckReport;
use super::row::{COLUMNS, TERMS, attempted, confirmed, link, nanoseconds, state};
use super::writer::Fault;
use super::{heads, key::Key, record, schema};

/// How many receipts one transaction prunes: others can write in between.
pub(super) const PRUNED_AT_ONCE: usize = 2000;

/// Looks along both chains, at one state of the journal. Holds one entry at a time. The journal's key lies in `dir`.
pub(super) fn check(connection: &Connection, dir: &Path) -> rusqlite::Result<CheckReport> {
    let snapshot = connection.unchecked_transaction()?;
    let mut walk = Walk::new(&noted(&snapshot, schema::ANCHOR)?, &noted(&snapshot, schema::HEAD)?);
    // From the receipts' side: one whose attempt is gone, or belongs to another receipt, must show.
    let sql = format!(
        "{COLUMNS}FROM receipt r LEFT JOIN attempt a ON a.id = r.attempt AND a.seq = r.seq{TERMS}ORDER BY r.seq"
    );
    let mut statement = snapshot.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, prev, noted) = link(row)?;
        let fields = attempted(row).and_then(|attempted| Ok((attempted, confirmed(row)?)));
        let computed = fields.map(|(attempted, confirmed)| receipt::hash(seq, prev, &attempted, &confirmed));
        walk.step(seq, prev, noted, computed.ok());
    }
    let mut claims = snapshot.prepare(
        "SELECT a.seq FROM attempt a JOIN receipt r ON r.seq = a.seq WHERE r.attempt <> a.id ORDER BY a.seq",
    )?;
    let mut claims = claims.query([])?;
    while let Some(row) = claims.next()? {
        walk.claimed(row.get(0)?);
    }
    let mut report = walk.finish();
    fate::check(&snapshot, &mut report)?;
    // Now, not before: a pruning makes the key where there is none, and may be another process's.
    let key = Key::public_at(dir).map_err(|error| error.to_string());
    heads::check_cut(&snapshot, key, &mut report)?;
    Ok(report)
}

/// Cuts off the oldest receipts, as far as they are older than `before` and nothing is to be done about their files any
/// more, or those were written anew since; at most [`PRUNED_AT_ONCE`]. Answers how many.
///
/// The attempts go with them, but for those that are still needed: of a file that was kept or lies set aside, so that it is
/// not uploaded again, and the newest of all, so that its number never comes again. The cut is signed with the key in `dir`.
pub(super) fn prune(connection: &Connection, dir: &Path, before: SystemTime, now: SystemTime) -> Result<usize, Fault> {
    let limit = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT r.seq, r.hash, r.stored < ?1 AND (ifnull(a.state, 0) > ?2 OR EXISTS \
         (SELECT 1 FROM attempt b WHERE b.root = a.root AND b.relative = a.relative AND b.inode = a.inode AND b.id > a.id)) FROM receipt r \
         LEFT JOIN attempt a ON a.id = r.attempt ORDER BY r.seq LIMIT ?3",
    )?;
    let rows = statement.query_map(params![nanoseconds(before), state::FAILED, limit], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, bool>(2)?))
    })?;
    let old = rows.take_while(|row| row.as_ref().map_or(true, |(.., old)| *old)).collect::<Result<Vec<_>, _>>()?;
    let Some((last, hash, _)) = old.last() else { return Ok(0) };
    let key = Key::at(dir).map_err(|error| Fault::Refused(error.to_string()))?;
    delete_through(connection, *last)?;
    fate::prune(connection, *last, now)?;
    record::set_mark(connection, schema::ANCHOR, *last, hash, nanoseconds(now))?;
    heads::sign_cut(connection, &key)?;
    Ok(old.len())
}

fn delete_through(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    connection.execute(
        "DELETE FROM attempt WHERE id IN (SELECT attempt FROM receipt WHERE seq <= ?1) \
         AND id <> (SELECT max(id) FROM attempt) AND state <> ?3 AND NOT (state = ?2 AND NOT EXISTS \
         (SELECT 1 FROM attempt b WHERE b.root = attempt.root AND b.relative = attempt.relative AND b.id > attempt.id \
         AND b.state NOT IN (?4, ?5)))",
        params![seq, state::KEPT, state::STORED, state::FAILED, state::ABANDONED],
    )?;
    connection
        .execute("UPDATE attempt SET seq = NULL WHERE id IN (SELECT attempt FROM receipt WHERE seq <= ?1)", [seq])?;
    connection.execute("DELETE FROM receipt WHERE seq <= ?1", [seq]).map(drop)
}

/// Deletes what pruning leaves over: attempts without a receipt that nobody asks for any more.
pub(super) fn sweep(connection: &Connection, before: SystemTime) -> Result<(), Fault> {
    connection.execute(
        "DELETE FROM attempt WHERE seq IS NULL AND state IN (?1, ?2, ?3, ?4) AND started < ?5 \
         AND id <> (SELECT max(id) FROM attempt)",
        params![state::ABANDONED, state::REMOVED, state::MOVED, state::SUPERSEDED, nanoseconds(before)],
    )?;
    Ok(())
}
