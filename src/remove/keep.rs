//! Files that are kept, in another folder; and folders of our own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{Aside, Partial, private, unlink};
use crate::file::Opened;

/// Moves a file that was set aside below another folder, under its own path; under a numbered name where that is taken.
pub(super) fn move_below(aside: &Aside, opened: &Opened, folder: &Path) -> io::Result<PathBuf> {
    let wanted = folder.join(&aside.origin);
    let parent = wanted.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(parent)?;
    let to_dir = openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (from_dir, from) = aside.root.parent_of(&aside.place).map_err(|e| io::Error::other(e.to_string()))?;
    for name in numbered(&wanted) {
        match private::rename_new(&from_dir, from.as_ref(), &to_dir, &name) {
            Ok(()) => return Ok(parent.join(name)),
            Err(Errno::EXIST) => {}
            Err(Errno::XDEV) => return copy_below(aside, opened, &wanted),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// To another file system: copied whole, on disk, named; only then is the first one unlinked.
fn copy_below(aside: &Aside, opened: &Opened, wanted: &Path) -> io::Result<PathBuf> {
    let parent = wanted.parent().ok_or(io::ErrorKind::InvalidInput)?;
    for name in numbered(wanted) {
        let target = parent.join(name);
        match copy(&opened.file, &target) {
            Ok(()) => {
                unlink(&aside.root, &aside.place)?;
                return Ok(target);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST.into())
}

fn copy(from: &File, target: &Path) -> io::Result<()> {
    let mut to = Partial::create(target)?;
    io::copy(&mut Positioned { file: from, at: 0 }, &mut to)?;
    to.keep(false)
}

/// The name itself, then `name (1).ext`, `name (2).ext` …
fn numbered(wanted: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let name = wanted.file_name().unwrap_or_default().to_owned();
    let (stem, extension) =
        (wanted.file_stem().unwrap_or_default().to_owned(), wanted.extension().map(ToOwned::to_owned));
    (0..1000).map(move |n| {
        if n == 0 {
            return PathBuf::from(&name);
        }
        let mut numbered = stem.clone();
        numbered.push(format!(" ({n})"));
        if let Some(extension) = &extension {
            numbered.push(".");
            numbered.push(extension);
        }
        PathBuf::from(numbered)
    })
}

/// Makes a new folder for our own use, for this user alone, where temporary files belong.
pub fn temporary_folder(purpose: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("astran-backup-{purpose}-{}", random()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Removes a folder of our own with all that is in it; what can't be removed stays.
pub fn discard(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
}

fn random() -> String {
    let mut random = [0u8; 8];
    // A name that exists already is refused later on.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).ok();
    format!("{:016x}", u64::from_ne_bytes(random))
}

/// Reads a file from an offset of its own, so that a shared descriptor's offset does not matter.
struct Positioned<'a> {
    file: &'a File,
    at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
