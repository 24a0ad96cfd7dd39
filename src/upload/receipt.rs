//! From what the store has to a durable receipt.

use super::context::Context;
use super::error::{StepError, TransferError};
use super::target::{Sent, Target};
use crate::failpoint::failpoint;
use crate::journal::{AttemptId, Intent, Stored};
use crate::vault::{Document, RemotePath, Vault};

/// A file that the store has, with a durable receipt.
#[derive(Debug)]
pub(super) struct Receipted {
    pub(super) attempt: AttemptId,
    pub(super) remote: RemotePath,
    pub(super) stored: Stored,
    /// The receipt's number; `None` where the receipt was pruned.
    pub(super) number: Option<i64>,
}

/// What a receipt is written for: these bytes are in the store, as this document.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) sent: Sent,
    pub(super) document: Document,
    /// The document was found there; this attempt did not send it.
    pub(super) already_present: bool,
}

/// Writes the receipt of an attempt. From here on the store has the file, whatever happens to this process.
pub(super) async fn write<V: Vault>(
    context: &Context<V>,
    attempt: AttemptId,
    target: &Target,
    proof: Proof,
) -> Result<Receipted, StepError> {
    let stored = stored(context, proof).await?;
    failpoint("before-receipt");
    let number = context.shared.journal.stored(attempt, stored.clone()).await?;
    context.shared.activity.advanced();
    failpoint("after-receipt");
    Ok(receipted((attempt, number), target.path(), stored))
}

/// Writes the receipt of a document that the store has already, in an attempt of its own.
pub(super) async fn adopt<V: Vault>(
    context: &Context<V>,
    intent: Intent,
    proof: Proof,
) -> Result<Receipted, StepError> {
    let stored = stored(context, proof).await?;
    let remote = intent.dest.join(&intent.name);
    let numbers = context.shared.journal.adopt(intent, stored.clone()).await?;
    Ok(receipted(numbers, remote, stored))
}

/// Writes the receipt of an attempt whose file was moved meanwhile: under its old path, and under the new one, which `intent` says, so
/// that it is found there too.
pub(super) async fn moved<V: Vault>(
    context: &Context<V>,
    attempt: AttemptId,
    intent: Intent,
    proof: Proof,
) -> Result<Receipted, StepError> {
    let stored = stored(context, proof).await?;
    let remote = intent.dest.join(&intent.name);
    let numbers = context.shared.journal.moved(attempt, intent, stored.clone()).await?;
    Ok(receipted(numbers, remote, stored))
}

fn receipted((attempt, number): (AttemptId, i64), remote: RemotePath, stored: Stored) -> Receipted {
    tracing::debug!(attempt = attempt.0, document = %stored.document, found = stored.already_present, "receipt written");
    Receipted { attempt, remote, stored, number: Some(number) }
}

async fn stored<V: Vault>(context: &Context<V>, proof: Proof) -> Result<Stored, StepError> {
    let Proof { sent, document, already_present } = proof;
    Ok(Stored {
        sha256: sent.sha256,
        size: sent.size,
        document: document.id,
        document_version: document.version,
        user: user(context).await?,
        already_present,
    })
}

/// Who is logged in: asked once.
async fn user<V: Vault>(context: &Context<V>) -> Result<String, StepError> {
    if let Some(user) = context.shared.user.get() {
        return Ok(user.clone());
    }
    let user = context.shared.vault.probe().await.map_err(TransferError::Service)?;
    Ok(context.shared.user.get_or_init(|| user).clone())
}
