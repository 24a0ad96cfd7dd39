//! What became of each stored local file, as a second chain beside the chain of receipts.
//!
//! The tables, the JSON and the messages call an entry of this chain a *fate*. Each end that is written for an attempt with a receipt
//! is such an entry; the newest entry of a receipt must say the same as its attempt. The chain is its own so that receipts keep their
//! numbers without gaps.
//!
//! The hash of an entry is the SHA-256 of these fields, written as `Fields` says: the text `astran-backup fate 1`; number, from 1;
//! hash of the entry before it (32 zero bytes for the first); the newest receipt that was written before this chain began (0 where
//! there is none: for older receipts nothing is known); number of the receipt; state as `attempt.state` has it; reason or path (may be
//! absent); when the entry was written (ns since 1970).

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::fields::{Fields, Hash};
use super::marks::{self, Mark};
use super::report::{CheckReport, DefectKind};
use super::row::nanoseconds;
use super::sql::{Sql, columns, state};

/// One entry, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
struct LocalEndFields<'a> {
    receipt: i64,
    state: i64,
    detail: Option<&'a [u8]>,
    at: i64,
}

fn hash(seq: i64, prev: &[u8], since: i64, entry: &LocalEndFields<'_>) -> Hash {
    let mut fields = Fields::new("astran-backup fate 1");
    fields.number(seq);
    fields.bytes(prev);
    fields.number(since);
    fields.number(entry.receipt);
    fields.number(entry.state);
    fields.optional(entry.detail);
    fields.number(entry.at);
    fields.finish()
}

/// Writes what became of the file of a receipt. Runs under the write lock.
pub(super) fn write(connection: &Connection, receipt: i64, state: i64, detail: Option<&[u8]>) -> rusqlite::Result<()> {
    let head = marks::read(connection, Mark::LocalEndsHead)?;
    let since = marks::read(connection, Mark::LocalEndsSince)?.seq;
    let entry = LocalEndFields { receipt, state, detail, at: nanoseconds(SystemTime::now()) };
    let seq = head.seq + 1;
    let hash = hash(seq, &head.hash, since, &entry);
    let mut insert = connection
        .prepare_cached("INSERT INTO fate (seq, receipt, state, detail, at, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute(params![seq, receipt, state, detail, entry.at, hash])?;
    marks::set(connection, Mark::LocalEndsHead, seq, &hash, entry.at)
}

/// Deletes the oldest entries, up to the first whose receipt is still there.
pub(super) fn prune(connection: &Connection, pruned: i64, now: SystemTime) -> rusqlite::Result<()> {
    let sql = "SELECT seq, hash FROM fate WHERE seq < \
         ifnull((SELECT seq FROM fate WHERE receipt > ?1 ORDER BY seq LIMIT 1), ?2) ORDER BY seq DESC LIMIT 1";
    let last = connection
        .prepare_cached(sql)?
        .query_row([pruned, i64::MAX], |row| Ok((row.get::<_, i64>("seq")?, row.get::<_, Vec<u8>>("hash")?)))
        .optional()?;
    let Some((last, hash)) = last else { return Ok(()) };
    connection.execute("DELETE FROM fate WHERE seq <= ?1", [last])?;
    marks::set(connection, Mark::LocalEndsPruned, last, &hash, nanoseconds(now))
}

columns! {
    /// A row of `fate`.
    enum FateColumn {
        Seq: "seq",
        Receipt: "receipt",
        State: "state",
        Detail: "detail",
        At: "at",
        Hash: "hash",
    }
}

static ALL: Sql = Sql::new(|| format!("SELECT {} FROM fate ORDER BY seq", FateColumn::LIST));

/// Looks along the whole chain of local ends, and from each receipt to its newest entry.
pub(super) fn check(connection: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
    let (pruned, head) =
        (marks::read(connection, Mark::LocalEndsPruned)?, marks::read(connection, Mark::LocalEndsHead)?);
    let since = marks::read(connection, Mark::LocalEndsSince)?.seq;
    let mut last = (pruned.seq, pruned.hash.clone());
    let mut statement = connection.prepare(&ALL)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq: i64 = FateColumn::Seq.get(row)?;
        if seq <= pruned.seq || seq > head.seq {
            report.add(seq, seq, DefectKind::LocalEndOutside);
            continue;
        }
        if seq > last.0 + 1 {
            report.add(last.0 + 1, seq - 1, DefectKind::LocalEndMissing);
        }
        let noted: Vec<u8> = FateColumn::Hash.get(row)?;
        // An entry behind a gap can't be hashed anew: the gap is reported, and the next entry must follow this one.
        let follows =
            seq > last.0 + 1 || fields(row).is_ok_and(|entry| hash(seq, &last.1, since, &entry)[..] == noted[..]);
        if !follows {
            report.add(seq, seq, DefectKind::LocalEndAltered);
        }
        last = (seq, noted);
    }
    if last.0 < head.seq {
        report.add(last.0 + 1, head.seq, DefectKind::LocalEndMissing);
    } else if last.1 != head.hash {
        report.add(last.0, last.0, DefectKind::LocalEndHead);
    }
    (report.local_ends, report.local_ends_pruned) = (head, pruned);
    compare(connection, since, report)
}

fn fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<LocalEndFields<'a>> {
    let unreadable = |_| rusqlite::Error::InvalidColumnIndex(FateColumn::Detail as usize);
    let detail = FateColumn::Detail.get_ref(row)?.as_blob_or_null().map_err(unreadable)?;
    Ok(LocalEndFields {
        receipt: FateColumn::Receipt.get(row)?,
        state: FateColumn::State.get(row)?,
        detail,
        at: FateColumn::At.get(row)?,
    })
}

/// Receipts whose attempt does not say what their newest local end says; without one the file is not dealt with yet.
static CONTRADICTED: Sql = Sql::new(|| {
    format!(
        "SELECT r.seq FROM receipt r JOIN attempt a ON a.id = r.attempt AND a.seq = r.seq \
         LEFT JOIN fate f ON f.seq = (SELECT max(seq) FROM fate WHERE receipt = r.seq) \
         WHERE NOT (f.seq IS NULL AND (r.seq <= ?1 OR a.state = {stored})) \
         AND NOT (f.seq IS NOT NULL AND f.state = a.state AND f.detail IS a.detail) ORDER BY r.seq",
        stored = state::STORED
    )
});

fn compare(connection: &Connection, since: i64, report: &mut CheckReport) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(&CONTRADICTED)?;
    let mut rows = statement.query([since])?;
    while let Some(row) = rows.next()? {
        let seq = row.get("seq")?;
        report.add(seq, seq, DefectKind::LocalEnd);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;

    #[test]
    fn the_encoding_never_changes() {
        let entry = LocalEndFields { receipt: 7, state: state::MOVED, detail: Some(b"/done/a"), at: 8 };
        let first = hash(1, &[0; 32], 0, &entry);
        assert_eq!(hex(&first), "cc31fa843a1dd21c225b576e8fbbbc0e5fe42ab2acf8f6f9171105fb7dcbb80b");
        assert_ne!(first, hash(1, &[0; 32], 1, &entry));
        assert_ne!(first, hash(1, &[0; 32], 0, &LocalEndFields { detail: None, ..entry }));
    }
}
