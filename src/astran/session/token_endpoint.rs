//! The requests to the login service: login, refresh, logout. Decides nothing.

use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, Request, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::answer::{self, TokenError, TokenRequest, TokenResponse};
use super::policy::Fingerprint;
use crate::astran::client_config::{Credentials, SecretSources, Timeouts};
use crate::astran::transport::{Answer, Limits, TransportError};
use crate::astran::{redact, transport};
use crate::budget;
use crate::observe::health::Condition;
use crate::observe::metrics::TokenRequests;
use crate::refused_logins::{RefusedLogins, Turn};
use crate::secret::{SecretError, Source};

/// How often secrets may be read again while a login is refused; a command may ask its user something, so it is run more rarely.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
const COMMAND_CHECK_INTERVAL: Duration = Duration::from_secs(60);

/// What requests for tokens need.
pub(super) struct TokenEndpoint {
    pub(super) http: Client,
    pub(super) token_url: Url,
    pub(super) logout_url: Url,
    pub(super) realm: String,
    pub(super) credentials: Credentials,
    /// Where the secrets of these credentials come from now.
    pub(super) sources: RwLock<SecretSources>,
    pub(super) timeouts: Timeouts,
    pub(super) refused_logins: Option<Arc<RefusedLogins>>,
    /// Raised while a request for a token takes unusually long, so that all calls wait.
    pub(super) slow: Condition,
    /// Counts all requests for tokens.
    pub(super) requests: TokenRequests,
}

/// The secrets of a login as they are now.
pub(super) struct Secrets {
    password: Option<SecretString>,
    client: Option<SecretString>,
}

impl Secrets {
    /// A hash that tells whether the secrets have changed, and nothing else.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        for secret in [&self.password, &self.client] {
            let bytes = secret.as_ref().map_or(&b""[..], |s| s.expose_secret().as_bytes());
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }
}

impl TokenEndpoint {
    /// Reads the secrets from where they are kept.
    pub(super) async fn secrets(&self) -> Result<Secrets, SecretError> {
        let password = match self.sources().password {
            Some(source) => Some(read_secret(&source).await?),
            None => None,
        };
        Ok(Secrets { password, client: self.client_secret().await? })
    }

    fn sources(&self) -> SecretSources {
        self.sources.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The secrets come from elsewhere from now on.
    pub(super) fn set_sources(&self, sources: SecretSources) {
        if let Some(memory) = &self.refused_logins {
            memory.set_secrets(sources.all().cloned().collect());
        }
        *self.sources.write().unwrap_or_else(PoisonError::into_inner) = sources;
    }

    async fn client_secret(&self) -> Result<Option<SecretString>, SecretError> {
        match self.sources().client {
            Some(source) => Ok(Some(read_secret(&source).await?)),
            None => Ok(None),
        }
    }

    /// Waits for this process's turn to log in. The error says that the login was refused in an earlier run; nothing is sent then.
    pub(super) async fn turn(&self) -> Result<Option<Turn<'_>>, TokenError> {
        let Some(memory) = &self.refused_logins else { return Ok(None) };
        memory.turn().await.map(Some).map_err(TokenError::Refused)
    }

    /// Logs in anew.
    pub(super) async fn login(&self, secrets: &Secrets) -> Result<TokenResponse, TokenError> {
        let password = secrets.password.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        let client = secrets.client.as_ref();
        let form = match &self.credentials.user {
            Some(user) => {
                self.form(&[("grant_type", "password"), ("username", &user.username), ("password", password)], client)
            }
            None => self.form(&[("grant_type", "client_credentials")], client),
        };
        self.request_tokens(form).await
    }

    /// Requests another token with the refresh token.
    pub(super) async fn refresh(&self, refresh: &SecretString) -> Result<TokenResponse, TokenError> {
        let client = self.client_secret().await.map_err(|e| TokenError::Refused(e.to_string()))?;
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret())];
        self.request_tokens(self.form(&pairs, client.as_ref())).await
    }

    /// Ends the session. A failure is logged only.
    pub(super) async fn logout(&self, refresh: &SecretString) {
        let client = self.client_secret().await.ok().flatten();
        let form = self.form(&[("refresh_token", refresh.expose_secret())], client.as_ref());
        match self.post(&self.logout_url, form).await {
            Ok(response) => tracing::debug!(status = response.status().as_u16(), "logged out"),
            Err(error) => tracing::debug!(%error, "the logout failed"),
        }
    }

    fn form(&self, pairs: &[(&str, &str)], client: Option<&SecretString>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs).append_pair("client_id", &self.credentials.client_id);
        if let Some(secret) = client {
            form.append_pair("client_secret", secret.expose_secret());
        }
        form.finish()
    }

    fn token_request(&self) -> TokenRequest<'_> {
        TokenRequest {
            url: &self.token_url,
            realm: &self.realm,
            client_id: &self.credentials.client_id,
            username: self.credentials.user.as_ref().map(|user| &*user.username),
        }
    }

    async fn request_tokens(&self, form: String) -> Result<TokenResponse, TokenError> {
        let request = self.token_request();
        let answer =
            self.in_time(self.round_trip(form)).await.map_err(|error| TokenError::transient(&request, error))?;
        let response = answer::read(&answer, &request, SystemTime::now())?;
        let header = response.header.to_str().unwrap_or_default();
        let tokens = [header.strip_prefix("Bearer ").unwrap_or(header)];
        let tokens = tokens.into_iter().chain(response.refresh_token.as_ref().map(ExposeSecret::expose_secret));
        // If a server grants a token of one letter, that is not redacted: nothing could be quoted any more.
        tokens.filter(|token| token.len() >= budget::SHORTEST_SECRET).for_each(redact::learn);
        Ok(response)
    }

    /// A login service that drips its answer would stop all uploads silently: so the wait is reported, and has an end.
    async fn in_time(
        &self,
        answer: impl Future<Output = Result<Answer, TransportError>>,
    ) -> Result<Answer, TransportError> {
        let mut answer = pin!(timeout(self.timeouts.token_answer, answer));
        let result = if let Ok(result) = timeout(self.timeouts.token_slow, &mut answer).await {
            result
        } else {
            let seconds = self.timeouts.token_slow.as_secs();
            self.slow.raise(format!("the login service has not answered for {seconds} s"));
            tracing::warn!("no token for {seconds} s: the login service does not answer, and all uploads wait for it");
            let result = answer.await;
            self.slow.clear();
            result
        };
        result.unwrap_or(Err(TransportError::NoWholeAnswer(self.timeouts.token_answer)))
    }

    async fn round_trip(&self, form: String) -> Result<Answer, TransportError> {
        let response = self.post(&self.token_url, form).await?;
        transport::read(response, Limits::small(&self.timeouts)).await
    }

    async fn post(&self, url: &Url, form: String) -> Result<Response, TransportError> {
        let mut request = Request::new(Method::POST, url.clone());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(form.into());
        transport::send(&self.http, request, self.timeouts.idle).await
    }

    pub(super) fn check_interval(&self) -> Duration {
        let has_command = self.sources().all().any(|source| matches!(source, Source::Command(_)));
        if has_command { COMMAND_CHECK_INTERVAL } else { CHECK_INTERVAL }
    }
}

/// Reads a secret, and has it redacted from now on.
async fn read_secret(source: &Source) -> Result<SecretString, SecretError> {
    let secret = source.read().await?;
    redact::learn(secret.expose_secret());
    Ok(secret)
}
