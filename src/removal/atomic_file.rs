//! A file that is not there until it is whole.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fsync, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::rename::{At, OldName, rename_new};
use crate::file::look_at;

/// A file being written beside its place, readable by its owner only; gone if it is dropped before it is kept.
///
/// It is locked for as long as it is written, so that one that a crash left is told from one that somebody still writes,
/// and the next one for its place takes its room. A process number could not tell: each container counts its own.
#[derive(Debug)]
pub struct Partial {
    file: File,
    /// The folder that it lies in: opened once, whatever its path leads to by then.
    dir: OwnedFd,
    name: OsString,
    /// What it is to be called.
    place: OsString,
    kept: bool,
}

const OPEN: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

impl Partial {
    /// Begins a file that is to be at `place`, as the system resolves it.
    pub fn create(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it names no file"))?;
        let folder = place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Self::create_in(dir, name.to_owned())
    }

    /// Begins a file that is to have this name in an open folder.
    pub(super) fn create_in(dir: OwnedFd, place: OsString) -> io::Result<Self> {
        // A name can be as long as the file system allows: more of it is only for people.
        let shown: String = place.to_string_lossy().chars().take(20).collect();
        for attempt in 0..100u32 {
            let name = OsString::from(format!(".astran-backup.{attempt}.{shown}"));
            let begun = match begin(&dir, &name)? {
                None if discard_abandoned(&dir, &name) => begin(&dir, &name)?,
                begun => begun,
            };
            if let Some(file) = begun {
                return Ok(Self { file, dir, name, place, kept: false });
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "a hundred unfinished files lie beside it"))
    }

    /// Puts it into its place, safe from a power cut; over what is there only where `force` is set.
    pub fn keep(mut self, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if force {
            renameat(&self.dir, &self.name, &self.dir, &self.place)?;
        } else {
            rename_new(At::new(&self.dir, &self.name), At::new(&self.dir, &self.place), OldName::Ours)?;
        }
        self.kept = true;
        Ok(fsync(&self.dir)?)
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.kept {
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
    // Before the lock came somebody may have taken it for an abandoned one.
    let lost = matches!(file.try_lock(), Err(TryLockError::WouldBlock)) || file.metadata()?.nlink() == 0;
    Ok((!lost).then_some(file))
}

/// Removes a file that was begun and that nobody writes any more; answers whether it did. Where locks can't tell it stays.
fn discard_abandoned(dir: &OwnedFd, name: &OsStr) -> bool {
    let Ok(file) = openat(dir, name, OPEN | OFlags::RDONLY, Mode::empty()).map(File::from) else { return false };
    let Ok(held) = file.metadata() else { return false };
    if !held.is_file() || held.uid() != geteuid().as_raw() || file.try_lock().is_err() {
        return false;
    }
    // Under the lock: whoever had it before may have put it into its place, and another may have begun one since.
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
    fn it_is_there_once_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        let mut partial = Partial::create(&place).unwrap();
        partial.write_all(b"abc").unwrap();
        assert!(!place.exists());
        partial.keep(false).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"abc");
        assert_eq!(std::fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(dir.path()), ["a.pdf"]);
    }

    #[test]
    fn it_leaves_nothing_and_replaces_nothing_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        drop(Partial::create(&place).unwrap());
        assert!(names(dir.path()).is_empty());
        std::fs::write(&place, "old").unwrap();
        let error = Partial::create(&place).unwrap().keep(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&place).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["a.pdf"]);
        Partial::create(&place).unwrap().keep(true).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), b"");
    }

    fn abandon(path: &Path) {
        let mut partial = Partial::create(path).unwrap();
        partial.write_all(b"half of").unwrap();
        // As a crash leaves it: the lock is gone, the file is there.
        partial.kept = true;
    }

    #[test]
    fn what_a_crash_left_makes_room_for_the_next_one_and_what_somebody_writes_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a.pdf");
        abandon(&place);
        assert_eq!(names(dir.path()).len(), 1);
        let first = Partial::create(&place).unwrap();
        let mut second = Partial::create(&place).unwrap();
        assert_eq!(names(dir.path()).len(), 2);
        second.write_all(b"whole").unwrap();
        second.keep(false).unwrap();
        drop(first);
        assert_eq!(names(dir.path()), ["a.pdf"]);
        assert_eq!(std::fs::read(&place).unwrap(), b"whole");
    }

    #[test]
    fn nothing_but_an_abandoned_file_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let (place, hidden) = (dir.path().join("a.pdf"), dir.path().join(".astran-backup.0.a.pdf"));
        std::fs::write(dir.path().join("other"), "other").unwrap();
        std::os::unix::fs::symlink("other", &hidden).unwrap();
        Partial::create(&place).unwrap().keep(false).unwrap();
        assert_eq!(std::fs::read_link(&hidden).unwrap(), Path::new("other"));
        std::fs::remove_file(&hidden).unwrap();
        std::fs::create_dir(&hidden).unwrap();
        Partial::create(&place).unwrap().keep(true).unwrap();
        assert!(hidden.is_dir() && dir.path().join("other").exists());
    }
}
