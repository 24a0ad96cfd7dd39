//! The tasks that remove files: one sets them aside, the other finishes them when their grace is over.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::prune::{Parent, prune};
use super::{Disposition, GRACE, NotRemoved, RemovalError, Staged, finish, set_aside};
use crate::failpoint::failpoint;
use crate::file::lease::Lease;
use crate::file::lock::UploadLock;
use crate::file::{Opened, Settled};
use crate::journal::{AttemptId, End, Journal, LocalEnd};
use crate::observe::stall::Activity;

/// A file that is to leave the watched folder.
pub(crate) struct RemovalRequest {
    pub(crate) file: Settled,
    pub(crate) disposition: Disposition,
    /// Whether the sub-folder that the file lay in is removed, if it is empty then.
    pub(crate) prunes: bool,
    /// The attempt at whose end the journal says what became of the file; `None` where the journal has its end already.
    pub(crate) record: Option<AttemptId>,
    pub(crate) on_end: OnEnd,
    /// The file's span: its removal is logged there too.
    pub(crate) span: tracing::Span,
}

/// Called once with the file, when it is known whether the file was removed.
pub(crate) type OnEnd = Box<dyn FnOnce(Settled, RemovalResult) + Send>;
type RemovalResult = Result<LocalEnd, NotRemoved>;

/// The file as its upload read it. Dropped as soon as the file is set aside: a writer may wait for the lease.
#[derive(Debug)]
pub(crate) struct UploadedFile {
    pub(crate) opened: Opened,
    pub(crate) lease: Option<Arc<Lease>>,
    /// No other upload takes the file as long as this lives.
    pub(crate) lock: Arc<UploadLock>,
    /// The SHA-256 of what was sent, in lower-case hexadecimal; `None` where not all of it was read.
    pub(crate) sha256: Option<String>,
}

/// A file that was set aside, and the folder that it was taken from, where that may have to be removed.
#[derive(Debug)]
struct Resting {
    staged: Staged,
    parent: Option<Parent>,
}

/// A request, and what its next step needs.
type Job<S> = (RemovalRequest, S);
/// A request, and what its step came to.
type Done<T> = (RemovalRequest, Result<T, NotRemoved>);

/// Removes files from the watched folder, many in one batch, in the order in which they came: the grace is the same for all.
///
/// Runs in tasks of its own, so that no cancelled upload cancels the steps between receipt and unlink.
#[derive(Debug, Clone)]
pub(crate) struct Removals {
    requests: mpsc::Sender<Job<UploadedFile>>,
    in_flight: Arc<InFlight>,
}

/// How many files are being removed.
#[derive(Debug, Default)]
struct InFlight {
    count: watch::Sender<usize>,
    activity: Activity,
}

impl InFlight {
    fn started(&self) {
        self.activity.started();
        self.count.send_modify(|files| *files += 1);
    }

    fn ended(&self, count: usize) {
        self.activity.finished(count);
        self.count.send_modify(|files| *files -= count);
    }
}

/// A file that is not known yet to be removed, counted among those that are.
#[derive(Debug)]
pub(crate) struct CountedIn(Arc<InFlight>);

impl Drop for CountedIn {
    fn drop(&mut self) {
        self.0.ended(1);
    }
}

/// Files handled in one batch.
const BATCH: usize = 256;

impl Removals {
    /// Starts the tasks. `until_written` is dropped once no more files can come and the journal has the end of each: whoever waits for
    /// the drop may end the program.
    pub(crate) fn start(journal: Journal, activity: Activity, until_written: impl Any + Send + Sync) -> Self {
        let (requests, to_set_aside) = mpsc::channel(BATCH);
        let (staged, to_finish) = mpsc::unbounded_channel();
        let in_flight = Arc::new(InFlight { activity, ..InFlight::default() });
        let until_written = Arc::new(until_written);
        let reporter = Reporter { journal, in_flight: Arc::clone(&in_flight), _until_written: until_written };
        tokio::spawn(set_aside_all(to_set_aside, staged, reporter.clone()));
        tokio::spawn(finish_all(to_finish, reporter));
        Self { requests, in_flight }
    }

    /// Takes a file on. Waits while a full batch waits already, because each waiting file holds a lease and a descriptor.
    pub(crate) async fn add(&self, request: RemovalRequest, uploaded: UploadedFile) {
        // The receiving task lives as long as this sender.
        let Ok(place) = self.requests.reserve().await else { return };
        self.in_flight.started();
        place.send((request, uploaded));
    }

    /// Counts a file in that may have to be removed, until the guard is dropped: [`Removals::drained`] waits for that.
    pub(crate) fn count_in(&self) -> CountedIn {
        self.in_flight.started();
        CountedIn(Arc::clone(&self.in_flight))
    }

    /// Resolves when no file is being removed.
    pub(crate) async fn drained(&self) {
        // The sender lives as long as this does.
        self.in_flight.count.subscribe().wait_for(|files| *files == 0).await.ok();
    }
}

