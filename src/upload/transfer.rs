//! One file's transfer: open → plan → reconcile → intent → send → verify → receipt, read from top to bottom.
//!
//! A transfer may be dropped at any point. What it leaves behind is at most an attempt without an outcome, which [`super::reconcile`]
//! asks the store for.

use std::time::{Duration, SystemTime};

use super::concurrency::Class;
use super::context::Context;
use super::error::{SourceError, StepError, TransferError};
use super::late;
use super::naming::{self, NameError};
use super::outcome::{BlockedBy, Failure, Outcome, Unsettled};
use super::plan::{Asked, Plan, plan};
use super::receipt::{self, Proof, Receipted};
use super::reconcile::{Reconcile, is_link_of};
use super::send::{Answer, send};
use super::source::Source;
use super::target::{Sent, Target};
use super::unreadable;
use super::verify::{self, Found};
use crate::budget;
use crate::config::{After, OnConflict};
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, Begun, End, Entry, Intent, LocalEnd, State, Stored};
use crate::vault::{Document, DocumentId, Kind, RemotePath, Vault, VaultError};

/// How a transfer ended.
#[derive(Debug)]
pub(super) enum Finished {
    /// The store has the file, and its receipt is durable.
    Stored(Receipted, Source),
    /// The same by an earlier receipt: nothing was sent.
    StoredBefore(Receipted, Source),
    /// The file can't be stored: the journal has the reason.
    Refused(Failure, Source),
    /// The same, known from the journal: nothing was asked of the store.
    RefusedBefore(Failure, Source),
    /// Nothing is left to be done but to report this.
    Nothing(Outcome),
}

/// How long a receipt alone is reason enough to remove a file.
const FRESH: Duration = Duration::from_secs(60 * 60);

/// One try to bring a file into the store.
pub(super) struct Transfer<'a, V> {
    context: &'a Context<V>,
    file: &'a Settled,
    source: Source,
}

impl<'a, V: Vault> Transfer<'a, V> {
    /// Transfers a file once. `Ok` is an end of the file; an error is trouble after which the file may be tried again.
    pub(super) async fn run(context: &'a Context<V>, file: &'a Settled) -> Result<Finished, TransferError> {
        let ended = match Self::open(context, file).await {
            Ok(transfer) => transfer.unless_written().await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(finished) => Ok(finished),
            Err(StepError::File(SourceError::Unreadable(reason))) => {
                unreadable::record(context, file, reason).await.map(Finished::Nothing)
            }
            Err(error) => error.at_end(file).map(Finished::Nothing),
        }
    }

    async fn open(context: &'a Context<V>, file: &'a Settled) -> Result<Self, StepError> {
        let source = Source::open(file, context.shared.activity()).await?;
        let size = source.opened.stamp.size;
        let was_smaller = file.size.is_some_and(|seen| Class::of(seen) != Class::Large);
        if context.asked == Asked::ByWatch && was_smaller && Class::of(size) == Class::Large {
            return Err(Unsettled::Grown.into());
        }
        tracing::debug!(size, leased = source.lease.is_some(), "opened");
        Ok(Self { context, file, source })
    }

    /// All further steps. They end at once when a process opens the file for writing: it is blocked until then.
    async fn unless_written(&self) -> Result<Finished, StepError> {
        let ended = self.context.unless_written(&self.source, self.follow_plan()).await;
        ended.unwrap_or(Err(Unsettled::OpenedForWriting.into()))
    }

    async fn follow_plan(&self) -> Result<Finished, StepError> {
        let (known, mut open) = self.known().await?;
        let known_id = known.as_ref().map(|entry| entry.id);
        // What changed while it was sent or removed is still one file, whose document gets a new version.
        let continues =
            known.as_ref().is_some_and(|entry| matches!(entry.state, State::Stored | State::Ended(End::Superseded)));
        let after = self.context.after(&self.source);
        let named = naming::dest_and_name(&self.file.origin, &self.context.dest, self.context.policy.layout);
        let dest = named.as_ref().ok().map(|(dest, _)| dest);
        let plan = plan(known, (&self.source.opened.stamp, dest), after, self.context.asked);
        tracing::debug!(known = known_id.map(|id| id.0), "planned: {}", plan.describe());
        let (receipted, earlier) = match plan {
            Plan::SkipKept(entry) => return Ok(Finished::Nothing(self.kept_before(entry))),
            Plan::SkipFailed(attempt, reason) => return self.failed_before(attempt, reason).await,
            Plan::Resolve(entry) => {
                let receipted = self.reconcile().resolve(&entry).await?;
                // That may have taken long, and ended other attempts too.
                open = self.open_attempts().await?;
                (receipted, None)
            }
            Plan::Finish(entry) if *after != After::Keep && !self.context.may_be_removed(&entry).await => {
                return Ok(Finished::Nothing(Outcome::Blocked { reason: BlockedBy::Receipts }));
            }
            Plan::Finish(entry) => (None, Some(entry)),
            Plan::Upload => (None, None),
        };
        if let Some(receipted) = receipted {
            return Ok(self.stored(receipted));
        }
        if let Some(receipted) = self.reconcile().resolve_others(known_id, open).await? {
            // The entry of this file that has a receipt already is over; the newest one says what becomes of the file.
            if let Some(entry) = earlier.filter(|entry| entry.state == State::Stored) {
                self.context.shared.journal.end(entry.id, End::Superseded).await?;
            }
            return Ok(self.stored(receipted));
        }
        if let Some(entry) = earlier
            && let Some(receipted) = self.stored_before(entry).await?
        {
            return Ok(match self.context.asked {
                Asked::ByWatch => self.stored(receipted),
                Asked::ByName | Asked::Again => Finished::StoredBefore(receipted, self.source.clone()),
            });
        }
        self.upload(named, continues).await
    }

