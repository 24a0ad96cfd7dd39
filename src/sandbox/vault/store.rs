//! Stores uploads in the vault.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{MutexGuard, PoisonError};

use super::Entry;
use super::disk::Temporary;
use super::listing::{current_version, identity, make_folder};
use super::{Incoming, LONGEST_NAME, Place, Refused, Vault, Version, is_private};
use crate::sandbox::options::Duplicates;
use crate::vault::RemotePath;

impl Vault {
    /// Checks whether a document of this name can be stored in the folder, as far as that is known before the upload.
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

    /// Creates an empty file for the bytes of an upload.
    pub(crate) fn temporary(&self) -> io::Result<Temporary> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let mut path = self.temporary_prefix.clone();
        path.push(number.to_string());
        Temporary::create(path.into())
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
            // `None` means that the name has become free again meanwhile.
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

    /// Replaces a document. The old content gets a second link before the new one is moved over the first link, so that the name
    /// always has a document, and a crash at any moment loses none.
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
        #[expect(
            clippy::disallowed_methods,
            reason = "the vault is the sandbox's own; the watched folder is never in it"
        )]
        fs::hard_link(at, kept.join(old.kept_as(incoming.is_major)))?;
        content.replace(at)?;
        Ok(Some((1, old.next(incoming.is_major))))
    }

    fn take_turn(&self) -> io::Result<Turn<'_>> {
        let file = self.replacing.lock().unwrap_or_else(PoisonError::into_inner);
        file.lock()?;
        Ok(Turn(file))
    }
}

/// The prefix of the names of temporary files: the process, so that files of ended processes can be removed, and the vault, since a
/// process may have several vaults with one store.
pub(super) fn temporary_prefix(incoming: &Path) -> OsString {
    static VAULTS: AtomicU64 = AtomicU64::new(0);
    let vault = VAULTS.fetch_add(1, Ordering::Relaxed);
    incoming.join(format!("{}-{vault}-", std::process::id())).into_os_string()
}

/// A guard of the right to replace documents.
struct Turn<'a>(MutexGuard<'a, File>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // If unlocking fails, other processes wait only until this process ends.
        drop(self.0.unlock());
    }
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
