//! A vault in memory for all tests, which does what a test scripts.
//!
//! Unit tests and integration tests share this file: `src/lib.rs` includes it under `#[cfg(test)]`, and each test target that needs it
//! by its path. So it names the crate as the integration tests do; in unit tests that name is the crate itself.
//!
//! Without a script, every call is carried out, and a second upload of a name makes a newer version. A folder exists where it holds a
//! document. The script decides for each call what happens instead: first the replies queued by [`FakeVault::next_uploads`], then those of
//! [`FakeVault::always`], then the function of [`FakeVault::script`].

// Each test target uses its own part; helpers of tests may unwrap.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use astran_backup::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// A method of [`Vault`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Folder,
    Children,
    At,
    Named,
    Upload,
    Download,
    Probe,
}

impl Call {
    /// The calls that ask which documents there are.
    pub(crate) const LOOKS: [Self; 3] = [Self::Children, Self::At, Self::Named];
}

/// What the vault does with a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    /// Carries out the call.
    Normal,
    /// Carries out the call after this time.
    After(Duration),
    /// Does nothing, and fails with this kind of error.
    Fail(Kind),
    /// Never answers.
    Never,
    /// Panics, as a fault of the program itself would.
    Panic,
    /// Upload: answers with success before it reads the content, and stores nothing.
    Early,
    /// Upload: answers with success, and stores nothing.
    FalseSuccess,
    /// Upload: answers with the description of other content, and stores nothing.
    OtherContent,
    /// Upload: the connection breaks after all is sent; the content is stored this much later.
    Lost(Duration),
    /// Upload: a relay answers 503 after all is sent; the content is stored this much later.
    BusyThenStored(Duration),
    /// Upload: stores the content, then another client stores this content under the same name.
    ReplacedBy(&'static [u8]),
    /// Upload: another client stores this content under the same name first, then the upload is carried out.
    PrecededBy(Vec<u8>),
}

/// One version of a document.
#[derive(Debug, Clone)]
struct Version {
    path: RemotePath,
    document: Document,
    /// The content, or the error of its download.
    content: Result<Bytes, Kind>,
    /// The length that a download reports.
    length: Option<u64>,
    /// Whether the program under test uploaded it.
    is_ours: bool,
}

type Script = Box<dyn FnMut(Call, &str) -> Reply + Send>;

#[derive(Default)]
struct State {
    /// In the order in which they were stored.
    versions: Vec<Version>,
    /// Uploads that the store carries out later, with their times.
    pending: Vec<(Instant, Version)>,
    has_every_folder: bool,
    refuses_taken_names: bool,
    uploads: VecDeque<Reply>,
    always: BTreeMap<Call, Reply>,
    script: Option<Script>,
    calls: BTreeMap<Call, usize>,
}

/// The vault; the module's text says how it is scripted.
#[derive(Default)]
pub(crate) struct FakeVault(Mutex<State>);

impl FakeVault {
    /// Every path at which no document is stored is a folder.
    pub(crate) fn with_every_folder(self) -> Self {
        self.state().has_every_folder = true;
        self
    }

    /// An upload of a name that is taken is refused (409) instead of making a newer version.
    pub(crate) fn that_refuses_taken_names(self) -> Self {
        self.state().refuses_taken_names = true;
        self
    }

    /// Stores a document.
    pub(crate) fn put(&self, path: &str, content: &[u8]) {
        self.put_after(path, content, Duration::ZERO);
    }

    /// Stores a document this much later.
    pub(crate) fn put_after(&self, path: &str, content: &[u8], after: Duration) {
        let version = Version::new(parsed(path), content.to_vec(), false);
        self.state().pending.push((Instant::now() + after, version));
    }

    /// Stores a document whose download reports this length.
    pub(crate) fn put_with_length(&self, path: &str, content: &[u8], length: Option<u64>) {
        let version = Version::new(parsed(path), content.to_vec(), false);
        self.state().versions.push(Version { length, ..version });
    }

    /// Stores a document that the store describes like this, and whose download gives this.
    pub(crate) fn put_described(&self, path: &str, document: Document, content: Result<&'static [u8], Kind>) {
        let version = Version::new(parsed(path), Vec::new(), false);
        self.state().versions.push(Version { document, content: content.map(Bytes::from_static), ..version });
    }

    /// Removes all documents.
    pub(crate) fn clear(&self) {
        self.state().versions.clear();
    }

    /// The next uploads get these replies, each one.
    pub(crate) fn next_uploads(&self, replies: impl IntoIterator<Item = Reply>) {
        self.state().uploads.extend(replies);
    }

    /// From now on these calls get this reply.
    pub(crate) fn always(&self, calls: impl IntoIterator<Item = Call>, reply: &Reply) {
        self.state().always.extend(calls.into_iter().map(|call| (call, reply.clone())));
    }

