//! Puts watching, pipeline and journal together for the folders of `watch`; starts them and stops them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, timeout, timeout_at};

use crate::anchors;
use crate::budget;
use crate::config::Policy;
use crate::exit::{Exit, Fatal};
use crate::file::{Root, Settled};
use crate::journal::{Journal, LocalEnd};
use crate::observe::health::{Component, Condition, Health};
use crate::observe::metrics::Folder;
use crate::observe::standstill::{Flow, Standstill};
use crate::removal;
use crate::retention;
use crate::shutdown::{Shutdown, Stop};
use crate::upload::reconcile::startup;
use crate::upload::{MoveTargets, Outcome, Pipeline, Report, Shared};
use crate::vault::{RemotePath, Vault, VaultError};
use crate::watch::settle::Rules;
use crate::watch::{self, Done, IgnorePatterns, Next};

/// A folder that is ours to watch, with what happens to its files.
#[derive(Debug)]
pub struct Watched {
    /// Open and locked.
    pub root: Arc<Root>,
    /// What happens to its files.
    pub policy: Policy,
    /// Where that moves them to.
    pub targets: MoveTargets,
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
    let standstill = Standstill::default();
    standstill.add(shared.flow());
    beside.spawn(standstill.clone().watch());
    if !mode.once {
        beside.spawn(retention::forget_failures_daily(shared.journal().clone()));
    }
    if let Some(keep) = mode.keep_receipts.filter(|_| !mode.once) {
        beside.spawn(retention::prune_daily(shared.journal().clone(), keep));
    }
    if !mode.once {
        beside.spawn(anchors::hourly(Arc::clone(shared.vault()), shared.journal().clone(), mode.anchor.clone()));
    }
    let roots: Vec<_> = folders.iter().map(|folder| Arc::clone(&folder.root)).collect();
    let started = match resolve_all(shared.journal(), folders).await {
        Ok(started) => {
            // Whoever holds a folder open keeps its share from being unmounted.
            drop(roots);
            started
        }
        Err(fatal) => {
            tidy_all(roots).await;
            return Err(fatal);
        }
    };
    for (part, circuit) in shared.circuits() {
        health.add(part, circuit);
    }
    health.add(Component::Progress, Arc::new(standstill.clone()));
    let mut running = JoinSet::new();
    for folder in started {
        let looks = Flow::default();
        standstill.add(looks.clone());
        let (shared, mode, tell) = (Arc::clone(&shared), mode.clone(), tell.clone());
        running.spawn(run_folder(shared, folder, mode, tell, health.clone(), looks, shutdown.clone()));
    }
    let mut tally = Tally::default();
    while let Some(ended) = running.join_next().await {
        tally.add(ended.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??);
    }
    let mut shutdown = shutdown;
    if mode.once {
        // It asks the folders' file systems, which may not answer; the next run does it as well.
        tokio::select! {
            biased;
            () = shutdown.reached(Stop::Gently) => {}
            _ = timeout(budget::TIDY, retention::forget_failures(shared.journal())) => {}
        }
    }
    if let Some(keep) = mode.keep_receipts.filter(|_| mode.once) {
        retention::prune(shared.journal(), keep).await;
    }
    drop(beside);
    // A service that could not be used for the files can't be used for this.
    if tally.stopped.is_none() {
        tokio::select! {
            () = anchors::at_stop(&**shared.vault(), shared.journal(), mode.anchor.as_ref(), mode.once) => {}
            () = shutdown.reached(Stop::Now) => {}
        }
    }
    Ok(tally)
}

/// The look for what a stopped run left behind in a folder.
type Recovery = JoinHandle<Result<(), Fatal>>;

/// Resolves what a stopped run left behind, in all folders side by side, before any of them starts: what stops one from starting must
/// not cut the uploads of the others. Nor do they wait for one whose file system does not answer: its look goes on, and is told.
async fn resolve_all(journal: &Journal, folders: Vec<Watched>) -> Result<Vec<(Watched, Option<Recovery>)>, Fatal> {
    let resolve = |folder: Watched| {
        let (journal, root) = (journal.clone(), Arc::clone(&folder.root));
        (folder, tokio::spawn(async move { startup::resolve(&journal, &root).await }))
    };
    all_within(budget::RECOVERY, folders.into_iter().map(resolve).collect()).await
}

