//! Names in the vault under which an upload that was cut off may still be stored.
//!
//! A relay in front of the service may drop our connection and hand the upload on all the same: the service stores it seconds
//! later. A file that is sent again before that is stored twice. A newer file of the same name that is sent before that is
//! covered by the older one, while its receipt says that the newer one is in the store. So nothing is sent under such a name for as
//! long as the configuration says (`store_lag`), and the store is asked again and again until then. Meanwhile the file holds no
//! lease and no place among the uploads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::concurrency::Place;
use super::context::Context;
use super::error::{StepError, TransferError};
use super::receipt::Receipted;
use super::source::Source;
use super::target::{Sent, Target};
use super::verify::Found;
use crate::budget;
use crate::journal::{Entry, State};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

/// When the upload under a name was last cut off.
#[derive(Debug, Clone, Copy)]
struct Cut {
    at: Instant,
    /// All of the content was sent, so the store may still get it.
    may_arrive: bool,
}

/// What this process knows of uploads that were cut off.
#[derive(Debug)]
pub(super) struct Late {
    cuts: Mutex<Cuts>,
    /// One permit for each file that may wait without a place among the uploads.
    waiting: Semaphore,
    /// When this process began, by the wall clock. An attempt that began earlier is an earlier process's, which was gone by then.
    born: SystemTime,
    /// The same moment by the monotonic clock, which nobody sets.
    started: Instant,
}

#[derive(Debug, Default)]
struct Cuts {
    by_name: HashMap<RemotePath, Cut>,
    /// Cuts that are too old to matter are forgotten when there are as many as this.
    most: usize,
}

/// An upload in flight. It counts as cut off if it is dropped without an answer, for whatever reason.
pub(super) struct Sending<'a> {
    late: &'a Late,
    name: RemotePath,
    source: &'a Source,
    answered: bool,
}

impl Late {
    pub(super) fn new() -> Self {
        Self {
            cuts: Mutex::default(),
            waiting: Semaphore::new(budget::LATE_FILES),
            born: SystemTime::now(),
            started: Instant::now(),
        }
    }

    /// An upload under this name begins.
    pub(super) fn sending<'a>(&'a self, name: RemotePath, source: &'a Source) -> Sending<'a> {
        Sending { late: self, name, source, answered: false }
    }

    /// Whether an upload under this name was cut off lately.
    pub(super) fn is_recent(&self, name: &RemotePath) -> bool {
        self.cut(name).is_some_and(|cut| cut.may_arrive && cut.at.elapsed() < budget::LATE)
    }

    /// When an attempt without an outcome was cut off, as far as that is known; `None` where the store can't get it any more.
    pub(super) fn cut_of(&self, entry: &Entry) -> Option<Instant> {
        let name = entry.intent.dest.join(&entry.intent.name);
        if let Some(cut) = self.cut(&name) {
            return cut.may_arrive.then_some(cut.at);
        }
        if entry.state != State::Open {
            return None;
        }
        // The attempt is another process's: of one that is gone, or of one that began after this one did.
        let at = if entry.started < self.born {
            self.started
        } else {
            let age = entry.started.elapsed().unwrap_or_default();
            Instant::now().checked_sub(age).unwrap_or(self.started)
        };
        // Noted, so that the wall clock is not asked for its age again: it may be set back meanwhile.
        self.note(name, Cut { at, may_arrive: true });
        Some(at)
    }

    fn cut(&self, name: &RemotePath) -> Option<Cut> {
        self.cuts().by_name.get(name).copied()
    }

