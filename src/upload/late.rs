//! Names in the vault under which an upload that was cut off may still be stored.
//!
//! A relay in front of the service may drop our connection and hand the upload on all the same: the service stores it seconds
//! later. A file that is sent again before that is stored twice. A newer file of the same name that is sent before that is
//! covered by the older one, while its receipt says that it is the one in the store. So nothing is sent under such a name for as
//! long as the configuration says (`store_lag`), and the store is asked again and again until then. Meanwhile the file holds no
//! lease and no place among the uploads.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Pipeline;
use super::attempt::{Confirmed, Halt, again};
use super::body::Source;
use super::concurrency::{Class, Concurrency};
use super::verify::{Found, Sent};
use crate::budget;
use crate::file::Settled;
use crate::journal::{Entry, Intent, State};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

/// When the upload under a name was last cut off.
#[derive(Debug, Clone, Copy)]
struct Cut {
    at: Instant,
    /// All of it was sent, so it may still be stored.
    may_come: bool,
}

/// What this process knows of uploads that were cut off.
#[derive(Debug)]
pub(super) struct Late {
    cuts: Mutex<Cuts>,
    /// Files that wait without a place among the uploads.
    resting: Semaphore,
    /// An attempt that began before this is of an earlier process, which was gone by then.
    born: SystemTime,
    /// The same moment by the clock that nobody sets.
    started: Instant,
}

#[derive(Debug, Default)]
struct Cuts {
    by_name: HashMap<RemotePath, Cut>,
    /// Old ones are forgotten when there are as many as this.
    most: usize,
}

/// An upload under way. Dropped without an answer, for whatever reason, it counts as cut off.
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
            resting: Semaphore::new(budget::LATE_FILES),
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
        self.cut(name).is_some_and(|cut| cut.may_come && cut.at.elapsed() < budget::LATE)
    }

    /// When an attempt without an outcome was cut off, as far as that is known; `None` where it can't be stored any more.
    pub(super) fn cut_of(&self, entry: &Entry) -> Option<Instant> {
        let name = entry.intent.dest.join(&entry.intent.name);
        if let Some(cut) = self.cut(&name) {
            return cut.may_come.then_some(cut.at);
        }
        if entry.state != State::Open {
            return None;
        }
        // It is another process's: one that is gone, or one that began after this one did.
        let at = if entry.started < self.born {
            self.started
        } else {
            let age = entry.started.elapsed().unwrap_or_default();
            Instant::now().checked_sub(age).unwrap_or(self.started)
        };
        // Noted, so that its age is not asked of the wall clock again, which may be set back meanwhile.
        self.note(name, Cut { at, may_come: true });
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
        // An older upload may still come, whatever became of the newer one.
        if cut.may_come || !known.may_come {
            *known = cut;
        }
    }

    fn cuts(&self) -> MutexGuard<'_, Cuts> {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending<'_> {
    /// The upload has ended: well, or with this error.
    pub(super) fn answered(&mut self, error: Option<&VaultError>) {
        self.answered = true;
        let Some(error) = error else { return };
        if matches!(error.kind, Kind::Unavailable | Kind::Unknown) {
            let cut = Cut { at: Instant::now(), may_come: error.all_sent };
            self.late.note(self.name.clone(), cut);
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        // What was not read to its end was not sent to its end.
        if !self.answered && self.source.sha256().is_some() {
            self.late.note(self.name.clone(), Cut { at: Instant::now(), may_come: true });
        }
    }
}

impl<V: Vault> Pipeline<V> {
    /// Nothing is sent under a name while an upload that was cut off may still be stored under it.
    pub(super) async fn nothing_late(&self, intent: &Intent) -> Result<(), Halt> {
        let late = &self.shared.late;
        if let Some(cut) = late.cut(&intent.dest.join(&intent.name)) {
            return match self.late_wait(cut.may_come.then_some(cut.at)) {
                Some(wait) => Err(Halt::Later(wait)),
                None => Ok(()),
            };
        }
        // What an earlier process sent is known from the journal only, and can't come any more once this one is old enough.
        if late.started.elapsed() >= self.policy.store_lag {
            return Ok(());
        }
        let since = late.born.checked_sub(budget::LATE).unwrap_or(late.born);
        let (folder, name) = (&intent.folder, &intent.name);
        let cut_off = self.shared.journal.was_cut_off(folder, name, (since, late.born), budget::LATE_ATTEMPTS).await?;
        match self.late_wait(cut_off.then_some(late.started)) {
            Some(wait) => Err(Halt::Later(wait)),
            None => Ok(()),
        }
    }

    /// How long until the store is asked again for what was cut off at this time; `None` where it can't come any more.
    pub(super) fn late_wait(&self, cut: Option<Instant>) -> Option<Duration> {
        cut.and_then(|cut| next_look(cut.elapsed(), self.policy.store_lag))
    }

    /// What was cut off may come even later than that. Where it may have come over the newer file of its name, that one is sent
    /// again and not removed.
    pub(super) async fn not_covered(&self, file: &Settled, intent: &Intent, confirmed: &Confirmed) -> Result<(), Halt> {
        if !self.shared.late.is_recent(&confirmed.remote) {
            return Ok(());
        }
        let stored = &confirmed.stored;
        let sent = Sent { name: intent.name.clone(), size: stored.size, sha256: stored.sha256.clone() };
        match self.find(&intent.dest, &intent.folder, &sent).await? {
            Found::Same(_) => Ok(()),
            Found::Other | Found::Nothing => {
                Err(again(file, "an older upload of its name has come over it in the store"))
            }
        }
    }

    /// Whether an older upload may have come over an entry's document. Not where a newer one of its name was sent since: that one's
    /// content is the one that belongs there, and it is not to be covered by this one again.
    pub(super) async fn may_be_covered(&self, entry: &Entry) -> Result<bool, Halt> {
        let name = entry.intent.dest.join(&entry.intent.name);
        Ok(self.shared.late.is_recent(&name) && !self.shared.journal.has_newer_of_name(entry.id).await?)
    }

    /// Waits without a place among the uploads, where not too many files do.
    pub(super) async fn rest(&self, class: Class, wait: Duration) {
        let resting = self.shared.late.resting.try_acquire();
        let lent = resting.is_ok().then(|| Lent::new(&self.concurrency, class));
        tokio::time::sleep(wait).await;
        if lent.is_some() {
            self.concurrency.free(class).await;
        }
    }
}

/// A place that is given back for a while; taken again when this is dropped, also in the middle of the wait, for whoever ends
/// the file gives it back once more.
struct Lent<'a>(&'a Concurrency, Class);

impl<'a> Lent<'a> {
    fn new(concurrency: &'a Concurrency, class: Class) -> Self {
        concurrency.lend(class);
        Self(concurrency, class)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.0.take(self.1);
    }
}

/// How long until the store is asked again for an upload that was cut off so long ago: each wait is as long as all before it,
/// and the last one ends when it can't come any more. `None` once that is over.
fn next_look(since: Duration, lag: Duration) -> Option<Duration> {
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
    async fn an_upload_that_may_still_come_is_not_forgotten_for_a_newer_one_that_was_never_sent() {
        let (late, name) = (Late::new(), RemotePath::parse("/dest/x").unwrap());
        let now = Instant::now();
        late.note(name.clone(), Cut { at: now, may_come: true });
        late.note(name.clone(), Cut { at: now, may_come: false });
        assert!(late.is_recent(&name));
        tokio::time::advance(budget::LATE).await;
        assert!(!late.is_recent(&name));
    }
}
