//! Receipts as a chain: how a receipt is hashed, and how the chain is verified. Pure.
//!
//! The hash of a receipt is the SHA-256 of these fields in this order. Each is written as its length in bytes (8 bytes,
//! big-endian) and its bytes; a number is 8 bytes, big-endian, two's complement; a flag is one byte, 0 or 1; a field that
//! may be absent is preceded by a flag (`Fields`).
//!
//! 1. the text `astran-backup receipt 1`
//! 2. sequence number, from 1; hash of the receipt before it (32 zero bytes for the first)
//! 3. number of the attempt; root; path below it; device, inode, size, mtime and ctime of the local file
//! 4. path of the destination folder as text; its id; name sent; when the intent was written (ns since 1970)
//! 5. SHA-256 of the content, in hexadecimal as it is kept; bytes sent; document's id; document's version (may be absent);
//!    user; whether adopted (flag); when the confirmation was written (ns since 1970)
//!
//! What happens to the local file afterwards is not part of its receipt, but of a chain of its own (`local_ends`).
//!
//! What the chain shows by itself: a receipt altered, removed, inserted or moved, also at the chain's end, by an attacker who does not
//! rewrite all that follows; the oldest receipts cut off by an attacker without the journal's key. What the chain can't show by itself:
//! an attacker who may write the whole journal can compute all hashes anew, or take the newest receipts away. That shows where the
//! chain is compared with an anchor (`anchor`): a copy of the newest hash, kept elsewhere.

use super::fields::{Fields, Hash};
use super::report::{ChainEnd, CheckReport, DefectKind};

/// What was to be uploaded, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptFields<'a> {
    pub(super) id: i64,
    pub(super) root: &'a [u8],
    pub(super) relative: &'a [u8],
    /// Device, inode, size, mtime, ctime.
    pub(super) stamp: [i64; 5],
    pub(super) dest: &'a [u8],
    pub(super) folder: &'a [u8],
    pub(super) name: &'a [u8],
    pub(super) started: i64,
}

/// What the vault confirmed, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiptFields<'a> {
    pub(super) sha256: &'a [u8],
    pub(super) size: i64,
    pub(super) document: &'a [u8],
    pub(super) document_version: Option<&'a [u8]>,
    pub(super) user: &'a [u8],
    pub(super) already_present: bool,
    pub(super) at: i64,
}

/// The hash of the receipt number `seq` that follows the one with the hash `prev`.
pub(super) fn hash(seq: i64, prev: &[u8], attempt: &AttemptFields<'_>, receipt: &ReceiptFields<'_>) -> Hash {
    let mut fields = Fields::new("astran-backup receipt 1");
    fields.number(seq);
    fields.bytes(prev);
    fields.attempt(attempt);
    fields.receipt(receipt);
    fields.finish()
}

impl Fields {
    fn attempt(&mut self, it: &AttemptFields<'_>) {
        self.number(it.id);
        self.bytes(it.root);
        self.bytes(it.relative);
        it.stamp.iter().for_each(|number| self.number(*number));
        self.bytes(it.dest);
        self.bytes(it.folder);
        self.bytes(it.name);
        self.number(it.started);
    }

    fn receipt(&mut self, it: &ReceiptFields<'_>) {
        self.bytes(it.sha256);
        self.number(it.size);
        self.bytes(it.document);
        self.optional(it.document_version);
        self.bytes(it.user);
        self.flag(it.already_present);
        self.number(it.at);
    }
}

/// Verifies the chain, receipt by receipt.
#[derive(Debug)]
pub(super) struct ChainVerifier {
    report: CheckReport,
    last: LastReceipt,
}

/// The last receipt met: its number, and the hashes by which the next receipt may know it. They differ only where the receipt is
/// altered, which was reported then and is not to be blamed on the next one as well.
#[derive(Debug)]
struct LastReceipt {
    seq: i64,
    noted: Vec<u8>,
    computed: Option<Hash>,
}

impl LastReceipt {
    fn has_hash(&self, hash: &[u8]) -> bool {
        hash == self.noted || self.computed.is_some_and(|computed| computed.as_slice() == hash)
    }
}

impl ChainVerifier {
    /// Starts behind the last pruned receipt; `head` is where the chain should end.
    pub(super) fn new(pruned: ChainEnd, head: ChainEnd) -> Self {
        let last = LastReceipt { seq: pruned.seq, noted: pruned.hash.clone(), computed: None };
        Self { report: CheckReport { pruned, head, ..CheckReport::default() }, last }
    }

