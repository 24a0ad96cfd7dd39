//! A circuit breaker: while something that all files need is in trouble, no file is tried, and none is blamed.
//!
//! *Closed*: every file is tried. A failure opens the breaker. *Open*: files wait; after growing waits one file at a time gets a permit
//! that is a probe. A probe asks with a small request, if there is one, before a file is sent. Where that succeeds the breaker is
//! *half-open*: every file is tried, a success closes the breaker, and a failure opens it again, for longer than the time before.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::backoff;
use crate::measure;
use crate::observe::health::HealthCheck;
use crate::vault::{Kind, VaultError};

/// The breaker of one thing that files need: the service, a destination, the journal.
#[derive(Debug)]
pub(super) struct Breaker {
    /// What the log calls that thing.
    what: &'static str,
    /// How long trouble may last before files give up waiting; for ever where `None`.
    patience: Option<Duration>,
    /// Files that wait for a permit look again at each change.
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    circuit: Circuit,
    /// Permits that are held now.
    permits: usize,
}

#[derive(Debug, Default)]
enum Circuit {
    #[default]
    Closed,
    Open {
        trouble: Trouble,
        next_probe: Instant,
        /// A permit that is a probe is held now.
        is_probing: bool,
    },
    /// A small request succeeded. That alone does not close the breaker; a file's success does.
    HalfOpen(Trouble),
}

#[derive(Debug)]
struct Trouble {
    error: VaultError,
    since: Instant,
    /// Failures in a row.
    failures: u32,
}

/// What a request for a permit comes to.
enum Decision {
    Permitted {
        probe: bool,
    },
    /// Patience has ended, in this trouble.
    GivenUp(VaultError),
    /// The next look is at a change, and at this time at the latest.
    Wait(Option<Instant>),
}

/// Permission to try. Dropped without a word, it leaves the breaker as it was.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// A closed breaker for `what`, as the log is to call it.
    pub(super) fn new(what: &'static str, patience: Option<Duration>) -> Self {
        Self { what, patience, state: watch::Sender::default() }
    }

    /// Waits for a permit; an error once patience has ended.
    pub(super) async fn permit(&self) -> Result<Permit<'_>, VaultError> {
        let mut changes = self.state.subscribe();
        loop {
            // A change that comes after this look ends the wait below.
            changes.mark_unchanged();
            let mut decision = Decision::Wait(None);
            // Nobody else's wait ends because a permit is taken.
            self.state.send_if_modified(|state| {
                decision = state.decide(self.patience, Instant::now());
                false
            });
            match decision {
                Decision::Permitted { probe } => return Ok(Permit { breaker: self, is_probe: probe }),
                Decision::GivenUp(error) => return Err(error),
                Decision::Wait(Some(until)) => drop(timeout_at(until, changes.changed()).await),
                // The sender lives as long as this breaker.
                Decision::Wait(None) => drop(changes.changed().await),
            }
        }
    }

    /// The administrator says that the trouble was mended: the next probe is due at once.
    pub(super) fn retry_now(&self) {
        self.state.send_modify(|state| {
            if let Circuit::Open { next_probe, .. } = &mut state.circuit {
                *next_probe = Instant::now();
            }
        });
    }

    /// Logs a failure. A refused login waits for a person, for hours maybe: it is logged loudly, and once.
    fn log(&self, error: &VaultError, logged_before: bool, again_in: Duration) {
        let what = self.what;
        match error.kind {
            Kind::Login if logged_before => tracing::debug!(?again_in, "{what} still waits for the login: {error}"),
            Kind::Login => tracing::error!("UPLOADS ARE SUSPENDED, and every file stays where it is: {error}"),
            // This waits for a person too.
            Kind::Missing | Kind::Forbidden if logged_before => {
                tracing::debug!(?again_in, "{what} still waits: {error}");
            }
            Kind::Missing | Kind::Forbidden => {
                tracing::error!(
                    "{what} can't be used, so the files of this folder stay where they are; it is asked for again until it can: {error}"
                );
            }
            _ => tracing::warn!(?again_in, "{what} is in trouble, no file is tried: {error}"),
        }
    }
}

/// Reports trouble until a file succeeds, or until no file is left that could: a probe that succeeded proves little, and the
/// journal's probe asks nothing at all.
impl HealthCheck for Breaker {
    fn trouble(&self) -> Option<String> {
        Some(self.state.borrow().trouble()?.error.public_message().to_owned())
    }

