//! Files on their way out of the folder: set aside, waiting out their grace, gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};

use super::body::Source;
use super::worker::INTERNAL;
use super::{Outcome, Report};
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, End, Journal, LocalEnd, Stored};
use crate::observe::standstill::Flow;
use crate::removal::{self, Aside, Disposition, GRACE, NotRemoved};
use crate::vault::RemotePath;

/// A file that is to leave its place.
#[derive(Debug)]
pub(super) struct RemovalRequest {
    pub(super) file: Settled,
    /// As it was sent, under its lease still.
    pub(super) source: Source,
    pub(super) fate: Disposition,
    pub(super) attempt: AttemptId,
    pub(super) why: Why,
}

/// Why a file is to leave its place.
#[derive(Debug)]
pub(super) enum Why {
    /// The store has it.
    Stored(RemotePath, Stored),
    /// The store refuses it for this reason, and refused files are collected elsewhere.
    Failed(String),
}

/// A file that was set aside.
#[derive(Debug)]
struct Staged {
    file: Settled,
    aside: Aside,
    fate: Disposition,
    attempt: AttemptId,
    why: Why,
}

/// What came of a file: it left its place, or why not.
struct Ended {
    file: Settled,
    attempt: AttemptId,
    why: Why,
    outcome: Result<LocalEnd, NotRemoved>,
}

/// Brings files out of the folder, many in one go, in the order in which they came: the grace is the same for all.
///
/// Runs by itself and is tied to no upload's life: the way from a receipt to the unlink is not to be cancelled.
#[derive(Debug, Clone)]
pub(super) struct Removals {
    leaving: mpsc::Sender<RemovalRequest>,
    left: Arc<InFlight>,
}

/// How many files are on their way out.
#[derive(Debug, Default)]
struct InFlight {
    count: AtomicUsize,
    none: Notify,
    flow: Flow,
}

impl InFlight {
    fn ended(&self, count: usize) {
        self.flow.ended(count);
        if self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }
}

/// Files handled in one go.
const BATCH: usize = 256;

impl Removals {
    pub(super) fn start(journal: Journal, reports: mpsc::UnboundedSender<Report>, flow: Flow) -> Self {
        let (leaving, to_set_aside) = mpsc::channel(BATCH);
        let (resting, to_finish) = mpsc::unbounded_channel();
        let left = Arc::new(InFlight { flow, ..InFlight::default() });
        let reporter = Reporter { journal, reports, left: Arc::clone(&left) };
        tokio::spawn(set_aside_all(to_set_aside, resting, reporter.clone()));
        tokio::spawn(finish_all(to_finish, reporter));
        Self { leaving, left }
    }

    /// Takes a file on; waits while others wait, for each holds a lease and a descriptor.
    pub(super) async fn add(&self, leaving: RemovalRequest) {
        // The task that takes them lives as long as anybody can call this.
        let Ok(place) = self.leaving.reserve().await else { return };
        self.left.count.fetch_add(1, Ordering::AcqRel);
        self.left.flow.waits();
        place.send(leaving);
    }

