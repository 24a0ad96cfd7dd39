//! A batch of receipts in the form that the database's function `ship` takes: an array for each field. Pure, but for [`Batch::send`].

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::FleetError;
use crate::budget;
use crate::journal::ChainLink;

/// Consecutive receipts of one chain.
#[derive(Debug, Default)]
pub struct Batch {
    first: i64,
    attempts: Vec<i64>,
    roots: Vec<Vec<u8>>,
    paths: Vec<Vec<u8>>,
    /// Device, inode, size, mtime, ctime.
    stamps: [Vec<i64>; 5],
    dests: Vec<String>,
    folders: Vec<String>,
    names: Vec<String>,
    starts: Vec<i64>,
    sha256s: Vec<String>,
    sizes: Vec<i64>,
    documents: Vec<String>,
    document_versions: Vec<Option<String>>,
    users: Vec<String>,
    adoptions: Vec<bool>,
    storings: Vec<i64>,
    hashes: Vec<Vec<u8>>,
    bytes: usize,
}

impl Batch {
    /// The receipts that follow number `after`, up to a gap or to the limits of a batch; `None` where there are none. An error where the
    /// next receipt is missing, or the database could not keep it.
    pub fn following(after: i64, links: Vec<ChainLink>) -> Result<Option<Self>, FleetError> {
        let Some(first) = links.first() else { return Ok(None) };
        if first.seq != after + 1 {
            let missing = after + 1;
            return Err(FleetError::Contradiction(format!(
                "receipt {missing} is not in the journal, and the database needs it next"
            )));
        }
        let mut batch = Self { first: first.seq, ..Self::default() };
        for (link, expected) in links.into_iter().zip(after + 1..) {
            let fits = batch.hashes.len() < budget::FLEET_BATCH && batch.bytes < budget::FLEET_BATCH_BYTES;
            if link.seq != expected || !fits {
                break;
            }
            batch.push(link)?;
        }
        Ok(Some(batch))
    }

    /// The number of its newest receipt.
    pub fn newest(&self) -> i64 {
        self.first + i64::try_from(self.hashes.len()).unwrap_or_default() - 1
    }

    /// The hash of its newest receipt.
    pub fn newest_hash(&self) -> &[u8] {
        self.hashes.last().map_or(&[], Vec::as_slice)
    }

    fn push(&mut self, link: ChainLink) -> Result<(), FleetError> {
        let seq = link.seq;
        let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(FleetError::NoText(seq)),
        };
        self.bytes += link.root.len() + link.relative.len() + link.dest.len() + link.name.len() + link.document.len();
        self.attempts.push(link.attempt);
        self.roots.push(link.root);
        self.paths.push(link.relative);
        for (column, value) in self.stamps.iter_mut().zip(link.stamp) {
            column.push(value);
        }
        self.dests.push(text(link.dest)?);
        self.folders.push(text(link.folder)?);
        self.names.push(text(link.name)?);
        self.starts.push(link.started);
        self.sha256s.push(text(link.sha256)?);
        self.sizes.push(link.size);
        self.documents.push(text(link.document)?);
        self.document_versions.push(link.document_version.map(text).transpose()?);
        self.users.push(text(link.user)?);
        self.adoptions.push(link.already_present);
        self.storings.push(link.stored);
        self.hashes.push(link.hash);
        Ok(())
    }

    /// What [`Batch::send`] needs.
    pub(super) async fn prepare(client: &Client) -> Result<Statement, Error> {
        client.prepare(SHIP).await
    }

    /// Hands the batch to the database.
    pub(super) async fn send(&self, client: &Client, statement: &Statement, signature: &[u8]) -> Result<Row, Error> {
        let [devices, inodes, sizes, mtimes, ctimes] = &self.stamps;
        let parameters: [&(dyn ToSql + Sync); 22] = [
            &self.first,
            &self.attempts,
            &self.roots,
            &self.paths,
            devices,
            inodes,
            sizes,
            mtimes,
            ctimes,
            &self.dests,
            &self.folders,
            &self.names,
            &self.starts,
            &self.sha256s,
            &self.sizes,
            &self.documents,
            &self.document_versions,
            &self.users,
            &self.adoptions,
            &self.storings,
            &self.hashes,
            &signature,
        ];
        client.query_one(statement, &parameters).await
    }
}

const SHIP: &str = "SELECT fleet.ship($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)";

#[cfg(test)]
mod tests {
    use super::*;

    fn link(seq: i64) -> ChainLink {
        ChainLink {
            seq,
            attempt: seq,
            root: b"/w".to_vec(),
            relative: b"a\xff".to_vec(),
            stamp: [1, 2, 3, 4, 5],
            dest: b"/HR".to_vec(),
            folder: b"f".to_vec(),
            name: b"a".to_vec(),
            started: 0,
            sha256: vec![b'a'; 64],
            size: 3,
            document: b"d".to_vec(),
            document_version: None,
            user: b"me".to_vec(),
            already_present: false,
            stored: 1,
            hash: vec![0; 32],
        }
    }

    #[test]
    fn a_batch_has_consecutive_receipts_and_ends_at_its_limits() {
        assert!(Batch::following(0, Vec::new()).unwrap().is_none());
        let newest =
            |seqs: &[i64]| Batch::following(4, seqs.iter().map(|seq| link(*seq)).collect()).unwrap().unwrap().newest();
        assert_eq!(newest(&[5, 6, 7]), 7);
        assert_eq!(newest(&[5, 6, 8]), 6, "a gap is no part of a batch");
        assert_eq!(newest(&(5..3000).collect::<Vec<_>>()), 1004);
        let large = |seq| ChainLink { relative: vec![b'x'; 3 << 20], ..link(seq) };
        assert_eq!(Batch::following(0, vec![large(1), large(2), large(3)]).unwrap().unwrap().newest(), 2);
    }

    #[test]
    fn a_receipt_that_is_missing_or_can_not_be_kept_is_an_error_and_nothing_is_left_out() {
        assert!(matches!(Batch::following(4, vec![link(6)]), Err(FleetError::Contradiction(_))));
        for odd in [ChainLink { user: b"a\0".to_vec(), ..link(1) }, ChainLink { document: b"\xff".to_vec(), ..link(1) }]
        {
            assert!(matches!(Batch::following(0, vec![odd]), Err(FleetError::NoText(1))));
        }
    }
}
