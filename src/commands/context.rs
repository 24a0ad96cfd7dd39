//! What every command gets: the configuration, the global flags, and the signal to stop.

use std::sync::Arc;

use super::journals;
use super::session::{Memory, Session};
use super::totals::Totals;
use crate::astran::Client;
use crate::cli::{Global, Progress};
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::file::lease::LeaseBreaks;
use crate::file::lock::Locks;
use crate::journal::Journal;
use crate::progress::{Shown, When};
use crate::shutdown::{Shutdown, Stop};

/// What every command gets.
pub(super) struct Context {
    pub(super) config: Config,
    pub(super) global: Global,
    pub(super) shutdown: Shutdown,
    /// Where the command puts its counts.
    pub(super) totals: Totals,
}

/// What an upload needs on this machine.
pub(super) struct Local {
    pub(super) journal: Journal,
    pub(super) locks: Arc<Locks>,
    pub(super) breaks: LeaseBreaks,
}

impl Global {
    /// What is shown of the run while it lasts.
    pub(super) fn shown(&self) -> Shown {
        let when = match self.progress {
            Progress::Auto => When::Auto,
            Progress::Always => When::Always,
            Progress::Never => When::Never,
        };
        Shown::here(when, self.quiet)
    }
}

impl Context {
    /// Logs in, asks the service something, and ends the session. A signal ends this at once.
    pub(super) async fn ask(self, question: impl AsyncFnOnce(&Client) -> Result<Exit, Fatal>) -> Result<Exit, Fatal> {
        let Self { config, global, mut shutdown, .. } = self;
        let session = Session::open(config, &global, Memory::OfCommand).await?;
        let ended = tokio::select! {
            ended = question(&session.client) => ended,
            () = shutdown.reached(Stop::Gently) => Ok(Exit::Interrupted),
        };
        session.close().await;
        ended
    }

    /// Opens what an upload needs on this machine.
    pub(super) async fn open_local(&self) -> Result<Local, Fatal> {
        let config = &self.config;
        let breaks = LeaseBreaks::install()
            .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
        if !self.global.sandbox() {
            // Each receipt names the user, so the login must be complete before the journal is opened.
            config.login()?;
        }
        // The journal makes the state folder, and checks who owns it, so it is opened before the locks.
        let journal = journals::open(config, &self.global).await?;
        let locks = Locks::open(&config.state_dir).map_err(|error| {
            let state = config.state_dir.display();
            Fatal::new(Exit::SomeFailed, format!("the locks in the state directory {state} can't be used: {error}"))
        })?;
        Ok(Local { journal, locks, breaks })
    }
}