/// Waits for all of these, but not for long: those that are not over by then are handed back. The first failure is that of all.
async fn all_within<T>(limit: Duration, looks: Vec<(T, Recovery)>) -> Result<Vec<(T, Option<Recovery>)>, Fatal> {
    let end = Instant::now() + limit;
    let mut started = Vec::with_capacity(looks.len());
    for (folder, mut look) in looks {
        let late = match timeout_at(end, &mut look).await {
            Ok(over) => ended(over).map(|()| None)?,
            Err(_) => Some(look),
        };
        started.push((folder, late));
    }
    Ok(started)
}

fn ended(look: Result<Result<(), Fatal>, JoinError>) -> Result<(), Fatal> {
    look.unwrap_or_else(|error| Err(Fatal::new(Exit::SomeFailed, format!("internal error: {error}"))))
}

/// Waits for a folder that did not answer when the others started; an error is what it came to instead. A failure is this folder's
/// alone by now, and so is the wait.
async fn catch_up(folder: &str, late: Recovery, trouble: &Condition, mut shutdown: Shutdown) -> Result<(), Tally> {
    trouble.raise("its file system does not answer");
    tracing::warn!(folder, "its file system does not answer; the other folders go on, and this one when it answers");
    let over = tokio::select! {
        over = late => ended(over),
        () = shutdown.reached(Stop::Gently) => return Err(Tally::default()),
    };
    match over {
        Ok(()) => {
            trouble.clear();
            tracing::info!(folder, "its file system answers; watching it from now on");
            Ok(())
        }
        Err(error) => {
            trouble.raise("what an earlier run left there can't be resolved");
            tracing::error!(
                folder,
                "what an earlier run left there can't be resolved, so it is not watched until the next start: {error}"
            );
            Err(Tally { failed: 1, ..Tally::default() })
        }
    }
}

/// Removes the private folder of the folder that was held at the end, where it is empty. Not waited for for long: the end of the
/// program must not hang with a share.
pub(crate) async fn tidy(root: Arc<Root>) {
    let folder = root.path().display().to_string();
    let tidying = tokio::task::spawn_blocking(move || removal::tidy(&root));
    if timeout(budget::TIDY, tidying).await.is_err() {
        tracing::warn!(folder, "its file system does not answer; an empty private folder may be left there");
    }
}

/// The same for several, side by side.
pub(crate) async fn tidy_all(roots: impl IntoIterator<Item = Arc<Root>>) {
    roots.into_iter().map(tidy).collect::<JoinSet<()>>().join_all().await;
}

async fn run_folder<V: Vault>(
    shared: Arc<Shared<V>>,
    (folder, late): (Watched, Option<Recovery>),
    mode: Mode,
    tell: impl Fn(&Report),
    health: Health,
    looks: Flow,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let Watched { root, policy, targets, dest, counts } = folder;
    let name = root.path().display().to_string();
    let gone = Condition::default();
    let options = watch::Options { looks, ..watch_options(&policy, mode.once, counts.clone(), gone.clone())? };
    let (ready, queue) = mpsc::channel::<Settled>(QUEUE);
    let (done_sender, done) = mpsc::unbounded_channel();
    let (reports, mut reported) = mpsc::unbounded_channel();
    let pipeline = Pipeline::new(shared, policy, targets, dest, false, reports, counts.clone());
    health.add(Component::Destination(name.clone()), pipeline.destination());
    health.add(Component::Folder(name.clone()), Arc::new(gone.clone()));
    if let Some(late) = late
        && let Err(tally) = catch_up(&name, late, &gone, shutdown.clone()).await
    {
        return Ok(tally);
    }

    let patience = patience_after_stop(mode.grace, shutdown.clone());
    let watching = watch::run(root, options, ready, done, shutdown.clone());
    let uploading = pipeline.run(queue, mode.grace, shutdown);
    let mut tally = Tally::default();
    let counted = &mut tally;
    // Ends with the last report, and `done` with it: a file that was cut brings none.
    let reporting = async move {
        let take = |report: Report| {
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
        };
        take_reports(&mut reported, patience, take).await
    };
    // They end one after the other: no more files, no more uploads, no more reports.
    let ((watched, root), stopped, all_reported) = tokio::join!(watching, uploading, reporting);
    if all_reported {
        tidy(root).await;
    } else {
        tracing::warn!(
            folder = name,
            "removals under way there don't end; the next start resolves what is left of them"
        );
    }
    tally.failed += watched.unreadable + watched.still_open;
    tally.left += watched.cut;
    tally.stopped = stopped;
    Ok(tally)
}

