//! Files that are kept: moved to another folder, or written there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::{Aside, private, unlink};
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
        let mut from = Positioned { file: &opened.file, at: 0 };
        match write_new(&target, |to| io::copy(&mut from, to).map(|_| ())) {
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

/// Writes a file that must not exist yet: it has its name only once all of it is on disk, and is readable by its owner only.
pub fn write_new(target: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary_beside(target);
    let outcome = fill(&temporary, write).and_then(|()| {
        let dir = openat(CWD, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(private::rename_new(&dir, &temporary, &dir, target)?)
    });
    if outcome.is_err() {
        std::fs::remove_file(&temporary).ok();
    }
    outcome
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

fn fill(temporary: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    write(&mut file)?;
    file.flush()?;
    file.sync_all()
}

fn temporary_beside(target: &Path) -> PathBuf {
    target.with_file_name(format!(".astran-backup.{}.part", random()))
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
