//! The port to the store: the calls that the program makes, and the errors that it gets.
//!
//! [`crate::astran::Client`] implements it for the service; tests have a scripted vault in memory (`tests/support/fake_vault.rs`).
//!
//! What a caller can do about a [`VaultError`] depends on its [`Kind`]:
//! - [`Kind::Unavailable`]: wait, at least for [`VaultError::retry_after`], and call again;
//! - [`Kind::Unknown`], and any error with [`VaultError::maybe_stored`]: look whether the store has the document before uploading it
//!   again;
//! - [`Kind::Login`]: stop all uploads, and try a login from time to time until a person has mended the account or the password;
//! - [`Kind::Missing`], [`Kind::Forbidden`]: hold back the files of this destination until a person has mended it;
//! - [`Kind::Conflict`]: use another name, or leave the file as failed;
//! - [`Kind::Refused`]: leave the file as failed; no retry helps;
//! - [`Kind::Content`]: read the local file again, or leave it to the next scan.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

/// The store's identifier of a document or a folder. Opaque.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentId(pub String);

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An absolute path in the vault, as its segments. The path without segments is the root.
///
/// Segments are plain text, not encoded; none is empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RemotePath {
    segments: Vec<String>,
}

/// Why a text is no path in the vault. The caller shows it to the person who wrote the path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemotePathError {
    /// A segment is `.` or `..`: the vault does not know them, and a proxy in between would resolve them.
    #[error("`{0}` is not a folder's name: write the path in the vault from its root, like /HR_Backup/2026")]
    Dots(String),
    /// A segment has a NUL character, which no store keeps in a name.
    #[error("a path in the vault can't hold a NUL character")]
    Nul,
}

impl RemotePath {
    /// Parses a path as people type it: leading, trailing and doubled slashes make no difference.
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

    /// Returns the path of `name` inside this folder. `name` must be one segment.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(name.to_owned());
        Self { segments }
    }

    /// The names from the root down.
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

/// A document or folder as the store describes it. Only the id is always there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The store's identifier.
    pub id: DocumentId,
    /// The name in the folder.
    pub name: Option<String>,
    /// The length in bytes.
    pub size: Option<u64>,
    /// The SHA-256 of the content in lower-case hexadecimal, where the store reports one.
    pub sha256: Option<String>,
    /// Whether this is a folder, where the store reports that.
    pub folder: Option<bool>,
    /// The document's version, where the store reports one.
    pub version: Option<String>,
}

/// The content of one upload: an exact length, and a stream of exactly so many bytes.
pub struct Content {
    /// The length in bytes, sent as `Content-Length`.
    pub length: u64,
    /// The bytes. They are read from the file while they are sent.
    pub body: ContentBody,
}

/// The byte stream of an upload. The HTTP client reads it until the length is complete and may never ask for the end of the stream, so
/// whatever must happen at the end happens with the chunk that completes the length. An error in the stream ends the request before the
/// body is complete, so that the store refuses it.
pub type ContentBody = http_body_util::combinators::BoxBody<Bytes, std::io::Error>;

/// A document that is being downloaded.
pub trait Download: Send {
    /// The length in bytes, where the store reports one.
    fn length(&self) -> Option<u64>;
    /// Returns the next piece; `None` once the document is complete.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, VaultError>> + Send;
}

