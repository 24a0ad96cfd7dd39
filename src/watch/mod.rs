//! Watches a folder: turns events, walks through the folder and files that were returned into settled files for the upload.
//!
//! Events are hints; the folder itself is the truth. It is walked through at the start, after a loss of events, twice for each new
//! folder, and every few minutes. A full upload queue pauses the walk: files wait in the folder, and none is dropped.
//!
//! `Sources` says where files may be, `Candidates` is the table of them, [`settle`] judges when one is ready.

mod candidates;
mod events;
mod inspect;
mod interface;
mod root_check;
mod schedule;
pub mod settle;
mod sources;
mod walk;
mod watches;

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::budget;
use crate::file::{Root, Settled, staged_name};
use crate::filter::Filter;
use crate::shutdown::{Shutdown, Stop};

use candidates::Candidates;
use events::FsEvent;
pub(crate) use interface::{Options, Staging, UploadEnd, UploadReport, WatchSummary};
use settle::{Cause, Observation, Readiness};
use sources::{SourceEvent, Sources};
pub(crate) use walk::{WalkEvent, Walker};

/// Files that are inspected in one go.
const BATCH: usize = 512;
/// Files that wait are counted no more often: a count looks at all candidates.
const COUNT: Duration = Duration::from_secs(1);

/// Watches a folder until it is told to stop or, with `once`, until all files that were there at the start are done.
///
/// Ends by dropping `ready`, and then waits until `reports` has brought a report for each file that was handed on, or is closed.
/// Returns the summary, and the folder that was watched at the end: another one than `root` where that was replaced.
pub(crate) async fn run(
    root: Arc<Root>,
    options: Options,
    ready: mpsc::Sender<Settled>,
    reports: mpsc::UnboundedReceiver<UploadReport>,
    shutdown: Shutdown,
) -> (WatchSummary, Arc<Root>) {
    Watch::new(root, options).run(ready, reports, shutdown).await
}

/// What a batch of inspections has shown.
type Inspections = Vec<(Arc<Path>, Observation)>;

struct Watch {
    sources: Sources,
    candidates: Candidates,
    /// The batch of inspections under way.
    inspecting: Option<JoinHandle<Inspections>>,
    /// Files that were handed on and not reported yet.
    uploading: usize,
    options: Options,
    summary: WatchSummary,
    /// Paths that were reported as unreadable already.
    unreadable: HashSet<PathBuf>,
    /// Files that a run which is to end leaves to the next run, because somebody writes them. An event of their close brings them back, as
    /// long as there is other work.
    still_open: HashSet<Arc<Path>>,
    /// When the files that wait are counted next; `None` while nothing has changed since the last count.
    count_at: Option<Instant>,
}

impl Watch {
    fn new(root: Arc<Root>, options: Options) -> Self {
        Self {
            sources: Sources::start(root, &options),
            candidates: Candidates::default(),
            inspecting: None,
            uploading: 0,
            options,
            summary: WatchSummary::default(),
            unreadable: HashSet::new(),
            still_open: HashSet::new(),
            count_at: None,
        }
    }

    /// The loop of one folder.
    ///
    /// A file comes from the sources (an event, or a walk) into the table of candidates. When it is due, it is inspected on a
    /// thread that may block, one batch of files at a time. Each result moves its file on: to ready, to a later inspection, or out of
    /// the table. A ready file is handed on as soon as the upload queue has room, and stays in the table until the report of its
    /// upload comes, so that no file is uploaded twice at the same time. Walks pause while the table is full.
    ///
    /// The loop ends at a stop, when the upload takes no more files, or, with `once`, when the table is empty and nothing more comes.
    async fn run(
        mut self,
        ready: mpsc::Sender<Settled>,
        mut reports: mpsc::UnboundedReceiver<UploadReport>,
        mut shutdown: Shutdown,
    ) -> (WatchSummary, Arc<Root>) {
        while !self.is_finished() {
            self.start_inspections();
            let has_ready = self.candidates.has_ready() && !self.sources.stands_by();
            let next_inspection = self.candidates.next_due().filter(|_| self.inspecting.is_none());
            let room = self.candidates.has_room();
            tokio::select! {
                () = shutdown.reached(Stop::Leave) => break,
                () = if_some(self.count_at.map(sleep_until)) => {
                    self.count_waiting();
                    continue;
                }
                Some(report) = reports.recv() => self.upload_ended(&report),
                seen = if_some(self.inspecting.as_mut()) => self.inspected(seen.unwrap_or_default()),
                place = ready.reserve(), if has_ready => match place {
                    Ok(place) => self.hand_on(place),
                    // The upload has given up on all files.
                    Err(_) => break,
                },
                event = self.sources.next(room) => self.source_event(event),
                () = if_some(next_inspection.map(sleep_until)) => {}
            }
            self.count_at.get_or_insert_with(|| Instant::now() + COUNT);
        }
        self.count_waiting();
        drop(ready);
        self.drain(reports).await
    }

