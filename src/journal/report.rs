//! What the check of a journal's chains found: where they end, and where they are broken. Pure.

use std::time::SystemTime;

use super::key::KeyError;
use crate::hex;

/// One end of a chain, as the journal notes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainEnd {
    /// The entry's number; 0 where there is none.
    pub seq: i64,
    pub(super) hash: Vec<u8>,
    /// When the end was set there; `None` where there is no entry.
    pub at: Option<SystemTime>,
}

impl ChainEnd {
    /// The entry's hash; zeros where there is none.
    pub fn hash_bytes(&self) -> &[u8] {
        &self.hash
    }

    /// The entry's hash, lower-case hexadecimal.
    pub fn hash(&self) -> String {
        hex(&self.hash)
    }
}

/// What a check of both chains found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// How many receipts were looked at.
    pub receipts: u64,
    /// The last receipt that was pruned.
    pub pruned: ChainEnd,
    /// The newest receipt. Its hash, noted elsewhere, proves the chain up to here.
    pub head: ChainEnd,
    /// The last entry of the chain of local ends that was pruned.
    pub local_ends_pruned: ChainEnd,
    /// The newest entry of the chain of local ends: what became of the local files.
    pub local_ends: ChainEnd,
    /// The first [`CheckReport::LISTED`] defects, those of the receipts first.
    pub defects: Vec<ChainDefect>,
    /// How many defects there are.
    pub defect_count: u64,
    /// Why the journal's key could not be used, where a signature was to be checked: then it is not known who cut the oldest off.
    pub unproved: Option<KeyError>,
}

impl CheckReport {
    /// How many defects are listed at most.
    pub const LISTED: usize = 1000;

    /// Whether nothing is wrong with either chain.
    pub fn is_whole(&self) -> bool {
        self.defect_count == 0
    }

    /// Adds a defect of the entries from `first` to `last`.
    pub(super) fn add(&mut self, first: i64, last: i64, kind: DefectKind) {
        self.defect_count += 1;
        if self.defects.len() < Self::LISTED {
            self.defects.push(ChainDefect { first, last, kind });
        }
    }
}

/// One place where a chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainDefect {
    /// The first entry concerned.
    pub first: i64,
    /// The last entry concerned; the same as `first` except for a gap.
    pub last: i64,
    /// What is wrong there.
    pub kind: DefectKind,
}

/// What is wrong with an entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefectKind {
    /// The receipt is not what was written.
    Altered,
    /// The receipt was there, and is gone.
    Missing,
    /// The receipt does not follow the one before it: one of the two was replaced.
    Unlinked,
    /// The receipt lies outside of the chain's two ends: it was inserted, or one of the ends was altered.
    Outside,
    /// The newest receipt is not the one that the journal noted: one of the two was replaced.
    Head,
    /// A second attempt claims this receipt.
    Claimed,
    /// The receipts up to here were cut off, and not by a pruning: a pruning is signed with the journal's key.
    Cut,
    /// The journal says that these receipts are older than the chain of local ends, which its key did not sign.
    Since,
    /// What the journal says of the receipt's local file is not what was written.
    LocalEnd,
    /// An entry of the chain of local ends is not what was written, or the one before it was replaced.
    LocalEndAltered,
    /// Entries of the chain of local ends were there, and are gone.
    LocalEndMissing,
    /// An entry lies outside of the two ends of the chain of local ends.
    LocalEndOutside,
    /// The newest entry of the chain of local ends is not the one that the journal noted.
    LocalEndHead,
}

impl DefectKind {
    /// The defect in one word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Unlinked => "unlinked",
            Self::Outside => "outside",
            Self::Head => "head",
            Self::Claimed => "claimed",
            Self::Cut => "cut",
            Self::Since => "since",
            Self::LocalEnd => "fate",
            Self::LocalEndAltered => "fate_altered",
            Self::LocalEndMissing => "fate_missing",
            Self::LocalEndOutside => "fate_outside",
            Self::LocalEndHead => "fate_head",
        }
    }

    /// What the numbers of a defect count.
    fn counted(self) -> &'static str {
        match self {
            Self::LocalEndAltered | Self::LocalEndMissing | Self::LocalEndOutside | Self::LocalEndHead => "fate",
            _ => "receipt",
        }
    }
}

impl std::fmt::Display for ChainDefect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counted = self.kind.counted();
        if self.first == self.last {
            write!(f, "{counted} {}: ", self.first)?;
        } else {
            write!(f, "{counted}s {} to {}: ", self.first, self.last)?;
        }
        f.write_str(match self.kind {
            DefectKind::Altered | DefectKind::LocalEndAltered => "altered",
            DefectKind::Missing | DefectKind::LocalEndMissing => "missing",
            DefectKind::Unlinked => "does not follow the one before it; one of the two was replaced",
            DefectKind::Outside | DefectKind::LocalEndOutside => {
                "lies outside of the chain; inserted, or the chain's end was altered"
            }
            DefectKind::Head | DefectKind::LocalEndHead => {
                "is not what the journal noted as the newest; one of the two was replaced"
            }
            DefectKind::Claimed => "claimed by a second entry",
            DefectKind::Cut => "cut off here, and not by a pruning, which is signed with the journal's key",
            DefectKind::Since => {
                "said to be older than the record of what became of local files; the journal's key did not sign that"
            }
            DefectKind::LocalEnd => "what the journal says of its local file is not what was written",
        })
    }
}