/// The first task: renames each file into the private folder, and starts its grace.
async fn set_aside_all(
    mut requests: mpsc::Receiver<Job<UploadedFile>>,
    staged: mpsc::UnboundedSender<(Instant, Job<Resting>)>,
    reporter: Reporter,
) {
    let mut batch = Vec::new();
    while requests.recv_many(&mut batch, BATCH).await > 0 {
        let mut refused = Vec::new();
        for (request, outcome) in each(std::mem::take(&mut batch), set_aside_one).await {
            match outcome {
                // The receiving task lives until this one ends.
                Ok(file) => drop(staged.send((Instant::now() + GRACE, (request, file)))),
                Err(error) => refused.push((request, Err(error))),
            }
        }
        reporter.report(refused, Vec::new());
    }
}

fn set_aside_one(request: &RemovalRequest, uploaded: UploadedFile) -> Result<Resting, NotRemoved> {
    let parent = if request.prunes { Parent::of(&request.file) } else { None };
    let UploadedFile { opened, lease, lock, sha256 } = uploaded;
    let staged = set_aside(&request.file, &opened, lease.as_deref(), sha256);
    drop((lock, opened, lease));
    match &staged {
        Ok(_) => tracing::debug!("staged: it waits out its grace"),
        Err(error) => tracing::debug!("not staged: {error}"),
    }
    Ok(Resting { staged: staged?, parent })
}

/// The second task: unlinks or moves each file when its grace is over.
async fn finish_all(mut staged: mpsc::UnboundedReceiver<(Instant, Job<Resting>)>, reporter: Reporter) {
    let mut batch = Vec::new();
    while staged.recv_many(&mut batch, BATCH).await > 0 {
        failpoint("during-grace");
        if let Some((due, _)) = batch.last() {
            sleep_until(*due).await;
        }
        let batch = std::mem::take(&mut batch).into_iter().map(|(_, job)| job).collect();
        let (mut ended, mut emptied) = (Vec::new(), Vec::new());
        for (request, finished) in each(batch, finish_one).await {
            let end = finished.map(|(end, parent)| {
                emptied.extend(parent);
                end
            });
            ended.push((request, end));
        }
        reporter.report(ended, emptied);
    }
}

fn finish_one(request: &RemovalRequest, resting: Resting) -> Result<(LocalEnd, Option<Parent>), NotRemoved> {
    failpoint("after-grace");
    let outcome = finish(&resting.staged, &request.disposition);
    failpoint("after-unlink");
    match &outcome {
        Ok(end) => tracing::debug!(?end, "the local file is dealt with"),
        Err(error) => tracing::debug!("not removed: {error}"),
    }
    Ok((outcome?, resting.parent))
}

/// One step of each file, on a thread that may block. A panic in the middle of one file is that file's alone, and is reported
/// like any other end: else the upload would wait for that end for ever.
async fn each<S: Send + 'static, T: Send + 'static>(
    batch: Vec<Job<S>>,
    step: fn(&RemovalRequest, S) -> Result<T, NotRemoved>,
) -> Vec<Done<T>> {
    let one = move |(request, needed): Job<S>| {
        let in_span = || request.span.in_scope(|| step(&request, needed));
        let outcome = catch_unwind(AssertUnwindSafe(in_span)).unwrap_or_else(|_| {
            Err(NotRemoved { error: RemovalError::Internal, place: request.file.relative.clone(), stranded: None })
        });
        (request, outcome)
    };
    tokio::task::spawn_blocking(move || batch.into_iter().map(one).collect()).await.unwrap_or_default()
}

/// Reports how removals ended: to each request's owner at once, and to the journal. Then removes the folders that they have emptied.
#[derive(Debug, Clone)]
struct Reporter {
    journal: Journal,
    in_flight: Arc<InFlight>,
    _until_written: Arc<dyn Any + Send + Sync>,
}

impl Reporter {
    fn report(&self, ended: Vec<Done<LocalEnd>>, emptied: Vec<Parent>) {
        let count = ended.len();
        let mut ends = Vec::with_capacity(count);
        for (RemovalRequest { file, record, on_end, .. }, outcome) in ended {
            ends.extend(record.zip(journal_end(&outcome)));
            on_end(file, outcome);
        }
        let reporter = self.clone();
        // The next batch need not wait for the journal; `drained` does, and so the end of the program.
        tokio::spawn(async move {
            reporter.write_down(ends).await;
            if !emptied.is_empty() {
                // A panic there leaves an empty folder behind, and nothing else.
                tokio::task::spawn_blocking(move || prune(emptied)).await.ok();
            }
            reporter.in_flight.ended(count);
        });
    }

    /// Writes the ends into the journal. One that a crash loses costs a look at the file at the next start.
    async fn write_down(&self, ends: Vec<(AttemptId, End)>) {
        if ends.is_empty() {
            return;
        }
        failpoint("before-end");
        if let Err(error) = self.journal.end_all(ends).await {
            tracing::warn!("how removals ended could not be written down: {error}");
        }
        failpoint("after-end");
    }
}

/// What the journal is to say of a file that the store has. `None`: it stays "stored", so that the next walk tries the removal
/// again, without an upload.
fn journal_end(outcome: &RemovalResult) -> Option<End> {
    match outcome {
        Ok(local) => Some(End::Local(local.clone())),
        Err(not_removed) => not_removed.error.calls_for_retry().then_some(End::Superseded),
    }
}

#[cfg(test)]
#[path = "tasks_tests.rs"]
mod tests;
