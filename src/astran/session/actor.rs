//! The task that owns the session: it alone talks to the login service, one request at a time, so that a caller that goes
//! away can't take a rotated refresh token with it.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, PoisonError};

use secrecy::SecretString;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

use super::Current;
use super::answer::{Failure, Granted};
use super::policy::{Fingerprint, GrantType, State, Step};
use super::token::{Need, Now, Token};
use super::token_endpoint::TokenEndpoint;
use crate::vault::VaultError;

/// What the task is told.
pub(super) enum Message {
    Want(Waiter),
    Reload,
    Logout(oneshot::Sender<()>),
}

/// A call that waits for a token.
pub(super) struct Waiter {
    pub(super) need: Need,
    pub(super) reply: oneshot::Sender<Result<Arc<Token>, VaultError>>,
}

/// What a request came to.
enum Done {
    Asked { how: GrantType, sent: Now, instead: bool, secrets: Option<Fingerprint>, result: Result<Granted, Failure> },
    Looked(Option<Fingerprint>),
    LoggedOut,
}

type Running = Pin<Box<dyn Future<Output = Done> + Send>>;

/// What the waiting calls make necessary.
enum Wish {
    Nothing,
    Do(Step, bool),
    Sleep(Instant),
}

/// The state of the task.
pub(super) struct SessionActor {
    exchange: Arc<TokenEndpoint>,
    current: Current,
    state: State,
    waiters: Vec<Waiter>,
    leaving: Vec<oneshot::Sender<()>>,
    running: Option<Running>,
}

impl SessionActor {
    /// Starts the task; it ends with the last sender.
    pub(super) fn start(exchange: Arc<TokenEndpoint>, current: Current) -> mpsc::Sender<Message> {
        let (sender, receiver) = mpsc::channel(64);
        let state = State::new(exchange.look_every());
        let source = Self { exchange, current, state, waiters: Vec::new(), leaving: Vec::new(), running: None };
        tokio::spawn(source.run(receiver));
        sender
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        loop {
            let wake = self.serve();
            tokio::select! {
                // Done first: a waiter that comes with the answer is served by it.
                biased;
                done = running(&mut self.running) => {
                    self.running = None;
                    self.finished(done);
                }
                message = inbox.recv() => match message {
                    Some(message) => self.told(message),
                    None => return,
                },
                () = sleep(wake) => {}
            }
        }
    }

    fn told(&mut self, message: Message) {
        match message {
            Message::Want(waiter) => self.waiters.push(waiter),
            Message::Reload => self.state.reload(),
            Message::Logout(done) => self.leaving.push(done),
        }
    }

    /// Answers every waiter that can be answered and starts what the others need; returns when to look again.
    fn serve(&mut self) -> Option<Instant> {
        let (now, mut wish) = (Now::read(), Wish::Nothing);
        let waiters = std::mem::take(&mut self.waiters);
        for waiter in waiters {
            let answer = match self.state.step(waiter.need, &now) {
                Step::Use(token) => Ok(token),
                Step::Refuse(error) => Err(error),
                step => {
                    // Nobody waits for it any more: no reason to ask the service.
                    if !waiter.reply.is_closed() {
                        wish.add(step, waiter.need);
                        self.waiters.push(waiter);
                    }
                    continue;
                }
            };
            // A caller that went away needs no answer.
            let _gone = waiter.reply.send(answer);
        }
        if self.running.is_some() {
            return None;
        }
        if !self.leaving.is_empty() {
            self.leave();
            return None;
        }
        match wish {
            Wish::Nothing => None,
            Wish::Sleep(until) => Some(until),
            Wish::Do(step, instead) => {
                self.start_step(&step, instead, now);
                None
            }
        }
    }

    fn start_step(&mut self, step: &Step, instead: bool, now: Now) {
        let exchange = Arc::clone(&self.exchange);
        self.running = match (step, self.state.refresh_token().cloned()) {
            (Step::Refresh, Some(token)) => Some(Box::pin(refresh(exchange, token, instead))),
            (Step::Look, _) => {
                self.state.looking(&now);
                Some(Box::pin(look(exchange)))
            }
            _ => Some(Box::pin(login(exchange, instead))),
        };
    }

    fn leave(&mut self) {
        let exchange = Arc::clone(&self.exchange);
        let token = self.state.refresh_token().cloned();
        self.state.ended();
        self.publish(None);
        self.running = Some(Box::pin(async move {
            if let Some(token) = token {
                exchange.logout(&token).await;
            }
            Done::LoggedOut
        }));
    }

    fn finished(&mut self, done: Done) {
        let now = Now::read();
        match done {
            Done::Asked { how, sent, instead, result: Ok(granted), .. } => {
                tracing::debug!(?how, life = ?granted.life, "a token was granted");
                let token = self.state.granted(how, granted, sent, &now, instead);
                self.publish(Some(Arc::clone(&token)));
                self.share_grant(&token);
            }
            Done::Asked { how, secrets, result: Err(failure), .. } => {
                tracing::debug!(?how, ?failure, "no token was granted");
                self.state.failed(how, failure, secrets, &now);
                self.share_failure(&now);
            }
            Done::Looked(found) => self.state.looked(found),
            Done::LoggedOut => self.leaving.drain(..).for_each(|done| {
                let _gone = done.send(());
            }),
        }
    }

    /// A grant serves all that wait, however little of its life is left by the time it is here: where tokens live no longer
    /// than an answer takes, waiting for a fresher one would never end.
    fn share_grant(&mut self, token: &Arc<Token>) {
        for waiter in std::mem::take(&mut self.waiters) {
            let _gone = waiter.reply.send(Ok(Arc::clone(token)));
        }
    }

    /// One answer serves all that wait: those for whom it means a refusal get it now, before another request is thought of.
    fn share_failure(&mut self, now: &Now) {
        for waiter in std::mem::take(&mut self.waiters) {
            match self.state.step(waiter.need, now) {
                Step::Refuse(error) => {
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

impl Wish {
    fn add(&mut self, step: Step, need: Need) {
        let instead = matches!(need, Need::Instead(_));
        match (&mut *self, step) {
            (Self::Do(_, refused), _) => *refused |= instead,
            (Self::Nothing, Step::Wait(until)) => *self = Self::Sleep(until),
            (Self::Sleep(earliest), Step::Wait(until)) => *earliest = until.min(*earliest),
            (_, step) => *self = Self::Do(step, instead),
        }
    }
}

async fn running(job: &mut Option<Running>) -> Done {
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

async fn refresh(exchange: Arc<TokenEndpoint>, token: SecretString, instead: bool) -> Done {
    let sent = Now::read();
    let result = exchange.refresh(&token).await;
    Done::Asked { how: GrantType::Refresh, sent, instead, secrets: None, result }
}

async fn login(exchange: Arc<TokenEndpoint>, instead: bool) -> Done {
    let (secrets, result, sent) = match exchange.secrets().await {
        Ok(secrets) => {
            let sent = Now::read();
            (Some(secrets.fingerprint()), exchange.login(&secrets).await, sent)
        }
        Err(error) => (None, Err(Failure::Refused(format!("the login's secret can't be had: {error}"))), Now::read()),
    };
    Done::Asked { how: GrantType::Login, sent, instead, secrets, result }
}

async fn look(exchange: Arc<TokenEndpoint>) -> Done {
    Done::Looked(exchange.secrets().await.ok().map(|s| s.fingerprint()))
}
