//! Puts watching, pipeline and journal together for the folders of `watch`; starts them and stops them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Policy;
use crate::exit::{Exit, Fatal};
use crate::failpoint::failpoint;
use crate::file::{OpenError, Root, Settled};
use crate::journal::{End, Entry, Journal, JournalError, State};
use crate::pipeline::{Local, Outcome, Pipeline, Report, Shared};
use crate::remove;
use crate::retention;
use crate::shutdown::Shutdown;
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
}

/// How the daemon runs.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    /// End when all that was there is done; then a service that is not there is not waited for without end.
    pub once: bool,
    /// How long files under way may take after a stop signal.
    pub grace: Duration,
    /// How long receipts are kept; for ever where `None`.
    pub keep_receipts: Option<Duration>,
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

/// Runs until told to stop or, with `once`, until all that was there is done. `tell` is told of each file.
pub async fn run<V: Vault>(
    shared: Arc<Shared<V>>,
    folders: Vec<Watched>,
    mode: Mode,
    tell: impl Fn(&Report) + Clone + Send + Sync + 'static,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    // Ends with this run.
    let mut beside = JoinSet::new();
    if let Some(keep) = mode.keep_receipts.filter(|_| !mode.once) {
        beside.spawn(retention::prune_daily(shared.journal().clone(), keep));
    }
    // Before any starts: what stops one from starting must not cut the uploads of the others.
    for folder in &folders {
        resolve(shared.journal(), &folder.root).await?;
    }
    let mut running = JoinSet::new();
    for folder in folders {
        running.spawn(run_folder(Arc::clone(&shared), folder, mode, tell.clone(), shutdown.clone()));
    }
    let mut tally = Tally::default();
    while let Some(ended) = running.join_next().await {
        tally.add(ended.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??);
    }
    if let Some(keep) = mode.keep_receipts.filter(|_| mode.once) {
        retention::prune(shared.journal(), keep).await;
    }
    Ok(tally)
}

