//! Compares the ends of all chains with those that were seen before, and notes them anew, signed. Pure.
//!
//! A host that rewrites its history contradicts the database; whoever may write the whole database lacks the hosts' keys, but could cut
//! off a chain's end together with its signature, or put an older state of the database back. That shows here: a note of earlier ends is kept
//! by another person, on another machine, and in the vault.
//!
//! A note is two lines: the ends as JSON, and the signature of that line in hexadecimal.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::StreamState;
use crate::hex;
use crate::journal::{Signer, is_signed_by};

/// What each note begins with: its kind and version.
const FORMAT: &str = "astran-backup fleet checkpoint 1";

/// The ends of all chains at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    format: String,
    /// UTC.
    pub(crate) at: String,
    /// The public key that signs the note.
    key: String,
    /// The SHA-256 of the note before this one.
    previous: Option<String>,
    /// By the chains' identifiers.
    pub(crate) heads: BTreeMap<String, SeenHead>,
}

/// The end of one chain, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenHead {
    pub(crate) host: String,
    /// The host's key.
    key: String,
    pub(crate) seq: i64,
    pub(crate) hash: String,
}

/// Why a file is no note of this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoteError {
    #[error("is no checkpoint that this program has written")]
    Format,
    #[error("is not signed with the checkpoint's key: it was changed")]
    Signature,
}

/// A chain that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) host: String,
    pub(crate) stream: String,
    pub(crate) what: String,
}

impl Note {
    /// A note of these chains.
    pub(crate) fn new(streams: &[StreamState], at: String, signer: &Signer, previous: Option<&[u8]>) -> Self {
        let head = |stream: &StreamState| SeenHead {
            host: stream.host.clone(),
            key: hex(&stream.public_key),
            seq: stream.seq,
            hash: hex(&stream.hash),
        };
        Self {
            format: FORMAT.to_owned(),
            at,
            key: hex(signer.public()),
            previous: previous.map(|document| hex(&Sha256::digest(document))),
            heads: streams.iter().map(|stream| (hex(&stream.id), head(stream))).collect(),
        }
    }

    /// The note with its signature.
    pub(crate) fn document(&self, signer: &Signer) -> Vec<u8> {
        // Texts and numbers always become JSON.
        let line = serde_json::to_string(self).unwrap_or_default();
        let signature = hex(&signer.sign(line.as_bytes()));
        format!("{line}\n{signature}\n").into_bytes()
    }

    /// Reads a note that `signer` has signed.
    pub(crate) fn read(document: &[u8], signer: &Signer) -> Result<Self, NoteError> {
        let text = std::str::from_utf8(document).map_err(|_| NoteError::Format)?;
        let (line, signature) = text.trim_end().split_once('\n').ok_or(NoteError::Format)?;
        let note: Self = serde_json::from_str(line).map_err(|_| NoteError::Format)?;
        if note.format != FORMAT {
            return Err(NoteError::Format);
        }
        let signature = bytes(signature).ok_or(NoteError::Format)?;
        if note.key != hex(signer.public()) || !is_signed_by(signer.public(), line.as_bytes(), &signature) {
            return Err(NoteError::Signature);
        }
        Ok(note)
    }

    /// Where the chains ended then: what must still be there.
    pub(crate) fn places(&self) -> Vec<([u8; 16], i64)> {
        let place = |(id, head): (&String, &SeenHead)| Some((bytes(id)?.try_into().ok()?, head.seq));
        self.heads.iter().filter_map(place).collect()
    }

    /// Compares this note with the chains now. `there` are the hashes that the database has now at [`Note::places`].
    pub(crate) fn contradictions(&self, now: &[StreamState], there: &[([u8; 16], i64, Vec<u8>)]) -> Vec<Contradiction> {
        let compare = |(id, seen): (&String, &SeenHead)| {
            let current = now.iter().find(|stream| hex(&stream.id) == *id);
            let hash =
                there.iter().find(|(place, seq, _)| hex(place) == *id && *seq == seen.seq).map(|(.., hash)| hex(hash));
            let what = what_is_wrong(seen, current, hash.as_deref())?;
            Some(Contradiction { host: seen.host.clone(), stream: id.clone(), what })
        };
        self.heads.iter().filter_map(compare).collect()
    }
}

