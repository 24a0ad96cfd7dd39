//! Puts watching, pipeline and journal together for the folders of `watch`; starts them and stops them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::anchors;
use crate::config::Policy;
use crate::exit::{Exit, Fatal};
use crate::file::{Root, Settled};
use crate::health::{Health, Note, Part};
use crate::metrics::Folder;
use crate::pipeline::{Local, Outcome, Pipeline, Report, Shared};
use crate::recovery;
use crate::remove;
use crate::retention;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{RemotePath, Vault, VaultError};
use crate::watch::settle::Rules;
use crate::watch::{self, Done, Names, Next};

/// A folder that is ours to watch, with what happens to its files.
#[derive(Debug)]
pub struct Watched {
    /// Open and locked.
    pub root: Arc<Root>,
    /// What happens to its files.
    pub policy: Policy,
    /// Where they go.
    pub dest: RemotePath,
    /// What is counted of them.
    pub counts: Folder,
}

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct Mode {
    /// End when all that was there is done; then a service that is not there is not waited for without end.
    pub once: bool,
    /// How long files under way may take after a stop signal.
    pub grace: Duration,
    /// How long receipts are kept; for ever where `None`.
    pub keep_receipts: Option<Duration>,
    /// The folder in the vault for anchors of the receipts; none go there where `None`.
    pub anchor: Option<RemotePath>,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Tally {
    /// Files that the store has now.
    pub stored: u64,
    /// Files that failed, or could not be read, or wait for somebody.
    pub failed: u64,
    /// Files left for later, by a stop or for want of a service.
    pub left: u64,
    /// What ended the run before all was done.
    pub stopped: Option<VaultError>,
}

/// In `--once`, a file that is open for writing and unchanged for so long is left for the next run.
const ONCE_PATIENCE: Duration = Duration::from_secs(10);
/// Settled files that may wait for an upload; the folder itself is the real queue.
const QUEUE: usize = 256;

/// Runs until told to stop or, with `once`, until all that was there is done. `tell` is told of each file; `health` learns
/// whom to ask what holds them up.
pub async fn run<V: Vault>(
    shared: Arc<Shared<V>>,
    folders: Vec<Watched>,
    mode: Mode,
    tell: impl Fn(&Report) + Clone + Send + Sync + 'static,
    health: &Health,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    // Ends with this run.
    let mut beside = JoinSet::new();
    if let Some(keep) = mode.keep_receipts.filter(|_| !mode.once) {
        beside.spawn(retention::prune_daily(shared.journal().clone(), keep));
    }
    if !mode.once {
        beside.spawn(anchors::hourly(Arc::clone(shared.vault()), shared.journal().clone(), mode.anchor.clone()));
    }
    // Before any starts: what stops one from starting must not cut the uploads of the others.
    for folder in &folders {
        recovery::resolve(shared.journal(), &folder.root).await?;
    }
    for (part, circuit) in shared.circuits() {
        health.add(part, circuit);
    }
    let mut running = JoinSet::new();
    for folder in folders {
        running.spawn(run_folder(
            Arc::clone(&shared),
            folder,
            mode.clone(),
            tell.clone(),
            health.clone(),
            shutdown.clone(),
        ));
    }
    let mut tally = Tally::default();
    while let Some(ended) = running.join_next().await {
        tally.add(ended.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??);
    }
    if let Some(keep) = mode.keep_receipts.filter(|_| mode.once) {
        retention::prune(shared.journal(), keep).await;
    }
    drop(beside);
    let mut shutdown = shutdown;
    // A service that could not be used for the files can't be used for this.
    if tally.stopped.is_none() {
        tokio::select! {
            () = anchors::at_stop(&**shared.vault(), shared.journal(), mode.anchor.as_ref(), mode.once) => {}
            () = shutdown.reached(Stop::Now) => {}
        }
    }
    Ok(tally)
}

async fn run_folder<V: Vault>(
    shared: Arc<Shared<V>>,
    folder: Watched,
    mode: Mode,
    tell: impl Fn(&Report),
    health: Health,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let Watched { root, policy, dest, counts } = folder;
    let name = root.path().display().to_string();
    let gone = Note::default();
    let options = watch_options(&policy, mode.once, counts.clone(), gone.clone())?;
    let (ready, queue) = mpsc::channel::<Settled>(QUEUE);
    let (done_sender, done) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let pipeline = Pipeline::new(shared, policy, dest, false, reports, counts.clone());
    health.add(Part::Destination(name.clone()), pipeline.destination());
    health.add(Part::Folder(name), Arc::new(gone));

    let watching = watch::run(Arc::clone(&root), options, ready, done, shutdown.clone());
    let uploading = pipeline.run(queue, mode.grace, shutdown);
    let mut tally = Tally::default();
    let counted = &mut tally;
    // Ends with the last report, and `done` with it: a file that was cut brings none.
    let reporting = async move {
        while let Some(report) = reported.recv().await {
            counted.count(&report.outcome);
            count(&counts, &report.outcome);
            if mode.once && matches!(report.outcome, Outcome::Skipped { failed: true }) {
                // A cron job that goes quiet at its second run would hide what the first one could not do.
                counted.failed += 1;
                tracing::warn!(file = %report.file.origin.display(), "has failed before and is unchanged: see history --failed");
            }
            tell(&report);
            // The watch may have stopped already.
            done_sender.send(done_of(report)).ok();
        }
    };
    // They end one after the other: no more files, no more uploads, no more reports.
    let (watched, stopped, ()) = tokio::join!(watching, uploading, reporting);
    remove::tidy(&root);
    tally.failed += watched.unreadable + watched.still_open;
    tally.left += watched.cut;
    tally.stopped = stopped;
    Ok(tally)
}

/// What became of a file, for those who look from outside.
fn count(counts: &Folder, outcome: &Outcome) {
    match outcome {
        Outcome::Stored { stored, .. } => counts.stored(stored.size),
        Outcome::Failed { .. } => drop(counts.failed.inc()),
        Outcome::Waits { .. } => drop(counts.waits.inc()),
        Outcome::Again { .. } => drop(counts.again.inc()),
        Outcome::Skipped { .. } => drop(counts.skipped.inc()),
        Outcome::Gone => drop(counts.gone.inc()),
        Outcome::Left => drop(counts.left.inc()),
    }
}

fn watch_options(policy: &Policy, once: bool, counts: Folder, gone: Note) -> Result<watch::Options, Fatal> {
    let names = Names::new(&policy.ignore)
        .map_err(|error| Fatal::new(Exit::Usage, format!("a pattern of names to ignore can't be used: {error}")))?;
    let rules = Rules::new(policy.settle);
    let rules = if once { rules.with_patience(ONCE_PATIENCE) } else { rules };
    Ok(watch::Options { names: Arc::new(names), rules, rescan: policy.rescan, once, counts, gone })
}

fn done_of(report: Report) -> Done {
    let next = match report.outcome {
        Outcome::Stored { local: Local::Removed | Local::Moved(_), .. } => Next::Stored,
        Outcome::Failed { moved: Some(_), .. } | Outcome::Gone => Next::Gone,
        Outcome::Stored { local: Local::Kept, .. }
        | Outcome::Failed { moved: None, .. }
        | Outcome::Waits { .. }
        | Outcome::Skipped { .. }
        | Outcome::Left => Next::Lies { put_back: report.put_back, aside: report.aside },
        Outcome::Again { reason, place } => {
            tracing::info!(file = %report.file.origin.display(), "to be uploaded again: {reason}");
            Next::Again(place)
        }
    };
    Done { relative: report.file.relative, next }
}

impl Tally {
    /// Counts what became of a file.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Stored { .. } => self.stored += 1,
            Outcome::Failed { .. } | Outcome::Waits { .. } => self.failed += 1,
            Outcome::Left => self.left += 1,
            Outcome::Again { .. } | Outcome::Skipped { .. } | Outcome::Gone => {}
        }
    }

    /// Adds what another folder came to.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.failed += other.failed;
        self.left += other.left;
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_not_done_shows_in_the_count() {
        let mut tally = Tally::default();
        let reason = String::new;
        for outcome in [Outcome::Failed { reason: reason(), moved: None }, Outcome::Waits { reason: reason() }] {
            tally.count(&outcome);
        }
        tally.count(&Outcome::Left);
        tally.add(Tally { stored: 1, failed: 10, left: 10, stopped: None });
        assert_eq!((tally.stored, tally.failed, tally.left), (1, 12, 11));
    }
}
