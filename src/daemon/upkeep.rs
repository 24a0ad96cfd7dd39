//! What a run does beside the uploads: it prunes the journal, anchors it outside this machine, and notices a stall.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Run, Settings, Tally};
use crate::anchors;
use crate::budget;
use crate::retention;
use crate::shutdown::Stop;
use crate::vault::Vault;

/// The tasks of the upkeep. They end when this is dropped.
pub(super) struct Upkeep {
    /// The tasks that no setting changes; never looked at, but for their end.
    tasks: JoinSet<()>,
    /// The tasks that go by the settings.
    by_settings: JoinSet<()>,
    settings: Settings,
}

impl Upkeep {
    /// Starts the tasks. With `--once` only stalls are looked for, because such a run does the rest at its end.
    pub(super) fn start<V: Vault, F>(run: &Run<V, F>, settings: Settings) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(run.stall_detector.clone().watch());
        if !run.once {
            tasks.spawn(retention::forget_failures_daily(run.shared.journal().clone()));
        }
        let mut upkeep = Self { tasks, by_settings: JoinSet::new(), settings };
        upkeep.start_by_settings(run);
        upkeep
    }

    fn start_by_settings<V: Vault, F>(&mut self, run: &Run<V, F>) {
        let (journal, Settings { keep_receipts, anchor, .. }) = (run.shared.journal(), &self.settings);
        if run.once {
            return;
        }
        if let Some(keep) = *keep_receipts {
            self.by_settings.spawn(retention::prune_daily(journal.clone(), keep));
        }
        let vault = Arc::clone(run.shared.vault());
        self.by_settings.spawn(anchors::hourly(vault, journal.clone(), anchor.clone()));
    }

    /// Goes by other settings from now on.
    pub(super) fn change<V: Vault, F>(&mut self, run: &Run<V, F>, settings: Settings) {
        let Settings { keep_receipts, anchor, grace: _ } = &settings;
        let is_same = (keep_receipts, anchor) == (&self.settings.keep_receipts, &self.settings.anchor);
        self.settings = settings;
        if !is_same {
            // An anchor or a deletion that is cut off here is done by the next turn: both are one step in the journal.
            self.by_settings = JoinSet::new();
            self.start_by_settings(run);
        }
    }

    /// Ends the tasks, after all folders have ended, and does what is done at the end of a run.
    pub(super) async fn finish<V: Vault, F>(self, run: &Run<V, F>, tally: &Tally) {
        let (journal, settings) = (run.shared.journal(), self.settings);
        let mut shutdown = run.shutdown.clone();
        if run.once {
            // This asks the file systems of the folders, which may not answer. It has a limit, because the next run does it too.
            tokio::select! {
                biased;
                () = shutdown.reached(Stop::Gently) => {}
                _ = timeout(budget::TIDY, retention::forget_failures(journal)) => {}
            }
            if let Some(keep) = settings.keep_receipts {
                retention::prune(journal, keep).await;
            }
        }
        drop((self.tasks, self.by_settings));
        // A service that could not be used for the files can't be used for an anchor either.
        if tally.stopped.is_none() {
            tokio::select! {
                () = anchors::at_stop(&**run.shared.vault(), journal, settings.anchor.as_ref(), run.once) => {}
                () = shutdown.reached(Stop::Now) => {}
            }
        }
    }
}
