//! The tasks that remove files: one sets them aside, the other finishes them when their grace is over.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

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
    /// The attempt at whose end the journal says what became of the file; `None` where the journal has its end already.
    pub(crate) record: Option<AttemptId>,
    pub(crate) on_end: OnEnd,
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
    count: AtomicUsize,
    none: Notify,
    flow: Activity,
}

impl InFlight {
    fn ended(&self, count: usize) {
        self.flow.finished(count);
        if self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }
}

/// Files handled in one batch.
const BATCH: usize = 256;

impl Removals {
    pub(crate) fn start(journal: Journal, flow: Activity) -> Self {
        let (requests, to_set_aside) = mpsc::channel(BATCH);
        let (staged, to_finish) = mpsc::unbounded_channel();
        let in_flight = Arc::new(InFlight { flow, ..InFlight::default() });
        let reporter = Reporter { journal, in_flight: Arc::clone(&in_flight) };
        tokio::spawn(set_aside_all(to_set_aside, staged, reporter.clone()));
        tokio::spawn(finish_all(to_finish, reporter));
        Self { requests, in_flight }
    }

    /// Takes a file on. Waits while a full batch waits already, because each waiting file holds a lease and a descriptor.
    pub(crate) async fn add(&self, request: RemovalRequest, uploaded: UploadedFile) {
        // The receiving task lives as long as this sender.
        let Ok(place) = self.requests.reserve().await else { return };
        self.in_flight.count.fetch_add(1, Ordering::AcqRel);
        self.in_flight.flow.started();
        place.send((request, uploaded));
    }

