//! Where a file goes in the vault, and what exactly is sent there.

use super::error::SourceError;
use super::source::Source;
use crate::journal::Intent;
use crate::vault::{DocumentId, RemotePath};

/// A name in a folder of the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The folder's path.
    pub(super) dest: RemotePath,
    /// The folder's id.
    pub(super) folder: DocumentId,
    /// The document's name.
    pub(super) name: String,
}

impl Target {
    /// The target of an attempt.
    pub(super) fn of(intent: &Intent) -> Self {
        Self { dest: intent.dest.clone(), folder: intent.folder.clone(), name: intent.name.clone() }
    }

    /// Another name in the same folder.
    pub(super) fn named(&self, name: String) -> Self {
        Self { name, ..self.clone() }
    }

    /// The document's path.
    pub(super) fn path(&self) -> RemotePath {
        self.dest.join(&self.name)
    }
}

/// What was sent, or is to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sent {
    /// The document's name.
    pub(super) name: String,
    /// Length in bytes.
    pub(super) size: u64,
    /// Lower-case hexadecimal.
    pub(super) sha256: String,
}

impl Sent {
    /// What a file is, sent to a target. Reads the file where it was not hashed while it was sent.
    pub(super) async fn of(source: &Source, target: &Target) -> Result<Self, SourceError> {
        Ok(Self { name: target.name.clone(), size: source.opened.stamp.size, sha256: source.hash().await? })
    }
}
