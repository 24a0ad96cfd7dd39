//! The people who are told of a run, as `[notify]` says; nobody where it says nothing.

use super::context::Context;
use super::journals;
use crate::cli::Global;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::journal::Journal;
use crate::notifier::{FileReports, Notifier};
use crate::observe::health::Health;

/// The people who are told of a run.
pub(super) struct Notified(Option<(Notifier, Config, Global)>);

impl Notified {
    pub(super) async fn start(context: &Context, health: &Health, once: bool) -> Result<Self, Fatal> {
        let started = Notifier::start(&context.config, health, once).await;
        let notifier = started.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        Ok(Self(notifier.map(|notifier| (notifier, context.config.clone(), context.global.clone()))))
    }

    pub(super) fn use_journal(&self, journal: &Journal) {
        if let Some((notifier, ..)) = &self.0 {
            notifier.use_journal(journal.clone());
        }
    }

    /// What takes note of the files, if anybody is told.
    pub(super) fn files(&self) -> Option<FileReports> {
        self.0.as_ref().map(|(notifier, ..)| notifier.files())
    }

    /// Tells how the run ended.
    pub(super) async fn end(self, ended: &Result<Exit, Fatal>) {
        let Some((notifier, config, global)) = self.0 else { return };
        if ended.is_err() && !config.state_dir.exists() {
            // What is told is kept in the state directory, which the journal makes. Without it, each cron job of a run that fails before
            // that would tell the same. Where the journal can't be made, that is told, and nothing is kept.
            journals::open(&config, &global).await.ok();
        }
        notifier.end(ended).await;
    }
}
