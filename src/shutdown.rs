//! The two stop signals: the first asks, the second insists.

use tokio::sync::watch;

/// How much the user wants us to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Not at all.
    No,
    /// No new files; those under way may end.
    Gently,
    /// Now.
    Now,
}

/// A view of the stop signal; clones see the same one.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Stop>);

/// Raises the stop signal.
#[derive(Debug)]
pub struct Trigger(watch::Sender<Stop>);

/// A stop signal that nobody has raised yet.
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(Stop::No);
    (Trigger(sender), Shutdown(receiver))
}

impl Trigger {
    /// Raises the signal one step: from nothing to gently, from gently to now.
    pub fn raise(&self) {
        self.0.send_modify(|stop| *stop = if *stop == Stop::No { Stop::Gently } else { Stop::Now });
    }
}

impl Shutdown {
    /// What is asked for now.
    pub fn asked(&self) -> Stop {
        *self.0.borrow()
    }

    /// Resolves when a stop of at least this strength is asked for; never, where the trigger is gone without one.
    pub async fn reached(&mut self, at_least: Stop) {
        if self.0.wait_for(|stop| *stop >= at_least).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Raises the trigger for each SIGINT or SIGTERM from now on.
#[cfg(unix)]
pub fn on_signals(trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
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
