//! The ends of both chains as they lie in the journal: read for an anchor, compared with what is known of them from elsewhere, and
//! signed where the chains were cut.

use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::anchor::Anchor;
use super::error::RequestError;
use super::fields::{Fields, Hash};
use super::key::{self, Key, KeyError};
use super::known_head::{Chain, HeadComparison, KnownHead};
use super::marks::{self, Mark};
use super::report::{CheckReport, DefectKind};
use super::row::{nanoseconds, time};
use super::{Journal, JournalError, Unusable, schema, service};
use crate::hex;
use crate::measure::utc;

/// An anchor that is ready to be put somewhere.
#[derive(Debug, Clone)]
pub struct SignedAnchor {
    /// What the anchor says.
    pub anchor: Anchor,
    /// The same as a document, with its signature.
    pub document: Vec<u8>,
    /// The public key that signed it.
    pub public: Vec<u8>,
}

/// The newest anchor that was put into the vault, as the journal notes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorRecord {
    /// The public key that signed it.
    pub key: Vec<u8>,
    /// The newest receipt then.
    pub seq: i64,
    /// The newest local end then.
    pub fates: i64,
    /// When it was put there.
    pub at: SystemTime,
    /// The folder in the vault.
    pub folder: String,
    /// The document's name there.
    pub name: String,
}

impl Journal {
    /// An anchor of the chains as they are now, signed; the journal's key is made where there is none.
    pub async fn sign_anchor(&self) -> Result<SignedAnchor, JournalError> {
        let dir = self.dir();
        self.write(move |connection| sign(connection, &dir, SystemTime::now())).await
    }

    /// What an anchor of now would say; without a key where the journal has none yet.
    pub async fn current_anchor(&self) -> Result<Anchor, JournalError> {
        let dir = self.dir();
        let read = move |connection: &Connection| match Key::public_at(&dir) {
            Ok(key) => current_anchor(connection, &dir, &key.unwrap_or_default(), SystemTime::now()).map(Ok),
            Err(error) => Ok(Err(error)),
        };
        Ok(self.read(read).await?.map_err(Unusable::from)?)
    }

    /// Notes that an anchor was put into the vault.
    pub async fn note_anchor(&self, anchor: AnchorRecord) -> Result<(), JournalError> {
        self.write(move |connection| Ok(note(connection, &anchor)?)).await
    }

    /// The newest anchor that was put into the vault.
    pub async fn last_anchor(&self) -> Result<Option<AnchorRecord>, JournalError> {
        self.read(last).await
    }

    /// Compares known heads with what the journal has, each with the entry of its number, at one state of the journal.
    pub async fn compare(&self, known: Vec<KnownHead>) -> Result<Vec<HeadComparison>, JournalError> {
        let compare = move |connection: &Connection| {
            let snapshot = connection.unchecked_transaction()?;
            known.iter().map(|known| compare(&snapshot, known)).collect()
        };
        self.read(compare).await
    }
}

/// Runs under the write lock, for the key may have to be made.
fn sign(connection: &Connection, dir: &Path, now: SystemTime) -> Result<SignedAnchor, RequestError> {
    let key = Key::at(dir)?;
    let anchor = current_anchor(connection, dir, key.public(), now)?;
    Ok(SignedAnchor { document: anchor.clone().document(&key), public: key.public().to_vec(), anchor })
}

fn current_anchor(connection: &Connection, dir: &Path, key: &[u8], now: SystemTime) -> rusqlite::Result<Anchor> {
    let (receipts, local_ends) =
        (marks::read(connection, Mark::ReceiptsHead)?, marks::read(connection, Mark::LocalEndsHead)?);
    let state = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Ok(Anchor {
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        state: state.to_string_lossy().into_owned(),
        service: service::owner(connection)?.unwrap_or_default(),
        seq: receipts.seq,
        hash: receipts.hash(),
        fates: local_ends.seq,
        fates_hash: local_ends.hash(),
        fates_since: marks::read(connection, Mark::LocalEndsSince)?.seq,
        pruned: marks::read(connection, Mark::ReceiptsPruned)?.seq,
        at: utc(now),
        key: hex(key),
    })
}

