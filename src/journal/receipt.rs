//! Receipts as a chain: how one is hashed, and how a chain is looked along. Pure.
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
//! What happens to the local file afterwards is not part of it, but of a chain of its own (`fate`).
//!
//! What the chain shows by itself: a receipt altered, removed, inserted or moved, also at its end, by anybody who does not rewrite
//! all that follows; the oldest cut off by anybody who has not the journal's key. What it can't show by itself: somebody who may
//! write the whole journal can compute all hashes anew, or take the newest receipts away. That shows where the chain is compared
//! with an anchor (`anchor`): a copy of the newest hash, kept elsewhere.

use super::fields::{Fields, Hash};
use super::report::{Broken, ChainEnd, CheckReport, Damage, Noted};

/// What was to be uploaded, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempted<'a> {
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

/// What the store confirmed, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Confirmed<'a> {
    pub(super) sha256: &'a [u8],
    pub(super) size: i64,
    pub(super) document: &'a [u8],
    pub(super) document_version: Option<&'a [u8]>,
    pub(super) user: &'a [u8],
    pub(super) already_present: bool,
    pub(super) at: i64,
}

/// The hash of the receipt number `seq` that follows the one with the hash `prev`.
pub(super) fn hash(seq: i64, prev: &[u8], attempted: &Attempted<'_>, confirmed: &Confirmed<'_>) -> Hash {
    let mut fields = Fields::new("astran-backup receipt 1");
    fields.number(seq);
    fields.bytes(prev);
    fields.attempted(attempted);
    fields.confirmed(confirmed);
    fields.finish()
}

impl Fields {
    fn attempted(&mut self, it: &Attempted<'_>) {
        self.number(it.id);
        self.bytes(it.root);
        self.bytes(it.relative);
        it.stamp.iter().for_each(|number| self.number(*number));
        self.bytes(it.dest);
        self.bytes(it.folder);
        self.bytes(it.name);
        self.number(it.started);
    }

    fn confirmed(&mut self, it: &Confirmed<'_>) {
        self.bytes(it.sha256);
        self.number(it.size);
        self.bytes(it.document);
        self.optional(it.document_version);
        self.bytes(it.user);
        self.flag(it.already_present);
        self.number(it.at);
    }
}

/// A look along the chain, receipt by receipt.
#[derive(Debug)]
pub(super) struct Walk {
    report: CheckReport,
    /// The last receipt met: its number, and the hashes by which the next may know it. They differ only where it is
    /// altered, which was reported then and is not to be blamed on the next one as well.
    last: (i64, Vec<u8>, Option<Hash>),
    /// The noted hash of the newest receipt.
    head: Vec<u8>,
}

impl Walk {
    /// Starts behind the last pruned receipt; `head` is where the chain should end.
    pub(super) fn new(pruned: &Noted, head: &Noted) -> Self {
        let (fates_pruned, fates) = (ChainEnd::default(), ChainEnd::default());
        let report = CheckReport {
            receipts: 0,
            pruned: pruned.mark(),
            head: head.mark(),
            fates_pruned,
            fates,
            broken: Vec::new(),
            breaks: 0,
            unproved: None,
        };
        Self { report, last: (pruned.seq, pruned.hash.clone(), None), head: head.hash.clone() }
    }

    /// The next receipt in the order of their numbers. `computed` is `None` where its fields can't even be read.
    pub(super) fn step(&mut self, seq: i64, prev: &[u8], noted: &[u8], computed: Option<Hash>) {
        self.report.receipts += 1;
        if seq <= self.report.pruned.seq || seq > self.report.head.seq {
            self.broken(seq, seq, Damage::Outside);
            return;
        }
        let expected = self.last.0 + 1;
        if seq > expected {
            self.broken(expected, seq - 1, Damage::Missing);
        }
        if computed.is_none_or(|hash| hash.as_slice() != noted) {
            self.broken(seq, seq, Damage::Altered);
        } else if seq == expected && !self.is_last(prev) {
            self.broken(seq, seq, Damage::Unlinked);
        }
        self.last = (seq, noted.to_vec(), computed);
    }

