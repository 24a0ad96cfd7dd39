//! A circuit breaker: while something that all files need is in trouble, no file is tried, and none is blamed. One at a
//! time tries again, after growing waits.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::backoff;
use crate::observe::health::HealthCheck;
use crate::vault::{Kind, VaultError};

/// One thing that files need: the service, a destination, the journal.
#[derive(Debug)]
pub(super) struct Breaker {
    what: &'static str,
    /// How long trouble may last before whoever waits gives up; for ever where `None`.
    patience: Option<Duration>,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    trouble: Option<Trouble>,
    /// Passes given out and not yet given back.
    out: usize,
}

#[derive(Debug)]
struct Trouble {
    error: VaultError,
    since: Instant,
    failures: u32,
    next_try: Instant,
    /// Somebody tries just now.
    trial: bool,
    /// A small try went well: all may try, and only a success of theirs ends the trouble.
    recovering: bool,
}

/// Leave to try. Dropped without a word, it leaves the circuit as it was.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    /// The one that tries while there is trouble.
    trial: bool,
}

impl Breaker {
    /// A closed circuit for `what`, as the log is to call it.
    pub(super) fn new(what: &'static str, patience: Option<Duration>) -> Self {
        Self { what, patience, state: Mutex::default(), changed: Notify::new() }
    }

