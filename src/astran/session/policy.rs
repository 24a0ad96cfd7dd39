//! Decides when to log in, refresh, wait or refuse. Pure: what happened and the time go in, the next step comes out.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::answer::{TokenError, TokenResponse};
use super::token::{Lifetime, Now, Renewal, Token, TokenNeed};
use crate::vault::{Kind, VaultError};

/// The pause between two logins, whether they succeed or fail: two failures within a second lock the account for a minute.
const BETWEEN_LOGINS: Duration = Duration::from_secs(2);
/// How long no login is tried after a refusal: longer than the 15 minutes for which an account may be locked at most. Doubles with
/// each further refusal, up to the longest.
const FIRST_SUSPENSION: Duration = Duration::from_secs(16 * 60);
const LONGEST_SUSPENSION: Duration = Duration::from_secs(6 * 3600);
/// The longest pause after a refresh that failed.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(5);
/// If a replacement token is refused too within this time, it is not replaced again.
const REPLACEMENT_TRIAL: Duration = Duration::from_secs(30);

/// A hash of the secrets that a login sent: tells whether they have changed.
pub(super) type Fingerprint = [u8; 32];

/// What to do for a call that needs a token.
#[derive(Debug, Clone)]
pub(super) enum TokenStep {
    /// Give this token to the call.
    Use(Arc<Token>),
    /// Request another token with the refresh token.
    Refresh,
    /// Log in anew.
    Login,
    /// Read the secrets again, to see whether they have changed since the login was refused.
    CheckSecrets,
    /// Decide again at this moment.
    Wait(Instant),
    /// Fail the call with this error.
    Refuse(VaultError),
}

/// How tokens are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantType {
    Login,
    Refresh,
}

/// A request for tokens that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenAttempt {
    pub(super) grant_type: GrantType,
    /// The moment before it was sent.
    pub(super) sent: Now,
    /// The service refused the token before with 401.
    pub(super) replacement: bool,
    /// Of the secrets that a login sent; `None` for a refresh, and where the secrets could not be read.
    pub(super) secrets: Option<Fingerprint>,
}

/// A refused login: no other is tried until the secrets change or the time is over.
#[derive(Debug)]
struct Suspension {
    message: String,
    /// Of the secrets that were refused; `None` where they could not even be read.
    secrets: Option<Fingerprint>,
    until: Instant,
    secrets_checked: Instant,
}

/// Trouble of the login service: nothing is requested before `until`.
#[derive(Debug)]
struct Backoff {
    until: Instant,
    error: VaultError,
}

#[derive(Debug)]
struct RefreshToken {
    secret: SecretString,
    lifetime: Lifetime,
}

/// All that the decisions depend on.
#[derive(Debug)]
pub(super) struct TokenPolicy {
    token: Option<Arc<Token>>,
    refresh: Option<RefreshToken>,
    last_serial: u64,
    /// The lifetime of an access token right after a login.
    login_lifetime: Option<Duration>,
    last_login: Option<Instant>,
    backoff: Option<Backoff>,
    suspension: Option<Suspension>,
    /// How long the next suspension lasts.
    next_suspension: Duration,
    /// A login has succeeded in this process, so that the credentials were right once.
    has_logged_in: bool,
    /// The shortest time between two checks of the secrets.
    check_interval: Duration,
}

impl TokenPolicy {
    pub(super) fn new(check_interval: Duration) -> Self {
        Self {
            token: None,
            refresh: None,
            last_serial: 0,
            login_lifetime: None,
            last_login: None,
            backoff: None,
            suspension: None,
            next_suspension: FIRST_SUSPENSION,
            has_logged_in: false,
            check_interval,
        }
    }

