//! The ends of both chains as they lie in the journal: read for an anchor, compared with one, signed where they were cut.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::anchor::{Anchor, Chain, Claim, Compared};
use super::fate::noted;
use super::fields::{Fields, Hash};
use super::key::{self, Key};
use super::report::{Broken, CheckReport, Damage};
use super::row::{nanoseconds, time};
use super::writer::Fault;
use super::{record, schema};
use crate::hex;

/// An anchor that is ready to be put somewhere.
#[derive(Debug, Clone)]
pub struct Signed {
    /// What it says.
    pub anchor: Anchor,
    /// The document.
    pub document: Vec<u8>,
    /// The public key that signed it.
    pub public: Vec<u8>,
}

/// The newest anchor that was put into the vault, as the journal notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The public key that signed it.
    pub key: Vec<u8>,
    /// The newest receipt then.
    pub seq: i64,
    /// The newest fate then.
    pub fates: i64,
    /// When.
    pub at: SystemTime,
    /// The folder in the vault.
    pub folder: String,
    /// The document's name there.
    pub name: String,
}

/// Signs the chains' ends as they are now. Under the write lock, for the key may have to be made.
pub(super) fn sign(connection: &Connection, dir: &Path, now: SystemTime) -> Result<Signed, Fault> {
    let key = Key::at(dir).map_err(|error| Fault::Refused(error.to_string()))?;
    let anchor = ends(connection, dir, key.public(), now)?;
    Ok(Signed { document: anchor.clone().document(&key), public: key.public().to_vec(), anchor })
}

/// What an anchor of now would say.
pub(super) fn ends(connection: &Connection, dir: &Path, key: &[u8], now: SystemTime) -> rusqlite::Result<Anchor> {
    let (receipts, fates) = (noted(connection, schema::HEAD)?.mark(), noted(connection, schema::FATE_HEAD)?.mark());
    let state = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Ok(Anchor {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        state: state.to_string_lossy().into_owned(),
        service: record::service(connection)?.unwrap_or_default(),
        seq: receipts.seq,
        hash: receipts.hash,
        fates: fates.seq,
        fates_hash: fates.hash,
        fates_since: noted(connection, schema::FATES_SINCE)?.seq,
        pruned: noted(connection, schema::ANCHOR)?.seq,
        at: humantime::format_rfc3339_seconds(now.max(SystemTime::UNIX_EPOCH)).to_string(),
        key: hex(key),
    })
}

/// Notes that an anchor was put into the vault.
pub(super) fn note(connection: &Connection, it: &Anchored) -> Result<(), Fault> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO anchor VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)")?;
    insert.execute(params![it.key, it.seq, it.fates, nanoseconds(it.at), it.folder, it.name])?;
    Ok(())
}

/// The newest anchor that was put into the vault.
pub(super) fn last(connection: &Connection) -> rusqlite::Result<Option<Anchored>> {
    let sql = "SELECT key, seq, fates, at, folder, name FROM anchor";
    let read = |row: &rusqlite::Row<'_>| {
        Ok(Anchored {
            key: row.get(0)?,
            seq: row.get(1)?,
            fates: row.get(2)?,
            at: time(row.get(3)?),
            folder: row.get(4)?,
            name: row.get(5)?,
        })
    };
    connection.query_row(sql, [], read).optional()
}

/// Compares what is claimed with the journal, at one state of it.
pub(super) fn compare(connection: &Connection, claims: &[Claim]) -> rusqlite::Result<Vec<Compared>> {
    let snapshot = connection.unchecked_transaction()?;
    claims.iter().map(|claim| judged(&snapshot, claim)).collect()
}

fn judged(connection: &Connection, claim: &Claim) -> rusqlite::Result<Compared> {
    let (sql, pruned, head) = match claim.chain {
        Chain::Receipts => ("SELECT hash FROM receipt WHERE seq = ?1", schema::ANCHOR, schema::HEAD),
        Chain::Fates => ("SELECT hash FROM fate WHERE seq = ?1", schema::FATE_ANCHOR, schema::FATE_HEAD),
    };
    let found: Option<Vec<u8>> = connection.query_row(sql, [claim.seq], |row| row.get(0)).optional()?;
    let (pruned, newest) = (noted(connection, pruned)?.mark(), noted(connection, head)?.seq);
    Ok(Compared::judge(claim, found.as_deref(), &pruned, newest))
}

/// Signs where the chains begin in a journal that is new, or of a version before these signatures. A journal beside which a key lies
/// is of no such version, for the key is made with it: then nothing is signed, and the check tells what was cut off.
pub(super) fn sign_start(connection: &Connection, dir: &Path, version: usize) -> Result<(), schema::MigrateError> {
    let is_older = version < schema::SIGNED;
    if !is_older || !matches!(Key::public_at(dir), Ok(None)) {
        return Ok(());
    }
    Ok(sign_cut(connection, &Key::at(dir)?)?)
}

/// Signs where the chains begin: whoever cuts off the oldest receipts without the key can't call it a pruning, nor say that the journal
/// is older than the chain of fates.
pub(super) fn sign_cut(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    let signature = key.sign(&cut(connection)?);
    connection.execute("INSERT OR REPLACE INTO cut VALUES (1, ?1)", [signature]).map(drop)
}

/// Whether the journal's key signed where the chains begin. `key` is the public one, or why there is none to be used.
pub(super) fn check_cut(
    connection: &Connection,
    key: Result<Option<Vec<u8>>, String>,
    report: &mut CheckReport,
) -> rusqlite::Result<()> {
    let since = noted(connection, schema::FATES_SINCE)?.seq;
    let is_cut = report.pruned.seq != 0 || report.fates_pruned.seq != 0;
    if !is_cut && since == 0 {
        return Ok(());
    }
    let key = match key {
        Ok(key) => key,
        Err(why) => {
            report.unproved = Some(why);
            return Ok(());
        }
    };
    let signature: Option<Vec<u8>> =
        connection.query_row("SELECT signature FROM cut", [], |row| row.get(0)).optional()?;
    let digest = cut(connection)?;
    let signed = key.zip(signature).is_some_and(|(key, signature)| key::is_signed(&key, &digest, &signature));
    if !signed && is_cut {
        let at = report.pruned.seq;
        report.add(Broken { first: at, last: at, damage: Damage::Cut });
    } else if !signed {
        report.add(Broken { first: 1, last: since, damage: Damage::Since });
    }
    Ok(())
}

fn cut(connection: &Connection) -> rusqlite::Result<Hash> {
    let mut fields = Fields::new("astran-backup cut 2");
    for kind in [schema::ANCHOR, schema::FATE_ANCHOR] {
        let mark = noted(connection, kind)?;
        fields.number(mark.seq);
        fields.bytes(&mark.hash);
    }
    fields.number(noted(connection, schema::FATES_SINCE)?.seq);
    Ok(fields.finish())
}