fn what_is_wrong(seen: &SeenHead, now: Option<&StreamState>, hash: Option<&str>) -> Option<String> {
    let seq = seen.seq;
    let Some(now) = now else { return Some(format!("the whole chain is gone, which had {seq} receipts")) };
    if hex(&now.public_key) != seen.key {
        return Some("another key was put in the place of the machine's".to_owned());
    }
    if now.seq < seq {
        return Some(format!("the chain has shrunk from {seq} to {} receipts", now.seq));
    }
    match hash {
        _ if seq == 0 => None,
        Some(hash) if hash == seen.hash => None,
        Some(_) => Some(format!("receipt {seq} is another one now: the chain was written anew")),
        None => Some(format!("receipt {seq} is gone")),
    }
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seq: i64, hash: u8) -> StreamState {
        StreamState {
            id: [7; 16],
            host: "scan-01".into(),
            public_key: vec![1; 32],
            base_seq: 0,
            seq,
            hash: vec![hash; 32],
            signature: None,
        }
    }

    fn signer() -> (tempfile::TempDir, Signer) {
        let dir = tempfile::tempdir().unwrap();
        let signer = Signer::at(dir.path()).unwrap();
        (dir, signer)
    }

    #[test]
    fn a_chain_that_grew_is_fine_and_one_that_shrank_forked_or_went_is_not() {
        let (_dir, signer) = signer();
        let note = Note::new(&[stream(5, 0xaa)], "2026-11-25T08:00:00Z".into(), &signer, None);
        assert_eq!(note.places(), [([7; 16], 5)]);
        let what = |now: &[StreamState], at_five: Option<u8>| {
            let there: Vec<_> = at_five.map(|hash| ([7; 16], 5, vec![hash; 32])).into_iter().collect();
            note.contradictions(now, &there).pop().map(|found| found.what)
        };
        assert_eq!(what(&[stream(5, 0xaa)], Some(0xaa)), None);
        assert_eq!(what(&[stream(9, 0xbb)], Some(0xaa)), None);
        assert!(what(&[stream(4, 0xaa)], Some(0xaa)).unwrap().contains("shrunk from 5 to 4"));
        assert!(what(&[stream(9, 0xbb)], Some(0xcc)).unwrap().contains("written anew"));
        assert!(what(&[stream(9, 0xbb)], None).unwrap().contains("gone"));
        assert!(what(&[], None).unwrap().contains("whole chain"));
        let other_key = StreamState { public_key: vec![2; 32], ..stream(5, 0xaa) };
        assert!(what(&[other_key], Some(0xaa)).unwrap().contains("key"));
    }

    #[test]
    fn a_note_that_was_changed_or_is_of_another_key_is_refused() {
        let ((_dir, signer), (_other_dir, other)) = (signer(), signer());
        let first = Note::new(&[stream(5, 0xaa)], "2026-11-25T08:00:00Z".into(), &signer, None);
        let document = first.document(&signer);
        assert_eq!(Note::read(&document, &signer).unwrap(), first);
        assert_eq!(Note::read(&document, &other), Err(NoteError::Signature));
        let changed = String::from_utf8(document.clone()).unwrap().replace("\"seq\":5", "\"seq\":4");
        assert_eq!(Note::read(changed.as_bytes(), &signer), Err(NoteError::Signature));
        for odd in [&b""[..], b"{}\n00\n", b"\xff\n", &document[..document.len() / 2]] {
            Note::read(odd, &signer).unwrap_err();
        }
        let second = Note::new(&[], "2026-11-25T09:00:00Z".into(), &signer, Some(&document));
        assert_eq!(second.previous.unwrap().len(), 64, "each note names the one before");
    }
}
