//! Anchors of the journal's chains: put into the vault, and found there again.
//!
//! One document for each day and each journal's key: the anchors of a day are its versions. A store that keeps a second document
//! under one name, or refuses the name, gets the later ones under names of their own: all that is downloaded is named by its path.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};

use crate::budget;
use crate::journal::anchor::{Anchor, PREFIX};
use crate::journal::{Anchored, Compared, Journal, JournalError, Signed};
use crate::printable::printable;
use crate::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};

/// Between two anchors of a daemon.
const HOUR: Duration = Duration::from_secs(3600);

/// Why an anchor did not get into the vault.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The journal can't be read, or its key can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store did not take it.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Another process puts one at this moment.
    #[error("another process anchors the receipts of this journal at this moment; the next anchor has them all")]
    Busy,
}

/// An anchor that the vault has.
#[derive(Debug, Clone)]
pub struct Put {
    /// What it says.
    pub anchor: Anchor,
    /// The folder that it lies in.
    pub folder: RemotePath,
    /// The document's name there.
    pub name: String,
}

/// Puts an anchor of the chains, as they are now, into a folder of the vault. One process at a time: of two, the slower one could put
/// an older anchor over the newer one, which the journal would then miss.
pub async fn put<V: Vault>(vault: &V, journal: &Journal, folder: &RemotePath) -> Result<Put, AnchorError> {
    let _alone = alone(journal).await?;
    let signed = journal.sign_anchor().await?;
    let id = vault.folder(folder).await?.id;
    let name = store(vault, journal, folder, &id, &signed).await?;
    let Signed { anchor, public, .. } = signed;
    let (seq, fates, at) = (anchor.seq, anchor.fates, SystemTime::now());
    let noted = Anchored { key: public, seq, fates, at, folder: folder.to_string(), name: name.clone() };
    journal.anchored(noted).await?;
    Ok(Put { anchor, folder: folder.clone(), name })
}

