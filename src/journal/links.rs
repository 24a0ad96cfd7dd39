//! The chain of receipts as it is sent elsewhere: each receipt with exactly the bytes that its hash is made of, and a signature of where
//! the chain ends.

use std::time::SystemTime;

use rusqlite::{Connection, params};

use super::error::RequestError;
use super::fields::Fields;
use super::key::{self, Key};
use super::marks::{self, Mark};
use super::row::{attempt_fields, link, nanoseconds, receipt_fields};
use super::sql::{Column, STRINGS, Sql};
use super::{ChainEnd, Journal, JournalError};

/// A receipt as bytes. The hash covers all fields but `hash` itself, and the hash of the receipt before.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `receipt`, where their meaning and order stand")]
pub struct ChainLink {
    pub seq: i64,
    pub attempt: i64,
    pub root: Vec<u8>,
    pub relative: Vec<u8>,
    /// Device, inode, size, mtime, ctime.
    pub stamp: [i64; 5],
    pub dest: Vec<u8>,
    pub folder: Vec<u8>,
    pub name: Vec<u8>,
    pub started: i64,
    pub sha256: Vec<u8>,
    pub size: i64,
    pub document: Vec<u8>,
    pub document_version: Option<Vec<u8>>,
    pub user: Vec<u8>,
    pub already_present: bool,
    pub stored: i64,
    pub hash: Vec<u8>,
}

/// Where the chain of receipts begins and ends now.
#[derive(Debug, Clone, PartialEq)]
pub struct Ends {
    /// The last receipt that was pruned; number 0 where none was.
    pub pruned: ChainEnd,
    /// The newest receipt; number 0 where there is none.
    pub head: ChainEnd,
}

impl Journal {
    /// At most `limit` receipts behind the number `after`, in the chain's order.
    pub async fn links(&self, after: i64, limit: usize) -> Result<Vec<ChainLink>, JournalError> {
        self.read(move |connection| links(connection, after, limit)).await
    }

    /// Where the chain of receipts begins and ends.
    pub async fn ends(&self) -> Result<Ends, JournalError> {
        let ends = |connection: &Connection| {
            let snapshot = connection.unchecked_transaction()?;
            let read = |mark| marks::read(&snapshot, mark);
            Ok(Ends { pruned: read(Mark::ReceiptsPruned)?, head: read(Mark::ReceiptsHead)? })
        };
        self.short_read(ends).await
    }

    /// Notes that a copy of all receipts up to this number is kept elsewhere. From the first note on no newer receipt is pruned.
    pub async fn note_shipped(&self, seq: i64) -> Result<(), JournalError> {
        self.write(move |connection| Ok(marks::note_shipped(connection, seq, nanoseconds(SystemTime::now()))?)).await
    }

    /// Forgets that: receipts are pruned by their age alone again. Returns whether there was such a note.
    pub async fn forget_shipping(&self) -> Result<bool, JournalError> {
        self.write(|connection| Ok(marks::forget_shipping(connection)?)).await
    }

    /// The journal's public key; made where there is none.
    pub async fn public_key(&self) -> Result<Vec<u8>, JournalError> {
        let dir = self.dir();
        self.write(move |_| Ok(Key::at(&dir)?.public().to_vec())).await
    }

    /// Signs with the journal's key that a chain, which is known elsewhere as `stream`, ends with this receipt.
    pub async fn sign_head(&self, stream: [u8; 16], seq: i64, hash: Vec<u8>) -> Result<Vec<u8>, JournalError> {
        let dir = self.dir();
        self.write(move |_| Ok::<_, RequestError>(Key::at(&dir)?.sign(&head_message(&stream, seq, &hash)))).await
    }
}

/// Whether the owner of this public key signed that a chain ends with this receipt.
pub fn is_head_signed(public: &[u8], (stream, seq, hash): (&[u8; 16], i64, &[u8]), signature: &[u8]) -> bool {
    key::is_signed(public, &head_message(stream, seq, hash), signature)
}

/// What is signed.
fn head_message(stream: &[u8; 16], seq: i64, hash: &[u8]) -> [u8; 32] {
    let mut fields = Fields::new("astran-backup fleet head 1");
    fields.bytes(stream);
    fields.number(seq);
    fields.bytes(hash);
    fields.finish()
}

static LINKS: Sql = Sql::new(|| {
    format!(
        "SELECT {} FROM receipt r JOIN attempt a ON a.id = r.attempt {STRINGS} WHERE r.seq > ?1 ORDER BY r.seq LIMIT ?2",
        Column::LIST
    )
});

