//! The few things that a pipeline asks of a store, and what it must know when the answer is no.
//!
//! Implemented by [`crate::astran::Client`], and by a model of a store in the tests.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

/// The store's own name for a document or a folder. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(pub String);

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path in the vault, as its segments; the empty one is the root.
///
/// Segments are plain text, not encoded; none is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RemotePath {
    segments: Vec<String>,
}

/// Why a text is no path in the vault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemotePathError {
    /// `.` and `..` mean nothing in the vault, and a proxy on the way would resolve them.
    #[error("`{0}` is not a folder's name: write the path in the vault from its root, like /HR_Backup/2026")]
    Dots(String),
    /// No store keeps a NUL in a name.
    #[error("a path in the vault can't hold a NUL character")]
    Nul,
}

impl RemotePath {
    /// Reads a path as people type it: a leading, trailing or doubled slash makes no difference.
    pub fn parse(text: &str) -> Result<Self, RemotePathError> {
        let segments: Vec<String> = text.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        for segment in &segments {
            if segment == "." || segment == ".." {
                return Err(RemotePathError::Dots(segment.clone()));
            }
            if segment.contains('\0') {
                return Err(RemotePathError::Nul);
            }
        }
        Ok(Self { segments })
    }

    /// The path of `name` inside this folder. `name` is one segment.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.to_owned());
        Self { segments }
    }

    /// The folder's or document's names from the root down.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segments.is_empty() {
            return f.write_str("/");
        }
        self.segments.iter().try_for_each(|s| write!(f, "/{s}"))
    }
}

/// What the store says of a document or folder. Only the id is sure to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The store's name for it.
    pub id: DocumentId,
    /// Its name in its folder.
    pub name: Option<String>,
    /// Its length in bytes.
    pub size: Option<u64>,
    /// The SHA-256 of its content in lower-case hexadecimal, where the store tells one.
    pub sha256: Option<String>,
    /// Whether it is a folder, where the store tells.
    pub folder: Option<bool>,
    /// Which version of the document this is, where the store tells.
    pub version: Option<String>,
}

/// The bytes of one upload: an exact length and a stream that yields just so many.
pub struct Content {
    /// Length in bytes, sent as `Content-Length`.
    pub length: u64,
    /// The bytes, read from the file while they are sent.
    pub body: ContentBody,
}

/// The stream of an upload. It is read to its last byte, not to its end: what must happen at the end happens with the chunk
/// that completes the length. An error in it ends the request before it is complete, so that the store refuses it.
pub type ContentBody = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// A document on its way out of the store.
pub trait Download: Send {
    /// Its length in bytes, where the store tells.
    fn length(&self) -> Option<u64>;
    /// The next piece; `None` once it has ended whole.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, VaultError>> + Send;
}

/// A store of documents in folders.
pub trait Vault: Send + Sync + 'static {
    /// What [`Vault::download`] yields.
    type Download: Download;

    /// The folder at a path. An error of kind [`Kind::Missing`] says which part exists and what lies beside it.
    fn folder(&self, path: &RemotePath) -> impl Future<Output = Result<Document, VaultError>> + Send;

    /// What lies in a folder.
    fn children(&self, folder: &DocumentId) -> impl Future<Output = Result<Vec<Document>, VaultError>> + Send;

    /// The document of this id in a folder; `None` where the folder does not list it. Costs a listing of the folder.
    fn child(
        &self,
        folder: &DocumentId,
        id: &DocumentId,
    ) -> impl Future<Output = Result<Option<Document>, VaultError>> + Send {
        async { Ok(self.children(folder).await?.into_iter().find(|child| child.id == *id)) }
    }

    /// The document or folder at a path, by the cheapest way there is; `None` where nothing is there.
    ///
    /// One document, even where the store keeps several under this name: [`Vault::named`] tells them all.
    fn at(&self, path: &RemotePath) -> impl Future<Output = Result<Option<Document>, VaultError>> + Send;

    /// All documents called `name` in the folder: several where the store keeps two under one name, none where it has none.
    /// `path` is the folder's path, `folder` its id. Costs a listing of the folder.
    fn named(
        &self,
        path: &RemotePath,
        folder: &DocumentId,
        name: &str,
    ) -> impl Future<Output = Result<Vec<Document>, VaultError>> + Send;

    /// Stores `content` as `name` in the folder; answers what the store says of it. `Ok` is a 2xx answer that could be read.
    ///
    /// `content` is called once for each time the request is sent (twice after a token that the store no longer takes).
    fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> impl Future<Output = Result<Document, VaultError>> + Send;

    /// Opens the content of the document at a path.
    fn download(&self, path: &RemotePath) -> impl Future<Output = Result<Self::Download, VaultError>> + Send;

    /// Whether the store can be used now: reaches the service, logs in where needed. Cheap; returns who is logged in.
    fn probe(&self) -> impl Future<Output = Result<String, VaultError>> + Send;
}

/// Whose trouble a failure is, so what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service can't be reached, answers 408, 429, 5xx, or no JSON: wait and try again; no file is to blame.
    Unavailable,
    /// The login was refused, or a brand-new token was: no retry helps until somebody mends it.
    Login,
    /// The folder or document asked for is not there (404), or is no folder.
    Missing,
    /// Not allowed there (403).
    Forbidden,
    /// The store has something under this name already (409).
    Conflict,
    /// The store doesn't want this file: 400, 413, 415, 422 and every other 4xx.
    Refused,
    /// The request may have been carried out, but its answer never came or could not be read: look, never assume.
    Unknown,
    /// The content could not be read to its end: the local file is at fault, and the store took nothing.
    Content,
}

/// A call that failed: whose trouble it is, in words for the administrator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct VaultError {
    /// Whose trouble it is.
    pub kind: Kind,
    /// What failed, at which address, why, and what to do. Holds nothing secret.
    pub message: String,
    /// How long the service asked to be left alone (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Whether the store may have carried the upload out all the same: look there before it is repeated.
    pub maybe_stored: bool,
    /// Whether all of an upload's content had gone out before it failed: behind a relay that hands it on late, the store may
    /// carry it out some time after this error.
    pub all_sent: bool,
}

impl VaultError {
    /// An error without a `Retry-After`. An unknown outcome may have been stored; everything else was not, unless
    /// [`VaultError::after_sending`] says so.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let unknown = kind == Kind::Unknown;
        Self { kind, message: message.into(), retry_after: None, maybe_stored: unknown, all_sent: unknown }
    }

    /// The same error of an upload that the store may have carried out before it failed.
    #[must_use]
    pub fn after_sending(mut self) -> Self {
        self.maybe_stored = true;
        self.all_sent = true;
        self
    }

    /// The same error of an upload whose content had all gone out, or had not.
    #[must_use]
    pub fn with_all_sent(mut self, all_sent: bool) -> Self {
        self.all_sent = all_sent;
        self.maybe_stored &= all_sent;
        self
    }

    /// The same error with the time for which the service asked to be left alone.
    #[must_use]
    pub fn leave_alone(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whose trouble it is, in words for anybody: they name no file, no account and no address, as the message does.
    pub fn plainly(&self) -> &'static str {
        match self.kind {
            Kind::Unavailable | Kind::Unknown => "it can't be used just now; the log says why",
            Kind::Login => "uploads are suspended, for the login is refused; the log says why",
            Kind::Missing => "it is not there; the log says more",
            Kind::Forbidden => "it may not be used; the log says more",
            Kind::Conflict | Kind::Refused | Kind::Content => "it takes nothing; the log says why",
        }
    }

    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Unknown)
    }
}
