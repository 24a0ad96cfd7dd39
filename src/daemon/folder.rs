//! One folder from its start to its end: its watch, its uploads, and the reports that pass between them.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use super::start::{Started, catch_up};
use super::stop::release;
use super::tally::count_in_metrics;
use super::{Run, Tally, WatchedFolder, patience_after_stop};
use crate::exit::Fatal;
use crate::file::{Root, Settled};
use crate::filter::Filter;
use crate::journal::LocalEnd;
use crate::observe::health::{Component, Condition};
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::Activity;
use crate::removal;
use crate::shutdown::{Shutdown, Stop};
use crate::upload::{Asked, Options, Outcome, Report, Uploader};
use crate::vault::Vault;
use crate::watch::settle::Rules;
use crate::watch::{self, Staging, UploadEnd, UploadReport};

/// Settled files that may wait for an upload. More wait in the folder.
const QUEUE: usize = 256;

/// Runs one folder.
///
/// Three loops run side by side, and files go round between them: the watch hands settled files to the upload queue, the uploads report
/// how each file ended, and the reporter counts each report, shows it to the user and passes it back to the watch, which then may
/// hand on the next file of that name.
///
/// The loops end one after the other. When the watch ends, it drops its end of the upload queue; the uploads end with the last
/// file of the queue; and the reporter ends with the last report. A removal that hangs brings no report, so after a stop the
/// reporter's patience ends (see [`patience_after_stop`]).
///
/// Beside them, a daemon looks for the destination until it has found it once, so that one that is missing is reported before a file comes.
pub(super) async fn run<V, F>(run: Arc<Run<V, F>>, started: Started, shutdown: Shutdown) -> Result<Tally, Fatal>
where
    V: Vault,
    F: Fn(&Report) + Send + Sync + 'static,
{
    let folder = FolderRun::new(run, started.folder, started.condition, shutdown)?;
    if let Some(late) = started.late
        && let Err(tally) = catch_up(late, &folder.options.condition, folder.shutdown.clone()).await
    {
        release(folder.root, &folder.shutdown).await;
        return Ok(tally);
    }
    Ok(folder.run_loops().await)
}

/// One folder with all that runs it.
struct FolderRun<V, F> {
    run: Arc<Run<V, F>>,
    root: Arc<Root>,
    options: watch::Options,
    uploader: Arc<Uploader<V>>,
    /// The uploader's reports.
    reported: mpsc::UnboundedReceiver<Report>,
    /// The folder's own stop signal.
    shutdown: Shutdown,
}

impl<V: Vault, F: Fn(&Report)> FolderRun<V, F> {
    /// Adds the folder's checks to the health; not its condition, if that is given, because that is there already.
    fn new(
        run: Arc<Run<V, F>>,
        folder: WatchedFolder,
        condition: Option<Condition>,
        shutdown: Shutdown,
    ) -> Result<Self, Fatal> {
        let mut options = watch_options(&folder, run.once)?;
        let name = folder.root.path().display().to_string();
        match condition {
            Some(known) => options.condition = known,
            None => run.health.add(Component::Folder(name.clone()), Arc::new(options.condition.clone())),
        }
        let (reports, reported) = mpsc::unbounded_channel();
        let WatchedFolder { root, policy, targets, dest, counts } = folder;
        let uploads = Options { policy, targets, dest, asked: Asked::ByWatch, counts };
        let uploader = Uploader::new(Arc::clone(&run.shared), uploads, reports);
        run.health.add(Component::Destination(name), uploader.destination());
        run.stall_detector.add(options.inspections.clone());
        Ok(Self { run, root, options, uploader, reported, shutdown })
    }

    async fn run_loops(mut self) -> Tally {
        let (run, shutdown) = (&*self.run, self.shutdown.clone());
        let (ready, queue) = mpsc::channel::<Settled>(QUEUE);
        let (to_watch, reports) = mpsc::unbounded_channel();
        let counts = self.options.counts.clone();
        let reporter = Reporter { run: &self.run, counts, tally: Tally::default(), to_watch };
        let mut finding = JoinSet::new();
        if !run.once {
            finding.spawn(find_destination(Arc::clone(&self.uploader), shutdown.clone()).in_current_span());
        }
        let watching = watch::run(self.root, self.options, ready, reports, shutdown.clone());
        let uploading = self.uploader.run(queue, run.grace.clone(), shutdown.clone());
        let reporting = reporter.run(&mut self.reported, patience_after_stop(run.grace.clone(), shutdown.clone()));
        let ((watched, root), stopped, (all_reported, mut tally)) = tokio::join!(watching, uploading, reporting);
        if all_reported {
            release(root, &shutdown).await;
        } else {
            tracing::warn!("removals under way there don't end; the next start resolves what is left of them");
        }
        tally.failed += watched.unreadable;
        tally.still_open += watched.still_open;
        tally.left += watched.cut;
        tally.stopped = stopped;
        tally
    }
}

