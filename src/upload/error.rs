//! What stops a transfer before its end.
//!
//! A step of a transfer fails with a [`StepError`], which says what failed. [`StepError::at_end`] decides, in one place, what that
//! means: an end of the file, or trouble after which the file is tried again. The worker sees only the trouble, a [`TransferError`]:
//!
//! | error | what the worker does |
//! | --- | --- |
//! | `Service` | reports it to the service's breaker, waits until that lets it try, and tries again; after some failures of one file in a row the file is `Blocked` |
//! | `AnswerLost` | tries again at once, which asks the store; the second time it counts as `Service` |
//! | `Destination` | reports it to the destination's breaker and tries again when that lets it; a command ends instead |
//! | `Journal` | reports it to the journal's breaker and tries again when that lets it |
//! | `Scarce` | runs fewer files at once, pauses, tries again; a command blocks the file after some tries |
//! | `MayArrive` | gives its place to other files, waits as long as the error says, tries again |

use std::time::Duration;

use super::outcome::{BlockedBy, Failure, Outcome, Unreadable, Unsettled};
use crate::file::{OpenError, Settled};
use crate::journal::{JournalError, RefusedRequest};
use crate::vault::{Kind, VaultError};

/// Trouble after which a file is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The service or the login is in trouble.
    #[error(transparent)]
    Service(VaultError),
    /// The destination can't be used.
    #[error(transparent)]
    Destination(VaultError),
    /// The journal can't be used.
    #[error(transparent)]
    Journal(JournalError),
    /// The store may have carried the upload out. The open attempt in the journal says what to ask for.
    #[error(transparent)]
    AnswerLost(VaultError),
    /// Nothing can be opened, for want of descriptors or memory.
    #[error(transparent)]
    Scarce(OpenError),
    /// The store may still be storing an upload that was cut off. It is to be asked again after this time.
    #[error("an upload that was cut off may still be stored; the store is asked again in {0:?}")]
    MayArrive(Duration),
}

/// Why a file can't be transferred now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The file is gone.
    #[error("it is gone")]
    Gone,
    /// The file is not settled, or no longer.
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    /// The file can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Nothing can be opened, for want of descriptors or memory: no fault of the file.
    #[error(transparent)]
    Scarce(OpenError),
}

impl From<OpenError> for SourceError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Gone => Self::Gone,
            error if error.is_scarcity() => Self::Scarce(error),
            other => Self::Unreadable(Unreadable::NotOpened(other)),
        }
    }
}

/// Why a step of a transfer failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The file is tried again.
    #[error(transparent)]
    Trouble(#[from] TransferError),
    /// The local file is the reason.
    #[error(transparent)]
    File(SourceError),
    /// Only this file waits.
    #[error(transparent)]
    Blocked(#[from] BlockedBy),
    /// The journal holds something that contradicts the step, and wrote nothing.
    #[error(transparent)]
    JournalRefuses(RefusedRequest),
}

impl From<SourceError> for StepError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Scarce(error) => Self::Trouble(TransferError::Scarce(error)),
            other => Self::File(other),
        }
    }
}

impl From<Unsettled> for StepError {
    fn from(reason: Unsettled) -> Self {
        Self::File(SourceError::Unsettled(reason))
    }
}

impl From<JournalError> for StepError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Unusable(_) => Self::Trouble(TransferError::Journal(error)),
            JournalError::Refused(request) => Self::JournalRefuses(request),
        }
    }
}

impl StepError {
    /// A question about one document that got no answer. Where that is not the whole service's trouble only this file waits, with its
    /// attempt open: the next walk through its folder asks again.
    pub(super) fn unanswered(error: VaultError) -> Self {
        match error.kind {
            Kind::Unavailable | Kind::Unknown | Kind::Login => TransferError::Service(error).into(),
            Kind::Missing | Kind::Forbidden | Kind::Conflict | Kind::Refused | Kind::Content => {
                BlockedBy::Unanswered(error).into()
            }
        }
    }

    /// What the failure of a step means for the file: its end, or trouble after which it is tried again.
    pub(super) fn at_end(self, file: &Settled) -> Result<Outcome, TransferError> {
        Ok(match self {
            Self::Trouble(error) => return Err(error),
            Self::File(SourceError::Scarce(error)) => return Err(TransferError::Scarce(error)),
            Self::File(SourceError::Gone) => Outcome::Gone,
            Self::File(SourceError::Unsettled(reason)) => Outcome::Again { reason, place: file.relative.clone() },
            Self::File(SourceError::Unreadable(reason)) => Outcome::Failed { reason: reason.into(), moved: None },
            Self::Blocked(reason) => Outcome::Blocked { reason },
            Self::JournalRefuses(request) => Outcome::Failed { reason: Failure::JournalRefuses(request), moved: None },
        })
    }
}
