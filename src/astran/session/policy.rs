//! When to log in, when to refresh, when to wait, when to refuse. Pure: what happened and the time go in, the next step
//! comes out.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::answer::{Failure, Granted};
use super::token::{Lifetime, Need, Now, Token};
use crate::astran::diagnostics::Renewal;
use crate::vault::{Kind, VaultError};

/// Two failures within a second lock the account for a minute, so that logins keep a distance, whatever they come to.
const BETWEEN_LOGINS: Duration = Duration::from_secs(2);
/// How long a refused login is left alone: longer than the 15 minutes for which an account may be locked at most.
const FIRST_SUSPENSION: Duration = Duration::from_secs(16 * 60);
const LONGEST_SUSPENSION: Duration = Duration::from_secs(6 * 3600);
/// How long a refresh that failed is left alone, at most.
const BETWEEN_REFRESHES: Duration = Duration::from_secs(5);
/// For how long a replacement that was refused as well is not replaced again.
const DISTRUST: Duration = Duration::from_secs(30);

/// What the secrets were, without being them.
pub(super) type Fingerprint = [u8; 32];

/// What to do for a call that wants a token.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Take the current one.
    Use(Arc<Token>),
    /// Ask for another by the refresh token.
    Refresh,
    /// Log in anew.
    Login,
    /// Read the secret, to see whether it changed since it was refused.
    Look,
    /// Ask again then.
    Wait(Instant),
    /// Fail with this.
    Refuse(VaultError),
}

/// How tokens were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantType {
    Login,
    Refresh,
}

/// A refusal that holds until the secret changes or its time is over.
#[derive(Debug)]
struct Verdict {
    message: String,
    /// Of the secrets that were refused; `None` where they could not even be read.
    refused: Option<Fingerprint>,
    again: Instant,
    looked: Instant,
}

/// A refresh token and its life.
#[derive(Debug)]
struct Refresh {
    token: SecretString,
    life: Lifetime,
}

/// All that the decisions rest on.
#[derive(Debug)]
pub(super) struct State {
    token: Option<Arc<Token>>,
    refresh: Option<Refresh>,
    serial: u64,
    /// The life of a token right after a login.
    usual: Option<Duration>,
    last_login: Option<Instant>,
    /// Trouble of the service: until then nothing is asked.
    hold: Option<(Instant, VaultError)>,
    verdict: Option<Verdict>,
    suspension: Duration,
    /// The credentials have worked once.
    proven: bool,
    /// The least time between two looks at the secret.
    look_every: Duration,
}

impl State {
    pub(super) fn new(look_every: Duration) -> Self {
        Self {
            token: None,
            refresh: None,
            serial: 0,
            usual: None,
            last_login: None,
            hold: None,
            verdict: None,
            suspension: FIRST_SUSPENSION,
            proven: false,
            look_every,
        }
    }

    #[cfg(test)]
    fn token(&self) -> Option<&Arc<Token>> {
        self.token.as_ref()
    }

    pub(super) fn refresh_token(&self) -> Option<&SecretString> {
        self.refresh.as_ref().map(|r| &r.token)
    }

    /// What to do for a call with this need.
    pub(super) fn step(&self, need: Need, now: &Now) -> Step {
        if let Some(token) = self.token.as_ref().filter(|t| t.fits(need, now)) {
            return Step::Use(Arc::clone(token));
        }
        if self.distrusted(need, now) {
            return Step::Refuse(VaultError::new(
                Kind::Login,
                "the service refuses a brand-new token (401 right after a login that succeeded): do service.api_url and \
                 service.auth_url belong to the same realm, and is this machine's user allowed there?",
            ));
        }
        // Whatever stands in the way of a better one: a token that still lives is gone on with.
        let fallback = self.token.as_ref().filter(|t| t.serves(need, now)).map(|t| Step::Use(Arc::clone(t)));
        match self.renewal(now) {
            Step::Refuse(error) => fallback.unwrap_or(Step::Refuse(error)),
            Step::Wait(until) => fallback.unwrap_or(Step::Wait(until)),
            Step::Look => fallback.unwrap_or(Step::Look),
            step => step,
        }
    }

    fn distrusted(&self, need: Need, now: &Now) -> bool {
        self.token.as_ref().is_some_and(|t| {
            need == Need::Instead(t.serial) && t.replacement && !t.accepted() && t.life.age(now) < DISTRUST
        })
    }

