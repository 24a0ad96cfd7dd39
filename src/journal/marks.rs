//! The table `mark`: where both chains begin and end.

use rusqlite::{Connection, OptionalExtension as _, params};

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
    /// The newest receipt of which a copy is kept elsewhere. Missing where none are kept elsewhere; without a hash.
    Shipped = 5,
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

/// The number of the newest receipt of which a copy is kept elsewhere; `None` where none are.
pub(super) fn shipped(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let mut statement = connection.prepare_cached("SELECT seq FROM mark WHERE kind = ?1")?;
    statement.query_row([Mark::Shipped as i64], |row| row.get("seq")).optional()
}

pub(super) fn note_shipped(connection: &Connection, seq: i64, at: i64) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("INSERT OR REPLACE INTO mark (kind, seq, hash, at) VALUES (?1, ?2, zeroblob(32), ?3)")?;
    statement.execute(params![Mark::Shipped as i64, seq, at]).map(drop)
}

pub(super) fn forget_shipping(connection: &Connection) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("DELETE FROM mark WHERE kind = ?1")?;
    statement.execute([Mark::Shipped as i64]).map(|rows| rows > 0)
}
