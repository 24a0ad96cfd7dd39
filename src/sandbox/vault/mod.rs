//! The vault on disk: a plain folder that people can look into.
//!
//! A document's content lies at `STORE/its/path`; replaced versions and second documents of one name lie under
//! `STORE/.sandbox/`. The vault keeps no index in memory, since a lookup is only one `lstat`. So it sees files at once that were put
//! there by hand, or by another process with the same store.
//!
//! ```text
//! STORE/HR_Backup/report.pdf                                  the current version
//! STORE/.sandbox/versions/HASH-OF-FOLDER/report.pdf/1.0-major  a replaced version
//! STORE/.sandbox/seconds/HASH-OF-FOLDER/report.pdf/2           a second document of that name
//! STORE/.sandbox/incoming/PROCESS-NUMBER                       an upload that is being received
//! ```

mod disk;
mod id;
mod listing;
mod store;
mod version;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::options::{Duplicates, Options};
use crate::hex;
use crate::vault::RemotePath;
pub(crate) use disk::Temporary;
pub(crate) use id::Place;
use listing::{absent, current_version, hash_of, identity, listing, listing_of_names, make_folder};
pub(crate) use version::Version;

/// The folder for the vault's own data. No document or folder in the root can have this name.
const PRIVATE: &str = ".sandbox";

/// The length in bytes of the longest name: that of most file systems.
const LONGEST_NAME: usize = 255;

/// Why the vault does not carry out a call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is nothing at {0}")]
    Missing(String),
    #[error("{0} is no folder")]
    NoFolder(RemotePath),
    #[error("{0} is a folder")]
    Folder(RemotePath),
    #[error("there is something called {0:?} already")]
    Taken(String),
    #[error("{0:?} can't be a document's name: {1}")]
    Name(String, &'static str),
    #[error("the store failed: {0}")]
    Store(#[from] io::Error),
}

/// A document or folder.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) folder: bool,
    /// The length in bytes; 0 for a folder.
    pub(crate) size: u64,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) version: Version,
}

/// The properties of an upload besides its bytes.
pub(crate) struct Incoming<'a> {
    pub(crate) folder: &'a RemotePath,
    pub(crate) name: &'a str,
    pub(crate) is_major: bool,
    pub(crate) sha256: Option<[u8; 32]>,
}

/// Identifies a file and its content: device, inode, length, and time of change in seconds and nanoseconds.
type Identity = (u64, u64, u64, i64, i64);

pub(crate) struct Vault {
    store: PathBuf,
    duplicates: Duplicates,
    temporary_prefix: OsString,
    next_temporary: AtomicU64,
    sums: Mutex<HashMap<Identity, [u8; 32]>>,
    /// Locked while a document is replaced. The mutex excludes other threads, and the lock on the file other processes.
    replacing: Mutex<File>,
}

impl Vault {
    /// Opens the vault. Creates it and the folders of the options where they are missing.
    #[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
    pub(crate) fn open(options: &Options) -> io::Result<Self> {
        make_folder(&options.store)?;
        let store = options.store.canonicalize()?;
        for folder in &options.folders {
            make_folder(&store.join(PathBuf::from_iter(folder.segments())))?;
        }
        let private = store.join(PRIVATE);
        for part in ["versions", "seconds", "incoming"] {
            make_folder(&private.join(part))?;
        }
        let incoming = private.join("incoming");
        disk::sweep(&incoming)?;
        let replacing = File::options().create(true).append(true).open(private.join("lock"))?;
        Ok(Self {
            store,
            duplicates: options.duplicates,
            temporary_prefix: store::temporary_prefix(&incoming),
            next_temporary: AtomicU64::new(0),
            sums: Mutex::default(),
            replacing: Mutex::new(replacing),
        })
    }

    /// Returns the document or folder at a place.
    pub(crate) fn find(&self, place: &Place) -> Result<Entry, Refused> {
        let (_, meta) = self.file_of(place)?;
        let version = match (meta.is_dir(), place.copy, split(&place.path)) {
            (false, 1, Some((folder, name))) => current_version(&self.kept("versions", &folder).join(name))?,
            _ => Version::FIRST,
        };
        Ok(self.entry(place.clone(), &meta, version))
    }

    /// Returns the documents and folders in a folder, sorted by name.
    pub(crate) fn children(&self, folder: &Place) -> Result<Vec<Entry>, Refused> {
        let (at, meta) = self.file_of(folder)?;
        if !meta.is_dir() {
            return Err(Refused::NoFolder(folder.path.clone()));
        }
        let versions = self.versions_in(&folder.path)?;
        let mut entries = Vec::new();
        for (name, child) in listing(&at)? {
            let hidden = folder.path.segments().is_empty() && is_private(&name);
            if !hidden && (child.is_dir() || child.is_file()) {
                let version = versions.get(&name).copied().unwrap_or(Version::FIRST);
                entries.push(self.entry(Place::first(folder.path.join(&name)), &child, version));
            }
        }
        self.add_seconds(&folder.path, &mut entries)?;
        entries
            .sort_by(|a, b| a.place.path.segments().cmp(b.place.path.segments()).then(a.place.copy.cmp(&b.place.copy)));
        Ok(entries)
    }