    #[cfg(test)]
    fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    pub(super) fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh.as_ref().map(|refresh| &refresh.secret)
    }

    /// What to do for a call with this need.
    pub(super) fn next_step(&self, need: TokenNeed, now: &Now) -> TokenStep {
        if let Some(token) = self.token.as_ref().filter(|t| t.is_fresh_for(need, now)) {
            return TokenStep::Use(Arc::clone(token));
        }
        if self.is_new_token_refused(need, now) {
            return TokenStep::Refuse(VaultError::new(
                Kind::Login,
                "the service refuses a brand-new token (401 right after a login that succeeded): do service.api_url and \
                 service.auth_url belong to the same realm, and is this machine's user allowed there?",
            ));
        }
        // Where a better token can't be had now, the call goes on with the current one while that is alive.
        let fallback =
            self.token.as_ref().filter(|t| t.is_usable_for(need, now)).map(|t| TokenStep::Use(Arc::clone(t)));
        match self.renewal_step(now) {
            TokenStep::Refresh => TokenStep::Refresh,
            TokenStep::Login => TokenStep::Login,
            step => fallback.unwrap_or(step),
        }
    }

    fn is_new_token_refused(&self, need: TokenNeed, now: &Now) -> bool {
        self.token.as_ref().is_some_and(|t| {
            need == TokenNeed::Replacement(t.serial)
                && t.replacement
                && !t.is_accepted()
                && t.lifetime.age(now) < REPLACEMENT_TRIAL
        })
    }

    /// How to get another token now.
    fn renewal_step(&self, now: &Now) -> TokenStep {
        if let Some(suspension) = self.suspension.as_ref().filter(|s| now.instant < s.until) {
            let check = now.instant >= suspension.secrets_checked + self.check_interval;
            return if check { TokenStep::CheckSecrets } else { TokenStep::Refuse(self.suspended(suspension)) };
        }
        if let Some(backoff) = self.backoff.as_ref().filter(|backoff| now.instant < backoff.until) {
            return TokenStep::Refuse(backoff.error.clone().with_retry_after(Some(backoff.until - now.instant)));
        }
        let shortened = self.token.as_ref().is_some_and(|t| t.shortened);
        let refreshable = self.refresh.as_ref().is_some_and(|refresh| refresh.lifetime.is_alive(now));
        if self.suspension.is_none() && !shortened && refreshable {
            return TokenStep::Refresh;
        }
        match self.last_login.map(|login| login + BETWEEN_LOGINS).filter(|next| now.instant < *next) {
            Some(next) => TokenStep::Wait(next),
            None => TokenStep::Login,
        }
    }

    /// The message stays the same while the suspension lasts, so that a caller that repeats it can tell that it is no news.
    fn suspended(&self, suspension: &Suspension) -> VaultError {
        if !self.has_logged_in {
            return VaultError::new(Kind::Login, &*suspension.message);
        }
        let message = format!(
            "{}; these credentials worked before, so nothing is lost: the login is tried again at once when the secret \
             changes or on SIGHUP, else rarely, so that the account is not locked",
            suspension.message
        );
        VaultError::new(Kind::Login, message)
    }

    /// The login service granted tokens.
    pub(super) fn granted(&mut self, attempt: &TokenAttempt, response: TokenResponse, now: &Now) -> Arc<Token> {
        let shortened = match attempt.grant_type {
            GrantType::Login => {
                self.login_lifetime = response.lifetime;
                self.last_login = Some(now.instant);
                self.has_logged_in = true;
                self.next_suspension = FIRST_SUSPENSION;
                false
            }
            GrantType::Refresh => {
                self.login_lifetime.zip(response.lifetime).is_some_and(|(usual, lifetime)| lifetime < usual / 2)
            }
        };
        match response.refresh_token {
            Some(secret) => {
                let lifetime = Lifetime::new(attempt.sent, response.refresh_lifetime);
                self.refresh = Some(RefreshToken { secret, lifetime });
            }
            // A refresh without a new refresh token means that the old one stays valid.
            None if attempt.grant_type == GrantType::Refresh => {}
            None => self.refresh = None,
        }
        (self.backoff, self.suspension) = (None, None);
        self.last_serial += 1;
        let token = Arc::new(Token {
            serial: self.last_serial,
            header: response.header,
            lifetime: Lifetime::new(attempt.sent, response.lifetime),
            replacement: attempt.replacement,
            shortened,
            renewal: self.renewal(),
            accepted: AtomicBool::new(false),
        });
        self.token = Some(Arc::clone(&token));
        token
    }

    fn renewal(&self) -> Renewal {
        match &self.refresh {
            None => Renewal::Login,
            Some(refresh) => refresh.lifetime.length().map_or(Renewal::Unlimited, Renewal::Within),
        }
    }

    /// The login service granted no tokens.
    pub(super) fn failed(&mut self, attempt: &TokenAttempt, error: TokenError, now: &Now) {
        let grant_type = attempt.grant_type;
        if grant_type == GrantType::Login {
            self.last_login = Some(now.instant);
        }
        match (error, grant_type) {
            (TokenError::Transient { message, retry_after }, _) => {
                let least = match grant_type {
                    GrantType::Login => BETWEEN_LOGINS,
                    GrantType::Refresh => self.between_refreshes(),
                };
                let until = now.instant + retry_after.unwrap_or_default().max(least);
                self.backoff = Some(Backoff { until, error: VaultError::new(Kind::Unavailable, message) });
            }
            // Normal for an idle daemon, whose session is over: a login helps. If the client's secret was refused, it may have been
            // changed, and a login reads it anew.
            (TokenError::Refused(_), GrantType::Refresh) => self.refresh = None,
            (TokenError::Refused(message), GrantType::Login) => {
                let until = now.instant + self.next_suspension;
                self.next_suspension = (self.next_suspension * 2).min(LONGEST_SUSPENSION);
                (self.refresh, self.backoff) = (None, None);
                let secrets = attempt.secrets;
                self.suspension = Some(Suspension { message, secrets, until, secrets_checked: now.instant });
            }
        }
    }

    /// The pause after a failed refresh: a token that lives 5 s must not expire during it.
    fn between_refreshes(&self) -> Duration {
        let lifetime = self.token.as_ref().and_then(|t| t.lifetime.length()).unwrap_or(BETWEEN_REFRESHES * 60);
        (lifetime / 60).clamp(Duration::from_millis(50), BETWEEN_REFRESHES)
    }

    /// The secrets are being read again: the next check is due after `check_interval`.
    pub(super) fn checking_secrets(&mut self, now: &Now) {
        if let Some(suspension) = &mut self.suspension {
            suspension.secrets_checked = now.instant;
        }
    }

    /// The secrets were read again; `None` where they could not be read.
    pub(super) fn secrets_checked(&mut self, found: Option<Fingerprint>) {
        if self.suspension.as_ref().is_some_and(|s| found.is_some() && s.secrets != found) {
            self.reload();
        }
    }

    /// The secrets or the service may have changed: the next call may try at once.
    pub(super) fn reload(&mut self) {
        (self.backoff, self.suspension) = (None, None);
        self.next_suspension = FIRST_SUSPENSION;
    }

    /// The shortest time between two checks of the secrets, where they come from now.
    pub(super) fn check_secrets_every(&mut self, interval: Duration) {
        self.check_interval = interval;
    }

    /// The session is over.
    pub(super) fn logged_out(&mut self) {
        (self.token, self.refresh) = (None, None);
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
