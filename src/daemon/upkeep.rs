//! What a run does beside the uploads: it prunes the journal, anchors it outside this machine, and notices a stall.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Run, Tally};
use crate::anchors;
use crate::budget;
use crate::retention;
use crate::shutdown::Stop;
use crate::vault::Vault;

/// The tasks of the upkeep. They end when this is dropped.
pub(super) struct Upkeep(JoinSet<()>);

/// Starts the tasks. With `--once` only stalls are looked for, because such a run does the rest at its end.
pub(super) fn start<V: Vault, F>(run: &Run<V, F>) -> Upkeep {
    let mut tasks = JoinSet::new();
    tasks.spawn(run.stall_detector.clone().watch());
    if !run.mode.once {
        let journal = run.shared.journal();
        tasks.spawn(retention::forget_failures_daily(journal.clone()));
        if let Some(keep) = run.mode.keep_receipts {
            tasks.spawn(retention::prune_daily(journal.clone(), keep));
        }
        tasks.spawn(anchors::hourly(Arc::clone(run.shared.vault()), journal.clone(), run.mode.anchor.clone()));
    }
    Upkeep(tasks)
}

impl Upkeep {
    /// Ends the tasks, after all folders have ended, and does what is done at the end of a run.
    pub(super) async fn finish<V: Vault, F>(self, run: &Run<V, F>, tally: &Tally) {
        let (journal, mode) = (run.shared.journal(), &run.mode);
        let mut shutdown = run.shutdown.clone();
        if mode.once {
            // This asks the file systems of the folders, which may not answer. It has a limit, because the next run does it too.
            tokio::select! {
                biased;
                () = shutdown.reached(Stop::Gently) => {}
                _ = timeout(budget::TIDY, retention::forget_failures(journal)) => {}
            }
            if let Some(keep) = mode.keep_receipts {
                retention::prune(journal, keep).await;
            }
        }
        let Self(tasks) = self;
        drop(tasks);
        // A service that could not be used for the files can't be used for an anchor either.
        if tally.stopped.is_none() {
            tokio::select! {
                () = anchors::at_stop(&**run.shared.vault(), journal, mode.anchor.as_ref(), mode.once) => {}
                () = shutdown.reached(Stop::Now) => {}
            }
        }
    }
}