    fn is_refused_login(&self) -> bool {
        self.state.borrow().trouble().is_some_and(|trouble| trouble.error.kind == Kind::Login)
    }
}

impl State {
    /// The trouble that holds up files now.
    fn trouble(&self) -> Option<&Trouble> {
        match &self.circuit {
            Circuit::Closed => None,
            Circuit::HalfOpen(_) if self.permits == 0 => None,
            Circuit::HalfOpen(trouble) | Circuit::Open { trouble, .. } => Some(trouble),
        }
    }

    /// Decides on a permit, and counts it.
    fn decide(&mut self, patience: Option<Duration>, now: Instant) -> Decision {
        let probe = match &mut self.circuit {
            Circuit::Closed | Circuit::HalfOpen(_) => false,
            // The probe may take its time, and succeed: no file gives up meanwhile.
            Circuit::Open { is_probing: true, .. } => return Decision::Wait(None),
            Circuit::Open { trouble, next_probe, is_probing } => {
                let end = patience.map(|patience| trouble.since + patience);
                if end.is_some_and(|end| end <= now) {
                    return Decision::GivenUp(trouble.error.clone());
                }
                if *next_probe > now {
                    return Decision::Wait(end.into_iter().chain([*next_probe]).min());
                }
                *is_probing = true;
                true
            }
        };
        self.permits += 1;
        Decision::Permitted { probe }
    }
}

impl Permit<'_> {
    /// Whether this is the one permit while the breaker is open: its holder asks with a small request before it sends a file.
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    /// The small request succeeded: every file may try again. The waits go on growing until one of them has succeeded too.
    pub(super) fn probed(mut self) -> Self {
        if std::mem::take(&mut self.is_probe) {
            self.breaker.state.send_modify(|state| {
                state.circuit = match std::mem::take(&mut state.circuit) {
                    Circuit::Open { trouble, .. } => Circuit::HalfOpen(trouble),
                    other => other,
                };
            });
        }
        self
    }

    /// The thing works.
    pub(super) fn success(mut self) {
        self.is_probe = false;
        self.breaker.state.send_if_modified(|state| match std::mem::take(&mut state.circuit) {
            Circuit::Closed => false,
            Circuit::Open { trouble, .. } | Circuit::HalfOpen(trouble) => {
                let lasted = trouble.since.elapsed();
                tracing::info!(lasted = measure::span(lasted), "{} works again", self.breaker.what);
                true
            }
        });
    }

    /// The thing does not work, for this reason.
    pub(super) fn failed(mut self, error: VaultError) {
        let now = Instant::now();
        self.breaker.state.send_if_modified(|state| {
            let (since, failures) = match &state.circuit {
                // Other files failed of the same trouble before: that is one failure, not many.
                Circuit::Open { .. } if !self.is_probe => return false,
                Circuit::Closed => (now, 1),
                Circuit::Open { trouble, .. } => (trouble.since, trouble.failures + 1),
                // A small request has succeeded since, so patience begins anew.
                Circuit::HalfOpen(trouble) => (now, trouble.failures + 1),
            };
            let wait = backoff::wait(failures, backoff::random(), error.retry_after);
            self.breaker.log(&error, state.circuit.has_error(&error.message), wait);
            let trouble = Trouble { error, since, failures };
            state.circuit = Circuit::Open { trouble, next_probe: now + wait, is_probing: false };
            true
        });
        self.is_probe = false;
    }
}

