//! One attempt at one file: open, ask the journal, and the way that it says. It may be dropped at any point: what it leaves
//! behind is an intent, and an intent without an outcome is asked for.

use std::time::Duration;

use tokio::time::Instant;

use super::body::{Source, SourceError};
use super::plan::{Plan, plan};
use super::reconcile::is_link_of;
use super::unsent::outgrew_its_place;
use super::verify::{Found, Sent};
use super::{Outcome, Pipeline};
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, End, Entry, Intent, JournalError, State, Stored};
use crate::vault::{RemotePath, Vault, VaultError};

/// A file that the store has, with a durable receipt.
#[derive(Debug)]
pub(super) struct Confirmed {
    pub(super) attempt: AttemptId,
    pub(super) remote: RemotePath,
    pub(super) stored: Stored,
}

/// Why an attempt came to no receipt.
#[derive(Debug)]
pub(super) enum Halt {
    /// Nothing more to do for this file now.
    Ended(Outcome),
    /// This file's trouble, written down: the store refuses these bytes.
    Refused(Source, String),
    /// The same, but written down before: nothing was asked of the store now.
    RefusedBefore(Source, String),
    /// The service's or the login's trouble.
    Service(VaultError),
    /// The destination's trouble.
    Destination(VaultError),
    /// The journal's trouble.
    Journal(JournalError),
    /// The file can't be read, for this reason: not written down yet.
    Unreadable(String),
    /// Nothing can be opened now, for want of descriptors or memory.
    Scarce(String),
    /// The request may have been carried out: the open intent says what to ask for.
    AnswerLost(VaultError),
    /// An upload that was cut off may still be stored: the file is tried again after this time, and nothing is held until then.
    Later(Duration),
}

impl From<JournalError> for Halt {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Unusable(_) => Self::Journal(error),
            // Another process has ended this file's attempt in another way: nobody else's trouble.
            JournalError::Refused(refusal) => Self::Ended(Outcome::Failed { reason: refusal.to_string(), moved: None }),
        }
    }
}

/// How long a receipt alone is reason enough to remove a file.
const FRESH: Duration = Duration::from_secs(60 * 60);

impl<V: Vault> Pipeline<V> {
    /// One attempt. It ends at once when somebody opens the file for writing: the writer waits until then.
    pub(super) async fn attempt(&self, file: &Settled) -> Result<(Confirmed, Source), Halt> {
        let source = open(file).await?.telling(self.shared.flow());
        if outgrew_its_place(file, &source) {
            return Err(again(file, "it has grown since it settled"));
        }
        match self.unless_written(&source, self.follow_plan(file, &source)).await {
            Some(ended) => Ok((ended?, source)),
            None => Err(again(file, "somebody opened it for writing")),
        }
    }

    /// Works on a file until somebody opens it for writing, who waits until then; `None` if so.
    pub(super) async fn unless_written<T>(&self, source: &Source, work: impl Future<Output = T>) -> Option<T> {
        let Some(lease) = &source.lease else { return Some(work.await) };
        tokio::select! {
            done = work => Some(done),
            () = self.shared.breaks.broken(lease) => {
                lease.give_up();
                None
            }
        }
    }

    async fn follow_plan(&self, file: &Settled, source: &Source) -> Result<Confirmed, Halt> {
        let stamp = source.opened.stamp;
        let known = self.shared.journal.of_file(file.root.path(), &file.origin, stamp).await?;
        let known = match known {
            Some(entry) if is_link_of(file, &entry).await => None,
            other => other,
        };
        let refused = known.as_ref().and_then(refusal);
        match plan(known, &stamp, self.after(source), self.forced) {
            Plan::Skip { failed } => Err(match refused {
                Some((attempt, reason)) => self.refused_before(source, attempt, reason).await?,
                None => Halt::Ended(Outcome::Skipped { failed }),
            }),
            Plan::Finish(entry) => self.stored_before(file, source, entry).await,
            Plan::Resolve(entry) if self.ask_for_other(file, &stamp, &entry).await? => self.upload(file, source).await,
            Plan::Resolve(entry) => self.resolve(file, source, entry).await,
            Plan::Upload => self.upload(file, source).await,
        }
    }

    /// It has failed, and has not changed. A crash, or a name that was taken meanwhile, may have kept it from where refused
    /// files are collected.
    async fn refused_before(&self, source: &Source, attempt: AttemptId, reason: String) -> Result<Halt, Halt> {
        self.shared.journal.renew(attempt).await?;
        Ok(match self.policy.failed_dir {
            Some(_) => Halt::RefusedBefore(source.clone(), reason),
            None => Halt::Ended(Outcome::Skipped { failed: true }),
        })
    }

    /// The store had it by an earlier receipt, which may have been pruned: if it has these same bytes still, only the local end
    /// is left.
    async fn stored_before(&self, file: &Settled, source: &Source, entry: Entry) -> Result<Confirmed, Halt> {
        let sha256 = hashed(file, source).await?;
        let Intent { dest, folder, name, .. } = &entry.intent;
        let sent = Sent { name: name.clone(), size: source.opened.stamp.size, sha256 };
        if let Some(stored) = entry.stored.clone().filter(|stored| stored.sha256 == sent.sha256)
            && ((is_fresh(&entry) && !self.may_be_covered(&entry).await?)
                || matches!(self.find(dest, folder, &sent).await?, Found::Same(_)))
        {
            return Ok(Confirmed { attempt: entry.id, remote: dest.join(name), stored });
        }
        if entry.stored.is_none()
            && let Found::Same(document) = self.find(dest, folder, &sent).await?
        {
            return self.already_present(entry.intent, sent, document).await;
        }
        self.upload(file, source).await
    }

