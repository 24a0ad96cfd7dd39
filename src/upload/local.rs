//! The local end of a file: what becomes of it once the store has it, or once it has failed.

use std::sync::Arc;

use tracing::Instrument as _;

use super::Acknowledged;
use super::Uploader;
use super::outcome::{BlockedBy, Failure, Outcome, Report, Unsettled};
use super::receipt::Receipted;
use super::source::Source;
use crate::config::{After, Policy};
use crate::file::Settled;
use crate::file::lease::LeaseBreaks;
use crate::journal::{AttemptId, End, LocalEnd};
use crate::removal::{
    Disposition, MoveTarget, MoveTargetError, NotRemoved, RemovalError, RemovalRequest, UploadedFile,
};
use crate::vault::Vault;

/// Why a file is to leave the watched folder.
#[derive(Debug)]
enum Why {
    /// The store has the file.
    Stored(Receipted, Since),
    /// The file failed, and failed files are collected elsewhere.
    Failed(Failure),
}

/// Since when the store has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// This upload, or the outcome of one that was open.
    Now,
    /// An earlier receipt, of a file that a person has named again.
    Before,
}

/// The folders that a policy moves files to, open.
#[derive(Debug, Clone, Default)]
pub struct MoveTargets {
    /// For files that the store has.
    stored: Option<Arc<MoveTarget>>,
    /// For files that failed.
    failed: Option<Arc<MoveTarget>>,
}

impl MoveTargets {
    /// Opens the folders: once, before any file is sent.
    pub fn open(policy: &Policy) -> Result<Self, MoveTargetError> {
        let open = |folder| MoveTarget::open(folder).map(Arc::new);
        let stored = match &policy.after {
            After::Move(folder) => Some(open(folder)?),
            After::Delete | After::Keep => None,
        };
        Ok(Self { stored, failed: policy.failed_dir.as_deref().map(open).transpose()? })
    }
}

impl<V: Vault> Uploader<V> {
    /// What becomes of a file with a receipt; `None` where its removal is in flight and will be reported.
    pub(super) async fn stored_end(
        &self,
        file: &Settled,
        source: Source,
        (receipted, since): (Receipted, Since),
    ) -> Option<Outcome> {
        let attempt = receipted.attempt;
        let disposition = match (self.context.after(&source), &self.targets.stored) {
            (After::Delete, _) => Disposition::Delete,
            (After::Move(_), Some(folder)) => Disposition::MoveTo(Arc::clone(folder)),
            (After::Keep, _) | (After::Move(_), None) => {
                if let Err(error) = self.context.shared.journal.end(attempt, End::Local(LocalEnd::Kept)).await {
                    tracing::warn!("that a file was kept could not be written down: {error}");
                }
                tracing::debug!("kept");
                return Some(stored_outcome(receipted, since, LocalEnd::Kept));
            }
        };
        self.remove(file, source, disposition, Some(attempt), Why::Stored(receipted, since)).await;
        None
    }

    /// What becomes of a file that failed; `None` where its removal is in flight and will be reported. The journal has the failure
    /// already.
    pub(super) async fn refused_end(&self, file: &Settled, source: Source, reason: Failure) -> Option<Outcome> {
        let Some(folder) = &self.targets.failed else { return Some(Outcome::Failed { reason, moved: None }) };
        self.remove(file, source, Disposition::MoveTo(Arc::clone(folder)), None, Why::Failed(reason)).await;
        None
    }

    /// Hands a file over to the removal, whose end becomes the file's report. Where receipts have copies elsewhere, the copy of this file's
    /// receipt comes first.
    async fn remove(
        &self,
        file: &Settled,
        source: Source,
        disposition: Disposition,
        record: Option<AttemptId>,
        why: Why,
    ) {
        let number = match &why {
            Why::Stored(receipted, _) => receipted.number,
            Why::Failed(_) => None,
        };
        let (request, uploaded) = self.removal(file, source, disposition, record, why);
        match (self.context.shared.acknowledged.get(), number) {
            (Some(acknowledged), Some(number)) if !acknowledged.has(number) => {
                self.remove_acknowledged(acknowledged, number, request, uploaded);
            }
            // A receipt that was pruned has a copy, or had one.
            _ => self.removals.add(request, uploaded).await,
        }
    }

    /// Hands a file over to the removal once its receipt has a copy elsewhere. The wait is a task beside the uploads, and short; then the
    /// file's lease is given up, and the file stays until the next walk. The same at once where too many files wait.
    fn remove_acknowledged(
        &self,
        acknowledged: &Acknowledged,
        number: i64,
        request: RemovalRequest,
        uploaded: UploadedFile,
    ) {
        let Some(place) = acknowledged.place() else {
            return self.report(request.file, Outcome::Blocked { reason: BlockedBy::Receipts });
        };
        let (removals, reports, breaks) =
            (self.removals.clone(), self.reports.clone(), self.context.shared.breaks.clone());
        let (acknowledged, until_decided) = (acknowledged.clone(), self.removals.count_in());
        let span = request.span.clone();
        let wait = async move {
            let outcome = tokio::select! {
                reached = acknowledged.reached(number) => (!reached).then_some(Outcome::Blocked { reason: BlockedBy::Receipts }),
                () = opened_for_writing(&breaks, &uploaded) => {
                    let place = request.file.relative.clone();
                    Some(Outcome::Again { reason: Unsettled::OpenedForWriting, place })
                }
            };
            match outcome {
                None => removals.add(request, uploaded).await,
                Some(outcome) => {
                    drop(uploaded);
                    // The send fails only where the receiver of reports is gone.
                    reports.send(Report::new(request.file, outcome)).ok();
                }
            }
            drop((place, until_decided));
        };
        tokio::spawn(wait.instrument(span));
    }