impl Circuit {
    fn has_error(&self, message: &str) -> bool {
        match self {
            Self::Closed => false,
            Self::Open { trouble, .. } | Self::HalfOpen(trouble) => trouble.error.message == message,
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.breaker.state.send_if_modified(|state| {
            state.permits -= 1;
            // The probe was cancelled: another file may take it.
            match &mut state.circuit {
                Circuit::Open { is_probing, .. } if self.is_probe => {
                    *is_probing = false;
                    true
                }
                _ => false,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn down() -> VaultError {
        VaultError::new(Kind::Unavailable, "down")
    }

    async fn tripped(patience: Option<Duration>) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::new("the service", patience));
        breaker.permit().await.unwrap().failed(down());
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_breaker_is_open_one_file_probes_and_all_others_wait() {
        let breaker = tripped(None).await;
        let before = Instant::now();
        let probe = breaker.permit().await.unwrap();
        assert!(probe.is_probe() && before.elapsed() >= Duration::from_millis(500));
        let other = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.map(|permit| permit.is_probe()) }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!other.is_finished());
        probe.success();
        assert!(!other.await.unwrap().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_breaker_reports_trouble_for_as_long_as_files_must_wait_for_it() {
        let breaker = Breaker::new("the service", None);
        assert_eq!(breaker.trouble(), None);
        breaker.permit().await.unwrap().failed(down());
        assert_eq!(breaker.trouble().as_deref(), Some(down().public_message()));
        let probe = breaker.permit().await.unwrap();
        assert!(breaker.trouble().is_some(), "all others wait still");
        let probed = probe.probed();
        assert!(breaker.trouble().is_some(), "only a small request has succeeded");
        probed.failed(down());
        assert!(breaker.trouble().is_some());
        // The permit's file is gone: it never says how it ended, and no file waits any more.
        drop(breaker.permit().await.unwrap().probed());
        assert_eq!(breaker.trouble(), None);
        breaker.permit().await.unwrap().failed(VaultError::new(Kind::Login, "refused"));
        assert!(breaker.trouble().unwrap().contains("suspended"));
        breaker.permit().await.unwrap().success();
        assert_eq!(breaker.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_with_each_failed_probe_and_not_with_each_file_that_failed_at_once() {
        let breaker = Breaker::new("the service", None);
        let permits =
            [breaker.permit().await.unwrap(), breaker.permit().await.unwrap(), breaker.permit().await.unwrap()];
        for permit in permits {
            permit.failed(down());
        }
        for least in [500, 1000, 2000, 4000] {
            let before = Instant::now();
            let probe = breaker.permit().await.unwrap();
            let waited = before.elapsed();
            assert!(
                waited >= Duration::from_millis(least) && waited <= Duration::from_millis(2 * least + 10),
                "{waited:?}"
            );
            probe.failed(down());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_retry_now_the_next_probe_comes_at_once() {
        let breaker = tripped(None).await;
        breaker.permit().await.unwrap().failed(VaultError { retry_after: Some(Duration::from_secs(600)), ..down() });
        let waiting = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.map(|permit| permit.is_probe()) }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        let before = Instant::now();
        breaker.retry_now();
        assert!(waiting.await.unwrap().unwrap());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_open_breaker_lets_all_try_and_a_failure_of_theirs_waits_longer() {
        let breaker = tripped(None).await;
        let probed = breaker.permit().await.unwrap().probed();
        let other = breaker.permit().await.unwrap();
        assert!(!probed.is_probe() && !other.is_probe());
        probed.failed(down());
        other.failed(down());
        let before = Instant::now();
        let probe = breaker.permit().await.unwrap();
        assert!(probe.is_probe() && before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
        probe.probed().success();
        breaker.permit().await.unwrap().failed(down());
        assert!(matches!(&breaker.state.borrow().circuit, Circuit::Open { trouble, .. } if trouble.failures == 1));
    }

    /// Regression: one probe that took longer than the patience made all other files give up.
    #[tokio::test(start_paused = true)]
    async fn no_file_gives_up_while_a_probe_is_in_flight() {
        let breaker = tripped(Some(Duration::from_secs(45))).await;
        let probe = breaker.permit().await.unwrap();
        let other = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        probe.success();
        assert!(other.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_cancelled_lets_the_next_file_probe() {
        let breaker = tripped(None).await;
        drop(breaker.permit().await.unwrap());
        assert!(breaker.permit().await.unwrap().is_probe());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_on_time_even_between_two_probes() {
        let breaker = tripped(Some(Duration::from_secs(45))).await;
        let before = Instant::now();
        let error = loop {
            match breaker.permit().await {
                Ok(probe) => probe.failed(down()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(before.elapsed().as_secs(), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_service_asks_for_is_kept() {
        let breaker = Breaker::new("the service", None);
        let error = VaultError { retry_after: Some(Duration::from_secs(100)), ..down() };
        breaker.permit().await.unwrap().failed(error);
        let before = Instant::now();
        breaker.permit().await.unwrap().success();
        assert!(before.elapsed() >= Duration::from_secs(100));
        assert!(!breaker.permit().await.unwrap().is_probe());
    }
}
