//! Turns hints (events, scans, lost events, new folders, files that come back) into settled files.
//!
//! Events are hints, the folder itself is the truth: it is walked through at the start, when hints were lost, twice for
//! each new folder, and every few minutes. A full queue pauses the walk; nothing is dropped, only looked at again.

mod candidates;
mod events;
mod ignore;
mod inspect;
mod scan;
pub mod settle;
mod sources;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::budget;
use crate::file::{Root, Settled};
use crate::observe::health::Condition;
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::Activity;
use crate::shutdown::{Shutdown, Stop};

use candidates::Candidates;
use events::Hint;
pub use ignore::IgnorePatterns;
pub use scan::{Found, Walker};
use settle::{Observation, Rules, Verdict};
use sources::{SourceEvent, Sources};

/// How a folder is watched.
#[derive(Debug, Clone)]
pub struct Options {
    /// Names that are left alone.
    pub names: Arc<IgnorePatterns>,
    /// When a file is ready.
    pub rules: Rules,
    /// Time between walks through the whole folder.
    pub rescan: Duration,
    /// End when all that was there is done.
    pub once: bool,
    /// What is counted on the way.
    pub counts: FolderMetrics,
    /// Where it is noted that the folder is gone.
    pub gone: Condition,
    /// Looks at files that wait for the file system, and those that are done.
    pub looks: Activity,
}

/// What the pipeline says of a file that it was given.
#[derive(Debug, Clone)]
pub struct Done {
    /// Where it lay, below the root.
    pub relative: PathBuf,
    /// What follows.
    pub next: Next,
}

/// What follows for a file that the pipeline is done with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// It was uploaded, and is no longer there.
    Stored,
    /// It was gone.
    Gone,
    /// It lies there, and stays until it changes.
    Remains {
        /// It was away, and was put back by a rename of our own.
        put_back: bool,
        /// Or could not be put back, and lies here, below the root.
        aside: Option<PathBuf>,
    },
    /// It must go round again; it lies here now, below the root.
    Again(PathBuf),
}

/// What watching a folder came to, beside the files it handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Folders and files that could not be read.
    pub unreadable: u64,
    /// Files that were still open for writing when patience ended; only with `once`.
    pub still_open: u64,
    /// Uploaded files that no event had told of, though events should have.
    pub missed_by_events: u64,
    /// Files handed on of which no report came: the pipeline was stopped in the middle of them.
    pub cut: u64,
}

/// Files looked at in one go.
const BATCH: usize = 512;

/// Watches a folder until it is told to stop or, with `once`, until all that was there is done.
///
/// Ends by dropping `ready`, and when the pipeline has answered for each file it was given, or `done` has ended. Tells what it came
/// to, and which folder it held at the end: where the first one was replaced, that is another one.
pub async fn run(
    root: Arc<Root>,
    options: Options,
    ready: mpsc::Sender<Settled>,
    done: mpsc::UnboundedReceiver<Done>,
    shutdown: Shutdown,
) -> (Outcome, Arc<Root>) {
    let sources = Sources::start(root, &options);
    let watch = Watch {
        sources,
        table: Candidates::default(),
        looking: None,
        out: 0,
        options,
        outcome: Outcome::default(),
        unreadable: HashSet::new(),
    };
    watch.run(ready, done, shutdown).await
}

/// What looks at files have shown.
type Looks = Vec<(Arc<Path>, Observation)>;

struct Watch {
    sources: Sources,
    table: Candidates,
    looking: Option<JoinHandle<Looks>>,
    /// Files in the pipeline.
    out: usize,
    options: Options,
    outcome: Outcome,
    /// Told of already.
    unreadable: HashSet<PathBuf>,
}

impl Watch {
    async fn run(
        mut self,
        ready: mpsc::Sender<Settled>,
        mut done: mpsc::UnboundedReceiver<Done>,
        mut shutdown: Shutdown,
    ) -> (Outcome, Arc<Root>) {
        while !self.finished() {
            self.start_looking();
            let has_ready = self.table.has_ready() && !self.sources.stands_by();
            let due = self.table.next_due().filter(|_| self.looking.is_none());
            let room = self.table.len() < budget::FILES_ON_THEIR_WAY;
            tokio::select! {
                () = shutdown.reached(Stop::Gently) => break,
                Some(report) = done.recv() => self.done(&report),
                seen = seen(&mut self.looking) => self.looked(seen),
                place = ready.reserve(), if has_ready => match place {
                    Ok(place) => self.hand_on(place),
                    // The pipeline has given up.
                    Err(_) => break,
                },
                news = self.sources.next(room) => self.news(news),
                () = until(due) => {}
            }
        }
        drop(ready);
        self.drain(done).await
    }

    /// Files in the pipeline are its own to end; their reports are taken so that none is lost in the count.
    async fn drain(mut self, mut done: mpsc::UnboundedReceiver<Done>) -> (Outcome, Arc<Root>) {
        while self.out > 0 {
            let Some(report) = done.recv().await else { break };
            self.done(&report);
        }
        self.outcome.cut = self.out as u64;
        (self.outcome, Arc::clone(self.sources.root()))
    }

    fn finished(&self) -> bool {
        self.options.once && self.table.len() == 0 && self.sources.exhausted()
    }

