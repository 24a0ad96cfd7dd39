//! The model of a store, and what it does on a whim.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use astran_backup::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::Instant;

use crate::support::proof::sha256;

/// What the store does to its next call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Whim {
    Good,
    /// It is down: nothing is done.
    Down,
    /// The answer is lost before anything was done.
    LostBefore,
    /// It is done, and the answer is lost.
    LostAfter,
    /// The answer is lost, and the store carries the upload out so many milliseconds later: a relay had all of it already.
    Late(u64),
    /// It says that it has what it has not.
    Lie,
    /// Somebody else has stored something under this name just before.
    Intruder,
    /// It refuses the file for good.
    Refuse,
    /// It does not know the folder any more, this once.
    Forgets,
    /// A fault of the program itself, in the middle of one file.
    Panics,
}

/// The model of a store: what lies under each name, newest last, and the whims to come.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) documents: Mutex<BTreeMap<String, Vec<Kept>>>,
    pub(crate) whims: Mutex<VecDeque<Whim>>,
    /// Uploads that are still on their way inside the store: when they are carried out, their name and content.
    pub(crate) late: Mutex<Vec<(Instant, String, Vec<u8>)>>,
    /// Whether a name that is taken is refused (409) or gets a newer version.
    pub(crate) conflicts: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Kept {
    content: Vec<u8>,
    foreign: bool,
}

pub(crate) struct Out(Option<Bytes>);

impl Download for Out {
    fn length(&self) -> Option<u64> {
        self.0.as_ref().map(|bytes| bytes.len() as u64)
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        Ok(self.0.take())
    }
}

impl Model {
    fn whim(&self) -> Whim {
        self.carry_out(Instant::now());
        self.whims.lock().unwrap().pop_front().unwrap_or(Whim::Good)
    }

    /// Reads meet only a service that is down.
    fn look(&self) -> Result<(), VaultError> {
        match self.whim() {
            Whim::Down | Whim::LostBefore | Whim::LostAfter | Whim::Late(_) => {
                Err(VaultError::new(Kind::Unavailable, "down"))
            }
            _ => Ok(()),
        }
    }

    /// What was late, and has its time now. Nobody looks at the store but by its calls, so each of them does this first.
    fn carry_out(&self, now: Instant) {
        let due: Vec<_> = self.late.lock().unwrap().extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, name, content) in due {
            // A name that was taken meanwhile is refused, and nobody hears of it.
            if !self.conflicts || self.newest(&name).is_none() {
                self.keep(&name, content, false);
            }
        }
    }

    /// Carries out all that is still on its way, whenever its time would be.
    pub(crate) fn carry_out_all(&self) {
        self.carry_out(Instant::now() + Duration::from_secs(3600));
    }

    fn keep(&self, name: &str, content: Vec<u8>, foreign: bool) {
        self.documents.lock().unwrap().entry(name.to_owned()).or_default().push(Kept { content, foreign });
    }

    fn newest(&self, name: &str) -> Option<Document> {
        let documents = self.documents.lock().unwrap();
        let kept = documents.get(name)?;
        Some(document(name, &kept.last()?.content, kept.len()))
    }

    /// What we stored, by SHA-256 and how often.
    pub(crate) fn ours(&self) -> BTreeMap<String, usize> {
        let mut ours = BTreeMap::new();
        for kept in self.documents.lock().unwrap().values().flatten().filter(|kept| !kept.foreign) {
            *ours.entry(sha256(&kept.content)).or_default() += 1;
        }
        ours
    }
}

fn document(name: &str, content: &[u8], version: usize) -> Document {
    Document {
        id: DocumentId(name.to_owned()),
        name: Some(name.to_owned()),
        size: Some(content.len() as u64),
        sha256: Some(sha256(content)),
        folder: Some(false),
        version: Some(version.to_string()),
    }
}

impl Vault for Model {
    type Download = Out;

    async fn folder(&self, _: &RemotePath) -> Result<Document, VaultError> {
        self.look()?;
        Ok(Document { folder: Some(true), ..document("folder", b"", 1) })
    }

    async fn children(&self, _: &DocumentId) -> Result<Vec<Document>, VaultError> {
        self.look()?;
        let names: Vec<String> = self.documents.lock().unwrap().keys().cloned().collect();
        Ok(names.iter().filter_map(|name| self.newest(name)).collect())
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        self.look()?;
        Ok(path.segments().last().and_then(|name| self.newest(name)))
    }

    async fn named(&self, path: &RemotePath, _: &DocumentId, name: &str) -> Result<Vec<Document>, VaultError> {
        Ok(self.at(&path.join(name)).await?.into_iter().collect())
    }

    async fn upload(
        &self,
        _: &DocumentId,
        name: &str,
        content: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        let whim = self.whim();
        match whim {
            Whim::Down => return Err(VaultError::new(Kind::Unavailable, "down")),
            Whim::LostBefore => return Err(VaultError::new(Kind::Unknown, "lost")),
            Whim::Refuse => return Err(VaultError::new(Kind::Refused, "422")),
            Whim::Panics => panic!("a fault that the test makes"),
            Whim::Forgets => return Err(VaultError::new(Kind::Missing, "404")),
            // The name that holds the content's own hash is nobody else's.
            Whim::Intruder if !name.contains("(conflict") => {
                self.keep(name, format!("foreign {name}").into_bytes(), true);
            }
            Whim::Good | Whim::LostAfter | Whim::Late(_) | Whim::Lie | Whim::Intruder => {}
        }
        let body = content().unwrap().body.collect().await;
        let bytes = body.map_err(|error| VaultError::new(Kind::Content, error.to_string()))?.to_bytes().to_vec();
        if whim == Whim::Lie {
            return Ok(document(name, &bytes, 1));
        }
        if let Whim::Late(millis) = whim {
            let at = Instant::now() + Duration::from_millis(millis);
            self.late.lock().unwrap().push((at, name.to_owned(), bytes));
            return Err(VaultError::new(Kind::Unknown, "lost"));
        }
        if self.conflicts && self.newest(name).is_some() {
            return Err(VaultError::new(Kind::Conflict, "409"));
        }
        self.keep(name, bytes.clone(), false);
        if whim == Whim::LostAfter {
            return Err(VaultError::new(Kind::Unknown, "lost"));
        }
        Ok(document(name, &bytes, 1))
    }

    async fn download(&self, path: &RemotePath) -> Result<Out, VaultError> {
        self.look()?;
        let name = path.segments().last().unwrap();
        let documents = self.documents.lock().unwrap();
        let newest = documents.get(name).and_then(|kept| kept.last()).map(|kept| kept.content.clone());
        newest.map(|content| Out(Some(content.into()))).ok_or_else(|| VaultError::new(Kind::Missing, "nothing"))
    }

    async fn probe(&self) -> Result<String, VaultError> {
        self.look()?;
        Ok("me".into())
    }
}
