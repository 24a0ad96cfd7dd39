//! An anchor: the heads of both chains at one moment, signed with the journal's key, to be kept outside of this machine. Pure.
//!
//! An attacker who may write the whole journal can make it look whole, but can't change an anchor that lies elsewhere: the receipt
//! with the anchor's number must still be there, with the anchor's hash.
//!
//! The document is JSON. What is signed is the SHA-256 of these fields, written as `Fields` says: the text `astran-backup anchor 1`,
//! and the fields of [`Anchor`] in their order.

use serde::{Deserialize, Serialize};

use super::fields::{Fields, Hash};
use super::key::{self, Key};
use super::known_head::{Chain, KnownHead, unhex};
use crate::hex;

const FORMAT: &str = "astran-backup anchor 1";

/// How the name of each document with an anchor begins.
pub const PREFIX: &str = "astran-backup-anchor-";

/// What an anchor says. The fields' names are the document's keys; it calls local ends *fates*.
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
    /// The number of the newest local end.
    pub fates: i64,
    /// The hash of the newest local end, lower-case hexadecimal.
    pub fates_hash: String,
    /// The newest receipt that is older than the chain of local ends.
    pub fates_since: i64,
    /// The last pruned receipt.
    pub pruned: i64,
    /// When it was signed, RFC 3339.
    pub at: String,
    /// The public key, hexadecimal.
    pub key: String,
}

/// Why a document is no anchor that the key it names has signed. Whoever wrote the document is not known; it proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorFormatError {
    /// Not JSON with an anchor's keys.
    #[error("it is no anchor")]
    NoAnchor,
    /// An anchor of another version.
    #[error("it is an anchor of a form that this program does not know")]
    UnknownForm,
    /// The signature does not belong to what it says.
    #[error("its signature is wrong: it is not what was signed")]
    WrongSignature,
}

#[derive(Serialize, Deserialize)]
struct SignedDocument {
    format: String,
    #[serde(flatten)]
    anchor: Anchor,
    signature: String,
}

impl Anchor {
    /// The document, signed. `key` is the one that the anchor names.
    pub(super) fn document(self, key: &Key) -> Vec<u8> {
        let signature = hex(&key.sign(&self.digest()));
        let document = SignedDocument { format: FORMAT.to_owned(), anchor: self, signature };
        let mut bytes = serde_json::to_vec_pretty(&document).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a document and checks its signature.
    pub fn read(document: &[u8]) -> Result<Self, AnchorFormatError> {
        let read: SignedDocument = serde_json::from_slice(document).map_err(|_| AnchorFormatError::NoAnchor)?;
        if read.format != FORMAT {
            return Err(AnchorFormatError::UnknownForm);
        }
        let (Some(public), Some(signature)) = (unhex(&read.anchor.key), unhex(&read.signature)) else {
            return Err(AnchorFormatError::NoAnchor);
        };
        let is_signed = key::is_signed(&public, &read.anchor.digest(), &signature);
        if is_signed { Ok(read.anchor) } else { Err(AnchorFormatError::WrongSignature) }
    }

    /// The key in 16 digits.
    pub fn fingerprint(&self) -> String {
        unhex(&self.key).map_or_else(String::new, |public| key::fingerprint(&public))
    }

    /// Which journal the anchor is of, whatever its key: 8 digits for its host, its folder and its service.
    pub fn place(&self) -> String {
        let mut fields = Fields::new("astran-backup place 1");
        self.put_place(&mut fields);
        hex(&fields.finish()[..4])
    }

    /// The newest receipt.
    pub fn receipts_head(&self) -> KnownHead {
        KnownHead { chain: Chain::Receipts, seq: self.seq, hash: self.hash.clone() }
    }

    /// The newest local end.
    pub fn local_ends_head(&self) -> KnownHead {
        KnownHead { chain: Chain::LocalEnds, seq: self.fates, hash: self.fates_hash.clone() }
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
    fn an_anchor_reads_as_it_was_signed_and_any_change_shows() {
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
}
