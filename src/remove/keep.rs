//! Files that are kept, in another folder; and folders of our own.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstat, fsync, openat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::rename::{At, Source, rename_new};
use super::{Aside, Partial, unlink};
use crate::failpoint::failpoint;
use crate::file::lease::{Lease, Writers};
use crate::file::{Opened, Root};

/// A file that was set aside and is unchanged, opened under its lease.
#[derive(Clone, Copy)]
pub(super) struct Rested<'a> {
    pub(super) aside: &'a Aside,
    pub(super) opened: &'a Opened,
    pub(super) lease: Option<&'a Lease>,
}

/// Moves a file that was set aside below another folder, under its own path; under a numbered name where that is taken.
pub(super) fn move_below(file: Rested<'_>, folder: &Path) -> io::Result<PathBuf> {
    let wanted = folder.join(&file.aside.origin);
    let parent = wanted.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(parent)?;
    let to_dir = openat(CWD, parent, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (from_dir, from) = file.aside.root.parent_of(&file.aside.place).map_err(|e| io::Error::other(e.to_string()))?;
    for name in numbered(&wanted) {
        match rename_new(At::new(&from_dir, from), At::new(&to_dir, &name), Source::Ours) {
            Ok(()) => return Ok(parent.join(name)),
            Err(Errno::EXIST) => {}
            Err(Errno::XDEV) => return copy_below(file, &wanted),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

/// To another file system: copied whole, on disk, named; only then is the first one unlinked. A crash in between leaves
/// both, and the next try finds the copy by its bytes.
fn copy_below(file: Rested<'_>, wanted: &Path) -> io::Result<PathBuf> {
    let parent = wanted.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = Root::open(parent)?;
    for name in numbered(wanted) {
        let target = parent.join(&name);
        if !is_copied(file, &folder, &name) {
            match copy(file, &target) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
        failpoint("after-copy");
        unlink(&file.aside.root, &file.aside.place)?;
        return Ok(target);
    }
    Err(Errno::EXIST.into())
}

/// Whether a copy of a file lies under this name already, whole, on disk, and ours: then only the file's own name is left
/// to be unlinked. In any doubt it is not one, and costs a second copy.
fn is_copied(file: Rested<'_>, folder: &Root, name: &Path) -> bool {
    let Ok(copy) = folder.open_file(name) else { return false };
    let (original, found) = (&file.opened.version, &copy.version);
    // The file itself, by way of another mount, is no copy of it.
    if found.size != original.size || (found.device, found.inode) == (original.device, original.inode) {
        return false;
    }
    if !fstat(&copy.file).is_ok_and(|stat| stat.st_uid == geteuid().as_raw()) {
        return false;
    }
    let lease = match copy.writers() {
        Writers::None(lease) => Some(lease),
        Writers::Some => return false,
        Writers::Unknown(_) | Writers::NotAllowed => None,
    };
    let bytes = file.aside.sha256.clone().or_else(|| file.opened.sha256().ok());
    bytes.is_some()
        && copy.sha256().ok() == bytes
        && copy.file.sync_all().is_ok()
        && fsync(folder.dir()).is_ok()
        && copy.is_unchanged(lease.as_ref())
        && file.opened.is_unchanged(file.lease)
}

fn copy(file: Rested<'_>, target: &Path) -> io::Result<()> {
    let mut to = Partial::create(target)?;
    io::copy(&mut Positioned { file: &file.opened.file, at: 0 }, &mut to)?;
    failpoint("before-copy");
    // The kernel takes a lease away from whoever copies for too long.
    if !file.opened.is_unchanged(file.lease) {
        return Err(io::Error::other("it changed while it was copied to another file system"));
    }
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