    /// The file was kept, and has not changed. Who named it is told where it is; a walk through a folder comes to it again and again.
    fn kept_before(&self, entry: Entry) -> Outcome {
        match entry.stored {
            Some(stored) if self.context.asked != Asked::ByWatch => {
                let remote = entry.intent.dest.join(&entry.intent.name);
                Outcome::StoredBefore { remote, stored, receipt: entry.receipt, local: LocalEnd::Kept }
            }
            _ => Outcome::Skipped { failed: false },
        }
    }

    /// What the journal knows of this file or, if nothing, of its path; and all open attempts of its inode.
    async fn known(&self) -> Result<(Option<Entry>, Vec<Entry>), StepError> {
        let (root, stamp) = (self.file.root.path(), self.source.opened.stamp);
        let journal = &self.context.shared.journal;
        let (known, open) = journal.of_file_and_inode(root, &self.file.origin, stamp, budget::OPEN_ATTEMPTS).await?;
        let known = match known {
            Some(entry) if is_link_of(self.file, &entry).await => None,
            other => other,
        };
        Ok((known, open))
    }

    async fn open_attempts(&self) -> Result<Vec<Entry>, StepError> {
        let inode = self.source.opened.stamp.inode;
        Ok(self.context.shared.journal.open_of_inode(inode, budget::OPEN_ATTEMPTS).await?)
    }

    /// The file has failed and has not changed. A crash, or a name that was taken meanwhile, may have kept it from where failed files are
    /// collected.
    async fn failed_before(&self, attempt: AttemptId, reason: String) -> Result<Finished, StepError> {
        self.context.shared.journal.renew(attempt).await?;
        Ok(match self.context.policy.failed_dir {
            Some(_) => Finished::RefusedBefore(Failure::Earlier(reason), self.source.clone()),
            None => Finished::Nothing(Outcome::Skipped { failed: true }),
        })
    }

    /// The store had the file by an earlier receipt, which may have been pruned. If it still has these same bytes, only the local end is
    /// left.
    async fn stored_before(&self, entry: Entry) -> Result<Option<Receipted>, StepError> {
        let target = Target::of(&entry.intent);
        let sent = Sent::of(&self.source, &target).await?;
        let Some(stored) = entry.stored.clone() else {
            let Found::Same(document) = self.context.find(&target, &sent).await? else { return Ok(None) };
            let proof = Proof { sent, document, already_present: true };
            return receipt::adopt(self.context, entry.intent, proof).await.map(Some);
        };
        if stored.sha256 != sent.sha256 {
            return Ok(None);
        }
        let is_proof = is_fresh(&entry) && !late::may_be_covered(self.context, &entry).await?;
        if !is_proof && !self.context.find(&target, &sent).await?.is_same() {
            return Ok(None);
        }
        tracing::debug!(receipt = entry.id.0, asked_store = !is_proof, "stored before");
        Ok(Some(Receipted { attempt: entry.id, remote: target.path(), stored, number: entry.receipt }))
    }

    /// Sends the file, under another name where its own is taken by other content. `continues` where the document of its own name is an
    /// earlier state of this file.
    async fn upload(
        &self,
        named: Result<(RemotePath, String), NameError>,
        continues: bool,
    ) -> Result<Finished, StepError> {
        if let Some(too_large) = self.too_large() {
            return self.refuse_unsent(too_large).await;
        }
        self.source.load().await?;
        let target = match named {
            Ok((dest, name)) => Target { folder: self.folder(&dest).await?, dest, name },
            Err(error) => return self.refuse_unsent(Failure::Name(error)).await,
        };
        if let Some(finished) = self.upload_as(&target, continues).await? {
            return Ok(finished);
        }
        if self.context.policy.on_conflict == OnConflict::Rename {
            let sha256 = self.source.hash().await?;
            for name in naming::alternatives(&target.name, &self.file.origin, &sha256) {
                if let Some(finished) = self.upload_as(&target.named(name), false).await? {
                    return Ok(finished);
                }
            }
        }
        self.refuse_unsent(Failure::NameTaken(target.path())).await
    }

