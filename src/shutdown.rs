//! The two stop signals: the first asks, the second insists; and the one that asks to look again.

use std::io::IsTerminal;

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

/// Raises the stop signal; clones raise the same one.
#[derive(Debug, Clone)]
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

/// The number of SIGXFSZ, which is the same on Linux, macOS and the BSDs.
#[cfg(unix)]
const SIGXFSZ: i32 = 25;

/// Raises the trigger for each SIGINT or SIGTERM from now on.
#[cfg(unix)]
pub fn on_signals(trigger: Trigger) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // Their default is to end the program: no stop that anybody asked for in words. (SIGXFSZ, 25, comes when a limit on the size of
    // files is reached; without it the write fails, which is told like a full disk.)
    for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::from_raw(SIGXFSZ)] {
        // A signal that was once taken stays so, though nobody waits for it.
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

/// Tells of each SIGHUP that asks for a reload.
#[derive(Debug)]
pub struct Reloads(watch::Receiver<u64>);

impl Reloads {
    /// Of none, ever; SIGHUP ends the process, as it does by default.
    pub fn never() -> Self {
        Self(watch::channel(0).1)
    }

    /// Resolves at the next one; several that came meanwhile are one.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Takes SIGHUP from now on: a request to reload, unless it tells that the terminal is gone that we were started from;
/// then nobody would see what goes on any more, and it raises the trigger.
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
