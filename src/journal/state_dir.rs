//! One journal for each service, so that the receipts of one never count for another.
//!
//! The first service of a state directory has `journal.sqlite` in the directory itself; each further service has a journal in
//! `services/`, in a folder named by the service's hash, made when it is first used.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Journal, JournalError, open};
use crate::hex;

/// The folder of the further journals in the state directory.
const FURTHER: &str = "services";

/// What the journal of a service was before it was opened for that service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// This service's, or new.
    Own,
    /// It had receipts and did not say of which service: it belongs to this one from now on.
    Claimed,
    /// The state directory has a journal of another service, so this one's was made beside it.
    Separate,
}

impl Journal {
    /// Opens the journal of a service in a state directory; makes it where there is none.
    pub async fn open_for(state_dir: &Path, service: &str) -> Result<(Self, Ownership), JournalError> {
        let own = further(state_dir, service);
        if !open::exists(&own) {
            let first = Self::open(state_dir)?;
            // Under the journal's write lock: of two services at once only one can be the first.
            match first.claim(service).await {
                Ok(true) => return Ok((first, Ownership::Claimed)),
                Ok(false) => return Ok((first, Ownership::Own)),
                Err(JournalError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        open::prepare_dir(state_dir)?;
        let ownership = if open::exists(&own) { Ownership::Own } else { Ownership::Separate };
        let journal = Self::open(&own)?;
        journal.claim(service).await?;
        Ok((journal, ownership))
    }

    /// The journal of a service, if there is one.
    pub async fn find(state_dir: &Path, service: &str) -> Result<Option<Self>, JournalError> {
        let own = further(state_dir, service);
        if open::exists(&own) {
            return Self::open(&own).map(Some);
        }
        if !open::exists(state_dir) {
            return Ok(None);
        }
        let first = Self::open(state_dir)?;
        let owner = first.service().await?;
        Ok(owner.is_none_or(|owner| owner == service).then_some(first))
    }

    /// All journals of a state directory.
    #[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone")]
    pub fn all(state_dir: &Path) -> Result<Vec<Self>, JournalError> {
        let further = std::fs::read_dir(state_dir.join(FURTHER)).into_iter().flatten().flatten();
        let mut dirs: Vec<PathBuf> = further.map(|entry| entry.path()).collect();
        dirs.push(state_dir.to_owned());
        dirs.sort();
        dirs.iter().filter(|dir| open::exists(dir)).map(|dir| Self::open(dir)).collect()
    }
}

/// The folder of a service's journal, where the journal of the state directory itself is another service's.
fn further(state_dir: &Path, service: &str) -> PathBuf {
    state_dir.join(FURTHER).join(hex(&Sha256::digest(service)[..8]))
}