/// Looks for the destination until the folder leaves or a stop is requested: the uploader sends reports as long as it is used here, and
/// the folder does not end before the last one.
async fn find_destination<V: Vault>(uploader: Arc<Uploader<V>>, mut shutdown: Shutdown) {
    tokio::select! {
        () = uploader.find_destination() => {}
        () = shutdown.reached(Stop::Leave) => {}
    }
}

fn watch_options(folder: &WatchedFolder, once: bool) -> Result<watch::Options, Fatal> {
    let policy = &folder.policy;
    let filter = Filter::new(&policy.ignore, &policy.exclude, &policy.include)?;
    let rules = Rules::new(policy.settle).with_min_age(policy.min_age);
    Ok(watch::Options {
        filter: Arc::new(filter),
        rules: if once { rules.for_once() } else { rules },
        rescan: policy.rescan,
        staging: Staging { recover: removal::recover, put_back: removal::put_back, tidy: removal::tidy },
        once,
        counts: folder.counts.clone(),
        condition: Condition::default(),
        inspections: Activity::default(),
    })
}

/// Takes each report until the last one, or until `patience` ends. Returns whether that was the last one.
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

/// Takes the reports of one folder's files.
struct Reporter<'a, V, F> {
    run: &'a Run<V, F>,
    counts: FolderMetrics,
    tally: Tally,
    to_watch: mpsc::UnboundedSender<UploadReport>,
}

impl<V, F: Fn(&Report)> Reporter<'_, V, F> {
    /// Takes reports until the last one, or until `patience` ends. Returns whether that was the last one, and the tally. Then it drops
    /// its sender to the watch, which waits for reports until then.
    async fn run(
        mut self,
        reported: &mut mpsc::UnboundedReceiver<Report>,
        patience: impl Future<Output = ()>,
    ) -> (bool, Tally) {
        let all_reported = take_reports(reported, patience, |report| self.take(report)).await;
        (all_reported, self.tally)
    }

    fn take(&mut self, report: Report) {
        self.tally.count(&report.outcome);
        count_in_metrics(&self.counts, &report.outcome);
        if self.run.once && matches!(report.outcome, Outcome::Skipped { failed: true }) {
            // Otherwise a cron job would succeed from its second run on, and hide the files that its first run could not upload.
            self.tally.failed += 1;
            tracing::warn!(file = %report.file.origin.display(), "has failed before and is unchanged: see history --failed");
        }
        (self.run.on_report)(&report);
        // The watch may have ended already.
        self.to_watch.send(for_watch(report)).ok();
    }
}

/// Translates a report for the watch, which knows nothing of uploads.
fn for_watch(report: Report) -> UploadReport {
    let end = match report.outcome {
        Outcome::Stored { local: LocalEnd::Removed | LocalEnd::Moved(_), .. }
        | Outcome::StoredBefore { local: LocalEnd::Removed | LocalEnd::Moved(_), .. } => UploadEnd::Stored,
        Outcome::Failed { moved: Some(_), .. } | Outcome::Gone => UploadEnd::Gone,
        Outcome::Stored { local: LocalEnd::Kept, .. }
        | Outcome::StoredBefore { local: LocalEnd::Kept, .. }
        | Outcome::Failed { moved: None, .. }
        | Outcome::Blocked { .. }
        | Outcome::Skipped { .. }
        | Outcome::Left => UploadEnd::Remains { put_back: report.put_back, aside: report.aside },
        Outcome::Again { reason, place } => {
            tracing::info!(file = %report.file.origin.display(), "to be uploaded again: {reason}");
            UploadEnd::Returned(place)
        }
    };
    UploadReport { relative: report.file.relative, end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget;
    use crate::shutdown;
    use std::time::Duration;
    use tokio::time::Instant;

    /// Regression: the program could not be stopped, not even by a second signal.
    #[tokio::test(start_paused = true)]
    async fn a_removal_that_hangs_does_not_keep_a_stop_from_ending() {
        let grace = Duration::from_secs(25);
        for (signals, waits) in [(1, grace + budget::TIDY), (2, budget::TIDY)] {
            let (trigger, shutdown) = shutdown::channel();
            // A removal that hangs keeps its sender.
            let (_hangs, mut reported) = mpsc::unbounded_channel::<u8>();
            (0..signals).for_each(|_| trigger.raise());
            let start = Instant::now();
            let patience = patience_after_stop(grace, shutdown);
            assert!(!take_reports(&mut reported, patience, |_| ()).await);
            assert_eq!(start.elapsed(), waits);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_waits_for_removals_under_way_and_without_it_there_is_no_limit() {
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
}
