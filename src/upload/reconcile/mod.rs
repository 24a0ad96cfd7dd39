//! Uploads whose outcome is unknown. Each has an open attempt in the journal: its answer was lost, or its process was stopped.
//!
//! Before a file is sent it is asked for: by the attempt of its own path, by all other open attempts of its inode (it was renamed, or
//! changed and renamed), and by the attempt that has its name in the vault. The file of an attempt may lie elsewhere by now:
//! then it is searched for, because only its bytes say what to ask the store for, and the upload of another file under its path or its
//! name would cover its document. [`decide`] says what is done; `startup` does the part that needs no store, before a folder is watched.

mod decide;
mod search;
pub(crate) mod startup;

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::context::Context;
use super::error::{StepError, TransferError};
use super::plan::Asked::ByWatch;
use super::receipt::{self, Proof, Receipted};
use super::source::Source;
use super::target::{Sent, Target};
use super::verify::Found;
use crate::budget;
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, Begun, End, Entry, Intent, JournalError, State};
use crate::measure::span;
use crate::vault::Vault;
use decide::{Action, Claim, NEVER_SENT, before_sending};
pub(super) use search::is_link_of;
pub(crate) use search::is_other_link;
use search::{is_gone, is_of_root, is_same_inode, locate};

/// A file that is sent or written just now is asked for so often, so far apart; then the file that waits for it goes on.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// What asking for another file's upload came to.
#[derive(Debug, PartialEq)]
enum Asked {
    /// The store has the file, and the journal its receipt.
    Stored,
    /// The store does not have the file.
    NotStored,
    /// Unknown yet: a process writes or sends the file just now.
    Unanswered,
}

/// Asks for uploads whose outcome is unknown, for a file that is to be sent.
pub(super) struct Reconcile<'a, V> {
    context: &'a Context<V>,
    file: &'a Settled,
    source: &'a Source,
}

impl<'a, V: Vault> Reconcile<'a, V> {
    pub(super) fn new(context: &'a Context<V>, file: &'a Settled, source: &'a Source) -> Self {
        Self { context, file, source }
    }

    /// Resolves an attempt that the journal has of this file, or of its path. The receipt if the store has this file; otherwise the
    /// file may be sent.
    pub(super) async fn resolve(&self, entry: &Entry) -> Result<Option<Receipted>, StepError> {
        let is_own = self.source.opened.stamp.same_file(&entry.intent.stamp);
        if is_own || !is_of_root(self.file, entry) {
            return self.resolve_here(entry).await;
        }
        self.resolve_other(Claim::Path, entry).await
    }

    /// Resolves all further attempts of `open`, which are those of this file's inode, under whatever path. Each is of this file, or of an earlier state of it,
    /// or of a file that is gone and whose inode number this one got. No other file would ask for them. The receipt if the
    /// store has this file.
    pub(super) async fn resolve_others(
        &self,
        known: Option<AttemptId>,
        open: Vec<Entry>,
    ) -> Result<Option<Receipted>, StepError> {
        let stamp = self.source.opened.stamp;
        for entry in open {
            let is_other = Some(entry.id) != known && is_same_inode(&stamp, &entry.intent.stamp);
            if !is_other || is_link_of(self.file, &entry).await {
                continue;
            }
            if !entry.intent.names_folder() {
                self.abandon(entry.id, NEVER_SENT).await?;
            } else if entry.intent.stamp.same_file(&stamp) {
                if let Some(receipted) = self.resolve_here(&entry).await? {
                    return Ok(Some(receipted));
                }
            } else if !self.may_arrive(&entry) || !self.is_younger_than(&entry) {
                // The bytes that were sent are nowhere any more, so there is nothing to ask for. A younger file, which has nothing to
                // do with them, does not wait for them either: the attempt stays open.
                self.end_in_time(&entry, |_| "its file was changed before its upload could be asked for".into())
                    .await?;
            }
        }
        Ok(None)
    }