    /// What the removal of a file needs.
    fn removal(
        &self,
        file: &Settled,
        source: Source,
        disposition: Disposition,
        record: Option<AttemptId>,
        why: Why,
    ) -> (RemovalRequest, UploadedFile) {
        let sha256 = source.sha256();
        let Source { opened, lease, lock, .. } = source;
        let reports = self.reports.clone();
        let on_end = Box::new(move |file, ended| {
            // The send fails only where the receiver of reports is gone.
            reports.send(report_of(file, why, ended)).ok();
        });
        let span = tracing::Span::current();
        let prunes = self.context.policy.prune_empty;
        let request = RemovalRequest { file: file.clone(), disposition, prunes, record, on_end, span };
        (request, UploadedFile { opened, lease, lock, sha256 })
    }
}

/// Resolves when a process opens the file for writing, which waits until the lease is given up.
async fn opened_for_writing(breaks: &LeaseBreaks, uploaded: &UploadedFile) {
    match &uploaded.lease {
        Some(lease) => breaks.broken(lease).await,
        None => std::future::pending().await,
    }
}

fn report_of(file: Settled, why: Why, ended: Result<LocalEnd, NotRemoved>) -> Report {
    let moved_meanwhile =
        ended.as_ref().err().filter(|not_removed| !matches!(not_removed.error, RemovalError::Internal));
    let put_back = moved_meanwhile.is_some();
    let aside = moved_meanwhile.map(|not_removed| &not_removed.place).filter(|place| **place != file.origin).cloned();
    Report { outcome: outcome_of(why, ended), file, put_back, aside }
}

fn stored_outcome(receipted: Receipted, since: Since, local: LocalEnd) -> Outcome {
    let Receipted { remote, stored, number: receipt, .. } = receipted;
    match since {
        Since::Now => Outcome::Stored { remote, stored, receipt, local },
        Since::Before => Outcome::StoredBefore { remote, stored, receipt, local },
    }
}

/// What the end of a removal means for the file.
fn outcome_of(why: Why, ended: Result<LocalEnd, NotRemoved>) -> Outcome {
    match (why, ended) {
        (Why::Stored(receipted, since), Ok(local)) => stored_outcome(receipted, since, local),
        (Why::Failed(reason), Ok(LocalEnd::Moved(path))) => Outcome::Failed { reason, moved: Some(path) },
        (Why::Failed(reason), Ok(LocalEnd::Removed | LocalEnd::Kept)) => Outcome::Failed { reason, moved: None },
        (_, Err(not_removed)) if not_removed.error.calls_for_retry() => {
            let place = not_removed.place.clone();
            Outcome::Again { reason: Unsettled::NotRemoved(not_removed), place }
        }
        (_, Err(NotRemoved { error: RemovalError::Internal, .. })) => {
            Outcome::Failed { reason: Failure::Internal, moved: None }
        }
        (Why::Stored(..), Err(not_removed)) => {
            Outcome::Failed { reason: Failure::NotRemoved(not_removed), moved: None }
        }
        (Why::Failed(failure), Err(not_removed)) => {
            Outcome::Failed { reason: Failure::NotMoved { failure: Box::new(failure), not_removed }, moved: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Stored;
    use crate::vault::{DocumentId, RemotePath};

    fn stored() -> Why {
        let stored = Stored {
            sha256: String::new(),
            size: 1,
            document: DocumentId("1".into()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        };
        let receipted = Receipted { attempt: AttemptId(1), remote: RemotePath::default(), stored, number: Some(1) };
        Why::Stored(receipted, Since::Now)
    }

    fn not_removed(error: RemovalError) -> Result<LocalEnd, NotRemoved> {
        Err(NotRemoved { error, place: "x".into(), stranded: None })
    }

    fn refused() -> RemovalError {
        RemovalError::NotFinished(rustix::io::Errno::ACCESS.into())
    }

    #[test]
    fn a_changed_file_goes_round_again_and_one_that_can_not_be_removed_is_reported() {
        for why in [stored(), Why::Failed(Failure::Earlier("413".into()))] {
            let outcome = outcome_of(why, not_removed(RemovalError::ChangedDuringGrace));
            assert!(matches!(outcome, Outcome::Again { .. }));
        }
        for why in [stored(), Why::Failed(Failure::Earlier("413".into()))] {
            assert!(matches!(outcome_of(why, not_removed(refused())), Outcome::Failed { moved: None, .. }));
        }
    }

    /// Regression: the event of our own rename was a reason to try again at once, and so on for ever.
    #[test]
    fn the_report_says_whether_a_file_was_put_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = Arc::new(crate::file::Root::open(dir.path()).unwrap());
        for (ended, expected) in [
            (not_removed(refused()), true),
            (Ok(LocalEnd::Removed), false),
            (not_removed(RemovalError::Internal), false),
        ] {
            let file = Settled::new(Arc::clone(&root), "x".into());
            assert_eq!(report_of(file, stored(), ended).put_back, expected);
        }
    }
}
