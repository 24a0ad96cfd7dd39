//! The whole chain of receipts: checking it, and pruning its oldest part.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, params};

use super::error::RequestError;
use super::key::Key;
use super::marks::{self, Mark};
use super::receipt::{self, ChainVerifier};
use super::report::CheckReport;
use super::row::{attempt_fields, link, nanoseconds, receipt_fields};
use super::sql::{Column, STRINGS, Sql, state};
use super::{Journal, JournalError, heads, local_ends};

/// How many receipts one transaction prunes: others can write in between.
const PRUNED_AT_ONCE: usize = 2000;

impl Journal {
    /// Looks along the whole chain of receipts, and along the chain of what became of their files.
    pub async fn check(&self) -> Result<CheckReport, JournalError> {
        let dir = self.dir();
        self.read(move |connection| check(connection, &dir)).await
    }

    /// Deletes the oldest receipts: those stored before this time, up to the first whose file is still to be dealt with, or of which the
    /// copy elsewhere is still missing ([`Journal::note_shipped`]). What
    /// remains can still be checked; a pruned name belongs to no path. Returns how many.
    pub async fn prune(&self, before: SystemTime) -> Result<u64, JournalError> {
        let mut count = 0;
        loop {
            let dir = self.dir();
            let prune = move |connection: &Connection| prune(connection, &dir, before, SystemTime::now());
            let pruned = self.write(prune).await?;
            count += pruned as u64;
            if pruned < PRUNED_AT_ONCE {
                self.write(move |connection| Ok(sweep(connection, before)?)).await?;
                return Ok(count);
            }
        }
    }
}

/// From the receipts' side: a receipt whose attempt is gone, or belongs to another receipt, must show.
static ALL_RECEIPTS: Sql = Sql::new(|| {
    format!(
        "SELECT {} FROM receipt r LEFT JOIN attempt a ON a.id = r.attempt AND a.seq = r.seq {STRINGS} ORDER BY r.seq",
        Column::LIST
    )
});

/// Looks along both chains, at one state of the journal. Holds one entry at a time. The journal's key lies in `dir`.
fn check(connection: &Connection, dir: &Path) -> rusqlite::Result<CheckReport> {
    let snapshot = connection.unchecked_transaction()?;
    let (pruned, head) = (marks::read(&snapshot, Mark::ReceiptsPruned)?, marks::read(&snapshot, Mark::ReceiptsHead)?);
    let mut verifier = ChainVerifier::new(pruned, head);
    let mut statement = snapshot.prepare(&ALL_RECEIPTS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, prev, noted) = link(row)?;
        let fields = attempt_fields(row).and_then(|attempt| Ok((attempt, receipt_fields(row)?)));
        let computed = fields.map(|(attempt, receipt)| receipt::hash(seq, prev, &attempt, &receipt));
        verifier.step(seq, prev, noted, computed.ok());
    }
    let mut claimed = snapshot.prepare(
        "SELECT a.seq FROM attempt a JOIN receipt r ON r.seq = a.seq WHERE r.attempt <> a.id ORDER BY a.seq",
    )?;
    let mut claimed = claimed.query([])?;
    while let Some(row) = claimed.next()? {
        verifier.claimed(row.get("seq")?);
    }
    let mut report = verifier.finish();
    local_ends::check(&snapshot, &mut report)?;
    // The key is read now, not before: a pruning makes it where there is none, and may be another process's.
    heads::check_cut(&snapshot, Key::public_at(dir), &mut report)?;
    Ok(report)
}

/// The oldest receipts, and whether each may be pruned: it is old, its copy is kept where copies are kept elsewhere, and nothing is to be done about its file any more, or the file
/// was written anew since.
static OLDEST_RECEIPTS: Sql = Sql::new(|| {
    format!(
        "SELECT r.seq, r.hash, r.stored < ?1 AND r.seq <= ?3 AND (ifnull(a.state, {open}) > {failed} OR EXISTS \
         (SELECT 1 FROM attempt b WHERE b.root = a.root AND b.relative = a.relative AND b.inode = a.inode AND b.id > a.id)) \
         AS may_go FROM receipt r LEFT JOIN attempt a ON a.id = r.attempt ORDER BY r.seq LIMIT ?2",
        open = state::OPEN,
        failed = state::FAILED
    )
});

/// Deletes the oldest receipts, at most [`PRUNED_AT_ONCE`]. Returns how many.
///
/// The attempts go with them, except those that are still needed: of a file that was kept or lies set aside, so that the file is
/// not uploaded again, and the newest of all, so that its number never comes again. The cut is signed with the key in `dir`.
fn prune(connection: &Connection, dir: &Path, before: SystemTime, now: SystemTime) -> Result<usize, RequestError> {
    let limit = i64::try_from(PRUNED_AT_ONCE).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&OLDEST_RECEIPTS)?;
    let shipped = marks::shipped(connection)?.unwrap_or(i64::MAX);
    let rows = statement.query_map(params![nanoseconds(before), limit, shipped], |row| {
        Ok((row.get::<_, i64>("seq")?, row.get::<_, Vec<u8>>("hash")?, row.get::<_, bool>("may_go")?))
    })?;
    let old =
        rows.take_while(|row| row.as_ref().map_or(true, |(.., may_go)| *may_go)).collect::<Result<Vec<_>, _>>()?;
    let Some((last, hash, _)) = old.last() else { return Ok(0) };
    let key = Key::at(dir)?;
    delete_through(connection, *last)?;
    local_ends::prune(connection, *last, now)?;
    marks::set(connection, Mark::ReceiptsPruned, *last, hash, nanoseconds(now))?;
    heads::sign_cut(connection, &key)?;
    Ok(old.len())
}

static DELETE_ATTEMPTS: Sql = Sql::new(|| {
    format!(
        "DELETE FROM attempt WHERE id IN (SELECT attempt FROM receipt WHERE seq <= ?1) \
         AND id <> (SELECT max(id) FROM attempt) AND state <> {stored} AND NOT (state = {kept} AND NOT EXISTS \
         (SELECT 1 FROM attempt b WHERE b.root = attempt.root AND b.relative = attempt.relative AND b.id > attempt.id \
         AND b.state NOT IN ({failed}, {abandoned})))",
        stored = state::STORED,
        kept = state::KEPT,
        failed = state::FAILED,
        abandoned = state::ABANDONED
    )
});

fn delete_through(connection: &Connection, seq: i64) -> rusqlite::Result<()> {
    connection.execute(&DELETE_ATTEMPTS, [seq])?;
    connection
        .execute("UPDATE attempt SET seq = NULL WHERE id IN (SELECT attempt FROM receipt WHERE seq <= ?1)", [seq])?;
    connection.execute("DELETE FROM receipt WHERE seq <= ?1", [seq]).map(drop)
}

static SWEEP: Sql = Sql::new(|| {
    format!(
        "DELETE FROM attempt WHERE seq IS NULL AND state IN ({abandoned}, {removed}, {moved}, {superseded}) AND started < ?1 \
         AND id <> (SELECT max(id) FROM attempt)",
        abandoned = state::ABANDONED,
        removed = state::REMOVED,
        moved = state::MOVED,
        superseded = state::SUPERSEDED
    )
});

/// Deletes what pruning leaves over: attempts without a receipt that no file needs any more.
fn sweep(connection: &Connection, before: SystemTime) -> rusqlite::Result<()> {
    connection.execute(&SWEEP, [nanoseconds(before)]).map(drop)
}
