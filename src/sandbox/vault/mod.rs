//! The vault on disk: a plain folder one can look into.
//!
//! A document's content lies at `STORE/its/path`; replaced versions and second documents of one name lie under
//! `STORE/.sandbox/`. The folder is the only truth: nothing is indexed in memory, since a lookup is one `lstat` anyway, so
//! that files put there by hand, and by another process over the same store, are seen at once.
//!
//! ```text
//! STORE/HR_Backup/report.pdf                                  the current version
//! STORE/.sandbox/versions/HASH-OF-FOLDER/report.pdf/1.0-major  what it replaced
//! STORE/.sandbox/seconds/HASH-OF-FOLDER/report.pdf/2           a second document of that name
//! STORE/.sandbox/incoming/PROCESS-NUMBER                       on its way in
//! ```

mod disk;
mod id;
mod version;

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::options::{Duplicates, Options};
use crate::vault::RemotePath;
pub(crate) use disk::Temporary;
pub(crate) use id::Place;
pub(crate) use version::Version;

/// The vault's own name for its private part; no document or folder of the root can be called so.
const PRIVATE: &str = ".sandbox";

/// Names longer than this are refused: what file systems keep, in bytes.
const LONGEST_NAME: usize = 255;

/// Why the vault does not do what it is asked.
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
    /// Length in bytes; 0 of a folder.
    pub(crate) size: u64,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) version: Version,
}

/// What is known of an upload besides its bytes.
pub(crate) struct Incoming<'a> {
    pub(crate) folder: &'a RemotePath,
    pub(crate) name: &'a str,
    pub(crate) is_major: bool,
    pub(crate) sha256: Option<[u8; 32]>,
}

/// The file that has some content: device, inode, length, time of change in seconds and nanoseconds.
type Identity = (u64, u64, u64, i64, i64);

pub(crate) struct Vault {
    store: PathBuf,
    duplicates: Duplicates,
    temporary_prefix: String,
    next_temporary: AtomicU64,
    sums: Mutex<HashMap<Identity, [u8; 32]>>,
    /// Locked while a document is replaced: the mutex keeps out other threads, the file other processes.
    replacing: Mutex<File>,
}