    /// Resolves when no file is being removed.
    pub(crate) async fn drained(&self) {
        loop {
            let none = self.in_flight.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.in_flight.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// The first task: renames each file into the private folder, and starts its grace.
async fn set_aside_all(
    mut requests: mpsc::Receiver<Job<UploadedFile>>,
    staged: mpsc::UnboundedSender<(Instant, Job<Staged>)>,
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
        reporter.report(refused);
    }
}

fn set_aside_one(request: &RemovalRequest, uploaded: UploadedFile) -> Result<Staged, NotRemoved> {
    let UploadedFile { opened, lease, lock, sha256 } = uploaded;
    let staged = set_aside(&request.file, &opened, lease.as_deref(), sha256);
    drop(lock);
    staged
}

/// The second task: unlinks or moves each file when its grace is over.
async fn finish_all(mut staged: mpsc::UnboundedReceiver<(Instant, Job<Staged>)>, reporter: Reporter) {
    let mut batch = Vec::new();
    while staged.recv_many(&mut batch, BATCH).await > 0 {
        failpoint("during-grace");
        if let Some((due, _)) = batch.last() {
            sleep_until(*due).await;
        }
        let batch = std::mem::take(&mut batch).into_iter().map(|(_, job)| job).collect();
        reporter.report(each(batch, finish_one).await);
    }
}

fn finish_one(request: &RemovalRequest, staged: Staged) -> RemovalResult {
    failpoint("after-grace");
    let outcome = finish(&staged, &request.disposition);
    failpoint("after-unlink");
    outcome
}

/// One step of each file, on a thread that may block. A panic in the middle of one file is that file's alone, and is reported
/// like any other end: else the upload would wait for that end for ever.
async fn each<S: Send + 'static, T: Send + 'static>(
    batch: Vec<Job<S>>,
    step: fn(&RemovalRequest, S) -> Result<T, NotRemoved>,
) -> Vec<Done<T>> {
    let one = move |(request, needed): Job<S>| {
        let outcome = catch_unwind(AssertUnwindSafe(|| step(&request, needed))).unwrap_or_else(|_| {
            Err(NotRemoved { error: RemovalError::Internal, place: request.file.relative.clone(), stranded: None })
        });
        (request, outcome)
    };
    tokio::task::spawn_blocking(move || batch.into_iter().map(one).collect()).await.unwrap_or_default()
}

/// Reports how removals ended: to each request's owner at once, and to the journal.
#[derive(Debug, Clone)]
struct Reporter {
    journal: Journal,
    in_flight: Arc<InFlight>,
}

impl Reporter {
    fn report(&self, ended: Vec<Done<LocalEnd>>) {
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
mod tests {
    use super::*;
    use crate::file::Root;
    use crate::file::lease::{LeaseBreaks, Writers};
    use crate::journal::{Intent, Stored};
    use crate::vault::{DocumentId, RemotePath};

    fn not_removed(error: RemovalError) -> RemovalResult {
        Err(NotRemoved { error, place: "x".into(), stranded: None })
    }

    fn uploaded(file: &Settled) -> UploadedFile {
        let opened = file.root.open_file(&file.relative).unwrap();
        let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
        let lock = Arc::new(file.root.lock_for_upload(&opened).unwrap());
        UploadedFile { opened, lease: Some(Arc::new(lease)), lock, sha256: None }
    }

    fn request(file: Settled, record: Option<AttemptId>) -> RemovalRequest {
        RemovalRequest { file, disposition: Disposition::Delete, record, on_end: Box::new(|_, _| ()) }
    }

    #[test]
    fn the_journal_calls_only_a_removed_file_removed() {
        let end = |outcome| journal_end(&outcome);
        assert_eq!(end(Ok(LocalEnd::Removed)), Some(End::Local(LocalEnd::Removed)));
        assert_eq!(end(Ok(LocalEnd::Moved("/y".into()))), Some(End::Local(LocalEnd::Moved("/y".into()))));
        assert_eq!(end(not_removed(RemovalError::Replaced)), Some(End::Superseded));
        let refused = RemovalError::NotFinished(rustix::io::Errno::ACCESS.into());
        assert_eq!(end(not_removed(refused)), None, "still stored: the next walk tries again");
        assert_eq!(end(not_removed(RemovalError::Internal)), None);
    }

    #[tokio::test]
    async fn a_file_that_a_writer_waits_for_since_its_upload_stays() {
        LeaseBreaks::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let file = Settled::new(Arc::new(Root::open(dir.path()).unwrap()), "x".into());
        let uploaded = uploaded(&file);
        let path = dir.path().join("x");
        let writer = std::thread::spawn(move || drop(std::fs::File::options().append(true).open(path).unwrap()));
        while uploaded.lease.as_ref().unwrap().holds() {
            tokio::task::yield_now().await;
        }
        let staged = set_aside_one(&request(file, None), uploaded);
        assert!(matches!(staged.unwrap_err().error, RemovalError::ChangedSinceUpload));
        writer.join().unwrap();
        assert!(dir.path().join("x").exists());
    }

    #[tokio::test]
    async fn a_panic_in_the_middle_of_one_file_is_reported_and_the_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let job = |name: &str| (request(Settled::new(Arc::clone(&root), name.into()), None), ());
        let done = each(vec![job("faulty"), job("other")], |request, ()| {
            assert_ne!(request.file.relative.as_os_str(), "faulty", "meant to panic");
            Ok(())
        });
        let done: Vec<_> = done.await.into_iter().map(|(_, outcome)| outcome).collect();
        assert!(matches!(&done[..], [Err(NotRemoved { error: RemovalError::Internal, .. }), Ok(())]), "{done:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn removals_are_drained_when_their_files_are_gone_and_the_journal_says_so() {
        LeaseBreaks::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("watched");
        std::fs::create_dir(&watched).unwrap();
        std::fs::write(watched.join("x"), "1234").unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let file = Settled::new(Arc::new(Root::open(&watched).unwrap()), "x".into());
        let uploaded = uploaded(&file);
        let attempt = journal.adopt(intent(&file, &uploaded), stored()).await.unwrap();
        let removals = Removals::start(journal.clone(), Activity::default());
        removals.add(request(file, Some(attempt)), uploaded).await;
        removals.drained().await;
        assert!(!watched.join("x").exists());
        let page = journal.history_page(&crate::journal::Filter::default(), None, 9).await.unwrap();
        assert_eq!(page[0].entry.state, crate::journal::State::Ended(End::Local(LocalEnd::Removed)));
    }

    fn intent(file: &Settled, uploaded: &UploadedFile) -> Intent {
        Intent {
            root: file.root.path().to_owned(),
            relative: file.origin.clone(),
            stamp: uploaded.opened.stamp,
            dest: RemotePath::default(),
            folder: DocumentId("1".into()),
            name: "x".into(),
        }
    }

    fn stored() -> Stored {
        Stored {
            sha256: String::new(),
            size: 1,
            document: DocumentId("1".into()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        }
    }
}