    /// Resolves when none is left.
    pub(super) async fn drained(&self) {
        loop {
            let none = self.left.none.notified();
            tokio::pin!(none);
            none.as_mut().enable();
            if self.left.count.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

/// First half: renames each file into the private folder, and starts its grace.
async fn set_aside_all(
    mut leaving: mpsc::Receiver<RemovalRequest>,
    resting: mpsc::UnboundedSender<(Instant, Staged)>,
    reporter: Reporter,
) {
    let mut batch = Vec::new();
    while leaving.recv_many(&mut batch, BATCH).await > 0 {
        let mut refused = Vec::new();
        for set_aside in reporter.each(std::mem::take(&mut batch), |leaving| &leaving.file, set_aside).await {
            match set_aside {
                // Whoever takes them lives until this ends.
                Ok(file) => drop(resting.send((Instant::now() + GRACE, file))),
                Err(ended) => refused.push(*ended),
            }
        }
        reporter.report(refused);
    }
}

fn set_aside(leaving: RemovalRequest) -> Result<Staged, Box<Ended>> {
    let RemovalRequest { file, source, fate, attempt, why } = leaving;
    match removal::set_aside(&file, &source.opened, source.lease.as_deref(), source.sha256()) {
        Ok(aside) => Ok(Staged { file, aside, fate, attempt, why }),
        Err(refused) => Err(Box::new(Ended { file, attempt, why, outcome: Err(refused) })),
    }
}

/// Second half: ends each file's removal when its grace is over.
async fn finish_all(mut resting: mpsc::UnboundedReceiver<(Instant, Staged)>, reporter: Reporter) {
    let mut batch = Vec::new();
    while resting.recv_many(&mut batch, BATCH).await > 0 {
        failpoint("during-grace");
        if let Some((due, _)) = batch.last() {
            sleep_until(*due).await;
        }
        let ended = reporter.each(std::mem::take(&mut batch), |(_, resting)| &resting.file, finish).await;
        reporter.report(ended);
    }
}

fn finish((_, resting): (Instant, Staged)) -> Ended {
    let Staged { file, aside, fate, attempt, why } = resting;
    failpoint("after-grace");
    let outcome = removal::finish(&aside, &fate);
    failpoint("after-unlink");
    Ended { file, attempt, why, outcome }
}

/// Does the work for each, on a thread that may block. A fault of this program in the middle of one is that one's alone: it
/// answers also with the files of those.
fn each_by_itself<T, U>(batch: Vec<T>, file: fn(&T) -> &Settled, work: fn(T) -> U) -> (Vec<U>, Vec<Settled>) {
    let (mut done, mut faulty) = (Vec::with_capacity(batch.len()), Vec::new());
    for item in batch {
        let concerned = file(&item).clone();
        match catch_unwind(AssertUnwindSafe(|| work(item))) {
            Ok(ended) => done.push(ended),
            Err(_) => faulty.push(concerned),
        }
    }
    (done, faulty)
}

/// Tells everybody how removals ended.
#[derive(Debug, Clone)]
struct Reporter {
    journal: Journal,
    reports: mpsc::UnboundedSender<Report>,
    left: Arc<InFlight>,
}

impl Reporter {
    /// Whoever waits for the end of a file must hear of it, also where this program fails in the middle.
    async fn each<T: Send + 'static, U: Send + 'static>(
        &self,
        batch: Vec<T>,
        file: fn(&T) -> &Settled,
        work: fn(T) -> U,
    ) -> Vec<U> {
        let worked = tokio::task::spawn_blocking(move || each_by_itself(batch, file, work)).await;
        let (done, faulty) = worked.unwrap_or_default();
        for file in faulty {
            let reason = INTERNAL.to_owned();
            self.reports
                .send(Report { file, outcome: Outcome::Failed { reason, moved: None }, put_back: false, aside: None })
                .ok();
            self.left.ended(1);
        }
        done
    }

    fn report(&self, ended: Vec<Ended>) {
        let count = ended.len();
        let mut ends = Vec::with_capacity(count);
        for ended in ended {
            let Ended { file, attempt, why, outcome } = ended;
            let put_back = outcome.is_err();
            let aside = outcome.as_ref().err().map(|left| &left.place).filter(|place| **place != file.origin).cloned();
            let (outcome, end) = meaning(why, outcome);
            ends.extend(end.map(|end| (attempt, end)));
            // Nobody listens only where nobody is left to be told.
            self.reports.send(Report { file, outcome, put_back, aside }).ok();
        }
        let reporter = self.clone();
        // The next batch need not wait for it; whoever ends the program does.
        tokio::spawn(async move {
            reporter.write_down(ends).await;
            reporter.left.ended(count);
        });
    }

    /// Losing it in a crash costs a look at the next start.
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

/// What the end of a removal means: for people, and for the journal.
fn meaning(why: Why, outcome: Result<LocalEnd, NotRemoved>) -> (Outcome, Option<End>) {
    match (why, outcome) {
        (Why::Stored(remote, stored), Ok(local)) => {
            (Outcome::Stored { remote, stored, local: local.clone() }, Some(End::Local(local)))
        }
        (Why::Stored(..), Err(NotRemoved { reason, changed: true, place })) => {
            (Outcome::Again { reason, place }, Some(End::Superseded))
        }
        // What is stored stays so in the journal: the next walk tries the removal again, without an upload.
        (Why::Stored(..), Err(NotRemoved { reason, .. })) => {
            (Outcome::Failed { reason: format!("it is stored, but stays here: {reason}"), moved: None }, None)
        }
        (Why::Failed(reason), Ok(LocalEnd::Moved(path))) => (Outcome::Failed { reason, moved: Some(path) }, None),
        (Why::Failed(reason), Ok(LocalEnd::Removed | LocalEnd::Kept)) => {
            (Outcome::Failed { reason, moved: None }, None)
        }
        (Why::Failed(_), Err(NotRemoved { reason, changed: true, place })) => (Outcome::Again { reason, place }, None),
        (Why::Failed(first), Err(NotRemoved { reason, .. })) => {
            (Outcome::Failed { reason: format!("{first}; it can't be moved away: {reason}"), moved: None }, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::DocumentId;

    fn stored() -> Why {
        let stored = Stored {
            sha256: String::new(),
            size: 1,
            document: DocumentId("1".into()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        };
        Why::Stored(RemotePath::default(), stored)
    }

    fn not_removed(changed: bool) -> Result<LocalEnd, NotRemoved> {
        Err(NotRemoved { reason: "no".into(), changed, place: "x".into() })
    }

    #[test]
    fn only_what_is_gone_is_written_down_as_gone() {
        let end = |why, outcome| meaning(why, outcome).1;
        assert_eq!(end(stored(), Ok(LocalEnd::Removed)), Some(End::Local(LocalEnd::Removed)));
        assert_eq!(end(stored(), Ok(LocalEnd::Moved("/y".into()))), Some(End::Local(LocalEnd::Moved("/y".into()))));
        assert_eq!(end(stored(), not_removed(true)), Some(End::Superseded));
        assert_eq!(end(stored(), not_removed(false)), None, "stored still: the next walk tries again");
    }

    #[test]
    fn what_changed_meanwhile_goes_round_again_and_what_could_not_be_removed_is_told() {
        for (why, changed) in [(stored(), true), (Why::Failed("413".into()), true)] {
            assert!(matches!(meaning(why, not_removed(changed)).0, Outcome::Again { .. }));
        }
        for why in [stored(), Why::Failed("413".into())] {
            assert!(matches!(meaning(why, not_removed(false)).0, Outcome::Failed { moved: None, .. }));
        }
    }

    #[tokio::test]
    async fn a_file_that_somebody_waits_to_write_since_it_was_sent_stays() {
        crate::file::lease::LeaseBreaks::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let file = Settled::new(Arc::new(crate::file::Root::open(dir.path()).unwrap()), "x".into());
        let source = Source::open(&file).unwrap();
        let path = dir.path().join("x");
        let writer = std::thread::spawn(move || drop(std::fs::File::options().append(true).open(path).unwrap()));
        while source.lease.as_ref().unwrap().holds() {
            tokio::task::yield_now().await;
        }
        let ended =
            set_aside(RemovalRequest { file, source, fate: Disposition::Delete, attempt: AttemptId(1), why: stored() });
        assert!(ended.is_err_and(|ended| ended.outcome.is_err_and(|not| not.changed)));
        writer.join().unwrap();
        assert!(dir.path().join("x").exists());
    }

    /// Else the event of our own rename would be a reason to try again at once, and so on for ever.
    #[tokio::test]
    async fn a_file_that_was_put_back_is_told_to_have_been() {
        let dir = tempfile::tempdir().unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let (reports, mut reported) = mpsc::unbounded_channel();
        let reporter = Reporter { journal, reports, left: Arc::default() };
        let root = Arc::new(crate::file::Root::open(dir.path()).unwrap());
        for (outcome, expected) in [(not_removed(false), true), (Ok(LocalEnd::Removed), false)] {
            let file = Settled::new(Arc::clone(&root), "x".into());
            reporter.report(vec![Ended { file, attempt: AttemptId(1), why: stored(), outcome }]);
            assert_eq!(reported.recv().await.unwrap().put_back, expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn removals_are_over_when_their_files_are_gone_and_that_is_written_down() {
        crate::file::lease::LeaseBreaks::install().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("watched");
        std::fs::create_dir(&watched).unwrap();
        std::fs::write(watched.join("x"), "1234").unwrap();
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let file = Settled::new(Arc::new(crate::file::Root::open(&watched).unwrap()), "x".into());
        let source = Source::open(&file).unwrap();
        let intent = crate::journal::Intent {
            root: file.root.path().to_owned(),
            relative: file.origin.clone(),
            stamp: source.opened.stamp,
            dest: RemotePath::default(),
            folder: DocumentId("1".into()),
            name: "x".into(),
        };
        let Why::Stored(_, confirmed) = stored() else { unreachable!() };
        let attempt = journal.adopt(intent, confirmed).await.unwrap();
        let (reports, _reported) = mpsc::unbounded_channel();
        let removals = Removals::start(journal.clone(), reports, Flow::default());
        removals.add(RemovalRequest { file, source, fate: Disposition::Delete, attempt, why: stored() }).await;
        removals.drained().await;
        assert!(!watched.join("x").exists());
        let page = journal.history_page(&crate::journal::Filter::default(), None, 9).await.unwrap();
        assert_eq!(page[0].entry.state, crate::journal::State::Ended(End::Local(LocalEnd::Removed)));
    }
}