    /// How to come by another token now.
    fn renewal(&self, now: &Now) -> Step {
        if let Some(verdict) = self.verdict.as_ref().filter(|v| now.instant < v.again) {
            let look = now.instant >= verdict.looked + self.look_every;
            return if look { Step::Look } else { Step::Refuse(self.suspended(verdict)) };
        }
        if let Some((until, error)) = self.hold.as_ref().filter(|(until, _)| now.instant < *until) {
            let left = *until - now.instant;
            return Step::Refuse(error.clone().with_retry_after(Some(left)));
        }
        let shrunk = self.token.as_ref().is_some_and(|t| t.shrunk);
        if self.verdict.is_none() && !shrunk && self.refresh.as_ref().is_some_and(|r| r.life.lives(now)) {
            return Step::Refresh;
        }
        match self.last_login.map(|l| l + BETWEEN_LOGINS).filter(|next| now.instant < *next) {
            Some(next) => Step::Wait(next),
            None => Step::Login,
        }
    }

    /// The words stay the same for as long as the verdict holds, so that whoever repeats them can tell.
    fn suspended(&self, verdict: &Verdict) -> VaultError {
        if !self.proven {
            return VaultError::new(Kind::Login, &*verdict.message);
        }
        let message = format!(
            "{}; these credentials worked before, so nothing is lost: the login is tried again at once when the secret \
             changes or on SIGHUP, else rarely, so that the account is not locked",
            verdict.message
        );
        VaultError::new(Kind::Login, message)
    }

    /// Tokens came. `sent` is the moment before the request; `instead` tells that the service refused the one before.
    pub(super) fn granted(
        &mut self,
        how: GrantType,
        granted: Granted,
        sent: Now,
        now: &Now,
        instead: bool,
    ) -> Arc<Token> {
        let shrunk = match how {
            GrantType::Login => {
                self.usual = granted.life;
                self.last_login = Some(now.instant);
                self.proven = true;
                self.suspension = FIRST_SUSPENSION;
                false
            }
            GrantType::Refresh => self.usual.zip(granted.life).is_some_and(|(usual, life)| life < usual / 2),
        };
        let life = Lifetime::new(sent, granted.refresh_life);
        match granted.refresh {
            Some(token) => self.refresh = Some(Refresh { token, life }),
            // Absent on a refresh means that the old one stays good.
            None if how == GrantType::Refresh => {}
            None => self.refresh = None,
        }
        (self.hold, self.verdict) = (None, None);
        self.serial += 1;
        let life = Lifetime::new(sent, granted.life);
        let mut token = Token::new(self.serial, granted.access, life, instead, shrunk);
        token.renewal = self
            .refresh
            .as_ref()
            .map_or(Renewal::Login, |refresh| refresh.life.length().map_or(Renewal::Unlimited, Renewal::Within));
        let token = Arc::new(token);
        self.token = Some(Arc::clone(&token));
        token
    }

    /// No tokens came. `secrets` is the fingerprint of what a login sent.
    pub(super) fn failed(&mut self, how: GrantType, failure: Failure, secrets: Option<Fingerprint>, now: &Now) {
        if how == GrantType::Login {
            self.last_login = Some(now.instant);
        }
        match (failure, how) {
            (Failure::Transient { message, retry_after }, _) => {
                let least = match how {
                    GrantType::Login => BETWEEN_LOGINS,
                    GrantType::Refresh => self.between_refreshes(),
                };
                let until = now.instant + retry_after.unwrap_or_default().max(least);
                self.hold = Some((until, VaultError::new(Kind::Unavailable, message)));
            }
            // An idle daemon's session is over: normal, and a login mends it. A refused client secret may have been
            // changed, and a login reads it anew.
            (Failure::Refused(_), GrantType::Refresh) => self.refresh = None,
            (Failure::Refused(message), GrantType::Login) => {
                let again = now.instant + self.suspension;
                self.suspension = (self.suspension * 2).min(LONGEST_SUSPENSION);
                self.refresh = None;
                self.hold = None;
                self.verdict = Some(Verdict { message, refused: secrets, again, looked: now.instant });
            }
        }
    }

    /// A token of 5 s must not be outlived by the pause after a failed refresh.
    fn between_refreshes(&self) -> Duration {
        let life = self.token.as_ref().and_then(|t| t.life.length()).unwrap_or(BETWEEN_REFRESHES * 60);
        (life / 60).clamp(Duration::from_millis(50), BETWEEN_REFRESHES)
    }

    /// The secret is being read again: until `look_every` is over nobody else needs to.
    pub(super) fn looking(&mut self, now: &Now) {
        if let Some(verdict) = &mut self.verdict {
            verdict.looked = now.instant;
        }
    }

    /// The secret was read again; `None` where it could not be.
    pub(super) fn looked(&mut self, found: Option<Fingerprint>) {
        if self.verdict.as_ref().is_some_and(|v| found.is_some() && v.refused != found) {
            self.reload();
        }
    }

    /// Somebody says that things have changed: the next call may try at once.
    pub(super) fn reload(&mut self) {
        (self.hold, self.verdict) = (None, None);
        self.suspension = FIRST_SUSPENSION;
    }

    /// The session was ended.
    pub(super) fn ended(&mut self) {
        (self.token, self.refresh) = (None, None);
    }
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
