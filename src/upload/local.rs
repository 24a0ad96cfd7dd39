//! The local end of a file: what becomes of it once the store has it, or has refused it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::attempt::Confirmed;
use super::body::Source;
use super::removal::{RemovalRequest, Why};
use super::{Outcome, Pipeline};
use crate::config::{After, Policy};
use crate::file::Settled;
use crate::journal::{AttemptId, End, LocalEnd};
use crate::removal::{Disposition, MoveTarget, MoveTargetError};
use crate::vault::Vault;

/// The folders that a policy moves files to, open.
#[derive(Debug, Clone, Default)]
pub struct MoveTargets {
    /// Those that the store has.
    stored: Option<Arc<MoveTarget>>,
    /// Those that it refused.
    failed: Option<Arc<MoveTarget>>,
}

impl MoveTargets {
    /// Opens them: once, before any file is sent.
    pub fn open(policy: &Policy) -> Result<Self, MoveTargetError> {
        let open = |folder| MoveTarget::open(folder).map(Arc::new);
        let stored = match &policy.after {
            After::Move(folder) => Some(open(folder)?),
            After::Delete | After::Keep => None,
        };
        Ok(Self { stored, failed: policy.failed_dir.as_deref().map(open).transpose()? })
    }
}

impl<V: Vault> Pipeline<V> {
    /// What is to become of a file that the store has. One whose writers the kernel knows, and may not tell us, is kept: a writer
    /// through a mapping changes no time for seconds, and its last content would be gone.
    pub(super) fn after(&self, source: &Source) -> &After {
        if !source.lease_denied || self.policy.allow_unleased || self.policy.after == After::Keep {
            return &self.policy.after;
        }
        if !self.unleased_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "files of other users are uploaded but stay here, for nobody may tell this user of their writers: give it CAP_LEASE, or \
                 set allow_unleased = true"
            );
        }
        &After::Keep
    }

    /// What becomes of a file with a receipt; `None` where its removal is under way and will be reported.
    pub(super) async fn local_end(&self, file: &Settled, source: Source, confirmed: Confirmed) -> Option<Outcome> {
        let Confirmed { attempt, remote, stored } = confirmed;
        let fate = match (self.after(&source), &self.targets.stored) {
            (After::Delete, _) => Disposition::Delete,
            (After::Move(_), Some(folder)) => Disposition::MoveTo(Arc::clone(folder)),
            (After::Keep, _) | (After::Move(_), None) => {
                if let Err(error) = self.shared.journal.end(attempt, End::Local(LocalEnd::Kept)).await {
                    tracing::warn!("that a file was kept could not be written down: {error}");
                }
                return Some(Outcome::Stored { remote, stored, local: LocalEnd::Kept });
            }
        };
        self.removals
            .add(RemovalRequest { file: file.clone(), source, fate, attempt, why: Why::Stored(remote, stored) })
            .await;
        None
    }

    /// What becomes of a file that the store refused.
    pub(super) async fn refused_end(
        &self,
        file: &Settled,
        source: Source,
        attempt: AttemptId,
        reason: String,
    ) -> Option<Outcome> {
        match &self.targets.failed {
            Some(folder) => {
                let fate = Disposition::MoveTo(Arc::clone(folder));
                self.removals
                    .add(RemovalRequest { file: file.clone(), source, fate, attempt, why: Why::Failed(reason) })
                    .await;
                None
            }
            None => Some(Outcome::Failed { reason, moved: None }),
        }
    }
}