    /// Writes the intent, unless its name belongs to another file. The name of an open attempt whose file is gone from its place is
    /// free once that attempt is resolved.
    pub(super) async fn begin(&self, intent: &Intent) -> Result<Begun, StepError> {
        let begun = self.write_intent(intent.clone()).await?;
        let Begun::NameTaken(owner) = &begun else { return Ok(begun) };
        if owner.state != State::Open || !is_of_root(self.file, owner) || !is_gone(&self.file.root, owner).await {
            return Ok(begun);
        }
        self.resolve_other(Claim::Name, owner).await?;
        Ok(self.write_intent(intent.clone()).await?)
    }

    /// Writes the intent in a task of its own. The transfer may be cancelled meanwhile: then nothing was sent, and the attempt ends at
    /// once. The file stays locked until then, so that no other transfer of it misses the attempt.
    async fn write_intent(&self, intent: Intent) -> Result<Begun, JournalError> {
        let (journal, source) = (self.context.shared.journal.clone(), self.source.clone());
        let (sender, written) = oneshot::channel();
        tokio::spawn(async move {
            let begun = journal.begin(intent).await;
            if let Err(Ok(Begun::Go(attempt))) = sender.send(begun) {
                let end = End::Abandoned { reason: "it was cut off before anything was sent".into() };
                // Not written, it is asked for like any other attempt without an outcome.
                journal.end(attempt, end).await.ok();
            }
            drop(source);
        });
        written.await.expect("the task ends only with an answer")
    }

    /// Resolves an attempt of another file, which has this one's path or its name in the vault.
    async fn resolve_other(&self, claim: Claim, entry: &Entry) -> Result<Option<Receipted>, StepError> {
        let location = locate(self.file, &self.source.opened.stamp, entry).await;
        let action = before_sending(claim, &location);
        let theirs = entry.intent.relative.display();
        tracing::debug!(other = entry.id.0, path = %theirs, ?claim, "another attempt is open; {}", action.describe());
        match action {
            Action::AskFor(other) => {
                let asked = self.ask_for(other, entry).await?;
                // A path stays that file's to ask for when its own turn comes; a name is needed now.
                if asked == Asked::NotStored && claim == Claim::Name {
                    self.abandon(entry.id, GONE).await?;
                }
            }
            Action::Resolve => return self.resolve_here(entry).await,
            Action::Abandon => self.abandon(entry.id, GONE).await?,
            Action::LookAgain => return Err(TransferError::MayArrive(budget::FIRST_LOOK).into()),
            Action::LeaveOpen => {}
        }
        Ok(None)
    }

    /// Asks the store for this file's bytes at an attempt's target, and ends the attempt if they are not there. Not before the upload
    /// can't arrive any more.
    async fn resolve_here(&self, entry: &Entry) -> Result<Option<Receipted>, StepError> {
        if let Some(receipted) = self.ask(entry).await? {
            return Ok(Some(receipted));
        }
        self.end_in_time(entry, not_found).await?;
        Ok(None)
    }

    /// Ends an attempt without an outcome, once its upload can't arrive any more.
    async fn end_in_time(
        &self,
        entry: &Entry,
        reason: impl FnOnce(Option<Instant>) -> String,
    ) -> Result<(), StepError> {
        let cut_off = self.context.shared.late.cut_of(entry);
        if let Some(wait) = self.context.wait_for_arrival(cut_off) {
            return Err(TransferError::MayArrive(wait).into());
        }
        self.abandon(entry.id, &reason(cut_off)).await
    }

    fn may_arrive(&self, entry: &Entry) -> bool {
        self.context.wait_for_arrival(self.context.shared.late.cut_of(entry)).is_some()
    }

    /// Whether this file was made after an attempt began: then it has no more than the inode number of that attempt's file, which is
    /// gone. Where the file system does not say, it may be that file.
    fn is_younger_than(&self, entry: &Entry) -> bool {
        let made = self.source.opened.file.metadata().and_then(|metadata| metadata.created());
        made.is_ok_and(|made| made > entry.started)
    }

