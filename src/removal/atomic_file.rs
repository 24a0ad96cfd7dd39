//! A file that appears under its name only when it is complete.
//!
//! Not `tempfile`'s `persist`: that opens by path (here the folder may be one that must not be exchanged), makes no use of what a
//! crash left behind, and syncs nothing to the disk.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fchown, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, geteuid};

use super::rename::{At, OldName, rename_new};
use crate::file::{Root, look_at};

/// A file being written beside its place, readable by its owner only. Removed if it is dropped before [`AtomicFile::persist`].
///
/// The file is locked as long as it is written. So one that a crash left can be told from one that another process still writes, and
/// is replaced by the next one for the same place. A process number in its name could not tell: each container counts its own.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    /// The folder that it lies in, opened once: its path may lead elsewhere later.
    dir: OwnedFd,
    name: OsString,
    /// The name that it is to have.
    final_name: OsString,
    persisted: bool,
}

const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

impl AtomicFile {
    /// Begins a file that is to be at `place`, as the system resolves it.
    pub fn create(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it names no file"))?;
        let folder = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Self::create_in(dir, name.to_owned())
    }

    /// Begins a file that is to have this name in a folder that is held open.
    pub(crate) fn create_below(folder: &Root, name: &OsStr) -> io::Result<Self> {
        Self::create_in(folder.dir().try_clone()?, name.to_owned())
    }

    /// Lets a group read the file, whatever the umask is; without a group, nobody but its owner.
    pub(crate) fn set_readers(&self, group: Option<u32>) -> io::Result<()> {
        if let Some(group) = group {
            fchown(&self.file, None, Some(Gid::from_raw(group)))?;
        }
        let mode = Mode::RUSR | Mode::WUSR;
        Ok(fchmod(&self.file, if group.is_some() { mode | Mode::RGRP } else { mode })?)
    }

    /// Begins a file that is to have this name in an open folder.
    pub(super) fn create_in(dir: OwnedFd, final_name: OsString) -> io::Result<Self> {
        // The final name can be as long as the file system allows; its first letters are enough for people.
        let shown: String = final_name.to_string_lossy().chars().take(20).collect();
        for attempt in 0..100u32 {
            let name = OsString::from(format!(".astran-backup.{attempt}.{shown}"));
            let begun = match begin(&dir, &name)? {
                None if discard_abandoned(&dir, &name) => begin(&dir, &name)?,
                begun => begun,
            };
            if let Some(file) = begun {
                return Ok(Self { file, dir, name, final_name, persisted: false });
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "a hundred unfinished files lie beside it"))
    }

    /// Gives the file its name, safe from a power cut. Replaces what has that name only with `overwrite`.
    pub fn persist(mut self, overwrite: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if overwrite {
            renameat(&self.dir, &self.name, &self.dir, &self.final_name)?;
        } else {
            rename_new(At::new(&self.dir, &self.name), At::new(&self.dir, &self.final_name), OldName::Ours)?;
        }
        self.persisted = true;
        Ok(fsync(&self.dir)?)
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.persisted {
            discard(&self.dir, &self.name);
        }
    }
}

/// Makes the file and locks it; `None` where the name is taken.
fn begin(dir: &OwnedFd, name: &OsStr) -> io::Result<Option<File>> {
    let flags = OPEN | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let file = match openat(dir, name, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => File::from(file),
        Err(Errno::EXIST) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Before it was locked, another process may have taken it for an abandoned one.
    let lost = matches!(file.try_lock(), Err(TryLockError::WouldBlock)) || file.metadata()?.nlink() == 0;
    Ok((!lost).then_some(file))
}

/// Removes an unfinished file that nobody writes any more, and returns whether it did. Where locks can't tell, the file stays.
fn discard_abandoned(dir: &OwnedFd, name: &OsStr) -> bool {
    let Ok(file) = openat(dir, name, OPEN | OFlags::RDONLY, Mode::empty()).map(File::from) else { return false };
    let Ok(held) = file.metadata() else { return false };
    if !held.is_file() || held.uid() != geteuid().as_raw() || file.try_lock().is_err() {
        return false;
    }
    // Checked under the lock: the process that had it before may have persisted it, and another one may have begun a file since.
    let same = look_at(dir, name).is_ok_and(|named| (named.device, named.inode) == (held.dev(), held.ino()));
    same && unlinkat(dir, name, AtFlags::empty()).is_ok()
}

fn discard(dir: &OwnedFd, name: &OsStr) {
    if let Err(error) = unlinkat(dir, name, AtFlags::empty()) {
        tracing::warn!(name = %name.display(), %error, "an unfinished file can't be removed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(dir: &Path) -> Vec<String> {
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_appears_under_its_name_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        let mut file = AtomicFile::create(&place).unwrap();
        file.write_all(b"abc").unwrap();
        assert!(!place.exists());
        file.persist(false).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"abc");
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a.pdf"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_and_nothing_is_replaced_unless_asked() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        drop(AtomicFile::create(&place).unwrap());
        assert!(names(dir.path()).is_empty());
        std::fs::write(&place, "old").unwrap();
        let error = AtomicFile::create(&place).unwrap().persist(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.pdf"]);
        AtomicFile::create(&place).unwrap().persist(true).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"");
    }

    fn abandon(path: &Path) {
        let mut file = AtomicFile::create(path).unwrap();
        file.write_all(b"half of").unwrap();
        // As a crash leaves it: the lock is gone, the file is there.
        file.persisted = true;
    }

    #[test]
    fn what_a_crash_left_is_replaced_and_what_another_process_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        abandon(&place);
        assert_eq!(names(dir.path()).len(), 1);
        let first = AtomicFile::create(&place).unwrap();
        let mut second = AtomicFile::create(&place).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        second.write_all(b"whole").unwrap();
        second.persist(false).unwrap();
        drop(first);
        assert_eq!(names(dir.path()), ["a.pdf"]);
        assert_eq!(std::fs::read(&place).unwrap(), b"whole");
    }

    #[test]
    fn nothing_but_an_abandoned_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (place, hidden) = (dir.path().join("a.pdf"), dir.path().join(".astran-backup.0.a.pdf"));
        std::fs::write(dir.path().join("other"), "other").unwrap();
        std::os::unix::fs::symlink("other", &hidden).unwrap();
        AtomicFile::create(&place).unwrap().persist(false).unwrap();
        assert_eq!(std::fs::read_link(&hidden).unwrap(), Path::new("other"));
        std::fs::remove_file(&hidden).unwrap();
        std::fs::create_dir(&hidden).unwrap();
        AtomicFile::create(&place).unwrap().persist(true).unwrap();
        assert!(hidden.is_dir() && dir.path().join("other").exists());
    }
}
