//! The requests to the login service: login, refresh, logout. Nothing is decided here.

use std::pin::pin;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use super::answer::{self, Asked, Failure, Granted};
use super::policy::Fingerprint;
use crate::astran::transport::{Answer, Limits};
use crate::astran::{Timeouts, error, redact, transport};
use crate::budget;
use crate::config::{Grant, Login};
use crate::observe::health::Condition;
use crate::secret::{SecretError, Source};

/// All that it takes to ask for tokens.
pub(super) struct TokenEndpoint {
    pub(super) http: Client,
    pub(super) token_url: Url,
    pub(super) logout_url: Url,
    pub(super) realm: String,
    pub(super) login: Login,
    /// How long the service may take.
    pub(super) timeouts: Timeouts,
    /// Raised while a token lets all calls wait for longer than is usual.
    pub(super) slow: Condition,
}

/// The secrets of a login as they are now.
pub(super) struct Secrets {
    password: Option<SecretString>,
    client: Option<SecretString>,
}

impl Secrets {
    /// Tells whether they changed, and nothing else.
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
        let password = match &self.login.grant {
            Grant::Password { password, .. } => Some(password.read().await?),
            Grant::ClientCredentials => None,
        };
        if let Some(password) = &password {
            redact::learn(password.expose_secret());
        }
        Ok(Secrets { password, client: self.client_secret().await? })
    }

    async fn client_secret(&self) -> Result<Option<SecretString>, SecretError> {
        match &self.login.client_secret {
            Some(source) => {
                let secret = source.read().await?;
                redact::learn(secret.expose_secret());
                Ok(Some(secret))
            }
            None => Ok(None),
        }
    }

    /// Logs in anew.
    pub(super) async fn login(&self, secrets: &Secrets) -> Result<Granted, Failure> {
        let password = secrets.password.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        let form = match &self.login.grant {
            Grant::Password { username, .. } => self.form(
                &[("grant_type", "password"), ("username", username), ("password", password)],
                secrets.client.as_ref(),
            ),
            Grant::ClientCredentials => self.form(&[("grant_type", "client_credentials")], secrets.client.as_ref()),
        };
        self.ask(form).await
    }

    /// Asks for another token by the refresh token.
    pub(super) async fn refresh(&self, refresh: &SecretString) -> Result<Granted, Failure> {
        let client = self.client_secret().await.map_err(|e| Failure::Refused(e.to_string()))?;
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh.expose_secret())];
        self.ask(self.form(&pairs, client.as_ref())).await
    }

    /// Ends the session; whatever comes of it.
    pub(super) async fn logout(&self, refresh: &SecretString) {
        let client = self.client_secret().await.ok().flatten();
        let form = self.form(&[("refresh_token", refresh.expose_secret())], client.as_ref());
        match self.post(&self.logout_url, form).await {
            Ok(response) => tracing::debug!(status = response.status().as_u16(), "logged out"),
            Err(why) => tracing::debug!(%why, "the logout failed"),
        }
    }

    fn form(&self, pairs: &[(&str, &str)], client: Option<&SecretString>) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs).append_pair("client_id", &self.login.client_id);
        if let Some(secret) = client {
            form.append_pair("client_secret", secret.expose_secret());
        }
        form.finish()
    }

    fn asked(&self) -> Asked<'_> {
        Asked {
            url: &self.token_url,
            realm: &self.realm,
            client_id: &self.login.client_id,
            username: match &self.login.grant {
                Grant::Password { username, .. } => Some(username),
                Grant::ClientCredentials => None,
            },
        }
    }

    async fn ask(&self, form: String) -> Result<Granted, Failure> {
        let asked = self.asked();
        let answer = self.in_time(self.round_trip(form)).await.map_err(|why| Failure::transient(&asked, why))?;
        let granted = answer::read(answer.status, &answer.headers, &answer.body, &asked, SystemTime::now())?;
        let header = granted.access.to_str().unwrap_or_default();
        let tokens = [header.strip_prefix("Bearer ").unwrap_or(header)];
        let tokens = tokens.into_iter().chain(granted.refresh.as_ref().map(ExposeSecret::expose_secret));
        // A server that grants a token of one letter would have nothing quoted any more.
        tokens.filter(|token| token.len() >= budget::SHORTEST_SECRET).for_each(redact::learn);
        Ok(granted)
    }

    /// A login service that drips its answer would stop all uploads without a word: the wait is told, and has an end.
    async fn in_time(&self, answer: impl Future<Output = Result<Answer, String>>) -> Result<Answer, String> {
        let mut answer = pin!(timeout(self.timeouts.token_answer, answer));
        let done = if let Ok(done) = timeout(self.timeouts.token_soon, &mut answer).await {
            done
        } else {
            let seconds = self.timeouts.token_soon.as_secs();
            self.slow.raise(format!("the login service has not answered for {seconds} s"));
            tracing::warn!("no token for {seconds} s: the login service does not answer, and all uploads wait for it");
            let done = answer.await;
            self.slow.clear();
            done
        };
        done.unwrap_or_else(|_| Err(format!("no whole answer within {} s", self.timeouts.token_answer.as_secs())))
    }

    async fn round_trip(&self, form: String) -> Result<Answer, String> {
        let response = self.post(&self.token_url, form).await?;
        transport::read(response, Limits::small(&self.timeouts)).await.map_err(|e| e.to_string())
    }

    async fn post(&self, url: &Url, form: String) -> Result<Response, String> {
        let request = self
            .http
            .post(url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .header(ACCEPT, HeaderValue::from_static("application/json"))
            .body(form);
        match timeout(self.timeouts.idle, request.send()).await {
            Ok(answer) => answer.map_err(|e| error::describe(&e)),
            Err(_) => Err(format!("no answer within {} s", self.timeouts.idle.as_secs())),
        }
    }

    /// How often the secret may be read again while a login is refused: a command may ask its user something.
    pub(super) fn look_every(&self) -> Duration {
        let command = |s: &Source| matches!(s, Source::Command(_));
        let password = matches!(&self.login.grant, Grant::Password { password, .. } if command(password));
        if password || self.login.client_secret.as_ref().is_some_and(command) {
            Duration::from_secs(60)
        } else {
            Duration::from_secs(5)
        }
    }
}
