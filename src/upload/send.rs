//! Sending a file, and what the store's answer means for the attempt.

use tokio::time::{Instant, sleep};

use super::context::Context;
use super::error::TransferError;
use super::source::Source;
use super::target::Target;
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::vault::{Document, Kind, Vault, VaultError};

/// What the store answered to an upload.
#[derive(Debug)]
pub(super) enum Answer {
    /// The store says that it has the file, as this document.
    Stored(Document),
    /// The store has something under this name (409).
    NameTaken,
    /// The store refuses these bytes.
    Refused(VaultError),
    /// The store took nothing: the attempt is over. Whose trouble it is follows from the error.
    NotStored(VaultError),
    /// Unknown whether the store has the file. The attempt stays open: the store is asked before the file is sent again.
    Unknown(TransferError),
}

/// Sends a file.
pub(super) async fn send<V: Vault>(context: &Context<V>, file: &Settled, source: &Source, target: &Target) -> Answer {
    let mut sending = context.shared.late.sending(target.path(), source);
    keep_to_the_rate(context, source).await;
    let (folder, path) = (file.root.path().to_owned(), file.origin.clone());
    let in_flight = context.shared.transfers.begin(folder, path, source.opened.stamp.size);
    let start = Instant::now();
    let answer = context
        .shared
        .vault
        .upload(&target.folder, &target.name, &|| Ok(source.content(in_flight.sent(), &context.shared.rate)))
        .await;
    if answer.is_ok() {
        context.counts.uploaded(start.elapsed());
    }
    failpoint("after-send");
    sending.answered(answer.as_ref().err());
    match answer {
        // The answer came before the body was read: whatever it says, the store can't have all of it.
        Ok(_) if source.sha256().is_none() => {
            Answer::NotStored(VaultError::new(Kind::Unavailable, "the store answered before all was sent"))
        }
        Ok(document) => Answer::Stored(document),
        Err(error) => meaning(error),
    }
}

/// Waits until all bytes of a small file may be sent. A large file waits piece by piece while it is sent.
async fn keep_to_the_rate<V: Vault>(context: &Context<V>, source: &Source) {
    let mut left = source.small().map_or(0, |bytes| bytes.len() as u64);
    while left > 0 {
        let (share, wait) = context.shared.rate.share(left);
        sleep(wait).await;
        left -= share;
        // An upload that waits for the limit is no standstill.
        context.shared.activity.advanced();
    }
}

fn meaning(error: VaultError) -> Answer {
    match error.kind {
        _ if error.maybe_stored => Answer::Unknown(TransferError::AnswerLost(error)),
        Kind::Conflict => Answer::NameTaken,
        Kind::Refused => Answer::Refused(error),
        // A proxy may say "busy" of what was stored behind it.
        Kind::Unavailable => Answer::Unknown(TransferError::Service(error)),
        Kind::Login | Kind::Missing | Kind::Forbidden | Kind::Unknown | Kind::Content => Answer::NotStored(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_over_only_where_the_store_can_not_have_the_file() {
        let is_open = |error| matches!(meaning(error), Answer::Unknown(_));
        for kind in [Kind::Unavailable, Kind::Unknown] {
            assert!(is_open(VaultError::new(kind, "no")), "{kind:?}");
        }
        for kind in [Kind::Login, Kind::Missing, Kind::Forbidden, Kind::Conflict, Kind::Refused, Kind::Content] {
            assert!(!is_open(VaultError::new(kind, "no")), "{kind:?}");
            assert!(is_open(VaultError::new(kind, "no").after_sending()), "{kind:?} after all was sent");
        }
    }
}