fn links(connection: &Connection, after: i64, limit: usize) -> rusqlite::Result<Vec<ChainLink>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(&LINKS)?;
    let rows = statement.query_map(params![after, limit], |row| {
        let (attempt, receipt, (seq, _, hash)) = (attempt_fields(row)?, receipt_fields(row)?, link(row)?);
        Ok(ChainLink {
            seq,
            attempt: attempt.id,
            root: attempt.root.to_vec(),
            relative: attempt.relative.to_vec(),
            stamp: attempt.stamp,
            dest: attempt.dest.to_vec(),
            folder: attempt.folder.to_vec(),
            name: attempt.name.to_vec(),
            started: attempt.started,
            sha256: receipt.sha256.to_vec(),
            size: receipt.size,
            document: receipt.document.to_vec(),
            document_version: receipt.document_version.map(<[u8]>::to_vec),
            user: receipt.user.to_vec(),
            already_present: receipt.already_present,
            stored: receipt.at,
            hash: hash.to_vec(),
        })
    })?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::FileStamp;
    use crate::journal::receipt::{self, AttemptFields, ReceiptFields};
    use crate::journal::{Begun, End, Intent, LocalEnd, Stored};
    use crate::vault::{DocumentId, RemotePath};
    use std::time::Duration;

    async fn journal_of(files: u64) -> (tempfile::TempDir, Journal) {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(dir.path()).unwrap();
        for number in 0..files {
            let intent = Intent {
                root: "/w".into(),
                relative: format!("{number}").into(),
                stamp: FileStamp { device: 1, inode: number, size: 3, mtime: 4, ctime: 5 },
                dest: RemotePath::parse("/HR").unwrap(),
                folder: DocumentId("1".into()),
                name: format!("{number}"),
            };
            let Begun::Go(id) = journal.begin(intent).await.unwrap() else { panic!("the name is free") };
            let (document, version) = (DocumentId("2".into()), number.is_multiple_of(2).then(|| "7".to_owned()));
            let (sha256, user) = ("ab".repeat(32), "me".to_owned());
            let stored = Stored { sha256, size: 3, document, document_version: version, user, already_present: false };
            journal.stored(id, stored).await.unwrap();
            journal.end(id, End::Local(LocalEnd::Removed)).await.unwrap();
        }
        (dir, journal)
    }

    /// Whoever has the links can compute each hash anew.
    #[tokio::test]
    async fn a_link_has_all_that_its_hash_is_made_of() {
        let (_dir, journal) = journal_of(4).await;
        let mut prev = vec![0; 32];
        for link in journal.links(0, 10).await.unwrap() {
            let attempt = AttemptFields {
                id: link.attempt,
                root: &link.root,
                relative: &link.relative,
                stamp: link.stamp,
                dest: &link.dest,
                folder: &link.folder,
                name: &link.name,
                started: link.started,
            };
            let receipt = ReceiptFields {
                sha256: &link.sha256,
                size: link.size,
                document: &link.document,
                document_version: link.document_version.as_deref(),
                user: &link.user,
                already_present: link.already_present,
                at: link.stored,
            };
            assert_eq!(receipt::hash(link.seq, &prev, &attempt, &receipt).as_slice(), link.hash);
            prev = link.hash;
        }
        let ends = journal.ends().await.unwrap();
        assert_eq!((ends.pruned.seq, ends.head.seq, ends.head.hash_bytes()), (0, 4, prev.as_slice()));
        let after: Vec<_> = journal.links(1, 2).await.unwrap().iter().map(|link| link.seq).collect();
        assert_eq!(after, [2, 3]);
    }

    #[tokio::test]
    async fn nothing_is_pruned_whose_copy_is_missing_until_no_copies_are_kept() {
        let (_dir, journal) = journal_of(5).await;
        let later = SystemTime::now() + Duration::from_secs(10);
        journal.note_shipped(0).await.unwrap();
        assert_eq!(journal.prune(later).await.unwrap(), 0);
        journal.note_shipped(3).await.unwrap();
        assert_eq!(journal.prune(later).await.unwrap(), 3);
        assert!(journal.check().await.unwrap().is_whole());
        assert!(journal.forget_shipping().await.unwrap() && !journal.forget_shipping().await.unwrap());
        assert_eq!(journal.prune(later).await.unwrap(), 2);
        assert!(journal.check().await.unwrap().is_whole());
    }

    #[tokio::test]
    async fn a_signed_end_is_of_one_chain_one_number_and_one_hash() {
        let (_dir, journal) = journal_of(0).await;
        let (key, signature) =
            (journal.public_key().await.unwrap(), journal.sign_head([1; 16], 5, vec![7; 32]).await.unwrap());
        let is_signed = |stream: [u8; 16], seq, hash: u8| is_head_signed(&key, (&stream, seq, &[hash; 32]), &signature);
        assert!(is_signed([1; 16], 5, 7));
        assert!(!is_signed([2; 16], 5, 7) && !is_signed([1; 16], 6, 7) && !is_signed([1; 16], 5, 8));
    }
}
