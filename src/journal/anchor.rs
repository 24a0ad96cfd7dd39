//! An anchor: both ends of the chains at one moment, signed with the journal's key, to be kept outside of this machine. Pure.
//!
//! Whoever may write the whole journal can make it look whole. What it can't change is an anchor that lies elsewhere: the receipt with
//! the anchor's number must still be there, with the anchor's hash.
//!
//! The document is JSON. What is signed is the SHA-256 of these fields, written as `Fields` says: the text `astran-backup anchor 1`,
//! and the fields of [`Anchor`] in their order.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Hash};
use super::key::{self, Key};
use super::report::ChainEnd;
use crate::hex;

const FORMAT: &str = "astran-backup anchor 1";

/// How the name of each document with an anchor begins.
pub const PREFIX: &str = "astran-backup-anchor-";

/// What an anchor says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    /// The host that the journal lies on.
    pub host: String,
    /// The folder that the journal lies in.
    pub state: String,
    /// The service that the journal's receipts are of.
    pub service: String,
    /// The newest receipt's number.
    pub seq: i64,
    /// The newest receipt's hash, lower-case hexadecimal.
    pub hash: String,
    /// The number of the newest entry of the chain of fates.
    pub fates: i64,
    /// The hash of the newest entry of the chain of fates.
    pub fates_hash: String,
    /// The newest receipt that is older than the chain of fates.
    pub fates_since: i64,
    /// The last pruned receipt.
    pub pruned: i64,
    /// When it was signed, RFC 3339.
    pub at: String,
    /// The public key, hexadecimal.
    pub key: String,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: String,
    #[serde(flatten)]
    anchor: Anchor,
    signature: String,
}

impl Anchor {
    /// The document, signed. `key` is the one that the anchor names.
    pub(super) fn document(self, key: &Key) -> Vec<u8> {
        let signature = hex(&key.sign(&self.digest()));
        let document = Document { format: FORMAT.to_owned(), anchor: self, signature };
        let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document; the error says why it is no anchor that the key it names has signed.
    pub fn read(document: &[u8]) -> Result<Self, &'static str> {
        let read: Document = serde_json::from_slice(document).map_err(|_| "it is no anchor")?;
        if read.format != FORMAT {
            return Err("it is an anchor of a form that this program does not know");
        }
        let (Some(public), Some(signature)) = (unhex(&read.anchor.key), unhex(&read.signature)) else {
            return Err("it is no anchor");
        };
        if key::is_signed(&public, &read.anchor.digest(), &signature) {
            Ok(read.anchor)
        } else {
            Err("its signature is wrong: it is not what was signed")
        }
    }

    /// The key in 16 digits.
    pub fn fingerprint(&self) -> String {
        unhex(&self.key).map_or_else(String::new, |public| key::fingerprint(&public))
    }

    /// Which journal it is of, whatever its key: 8 digits for its host, its folder and its service.
    pub fn place(&self) -> String {
        let mut fields = Fields::new("astran-backup place 1");
        self.put_place(&mut fields);
        hex(&fields.finish()[..4])
    }

    /// What it claims of the receipts, in the form that `history --check --against` takes.
    pub fn receipts(&self) -> Claim {
        Claim { chain: Chain::Receipts, seq: self.seq, hash: self.hash.clone() }
    }

    /// What it claims of the fates, in the same form.
    pub fn of_fates(&self) -> Claim {
        Claim { chain: Chain::Fates, seq: self.fates, hash: self.fates_hash.clone() }
    }

    fn put_place(&self, fields: &mut Fields) {
        for text in [&self.host, &self.state, &self.service] {
            fields.bytes(text.as_bytes());
        }
    }

    fn digest(&self) -> Hash {
        let mut fields = Fields::new(FORMAT);
        self.put_place(&mut fields);
        fields.number(self.seq);
        fields.bytes(self.hash.as_bytes());
        fields.number(self.fates);
        fields.bytes(self.fates_hash.as_bytes());
        fields.number(self.fates_since);
        fields.number(self.pruned);
        fields.bytes(self.at.as_bytes());
        fields.bytes(self.key.as_bytes());
        fields.finish()
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let even = digits.len().is_multiple_of(2);
    even.then(|| (0..digits.len()).step_by(2).map(|at| Some(digit(at)? << 4 | digit(at + 1)?)).collect()).flatten()
}

/// One of the journal's two chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chain {
    /// What was stored.
    Receipts,
    /// What became of the local files.
    Fates,
}

/// That an entry of a chain had this hash: `SEQ:HASH` for a receipt, `fSEQ:HASH` for a fate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which chain.
    pub chain: Chain,
    /// The entry's number, from 1; 0 says that there was none yet.
    pub seq: i64,
    /// The entry's hash, lower-case hexadecimal.
    pub hash: String,
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fate = if self.chain == Chain::Fates { "f" } else { "" };
        write!(f, "{fate}{}:{}", self.seq, self.hash)
    }
}

