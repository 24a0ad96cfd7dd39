//! Receipts as a chain: how one is hashed, and what a broken chain looks like. Pure.
//!
//! The hash of a receipt is the SHA-256 of these fields in this order. Each is written as its length in bytes (8 bytes,
//! big-endian) and its bytes; a number is 8 bytes, big-endian, two's complement; a flag is one byte, 0 or 1; a field that
//! may be absent is preceded by a flag ([`Fields`]).
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

use std::time::SystemTime;

use super::fields::{Fields, Hash};
use crate::hex;

/// What was to be uploaded, as the journal's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempted<'a> {
    pub(super) id: i64,
    pub(super) root: &'a [u8],
    pub(super) relative: &'a [u8],
    /// Device, inode, size, mtime, ctime.
    pub(super) version: [i64; 5],
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
    pub(super) adopted: bool,
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
        it.version.iter().for_each(|number| self.number(*number));
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
        self.flag(it.adopted);
        self.number(it.at);
    }
}

/// One end of the chain as the journal notes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// The receipt's sequence number; 0 where there is none.
    pub seq: i64,
    /// The receipt's hash, lower-case hexadecimal.
    pub hash: String,
    /// When the mark was set there; `None` where there is no receipt.
    pub at: Option<SystemTime>,
}

/// One end of the chain as it lies in the journal.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) seq: i64,
    pub(super) hash: Vec<u8>,
    pub(super) at: SystemTime,
}

impl Noted {
    pub(super) fn mark(&self) -> Mark {
        Mark { seq: self.seq, hash: hex(&self.hash), at: (self.seq != 0).then_some(self.at) }
    }
}

/// What a look at the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// How many receipts were looked at.
    pub receipts: u64,
    /// The last receipt that was pruned.
    pub pruned: Mark,
    /// The newest receipt. Its hash, noted elsewhere, proves the chain up to here.
    pub head: Mark,
    /// The last entry of the chain of fates that was pruned.
    pub fates_pruned: Mark,
    /// The newest entry of the chain of fates: what became of the local files.
    pub fates: Mark,
    /// Where the chain is broken, in its order: the first [`CheckReport::LISTED`] places.
    pub broken: Vec<Broken>,
    /// In how many places it is broken.
    pub breaks: u64,
}

impl CheckReport {
    /// How many places are listed at most.
    pub const LISTED: usize = 1000;

    /// Whether nothing is wrong with the chain.
    pub fn is_whole(&self) -> bool {
        self.breaks == 0
    }

    /// One more place.
    pub(super) fn add(&mut self, broken: Broken) {
        self.breaks += 1;
        if self.broken.len() < Self::LISTED {
            self.broken.push(broken);
        }
    }
}

/// One place where the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first receipt concerned.
    pub first: i64,
    /// The last receipt concerned; the same as `first` but for a gap.
    pub last: i64,
    /// What is wrong there.
    pub damage: Damage,
}

/// What is wrong with a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// What it says is not what was written.
    Altered,
    /// It was there, and is gone.
    Missing,
    /// It does not follow the one before it: one of the two was replaced.
    Unlinked,
    /// It lies outside of the chain's two ends: inserted, or one of the ends was altered.
    Outside,
    /// The newest receipt is not the one that the journal noted: one of the two was replaced.
    Head,
    /// A second entry claims this receipt.
    Claimed,
    /// The receipts up to here were cut off, and not by a pruning: that is signed with the journal's key.
    Cut,
    /// What the journal says of the local file is not what was written.
    Fate,
    /// An entry of the chain of fates is not what was written, or the one before it was replaced.
    FateAltered,
    /// Entries of the chain of fates were there, and are gone.
    FateMissing,
    /// An entry lies outside of the two ends of the chain of fates.
    FateOutside,
    /// The newest entry of the chain of fates is not the one that the journal noted.
    FateHead,
}

impl Damage {
    /// The damage in one word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Unlinked => "unlinked",
            Self::Outside => "outside",
            Self::Head => "head",
            Self::Claimed => "claimed",
            Self::Cut => "cut",
            Self::Fate => "fate",
            Self::FateAltered => "fate_altered",
            Self::FateMissing => "fate_missing",
            Self::FateOutside => "fate_outside",
            Self::FateHead => "fate_head",
        }
    }

    /// What the numbers of a broken place count.
    fn counted(self) -> &'static str {
        match self {
            Self::FateAltered | Self::FateMissing | Self::FateOutside | Self::FateHead => "fate",
            _ => "receipt",
        }
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = self.damage.counted();
        if self.first == self.last {
            write!(f, "{counted} {}: ", self.first)?;
        } else {
            write!(f, "{counted}s {} to {}: ", self.first, self.last)?;
        }
        f.write_str(match self.damage {
            Damage::Altered | Damage::FateAltered => "altered",
            Damage::Missing | Damage::FateMissing => "missing",
            Damage::Unlinked => "does not follow the one before it; one of the two was replaced",
            Damage::Outside | Damage::FateOutside => {
                "lies outside of the chain; inserted, or the chain's end was altered"
            }
            Damage::Head | Damage::FateHead => {
                "is not what the journal noted as the newest; one of the two was replaced"
            }
            Damage::Claimed => "claimed by a second entry",
            Damage::Cut => "cut off here, and not by a pruning, which is signed with the journal's key",
            Damage::Fate => "what the journal says of its local file is not what was written",
        })
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
        let (fates_pruned, fates) = (Mark::default(), Mark::default());
        let report = CheckReport {
            receipts: 0,
            pruned: pruned.mark(),
            head: head.mark(),
            fates_pruned,
            fates,
            broken: Vec::new(),
            breaks: 0,
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

    fn attempted() -> Attempted<'static> {
        Attempted {
            id: 7,
            root: b"/in",
            relative: b"a",
            version: [1, 2, 3, 4, 5],
            dest: b"/HR",
            folder: b"f",
            name: b"a",
            started: 6,
        }
    }

    fn confirmed() -> Confirmed<'static> {
        Confirmed { sha256: b"00", size: 3, document: b"d", document_version: None, user: b"me", adopted: false, at: 8 }
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
