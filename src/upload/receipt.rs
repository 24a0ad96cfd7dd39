//! From the store's answer, or from what it has already, to a durable receipt.

use super::attempt::{Confirmed, Halt, hashed};
use super::body::Source;
use super::verify::{self, Found, Sent};
use super::{Outcome, Pipeline};
use crate::config::Verify;
use crate::failpoint::failpoint;
use crate::file::Settled;
use crate::journal::{AttemptId, Entry, Intent, Stored};
use crate::vault::{Document, DocumentId, Kind, RemotePath, Vault, VaultError};

impl<V: Vault> Pipeline<V> {
    /// Whether the answer, and whatever more the configuration asks for, says that the store has it.
    pub(super) async fn confirm(
        &self,
        file: &Settled,
        source: &Source,
        attempt: AttemptId,
        intent: Intent,
        document: Document,
    ) -> Result<Confirmed, Halt> {
        if source.sha256().is_none() {
            // An answer before the body was read: whatever it says, the store can't have all of it.
            self.abandon(attempt, "the store answered before all was sent").await?;
            return Err(Halt::Service(VaultError::new(Kind::Unavailable, "the store answered before all was sent")));
        }
        let sent = sent(&intent.name, source, hashed(file, source).await?);
        let Some(doubt) = self.doubt(&intent, &document, &sent).await? else {
            return self.receipt(attempt, &intent.dest, sent, document, false).await;
        };
        match self.find(&intent.dest, &intent.folder, &sent).await? {
            Found::Same(document) => self.receipt(attempt, &intent.dest, sent, document, false).await,
            Found::Other | Found::Nothing => {
                Err(self.fail(source, attempt, format!("the store answered that it has it, but {doubt}")).await)
            }
        }
    }

    /// What speaks against the answer.
    async fn doubt(&self, intent: &Intent, document: &Document, sent: &Sent) -> Result<Option<String>, Halt> {
        let vault = &*self.shared.vault;
        if let Some(contradiction) = verify::contradiction(document, sent) {
            return Ok(Some(contradiction));
        }
        let (sure, doubt) = match self.policy.verify {
            Verify::Answer => return Ok(None),
            Verify::Listing => {
                (verify::is_listed(vault, &intent.folder, &document.id, sent).await, "its folder does not list it")
            }
            Verify::Content => {
                let path = intent.dest.join(&intent.name);
                (
                    verify::content_matches(vault, &self.shared.flow, &path, sent).await,
                    "reading it back gives other bytes",
                )
            }
        };
        // A question without an answer leaves the intent open: it is asked again.
        Ok((!sure.map_err(unanswered)?).then(|| doubt.to_owned()))
    }

    /// Another local file has this name in the vault. If it has the same bytes too, they need not be sent again.
    pub(super) async fn adopt(
        &self,
        file: &Settled,
        source: &Source,
        intent: Intent,
        owner: &Entry,
    ) -> Result<Option<Confirmed>, Halt> {
        let Some(receipt) = owner.stored.as_ref().filter(|receipt| receipt.size == source.opened.stamp.size) else {
            return Ok(None);
        };
        let sent = sent(&intent.name, source, hashed(file, source).await?);
        if receipt.sha256 != sent.sha256 {
            return Ok(None);
        }
        // A receipt may be old: only what is there now counts.
        let Found::Same(document) = self.find(&intent.dest, &intent.folder, &sent).await? else { return Ok(None) };
        self.already_present(intent, sent, document).await.map(Some)
    }

    /// The file was moved while its upload had no outcome, and the store has it as it was sent: its receipt is to be found
    /// under the path that it has now, too.
    pub(super) async fn moved(
        &self,
        file: &Settled,
        source: &Source,
        entry: &Entry,
        sent: Sent,
        document: Document,
    ) -> Result<Confirmed, Halt> {
        let stored = self.stored(&sent, document, true).await?;
        let (root, relative) = (file.root.path().to_owned(), file.origin.clone());
        let intent = Intent { root, relative, stamp: source.opened.stamp, ..entry.intent.clone() };
        let remote = intent.dest.join(&intent.name);
        let attempt = self.shared.journal.moved(entry.id, intent, stored.clone()).await?;
        Ok(Confirmed { attempt, remote, stored })
    }