impl std::str::FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "is no head of a chain: expects SEQ:HASH, as `history anchor` and the log tell it".to_owned();
        let (chain, rest) = text.strip_prefix('f').map_or((Chain::Receipts, text), |rest| (Chain::Fates, rest));
        let (seq, hash) = rest.split_once(':').ok_or_else(wrong)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or_else(wrong)?;
        let hash = hash.to_ascii_lowercase();
        if hash.len() != 64 || unhex(&hash).is_none() {
            return Err(wrong());
        }
        Ok(Self { chain, seq, hash })
    }
}

/// What the journal has where a claim says that an entry was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// The same.
    Same,
    /// The entry was pruned since: nothing to compare is left.
    Pruned(ChainEnd),
    /// Another one.
    Different,
    /// Nothing: the chain ends before it.
    Missing {
        /// The newest entry.
        newest: i64,
    },
}

impl Compared {
    /// Judges a claim by the entry of its number, and by the ends of its chain.
    pub(super) fn judge(claim: &Claim, found: Option<&[u8]>, pruned: &ChainEnd, newest: i64) -> Self {
        let found = found.map(hex);
        if claim.seq == 0 || found.as_ref() == Some(&claim.hash) {
            return Self::Same;
        }
        match found {
            None if claim.seq == pruned.seq && claim.hash == pruned.hash => Self::Same,
            None if claim.seq < pruned.seq => Self::Pruned(pruned.clone()),
            None if claim.seq > newest => Self::Missing { newest },
            _ => Self::Different,
        }
    }

    /// Whether the journal contradicts the claim.
    pub fn contradicts(&self) -> bool {
        matches!(self, Self::Different | Self::Missing { .. })
    }

    /// In one word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Pruned(_) => "pruned",
            Self::Different => "different",
            Self::Missing { .. } => "missing",
        }
    }

    /// What it means, for people.
    pub fn told(&self, claim: &Claim) -> String {
        let entry = match claim.chain {
            Chain::Receipts => format!("receipt {}", claim.seq),
            Chain::Fates => format!("fate {}", claim.seq),
        };
        match self {
            Self::Same => format!("{entry} is as it was"),
            Self::Pruned(mark) => format!("{entry} was pruned since (up to {}), so it can't be compared", mark.seq),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(key: &Key) -> Anchor {
        Anchor {
            host: "host".to_owned(),
            state: "/state".to_owned(),
            service: "service".to_owned(),
            seq: 12,
            hash: "ab".repeat(32),
            fates: 11,
            fates_hash: "cd".repeat(32),
            fates_since: 0,
            pruned: 2,
            at: "2026-11-24T00:00:00Z".to_owned(),
            key: hex(key.public()),
        }
    }

    #[test]
    fn an_anchor_comes_back_as_it_was_signed_and_shows_any_change() {
        let dir = tempfile::tempdir().unwrap();
        let key = Key::at(dir.path()).unwrap();
        let written = anchor(&key);
        let document = written.clone().document(&key);
        assert_eq!(Anchor::read(&document).unwrap(), written);
        let text = String::from_utf8(document).unwrap();
        for (from, to) in
            [("\"seq\": 12", "\"seq\": 13"), ("host\"", "ghost\""), ("abab", "baba"), ("anchor 1", "anchor 2")]
        {
            Anchor::read(text.replacen(from, to, 1).as_bytes()).unwrap_err();
        }
    }

    #[test]
    fn heads_are_read_in_the_form_in_which_they_are_told() {
        let hash = "ab".repeat(32);
        for text in [format!("12:{hash}"), format!("f7:{hash}")] {
            assert_eq!(text.parse::<Claim>().unwrap().to_string(), text);
        }
        for text in ["12", "12:ab", "-1:", &format!("x:{hash}"), &format!("1:{}", "zz".repeat(32)), ""] {
            text.parse::<Claim>().unwrap_err();
        }
    }

    #[test]
    fn a_claim_is_judged_by_the_entry_of_its_number() {
        let claim = |seq| Claim { chain: Chain::Receipts, seq, hash: "ab".repeat(32) };
        let pruned = ChainEnd { seq: 5, hash: "ab".repeat(32), at: None };
        let judge = |seq, found| Compared::judge(&claim(seq), found, &pruned, 9);
        assert_eq!(judge(7, Some(&[0xab; 32][..])), Compared::Same);
        assert_eq!(judge(7, Some(&[0xcd; 32][..])), Compared::Different);
        assert_eq!(judge(7, None), Compared::Different, "there is a gap, which the check tells besides");
        assert_eq!(judge(5, None), Compared::Same, "the mark has its hash");
        assert_eq!(judge(4, None), Compared::Pruned(pruned.clone()));
        assert_eq!(judge(10, None), Compared::Missing { newest: 9 });
        assert_eq!(judge(0, None), Compared::Same);
    }
}