/// A store of documents in folders.
pub trait Vault: Send + Sync + 'static {
    /// The type that [`Vault::download`] returns.
    type Download: Download;

    /// Returns the folder at a path. An error of kind [`Kind::Missing`] says which part of the path exists, and what lies beside the missing
    /// part.
    fn folder(&self, path: &RemotePath) -> impl Future<Output = Result<Document, VaultError>> + Send;

    /// Returns the documents and folders in a folder.
    fn children(&self, folder: &DocumentId) -> impl Future<Output = Result<Vec<Document>, VaultError>> + Send;

    /// Returns the document of this id in a folder; `None` where the folder does not list it. Costs a listing of the folder.
    fn child(
        &self,
        folder: &DocumentId,
        id: &DocumentId,
    ) -> impl Future<Output = Result<Option<Document>, VaultError>> + Send {
        async { Ok(self.children(folder).await?.into_iter().find(|child| child.id == *id)) }
    }

    /// Returns the document or folder at a path, by the cheapest call there is; `None` where nothing is there.
    ///
    /// Returns one document even where the store keeps several of this name; [`Vault::named`] returns all of them.
    fn at(&self, path: &RemotePath) -> impl Future<Output = Result<Option<Document>, VaultError>> + Send;

    /// Returns all documents called `name` in the folder: none, one, or several where the store keeps several of one name.
    ///
    /// `path` is the folder's path, and `folder` its id. Costs a listing of the folder.
    fn named(
        &self,
        path: &RemotePath,
        folder: &DocumentId,
        name: &str,
    ) -> impl Future<Output = Result<Vec<Document>, VaultError>> + Send;

    /// Stores `content` as `name` in the folder; returns the store's description of the document. `Ok` means that the store answered
    /// with 2xx and the answer could be read.
    ///
    /// `content` is called once for each time the request is sent: twice where the store no longer takes the token.
    fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> impl Future<Output = Result<Document, VaultError>> + Send;

    /// Starts the download of the document at a path.
    fn download(&self, path: &RemotePath) -> impl Future<Output = Result<Self::Download, VaultError>> + Send;

    /// Checks that the store can be used now, and logs in where needed; returns the name of the account. Cheap.
    fn probe(&self) -> impl Future<Output = Result<String, VaultError>> + Send;
}

/// The cause of a failed call, which decides what the caller can do about it: see the module's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The service can't be reached, or it answered 408, 429, 5xx or no JSON. No file is the cause.
    Unavailable,
    /// The login was refused, or a brand-new token was. No retry helps until a person mends that.
    Login,
    /// The folder or document of the call is not there (404), or is no folder.
    Missing,
    /// The account may not do this there (403).
    Forbidden,
    /// The store has something else of this name already (409).
    Conflict,
    /// The store refuses this file: 400, 413, 415, 422 and every other 4xx.
    Refused,
    /// The answer never came or could not be read, so the store may have carried out the request or not.
    Unknown,
    /// The local file could not be read to its end. The store took nothing.
    Content,
}

/// A failed call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct VaultError {
    /// The cause.
    pub kind: Kind,
    /// For the administrator: what failed, at which address, why, and what to do. Holds nothing secret.
    pub message: String,
    /// How long the service asked the program to wait (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// Whether the store may have carried out the upload in spite of the error.
    pub maybe_stored: bool,
    /// Whether all of the upload's content was sent before the error. A relay may pass it on late, so the store may carry out the upload
    /// some time after the error.
    pub all_sent: bool,
    /// Whether the service says that it has too much to do (429, 503): fewer uploads at once are in order.
    pub is_overload: bool,
}

impl VaultError {
    /// Creates an error without a `Retry-After`. An upload of kind [`Kind::Unknown`] may have been stored; any other was not, unless
    /// [`VaultError::after_sending`] is called.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let unknown = kind == Kind::Unknown;
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            maybe_stored: unknown,
            all_sent: unknown,
            is_overload: false,
        }
    }

    /// Marks the error of an upload that was sent whole and that the store may have carried out.
    #[must_use]
    pub fn after_sending(mut self) -> Self {
        self.maybe_stored = true;
        self.all_sent = true;
        self
    }

    /// Sets whether all of the upload's content was sent. An upload that was not sent whole can't have been stored.
    #[must_use]
    pub fn with_all_sent(mut self, all_sent: bool) -> Self {
        self.all_sent = all_sent;
        self.maybe_stored &= all_sent;
        self
    }

    /// Sets how long the service asked the program to wait.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The cause in words that anybody may read, as on `/readyz`: unlike the message, they name no file, no account and no address.
    pub fn public_message(&self) -> &'static str {
        match self.kind {
            Kind::Unavailable | Kind::Unknown => "it can't be used just now; the log says why",
            Kind::Login => "uploads are suspended, for the login is refused; the log says why",
            Kind::Missing => "it is not there; the log says more",
            Kind::Forbidden => "it may not be used; the log says more",
            Kind::Conflict | Kind::Refused | Kind::Content => "it takes nothing; the log says why",
        }
    }

    /// Whether the same call may succeed later without anybody's help.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::Unknown)
    }
}
