//! What became of each stored local file, as a second chain beside that of the receipts.
//!
//! Each end that is written for an attempt with a receipt is an entry of this chain; the newest entry of a receipt must say the
//! same as its attempt. The chain is its own so that receipts keep their numbers without gaps.
//!
//! The hash of an entry is the SHA-256 of these fields, written as `Fields` says: the text `astran-backup fate 1`; number, from 1;
//! hash of the entry before it (32 zero bytes for the first); the newest receipt that was written before fates were (0 where there
//! is none: for older ones nothing is known); number of the receipt; state as `attempt.state` has it; reason or path (may be
//! absent); when it was written (ns since 1970).

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fields::{Fields, Hash};
use super::report::{Broken, CheckReport, Damage, Noted};
use super::row::{nanoseconds, state};
use super::{record, schema};

/// One entry, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
struct Fate<'a> {
    receipt: i64,
    state: i64,
    detail: Option<&'a [u8]>,
    at: i64,
}

fn hash(seq: i64, prev: &[u8], since: i64, fate: &Fate<'_>) -> Hash {
    let mut fields = Fields::new("astran-backup fate 1");
    fields.number(seq);
    fields.bytes(prev);
    fields.number(since);
    fields.number(fate.receipt);
    fields.number(fate.state);
    fields.optional(fate.detail);
    fields.number(fate.at);
    fields.finish()
}

/// Writes what became of the file of a receipt. Runs under the write lock.
pub(super) fn write(connection: &Connection, receipt: i64, state: i64, detail: Option<&[u8]>) -> rusqlite::Result<()> {
    let sql =
        "SELECT head.seq, head.hash, since.seq FROM mark head, mark since WHERE head.kind = ?1 AND since.kind = ?2";
    let (seq, prev, since) =
        connection.prepare_cached(sql)?.query_row([schema::FATE_HEAD, schema::FATES_SINCE], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, [u8; 32]>(1)?, row.get::<_, i64>(2)?))
        })?;
    let fate = Fate { receipt, state, detail, at: nanoseconds(SystemTime::now()) };
    let hash = hash(seq + 1, &prev, since, &fate);
    let mut insert = connection.prepare_cached("INSERT INTO fate VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute(params![seq + 1, receipt, state, detail, fate.at, hash])?;
    record::set_mark(connection, schema::FATE_HEAD, seq + 1, &hash, fate.at)
}

/// Deletes the oldest entries, up to the first whose receipt is still there.
pub(super) fn prune(connection: &Connection, pruned: i64, now: SystemTime) -> rusqlite::Result<()> {
    let sql = "SELECT seq, hash FROM fate WHERE seq < \
         ifnull((SELECT seq FROM fate WHERE receipt > ?1 ORDER BY seq LIMIT 1), ?2) ORDER BY seq DESC LIMIT 1";
    let last = connection
        .prepare_cached(sql)?
        .query_row([pruned, i64::MAX], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((last, hash)) = last else { return Ok(()) };
    connection.execute("DELETE FROM fate WHERE seq <= ?1", [last])?;
    record::set_mark(connection, schema::FATE_ANCHOR, last, &hash, nanoseconds(now))
}

/// Looks along the whole chain of fates, and from each receipt to its newest fate.
pub(super) fn check(connection: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let (pruned, head) = (noted(connection, schema::FATE_ANCHOR)?, noted(connection, schema::FATE_HEAD)?);
    let since = noted(connection, schema::FATES_SINCE)?.seq;
    let mut last = (pruned.seq, pruned.hash.clone());
    let mut statement = connection.prepare("SELECT seq, receipt, state, detail, at, hash FROM fate ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = row.get(0)?;
        if seq <= pruned.seq || seq > head.seq {
            report.add(Broken { first: seq, last: seq, damage: Damage::FateOutside });
            continue;
        }
        if seq > last.0 + 1 {
            report.add(Broken { first: last.0 + 1, last: seq - 1, damage: Damage::FateMissing });
        }
        let written: Vec<u8> = row.get(5)?;
        // What follows a gap can't be hashed anew: the gap is told, and what comes after it must follow this one.
        let follows =
            seq > last.0 + 1 || read(row).is_ok_and(|fate| hash(seq, &last.1, since, &fate)[..] == written[..]);
        if !follows {
            report.add(Broken { first: seq, last: seq, damage: Damage::FateAltered });
        }
        last = (seq, written);
    }
    if last.0 < head.seq {
        report.add(Broken { first: last.0 + 1, last: head.seq, damage: Damage::FateMissing });
    } else if last.1 != head.hash {
        report.add(Broken { first: last.0, last: last.0, damage: Damage::FateHead });
    }
    report.fates = head.mark();
    report.fates_pruned = pruned.mark();
    compare(connection, since, report)
}

fn read<'a>(row: &'a Row<'_>) -> rusqlite::Result<Fate<'a>> {
    let detail = row.get_ref(3)?.as_blob_or_null().map_err(|_| rusqlite::Error::InvalidColumnIndex(3))?;
    Ok(Fate { receipt: row.get(1)?, state: row.get(2)?, detail, at: row.get(4)? })
}

/// Each attempt with a receipt stands as the newest fate of that says; without one its file is not dealt with yet.
fn compare(connection: &Connection, since: i64, report: &mut CheckReport) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(
        "SELECT r.seq FROM receipt r JOIN attempt a ON a.id = r.attempt AND a.seq = r.seq \
         LEFT JOIN fate f ON f.seq = (SELECT max(seq) FROM fate WHERE receipt = r.seq) \
         WHERE NOT (f.seq IS NULL AND (r.seq <= ?1 OR a.state = ?2)) \
         AND NOT (f.seq IS NOT NULL AND f.state = a.state AND f.detail IS a.detail) ORDER BY r.seq",
    )?;
    let mut rows = statement.query(params![since, state::STORED])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        report.add(Broken { first: seq, last: seq, damage: Damage::Fate });
    }
    Ok(())
}

/// A mark as it lies in the journal.
pub(super) fn noted(connection: &Connection, kind: i64) -> rusqlite::Result<Noted> {
    let sql = "SELECT seq, hash, at FROM mark WHERE kind = ?1";
    connection.query_row(sql, [kind], |row| {
        let at = super::row::time(row.get(2)?);
        Ok(Noted { seq: row.get(0)?, hash: row.get(1)?, at })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn the_encoding_never_changes() {
        let fate = Fate { receipt: 7, state: state::MOVED, detail: Some(b"/done/a"), at: 8 };
        let first = hash(1, &[0; 32], 0, &fate);
        assert_eq!(hex(&first), "cc31fa843a1dd21c225b576e8fbbbc0e5fe42ab2acf8f6f9171105fb7dcbb80b");
        assert_ne!(first, hash(1, &[0; 32], 1, &fate));
        assert_ne!(first, hash(1, &[0; 32], 0, &Fate { detail: None, ..fate }));
    }
}