    /// From now on this function decides. It gets the call and the name of the document or folder.
    pub(crate) fn script(&self, script: impl FnMut(Call, &str) -> Reply + Send + 'static) {
        self.state().script = Some(Box::new(script));
    }

    /// Ends all scripts: from now on every call is carried out.
    pub(crate) fn behave(&self) {
        let mut state = self.state();
        (state.uploads, state.always, state.script) = Default::default();
    }

    /// How often this call was made.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.state().calls.get(&call).copied().unwrap_or_default()
    }

    /// How often anything was uploaded.
    pub(crate) fn uploads(&self) -> usize {
        self.calls(Call::Upload)
    }

    /// The contents that are stored under a name in any folder, in their order.
    pub(crate) fn stored(&self, name: &str) -> Vec<Vec<u8>> {
        let state = self.state();
        let of_name = state.versions.iter().filter(|version| version.path.segments().last().is_some_and(|n| n == name));
        of_name.filter_map(|version| Some(version.content.as_ref().ok()?.to_vec())).collect()
    }

    /// The contents that the program under test uploaded and the vault stored.
    pub(crate) fn uploaded(&self) -> Vec<Bytes> {
        let state = self.state();
        state
            .versions
            .iter()
            .filter(|version| version.is_ours)
            .filter_map(|version| version.content.clone().ok())
            .collect()
    }

    /// Carries out all uploads that are pending, without waiting for their times.
    pub(crate) fn carry_out_all(&self) {
        self.state().carry_out(None);
    }

    /// The state at this moment: uploads whose time has come are carried out.
    fn state(&self) -> MutexGuard<'_, State> {
        // A scripted panic comes without the lock, so that the vault outlives it.
        let mut state = self.0.lock().unwrap();
        state.carry_out(Some(Instant::now()));
        state
    }

    fn reply(&self, call: Call, name: &str) -> Reply {
        let mut state = self.state();
        *state.calls.entry(call).or_default() += 1;
        let queued = if call == Call::Upload { state.uploads.pop_front() } else { None };
        let reply = queued.or_else(|| state.always.get(&call).cloned());
        reply.unwrap_or_else(|| state.script.as_mut().map_or(Reply::Normal, |script| script(call, name)))
    }

    /// Counts a call and does what the script says before it may be carried out.
    async fn begin(&self, call: Call, name: &str) -> Result<Reply, VaultError> {
        let reply = self.reply(call, name);
        match &reply {
            Reply::After(time) => tokio::time::sleep(*time).await,
            Reply::Fail(kind) => return Err(VaultError::new(*kind, format!("scripted: {kind:?}"))),
            Reply::Never => std::future::pending().await,
            Reply::Panic => panic!("a fault that the test scripts"),
            _ => {}
        }
        Ok(reply)
    }

    fn at_path(&self, path: &RemotePath) -> Option<Document> {
        let state = self.state();
        let document = state.documents().into_iter().find(|version| version.path == *path);
        document.map(|version| version.document.clone()).or_else(|| state.folder(path))
    }
}

impl State {
    /// Carries out the pending uploads whose time has come by `now`; all of them without a `now`.
    fn carry_out(&mut self, now: Option<Instant>) {
        let mut due: Vec<_> = self.pending.extract_if(.., |(at, _)| now.is_none_or(|now| *at <= now)).collect();
        due.sort_by_key(|(at, _)| *at);
        for (_, version) in due {
            // A refusal reaches nobody: the connection is long gone.
            self.store(version).ok();
        }
    }

    fn store(&mut self, mut version: Version) -> Result<Document, VaultError> {
        let earlier = self.versions.iter().filter(|earlier| earlier.path == version.path).count();
        if earlier > 0 && self.refuses_taken_names {
            return Err(VaultError::new(Kind::Conflict, "409"));
        }
        version.document.version = Some((earlier + 1).to_string());
        let document = version.document.clone();
        self.versions.push(version);
        Ok(document)
    }

    /// The newest version of each document. Versions of one id are one document.
    fn documents(&self) -> Vec<&Version> {
        let mut documents: Vec<&Version> = Vec::new();
        for version in &self.versions {
            match documents.iter_mut().find(|other| other.document.id == version.document.id) {
                Some(older) => *older = version,
                None => documents.push(version),
            }
        }
        documents
    }

    /// The folder at a path: the root, or one that holds a document.
    fn folder(&self, path: &RemotePath) -> Option<Document> {
        let depth = path.segments().len();
        let holds = |version: &Version| {
            version.path.segments().len() > depth && version.path.segments().starts_with(path.segments())
        };
        (depth == 0 || self.versions.iter().any(holds)).then(|| folder_document(path))
    }
}

impl Version {
    fn new(path: RemotePath, content: Vec<u8>, is_ours: bool) -> Self {
        let document = document(&path, &content);
        Self { path, document, content: Ok(content.into()), length: None, is_ours }
    }
}

fn parsed(path: &str) -> RemotePath {
    RemotePath::parse(path).unwrap()
}

