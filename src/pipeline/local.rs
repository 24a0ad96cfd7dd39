//! The local end of a file: what becomes of it once the store has it, or has refused it.

use std::sync::atomic::Ordering;

use super::attempt::Confirmed;
use super::content::Source;
use super::removal::{Leaving, Why};
use super::{Local, Outcome, Pipeline};
use crate::config::After;
use crate::file::Settled;
use crate::journal::{AttemptId, End};
use crate::remove::Fate;
use crate::vault::Vault;

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
        let fate = match self.after(&source) {
            After::Keep => {
                if let Err(error) = self.shared.journal.end(attempt, End::Kept).await {
                    tracing::warn!("that a file was kept could not be written down: {error}");
                }
                return Some(Outcome::Stored { remote, stored, local: Local::Kept });
            }
            After::Delete => Fate::Delete,
            After::Move(folder) => Fate::MoveTo(folder.clone()),
        };
        self.removals
            .add(Leaving { file: file.clone(), source, fate, attempt, why: Why::Stored(remote, stored) })
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
        match &self.policy.failed_dir {
            Some(folder) => {
                let fate = Fate::MoveTo(folder.clone());
                self.removals
                    .add(Leaving { file: file.clone(), source, fate, attempt, why: Why::Failed(reason) })
                    .await;
                None
            }
            None => Some(Outcome::Failed { reason, moved: None }),
        }
    }
}
