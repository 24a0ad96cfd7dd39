//! Work that may never end, because a file system does not answer: it runs on a thread of its own, and nobody waits for it longer than
//! they want to.
//!
//! The threads of the runtime for blocking work are no place for that. They are limited, and uploads need them: were each question for
//! the status to leave one behind, in a share that hangs, the uploads of all other folders would stop in the end.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The result of some work, made anew where it is old. There is one thread at most.
#[derive(Debug)]
pub(super) struct Latest<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

#[derive(Debug)]
struct State<T> {
    newest: Option<(Instant, Arc<T>)>,
    begun: Option<(Instant, SystemTime)>,
}

/// What is known now.
#[derive(Debug)]
pub(super) struct Known<T> {
    /// The newest result; `None` as long as the work has never ended.
    pub(super) newest: Option<Arc<T>>,
    /// Whether the result is as new as was asked for.
    pub(super) is_fresh: bool,
    /// Since when the work has not come to its end, where that is longer than it may take.
    pub(super) hangs_since: Option<SystemTime>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        let state = Mutex::new(State { newest: None, begun: None });
        Self(Arc::new(Shared { state, ended: Condvar::new() }))
    }
}

impl<T> Clone for Latest<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Latest<T> {
    /// When the newest result was made.
    pub(super) fn made(&self) -> Option<Instant> {
        self.0.state().newest.as_ref().map(|(made, _)| *made)
    }

    /// Returns a result that is at most `fresh` old, or the newest that there is at `until`. Work that has taken `patience` already is
    /// not waited for. Blocks until then.
    pub(super) fn get(
        &self,
        fresh: Duration,
        (until, patience): (Instant, Duration),
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Known<T> {
        let oldest = Instant::now().checked_sub(fresh);
        let mut state = self.0.state();
        if !state.is_fresh(oldest) && state.begun.is_none() {
            state.begun = Some((Instant::now(), SystemTime::now()));
            let end = End(Arc::clone(&self.0));
            let run = move || end.with(work());
            // Where no thread can be had, the closure is dropped, and with it the mark that work is under way.
            drop(state);
            if let Err(error) = thread::Builder::new().name("look".to_owned()).spawn(run) {
                tracing::debug!("no thread for a look at a folder: {error}");
            }
            state = self.0.state();
        }
        while let Some((begun, _)) = state.begun.filter(|_| !state.is_fresh(oldest)) {
            let left = until.min(begun + patience).saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.0.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Known {
            is_fresh: state.is_fresh(oldest),
            newest: state.newest.as_ref().map(|(_, newest)| Arc::clone(newest)),
            hangs_since: state.begun.filter(|(begun, _)| begun.elapsed() >= patience).map(|(_, at)| at),
        }
    }
}

impl<T> State<T> {
    fn is_fresh(&self, oldest: Option<Instant>) -> bool {
        self.newest.as_ref().is_some_and(|(made, _)| oldest.is_none_or(|oldest| *made >= oldest))
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the work, also where it panics or is never begun.
struct End<T>(Arc<Shared<T>>);

impl<T> End<T> {
    fn with(self, result: T) {
        let mut state = self.0.state();
        state.newest = Some((Instant::now(), Arc::new(result)));
    }
}

impl<T> Drop for End<T> {
    fn drop(&mut self) {
        self.0.state().begun = None;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn until(wait: Duration) -> (Instant, Duration) {
        (Instant::now() + wait, wait)
    }

    #[test]
    fn a_fresh_result_is_used_again_and_an_old_one_is_made_anew() {
        let latest = Latest::default();
        let ask = |fresh, result| latest.get(fresh, until(LONG), move || result).newest.map(|it| *it);
        assert_eq!(ask(LONG, 1), Some(1));
        assert_eq!(ask(LONG, 2), Some(1));
        assert_eq!(ask(Duration::ZERO, 3), Some(3));
    }

    #[test]
    fn work_that_never_ends_holds_up_one_thread_however_often_it_is_asked_for() {
        let latest = Latest::default();
        assert!(latest.get(LONG, until(LONG), || 7).is_fresh);
        let ((release, hangs), (starts, started)) = (mpsc::channel::<()>(), mpsc::channel());
        let mut hangs = Some(hangs);
        for _ in 0..100 {
            let (starts, hangs) = (starts.clone(), hangs.take());
            let until = (Instant::now() + Duration::from_millis(2), Duration::from_millis(1));
            let known = latest.get(Duration::ZERO, until, move || {
                starts.send(()).unwrap();
                hangs.map(|hangs| hangs.recv());
                8
            });
            assert_eq!((known.newest.as_deref(), known.is_fresh), (Some(&7), false));
            assert!(known.hangs_since.is_some());
        }
        started.recv().unwrap();
        assert!(started.try_recv().is_err(), "the work was started twice");
        drop(release);
        let known = latest.get(Duration::ZERO, until(LONG), || 9);
        assert!(matches!(known.newest.as_deref(), Some(8 | 9)) && known.hangs_since.is_none(), "{known:?}");
    }

    #[test]
    fn work_that_panics_is_begun_again() {
        let latest = Latest::default();
        let known = latest.get(LONG, until(LONG), || panic!("a fault, for the test"));
        assert!(known.newest.is_none() && known.hangs_since.is_none());
        assert_eq!(latest.get(LONG, until(LONG), || 1).newest.as_deref(), Some(&1));
    }
}
