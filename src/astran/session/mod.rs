//! Tokens: one source for all calls. Each call takes one as it is sent; one task alone asks the login service.

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

use self::actor::{Message, SessionActor, Waiter};
use self::token::Now;
pub(super) use self::token::{Need, Token};
use self::token_endpoint::TokenEndpoint;
use super::Timeouts;
use super::address::Addresses;
use crate::config::{Login, Service};
use crate::observe::health::Condition;
use crate::vault::{Kind, VaultError};

/// A call that holds a living token waits no longer than this for a better one.
const PATIENCE: Duration = Duration::from_secs(2);

/// The current token, where every call can look at it without asking the task.
type Current = Arc<RwLock<Option<Arc<Token>>>>;

/// The source of tokens. Cheap to clone; all clones share one session.
#[derive(Clone)]
pub(super) struct Tokens {
    inner: Arc<Inner>,
}

struct Inner {
    exchange: Arc<TokenEndpoint>,
    current: Current,
    logout: Duration,
    /// To the task, which is started by the first call that wants a token: a client can be made outside of a runtime.
    task: OnceLock<mpsc::Sender<Message>>,
}

impl Tokens {
    /// A source that has asked for nothing yet.
    pub(super) fn new(
        http: reqwest::Client,
        addresses: &Addresses,
        service: &Service,
        login: &Login,
        timeouts: &Timeouts,
    ) -> Self {
        let exchange = TokenEndpoint {
            http,
            token_url: addresses.token(),
            logout_url: addresses.logout(),
            realm: service.realm.clone(),
            login: login.clone(),
            timeouts: timeouts.clone(),
            slow: Condition::default(),
        };
        let (current, task) = (Current::default(), OnceLock::new());
        Self { inner: Arc::new(Inner { exchange: Arc::new(exchange), current, logout: timeouts.logout, task }) }
    }

    /// Whether a token lets all calls wait.
    pub(super) fn slow(&self) -> &Condition {
        &self.inner.exchange.slow
    }

    /// A living token that suits the need.
    pub(super) async fn token(&self, need: Need) -> Result<Arc<Token>, VaultError> {
        let held = self.inner.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        let now = Now::read();
        if let Some(token) = held.as_ref().filter(|t| t.fits(need, &now)) {
            return Ok(Arc::clone(token));
        }
        let better = self.ask(need);
        match held.filter(|t| t.serves(need, &now)) {
            Some(held) => match timeout(PATIENCE, better).await {
                Ok(Ok(token)) => Ok(token),
                Ok(Err(_)) | Err(_) if held.serves(need, &Now::read()) => Ok(held),
                Ok(Err(error)) => Err(error),
                Err(_) => self.ask(need).await,
            },
            None => better.await,
        }
    }

    /// Another token in place of one that the service refused with 401.
    pub(super) async fn instead_of(&self, refused: &Token) -> Result<Arc<Token>, VaultError> {
        self.token(Need::Instead(refused.serial)).await
    }

    /// The configuration or the secrets may have changed: a refused login may be tried again at once.
    pub(super) async fn reload(&self) {
        if let Some(task) = self.inner.task.get() {
            // A task that is gone has nothing to reload.
            let _gone = task.send(Message::Reload).await;
        }
    }

    /// Ends the session at the service, best effort: sessions pile up there otherwise.
    pub(super) async fn logout(&self) {
        let Some(task) = self.inner.task.get() else { return };
        let (done, ended) = oneshot::channel();
        let leave = async {
            if task.send(Message::Logout(done)).await.is_ok() {
                let _gone = ended.await;
            }
        };
        if timeout(self.inner.logout, leave).await.is_err() {
            tracing::debug!("the logout took too long and was left");
        }
    }

    async fn ask(&self, need: Need) -> Result<Arc<Token>, VaultError> {
        let task = self
            .inner
            .task
            .get_or_init(|| SessionActor::start(Arc::clone(&self.inner.exchange), Arc::clone(&self.inner.current)));
        let (reply, answer) = oneshot::channel();
        let gone = || VaultError::new(Kind::Unavailable, "the source of tokens has ended: the program is stopping");
        task.send(Message::Want(Waiter { need, reply })).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}