    fn too_large(&self) -> Option<Failure> {
        let (size, allowed) = (self.source.opened.stamp.size, self.context.policy.max_size.0?);
        (size > allowed).then_some(Failure::TooLarge { size, allowed })
    }

    /// The id of a folder of the vault.
    async fn folder(&self, dest: &RemotePath) -> Result<DocumentId, StepError> {
        let folder = self.context.destinations.folder(&*self.context.shared.vault, dest).await;
        folder.map_err(|error| self.no_folder(dest, error))
    }

    /// Sends the file under one name. `None` where that name is taken by other content.
    async fn upload_as(&self, target: &Target, continues: bool) -> Result<Option<Finished>, StepError> {
        // One upload per remote name: the one in flight may fail, or prove identical, and only its end tells.
        let _name = self.context.shared.names.lock(target.path().to_string().into()).await;
        late::nothing_late(self.context, target).await?;
        if self.context.policy.on_conflict == OnConflict::Fail && !continues {
            match self.found_there(target).await? {
                Found::Same(document) => return self.adopt_document(target, document).await.map(Some),
                Found::Other => return Ok(None),
                Found::Nothing => {}
            }
        }
        failpoint("before-intent");
        let intent = self.intent(target);
        let attempt = match self.reconcile().begin(&intent).await? {
            Begun::Go(attempt) => attempt,
            Begun::NameTaken(owner) => return self.adopt(intent, &owner).await,
        };
        failpoint("after-intent");
        let span = tracing::Span::current();
        span.record("attempt", attempt.0);
        span.record("dest", tracing::field::display(target.path()));
        tracing::debug!(bytes = self.source.opened.stamp.size, "sending");
        match send(self.context, self.file, &self.source, target).await {
            Answer::Stored(document) => self.verify(attempt, target, document).await.map(Some),
            Answer::NameTaken => self.conflict(attempt, target).await,
            Answer::Refused(error) => self.refuse(attempt, Failure::Refused(error)).await.map(Some),
            Answer::NotStored(error) => Err(self.not_stored(attempt, target, error).await?),
            Answer::Unknown(trouble) => Err(trouble.into()),
        }
    }

    /// Whether the answer, and whatever else the configuration asks for, says that the store has the file. The receipt if so.
    async fn verify(&self, attempt: AttemptId, target: &Target, document: Document) -> Result<Finished, StepError> {
        let Context { shared, policy, .. } = self.context;
        let sent = Sent::of(&self.source, target).await?;
        let doubt = verify::doubt(&*shared.vault, &shared.activity, policy.verify, target, (&document, &sent)).await;
        // A question without an answer leaves the attempt open: the store is asked again.
        let document = match doubt.map_err(StepError::unanswered)? {
            None => document,
            Some(doubt) => match self.context.find(target, &sent).await? {
                Found::Same(document) => document,
                Found::Other | Found::Nothing => return self.refuse(attempt, Failure::Doubtful(doubt)).await,
            },
        };
        tracing::debug!(by = ?policy.verify, sha256 = sent.sha256, "verified");
        let proof = Proof { sent, document, already_present: false };
        let receipted = receipt::write(self.context, attempt, target, proof).await?;
        if late::is_covered(self.context, target, &receipted).await? {
            return Err(Unsettled::Covered.into());
        }
        Ok(self.stored(receipted))
    }

    /// What the store has under a name, asked before anything is sent: the service would make a new version of a document of that name,
    /// and with `on_conflict = "fail"` none is changed.
    async fn found_there(&self, target: &Target) -> Result<Found, StepError> {
        let there = self.context.shared.vault.at(&target.path()).await.map_err(StepError::unanswered)?;
        if there.is_none() {
            return Ok(Found::Nothing);
        }
        let sent = Sent::of(&self.source, target).await?;
        self.context.find(target, &sent).await
    }

    /// The store has this file's bytes under this name already.
    async fn adopt_document(&self, target: &Target, document: Document) -> Result<Finished, StepError> {
        let sent = Sent::of(&self.source, target).await?;
        let proof = Proof { sent, document, already_present: true };
        Ok(self.stored(receipt::adopt(self.context, self.intent(target), proof).await?))
    }

