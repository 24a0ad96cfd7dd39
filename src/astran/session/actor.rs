//! The task that owns the session. It alone talks to the login service, one request at a time: if a call did, and went away while
//! it waited, the rotated refresh token would be lost with it.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use super::answer::{TokenError, TokenResponse};
use super::policy::{Fingerprint, GrantType, TokenAttempt, TokenPolicy, TokenStep};
use super::token::{CurrentToken, Now, Token, TokenNeed};
use super::token_endpoint::{Secrets, TokenEndpoint};
use crate::observe::metrics::{TokenOutcome, TokenRequests};
use crate::vault::VaultError;

pub(super) enum SessionMessage {
    RequestToken(Waiter),
    Reload,
    /// Replied to once the session is over.
    Logout(oneshot::Sender<()>),
}

/// A call that waits for a token.
pub(super) struct Waiter {
    pub(super) need: TokenNeed,
    pub(super) reply: oneshot::Sender<Result<Arc<Token>, VaultError>>,
}

/// The end of a job.
enum JobEnd {
    TokensRequested(TokenAttempt, Result<TokenResponse, TokenError>),
    SecretsChecked(Option<Fingerprint>),
    LoggedOut,
}

/// What is done at the login service, or for it; one at a time.
type Job = Pin<Box<dyn Future<Output = JobEnd> + Send>>;

/// What the waiting calls need next.
enum NextAction {
    Nothing,
    Start {
        step: TokenStep,
        /// The service refused the current token.
        replacement: bool,
    },
    Sleep(Instant),
}

pub(super) struct SessionActor {
    endpoint: Arc<TokenEndpoint>,
    current: CurrentToken,
    policy: TokenPolicy,
    waiters: Vec<Waiter>,
    logouts: Vec<oneshot::Sender<()>>,
    job: Option<Job>,
}

impl SessionActor {
    /// Starts the task; it ends with the last sender. It logs as the login, and not as the call that needs the first token.
    pub(super) fn start(endpoint: Arc<TokenEndpoint>, current: CurrentToken) -> mpsc::Sender<SessionMessage> {
        let (sender, inbox) = mpsc::channel(64);
        let policy = TokenPolicy::new(endpoint.check_interval());
        let actor = Self { endpoint, current, policy, waiters: Vec::new(), logouts: Vec::new(), job: None };
        tokio::spawn(actor.run(inbox).instrument(tracing::info_span!(parent: None, "login")));
        sender
    }

    /// Each turn replies to the calls that can be replied to, starts what the others need unless a job is running, and then waits: for
    /// the job, for a message, or for the moment at which the policy allows the next step.
    async fn run(mut self, mut inbox: mpsc::Receiver<SessionMessage>) {
        loop {
            let wake = self.serve_waiters();
            tokio::select! {
                // The job first: its result serves a call whose message comes at the same moment, too.
                biased;
                end = job_end(&mut self.job) => {
                    self.job = None;
                    self.finish(end);
                }
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                () = sleep(wake) => {}
            }
        }
    }

    fn handle(&mut self, message: SessionMessage) {
        match message {
            SessionMessage::RequestToken(waiter) => self.waiters.push(waiter),
            SessionMessage::Reload => {
                self.policy.check_secrets_every(self.endpoint.check_interval());
                self.policy.reload();
            }
            SessionMessage::Logout(reply) => self.logouts.push(reply),
        }
    }

    /// Replies to each call that can be replied to, and starts what the others need. Returns when to do so again.
    fn serve_waiters(&mut self) -> Option<Instant> {
        let (now, mut action) = (Now::read(), NextAction::Nothing);
        for waiter in std::mem::take(&mut self.waiters) {
            let reply = match self.policy.next_step(waiter.need, &now) {
                TokenStep::Use(token) => Ok(token),
                TokenStep::Refuse(error) => Err(error),
                step => {
                    // A call that went away is no reason to ask the service.
                    if !waiter.reply.is_closed() {
                        action.add(step, waiter.need);
                        self.waiters.push(waiter);
                    }
                    continue;
                }
            };
            // A call that went away needs no reply.
            let _gone = waiter.reply.send(reply);
        }
        if self.job.is_some() {
            return None;
        }
        if !self.logouts.is_empty() {
            self.log_out();
            return None;
        }
        match action {
            NextAction::Nothing => None,
            NextAction::Sleep(until) => Some(until),
            NextAction::Start { step, replacement } => {
                self.start_job(&step, replacement, now);
                None
            }
        }
    }

    fn start_job(&mut self, step: &TokenStep, replacement: bool, now: Now) {
        let endpoint = Arc::clone(&self.endpoint);
        self.job = match (step, self.policy.refresh_token().cloned()) {
            (TokenStep::Refresh, Some(token)) => Some(Box::pin(refresh(endpoint, token, replacement))),
            (TokenStep::CheckSecrets, _) => {
                self.policy.checking_secrets(&now);
                Some(Box::pin(check_secrets(endpoint)))
            }
            _ => Some(Box::pin(login(endpoint, replacement))),
        };
    }