    /// An upload was begun and its outcome is unknown: the store is asked, and what it has is not sent again. Nor is what it may
    /// still be storing.
    async fn resolve(&self, file: &Settled, source: &Source, entry: Entry) -> Result<Confirmed, Halt> {
        if let Some(confirmed) = self.ask(file, source, &entry).await? {
            return Ok(confirmed);
        }
        let cut = self.shared.late.cut_of(&entry);
        if let Some(wait) = self.late_wait(cut) {
            return Err(Halt::Later(wait));
        }
        self.abandon(entry.id, &not_found(cut)).await?;
        self.upload(file, source).await
    }

    /// Asks the store for what an upload without an outcome may have left there. Its receipt, if so.
    pub(super) async fn ask(&self, file: &Settled, source: &Source, entry: &Entry) -> Result<Option<Confirmed>, Halt> {
        let Intent { dest, folder, name, .. } = &entry.intent;
        let sha256 = hashed(file, source).await?;
        let sent = Sent { name: name.clone(), size: source.opened.stamp.size, sha256 };
        failpoint("resolving");
        let found = match self.find(dest, folder, &sent).await {
            // What was given up is asked for where that can be done; where it can't, it is no reason to wait.
            Err(Halt::Ended(_)) if entry.state != State::Open => return Ok(None),
            found => found?,
        };
        match found {
            Found::Same(document) if entry.intent.root != file.root.path() || entry.intent.relative != file.origin => {
                self.moved(file, source, entry, sent, document).await.map(Some)
            }
            Found::Same(document) => self.receipt(entry.id, dest, sent, document, true).await.map(Some),
            Found::Other | Found::Nothing => Ok(None),
        }
    }
}

/// What is written down of an upload that was asked for in vain. Never that the store does not have it: it may come later still.
fn not_found(cut: Option<Instant>) -> String {
    match cut {
        Some(cut) => {
            let seconds = cut.elapsed().as_secs();
            format!("not found in the store {seconds} s after its upload was cut off; it may have come later")
        }
        None => "not found in the store; not all of it was sent".to_owned(),
    }
}

/// Whether a receipt is of a removal that was begun and not ended, just now: as good as the answer itself, even where a
/// newer file of the same path has covered its document since. Of any other, the document may be gone by now.
fn is_fresh(entry: &Entry) -> bool {
    let unended = matches!(entry.state, State::Stored | State::Ended(End::Superseded));
    let age = entry.stored_at.and_then(|at| at.elapsed().ok());
    unended && age.is_some_and(|age| age < FRESH)
}

/// Why an attempt failed, if it did.
fn refusal(entry: &Entry) -> Option<(AttemptId, String)> {
    match &entry.state {
        State::Ended(End::Failed { reason }) => Some((entry.id, reason.clone())),
        _ => None,
    }
}

pub(super) async fn open(file: &Settled) -> Result<Source, Halt> {
    let settled = file.clone();
    blocking(file, move || Source::open(&settled)).await
}

/// Reads a small file.
pub(super) async fn load(file: &Settled, source: &Source) -> Result<(), Halt> {
    let source = source.clone();
    blocking(file, move || source.load()).await
}

/// Work on a file. On a local disk it takes some microseconds, and a thread of its own for each small file would cost
/// twice that; on a network share it may take any time.
async fn blocking<T: Send + 'static>(
    file: &Settled,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, Halt> {
    let done = if file.root.may_hang() {
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(SourceError::Unreadable(error.to_string())))
    } else {
        work()
    };
    done.map_err(|error| match error {
        SourceError::Gone => Halt::Ended(Outcome::Gone),
        SourceError::Unsettled(reason) => again(file, reason),
        SourceError::Unreadable(reason) => Halt::Unreadable(reason),
        SourceError::Scarce(why) => Halt::Scarce(why),
    })
}

/// The file's SHA-256, or what it means for the file that it can't be read to its end.
pub(super) async fn hashed(file: &Settled, source: &Source) -> Result<String, Halt> {
    if let Some(sha256) = source.sha256() {
        return Ok(sha256);
    }
    let reader = source.clone();
    let hashed = tokio::task::spawn_blocking(move || reader.hashed()).await;
    match hashed.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(sha256) => Ok(sha256),
        Err(error) => Err(unread(file, source, format!("it can't be read: {error}"))),
    }
}

/// What it means that a file could not be read to its end.
pub(super) fn unread(file: &Settled, source: &Source, reason: String) -> Halt {
    if source.check().is_err() { again(file, "it changed while it was read") } else { Halt::Unreadable(reason) }
}

pub(super) fn again(file: &Settled, reason: &str) -> Halt {
    Halt::Ended(Outcome::Again { reason: reason.to_owned(), place: file.relative.clone() })
}