    /// Another local file has this name in the vault. If it has the same bytes too, they need not be sent again.
    async fn adopt(&self, intent: Intent, owner: &Entry) -> Result<Option<Finished>, StepError> {
        let has_size = |stored: &&Stored| stored.size == self.source.opened.stamp.size;
        let Some(stored) = owner.stored.as_ref().filter(has_size) else { return Ok(None) };
        let target = Target::of(&intent);
        let sent = Sent::of(&self.source, &target).await?;
        if stored.sha256 != sent.sha256 {
            return Ok(None);
        }
        // The receipt may be old: only what is there now counts.
        let Found::Same(document) = self.context.find(&target, &sent).await? else { return Ok(None) };
        let proof = Proof { sent, document, already_present: true };
        let receipted = receipt::adopt(self.context, intent, proof).await?;
        Ok(Some(self.stored(receipted)))
    }

    /// The store has something under this name (409). The same bytes count as stored; `None` for others.
    async fn conflict(&self, attempt: AttemptId, target: &Target) -> Result<Option<Finished>, StepError> {
        let sent = Sent::of(&self.source, target).await?;
        if let Found::Same(document) = self.context.find(target, &sent).await? {
            let proof = Proof { sent, document, already_present: true };
            let receipted = receipt::write(self.context, attempt, target, proof).await?;
            return Ok(Some(self.stored(receipted)));
        }
        self.abandon(attempt, "the name is taken by other content").await?;
        Ok(None)
    }

    /// The store took nothing: ends the attempt, and returns whose trouble that is.
    async fn not_stored(&self, attempt: AttemptId, target: &Target, error: VaultError) -> Result<StepError, StepError> {
        self.abandon(attempt, &error.message).await?;
        Ok(match error.kind {
            Kind::Content => self.source.not_sent(error).into(),
            Kind::Missing | Kind::Forbidden => {
                self.context.destinations.forget(&target.dest);
                self.no_folder(&target.dest, error)
            }
            _ => TransferError::Service(error).into(),
        })
    }

    /// A folder of the vault can't be used. A sub-folder of the destination holds up its own files only.
    fn no_folder(&self, dest: &RemotePath, error: VaultError) -> StepError {
        match error.kind {
            Kind::Unavailable | Kind::Unknown | Kind::Login => TransferError::Service(error).into(),
            _ if *dest != self.context.dest => BlockedBy::Folder(error).into(),
            _ => TransferError::Destination(error).into(),
        }
    }

    /// Ends an attempt for a reason that is this file's own.
    async fn refuse(&self, attempt: AttemptId, reason: Failure) -> Result<Finished, StepError> {
        self.context.shared.journal.end(attempt, End::Failed { reason: reason.to_string() }).await?;
        tracing::debug!("refused: {reason}");
        Ok(Finished::Refused(reason, self.source.clone()))
    }

    /// The same for a file that can't be sent at all. The intent names no folder, so that it takes no other file's name.
    async fn refuse_unsent(&self, reason: Failure) -> Result<Finished, StepError> {
        let (dest, folder) = (self.context.dest.clone(), DocumentId(String::new()));
        let target = Target { dest, folder, name: self.file.origin.to_string_lossy().into_owned() };
        self.context.shared.journal.refuse(self.intent(&target), reason.to_string()).await?;
        tracing::debug!("not sent: {reason}");
        Ok(Finished::Refused(reason, self.source.clone()))
    }

    async fn abandon(&self, attempt: AttemptId, reason: &str) -> Result<(), StepError> {
        tracing::debug!("attempt given up: {reason}");
        Ok(self.context.shared.journal.end(attempt, End::Abandoned { reason: reason.to_owned() }).await?)
    }

    fn stored(&self, receipted: Receipted) -> Finished {
        Finished::Stored(receipted, self.source.clone())
    }

    fn reconcile(&self) -> Reconcile<'_, V> {
        Reconcile::new(self.context, self.file, &self.source)
    }

    fn intent(&self, target: &Target) -> Intent {
        let Target { dest, folder, name } = target.clone();
        let (root, relative) = (self.file.root.path().to_owned(), self.file.origin.clone());
        Intent { root, relative, stamp: self.source.opened.stamp, dest, folder, name }
    }
}

/// Whether a receipt is of a removal that was begun and not ended, just now: as good as the answer itself, even where a
/// newer file of the same path has covered its document since. The document of any other receipt may be gone by now.
fn is_fresh(entry: &Entry) -> bool {
    let unended = matches!(entry.state, State::Stored | State::Ended(End::Superseded));
    let age = entry.stored_at.and_then(|at: SystemTime| at.elapsed().ok());
    unended && age.is_some_and(|age| age < FRESH)
}