    fn log_out(&mut self) {
        let endpoint = Arc::clone(&self.endpoint);
        let token = self.policy.refresh_token().cloned();
        self.policy.logged_out();
        self.publish(None);
        self.job = Some(Box::pin(async move {
            if let Some(token) = token {
                endpoint.logout(&token).await;
            }
            JobEnd::LoggedOut
        }));
    }

    fn finish(&mut self, end: JobEnd) {
        let now = Now::read();
        if let JobEnd::TokensRequested(attempt, result) = &end {
            self.count(attempt.grant_type, result);
        }
        match end {
            JobEnd::TokensRequested(attempt, Ok(response)) => {
                tracing::debug!(grant_type = ?attempt.grant_type, lifetime = ?response.lifetime, "a token was granted");
                let token = self.policy.granted(&attempt, response, &now);
                self.publish(Some(Arc::clone(&token)));
                self.share_token(&token);
            }
            JobEnd::TokensRequested(attempt, Err(error)) => {
                tracing::debug!(grant_type = ?attempt.grant_type, ?error, "no token was granted");
                self.policy.failed(&attempt, error, &now);
                self.share_refusal(&now);
            }
            JobEnd::SecretsChecked(found) => self.policy.secrets_checked(found),
            JobEnd::LoggedOut => self.logouts.drain(..).for_each(|reply| {
                let _gone = reply.send(());
            }),
        }
    }

    fn count(&self, grant_type: GrantType, result: &Result<TokenResponse, TokenError>) {
        let grant = match grant_type {
            GrantType::Login => TokenRequests::LOGIN,
            GrantType::Refresh => TokenRequests::REFRESH,
        };
        let outcome = match result {
            Ok(_) => TokenOutcome::Granted,
            Err(TokenError::Refused(_)) => TokenOutcome::Refused,
            Err(TokenError::Transient { .. }) => TokenOutcome::Failed,
        };
        self.endpoint.requests.count(grant, outcome);
    }

    /// A new token serves all calls that wait, however little of its lifetime is left: where tokens live no longer than an answer
    /// takes, waiting for a fresher one would never end.
    fn share_token(&mut self, token: &Arc<Token>) {
        for waiter in std::mem::take(&mut self.waiters) {
            let _gone = waiter.reply.send(Ok(Arc::clone(token)));
        }
    }

    /// One refusal serves all calls that wait: each gets it now if the policy refuses it, before another request is started.
    fn share_refusal(&mut self, now: &Now) {
        for waiter in std::mem::take(&mut self.waiters) {
            match self.policy.next_step(waiter.need, now) {
                TokenStep::Refuse(error) => {
                    let _gone = waiter.reply.send(Err(error));
                }
                _ => self.waiters.push(waiter),
            }
        }
    }

    fn publish(&self, token: Option<Arc<Token>>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl NextAction {
    /// Adds what one more call needs. A request for one call serves the others too.
    fn add(&mut self, step: TokenStep, need: TokenNeed) {
        let refused = matches!(need, TokenNeed::Replacement(_));
        match (&mut *self, step) {
            (Self::Start { replacement, .. }, _) => *replacement |= refused,
            (Self::Nothing, TokenStep::Wait(until)) => *self = Self::Sleep(until),
            (Self::Sleep(earliest), TokenStep::Wait(until)) => *earliest = until.min(*earliest),
            (_, step) => *self = Self::Start { step, replacement: refused },
        }
    }
}

async fn job_end(job: &mut Option<Job>) -> JobEnd {
    match job {
        Some(job) => job.await,
        None => pending().await,
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

async fn refresh(endpoint: Arc<TokenEndpoint>, token: SecretString, replacement: bool) -> JobEnd {
    let attempt = TokenAttempt { grant_type: GrantType::Refresh, sent: Now::read(), replacement, secrets: None };
    JobEnd::TokensRequested(attempt, endpoint.refresh(&token).await)
}

async fn login(endpoint: Arc<TokenEndpoint>, replacement: bool) -> JobEnd {
    let mut attempt = TokenAttempt { grant_type: GrantType::Login, sent: Now::read(), replacement, secrets: None };
    // The turn comes before the secrets, so that the command of a refused one does not run.
    let turn = match endpoint.turn().await {
        Ok(turn) => turn,
        Err(error) => return JobEnd::TokensRequested(attempt, Err(error)),
    };
    let secrets = endpoint.secrets().await;
    (attempt.sent, attempt.secrets) = (Now::read(), secrets.as_ref().ok().map(Secrets::fingerprint));
    let secrets = match secrets {
        Ok(secrets) => secrets,
        Err(error) => {
            let message = format!("the login's secret can't be had: {error}");
            return JobEnd::TokensRequested(attempt, Err(TokenError::Refused(message)));
        }
    };
    let result = endpoint.login(&secrets).await;
    match (turn, &result) {
        (Some(turn), Ok(_)) => turn.granted().await,
        (Some(turn), Err(TokenError::Refused(message))) => turn.refused(message).await,
        _ => {}
    }
    JobEnd::TokensRequested(attempt, result)
}

async fn check_secrets(endpoint: Arc<TokenEndpoint>) -> JobEnd {
    JobEnd::SecretsChecked(endpoint.secrets().await.ok().map(|secrets| secrets.fingerprint()))
}
