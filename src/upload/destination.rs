//! The folders of the vault that files go to: looked up once, and again when the store no longer knows them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::breaker::Breaker;
use crate::vault::{DocumentId, RemotePath, Vault, VaultError};

#[derive(Debug)]
pub(super) struct Destinations {
    /// While the destination is in trouble this uploader's files wait; those of other folders go on.
    pub(super) breaker: Arc<Breaker>,
    known: Mutex<HashMap<RemotePath, DocumentId>>,
}

impl Destinations {
    pub(super) fn new(patience: Option<Duration>) -> Self {
        Self { breaker: Arc::new(Breaker::new("the destination", patience)), known: Mutex::default() }
    }

    /// The id of the folder at a path.
    pub(super) async fn folder<V: Vault>(&self, vault: &V, path: &RemotePath) -> Result<DocumentId, VaultError> {
        let known = self.known().get(path).cloned();
        if let Some(id) = known {
            return Ok(id);
        }
        self.look_up(vault, path).await
    }

    /// The same; asks the store in any case.
    pub(super) async fn look_up<V: Vault>(&self, vault: &V, path: &RemotePath) -> Result<DocumentId, VaultError> {
        let id = vault.folder(path).await?.id;
        self.known().insert(path.clone(), id.clone());
        Ok(id)
    }

    /// The store no longer takes files there: the folder is looked up anew.
    pub(super) fn forget(&self, path: &RemotePath) {
        self.known().remove(path);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<RemotePath, DocumentId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