    /// Writes the receipt of what the store has already, in an attempt of its own.
    pub(super) async fn already_present(
        &self,
        intent: Intent,
        sent: Sent,
        document: Document,
    ) -> Result<Confirmed, Halt> {
        let stored = self.stored(&sent, document, true).await?;
        let remote = intent.dest.join(&intent.name);
        let attempt = self.shared.journal.adopt(intent, stored.clone()).await?;
        Ok(Confirmed { attempt, remote, stored })
    }

    /// The store has something under this name (409). The same bytes are adopted; `None` for others.
    pub(super) async fn conflict(
        &self,
        file: &Settled,
        source: &Source,
        attempt: AttemptId,
        intent: &Intent,
    ) -> Result<Option<Confirmed>, Halt> {
        let sent = sent(&intent.name, source, hashed(file, source).await?);
        if let Found::Same(document) = self.find(&intent.dest, &intent.folder, &sent).await? {
            return self.receipt(attempt, &intent.dest, sent, document, true).await.map(Some);
        }
        self.abandon(attempt, "the name is taken by other content").await?;
        Ok(None)
    }

    /// Writes the receipt. From here on the store has the file, whatever happens to us.
    pub(super) async fn receipt(
        &self,
        attempt: AttemptId,
        dest: &RemotePath,
        sent: Sent,
        document: Document,
        already_present: bool,
    ) -> Result<Confirmed, Halt> {
        let stored = self.stored(&sent, document, already_present).await?;
        failpoint("before-receipt");
        self.shared.journal.stored(attempt, stored.clone()).await?;
        self.shared.flow.advanced();
        failpoint("after-receipt");
        Ok(Confirmed { attempt, remote: dest.join(&sent.name), stored })
    }

    async fn stored(&self, sent: &Sent, document: Document, already_present: bool) -> Result<Stored, Halt> {
        Ok(Stored {
            sha256: sent.sha256.clone(),
            size: sent.size,
            document: document.id,
            document_version: document.version,
            user: self.user().await?,
            already_present,
        })
    }

    async fn user(&self) -> Result<String, Halt> {
        if let Some(user) = self.shared.user.get() {
            return Ok(user.clone());
        }
        let user = self.shared.vault.probe().await.map_err(Halt::Service)?;
        Ok(self.shared.user.get_or_init(|| user).clone())
    }

    pub(super) async fn find(&self, dest: &RemotePath, folder: &DocumentId, sent: &Sent) -> Result<Found, Halt> {
        let read_back = self.policy.verify == Verify::Content;
        let (vault, flow) = (&*self.shared.vault, &self.shared.flow);
        let found = verify::find(vault, flow, dest, folder, sent, read_back).await;
        // A store that is asked again and again for what it may be storing still is no standstill.
        flow.advanced();
        found.map_err(unanswered)
    }
}

fn sent(name: &str, source: &Source, sha256: String) -> Sent {
    Sent { name: name.to_owned(), size: source.opened.stamp.size, sha256 }
}

/// A question about one document that got no answer. Where that is not everybody's trouble only this file waits, and is
/// asked for again at the next walk through its folder.
fn unanswered(error: VaultError) -> Halt {
    match error.kind {
        Kind::Unavailable | Kind::Unknown | Kind::Login => Halt::Service(error),
        Kind::Missing | Kind::Forbidden | Kind::Conflict | Kind::Refused | Kind::Content => {
            let reason = format!("whether the store has it can't be found out: {error}");
            Halt::Ended(Outcome::Blocked { reason })
        }
    }
}
