//! From a path to a document: the short way, and where the service has none, from the root down.

use std::sync::atomic::{AtomicU8, Ordering};

use super::Inner;
use super::calls::{shown, success};
use super::document;
use super::transport::Limits;
use crate::budget;
use crate::vault::{Document, DocumentId, Kind, RemotePath, VaultError};

/// Whether the service finds documents by path; learnt as it answers, so that it is not asked in vain each time.
#[derive(Debug, Default)]
pub(super) struct ShortWay(AtomicU8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Short {
    Untried,
    Works,
    Absent,
}

impl ShortWay {
    fn get(&self) -> Short {
        match self.0.load(Ordering::Relaxed) {
            1 => Short::Works,
            2 => Short::Absent,
            _ => Short::Untried,
        }
    }

    fn set(&self, short: Short) {
        self.0.store(short as u8, Ordering::Relaxed);
    }
}

/// What the short way came to.
enum Tried {
    Found(Document),
    /// Nothing is there; `sure` where the short way is known to work.
    Nothing {
        sure: bool,
    },
    /// There is no short way.
    Absent,
}

/// How far down a path goes.
enum Walked {
    Found(Document),
    /// The first `depth` segments exist; this lies where the next should.
    Stopped {
        depth: usize,
        beside: Vec<Document>,
    },
}

impl Inner {
    /// The document at a path.
    pub(super) async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        match self.try_short(path).await? {
            Tried::Found(found) => Ok(Some(found)),
            Tried::Nothing { sure: true } => Ok(None),
            Tried::Nothing { sure: false } | Tried::Absent => match self.walk(path).await? {
                Walked::Found(found) => Ok(Some(found)),
                Walked::Stopped { .. } => Ok(None),
            },
        }
    }

    /// The folder at a path; where it is missing, the error says which part of the path exists and what lies beside it.
    pub(super) async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        let found = match self.try_short(path).await? {
            Tried::Found(found) => found,
            Tried::Absent => self.walk(path).await?.folder_or_missing(path)?,
            Tried::Nothing { .. } => match self.walk(path).await {
                Ok(walked) => walked.folder_or_missing(path)?,
                Err(e) if e.is_retryable() || e.kind == Kind::Login => return Err(e),
                Err(e) => return Err(VaultError::new(Kind::Missing, format!("{} ({e})", missing(path)))),
            },
        };
        if found.folder == Some(false) {
            let why =
                format!("{} in the vault is a document, not a folder: name the folder that it lies in", shown(path));
            return Err(VaultError::new(Kind::Missing, why));
        }
        Ok(found)
    }

    async fn try_short(&self, path: &RemotePath) -> Result<Tried, VaultError> {
        if path.segments().is_empty() {
            return Ok(Tried::Found(folder(self.root().await?)));
        }
        let known = self.short_way.get();
        if known == Short::Absent {
            return Ok(Tried::Absent);
        }
        let url = self.addresses.filesystem(path)?;
        let what = format!("the search for {}", shown(path));
        let call = self.call(&what, &url);
        let answer = self.ask(&call, Limits::small(&self.timeouts)).await?;
        match answer.status.as_u16() {
            405 | 501 => {
                self.short_way.set(Short::Absent);
                Ok(Tried::Absent)
            }
            // Until it has worked once, a 404 may come from a service, or a proxy, that has no such call.
            404 | 410 if known != Short::Works => Ok(Tried::Nothing { sure: false }),
            _ => match success(&call, &answer) {
                Ok(body) => {
                    let found = document::document(body).map_err(|why| call.unreadable(&why.to_string(), body))?;
                    self.short_way.set(Short::Works);
                    Ok(Tried::Found(found))
                }
                Err(e) if e.kind == Kind::Missing => Ok(Tried::Nothing { sure: true }),
                Err(e) => Err(e),
            },
        }
    }

    /// From the root down by the listings. Where it finds what the short way did not, there is no short way.
    async fn walk(&self, path: &RemotePath) -> Result<Walked, VaultError> {
        let mut here = folder(self.root().await?);
        for (depth, name) in path.segments().iter().enumerate() {
            let children = self.children(&here.id).await?;
            let last = depth + 1 == path.segments().len();
            match pick(&children, name, last) {
                Some(child) => here = child.clone(),
                None => return Ok(Walked::Stopped { depth, beside: children }),
            }
        }
        if self.short_way.get() == Short::Untried {
            self.short_way.set(Short::Absent);
        }
        Ok(Walked::Found(here))
    }

    async fn root(&self) -> Result<DocumentId, VaultError> {
        self.root.get_or_try_init(|| async { Ok(self.me().await?.root) }).await.cloned()
    }
}

fn folder(id: DocumentId) -> Document {
    Document { id, name: None, size: None, sha256: None, folder: Some(true), version: None }
}

/// The child of that name. On the way down it must not be a plain document; at the end a folder goes first, since a
/// destination is what is looked for most.
fn pick<'a>(children: &'a [Document], name: &str, last: bool) -> Option<&'a Document> {
    let named = || children.iter().filter(|d| d.name.as_deref() == Some(name));
    named().find(|d| d.folder != Some(false)).or_else(|| named().next().filter(|_| last))
}

impl Walked {
    fn folder_or_missing(self, path: &RemotePath) -> Result<Document, VaultError> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Stopped { depth, beside } => {
                Err(VaultError::new(Kind::Missing, format!("{}: {}", missing(path), around(path, depth, &beside))))
            }
        }
    }
}

fn missing(path: &RemotePath) -> String {
    format!("there is no folder {} in the vault, and this tool makes none: have it made, or name another", shown(path))
}

/// Which part of the path exists, and what lies beside the rest.
fn around(path: &RemotePath, depth: usize, beside: &[Document]) -> String {
    let mut parent = RemotePath::default();
    for segment in &path.segments()[..depth] {
        parent = parent.join(segment);
    }
    let folders = || beside.iter().filter(|d| d.folder != Some(false));
    let mut names: Vec<String> = folders().filter_map(|d| d.name.as_ref().map(|n| format!("{n:?}"))).collect();
    if names.is_empty() {
        return format!("{} exists, and holds no folder", shown(&parent));
    }
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(budget::NAMES_BESIDE);
    names.truncate(budget::NAMES_BESIDE);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{} exists, and holds {}{tail}", shown(&parent), names.join(", "))
}
