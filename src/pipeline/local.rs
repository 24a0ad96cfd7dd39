//! The local end of a file: what becomes of it once the store has it, or has refused it.

use super::attempt::Confirmed;
use super::content::Source;
use super::removal::{Resting, Why, not_removed, write_down};
use super::{Local, Outcome, Pipeline};
use crate::config::After;
use crate::file::Settled;
use crate::journal::{AttemptId, End};
use crate::remove::{self, Fate};
use crate::vault::Vault;

impl<V: Vault> Pipeline<V> {
    /// What becomes of a file with a receipt; `None` where its removal is under way and will be reported.
    pub(super) async fn local_end(&self, file: &Settled, source: Source, confirmed: Confirmed) -> Option<Outcome> {
        let Confirmed { attempt, remote, stored } = confirmed;
        let fate = match &self.policy.after {
            After::Keep => {
                if let Err(error) = self.shared.journal.end(attempt, End::Kept).await {
                    tracing::warn!("that a file was kept could not be written down: {error}");
                }
                return Some(Outcome::Stored { remote, stored, local: Local::Kept });
            }
            After::Delete => Fate::Delete,
            After::Move(folder) => Fate::MoveTo(folder.clone()),
        };
        self.leave_place(file, source, fate, attempt, Why::Stored(remote, stored)).await
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
                self.leave_place(file, source, Fate::MoveTo(folder.clone()), attempt, Why::Failed(reason)).await
            }
            None => Some(Outcome::Failed { reason, moved: None }),
        }
    }

    /// Sets a file aside, to be removed after its grace. Once begun this ends even if nobody waits for it any more: a file
    /// that is set aside must come to its end or back to its place.
    async fn leave_place(
        &self,
        file: &Settled,
        source: Source,
        fate: Fate,
        attempt: AttemptId,
        why: Why,
    ) -> Option<Outcome> {
        let (file, removals, journal) = (file.clone(), self.removals.clone(), self.shared.journal.clone());
        let set_aside = tokio::task::spawn_blocking(move || {
            match remove::set_aside(&file, &source.opened, source.lease.as_deref(), &source.opened.version) {
                Ok(aside) => {
                    removals.add(Resting { file, aside, fate, attempt, why });
                    None
                }
                Err(refused) => Some((why, refused)),
            }
        });
        let (why, refused) = set_aside.await.ok()??;
        let (outcome, end) = not_removed(&why, refused);
        if let Some(end) = end {
            write_down(journal, attempt, end).await;
        }
        Some(outcome)
    }
}
