//! Looks things up: the user, the documents of a folder, and the document at a path. A path is looked up directly, and where the
//! service can't do that, from the root down through the listings of the folders.

use super::connection::{Connection, shown, success};
use super::document::{self, LoggedInUser};
use super::path_lookup::PathLookupSupport;
use super::transport::Limits;
use crate::budget;
use crate::vault::{Document, DocumentId, Kind, RemotePath, VaultError};

/// The result of a lookup by path.
enum LookupResult {
    Found(Document),
    /// The service answers that nothing is there; `certain` where lookups by path are known to work.
    NotFound {
        certain: bool,
    },
    /// The service can't look up paths.
    Unsupported,
}

/// The result of a walk from the root down.
enum WalkResult {
    Found(Document),
    /// The first `depth` segments exist; the folder that they lead to holds `siblings`, and nothing with the next name.
    Stopped {
        depth: usize,
        siblings: Vec<Document>,
    },
}

impl Connection {
    /// Who is logged in, and where their documents begin.
    pub(super) async fn logged_in_user(&self) -> Result<LoggedInUser, VaultError> {
        let url = self.addresses.me();
        let call = self.call("the question who is logged in", &url);
        let answer = self.get_json(&call, Limits::small(&self.timeouts)).await?;
        let body = success(&call, &answer)?;
        document::logged_in_user(body).map_err(|error| call.unreadable(error, body))
    }

    /// The documents of a folder that are `wanted`: of a large listing no others are held in memory.
    pub(super) async fn children(
        &self,
        folder: &DocumentId,
        wanted: impl Fn(&Document) -> bool,
    ) -> Result<Vec<Document>, VaultError> {
        let url = self.addresses.children(&folder.0)?;
        let call = self.call("the listing of a folder", &url);
        let answer = self.get_json(&call, Limits::listing(&self.timeouts)).await?;
        let body = success(&call, &answer)?;
        document::listing(body, wanted).map_err(|error| call.unreadable(error, body))
    }

    /// The document at a path.
    pub(super) async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        match self.look_up(path).await? {
            LookupResult::Found(found) => Ok(Some(found)),
            LookupResult::NotFound { certain: true } => Ok(None),
            LookupResult::NotFound { certain: false } | LookupResult::Unsupported => match self.walk(path).await? {
                WalkResult::Found(found) => Ok(Some(found)),
                WalkResult::Stopped { .. } => Ok(None),
            },
        }
    }

    /// The folder at a path. If it is missing, the error says which part of the path exists and what lies beside the rest.
    pub(super) async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        let found = match self.look_up(path).await? {
            LookupResult::Found(found) => found,
            LookupResult::Unsupported => self.walk(path).await?.folder_or_missing(path)?,
            LookupResult::NotFound { .. } => match self.walk(path).await {
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

    async fn look_up(&self, path: &RemotePath) -> Result<LookupResult, VaultError> {
        if path.segments().is_empty() {
            return Ok(LookupResult::Found(folder(self.root().await?)));
        }
        let support = self.path_lookup.get();
        if support == PathLookupSupport::Absent {
            return Ok(LookupResult::Unsupported);
        }
        let url = self.addresses.filesystem(path)?;
        let what = format!("the search for {}", shown(path));
        let call = self.call(&what, &url);
        let answer = self.get_json(&call, Limits::small(&self.timeouts)).await?;
        match answer.status.as_u16() {
            405 | 501 => {
                self.path_lookup.set(PathLookupSupport::Absent);
                Ok(LookupResult::Unsupported)
            }
            // Until a lookup has worked once, a 404 may come from a service or a proxy that has no such call.
            404 | 410 if support != PathLookupSupport::Works => Ok(LookupResult::NotFound { certain: false }),
            _ => match success(&call, &answer) {
                Ok(body) => {
                    let found = document::document(body).map_err(|error| call.unreadable(error, body))?;
                    self.path_lookup.set(PathLookupSupport::Works);
                    Ok(LookupResult::Found(found))
                }
                Err(e) if e.kind == Kind::Missing => Ok(LookupResult::NotFound { certain: true }),
                Err(e) => Err(e),
            },
        }
    }

    /// Walks from the root down through the listings. If the walk finds what the lookup by path did not find, the service can't look
    /// up paths.
    async fn walk(&self, path: &RemotePath) -> Result<WalkResult, VaultError> {
        let mut here = folder(self.root().await?);
        for (depth, name) in path.segments().iter().enumerate() {
            let children = self.children(&here.id, |_| true).await?;
            let last = depth + 1 == path.segments().len();
            match pick(&children, name, last) {
                Some(child) => here = child.clone(),
                None => return Ok(WalkResult::Stopped { depth, siblings: children }),
            }
        }
        if self.path_lookup.get() == PathLookupSupport::Unknown {
            self.path_lookup.set(PathLookupSupport::Absent);
        }
        Ok(WalkResult::Found(here))
    }

    async fn root(&self) -> Result<DocumentId, VaultError> {
        self.root.get_or_try_init(|| async { Ok(self.logged_in_user().await?.root) }).await.cloned()
    }
}

fn folder(id: DocumentId) -> Document {
    Document { id, name: None, size: None, sha256: None, folder: Some(true), version: None }
}

/// The child of that name. On the way down a plain document does not count; at the end a folder is preferred, because most lookups
/// are for a destination.
fn pick<'a>(children: &'a [Document], name: &str, last: bool) -> Option<&'a Document> {
    let named = || children.iter().filter(|d| d.name.as_deref() == Some(name));
    named().find(|d| d.folder != Some(false)).or_else(|| named().next().filter(|_| last))
}

impl WalkResult {
    fn folder_or_missing(self, path: &RemotePath) -> Result<Document, VaultError> {
        match self {
            Self::Found(found) => Ok(found),
            Self::Stopped { depth, siblings } => {
                Err(VaultError::new(Kind::Missing, format!("{}: {}", missing(path), around(path, depth, &siblings))))
            }
        }
    }
}

fn missing(path: &RemotePath) -> String {
    format!("there is no folder {} in the vault, and this tool makes none: have it made, or name another", shown(path))
}

/// Which part of the path exists, and what lies beside the rest.
fn around(path: &RemotePath, depth: usize, siblings: &[Document]) -> String {
    let mut parent = RemotePath::default();
    for segment in &path.segments()[..depth] {
        parent = parent.join(segment);
    }
    let folders = || siblings.iter().filter(|d| d.folder != Some(false));
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
