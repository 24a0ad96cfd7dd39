//! The client: the port [`Vault`] on top of one connection to the service.

use std::fmt;
use std::sync::Arc;

use super::client_config::{ClientConfig, SecretSources};
use super::connection::Connection;
use super::download::ContentStream;
use super::error::ClientError;
use crate::observe::health::Condition;
use crate::observe::metrics::TokenRequests;
use crate::vault::{Content, Document, DocumentId, Kind, RemotePath, Vault, VaultError};

/// A client of the service. Cheap to clone; all clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    pub(super) connection: Arc<Connection>,
}

impl Client {
    /// A client for the configured service. Nothing is sent before the first call.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        Ok(Self { connection: Arc::new(Connection::new(config)?) })
    }

    /// Secrets or rights may have changed: a refused login may be tried again at once. With `sources`, the secrets come from there from
    /// now on.
    pub async fn reload(&self, sources: Option<SecretSources>) {
        self.connection.tokens.reload(sources).await;
    }

    /// The condition that is raised while all calls wait for the login service.
    pub fn login_health(&self) -> Condition {
        self.connection.tokens.slow().clone()
    }

    /// How often tokens were requested, and with which outcome.
    pub fn token_requests(&self) -> TokenRequests {
        self.connection.tokens.requests().clone()
    }

    /// Ends the session at the service, best effort within [`super::Timeouts::logout`]: sessions pile up there otherwise.
    pub async fn logout(&self) {
        self.connection.tokens.logout().await;
    }
}

impl Vault for Client {
    type Download = ContentStream;

    async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        self.connection.folder(path).await
    }

    async fn children(&self, folder: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.connection.children(folder, |_| true).await
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        self.connection.at(path).await
    }

    async fn child(&self, folder: &DocumentId, id: &DocumentId) -> Result<Option<Document>, VaultError> {
        Ok(self.connection.children(folder, |document| document.id == *id).await?.pop())
    }

    async fn named(&self, path: &RemotePath, folder: &DocumentId, name: &str) -> Result<Vec<Document>, VaultError> {
        match self.connection.children(folder, |document| document.name.as_deref() == Some(name)).await {
            Ok(named) => Ok(named),
            // Not every user may list every folder they may write to, and some listings are too large to read.
            Err(e) if matches!(e.kind, Kind::Forbidden | Kind::Missing | Kind::Refused) => {
                Ok(self.connection.at(&path.join(name)).await?.into_iter().collect())
            }
            Err(e) => Err(e),
        }
    }

    async fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        self.connection.upload(folder, name, content).await
    }

    async fn download(&self, path: &RemotePath) -> Result<ContentStream, VaultError> {
        self.connection.download(path).await
    }

    async fn probe(&self) -> Result<String, VaultError> {
        let user = self.connection.logged_in_user().await?;
        Ok(user.name.unwrap_or_else(|| self.connection.login_name.clone()))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.connection.addresses).finish_non_exhaustive()
    }
}
