//! Anchors of the journal's chains: puts them into the vault, and finds them there again.
//!
//! One document for each day and each journal's key: the anchors of a day are its versions. In a vault that keeps a second document
//! under one name, or refuses the name, later anchors get names of their own, because documents are downloaded by their path.
//!
//! What a caller can do about an [`AnchorError`]: `Journal` and `Vault` say themselves; after `Busy` nothing, for the other process's
//! next anchor has all receipts. None of them concerns a file: uploads go on, and a daemon tries again an hour later.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};

use crate::budget;
use crate::journal::anchor::{Anchor, AnchorFormatError, PREFIX};
use crate::journal::{AnchorRecord, HeadComparison, Journal, JournalError, SignedAnchor};
use crate::printable::printable;
use crate::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};

/// The time between two anchors of a daemon.
const HOUR: Duration = Duration::from_secs(3600);

/// Why an anchor did not get into the vault.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The journal can't be read, or its key can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The vault did not take the anchor.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Another process puts an anchor at this moment.
    #[error("another process anchors the receipts of this journal at this moment; the next anchor has them all")]
    Busy,
}

/// An anchor that the vault has.
#[derive(Debug, Clone)]
pub struct StoredAnchor {
    /// What the anchor says.
    pub anchor: Anchor,
    /// The folder that its document lies in.
    pub folder: RemotePath,
    /// The document's name there.
    pub name: String,
}

/// Puts an anchor of the chains, as they are now, into a folder of the vault. One process at a time: of two, the slower one could put
/// an older anchor over the newer one, which the journal would then miss.
pub async fn put<V: Vault>(vault: &V, journal: &Journal, folder: &RemotePath) -> Result<StoredAnchor, AnchorError> {
    let _lock = lock(journal).await?;
    let signed = journal.sign_anchor().await?;
    let id = vault.folder(folder).await?.id;
    let name = store(vault, journal, folder, &id, &signed).await?;
    let SignedAnchor { anchor, public, .. } = signed;
    let (seq, fates, at) = (anchor.seq, anchor.fates, SystemTime::now());
    let record = AnchorRecord { key: public, seq, fates, at, folder: folder.to_string(), name: name.clone() };
    journal.note_anchor(record).await?;
    Ok(StoredAnchor { anchor, folder: folder.clone(), name })
}