    fn start_looking(&mut self) {
        if self.looking.is_some() {
            return;
        }
        let due = self.table.take_due(Instant::now(), BATCH);
        if due.is_empty() {
            return;
        }
        let root = Arc::clone(self.sources.root());
        self.options.looks.started();
        self.looking = Some(tokio::task::spawn_blocking(move || {
            due.into_iter().map(|path| (Arc::clone(&path), look_at(&root, &path))).collect()
        }));
    }

    fn looked(&mut self, seen: Looks) {
        self.looking = None;
        self.options.looks.finished(1);
        let now = Instant::now();
        for (path, seen) in seen {
            match self.table.looked(&path, seen, now, &self.options.rules) {
                Verdict::Folder => self.sources.new_folder(&path),
                Verdict::StillOpen => {
                    self.outcome.still_open += 1;
                    tracing::warn!(file = %path.display(), "still open for writing, or changing again and again: left for the next run");
                }
                Verdict::Ready | Verdict::Wait(_) | Verdict::Forget => {}
            }
        }
    }

    fn hand_on(&mut self, place: mpsc::Permit<'_, Settled>) {
        if let Some((path, size)) = self.table.take_ready() {
            self.out += 1;
            place.send(Settled::new(Arc::clone(self.sources.root()), path.to_path_buf()).of_size(size));
        }
    }

    fn news(&mut self, news: SourceEvent) {
        match news {
            SourceEvent::Hint(Hint::Folder(path)) => {
                if let Some(relative) = self.wanted(&path) {
                    self.sources.new_folder(&relative);
                }
            }
            SourceEvent::Hint(Hint::Look(path, cause)) => {
                let Some(relative) = self.wanted(&path) else { return };
                if self.table.len() < budget::FILES_BY_EVENTS {
                    self.table.hint(&relative, cause, Instant::now());
                } else {
                    self.sources.walk_soon();
                }
            }
            SourceEvent::Files { paths, told_before } => {
                let now = Instant::now();
                for path in &paths {
                    self.table.found(path, told_before, now);
                }
            }
            SourceEvent::Unreadable(path, why) => {
                if self.unreadable.insert(path.clone()) {
                    self.outcome.unreadable += 1;
                    tracing::warn!(path = %path.display(), "can't be read, so its files are not uploaded: {why}");
                }
            }
            SourceEvent::WalkEnded if !self.options.once => self.table.walked(Instant::now()),
            SourceEvent::WalkEnded => {}
        }
    }

    /// A path as it is below the root, if its names are not left alone.
    fn wanted(&self, path: &Path) -> Option<PathBuf> {
        let relative = path.strip_prefix(self.sources.root().path()).ok()?;
        let wanted = !relative.as_os_str().is_empty() && !self.options.names.any_in_progress(relative);
        wanted.then(|| relative.to_owned())
    }

    fn done(&mut self, report: &Done) {
        self.out -= 1;
        let told = self.table.done(&report.relative, &report.next, Instant::now());
        if report.next == Next::Stored && !told {
            self.outcome.missed_by_events += 1;
            self.options.counts.unannounced.inc();
            tracing::warn!(
                file = %report.relative.display(),
                total = self.outcome.missed_by_events,
                "no event told of this file; a walk through the folder found it"
            );
        }
    }
}

/// A fault of this program in the middle of one look must not lose the others of its batch, nor this one: the pipeline opens the
/// file again, and reports what comes of that.
fn look_at(root: &Root, path: &Path) -> Observation {
    catch_unwind(AssertUnwindSafe(|| inspect::look(root, path))).unwrap_or(Observation::Unreadable)
}

/// The looks under way, once they are over; never without any.
async fn seen(looking: &mut Option<JoinHandle<Looks>>) -> Looks {
    match looking {
        Some(handle) => handle.await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}

/// Resolves at a time; never without one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settle::Cause;

    impl Options {
        /// Nothing is ignored, and each file is ready at once.
        pub(super) fn for_test(once: bool) -> Self {
            let names = Arc::new(IgnorePatterns::new(&[]).unwrap());
            let (rules, rescan) = (Rules::new(Duration::ZERO), Duration::from_secs(60));
            Self {
                names,
                rules,
                rescan,
                once,
                counts: FolderMetrics::detached(),
                gone: Condition::default(),
                looks: Activity::default(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_beyond_those_that_are_remembered_is_made_up_for_by_a_walk() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(Root::open(dir.path()).unwrap());
        let options = Options { once: false, ..Options::for_test(true) };
        let mut sources = Sources::start(Arc::clone(&root), &Options::for_test(true));
        while !sources.exhausted() {
            sources.next(true).await;
        }
        let mut table = Candidates::default();
        for number in 0..budget::FILES_BY_EVENTS {
            table.hint(Path::new(&number.to_string()), Cause::Closed, Instant::now());
        }
        let (outcome, unreadable) = (Outcome::default(), HashSet::new());
        let mut watch = Watch { sources, table, looking: None, out: 0, options, outcome, unreadable };
        watch.news(SourceEvent::Hint(Hint::Look(root.path().join("one more"), Cause::Closed)));
        assert_eq!(watch.table.len(), budget::FILES_BY_EVENTS);
        assert!(!watch.sources.exhausted(), "a walk is to come");
    }
}
