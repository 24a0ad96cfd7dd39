//! The head of a chain as it is known from elsewhere, and what the journal has of it now. Pure.

use super::report::ChainEnd;
use crate::hex;

/// One of the journal's two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// What was stored.
    Receipts,
    /// What became of the local files.
    LocalEnds,
}

/// The head of a chain at an earlier moment, as an anchor or a log says: `SEQ:HASH` for a receipt, `fSEQ:HASH` for a local end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHead {
    /// Which chain.
    pub chain: Chain,
    /// The entry's number, from 1; 0 says that there was none yet.
    pub seq: i64,
    /// The entry's hash, lower-case hexadecimal.
    pub hash: String,
}

/// A text is no head of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no head of a chain: expects SEQ:HASH, as `history anchor` and the log tell it")]
pub struct NotAHead;

impl std::fmt::Display for KnownHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let prefix = if self.chain == Chain::LocalEnds { "f" } else { "" };
        write!(f, "{prefix}{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for KnownHead {
    type Err = NotAHead;

    fn from_str(text: &str) -> Result<Self, NotAHead> {
        let (chain, rest) = text.strip_prefix('f').map_or((Chain::Receipts, text), |rest| (Chain::LocalEnds, rest));
        let (seq, hash) = rest.split_once(':').ok_or(NotAHead)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or(NotAHead)?;
        let hash = hash.to_ascii_lowercase();
        if hash.len() != 64 || unhex(&hash).is_none() {
            return Err(NotAHead);
        }
        Ok(Self { chain, seq, hash })
    }
}

/// What the journal has now where the head of a chain was known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeadComparison {
    /// The same.
    Same,
    /// The entry was pruned since: nothing is left to compare with.
    Pruned(ChainEnd),
    /// Another one.
    Different,
    /// Nothing: the chain ends before it.
    Missing {
        /// The newest entry.
        newest: i64,
    },
}

impl HeadComparison {
    /// Compares a known head with the hash of the entry of its number, and with the ends of its chain.
    pub(super) fn of(known: &KnownHead, found: Option<&[u8]>, pruned: &ChainEnd, newest: i64) -> Self {
        let found = found.map(hex);
        if known.seq == 0 || found.as_ref() == Some(&known.hash) {
            return Self::Same;
        }
        match found {
            None if known.seq == pruned.seq && known.hash == pruned.hash() => Self::Same,
            None if known.seq < pruned.seq => Self::Pruned(pruned.clone()),
            None if known.seq > newest => Self::Missing { newest },
            _ => Self::Different,
        }
    }

    /// Whether the journal contradicts the known head.
    pub fn contradicts(&self) -> bool {
        matches!(self, Self::Different | Self::Missing { .. })
    }

    /// The result in one word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Pruned(_) => "pruned",
            Self::Different => "different",
            Self::Missing { .. } => "missing",
        }
    }

    /// The result in a sentence.
    pub fn sentence(&self, known: &KnownHead) -> String {
        let entry = match known.chain {
            Chain::Receipts => format!("receipt {}", known.seq),
            Chain::LocalEnds => format!("fate {}", known.seq),
        };
        match self {
            Self::Same => format!("{entry} is as it was"),
            Self::Pruned(end) => format!("{entry} was pruned since (up to {}), so it can't be compared", end.seq),
            Self::Different => format!(
                "{entry} is not the one that was there: the chain was written anew, from that entry or an older one on"
            ),
            Self::Missing { newest } => {
                format!(
                    "{entry} is not there any more, the newest is {newest}: the chain's end was cut off; or was the state restored \
                     from a backup? Then all that is newer is lost from the journal"
                )
            }
        }
    }
}

/// The bytes of hexadecimal digits; `None` where the text is something else.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let even = digits.len().is_multiple_of(2);
    even.then(|| (0..digits.len()).step_by(2).map(|at| Some(digit(at)? << 4 | digit(at + 1)?)).collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_in_the_form_in_which_they_are_printed() {
        let hash = "ab".repeat(32);
        for text in [format!("12:{hash}"), format!("f7:{hash}")] {
            assert_eq!(text.parse::<KnownHead>().unwrap().to_string(), text);
        }
        for text in ["12", "12:ab", "-1:", &format!("x:{hash}"), &format!("1:{}", "zz".repeat(32)), ""] {
            text.parse::<KnownHead>().unwrap_err();
        }
    }

    #[test]
    fn a_known_head_is_compared_with_the_entry_of_its_number() {
        let known = |seq| KnownHead { chain: Chain::Receipts, seq, hash: "ab".repeat(32) };
        let pruned = ChainEnd { seq: 5, hash: vec![0xab; 32], at: None };
        let compare = |seq, found| HeadComparison::of(&known(seq), found, &pruned, 9);
        assert_eq!(compare(7, Some(&[0xab; 32][..])), HeadComparison::Same);
        assert_eq!(compare(7, Some(&[0xcd; 32][..])), HeadComparison::Different);
        assert_eq!(compare(7, None), HeadComparison::Different, "there is a gap, which the check reports besides");
        assert_eq!(compare(5, None), HeadComparison::Same, "the noted end has its hash");
        assert_eq!(compare(4, None), HeadComparison::Pruned(pruned.clone()));
        assert_eq!(compare(10, None), HeadComparison::Missing { newest: 9 });
        assert_eq!(compare(0, None), HeadComparison::Same);
    }
}