    async fn abandon(&self, attempt: AttemptId, reason: &str) -> Result<(), StepError> {
        tracing::debug!(ended = attempt.0, "attempt given up: {reason}");
        Ok(self.context.shared.journal.end(attempt, End::Abandoned { reason: reason.to_owned() }).await?)
    }

    /// Asks for another file's upload with that file's bytes. That file may be in the middle of its own transfer, which may ask as well: it
    /// is waited for, for a while. `push` does not wait: the other process may take any time.
    async fn ask_for(&self, other: &Settled, entry: &Entry) -> Result<Asked, StepError> {
        for _ in 0..TRIES {
            let asked = self.ask_for_once(other, entry).await?;
            if asked != Asked::Unanswered || self.context.asked != ByWatch {
                return Ok(asked);
            }
            sleep(BETWEEN).await;
            let (journal, root) = (&self.context.shared.journal, other.root.path());
            let known = journal.of_file(root, &other.origin, entry.intent.stamp).await?;
            if known.is_none_or(|known| known.id != entry.id || known.state != entry.state) {
                break;
            }
        }
        Ok(Asked::Unanswered)
    }

    async fn ask_for_once(&self, other: &Settled, entry: &Entry) -> Result<Asked, StepError> {
        // A file that can't be read now is as good as any other file that changes: it is sent by itself.
        let Ok(source) = Source::open(other, self.context.shared.activity()).await else {
            return Ok(Asked::Unanswered);
        };
        let asking = Reconcile::new(self.context, other, &source);
        match self.context.unless_written(&source, asking.ask(entry)).await {
            Some(Ok(Some(_))) => Ok(Asked::Stored),
            Some(Ok(None)) => Ok(Asked::NotStored),
            None | Some(Err(StepError::Trouble(TransferError::Scarce(_)))) => Ok(Asked::Unanswered),
            Some(Err(StepError::Trouble(error))) => Err(error.into()),
            // The end of the other file, and not of the one that asks.
            Some(Err(StepError::File(_) | StepError::Blocked(_) | StepError::JournalRefuses(_))) => {
                Ok(Asked::Unanswered)
            }
        }
    }

    /// Asks the store whether it has this file's bytes where an attempt has sent them. The receipt if so.
    async fn ask(&self, entry: &Entry) -> Result<Option<Receipted>, StepError> {
        let target = Target::of(&entry.intent);
        let sent = Sent::of(self.source, &target).await?;
        failpoint("resolving");
        let found = match self.context.find(&target, &sent).await {
            // An attempt that was given up is asked for where the store answers; where it does not, the file need not wait for that.
            Err(StepError::Blocked(_)) if entry.state != State::Open => return Ok(None),
            found => found?,
        };
        tracing::debug!(asked = entry.id.0, target = %target.path(), found = found.is_same(), "store asked for an earlier attempt");
        let Found::Same(document) = found else { return Ok(None) };
        let proof = Proof { sent, document, already_present: true };
        let (root, relative) = (self.file.root.path().to_owned(), self.file.origin.clone());
        if entry.intent.root == root && entry.intent.relative == relative {
            return receipt::write(self.context, entry.id, &target, proof).await.map(Some);
        }
        let intent = Intent { root, relative, stamp: self.source.opened.stamp, ..entry.intent.clone() };
        receipt::moved(self.context, entry.id, intent, proof).await.map(Some)
    }
}

const GONE: &str = "its file was gone before its upload could be asked for";

/// What the journal says of an upload that the store was asked for in vain. Never that the store does not have it: it may arrive later
/// still.
fn not_found(cut_off: Option<Instant>) -> String {
    match cut_off {
        Some(at) => {
            let passed = span(at.elapsed());
            format!("not found in the store {passed} after its upload was cut off; it may have come later")
        }
        None => "not found in the store; not all of it was sent".to_owned(),
    }
}