    /// A second entry claims this receipt.
    pub(super) fn claimed(&mut self, seq: i64) {
        self.broken(seq, seq, Damage::Claimed);
    }

    /// After the last receipt.
    pub(super) fn finish(mut self) -> CheckReport {
        let (last, head) = (self.last.0, self.report.head.seq);
        if last < head {
            self.broken(last + 1, head, Damage::Missing);
        } else if !self.is_last(&self.head) {
            self.broken(last, last, Damage::Head);
        }
        self.report.broken.sort_by_key(|broken| broken.first);
        self.report
    }

    fn is_last(&self, hash: &[u8]) -> bool {
        hash == self.last.1 || self.last.2.is_some_and(|computed| computed.as_slice() == hash)
    }

    fn broken(&mut self, first: i64, last: i64, damage: Damage) {
        self.report.add(Broken { first, last, damage });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use std::time::SystemTime;

    fn attempted() -> Attempted<'static> {
        Attempted {
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

    fn confirmed() -> Confirmed<'static> {
        Confirmed {
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
        let first = hash(1, &[0; 32], &attempted(), &confirmed());
        assert_eq!(hex(&first), "aa2c00a2a7d9b32d0b2121d79d35f33b0e023360bb6cd54f9507d2945855c224");
    }

    #[test]
    fn bytes_that_move_from_one_field_into_the_next_change_the_hash() {
        let moved = Attempted { root: b"/i", relative: b"na", ..attempted() };
        assert_ne!(hash(1, &[0; 32], &attempted(), &confirmed()), hash(1, &[0; 32], &moved, &confirmed()));
        let absent = confirmed();
        let empty = Confirmed { document_version: Some(b""), ..confirmed() };
        assert_ne!(hash(1, &[0; 32], &attempted(), &absent), hash(1, &[0; 32], &attempted(), &empty));
    }

    fn noted(seq: i64, hash: Hash) -> Noted {
        Noted { seq, hash: hash.to_vec(), at: SystemTime::UNIX_EPOCH }
    }

    /// Whoever forges one receipt can hash it, but not make the next one follow it.
    #[test]
    fn a_receipt_exchanged_for_one_with_a_right_hash_shows_at_the_next() {
        let start = [0; 32];
        let first = hash(1, &start, &attempted(), &confirmed());
        let second = hash(2, &first, &attempted(), &confirmed());
        let forged = hash(1, &start, &Attempted { relative: b"forged", ..attempted() }, &confirmed());
        for (one, broken) in [(first, None), (forged, Some(Damage::Unlinked))] {
            let mut walk = Walk::new(&noted(0, start), &noted(2, second));
            walk.step(1, &start, &one, Some(one));
            walk.step(2, &first, &second, Some(second));
            let broken = broken.map(|damage| Broken { first: 2, last: 2, damage });
            assert_eq!(walk.finish().broken, Vec::from_iter(broken));
        }
    }

    #[test]
    fn a_receipt_put_in_before_the_chain_begins_shows() {
        let (start, forged) = ([7; 32], [8; 32]);
        for seq in [2, 3] {
            let mut walk = Walk::new(&noted(3, start), &noted(3, start));
            walk.step(seq, &start, &forged, Some(forged));
            assert_eq!(walk.finish().broken, [Broken { first: seq, last: seq, damage: Damage::Outside }]);
        }
    }

    #[test]
    fn breaks_are_counted_beyond_those_that_are_listed() {
        let more = CheckReport::LISTED + 5;
        let mut walk = Walk::new(&noted(0, [0; 32]), &noted(i64::try_from(more).unwrap(), [0; 32]));
        for seq in 1..=more {
            walk.step(i64::try_from(seq).unwrap(), &[0; 32], &[0; 32], None);
        }
        let report = walk.finish();
        assert_eq!((report.broken.len(), report.breaks), (CheckReport::LISTED, more as u64));
    }
}