    fn note(&self, name: RemotePath, cut: Cut) {
        let mut cuts = self.cuts();
        if cuts.by_name.len() >= cuts.most {
            cuts.by_name.retain(|_, cut| cut.at.elapsed() < budget::LATE);
            cuts.most = cuts.by_name.len() * 2 + budget::LATE_FILES;
        }
        let known = cuts.by_name.entry(name).or_insert(cut);
        // The older upload may still arrive, whatever became of the newer one.
        if cut.may_arrive || !known.may_arrive {
            *known = cut;
        }
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending<'_> {
    /// The store has answered: it took the upload, or failed with this error.
    pub(super) fn answered(&mut self, error: Option<&VaultError>) {
        self.answered = true;
        let Some(error) = error else { return };
        if matches!(error.kind, Kind::Unavailable | Kind::Unknown) {
            let cut = Cut { at: Instant::now(), may_arrive: error.all_sent };
            self.late.note(self.name.clone(), cut);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // A file that was not read to its end was not sent to its end.
        if !self.answered && self.source.sha256().is_some() {
            self.late.note(self.name.clone(), Cut { at: Instant::now(), may_arrive: true });
        }
    }
}

impl Late {
    /// Waits before the store is asked again: without a place among the uploads, unless too many files wait like that.
    pub(super) async fn wait(&self, place: &Place, wait: Duration) {
        match self.waiting.try_acquire() {
            Ok(_permit) => place.lend(wait).await,
            Err(_) => tokio::time::sleep(wait).await,
        }
    }
}

/// Nothing is sent to a target while an upload that was cut off may still be stored there.
pub(super) async fn nothing_late<V: Vault>(context: &Context<V>, target: &Target) -> Result<(), StepError> {
    let late = &context.shared.late;
    let cut_off = match late.cut(&target.path()) {
        Some(cut) => cut.may_arrive.then_some(cut.at),
        // What an earlier process sent is known from the journal only, and can't arrive any more once this process is old enough.
        None if late.started.elapsed() >= context.policy.store_lag => None,
        None => {
            let since = late.born.checked_sub(budget::LATE).unwrap_or(late.born);
            let (journal, period) = (&context.shared.journal, (since, late.born));
            let was_cut_off = journal.was_cut_off(&target.folder, &target.name, period, budget::LATE_ATTEMPTS).await?;
            was_cut_off.then_some(late.started)
        }
    };
    match context.wait_for_arrival(cut_off) {
        Some(wait) => Err(TransferError::MayArrive(wait).into()),
        None => Ok(()),
    }
}

/// Whether an older upload of the same name, which arrived even later than it was waited for, covers the file that was just stored.
/// Such a file is sent again, and not removed.
pub(super) async fn is_covered<V: Vault>(
    context: &Context<V>,
    target: &Target,
    receipted: &Receipted,
) -> Result<bool, StepError> {
    if !context.shared.late.is_recent(&receipted.remote) {
        return Ok(false);
    }
    let stored = &receipted.stored;
    let sent = Sent { name: target.name.clone(), size: stored.size, sha256: stored.sha256.clone() };
    Ok(!matches!(context.find(target, &sent).await?, Found::Same(_)))
}

/// Whether an older upload may cover an entry's document. Not where a newer one of the same name was sent since: its content is the
/// one that belongs there, and must not be covered by this entry's file again.
pub(super) async fn may_be_covered<V: Vault>(context: &Context<V>, entry: &Entry) -> Result<bool, StepError> {
    let name = entry.intent.dest.join(&entry.intent.name);
    Ok(context.shared.late.is_recent(&name) && !context.shared.journal.has_newer_of_name(entry.id).await?)
}

/// How long until the store is asked again for an upload that was cut off so long ago: each wait is as long as all before it,
/// and the last one ends when the upload can't arrive any more. `None` once that is over.
pub(super) fn next_look(since: Duration, lag: Duration) -> Option<Duration> {
    let left = lag.checked_sub(since).filter(|left| !left.is_zero())?;
    Some(since.max(budget::FIRST_LOOK).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_asked_at_growing_intervals_until_a_minute_is_over() {
        let lag = Duration::from_secs(60);
        let (mut at, mut looks) = (Duration::ZERO, Vec::new());
        while let Some(wait) = next_look(at, lag) {
            at += wait;
            looks.push(at.as_secs());
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 60]);
        assert_eq!(next_look(Duration::ZERO, Duration::ZERO), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newer_upload_that_was_never_sent_whole_hides_no_older_one_that_may_arrive() {
        let (late, name) = (Late::new(), RemotePath::parse("/dest/x").unwrap());
        let now = Instant::now();
        late.note(name.clone(), Cut { at: now, may_arrive: true });
        late.note(name.clone(), Cut { at: now, may_arrive: false });
        assert!(late.is_recent(&name));
        tokio::time::advance(budget::LATE).await;
        assert!(!late.is_recent(&name));
    }
}
