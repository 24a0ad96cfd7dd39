//! Reading the store's folders and files.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Identity, Refused, Version};

/// Turns the file system's errors for a missing file into `missing`.
pub(super) fn absent(error: io::Error, missing: impl Fn() -> Refused) -> Refused {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename => missing(),
        _ => error.into(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(super) fn current_version(kept: &Path) -> io::Result<Version> {
    let names = listing_of_names(kept)?;
    Ok(Version::current(names.iter().map(String::as_str)))
}

/// Lists a folder; a missing folder is empty. Leaves out names that are not text, and files that disappear meanwhile.
pub(super) fn listing(folder: &Path) -> io::Result<Vec<(String, Metadata)>> {
    let mut found = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) {
            found.push((name, meta));
        }
    }
    Ok(found)
}

pub(super) fn listing_of_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in entries(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    Ok(names)
}

#[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(Some(entries).into_iter().flatten()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        Err(error) => Err(error),
    }
}

pub(super) fn hash_of(file: &mut File) -> io::Result<[u8; 32]> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 256 * 1024]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&piece[..length]),
        }
    }
}

pub(super) fn identity(meta: &Metadata) -> Identity {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())
}
