//! One journal for each service, so that the receipts of one never count for another.
//!
//! The first service of a state directory has `journal.sqlite` in it, as there always was one; each further one has a journal in
//! `services/`, in a folder that is named by the service's hash, made when it is first used.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Journal, JournalError, open, record};
use crate::hex;

/// The folder of the further journals in the state directory.
const FURTHER: &str = "services";

/// What happened when the journal of a service was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is this service's, or had nothing yet.
    Own,
    /// It had receipts and did not say of which service: it is this one's from now on.
    Adopted,
    /// The state directory has a journal of another service, so this one's was made beside it.
    Beside,
}

impl Journal {
    /// Opens the journal of a service in a state directory; makes it where there is none.
    pub async fn open_for(state_dir: &Path, service: &str) -> Result<(Self, Opened), JournalError> {
        let own = further(state_dir, service);
        if !open::exists(&own) {
            let first = Self::open(state_dir)?;
            // Under the journal's write lock: of two services at once only one can be the first.
            match first.claim(service).await {
                Ok(true) => return Ok((first, Opened::Adopted)),
                Ok(false) => return Ok((first, Opened::Own)),
                Err(JournalError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        open::prepare_dir(state_dir)?;
        let opened = if open::exists(&own) { Opened::Own } else { Opened::Beside };
        let journal = Self::open(&own)?;
        journal.claim(service).await?;
        Ok((journal, opened))
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
        let known = first.service().await?;
        Ok(known.is_none_or(|known| known == service).then_some(first))
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

    /// The service that the journal's receipts are of; `None` where it does not say.
    pub async fn service(&self) -> Result<Option<String>, JournalError> {
        self.read(record::service).await
    }
}

/// The folder of a service's journal, where the state directory's own one is another's.
fn further(state_dir: &Path, service: &str) -> PathBuf {
    state_dir.join(FURTHER).join(hex(&Sha256::digest(service)[..8]))
}