fn note(connection: &Connection, it: &AnchorRecord) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO anchor (id, key, seq, fates, at, folder, name) VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    insert.execute(params![it.key, it.seq, it.fates, nanoseconds(it.at), it.folder, it.name]).map(drop)
}

fn last(connection: &Connection) -> rusqlite::Result<Option<AnchorRecord>> {
    let read = |row: &rusqlite::Row<'_>| {
        Ok(AnchorRecord {
            key: row.get("key")?,
            seq: row.get("seq")?,
            fates: row.get("fates")?,
            at: time(row.get("at")?),
            folder: row.get("folder")?,
            name: row.get("name")?,
        })
    };
    connection.query_row("SELECT key, seq, fates, at, folder, name FROM anchor", [], read).optional()
}

fn compare(connection: &Connection, known: &KnownHead) -> rusqlite::Result<HeadComparison> {
    let (sql, pruned, head) = match known.chain {
        Chain::Receipts => ("SELECT hash FROM receipt WHERE seq = ?1", Mark::ReceiptsPruned, Mark::ReceiptsHead),
        Chain::LocalEnds => ("SELECT hash FROM fate WHERE seq = ?1", Mark::LocalEndsPruned, Mark::LocalEndsHead),
    };
    let found: Option<Vec<u8>> = connection.query_row(sql, [known.seq], |row| row.get("hash")).optional()?;
    let (pruned, newest) = (marks::read(connection, pruned)?, marks::read(connection, head)?.seq);
    Ok(HeadComparison::of(known, found.as_deref(), &pruned, newest))
}

/// Signs where the chains begin in a journal that is new, or of a version before these signatures. A journal beside which a key lies
/// is of no such version, for the key is made with the journal: then nothing is signed, and the check reports what was cut off.
pub(super) fn sign_start(connection: &Connection, dir: &Path, version: usize) -> Result<(), schema::MigrateError> {
    let is_older = version < schema::SIGNED;
    if !is_older || !matches!(Key::public_at(dir), Ok(None)) {
        return Ok(());
    }
    Ok(sign_cut(connection, &Key::at(dir)?)?)
}

/// Signs where the chains begin: an attacker who cuts off the oldest receipts without the key can't call that a pruning, nor say that
/// the journal is older than the chain of local ends.
pub(super) fn sign_cut(connection: &Connection, key: &Key) -> rusqlite::Result<()> {
    let signature = key.sign(&cut(connection)?);
    connection.execute("INSERT OR REPLACE INTO cut (id, signature) VALUES (1, ?1)", [signature]).map(drop)
}

/// Checks that the journal's key signed where the chains begin. `key` is the public one, or why it can't be used.
pub(super) fn check_cut(
    connection: &Connection,
    key: Result<Option<Vec<u8>>, KeyError>,
    report: &mut CheckReport,
) -> rusqlite::Result<()> {
    let since = marks::read(connection, Mark::LocalEndsSince)?.seq;
    let is_cut = report.pruned.seq != 0 || report.local_ends_pruned.seq != 0;
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
        connection.query_row("SELECT signature FROM cut", [], |row| row.get("signature")).optional()?;
    let digest = cut(connection)?;
    let signed = key.zip(signature).is_some_and(|(key, signature)| key::is_signed(&key, &digest, &signature));
    if !signed && is_cut {
        let at = report.pruned.seq;
        report.add(at, at, DefectKind::Cut);
    } else if !signed {
        report.add(1, since, DefectKind::Since);
    }
    Ok(())
}

fn cut(connection: &Connection) -> rusqlite::Result<Hash> {
    let mut fields = Fields::new("astran-backup cut 2");
    for pruned in [Mark::ReceiptsPruned, Mark::LocalEndsPruned] {
        let end = marks::read(connection, pruned)?;
        fields.number(end.seq);
        fields.bytes(&end.hash);
    }
    fields.number(marks::read(connection, Mark::LocalEndsSince)?.seq);
    Ok(fields.finish())
}
