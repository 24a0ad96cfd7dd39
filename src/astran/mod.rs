//! The client of the Astran service: calls, tokens, documents, errors. Knows no files and no watching: streams and lengths
//! go in.
//!
//! ```text
//!  calls ──► auth (a token for each request) ──► transport ──► the service
//!    │                                               │
//!    └─ find (paths) · body (content) · download     └─ error (what a status means) · document (what an answer says)
//! ```

mod address;
mod body;
mod calls;
mod diagnostics;
mod document;
mod download;
mod error;
mod error_excerpt;
mod find;
mod http;
mod listing;
mod redact;
mod session;
mod transport;
mod unescape;

#[cfg(test)]
mod fake;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;

use self::address::Addresses;
pub use self::diagnostics::{Lives, Reached, Renewal};
pub use self::download::ContentStream;
pub use self::error::Error;
use self::find::ShortWay;
use self::session::Tokens;
use crate::budget;
use crate::config::{Login, Service};
use crate::observe::health::Condition;
use crate::vault::DocumentId;

/// How long the service may be silent before a call is given up, and how long an answer may take. There is no limit on how long
/// content that moves may take.
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// To connect: name, TCP and TLS together.
    pub connect: Duration,
    /// Between a request and its answer, and between two pieces of the answer.
    pub idle: Duration,
    /// Between two pieces of an upload's content that the connection takes.
    pub upload_idle: Duration,
    /// Between the last piece of an upload's content and the answer.
    pub upload_answer: Duration,
    /// What is added to [`Timeouts::upload_answer`] for each 64 MiB of content.
    pub upload_answer_per_64_mib: Duration,
    /// From the head of an answer that tells of one thing to its end.
    pub small_answer: Duration,
    /// The same for a listing.
    pub listing: Duration,
    /// From a request for a token to the end of its answer.
    pub token_answer: Duration,
    /// Until a request for a token is trouble that is told.
    pub token_soon: Duration,
    /// For the logout at the end.
    pub logout: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: budget::CONNECT,
            idle: budget::IDLE,
            upload_idle: budget::UPLOAD_IDLE,
            upload_answer: budget::UPLOAD_ANSWER,
            upload_answer_per_64_mib: budget::UPLOAD_ANSWER_PER_64_MIB,
            small_answer: budget::SMALL_ANSWER,
            listing: budget::LISTING,
            token_answer: budget::TOKEN_ANSWER,
            token_soon: budget::TOKEN_SOON,
            logout: budget::LOGOUT,
        }
    }
}

/// A session with the service. Cheap to clone; all clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    addresses: Addresses,
    tokens: Tokens,
    timeouts: Timeouts,
    content_type: HeaderValue,
    /// Who logs in, as configured; for where the service doesn't tell.
    user: String,
    root: tokio::sync::OnceCell<DocumentId>,
    short_way: ShortWay,
}

impl Client {
    /// A client for the configured service. Nothing is sent before the first call.
    pub fn new(service: &Service, login: &Login) -> Result<Self, Error> {
        Self::with_timeouts(service, login, Timeouts::default())
    }

    /// A client that is less, or more, patient.
    pub fn with_timeouts(service: &Service, login: &Login, timeouts: Timeouts) -> Result<Self, Error> {
        let http = http::client(service, &service.api_url, &timeouts)?;
        // One pool of connections, unless a proxy stands before one of the two addresses only.
        let same = http::is_loopback(&service.api_url) == http::is_loopback(&service.auth_url)
            && service.api_url.scheme() == service.auth_url.scheme();
        let login_http = if same { http.clone() } else { http::client(service, &service.auth_url, &timeouts)? };
        let addresses = Addresses::new(&service.api_url, &service.auth_url, &service.realm);
        let tokens = Tokens::new(login_http, &addresses, service, login, &timeouts);
        let content_type = HeaderValue::from_str(&service.content_type)
            .map_err(|_| Error::ContentType(service.content_type.clone()))?;
        let user = login.user().to_owned();
        let (root, short_way) = (tokio::sync::OnceCell::new(), ShortWay::default());
        let inner = Inner { http, addresses, tokens, timeouts, content_type, user, root, short_way };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Secrets or rights may have changed: a refused login may be tried again at once.
    pub async fn reload(&self) {
        self.inner.tokens.reload().await;
    }

    /// Who knows whether the login service lets all calls wait.
    pub fn login_health(&self) -> Condition {
        self.inner.tokens.slow().clone()
    }

    /// Ends the session at the service, best effort within [`Timeouts::logout`]; sessions pile up there otherwise.
    pub async fn logout(&self) {
        self.inner.tokens.logout().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("addresses", &self.inner.addresses).finish_non_exhaustive()
    }
}