/// The vault's ids are paths.
fn id(path: &RemotePath) -> DocumentId {
    DocumentId(path.to_string())
}

/// The description of a document, as the vault itself gives it.
pub(crate) fn document(path: &RemotePath, content: &[u8]) -> Document {
    let sha256 = Sha256::digest(content).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    Document {
        id: id(path),
        name: path.segments().last().cloned(),
        size: Some(content.len() as u64),
        sha256: Some(sha256),
        folder: Some(false),
        version: None,
    }
}

fn missing() -> VaultError {
    VaultError::new(Kind::Missing, "nothing is there")
}

fn folder_document(path: &RemotePath) -> Document {
    Document { size: None, sha256: None, folder: Some(true), ..document(path, b"") }
}

/// A download in two pieces.
pub(crate) struct Pieces {
    length: Option<u64>,
    pieces: VecDeque<Bytes>,
}

impl Pieces {
    fn of(content: &Bytes, length: Option<u64>) -> Self {
        let middle = content.len() / 2;
        let pieces = [content.slice(..middle), content.slice(middle..)];
        Self { length, pieces: pieces.into_iter().filter(|piece| !piece.is_empty()).collect() }
    }
}

impl Download for Pieces {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        Ok(self.pieces.pop_front())
    }
}

impl Vault for FakeVault {
    type Download = Pieces;

    async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        self.begin(Call::Folder, &path.to_string()).await?;
        let state = self.state();
        let is_document = state.versions.iter().any(|version| version.path == *path);
        let folder = state.folder(path).or_else(|| state.has_every_folder.then(|| folder_document(path)));
        folder.filter(|_| !is_document).ok_or_else(missing)
    }

    async fn children(&self, folder: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.begin(Call::Children, &folder.0).await?;
        let (state, folder) = (self.state(), parsed(&folder.0));
        let depth = folder.segments().len();
        let within: Vec<&Version> = state
            .documents()
            .into_iter()
            .filter(|version| version.path.segments().starts_with(folder.segments()))
            .collect();
        let folders: BTreeSet<&String> =
            within.iter().filter_map(|v| v.path.segments().get(depth..)?.split_last()?.1.first()).collect();
        let documents = within.iter().filter(|version| version.path.segments().len() == depth + 1);
        let folders = folders.into_iter().map(|name| folder_document(&folder.join(name)));
        Ok(documents.map(|version| version.document.clone()).chain(folders).collect())
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        self.begin(Call::At, &path.to_string()).await?;
        Ok(self.at_path(path))
    }

    async fn named(&self, path: &RemotePath, _: &DocumentId, name: &str) -> Result<Vec<Document>, VaultError> {
        self.begin(Call::Named, name).await?;
        let (state, path) = (self.state(), path.join(name));
        Ok(state.documents().iter().filter(|version| version.path == path).map(|v| v.document.clone()).collect())
    }

    async fn upload(
        &self,
        folder: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        let path = parsed(&folder.0).join(name);
        let reply = self.begin(Call::Upload, name).await?;
        let unreadable = |error: std::io::Error| VaultError::new(Kind::Content, error.to_string());
        let content = content().map_err(unreadable)?;
        if reply == Reply::Early {
            return Ok(Document { size: None, sha256: None, ..document(&path, b"") });
        }
        let content = content.body.collect().await.map_err(unreadable)?.to_bytes().to_vec();
        let version = Version::new(path.clone(), content, true);
        let mut state = self.state();
        match reply {
            Reply::FalseSuccess => Ok(version.document),
            Reply::OtherContent => Ok(document(&path, b"other content")),
            Reply::Lost(after) => {
                state.pending.push((Instant::now() + after, version));
                Err(VaultError::new(Kind::Unknown, "scripted: the answer is lost"))
            }
            Reply::BusyThenStored(after) => {
                state.pending.push((Instant::now() + after, version));
                Err(VaultError::new(Kind::Unavailable, "scripted: 503").with_all_sent(true))
            }
            Reply::ReplacedBy(other) => {
                let stored = state.store(version)?;
                state.store(Version::new(path, other.to_vec(), false))?;
                Ok(stored)
            }
            Reply::PrecededBy(other) => {
                state.store(Version::new(path, other, false)).ok();
                state.store(version)
            }
            _ => state.store(version),
        }
    }

    async fn download(&self, path: &RemotePath) -> Result<Pieces, VaultError> {
        self.begin(Call::Download, &path.to_string()).await?;
        let state = self.state();
        let found = state.documents().into_iter().find(|version| version.path == *path);
        let version = found.ok_or_else(missing)?;
        let content = version.content.as_ref().map_err(|kind| VaultError::new(*kind, "scripted: unreadable"))?;
        Ok(Pieces::of(content, version.length))
    }

    async fn probe(&self) -> Result<String, VaultError> {
        self.begin(Call::Probe, "").await?;
        Ok("me".into())
    }
}
