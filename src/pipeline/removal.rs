//! Files with a receipt, set aside, waiting out their grace.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Local, Outcome, Report};
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, End, Journal, Stored};
use crate::remove::{self, Aside, Fate, GRACE, Gone, NotRemoved};
use crate::vault::RemotePath;

/// A file that was set aside.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) file: Settled,
    pub(super) aside: Aside,
    pub(super) fate: Fate,
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

/// Ends removals, in the order in which they came: the grace is the same for all. Not tied to any upload's life, for the
/// way from a receipt to the unlink is not to be cancelled.
#[derive(Debug, Clone)]
pub(super) struct Removals {
    resting: mpsc::UnboundedSender<(Instant, Resting)>,
    left: Arc<Left>,
}

#[derive(Debug, Default)]
struct Left {
    count: AtomicUsize,
    none: Notify,
}

impl Left {
    fn ended(&self, count: usize) {
        if self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.none.notify_waiters();
        }
    }
}

/// Files unlinked in one go.
const BATCH: usize = 256;

impl Removals {
    pub(super) fn start(journal: Journal, reports: mpsc::UnboundedSender<Report>) -> Self {
        let (resting, mut queue) = mpsc::unbounded_channel::<(Instant, Resting)>();
        let left = Arc::new(Left::default());
        let counted = Arc::clone(&left);
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while queue.recv_many(&mut batch, BATCH).await > 0 {
                failpoint("during-grace");
                if let Some((due, _)) = batch.last() {
                    sleep_until(*due).await;
                }
                let count = batch.len();
                let mut ends = JoinSet::new();
                for (file, ended) in finish_all(std::mem::take(&mut batch)).await {
                    let attempt = ended.attempt;
                    if let Some(end) = tell(&reports, file, ended) {
                        ends.spawn(write_down(journal.clone(), attempt, end));
                    }
                }
                let left = Arc::clone(&counted);
                // The next batch need not wait for it; whoever ends the program does.
                tokio::spawn(async move {
                    ends.join_all().await;
                    left.ended(count);
                });
            }
        });
        Self { resting, left }
    }

    pub(super) fn add(&self, resting: Resting) {
        self.left.count.fetch_add(1, Ordering::AcqRel);
        // The task that takes them lives as long as anybody can call this.
        self.resting.send((Instant::now() + GRACE, resting)).ok();
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

struct Ended {
    attempt: AttemptId,
    why: Why,
    outcome: Result<Gone, NotRemoved>,
}

async fn finish_all(batch: Vec<(Instant, Resting)>) -> Vec<(Settled, Ended)> {
    let finish = |(_, resting): (Instant, Resting)| {
        let Resting { file, aside, fate, attempt, why } = resting;
        failpoint("after-grace");
        let outcome = remove::finish(&aside, &fate);
        failpoint("after-unlink");
        (file, Ended { attempt, why, outcome })
    };
    tokio::task::spawn_blocking(move || batch.into_iter().map(finish).collect()).await.unwrap_or_default()
}

/// Tells how a removal ended; answers what is to be written down of it.
fn tell(reports: &mpsc::UnboundedSender<Report>, file: Settled, ended: Ended) -> Option<End> {
    let Ended { why, outcome, .. } = ended;
    let (outcome, end) = match (why, outcome) {
        (why, Err(refused)) => not_removed(&why, refused),
        (Why::Stored(remote, stored), Ok(Gone::Removed)) => {
            (Outcome::Stored { remote, stored, local: Local::Removed }, Some(End::Removed))
        }
        (Why::Stored(remote, stored), Ok(Gone::Moved(path))) => {
            let end = End::Moved(path.clone());
            (Outcome::Stored { remote, stored, local: Local::Moved(path) }, Some(end))
        }
        (Why::Failed(reason), Ok(Gone::Moved(path))) => (Outcome::Failed { reason, moved: Some(path) }, None),
        (Why::Failed(reason), Ok(Gone::Removed)) => (Outcome::Failed { reason, moved: None }, None),
    };
    // Nobody listens only where nobody is left to be told.
    reports.send(Report { file, outcome }).ok();
    end
}

/// What it means that a file could not leave its place, and what is to be written down of it.
pub(super) fn not_removed(why: &Why, refused: NotRemoved) -> (Outcome, Option<End>) {
    let NotRemoved { reason, changed, place } = refused;
    if changed {
        let end = matches!(why, Why::Stored(..)).then_some(End::Superseded);
        return (Outcome::Again { reason, place }, end);
    }
    // What is stored stays so in the journal: the next walk tries the removal again, without an upload.
    let reason = match why {
        Why::Stored(..) => format!("it is stored, but stays here: {reason}"),
        Why::Failed(first) => format!("{first}; it can't be moved away: {reason}"),
    };
    (Outcome::Failed { reason, moved: None }, None)
}

/// Losing it in a crash costs a look at the next start.
pub(super) async fn write_down(journal: Journal, attempt: AttemptId, end: End) {
    failpoint("before-end");
    if let Err(error) = journal.end(attempt, end).await {
        tracing::warn!("how a removal ended could not be written down: {error}");
    }
    failpoint("after-end");
}