/// Resolves when a stop is not to wait any longer for files under way: they have had their grace, or a second signal has ended it,
/// and removals a little more, for the way from a receipt to the unlink is not cut without need. A removal on a file system that does
/// not answer would keep the program from ending otherwise.
pub(crate) async fn patience_after_stop(grace: Duration, mut shutdown: Shutdown) {
    let mut insists = shutdown.clone();
    let grace_ends = async {
        shutdown.reached(Stop::Gently).await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        () = grace_ends => {}
        () = insists.reached(Stop::Now) => {}
    }
    tokio::time::sleep(budget::TIDY).await;
}

/// Takes reports until the last one, or until patience ends. Answers whether that was the last one.
async fn take_reports<T>(
    reported: &mut mpsc::UnboundedReceiver<T>,
    patience: impl Future<Output = ()>,
    mut take: impl FnMut(T),
) -> bool {
    tokio::pin!(patience);
    loop {
        tokio::select! {
            biased;
            report = reported.recv() => match report {
                Some(report) => take(report),
                None => return true,
            },
            () = &mut patience => return false,
        }
    }
}

/// What became of a file, for those who look from outside.
fn count(counts: &Folder, outcome: &Outcome) {
    match outcome {
        Outcome::Stored { stored, .. } => counts.stored(stored.size),
        Outcome::Failed { .. } => drop(counts.failed.inc()),
        Outcome::Blocked { .. } => drop(counts.waits.inc()),
        Outcome::Again { .. } => drop(counts.again.inc()),
        Outcome::Skipped { .. } => drop(counts.skipped.inc()),
        Outcome::Gone => drop(counts.gone.inc()),
        Outcome::Left => drop(counts.left.inc()),
    }
}

fn watch_options(policy: &Policy, once: bool, counts: Folder, gone: Condition) -> Result<watch::Options, Fatal> {
    let names = IgnorePatterns::new(&policy.ignore)
        .map_err(|error| Fatal::new(Exit::Usage, format!("a pattern of names to ignore can't be used: {error}")))?;
    let rules = Rules::new(policy.settle);
    let rules = if once { rules.with_patience(ONCE_PATIENCE) } else { rules };
    Ok(watch::Options {
        names: Arc::new(names),
        rules,
        rescan: policy.rescan,
        once,
        counts,
        gone,
        looks: Flow::default(),
    })
}

