//! A store that does as it is told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use astran_backup::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::support::proof::sha256;

/// What the store does to an upload.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Stores it and says so.
    Good,
    /// The same, after this time.
    After(Duration),
    /// Says that it has it before it has read anything.
    Early,
    /// Its answer is lost; it has stored it so much later.
    Lost(Duration),
    /// Somebody in between says that it is busy (503); it has stored it so much later.
    BusyAndLate(Duration),
    /// Stores it and says so, and then this content comes over it.
    Covered(&'static [u8]),
    /// Says that it has something else.
    Contradicts,
    /// Has something under this name (409).
    Conflict,
    /// Does not know the folder (404).
    Missing,
    /// Is busy (503).
    Busy,
    /// Says that it has it, and has not.
    Lie,
    /// Never answers.
    Never,
}

/// What was stored: under which name, what, and since when it can be seen.
struct Kept {
    name: String,
    content: Vec<u8>,
    from: Instant,
}

#[derive(Default)]
pub(crate) struct Store {
    kept: Mutex<Vec<Kept>>,
    /// What it does to the uploads to come; then it is good, or for ever what `always` says.
    pub(crate) replies: Mutex<VecDeque<Reply>>,
    pub(crate) always: Mutex<Option<Reply>>,
    uploads: AtomicUsize,
    folders: AtomicUsize,
    looks: AtomicUsize,
    /// Why it answers no question about a document.
    pub(crate) silent: Mutex<Option<Kind>>,
    /// A journal in which uploads look as if they had been begun long ago.
    pub(crate) aged: Mutex<Option<PathBuf>>,
}

impl Store {
    pub(crate) fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    pub(crate) fn keep(&self, name: &str, content: &[u8], after: Duration) {
        let from = Instant::now() + after;
        self.kept.lock().unwrap().push(Kept { name: name.to_owned(), content: content.to_owned(), from });
    }

    /// Somebody empties the vault.
    pub(crate) fn clear(&self) {
        self.kept.lock().unwrap().clear();
    }

    /// How often anything was sent.
    pub(crate) fn uploads(&self) -> usize {
        self.uploads.load(Ordering::Acquire)
    }

    /// How often it was asked for a folder.
    pub(crate) fn folders_asked_for(&self) -> usize {
        self.folders.load(Ordering::Acquire)
    }

    /// How often it was asked for a document.
    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::Acquire)
    }

    /// The contents that can be seen under a name, in the order in which they came.
    pub(crate) fn stored(&self, name: &str) -> Vec<Vec<u8>> {
        let (kept, now) = (self.kept.lock().unwrap(), Instant::now());
        let mut seen: Vec<&Kept> = kept.iter().filter(|kept| kept.name == name && kept.from <= now).collect();
        seen.sort_by_key(|kept| kept.from);
        seen.into_iter().map(|kept| kept.content.clone()).collect()
    }

    fn answer(&self) -> Result<(), VaultError> {
        let silent = *self.silent.lock().unwrap();
        silent.map_or(Ok(()), |kind| Err(VaultError::new(kind, "no answer")))
    }

    fn newest(&self, name: &str) -> Option<Document> {
        self.stored(name).last().map(|content| document(name, content))
    }
}

fn document(name: &str, content: &[u8]) -> Document {
    Document {
        id: DocumentId(format!("id of {name}")),
        name: Some(name.to_owned()),
        size: Some(content.len() as u64),
        sha256: Some(sha256(content)),
        folder: Some(false),
        version: None,
    }
}

/// Makes all uploads of a journal look as if they had been begun a minute ago.
fn age(state: &std::path::Path) {
    let connection = rusqlite::Connection::open(state.join("journal.sqlite")).unwrap();
    connection.execute("UPDATE attempt SET started = started - 60 * 1000000000", []).unwrap();
}

pub(crate) struct Out(Option<Bytes>);

impl Download for Out {
    fn length(&self) -> Option<u64> {
        None
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        Ok(self.0.take())
    }
}

impl Vault for Store {
    type Download = Out;

    async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        self.folders.fetch_add(1, Ordering::AcqRel);
        Ok(Document { folder: Some(true), ..document(&path.to_string(), b"") })
    }

    async fn children(&self, _: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.answer()?;
        let mut names: Vec<String> = self.kept.lock().unwrap().iter().map(|kept| kept.name.clone()).collect();
        names.dedup();
        Ok(names.iter().filter_map(|name| self.newest(name)).collect())
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        self.looks.fetch_add(1, Ordering::AcqRel);
        self.answer()?;
        Ok(path.segments().last().and_then(|name| self.newest(name)))
    }

    async fn named(&self, path: &RemotePath, _: &DocumentId, _: &str) -> Result<Vec<Document>, VaultError> {
        Ok(self.at(path).await?.into_iter().collect())
    }

    async fn upload(
        &self,
        _: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        self.uploads.fetch_add(1, Ordering::AcqRel);
        let next = self.replies.lock().unwrap().pop_front();
        let reply = next.or_else(|| self.always.lock().unwrap().clone()).unwrap_or(Reply::Good);
        let content = content().unwrap();
        match reply {
            Reply::Early => return Ok(Document { size: None, sha256: None, ..document(name, b"") }),
            Reply::Conflict => return Err(VaultError::new(Kind::Conflict, "409")),
            Reply::Missing => return Err(VaultError::new(Kind::Missing, "404")),
            Reply::Busy => return Err(VaultError::new(Kind::Unavailable, "503")),
            Reply::Never => std::future::pending().await,
            Reply::Good
            | Reply::After(_)
            | Reply::Lost(_)
            | Reply::BusyAndLate(_)
            | Reply::Covered(_)
            | Reply::Contradicts
            | Reply::Lie => {}
        }
        let bytes = content.body.collect().await.unwrap().to_bytes();
        match reply {
            Reply::After(time) => tokio::time::sleep(time).await,
            Reply::Lie => return Ok(document(name, &bytes)),
            Reply::Contradicts => return Ok(document(name, &bytes[1..])),
            Reply::Lost(later) => {
                self.keep(name, &bytes, later);
                if let Some(state) = &*self.aged.lock().unwrap() {
                    age(state);
                }
                return Err(VaultError::new(Kind::Unknown, "lost"));
            }
            Reply::BusyAndLate(later) => {
                self.keep(name, &bytes, later);
                return Err(VaultError::new(Kind::Unavailable, "503").with_all_sent(true));
            }
            _ => {}
        }
        self.keep(name, &bytes, Duration::ZERO);
        if let Reply::Covered(other) = reply {
            self.keep(name, other, Duration::ZERO);
        }
        Ok(document(name, &bytes))
    }

    async fn download(&self, path: &RemotePath) -> Result<Out, VaultError> {
        let content = path.segments().last().and_then(|name| self.stored(name).pop());
        content.map(|bytes| Out(Some(bytes.into()))).ok_or_else(|| VaultError::new(Kind::Missing, "nothing"))
    }

    async fn probe(&self) -> Result<String, VaultError> {
        Ok("me".into())
    }
}
