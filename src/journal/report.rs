//! What a look along the chains of a journal found: their ends, and where they are broken. Pure.

use std::time::SystemTime;

use crate::hex;

/// One end of the chain as the journal notes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainEnd {
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
    pub(super) fn mark(&self) -> ChainEnd {
        ChainEnd { seq: self.seq, hash: hex(&self.hash), at: (self.seq != 0).then_some(self.at) }
    }
}

/// What a look at the whole chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckReport {
    /// How many receipts were looked at.
    pub receipts: u64,
    /// The last receipt that was pruned.
    pub pruned: ChainEnd,
    /// The newest receipt. Its hash, noted elsewhere, proves the chain up to here.
    pub head: ChainEnd,
    /// The last entry of the chain of fates that was pruned.
    pub fates_pruned: ChainEnd,
    /// The newest entry of the chain of fates: what became of the local files.
    pub fates: ChainEnd,
    /// Where the chain is broken, in its order: the first [`CheckReport::LISTED`] places.
    pub broken: Vec<Broken>,
    /// In how many places it is broken.
    pub breaks: u64,
    /// Why the journal's key could not be used, where a signature was to be checked: then it is not known who cut the oldest off.
    pub unproved: Option<String>,
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
    /// The journal says that these receipts are older than the chain of fates, which its key did not sign.
    Since,
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
            Self::Since => "since",
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
            Damage::Since => {
                "said to be older than the record of what became of local files; the journal's key did not sign that"
            }
            Damage::Fate => "what the journal says of its local file is not what was written",
        })
    }
}