    /// After the loop: the upload ends the files that it has, and their reports are still counted.
    async fn drain(mut self, mut reports: mpsc::UnboundedReceiver<UploadReport>) -> (WatchSummary, Arc<Root>) {
        while self.uploading > 0 {
            let Some(report) = reports.recv().await else { break };
            self.upload_ended(&report);
        }
        self.summary.cut = self.uploading as u64;
        self.summary.still_open = self.still_open.len() as u64;
        (self.summary, Arc::clone(self.sources.root()))
    }

    /// Tells those who look how many files wait.
    fn count_waiting(&mut self) {
        self.count_at = None;
        self.options.counts.waiting.set(self.candidates.waiting());
    }

    /// A file that was left, and is touched now and then by the program that writes it, keeps no run from ending.
    fn is_finished(&self) -> bool {
        self.options.once && self.sources.exhausted() && self.candidates.are_all_among(&self.still_open)
    }

    fn start_inspections(&mut self) {
        if self.inspecting.is_some() {
            return;
        }
        let due = self.candidates.take_due(Instant::now(), BATCH);
        if due.is_empty() {
            return;
        }
        let root = Arc::clone(self.sources.root());
        self.options.inspections.started();
        let filter = Arc::clone(&self.options.filter);
        let inspect_one = move |path: Arc<Path>| {
            let seen = chosen(&filter, &path, inspect(&root, &path));
            (path, seen)
        };
        let inspect_all = move || due.into_iter().map(inspect_one).collect();
        self.inspecting = Some(spawn_blocking(inspect_all));
    }

    fn inspected(&mut self, inspections: Inspections) {
        self.inspecting = None;
        self.options.inspections.finished(1);
        let now = (Instant::now(), SystemTime::now());
        for (path, seen) in inspections {
            match self.candidates.inspected(&path, seen, now, &self.options.rules) {
                Readiness::Folder => self.sources.new_folder(&path),
                Readiness::StillOpen => {
                    if self.still_open.insert(Arc::clone(&path)) {
                        tracing::warn!(file = %path.display(), "still open for writing, or changing again and again: left for the next run");
                    }
                }
                Readiness::TooYoung => {
                    self.still_open.remove(&path);
                    tracing::debug!(file = %path.display(), "younger than min_age: left for later");
                }
                Readiness::Ready | Readiness::Forget => {
                    self.still_open.remove(&path);
                }
                Readiness::Wait(_) => {}
            }
        }
    }

    fn hand_on(&mut self, place: mpsc::Permit<'_, Settled>) {
        if let Some((path, size, found)) = self.candidates.take_ready() {
            self.uploading += 1;
            let file = Settled::new(Arc::clone(self.sources.root()), path.to_path_buf());
            place.send(file.of_size(size).found_at(found));
        }
    }