    /// Opens the content of a document; returns its length in bytes too.
    pub(crate) fn content(&self, place: &Place) -> Result<(File, u64), Refused> {
        let (at, meta) = self.file_of(place)?;
        if meta.is_dir() {
            return Err(Refused::Folder(place.path.clone()));
        }
        let file = File::open(at)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// Returns the SHA-256 of a document. Blocks while the content is read, unless the sum is known already.
    pub(crate) fn sha256(&self, place: &Place) -> Result<[u8; 32], Refused> {
        let (mut file, _) = self.content(place)?;
        let identity = identity(&file.metadata()?);
        if let Some(sum) = self.sums().get(&identity) {
            return Ok(*sum);
        }
        let sum = hash_of(&mut file)?;
        self.remember_sum(identity, sum);
        Ok(sum)
    }

    /// The file of a place. Symbolic links are not followed, since they may lead out of the vault.
    fn file_of(&self, place: &Place) -> Result<(PathBuf, Metadata), Refused> {
        let missing = || Refused::Missing(place.path.to_string());
        if place.path.segments().first().is_some_and(|name| is_private(name)) {
            return Err(missing());
        }
        let mut at = self.store.clone();
        if place.copy > 1 {
            let (folder, name) = split(&place.path).ok_or_else(missing)?;
            at = self.kept("seconds", &folder);
            at.extend([name, &place.copy.to_string()]);
            return Ok((at.clone(), fs::symlink_metadata(&at).map_err(|error| absent(error, missing))?));
        }
        let mut meta = None;
        for name in place.path.segments() {
            at.push(name);
            let found = fs::symlink_metadata(&at).map_err(|error| absent(error, missing))?;
            if !found.is_dir() && !found.is_file() {
                return Err(missing());
            }
            meta = Some(found);
        }
        match meta {
            Some(meta) => Ok((at, meta)),
            None => Ok((at, fs::symlink_metadata(&self.store)?)),
        }
    }

    /// The folder that keeps the versions or second documents of a folder.
    fn kept(&self, part: &str, folder: &RemotePath) -> PathBuf {
        let hash = Sha256::digest(folder.to_string());
        self.store.join(PRIVATE).join(part).join(hex(&hash[..16]))
    }

    fn versions_in(&self, folder: &RemotePath) -> io::Result<HashMap<String, Version>> {
        let kept = self.kept("versions", folder);
        listing_of_names(&kept)?
            .into_iter()
            .map(|name| {
                let version = current_version(&kept.join(&name))?;
                Ok((name, version))
            })
            .collect()
    }

    fn add_seconds(&self, folder: &RemotePath, entries: &mut Vec<Entry>) -> io::Result<()> {
        let kept = self.kept("seconds", folder);
        for name in listing_of_names(&kept)? {
            for (copy, meta) in listing(&kept.join(&name))? {
                if let Ok(copy) = copy.parse() {
                    entries.push(self.entry(Place { path: folder.join(&name), copy }, &meta, Version::FIRST));
                }
            }
        }
        Ok(())
    }

    fn entry(&self, place: Place, meta: &Metadata, version: Version) -> Entry {
        let folder = meta.is_dir();
        let sha256 = if folder { None } else { self.sums().get(&identity(meta)).copied() };
        Entry { place, folder, size: if folder { 0 } else { meta.len() }, sha256, version }
    }

    fn sums(&self) -> MutexGuard<'_, HashMap<Identity, [u8; 32]>> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a sum. At the limit all sums are forgotten; they can be computed again.
    fn remember_sum(&self, identity: Identity, sum: [u8; 32]) {
        let mut sums = self.sums();
        if sums.len() >= 1_000_000 {
            sums.clear();
        }
        sums.insert(identity, sum);
    }
}

/// Returns the folder of a path; `None` for the root.
pub(crate) fn parent(path: &RemotePath) -> Option<RemotePath> {
    split(path).map(|(folder, _)| folder)
}

/// Splits a path into folder and name; `None` for the root.
fn split(path: &RemotePath) -> Option<(RemotePath, &str)> {
    let (name, folder) = path.segments().split_last()?;
    Some((folder.iter().fold(RemotePath::default(), |path, segment| path.join(segment)), name))
}

fn is_private(name: &str) -> bool {
    name.eq_ignore_ascii_case(PRIVATE)
}
