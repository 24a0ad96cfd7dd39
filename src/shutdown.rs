//! The signals of a user: the first stop signal asks to end soon, the second one to end now, and SIGHUP asks to reload.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// How soon the program is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// No stop is requested.
    No,
    /// No new file is begun; files under way take as long as they need. This is for a folder that leaves a daemon which goes on.
    Leave,
    /// No new file is begun; files under way may end.
    Gently,
    /// Files under way are cut.
    Now,
}

/// The stop signal as its listeners see it. Clones see the same signal.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Stop>);

/// Raises the stop signal. Clones raise the same signal.
#[derive(Debug, Clone)]
pub struct Trigger(watch::Sender<Stop>);

/// A stop signal that has not been raised.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Stop::No);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Raises the signal one step: from [`Stop::No`] to [`Stop::Gently`], from there to [`Stop::Now`].
    pub fn raise(&self) {
        self.0.send_modify(|stop| *stop = if *stop < Stop::Gently { Stop::Gently } else { Stop::Now });
    }

    /// Raises the signal to this strength at least.
    pub(crate) fn raise_to(&self, at_least: Stop) {
        self.0.send_modify(|stop| *stop = at_least.max(*stop));
    }
}

impl Shutdown {
    /// A signal for one part of the program, and its trigger: it is raised by its own trigger, and whenever this signal is raised.
    pub(crate) fn branch(&self) -> (Trigger, Self) {
        let (mut from, (to, receiver)) = (self.0.clone(), watch::channel(self.requested()));
        let trigger = Trigger(to.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = to.closed() => return,
                    changed = from.changed() => match changed {
                        Ok(()) => Trigger(to.clone()).raise_to(*from.borrow_and_update()),
                        Err(_) => return,
                    }
                }
            }
        });
        (trigger, Self(receiver))
    }

    /// The stop that is requested now.
    pub fn requested(&self) -> Stop {
        *self.0.borrow()
    }

    /// Resolves when a stop of at least this strength is requested; never, where all triggers are dropped before that.
    pub async fn reached(&mut self, at_least: Stop) {
        if self.0.wait_for(|stop| *stop >= at_least).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How long uploads under way may take after a stop signal. It may be set until then. Clones share it.
#[derive(Debug, Clone)]
pub struct Grace(Arc<AtomicU64>);

impl From<Duration> for Grace {
    fn from(grace: Duration) -> Self {
        let shared = Self(Arc::default());
        shared.set(grace);
        shared
    }
}

impl Grace {
    pub(crate) fn set(&self, grace: Duration) {
        self.0.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The number of SIGXFSZ, which is the same on Linux, macOS and the BSDs.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// Raises the trigger for each SIGINT or SIGTERM from now on.
#[cfg(unix)]
pub fn on_signals(trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // By default these signals end the program, though they are no request to stop. (SIGXFSZ comes when a limit on the size of files is
    // reached. Where it is ignored the write fails instead, which is reported like a full disk.)
    for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::from_raw(SIGXFSZ)] {
        // A signal that tokio has once handled never has its default effect again, even where nobody waits for it.
        drop(signal(ignored)?);
    }
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            trigger.raise();
        }
    });
    Ok(())
}

/// The requests to reload, by SIGHUP.
#[derive(Debug)]
pub struct Reloads(watch::Receiver<u64>);

impl Reloads {
    /// Never resolves. SIGHUP keeps its default effect: it ends the process.
    pub fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Resolves at the next request. Several that came meanwhile are one.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Handles each SIGHUP from now on as a request to reload. Where standard error was a terminal and that terminal is gone, SIGHUP raises
/// the trigger instead, because nobody could see any more what the program does.
#[cfg(unix)]
pub fn on_hangup(trigger: Trigger) -> std::io::Result<Reloads> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(0);
    let on_terminal = std::io::stderr().is_terminal();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if on_terminal && !std::io::stderr().is_terminal() {
                trigger.raise();
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
    });
    Ok(Reloads(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_branch_is_raised_alone_or_with_the_whole() {
        let (whole, shutdown) = channel();
        let (trigger, mut branch) = shutdown.branch();
        trigger.raise_to(Stop::Leave);
        branch.reached(Stop::Leave).await;
        assert_eq!((branch.requested(), shutdown.requested()), (Stop::Leave, Stop::No));
        whole.raise();
        branch.reached(Stop::Gently).await;
        trigger.raise_to(Stop::Leave);
        assert_eq!(branch.requested(), Stop::Gently, "no signal is taken back");
        let (_, mut late) = shutdown.branch();
        late.reached(Stop::Gently).await;
        whole.raise();
        branch.reached(Stop::Now).await;
    }
}