fn done_of(report: Report) -> Done {
    let next = match report.outcome {
        Outcome::Stored { local: LocalEnd::Removed | LocalEnd::Moved(_), .. } => Next::Stored,
        Outcome::Failed { moved: Some(_), .. } | Outcome::Gone => Next::Gone,
        Outcome::Stored { local: LocalEnd::Kept, .. }
        | Outcome::Failed { moved: None, .. }
        | Outcome::Blocked { .. }
        | Outcome::Skipped { .. }
        | Outcome::Left => Next::Remains { put_back: report.put_back, aside: report.aside },
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
            Outcome::Failed { .. } | Outcome::Blocked { .. } => self.failed += 1,
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
    use crate::observe::health::HealthCheck as _;
    use crate::shutdown;
    use tokio::sync::oneshot;

    /// A look that does not end, as on a share that does not answer, until its sender is dropped.
    fn hung() -> (oneshot::Sender<()>, Recovery) {
        let (answer, answered) = oneshot::channel::<()>();
        (answer, tokio::spawn(async move { answered.await.map_err(|_| Fatal::new(Exit::SomeFailed, "never")) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_does_not_answer_holds_up_no_other_and_starts_when_it_answers() {
        let (answer, look) = hung();
        let looks = vec![("hung", look), ("well", tokio::spawn(async { Ok(()) }))];
        let start = Instant::now();
        let mut started = all_within(budget::RECOVERY, looks).await.unwrap();
        assert_eq!(start.elapsed(), budget::RECOVERY);
        assert!(started[1].1.is_none(), "the other one may start");
        let late = started.remove(0).1.unwrap();

        let (trouble, (_trigger, shutdown)) = (Condition::default(), shutdown::channel());
        let caught_up = tokio::spawn({
            let trouble = trouble.clone();
            async move { catch_up("hung", late, &trouble, shutdown).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(trouble.trouble().is_some() && !caught_up.is_finished());
        answer.send(()).unwrap();
        assert!(caught_up.await.unwrap().is_ok() && trouble.trouble().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_folder_that_fails_or_a_stop_meanwhile_ends_only_its_own_start() {
        for stops in [false, true] {
            let (answer, look) = hung();
            let (trouble, (trigger, shutdown)) = (Condition::default(), shutdown::channel());
            if stops {
                trigger.raise();
            } else {
                drop(answer);
            }
            let tally = catch_up("hung", look, &trouble, shutdown).await.unwrap_err();
            assert_eq!(tally.failed, u64::from(!stops), "a stop is no failure");
            assert!(trouble.trouble().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_in_time_lets_none_start() {
        let (_answer, look) = hung();
        let fails = tokio::spawn(async { Err(Fatal::new(Exit::Missing, "no")) });
        assert_eq!(all_within(budget::RECOVERY, vec![((), look), ((), fails)]).await.unwrap_err().exit, Exit::Missing);
    }

    /// Regression: the program could not be stopped, also not by a second signal.
    #[tokio::test(start_paused = true)]
    async fn a_removal_that_hangs_does_not_keep_a_stop_from_ending() {
        let grace = Duration::from_secs(25);
        for (signals, waits) in [(1, grace + budget::TIDY), (2, budget::TIDY)] {
            let (trigger, shutdown) = shutdown::channel();
            // The one that hangs has a sender as long as it lives.
            let (_hangs, mut reported) = mpsc::unbounded_channel::<u8>();
            (0..signals).for_each(|_| trigger.raise());
            let start = Instant::now();
            let patience = patience_after_stop(grace, shutdown);
            assert!(!take_reports(&mut reported, patience, |_| ()).await);
            assert_eq!(start.elapsed(), waits);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn removals_under_way_are_waited_for_at_a_stop_and_without_end_before_it() {
        let grace = Duration::from_secs(25);
        for (signals, takes) in [(0, Duration::from_secs(3600)), (1, grace), (2, removal::GRACE)] {
            let (trigger, shutdown) = shutdown::channel();
            let (reports, mut reported) = mpsc::unbounded_channel();
            (0..signals).for_each(|_| trigger.raise());
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                reports.send(1).unwrap();
            });
            let mut taken = Vec::new();
            let patience = patience_after_stop(grace, shutdown);
            assert!(take_reports(&mut reported, patience, |report| taken.push(report)).await);
            assert_eq!(taken, [1]);
        }
    }

    #[test]
    fn whatever_is_not_done_shows_in_the_count() {
        let mut tally = Tally::default();
        let reason = String::new;
        for outcome in [Outcome::Failed { reason: reason(), moved: None }, Outcome::Blocked { reason: reason() }] {
            tally.count(&outcome);
        }
        tally.count(&Outcome::Left);
        tally.add(Tally { stored: 1, failed: 10, left: 10, stopped: None });
        assert_eq!((tally.stored, tally.failed, tally.left), (1, 12, 11));
    }
}
