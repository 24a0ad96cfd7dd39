//! One journal for each service, so that the receipts of one never count for another.
//!
//! The first service of a state directory has `journal.sqlite` in the directory itself; each further service has a journal in
//! `services/`, in a folder named by the service's hash, made when it is first used.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{Journal, JournalError, open, service};
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

    /// The journal of a service for reads alone, if there is one: makes and changes no file. Blocks.
    pub fn peek(state_dir: &Path, service: &str) -> Result<Option<Self>, JournalError> {
        let own = further(state_dir, service);
        if open::exists(&own) {
            return Self::open_to_peek(&own).map(Some);
        }
        if !open::exists(state_dir) {
            return Ok(None);
        }
        let first = Self::open_to_peek(state_dir)?;
        let owner = first.inner.readers.read(service::owner)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;

    /// The names of a folder, with inode, size and the time of the last change of each.
    fn names(dir: &Path) -> BTreeMap<PathBuf, (u64, u64, i64)> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let stamp = |path: &Path| path.metadata().map(|found| (found.ino(), found.size(), found.mtime_nsec())).unwrap();
        entries.map(|entry| (entry.path(), stamp(&entry.path()))).collect()
    }

    #[tokio::test]
    async fn a_peek_reads_a_journal_and_makes_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state with %41?#");
        assert!(Journal::peek(&state, "mine").unwrap().is_none());
        assert!(!state.exists());
        drop(Journal::open_for(&state, "mine").await.unwrap());
        let before = names(&state);
        let peek = Journal::peek(&state, "mine").unwrap().unwrap();
        assert_eq!(peek.service().await.unwrap().as_deref(), Some("mine"));
        assert!(Journal::peek(&state, "another's").unwrap().is_none());
        let refused = peek.retry(Vec::new()).await.unwrap_err();
        assert!(refused.to_string().contains("reads alone"), "{refused}");
        drop(peek);
        assert_eq!(names(&state), before);
    }

    #[tokio::test]
    async fn a_peek_sees_what_another_process_has_only_in_its_log_yet() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = Journal::open_for(dir.path(), "mine").await.unwrap();
        assert!(dir.path().join("journal.sqlite-wal").exists());
        let peek = Journal::peek(dir.path(), "mine").unwrap().unwrap();
        assert_eq!(peek.service().await.unwrap().as_deref(), Some("mine"));
        drop(journal);
    }
}