async fn run_folder<V: Vault>(
    shared: Arc<Shared<V>>,
    folder: Watched,
    mode: Mode,
    tell: impl Fn(&Report),
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let Watched { root, policy, dest } = folder;
    let options = watch_options(&policy, mode.once)?;
    let (ready, queue) = mpsc::channel::<Settled>(QUEUE);
    let (done_sender, done) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let pipeline = Pipeline::new(shared, policy, dest, false, reports);

    let watching = watch::run(Arc::clone(&root), options, ready, done, shutdown.clone());
    let uploading = pipeline.run(queue, mode.grace, shutdown);
    let mut tally = Tally::default();
    let counted = &mut tally;
    // Ends with the last report, and `done` with it: a file that was cut brings none.
    let reporting = async move {
        while let Some(report) = reported.recv().await {
            counted.count(&report.outcome);
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

fn watch_options(policy: &Policy, once: bool) -> Result<watch::Options, Fatal> {
    let names = Names::new(&policy.ignore)
        .map_err(|error| Fatal::new(Exit::Usage, format!("a pattern of names to ignore can't be used: {error}")))?;
    let rules = Rules::new(policy.settle);
    let rules = if once { rules.with_patience(ONCE_PATIENCE) } else { rules };
    Ok(watch::Options { names: Arc::new(names), rules, rescan: policy.rescan, once })
}

fn done_of(report: Report) -> Done {
    let next = match report.outcome {
        Outcome::Stored { local: Local::Removed | Local::Moved(_), .. } => Next::Stored,
        Outcome::Failed { moved: Some(_), .. } | Outcome::Gone => Next::Gone,
        Outcome::Stored { local: Local::Kept, .. }
        | Outcome::Failed { moved: None, .. }
        | Outcome::Waits { .. }
        | Outcome::Skipped { .. }
        | Outcome::Left => Next::Lies { put_back: report.put_back },
        Outcome::Again { reason, place } => {
            tracing::info!(file = %report.file.origin.display(), "to be uploaded again: {reason}");
            Next::Again(place)
        }
    };
    Done { relative: report.file.relative, next }
}

/// Ends the entries of a stopped process whose files are gone: what it set aside is put back first, so that all that is
/// there still is found by the first walk, and resolved on its way through the pipeline.
pub(crate) async fn resolve(journal: &Journal, root: &Root) -> Result<(), Fatal> {
    let aside = remove::recover(root, Path::new(""));
    failpoint("after-recovery");
    for entry in journal.unresolved(root.path()).await.map_err(spoiled)? {
        if let Some(end) = end_of(&entry, root, &aside) {
            journal.end(entry.id, end).await.map_err(spoiled)?;
        }
    }
    Ok(())
}

fn spoiled(error: JournalError) -> Fatal {
    Fatal::new(Exit::SomeFailed, error.0)
}

/// How an entry ended without a word, if its file is gone; `aside` are those that lie where they were set aside.
fn end_of(entry: &Entry, root: &Root, aside: &[PathBuf]) -> Option<End> {
    let origin = &entry.intent.relative;
    let places = aside.iter().filter(|place| remove::origin(place) == *origin).chain([origin]);
    let found: Vec<_> = places.map(|place| root.open_file(place)).collect();
    let gone = found.iter().all(|found| matches!(found, Err(OpenError::Gone)));
    // A file of another name's turn: where the journal says no more of it, it is found and sent by itself.
    let other = found.iter().flatten().all(|found| !found.version.same_file(&entry.intent.version));
    match entry.state {
        // Unlinked, and killed before that was written down.
        State::Stored if gone => Some(End::Removed),
        State::Stored if other && found.iter().all(Result::is_ok) => Some(End::Superseded),
        State::Open if gone => Some(End::Abandoned { reason: "the file was gone at the next start".into() }),
        _ => None,
    }
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
    use crate::journal::{AttemptId, Intent};
    use crate::vault::DocumentId;
    use std::time::SystemTime;

    fn entry(root: &Root, relative: &str, state: State) -> Entry {
        let version = root.open_file(Path::new("x")).unwrap().version;
        let intent = Intent {
            root: root.path().to_owned(),
            relative: relative.into(),
            version,
            dest: RemotePath::default(),
            folder: DocumentId("1".into()),
            name: relative.into(),
        };
        let (id, started) = (AttemptId(1), SystemTime::UNIX_EPOCH);
        Entry { id, intent, started, state, stored: None, stored_at: None }
    }

    /// A folder with the file `x`.
    fn folder() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn what_a_dead_process_left_is_ended_only_where_its_file_is_gone() {
        let (dir, root) = folder();
        let end = |relative, state| end_of(&entry(&root, relative, state), &root, &[]);
        assert_eq!(end("x", State::Stored), None, "removed on its way through the pipeline");
        assert_eq!(end("x", State::Open), None, "the store is to be asked");
        assert_eq!(end("none", State::Stored), Some(End::Removed));
        assert!(matches!(end("none", State::Open), Some(End::Abandoned { .. })));
        // What can't be opened may be there still.
        std::os::unix::fs::symlink("x", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for unsure in ["link", "sub", &"long".repeat(100)] {
            assert_eq!(end(unsure, State::Stored), None, "{unsure}");
            assert_eq!(end(unsure, State::Open), None, "{unsure}");
        }
    }

    #[test]
    fn a_file_that_still_lies_where_it_was_set_aside_is_not_gone() {
        let (dir, root) = folder();
        std::fs::create_dir_all(dir.path().join(".astran-backup/0")).unwrap();
        let place = PathBuf::from(".astran-backup/0/y");
        std::fs::hard_link(dir.path().join("x"), dir.path().join(&place)).unwrap();
        for state in [State::Stored, State::Open] {
            assert_eq!(end_of(&entry(&root, "y", state), &root, std::slice::from_ref(&place)), None);
        }
    }

    #[test]
    fn a_newer_file_under_the_name_of_one_that_is_stored_goes_its_own_way() {
        let (dir, root) = folder();
        let stored = entry(&root, "x", State::Stored);
        std::fs::write(dir.path().join("x"), "longer than it was").unwrap();
        assert_eq!(end_of(&stored, &root, &[]), Some(End::Superseded));
    }

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
