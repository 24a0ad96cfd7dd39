//! The table `mark`: where both chains begin and end.

use rusqlite::{Connection, params};

use super::report::ChainEnd;
use super::row::time;

/// `mark.kind`: which end of which chain.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mark {
    /// The last receipt that was pruned.
    ReceiptsPruned = 0,
    /// The newest receipt.
    ReceiptsHead = 1,
    /// The last local end that was pruned.
    LocalEndsPruned = 2,
    /// The newest local end.
    LocalEndsHead = 3,
    /// The newest receipt that was written before local ends were: nothing is known of those up to it.
    LocalEndsSince = 4,
}

pub(super) fn read(connection: &Connection, mark: Mark) -> rusqlite::Result<ChainEnd> {
    let mut statement = connection.prepare_cached("SELECT seq, hash, at FROM mark WHERE kind = ?1")?;
    statement.query_row([mark as i64], |row| {
        let (seq, at) = (row.get("seq")?, time(row.get("at")?));
        Ok(ChainEnd { seq, hash: row.get("hash")?, at: (seq != 0).then_some(at) })
    })
}

/// Moves a mark. `at` is in nanoseconds since 1970.
pub(super) fn set(connection: &Connection, mark: Mark, seq: i64, hash: &[u8], at: i64) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("UPDATE mark SET seq = ?2, hash = ?3, at = ?4 WHERE kind = ?1")?;
    statement.execute(params![mark as i64, seq, hash, at]).map(drop)
}