    /// Waits for leave to try; an error once patience has ended.
    pub(super) async fn permit(&self) -> Result<Permit<'_>, VaultError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registers before the look, so that no change in between is lost.
            changed.as_mut().enable();
            let wake = {
                let now = Instant::now();
                let mut state = self.state();
                match state.trouble.as_mut().filter(|trouble| !trouble.recovering) {
                    None => return Ok(self.give_out(&mut state, false)),
                    // It may take its time, and go well: nobody gives up meanwhile.
                    Some(trouble) if trouble.trial => None,
                    Some(trouble) => {
                        let end = self.patience.map(|patience| trouble.since + patience);
                        if end.is_some_and(|end| end <= now) {
                            return Err(trouble.error.clone());
                        }
                        if trouble.next_try <= now {
                            trouble.trial = true;
                            return Ok(self.give_out(&mut state, true));
                        }
                        end.into_iter().chain([trouble.next_try]).min()
                    }
                }
            };
            match wake {
                // Either is a reason to look again.
                Some(wake) => drop(timeout_at(wake, changed).await),
                None => changed.await,
            }
        }
    }

    fn give_out(&self, state: &mut State, trial: bool) -> Permit<'_> {
        state.out += 1;
        Permit { breaker: self, trial }
    }

    /// Somebody says that things have changed: the next try comes at once.
    pub(super) fn retry_now(&self) {
        if let Some(trouble) = self.state().trouble.as_mut() {
            trouble.next_try = Instant::now();
        }
        self.changed.notify_waiters();
    }

    /// A refused login waits for a person, for hours maybe: it is told loudly, and once.
    fn tell(&self, error: &VaultError, told_before: bool, again_in: Duration) {
        let what = self.what;
        match error.kind {
            Kind::Login if told_before => tracing::debug!(?again_in, "{what} still waits for the login: {error}"),
            Kind::Login => tracing::error!("UPLOADS ARE SUSPENDED, and every file stays where it is: {error}"),
            _ => tracing::warn!(?again_in, "{what} is in trouble, no file is tried: {error}"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Told by the state that decides who may try. A small try that went well proves little (the journal's trial is no try at
/// all): trouble is over with a success, or when nobody is left who could have one.
impl HealthCheck for Breaker {
    fn trouble(&self) -> Option<String> {
        let state = self.state();
        let trouble = state.trouble.as_ref().filter(|trouble| !trouble.recovering || state.out > 0)?;
        Some(trouble.error.public_message().to_owned())
    }
}

impl Permit<'_> {
    /// Whether this is the one try while there is trouble: look before you send much.
    pub(super) fn is_trial(&self) -> bool {
        self.trial
    }

    /// A small try went well: all may try again. The waits go on growing until one of them has gone well too.
    pub(super) fn probed(mut self) -> Self {
        if std::mem::take(&mut self.trial) {
            if let Some(trouble) = self.breaker.state().trouble.as_mut() {
                (trouble.trial, trouble.recovering) = (false, true);
            }
            self.breaker.changed.notify_waiters();
        }
        self
    }

    /// It works.
    pub(super) fn success(mut self) {
        self.trial = false;
        let ended = self.breaker.state().trouble.take();
        if let Some(trouble) = ended {
            let lasted = trouble.since.elapsed();
            tracing::info!(?lasted, "{} works again", self.breaker.what);
            self.breaker.changed.notify_waiters();
        }
    }

    /// It does not work, for this reason.
    pub(super) fn failed(mut self, error: VaultError) {
        let now = Instant::now();
        {
            let mut state = self.breaker.state();
            let failures = match &state.trouble {
                // Others failed of the same trouble before: that is one failure, not many.
                Some(trouble) if !self.trial && !trouble.recovering => return,
                Some(trouble) => trouble.failures + 1,
                None => 1,
            };
            // Where a small try has gone well since, this is another trouble as far as patience goes.
            let lasting = state.trouble.as_ref().filter(|trouble| !trouble.recovering);
            let since = lasting.map_or(now, |trouble| trouble.since);
            let wait = backoff::wait(failures, backoff::chance(), error.retry_after);
            let told_before = state.trouble.as_ref().is_some_and(|trouble| trouble.error.message == error.message);
            self.breaker.tell(&error, told_before, wait);
            state.trouble =
                Some(Trouble { error, since, failures, next_try: now + wait, trial: false, recovering: false });
        }
        self.trial = false;
        self.breaker.changed.notify_waiters();
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state();
        state.out -= 1;
        if !self.trial {
            return;
        }
        // Stopped in mid-trial: the next one tries.
        if let Some(trouble) = state.trouble.as_mut() {
            trouble.trial = false;
        }
        drop(state);
        self.breaker.changed.notify_waiters();
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
    async fn while_there_is_trouble_one_tries_and_all_others_wait() {
        let breaker = tripped(None).await;
        let before = Instant::now();
        let trial = breaker.permit().await.unwrap();
        assert!(trial.is_trial() && before.elapsed() >= Duration::from_millis(500));
        let other = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.map(|permit| permit.is_trial()) }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!other.is_finished());
        trial.success();
        assert!(!other.await.unwrap().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn it_tells_of_trouble_for_as_long_as_files_must_wait_for_it() {
        let breaker = Breaker::new("the service", None);
        assert_eq!(breaker.trouble(), None);
        breaker.permit().await.unwrap().failed(down());
        assert_eq!(breaker.trouble().as_deref(), Some(down().public_message()));
        let trial = breaker.permit().await.unwrap();
        assert!(breaker.trouble().is_some(), "all others wait still");
        let probed = trial.probed();
        assert!(breaker.trouble().is_some(), "nothing went well yet but a small try");
        probed.failed(down());
        assert!(breaker.trouble().is_some());
        // A file that is gone meanwhile never says how it ended, and nobody waits any more.
        drop(breaker.permit().await.unwrap().probed());
        assert_eq!(breaker.trouble(), None);
        breaker.permit().await.unwrap().failed(VaultError::new(Kind::Login, "refused"));
        assert!(breaker.trouble().unwrap().contains("suspended"));
        breaker.permit().await.unwrap().success();
        assert_eq!(breaker.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_with_each_failed_trial_and_not_with_each_file_that_failed_at_once() {
        let breaker = Breaker::new("the service", None);
        let permits =
            [breaker.permit().await.unwrap(), breaker.permit().await.unwrap(), breaker.permit().await.unwrap()];
        for permit in permits {
            permit.failed(down());
        }
        for least in [500, 1000, 2000, 4000] {
            let before = Instant::now();
            let trial = breaker.permit().await.unwrap();
            let waited = before.elapsed();
            assert!(
                waited >= Duration::from_millis(least) && waited <= Duration::from_millis(2 * least + 10),
                "{waited:?}"
            );
            trial.failed(down());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_hurried_tries_at_once() {
        let breaker = tripped(None).await;
        breaker.permit().await.unwrap().failed(VaultError { retry_after: Some(Duration::from_secs(600)), ..down() });
        let waiting = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.map(|permit| permit.is_trial()) }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        let before = Instant::now();
        breaker.retry_now();
        assert!(waiting.await.unwrap().unwrap());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_small_try_that_went_well_all_may_try_and_a_failure_of_theirs_waits_longer() {
        let breaker = tripped(None).await;
        let probed = breaker.permit().await.unwrap().probed();
        let other = breaker.permit().await.unwrap();
        assert!(!probed.is_trial() && !other.is_trial());
        probed.failed(down());
        other.failed(down());
        let before = Instant::now();
        let trial = breaker.permit().await.unwrap();
        assert!(trial.is_trial() && before.elapsed() >= Duration::from_secs(1), "{:?}", before.elapsed());
        trial.probed().success();
        breaker.permit().await.unwrap().failed(down());
        assert_eq!(breaker.state().trouble.as_ref().unwrap().failures, 1);
    }

    /// One trial that took longer than the patience made all others give up.
    #[tokio::test(start_paused = true)]
    async fn nobody_gives_up_while_a_trial_is_under_way() {
        let breaker = tripped(Some(Duration::from_secs(45))).await;
        let trial = breaker.permit().await.unwrap();
        let other = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.permit().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_secs(100)).await;
        trial.success();
        assert!(other.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_is_dropped_lets_the_next_one_try() {
        let breaker = tripped(None).await;
        drop(breaker.permit().await.unwrap());
        assert!(breaker.permit().await.unwrap().is_trial());
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends_on_time_even_between_two_tries() {
        let breaker = tripped(Some(Duration::from_secs(45))).await;
        let before = Instant::now();
        let error = loop {
            match breaker.permit().await {
                Ok(trial) => trial.failed(down()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, Kind::Unavailable);
        assert_eq!(before.elapsed().as_secs(), 45);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_the_service_asked_for_is_kept() {
        let breaker = Breaker::new("the service", None);
        let error = VaultError { retry_after: Some(Duration::from_secs(100)), ..down() };
        breaker.permit().await.unwrap().failed(error);
        let before = Instant::now();
        breaker.permit().await.unwrap().success();
        assert!(before.elapsed() >= Duration::from_secs(100));
        assert!(!breaker.permit().await.unwrap().is_trial());
    }
}