impl Vault {
    /// Opens the vault, making it and the folders of the options where they are missing.
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
            temporary_prefix: temporary_prefix(&incoming),
            next_temporary: AtomicU64::new(0),
            sums: Mutex::default(),
            replacing: Mutex::new(replacing),
        })
    }

    /// What is at a place.
    pub(crate) fn find(&self, place: &Place) -> Result<Entry, Refused> {
        let (_, meta) = self.file_of(place)?;
        let version = match (meta.is_dir(), place.copy, split(&place.path)) {
            (false, 1, Some((folder, name))) => current_version(&self.kept("versions", &folder).join(name))?,
            _ => Version::FIRST,
        };
        Ok(self.entry(place.clone(), &meta, version))
    }

    /// What lies in a folder, by name.
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

    /// Opens a document's content; with its length in bytes.
    pub(crate) fn content(&self, place: &Place) -> Result<(File, u64), Refused> {
        let (at, meta) = self.file_of(place)?;
        if meta.is_dir() {
            return Err(Refused::Folder(place.path.clone()));
        }
        let file = File::open(at)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    /// The SHA-256 of a document, read from its content where it is not known yet. Blocks as long as that takes.
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

    /// Whether a document of this name could be stored in the folder, as far as that can be told beforehand.
    pub(crate) fn may_store(&self, folder: &Place, name: &str) -> Result<(), Refused> {
        let (mut at, meta) = self.file_of(folder)?;
        if !meta.is_dir() {
            return Err(Refused::NoFolder(folder.path.clone()));
        }
        check_name(&folder.path, name)?;
        at.push(name);
        match fs::symlink_metadata(&at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
            Ok(meta) if !meta.is_file() || self.duplicates == Duplicates::Conflict => {
                Err(Refused::Taken(name.to_owned()))
            }
            Ok(_) => Ok(()),
        }
    }

    /// An empty file for the bytes of an upload.
    pub(crate) fn temporary(&self) -> io::Result<Temporary> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        Temporary::create(PathBuf::from(format!("{}{number}", self.temporary_prefix)))
    }

    /// Stores a complete upload.
    pub(crate) fn store(&self, incoming: &Incoming, mut content: Temporary) -> Result<Entry, Refused> {
        let meta = content.file.metadata()?;
        if let Some(sum) = incoming.sha256 {
            self.remember_sum(identity(&meta), sum);
        }
        let at = self.store.join(PathBuf::from_iter(incoming.folder.segments())).join(incoming.name);
        let place = Place::first(incoming.folder.join(incoming.name));
        loop {
            match content.add_as(&at) {
                Ok(()) => {
                    let version = current_version(&self.kept("versions", incoming.folder).join(incoming.name))?;
                    return Ok(self.entry(place, &meta, version));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
            let stored = match self.duplicates {
                Duplicates::Conflict => return Err(Refused::Taken(incoming.name.to_owned())),
                Duplicates::SecondDocument => self.store_second(incoming, &mut content)?,
                Duplicates::Version => self.store_version(incoming, &at, &mut content)?,
            };
            // Without an answer the name was given up meanwhile: it is free again.
            if let Some((copy, version)) = stored {
                return Ok(self.entry(Place { copy, ..place }, &meta, version));
            }
        }
    }

    fn store_second(&self, incoming: &Incoming, content: &mut Temporary) -> Result<Option<(u32, Version)>, Refused> {
        let folder = self.kept("seconds", incoming.folder).join(incoming.name);
        make_folder(&folder)?;
        let mut copy = 2;
        loop {
            match content.add_as(&folder.join(copy.to_string())) {
                Ok(()) => return Ok(Some((copy, Version::FIRST))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => copy += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The old content gets a second link before the new one is moved over the first, so that there is no moment without a
    /// document under the name, and none in which a crash loses one.
    fn store_version(
        &self,
        incoming: &Incoming,
        at: &Path,
        content: &mut Temporary,
    ) -> Result<Option<(u32, Version)>, Refused> {
        let _turn = self.take_turn()?;
        match fs::symlink_metadata(at) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
            Ok(meta) if !meta.is_file() => return Err(Refused::Taken(incoming.name.to_owned())),
            Ok(_) => {}
        }
        let kept = self.kept("versions", incoming.folder).join(incoming.name);
        make_folder(&kept)?;
        let old = current_version(&kept)?;
        fs::hard_link(at, kept.join(old.kept_as(incoming.is_major)))?;
        content.replace(at)?;
        Ok(Some((1, old.next(incoming.is_major))))
    }

    fn take_turn(&self) -> io::Result<Turn<'_>> {
        let file = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        file.lock()?;
        Ok(Turn(file))
    }

    /// The file of a place. Links are not followed: the vault ends where they begin.
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

    /// Where the versions or second documents of a folder are kept.
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

    /// Sums are a convenience: rather than grow without end, all are forgotten and computed again when asked for.
    fn remember_sum(&self, identity: Identity, sum: [u8; 32]) {
        let mut sums = self.sums();
        if sums.len() >= 1_000_000 {
            sums.clear();
        }
        sums.insert(identity, sum);
    }
}

/// What temporary files' names begin with: the process, by which they are swept, and the vault, since a process may have
/// several over one store.
fn temporary_prefix(incoming: &Path) -> String {
    static VAULTS: AtomicU64 = AtomicU64::new(0);
    let vault = VAULTS.fetch_add(1, Ordering::Relaxed);
    format!("{}/{}-{vault}-", incoming.display(), std::process::id())
}

/// The right to replace documents, given back when dropped.
struct Turn<'a>(MutexGuard<'a, File>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Failing to unlock would keep out other processes only until this one ends.
        drop(self.0.unlock());
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// The folder that a path lies in; `None` for the root.
pub(crate) fn parent(path: &RemotePath) -> Option<RemotePath> {
    split(path).map(|(folder, _)| folder)
}

/// The folder and the name of a path; `None` for the root.
fn split(path: &RemotePath) -> Option<(RemotePath, &str)> {
    let (name, folder) = path.segments().split_last()?;
    Some((folder.iter().fold(RemotePath::default(), |path, segment| path.join(segment)), name))
}

fn check_name(folder: &RemotePath, name: &str) -> Result<(), Refused> {
    let why = match name {
        "" => "it is empty",
        "." | ".." => "it means a folder",
        _ if name.contains('/') => "it holds a slash",
        _ if name.contains('\0') => "it holds a NUL character",
        _ if name.len() > LONGEST_NAME => "it is longer than 255 bytes",
        _ if folder.segments().is_empty() && is_private(name) => "the sandbox keeps its own files there",
        _ => return Ok(()),
    };
    Err(Refused::Name(name.to_owned(), why))
}

fn is_private(name: &str) -> bool {
    name.eq_ignore_ascii_case(PRIVATE)
}

/// A file system's ways to say that there is nothing.
fn absent(error: io::Error, missing: impl Fn() -> Refused) -> Refused {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => missing(),
        _ => error.into(),
    }
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn current_version(kept: &Path) -> io::Result<Version> {
    let names = listing_of_names(kept)?;
    Ok(Version::current(names.iter().map(String::as_str)))
}

/// What lies in a folder; nothing where it is not there. Names that are no text, and what vanishes meanwhile, are left out.
fn listing(folder: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) {
            found.push((name, meta));
        }
    }
    Ok(found)
}

fn listing_of_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

fn hash_of(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&piece[..length]),
        }
    }
}

fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
}
