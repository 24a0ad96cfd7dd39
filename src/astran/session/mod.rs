//! The tokens of a session, shared by all calls. Each call takes a token as it is sent; one task alone talks to the login service.
//!
//! ```text
//!  Tokens ──► actor (the task) ──► policy (when to log in, refresh, wait, refuse)
//!                  └─► token_endpoint (the requests) ──► answer (what the login service says)
//! ```

mod actor;
mod answer;
mod policy;
mod token;
mod token_endpoint;

#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use self::actor::{SessionActor, SessionMessage, Waiter};
use self::token::{CurrentToken, Now};
pub use self::token::{Renewal, TokenLifetimes};
pub(super) use self::token::{Token, TokenNeed};
use self::token_endpoint::TokenEndpoint;
use super::address::Addresses;
use super::client_config::{ClientConfig, SecretSources};
use crate::observe::health::Condition;
use crate::observe::metrics::TokenRequests;
use crate::vault::{Kind, VaultError};

/// How long a call that holds a living token waits for a better one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tokens of one session.
pub(super) struct Tokens {
    endpoint: Arc<TokenEndpoint>,
    current: CurrentToken,
    logout: Duration,
    /// To the session's task. The first call that needs a token starts it, because a client can be made outside of a runtime.
    actor: OnceLock<mpsc::Sender<SessionMessage>>,
}

impl Tokens {
    /// Nothing is requested yet.
    pub(super) fn new(http: reqwest::Client, addresses: &Addresses, config: &ClientConfig) -> Self {
        let endpoint = TokenEndpoint {
            http,
            token_url: addresses.token(),
            logout_url: addresses.logout(),
            realm: config.realm.clone(),
            credentials: config.credentials.clone(),
            sources: RwLock::new(config.credentials.secrets()),
            timeouts: config.timeouts.clone(),
            refused_logins: config.refused_logins.clone(),
            slow: Condition::default(),
            requests: TokenRequests::default(),
        };
        Self {
            endpoint: Arc::new(endpoint),
            current: CurrentToken::default(),
            logout: config.timeouts.logout,
            actor: OnceLock::new(),
        }
    }

    /// Raised while all calls wait for a token.
    pub(super) fn slow(&self) -> &Condition {
        &self.endpoint.slow
    }

    /// Counts all requests for tokens.
    pub(super) fn requests(&self) -> &TokenRequests {
        &self.endpoint.requests
    }

    /// A living token that suits the need.
    pub(super) async fn token(&self, need: TokenNeed) -> Result<Arc<Token>, VaultError> {
        let held = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Now::read();
        if let Some(token) = held.as_ref().filter(|t| t.is_fresh_for(need, &now)) {
            return Ok(Arc::clone(token));
        }
        let better = self.request(need);
        match held.filter(|t| t.is_usable_for(need, &now)) {
            Some(held) => match timeout(PATIENCE, better).await {
                Ok(Ok(token)) => Ok(token),
                Ok(Err(_)) | Err(_) if held.is_usable_for(need, &Now::read()) => Ok(held),
                Ok(Err(error)) => Err(error),
                Err(_) => self.request(need).await,
            },
            None => better.await,
        }
    }

    /// Another token in place of one that the service refused with 401.
    pub(super) async fn replacement_for(&self, refused: &Token) -> Result<Arc<Token>, VaultError> {
        self.token(TokenNeed::Replacement(refused.serial)).await
    }

    /// The configuration or the secrets may have changed: a refused login may be tried again at once. With `sources`, the secrets come
    /// from there from now on.
    pub(super) async fn reload(&self, sources: Option<SecretSources>) {
        if let Some(sources) = sources {
            self.endpoint.set_sources(sources);
        }
        if let Some(actor) = self.actor.get() {
            // A task that has ended has nothing to reload.
            let _gone = actor.send(SessionMessage::Reload).await;
        }
    }

    /// Ends the session at the service, best effort: sessions pile up there otherwise.
    pub(super) async fn logout(&self) {
        let Some(actor) = self.actor.get() else { return };
        let (reply, ended) = oneshot::channel();
        let leave = async {
            if actor.send(SessionMessage::Logout(reply)).await.is_ok() {
                let _gone = ended.await;
            }
        };
        if timeout(self.logout, leave).await.is_err() {
            tracing::debug!("the logout took too long, and the program goes on without it");
        }
    }

    /// Has the session's task get a token.
    async fn request(&self, need: TokenNeed) -> Result<Arc<Token>, VaultError> {
        let actor =
            self.actor.get_or_init(|| SessionActor::start(Arc::clone(&self.endpoint), Arc::clone(&self.current)));
        let (reply, token) = oneshot::channel();
        let ended = || VaultError::new(Kind::Unavailable, "the source of tokens has ended: the program is stopping");
        actor.send(SessionMessage::RequestToken(Waiter { need, reply })).await.map_err(|_| ended())?;
        token.await.map_err(|_| ended())?
    }
}