/// The lock of the journal's anchors, held until it is dropped.
async fn alone(journal: &Journal) -> Result<std::fs::File, AnchorError> {
    let start = tokio::time::Instant::now();
    loop {
        if let Some(lock) = journal.anchoring()? {
            return Ok(lock);
        }
        if start.elapsed() >= budget::ANCHOR_LOCK {
            return Err(AnchorError::Busy);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Under the day's name while the store keeps one document under it; else under a name that nothing has. So too where the day's
/// anchor says something else than the journal: it is what proves that the journal was changed, and must not be covered.
async fn store<V: Vault>(
    vault: &V,
    journal: &Journal,
    folder: &RemotePath,
    id: &DocumentId,
    signed: &Signed,
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

/// Whether an anchor in the vault says nothing else than the journal.
async fn agrees<V: Vault>(vault: &V, journal: &Journal, path: &RemotePath) -> Result<bool, AnchorError> {
    let agrees = match Anchor::read(&download(vault, path).await?) {
        Ok(anchor) => {
            let compared = journal.compare(vec![anchor.receipts(), anchor.of_fates()]).await?;
            !compared.iter().any(Compared::contradicts)
        }
        Err(_) => false,
    };
    if !agrees {
        let path = printable(&path.to_string());
        tracing::error!(
            "the journal is not what its anchor {path} says: somebody changed one of them; see history --check"
        );
    }
    Ok(agrees)
}

/// The part of an anchor's name that is its date, behind its key and its place.
fn dated(name: &str) -> &str {
    name.strip_prefix(PREFIX).and_then(|rest| rest.splitn(3, '-').nth(2)).unwrap_or_default()
}

async fn upload<V: Vault>(vault: &V, folder: &DocumentId, name: &str, document: &[u8]) -> Result<Document, VaultError> {
    let content = || {
        let body = Full::new(Bytes::copy_from_slice(document)).map_err(|never| match never {}).boxed();
        Ok(Content { length: document.len() as u64, body })
    };
    vault.upload(folder, name, &content).await
}

/// A document in the vault that calls itself an anchor of this journal.
#[derive(Debug, Clone)]
pub struct Lying {
    /// Where it lies.
    pub path: RemotePath,
    /// What it says; or why it is no anchor that its key has signed.
    pub anchor: Result<Anchor, String>,
}

/// What the vault has of one journal.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest that are signed with its key, the newest first; at most 31 of a folder.
    pub own: Vec<Lying>,
    /// The newest of the same host, state directory and service that are signed with another key; and the noted one, if it is.
    pub other_key: Vec<Lying>,
    /// How many documents are anchors of other journals.
    pub others: usize,
}

/// Looks for the anchors of a journal. `now` is an anchor of it as it is now, `noted` the newest one that the journal says it put there.
///
/// What the journal's key signed is the journal's, wherever it was signed: a container has another host name in each run, and a state
/// folder may be moved. The place only tells where another key took the journal's place.
pub async fn find<V: Vault>(
    vault: &V,
    folders: &[RemotePath],
    now: &Anchor,
    noted: Option<&Anchored>,
) -> Result<Found, VaultError> {
    let (own, place) = (format!("{PREFIX}{}-", now.fingerprint()), format!("-{}-", now.place()));
    let mut found = Found::default();
    for folder in folders {
        let id = match vault.folder(folder).await {
            Ok(found) => found.id,
            Err(error) if error.kind == Kind::Missing => continue,
            Err(error) => return Err(error),
        };
        let mut names: Vec<String> = vault.children(&id).await?.into_iter().filter_map(|child| child.name).collect();
        names.retain(|name| name.starts_with(PREFIX));
        // The noted one is read however old its name says that it is.
        let noted = noted.filter(|noted| noted.folder == folder.to_string()).map(|noted| noted.name.as_str());
        let rank = |name: &String| (Some(name.as_str()) == noted, dated(name).to_owned(), name.clone());
        names.sort_by_cached_key(|name| std::cmp::Reverse(rank(name)));
        names.dedup();
        let (mine, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.starts_with(&own));
        let known = |name: &String| name.contains(&place) || Some(name.as_str()) == noted;
        let (same_place, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(known);
        found.others += others.len();
        found.own.extend(read_all(vault, folder, mine, budget::ANCHORS).await?);
        found.other_key.extend(read_all(vault, folder, same_place, budget::ANCHORS_OF_ANOTHER_KEY).await?);
    }
    let newest = |lying: &Lying| lying.anchor.as_ref().map_or((0, 0), |anchor| (anchor.seq, anchor.fates));
    found.own.sort_by_key(|lying| std::cmp::Reverse(newest(lying)));
    Ok(found)
}

async fn read_all<V: Vault>(
    vault: &V,
    folder: &RemotePath,
    names: Vec<String>,
    most: usize,
) -> Result<Vec<Lying>, VaultError> {
    let mut read = Vec::new();
    for name in names.into_iter().take(most) {
        let path = folder.join(&name);
        let anchor = match download(vault, &path).await {
            Ok(document) => Anchor::read(&document).map_err(str::to_owned),
            Err(error) if error.is_retryable() || error.kind == Kind::Login => return Err(error),
            Err(error) => Err(error.message),
        };
        read.push(Lying { path, anchor });
    }
    Ok(read)
}

/// No more than an anchor can have: what is longer is none.
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

/// Puts an anchor into the vault each hour, where there is something new, and tells the chains' heads in the log. The first comes at
/// once where the last is older than an hour, so that a daemon that is often started anew has its anchors too.
pub async fn hourly<V: Vault>(vault: Arc<V>, journal: Journal, folder: Option<RemotePath>) {
    let mut wait = until_due(&journal).await;
    loop {
        tokio::time::sleep(wait).await;
        put_if_new(&*vault, &journal, folder.as_ref()).await;
        wait = HOUR;
    }
}

/// At a clean stop. A run that ends by itself puts at most one anchor an hour: such runs may come each minute.
pub async fn at_stop<V: Vault>(vault: &V, journal: &Journal, folder: Option<&RemotePath>, once: bool) {
    if once && !until_due(journal).await.is_zero() {
        return;
    }
    if tokio::time::timeout(budget::ANCHOR_AT_STOP, put_if_new(vault, journal, folder)).await.is_err() {
        tracing::warn!("no anchor of the receipts was put into the vault: it took too long; the next run puts one");
    }
}

/// How long until the last anchor is an hour old; no time where there is none, or where the clock was set back since.
async fn until_due(journal: &Journal) -> Duration {
    let last = journal.last_anchor().await.ok().flatten();
    let age = last.and_then(|last| last.at.elapsed().ok());
    age.map_or(Duration::ZERO, |age| HOUR.saturating_sub(age))
}

/// In nobody's way: what goes wrong is told, and tried again an hour later.
async fn put_if_new<V: Vault>(vault: &V, journal: &Journal, folder: Option<&RemotePath>) {
    let signed = match journal.sign_anchor().await {
        Ok(signed) => signed,
        Err(error) => return tracing::warn!("the receipts can't be anchored: {error}"),
    };
    let last = journal.last_anchor().await.ok().flatten();
    if signed.anchor.seq == 0 || last.is_some_and(|last| says_all(&last, &signed, folder)) {
        return;
    }
    let Some(folder) = folder else { return tell(&signed.anchor) };
    match put(vault, journal, folder).await {
        Ok(put) => tell(&put.anchor),
        Err(error) => {
            tell(&signed.anchor);
            tracing::warn!("no anchor of the receipts was put into {}: {error}", printable(&folder.to_string()));
        }
    }
}

/// Whether the last anchor says all that a new one would, there where it would go.
fn says_all(last: &Anchored, signed: &Signed, folder: Option<&RemotePath>) -> bool {
    let same = (last.seq, last.fates) == (signed.anchor.seq, signed.anchor.fates) && last.key == signed.public;
    same && folder.is_none_or(|folder| folder.to_string() == last.folder)
}

/// In the form that `history --check --against` takes: a log that is kept elsewhere is an anchor too.
pub fn tell(anchor: &Anchor) {
    let (receipts, fates, key) = (anchor.receipts(), anchor.of_fates(), anchor.fingerprint());
    tracing::info!("receipt chain head {receipts} {fates} (key {key})");
}
