//! The tokens and sessions of the sandbox's own realm. Pure: the time is an argument, and there is no HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use super::lockout::Lockout;
use super::refusal::{self, Refusal};
use crate::sandbox::options::Options;

/// A realm with one client and one user.
pub(crate) struct Realm {
    options: Arc<Options>,
    random: SystemRandom,
    book: Mutex<Book>,
}

/// The content of an answer with tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) access_life: Duration,
    /// The refresh token with its lifetime. A service account gets none.
    pub(super) refresh: Option<(String, Duration)>,
    pub(super) session: u64,
}

#[derive(Default)]
struct Book {
    access: HashMap<String, AccessToken>,
    refresh: HashMap<String, RefreshToken>,
    sessions: HashMap<u64, Session>,
    last_session: u64,
    user: User,
}

struct AccessToken {
    session: u64,
    until: Instant,
}

struct RefreshToken {
    session: u64,
    until: Instant,
    used: bool,
}

struct Session {
    until: Instant,
    /// A refresh token was used twice. Keycloak then removes the client from the user's session; for the client that is the end of
    /// the session.
    detached: bool,
    last_used: Option<String>,
}

#[derive(Default)]
struct User {
    disabled: bool,
    action_required: bool,
    lockout: Lockout,
    /// The password, once it was changed from that of the options.
    password: Option<String>,
}

impl Realm {
    pub(super) fn new(options: Arc<Options>) -> Self {
        Self { options, random: SystemRandom::new(), book: Mutex::default() }
    }

    /// Whether the API takes this token now.
    pub(super) fn admits(&self, token: &str, now: Instant) -> bool {
        self.book().access.get(token).is_some_and(|access| now < access.until)
    }

    /// Checks the client. Keycloak does that first.
    pub(super) fn client(&self, id: Option<&str>, secret: Option<&str>) -> Result<(), Refusal> {
        if id != Some(self.options.client_id.as_str()) {
            return Err(refusal::UNKNOWN_CLIENT);
        }
        match self.options.client_secret.as_deref() {
            Some(right) if secret != Some(right) => Err(refusal::CLIENT_SECRET),
            _ => Ok(()),
        }
    }

    pub(super) fn password(&self, username: &str, password: &str, now: Instant) -> Result<Tokens, Refusal> {
        if !self.options.direct_access {
            return Err(refusal::NO_DIRECT_ACCESS);
        }
        let mut book = self.book();
        self.check_user(&mut book.user, username, password, now)?;
        Ok(self.open_session(&mut book, now))
    }

    /// The order is Keycloak's. A locked account refuses the right password with the same answer as a wrong one, and only a client with
    /// the right password learns that the account is disabled.
    fn check_user(&self, user: &mut User, username: &str, password: &str, now: Instant) -> Result<(), Refusal> {
        let refused = refusal::credentials(self.options.refused_password);
        if username != self.options.username || user.lockout.is_locked(now) {
            return Err(refused);
        }
        if password != user.password.as_deref().unwrap_or(&self.options.password) {
            if let Some(rule) = &self.options.brute_force {
                user.lockout.failed(now, rule);
            }
            return Err(refused);
        }
        if user.disabled {
            return Err(refusal::DISABLED);
        }
        if user.action_required {
            return Err(refusal::NOT_SET_UP);
        }
        user.lockout.succeeded();
        Ok(())
    }

    pub(super) fn client_credentials(&self, now: Instant) -> Result<Tokens, Refusal> {
        if self.options.client_secret.is_none() {
            return Err(refusal::PUBLIC_CLIENT);
        }
        let mut tokens = self.open_session(&mut self.book(), now);
        tokens.refresh = None;
        Ok(tokens)
    }

