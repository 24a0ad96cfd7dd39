//! What the transfers of one uploader share: the store, the journal, and what the configuration says of files.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Shared;
use super::destination::Destinations;
use super::error::StepError;
use super::plan::Asked;
use super::source::Source;
use super::target::{Sent, Target};
use super::verify::{self, Found};
use crate::config::{After, Policy, Verify};
use crate::journal::Entry;
use crate::observe::metrics::FolderMetrics;
use crate::vault::{RemotePath, Vault};

#[derive(Debug)]
pub(super) struct Context<V> {
    pub(super) shared: Arc<Shared<V>>,
    pub(super) policy: Policy,
    /// The folder of the vault that all files go to; with layout "mirror", the one below which they go.
    pub(super) dest: RemotePath,
    pub(super) destinations: Destinations,
    /// Who asks for the files.
    pub(super) asked: Asked,
    pub(super) counts: FolderMetrics,
    /// The log has said that files stay because their writers can't be told.
    pub(super) unleased_announced: AtomicBool,
}

impl<V: Vault> Context<V> {
    /// Works on a file until a process opens it for writing; `None` if so. That process is blocked until the lease is given up.
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

    /// Asks the store whether it has a document of this name and these bytes.
    pub(super) async fn find(&self, target: &Target, sent: &Sent) -> Result<Found, StepError> {
        let read_back = self.policy.verify == Verify::Content;
        let found = verify::find(&*self.shared.vault, &self.shared.activity, target, sent, read_back).await;
        // A store that is asked again and again for what it may still be storing is no standstill.
        self.shared.activity.advanced();
        found.map_err(StepError::unanswered)
    }

    /// Whether a file with this receipt may be removed, as far as the copies of receipts go.
    pub(super) async fn may_be_removed(&self, entry: &Entry) -> bool {
        match (self.shared.acknowledged.get(), entry.receipt) {
            (Some(acknowledged), Some(number)) => acknowledged.has_by_now(number).await,
            // A receipt that was pruned has a copy, or had one.
            _ => true,
        }
    }

    /// How long until the store is asked again for an upload that was cut off at this time; `None` where it can't arrive any more.
    pub(super) fn wait_for_arrival(&self, cut_off: Option<tokio::time::Instant>) -> Option<Duration> {
        cut_off.and_then(|at| super::late::next_look(at.elapsed(), self.policy.store_lag))
    }

    /// What is to become of a file that the store has. A file is kept where the kernel knows its writers and may not tell this user: a
    /// writer through a mapping changes no time for seconds, and its last content would be lost.
    pub(super) fn after(&self, source: &Source) -> &After {
        if !source.lease_denied || self.policy.allow_unleased || self.policy.after == After::Keep {
            return &self.policy.after;
        }
        if !self.unleased_announced.swap(true, Ordering::Relaxed) {
            // A person must decide this, so it is said with --quiet too.
            tracing::error!(
                "files of other users are uploaded but stay here, because the kernel does not tell this user of their writers: give this user \
                 CAP_LEASE, or set allow_unleased = true"
            );
        }
        &After::Keep
    }
}
