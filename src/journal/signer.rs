//! A key like the journal's, for what is signed apart from a journal.

use std::path::Path;

use super::key::{self, Key};
use super::{JournalError, Unusable, open};

/// A key like the journal's in a folder of its own, for what is signed apart from a journal.
#[derive(Debug)]
pub(crate) struct Signer(Key);

impl Signer {
    /// The key in this folder, which must be this user's alone; made where there is none. One process at a time. Blocks.
    pub(crate) fn at(dir: &Path) -> Result<Self, JournalError> {
        open::prepare_dir(dir)?;
        Ok(Self(Key::at(dir).map_err(Unusable::from)?))
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.0.public()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message)
    }
}

/// Whether the owner of this public key signed the message.
pub(crate) fn is_signed_by(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    key::is_signed(public, message, signature)
}