    pub(super) fn refresh(&self, token: &str, now: Instant) -> Result<Tokens, Refusal> {
        let mut guard = self.book();
        let book = &mut *guard;
        let refresh = book.refresh.get_mut(token).ok_or(refusal::UNKNOWN_REFRESH_TOKEN)?;
        let id = refresh.session;
        let session = book.sessions.get_mut(&id).filter(|s| now < s.until).ok_or(refusal::NO_SESSION)?;
        if now >= refresh.until {
            return Err(refusal::EXPIRED);
        }
        if session.detached {
            return Err(refusal::DETACHED);
        }
        if book.user.disabled {
            return Err(refusal::USER_DISABLED);
        }
        if self.options.rotation && refresh.used {
            let last = session.last_used.as_deref() == Some(token);
            book.detach_client(id);
            return Err(if last { refusal::REUSED } else { refusal::STALE });
        }
        refresh.used = true;
        session.last_used = Some(token.to_owned());
        let session_until = session.until;
        Ok(self.issue(book, id, session_until, now))
    }

    /// Ends the session of a refresh token. That the session has ended already is no error.
    pub(super) fn logout(&self, token: &str) -> Result<(), Refusal> {
        let mut book = self.book();
        let session = book.refresh.get(token).ok_or(refusal::UNKNOWN_REFRESH_TOKEN)?.session;
        book.end_session(session);
        Ok(())
    }

    /// Makes all access tokens invalid. Sessions go on.
    pub(super) fn expire_access(&self) {
        self.book().access.clear();
    }

    /// Ends all sessions. Access tokens stay valid.
    pub(super) fn revoke_sessions(&self) {
        self.book().sessions.clear();
    }

    pub(crate) fn disable_user(&self) {
        self.book().user.disabled = true;
    }

    pub(crate) fn lock_user(&self, until: Instant) {
        self.book().user.lockout.lock(until);
    }

    pub(crate) fn change_password(&self, password: &str) {
        self.book().user.password = Some(password.to_owned());
    }

    pub(crate) fn require_action(&self) {
        self.book().user.action_required = true;
    }

    /// Restores the user: enabled, not locked, no action required, with the password of the options.
    pub(crate) fn restore_user(&self) {
        self.book().user = User::default();
    }

    fn open_session(&self, book: &mut Book, now: Instant) -> Tokens {
        book.forget_dead(now);
        book.last_session += 1;
        let (id, until) = (book.last_session, now + self.options.session_life);
        book.sessions.insert(id, Session { until, detached: false, last_used: None });
        self.issue(book, id, until, now)
    }

    /// Issues tokens. No token outlives its session, so lifetimes become shorter near the end of the session.
    fn issue(&self, book: &mut Book, session: u64, session_until: Instant, now: Instant) -> Tokens {
        let left = session_until.duration_since(now);
        let (access_life, refresh_life) = (self.options.token_life.min(left), self.options.refresh_life.min(left));
        let (access, refresh) = (self.random_token(), self.random_token());
        book.access.insert(access.clone(), AccessToken { session, until: now + access_life });
        book.refresh.insert(refresh.clone(), RefreshToken { session, until: now + refresh_life, used: false });
        Tokens { access, access_life, refresh: Some((refresh, refresh_life)), session }
    }

    #[expect(clippy::expect_used, reason = "a system without randomness can't run a realm")]
    fn random_token(&self) -> String {
        let mut bytes = [0; 32];
        self.random.fill(&mut bytes).expect("the system gives random bytes");
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn detach_client(&mut self, session: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.detached = true;
        }
        self.access.retain(|_, token| token.session != session);
    }

    fn end_session(&mut self, session: u64) {
        self.sessions.remove(&session);
        self.access.retain(|_, token| token.session != session);
    }

    /// Forgets dead tokens once there are many. Until then they are kept, since Keycloak refuses a dead token in another way than an unknown one.
    fn forget_dead(&mut self, now: Instant) {
        if self.refresh.len() > 1000 {
            self.access.retain(|_, token| now < token.until);
            self.refresh.retain(|_, token| now < token.until);
            self.sessions.retain(|_, session| now < session.until);
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