    fn source_event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Fs(event) => self.fs_event(event),
            SourceEvent::Files { paths, announced } => {
                let now = Instant::now();
                for path in &paths {
                    self.candidates.found(path, announced, now);
                }
            }
            SourceEvent::Unreadable(path, error) => {
                // The upload opens the folder too, fails as well, and writes the reason into the journal, where people look for it.
                // Only a folder that can't even be opened: one that can would be walked through again, and again.
                let is_handed_on = error.kind() == io::ErrorKind::PermissionDenied && !path.as_os_str().is_empty();
                if is_handed_on {
                    self.candidates.found(&path, true, Instant::now());
                }
                if self.unreadable.insert(path.clone()) {
                    self.summary.unreadable += u64::from(!is_handed_on);
                    tracing::error!(path = %path.display(), "can't be read, so its files are not uploaded: {error}");
                }
            }
            SourceEvent::WalkEnded if !self.options.once => self.candidates.walk_ended(Instant::now()),
            SourceEvent::WalkEnded => {}
        }
    }

    fn fs_event(&mut self, event: FsEvent) {
        match event {
            FsEvent::NewFolder(path) => {
                if let Some(relative) = self.watched_path(&path, &[true]) {
                    self.sources.new_folder(&relative);
                }
            }
            FsEvent::File(path, cause) => {
                // The event of a rename does not tell a folder from a file; the inspection does.
                let may_be: &[bool] = if cause == Cause::Renamed { &[false, true] } else { &[false] };
                let Some(relative) = self.watched_path(&path, may_be) else { return };
                if self.candidates.len() < budget::CANDIDATES_BY_EVENTS {
                    self.candidates.touched(&relative, cause, Instant::now());
                } else {
                    self.sources.events_dropped();
                }
            }
        }
    }

    /// Returns a path as it is below the root, unless the filter leaves it, whichever of these it is: a folder (true) or a file.
    fn watched_path(&self, path: &Path, may_be_folder: &[bool]) -> Option<PathBuf> {
        let relative = path.strip_prefix(self.sources.root().path()).ok()?;
        let is_chosen = |is_folder: &bool| self.options.filter.excludes_any_part(relative, *is_folder).is_none();
        let is_watched = !relative.as_os_str().is_empty() && may_be_folder.iter().any(is_chosen);
        is_watched.then(|| relative.to_owned())
    }

    fn upload_ended(&mut self, report: &UploadReport) {
        self.uploading -= 1;
        let announced = self.candidates.upload_ended(&report.relative, &report.end, Instant::now());
        if report.end == UploadEnd::Stored && !announced {
            self.summary.missed_by_events += 1;
            self.options.counts.unannounced.inc();
            tracing::warn!(
                file = %report.relative.display(),
                total = self.summary.missed_by_events,
                "no event told of this file; a walk through the folder found it"
            );
        }
    }
}

/// What an inspection has shown, as far as the filter lets it count: an event may have told of a path before it was known whether that
/// is a file or a folder. A file that is set aside was chosen once.
fn chosen(filter: &Filter, path: &Path, seen: Observation) -> Observation {
    let may_be_folder: &[bool] = match seen {
        Observation::Gone | Observation::NotUploadable => return seen,
        Observation::Folder => &[true],
        Observation::Unreadable | Observation::Scarce => &[true, false],
        Observation::Busy(_) | Observation::Quiet(_) | Observation::WritersUnknown(_) => &[false],
    };
    let is_left = may_be_folder.iter().all(|is_folder| filter.excludes(path, *is_folder).is_some());
    if is_left && staged_name::origin(path) == path { Observation::NotUploadable } else { seen }
}

/// Inspects one file. A panic must lose neither this file nor the others of its batch: the upload opens the file again, and reports
/// what comes of that.
fn inspect(root: &Root, path: &Path) -> Observation {
    catch_unwind(AssertUnwindSafe(|| inspect::inspect(root, path))).unwrap_or(Observation::Unreadable)
}

/// Resolves with the output of the future; never where there is none. So an optional source can be a branch of `select!`.
async fn if_some<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Runs work that may block on a thread for such work. It stays in the caller's span, so its log lines name the folder too.
fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::Condition;
    use crate::observe::metrics::FolderMetrics;
    use crate::observe::stall::Activity;
    use crate::removal;
    use settle::Rules;

    impl Options {
        /// Each file is chosen, and is ready at once.
        pub(super) fn for_test(once: bool) -> Self {
            Self {
                filter: Arc::new(Filter::new(&[], &[], &[]).unwrap()),
                rules: Rules::new(Duration::ZERO),
                rescan: Duration::from_secs(60),
                once,
                staging: Staging::for_test(),
                counts: FolderMetrics::detached(),
                condition: Condition::default(),
                inspections: Activity::default(),
            }
        }
    }

    impl Staging {
        pub(super) fn for_test() -> Self {
            Self { recover: removal::recover, put_back: removal::put_back, tidy: removal::tidy }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_that_the_table_has_no_room_for_leads_to_a_walk() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let mut watch = Watch::new(Arc::clone(&root), Options::for_test(true));
        while !watch.sources.exhausted() {
            watch.sources.next(true).await;
        }
        for number in 0..budget::CANDIDATES_BY_EVENTS {
            watch.candidates.touched(Path::new(&number.to_string()), Cause::Closed, Instant::now());
        }
        watch.source_event(SourceEvent::Fs(FsEvent::File(root.path().join("one more"), Cause::Closed)));
        assert_eq!(watch.candidates.len(), budget::CANDIDATES_BY_EVENTS);
        assert!(!watch.sources.exhausted(), "a walk is to come");
    }
}