/// The lock of the journal's anchors, held until it is dropped.
async fn lock(journal: &Journal) -> Result<std::fs::File, AnchorError> {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(lock) = journal.lock_anchors()? {
            return Ok(lock);
        }
        if start.elapsed() >= budget::ANCHOR_LOCK {
            return Err(AnchorError::Busy);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Uploads the anchor under the day's name while the vault keeps one document under it, else under a name that no document has. Also
/// under a new name where the day's anchor contradicts the journal: that anchor proves that the journal was changed, and must not be
/// covered. Returns the name.
async fn store<V: Vault>(
    vault: &V,
    journal: &Journal,
    folder: &RemotePath,
    id: &DocumentId,
    signed: &SignedAnchor,
) -> Result<String, AnchorError> {
    let anchor = &signed.anchor;
    let day = format!("{PREFIX}{}-{}-{}.json", anchor.fingerprint(), anchor.place(), &anchor.at[..10]);
    let there = vault.named(folder, id, &day).await?;
    if there.is_empty() || there.len() == 1 && agrees(vault, journal, &folder.join(&day)).await? {
        match upload(vault, id, &day, &signed.document).await {
            Ok(stored) if there.iter().all(|known| known.id == stored.id) => return Ok(day),
            Ok(_) => {}
            Err(error) if error.kind == Kind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let own = format!("{}-{now}.json", day.trim_end_matches(".json"));
    upload(vault, id, &own, &signed.document).await?;
    Ok(own)
}

/// Whether an anchor in the vault says the same as the journal.
async fn agrees<V: Vault>(vault: &V, journal: &Journal, path: &RemotePath) -> Result<bool, AnchorError> {
    let agrees = match Anchor::read(&download(vault, path).await?) {
        Ok(anchor) => {
            let compared = journal.compare(vec![anchor.receipts_head(), anchor.local_ends_head()]).await?;
            !compared.iter().any(HeadComparison::contradicts)
        }
        Err(_) => false,
    };
    if !agrees {
        let path = printable(&path.to_string());
        tracing::error!("the journal contradicts its anchor {path}: one of the two was changed; see history --check");
    }
    Ok(agrees)
}

/// The date in an anchor's name, which follows its key and its place.
fn date(name: &str) -> &str {
    name.strip_prefix(PREFIX).and_then(|rest| rest.splitn(3, '-').nth(2)).unwrap_or_default()
}

async fn upload<V: Vault>(vault: &V, folder: &DocumentId, name: &str, document: &[u8]) -> Result<Document, VaultError> {
    let content = || {
        let body = Full::new(Bytes::copy_from_slice(document)).map_err(|never| match never {}).boxed();
        Ok(Content { length: document.len() as u64, body })
    };
    vault.upload(folder, name, &content).await
}

/// A document in the vault that has the name of an anchor.
#[derive(Debug)]
pub struct AnchorDocument {
    /// Where it lies.
    pub path: RemotePath,
    /// What it says, or why that can't be used.
    pub anchor: Result<Anchor, UnusableAnchor>,
}

/// Why a document in the vault can't be used as an anchor. `history --check` reports each; no retry changes it.
#[derive(Debug, thiserror::Error)]
pub enum UnusableAnchor {
    /// It is no anchor that its key has signed.
    #[error(transparent)]
    Invalid(#[from] AnchorFormatError),
    /// The vault does not hand it out.
    #[error("{}", .0.message)]
    NotHandedOut(#[source] VaultError),
}

/// What the vault has of one journal.
#[derive(Debug, Default)]
pub struct FoundAnchors {
    /// The newest that are signed with the journal's key, the newest first; at most 31 of a folder.
    pub own: Vec<AnchorDocument>,
    /// The newest of the same host, state directory and service that are signed with another key; and the noted one, if it is.
    pub other_key: Vec<AnchorDocument>,
    /// How many documents are anchors of other journals.
    pub others: usize,
}

/// Looks for the anchors of a journal. `now` is an anchor of the journal as it is now, `noted` the newest one that the journal says it
/// put there.
///
/// What the journal's key signed is the journal's, wherever it was signed: a container has another host name in each run, and a state
/// folder may be moved. The place only shows where another key took the place of the journal's key.
pub async fn find<V: Vault>(
    vault: &V,
    folders: &[RemotePath],
    now: &Anchor,
    noted: Option<&AnchorRecord>,
) -> Result<FoundAnchors, VaultError> {
    let (own, place) = (format!("{PREFIX}{}-", now.fingerprint()), format!("-{}-", now.place()));
    let mut found = FoundAnchors::default();
    for folder in folders {
        let id = match vault.folder(folder).await {
            Ok(found) => found.id,
            Err(error) if error.kind == Kind::Missing => continue,
            Err(error) => return Err(error),
        };
        let mut names: Vec<String> = vault.children(&id).await?.into_iter().filter_map(|child| child.name).collect();
        names.retain(|name| name.starts_with(PREFIX));
        // The noted anchor is read however old its name says that it is.
        let noted = noted.filter(|noted| noted.folder == folder.to_string()).map(|noted| noted.name.as_str());
        let rank = |name: &String| (Some(name.as_str()) == noted, date(name).to_owned(), name.clone());
        names.sort_by_cached_key(|name| std::cmp::Reverse(rank(name)));
        names.dedup();
        let (mine, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(&own));
        let known = |name: &String| name.contains(&place) || Some(name.as_str()) == noted;
        let (same_place, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(known);
        found.others += others.len();
        found.own.extend(read_all(vault, folder, mine, budget::ANCHORS).await?);
        found.other_key.extend(read_all(vault, folder, same_place, budget::ANCHORS_OF_ANOTHER_KEY).await?);
    }
    let newest =
        |document: &AnchorDocument| document.anchor.as_ref().map_or((0, 0), |anchor| (anchor.seq, anchor.fates));
    found.own.sort_by_key(|document| std::cmp::Reverse(newest(document)));
    Ok(found)
}

async fn read_all<V: Vault>(
    vault: &V,
    folder: &RemotePath,
    names: Vec<String>,
    most: usize,
) -> Result<Vec<AnchorDocument>, VaultError> {
    let mut read = Vec::new();
    for name in names.into_iter().take(most) {
        let path = folder.join(&name);
        let anchor = match download(vault, &path).await {
            Ok(document) => Anchor::read(&document).map_err(UnusableAnchor::from),
            Err(error) if error.is_retryable() || error.kind == Kind::Login => return Err(error),
            Err(error) => Err(UnusableAnchor::NotHandedOut(error)),
        };
        read.push(AnchorDocument { path, anchor });
    }
    Ok(read)
}

/// Downloads no more than an anchor can have: a longer document is no anchor.
async fn download<V: Vault>(vault: &V, path: &RemotePath) -> Result<Vec<u8>, VaultError> {
    let mut download = vault.download(path).await?;
    let mut document = Vec::new();
    while document.len() <= budget::ANCHOR_BYTES
        && let Some(chunk) = download.chunk().await?
    {
        document.extend_from_slice(&chunk);
    }
    document.truncate(budget::ANCHOR_BYTES + 1);
    Ok(document)
}

/// Puts an anchor into the vault each hour, where there is something new, and logs the chains' heads. The first comes at once where the
/// last is older than an hour, so that a daemon that is often started anew has its anchors too.
pub async fn hourly<V: Vault>(vault: Arc<V>, journal: Journal, folder: Option<RemotePath>) {
    let mut wait = until_due(&journal).await;
    loop {
        tokio::time::sleep(wait).await;
        put_if_new(&*vault, &journal, folder.as_ref()).await;
        wait = HOUR;
    }
}

/// Puts an anchor at a clean stop. A run that ends by itself puts at most one anchor an hour: such runs may come each minute.
pub async fn at_stop<V: Vault>(vault: &V, journal: &Journal, folder: Option<&RemotePath>, once: bool) {
    if once && !until_due(journal).await.is_zero() {
        return;
    }
    if tokio::time::timeout(budget::ANCHOR_AT_STOP, put_if_new(vault, journal, folder)).await.is_err() {
        tracing::warn!("no anchor of the receipts was put into the vault: it took too long; the next run puts one");
    }
}

/// How long until the last anchor is an hour old; zero where there is none, or where the clock was set back since.
async fn until_due(journal: &Journal) -> Duration {
    let last = journal.last_anchor().await.ok().flatten();
    let age = last.and_then(|last| last.at.elapsed().ok());
    age.map_or(Duration::ZERO, |age| HOUR.saturating_sub(age))
}

/// Disturbs no upload: an error is logged, and the next try comes an hour later.
async fn put_if_new<V: Vault>(vault: &V, journal: &Journal, folder: Option<&RemotePath>) {
    let signed = match journal.sign_anchor().await {
        Ok(signed) => signed,
        Err(error) => return tracing::warn!("the receipts can't be anchored: {error}"),
    };
    let last = journal.last_anchor().await.ok().flatten();
    if signed.anchor.seq == 0 || last.is_some_and(|last| covers(&last, &signed, folder)) {
        return;
    }
    let Some(folder) = folder else { return log(&signed.anchor) };
    match put(vault, journal, folder).await {
        Ok(put) => log(&put.anchor),
        Err(error) => {
            log(&signed.anchor);
            tracing::warn!("no anchor of the receipts was put into {}: {error}", printable(&folder.to_string()));
        }
    }
}

/// Whether the last anchor says all that a new one would, and lies where the new one would go.
fn covers(last: &AnchorRecord, signed: &SignedAnchor, folder: Option<&RemotePath>) -> bool {
    let same = (last.seq, last.fates) == (signed.anchor.seq, signed.anchor.fates) && last.key == signed.public;
    same && folder.is_none_or(|folder| folder.to_string() == last.folder)
}

/// Logs the chains' heads in the form that `history --check --against` takes: a log that is kept elsewhere is an anchor too.
pub fn log(anchor: &Anchor) {
    let (receipts, local_ends, key) = (anchor.receipts_head(), anchor.local_ends_head(), anchor.fingerprint());
    tracing::info!("receipt chain head {receipts} {local_ends} (key {key})");
}