    /// The next receipt in the order of their numbers, with the hash that the journal notes for it and the one computed from its
    /// fields: `None` where they can't even be read.
    pub(super) fn step(&mut self, seq: i64, prev: &[u8], noted: &[u8], computed: Option<Hash>) {
        self.report.receipts += 1;
        if seq <= self.report.pruned.seq || seq > self.report.head.seq {
            self.report.add(seq, seq, DefectKind::Outside);
            return;
        }
        let expected = self.last.seq + 1;
        if seq > expected {
            self.report.add(expected, seq - 1, DefectKind::Missing);
        }
        if computed.is_none_or(|hash| hash.as_slice() != noted) {
            self.report.add(seq, seq, DefectKind::Altered);
        } else if seq == expected && !self.last.has_hash(prev) {
            self.report.add(seq, seq, DefectKind::Unlinked);
        }
        self.last = LastReceipt { seq, noted: noted.to_vec(), computed };
    }

    /// A second attempt claims this receipt.
    pub(super) fn claimed(&mut self, seq: i64) {
        self.report.add(seq, seq, DefectKind::Claimed);
    }

    /// After the last receipt.
    pub(super) fn finish(mut self) -> CheckReport {
        let (last, head) = (self.last.seq, self.report.head.seq);
        if last < head {
            self.report.add(last + 1, head, DefectKind::Missing);
        } else if !self.last.has_hash(&self.report.head.hash) {
            self.report.add(last, last, DefectKind::Head);
        }
        self.report.defects.sort_by_key(|defect| defect.first);
        self.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::journal::report::ChainDefect;

    fn attempt() -> AttemptFields<'static> {
        AttemptFields {
            id: 7,
            root: b"/in",
            relative: b"a",
            stamp: [1, 2, 3, 4, 5],
            dest: b"/HR",
            folder: b"f",
            name: b"a",
            started: 6,
        }
    }

    fn fields() -> ReceiptFields<'static> {
        ReceiptFields {
            sha256: b"00",
            size: 3,
            document: b"d",
            document_version: None,
            user: b"me",
            already_present: false,
            at: 8,
        }
    }

    #[test]
    fn the_encoding_never_changes() {
        let first = hash(1, &[0; 32], &attempt(), &fields());
        assert_eq!(hex(&first), "aa2c00a2a7d9b32d0b2121d79d35f33b0e023360bb6cd54f9507d2945855c224");
    }

    #[test]
    fn bytes_that_move_from_one_field_into_the_next_change_the_hash() {
        let moved = AttemptFields { root: b"/i", relative: b"na", ..attempt() };
        assert_ne!(hash(1, &[0; 32], &attempt(), &fields()), hash(1, &[0; 32], &moved, &fields()));
        let absent = fields();
        let empty = ReceiptFields { document_version: Some(b""), ..fields() };
        assert_ne!(hash(1, &[0; 32], &attempt(), &absent), hash(1, &[0; 32], &attempt(), &empty));
    }

    fn end(seq: i64, hash: Hash) -> ChainEnd {
        ChainEnd { seq, hash: hash.to_vec(), at: None }
    }

    fn defect(seq: i64, kind: DefectKind) -> ChainDefect {
        ChainDefect { first: seq, last: seq, kind }
    }

    /// An attacker who forges one receipt can hash it, but not make the next one follow it.
    #[test]
    fn a_forged_receipt_with_a_right_hash_shows_at_the_next() {
        let start = [0; 32];
        let first = hash(1, &start, &attempt(), &fields());
        let second = hash(2, &first, &attempt(), &fields());
        let forged = hash(1, &start, &AttemptFields { relative: b"forged", ..attempt() }, &fields());
        for (one, unlinked) in [(first, None), (forged, Some(defect(2, DefectKind::Unlinked)))] {
            let mut verifier = ChainVerifier::new(end(0, start), end(2, second));
            verifier.step(1, &start, &one, Some(one));
            verifier.step(2, &first, &second, Some(second));
            assert_eq!(verifier.finish().defects, Vec::from_iter(unlinked));
        }
    }

    #[test]
    fn a_receipt_inserted_before_the_chain_begins_shows() {
        let (start, forged) = ([7; 32], [8; 32]);
        for seq in [2, 3] {
            let mut verifier = ChainVerifier::new(end(3, start), end(3, start));
            verifier.step(seq, &start, &forged, Some(forged));
            assert_eq!(verifier.finish().defects, [defect(seq, DefectKind::Outside)]);
        }
    }

    #[test]
    fn defects_are_counted_beyond_those_that_are_listed() {
        let more = CheckReport::LISTED + 5;
        let mut verifier = ChainVerifier::new(end(0, [0; 32]), end(i64::try_from(more).unwrap(), [0; 32]));
        for seq in 1..=more {
            verifier.step(i64::try_from(seq).unwrap(), &[0; 32], &[0; 32], None);
        }
        let report = verifier.finish();
        assert_eq!((report.defects.len(), report.defect_count), (CheckReport::LISTED, more as u64));
    }
}
