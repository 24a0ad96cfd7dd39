//! Moving a file that was set aside to another folder, also of another file system.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{fstat, fsync};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::folder::make_below;
use super::rename::{At, OldName, rename_new};
use super::staged::{Staged, unlink};
use super::staging::parent_of;
use super::{AtomicFile, FinishError, MoveTarget};
use crate::failpoint::failpoint;
use crate::file::lease::{Lease, Writers};
use crate::file::{Opened, Root};

/// A file that was set aside and is unchanged after its grace, opened under its lease.
#[derive(Clone, Copy)]
pub(super) struct Rested<'a> {
    pub(super) staged: &'a Staged,
    pub(super) opened: &'a Opened,
    pub(super) lease: Option<&'a Lease>,
}

/// Moves a file that was set aside below another folder, under its own path; under a numbered name where that is taken. What lies
/// below that folder is reached through no link.
pub(super) fn move_below(file: Rested<'_>, target: &MoveTarget) -> Result<PathBuf, FinishError> {
    let (folder, mode) = target.folder()?;
    let parent = file.staged.origin.parent().unwrap_or(Path::new(""));
    let to_dir = make_below(folder.dir(), parent, mode).map_err(|errno| in_the_way(errno, parent))?;
    // The report names the folder as it was configured.
    let to = Root::held(to_dir, target.configured().join(parent));
    let (from_dir, from) = parent_of(&file.staged.root, &file.staged.place)?;
    for name in numbered(&file.staged.origin) {
        match rename_new(At::new(&from_dir, from), At::new(to.dir(), &name), OldName::Ours) {
            Ok(()) => return Ok(to.path().join(name)),
            Err(Errno::EXIST) => {}
            Err(Errno::XDEV) => return copy_below(file, &to),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Errno::EXIST.into())
}

fn in_the_way(errno: Errno, parent: &Path) -> FinishError {
    match errno {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => FinishError::FolderInTheWay(parent.to_owned()),
        other => other.into(),
    }
}

/// To another file system: copied whole, on disk, named; only then is the first one unlinked. A crash in between leaves
/// both, and the next try finds the copy by its bytes.
fn copy_below(file: Rested<'_>, to: &Root) -> Result<PathBuf, FinishError> {
    for name in numbered(&file.staged.origin) {
        if !is_copied(file, to, Path::new(&name)) {
            match copy(file, to.dir(), name.clone()) {
                Ok(()) => {}
                Err(FinishError::Io(error)) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
        failpoint("after-copy");
        unlink(&file.staged.root, &file.staged.place)?;
        return Ok(to.path().join(name));
    }
    Err(Errno::EXIST.into())
}

/// Whether a copy of a file lies under this name already, whole, on disk, and ours: then only the file's own name is left
/// to be unlinked. In any doubt it is not one, and costs a second copy.
fn is_copied(file: Rested<'_>, folder: &Root, name: &Path) -> bool {
    let Ok(copy) = folder.open_file(name) else { return false };
    let (original, found) = (&file.opened.stamp, &copy.stamp);
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
        Writers::Unknown(_) => None,
    };
    let bytes = file.staged.sha256.clone().or_else(|| file.opened.sha256().ok());
    bytes.is_some()
        && copy.sha256().ok() == bytes
        && copy.file.sync_all().is_ok()
        && fsync(folder.dir()).is_ok()
        && copy.is_unchanged(lease.as_ref())
        && file.opened.is_unchanged(file.lease)
}

fn copy(file: Rested<'_>, dir: &OwnedFd, name: OsString) -> Result<(), FinishError> {
    let mut to = AtomicFile::create_in(dir.try_clone()?, name)?;
    io::copy(&mut Positioned { file: &file.opened.file, at: 0 }, &mut to)?;
    failpoint("before-copy");
    // The kernel takes a lease away from a process that copies for too long.
    if !file.opened.is_unchanged(file.lease) {
        return Err(FinishError::ChangedDuringCopy);
    }
    Ok(to.persist(false)?)
}

/// The name itself, then `name (1).ext`, `name (2).ext` …
fn numbered(wanted: &Path) -> impl Iterator<Item = OsString> + use<> {
    let name = wanted.file_name().unwrap_or_default().to_owned();
    let (stem, extension) =
        (wanted.file_stem().unwrap_or_default().to_owned(), wanted.extension().map(ToOwned::to_owned));
    (0..1000).map(move |n| {
        if n == 0 {
            return name.clone();
        }
        let mut numbered = stem.clone();
        numbered.push(format!(" ({n})"));
        if let Some(extension) = &extension {
            numbered.push(".");
            numbered.push(extension);
        }
        numbered
    })
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

#[cfg(test)]
#[path = "move_file_tests.rs"]
mod tests;
