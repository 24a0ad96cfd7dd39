//! A file that is not there until it is whole.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// A file being written beside its place, readable by its owner only; gone if it is dropped before it is kept.
#[derive(Debug)]
pub struct Partial {
    file: File,
    path: PathBuf,
    place: PathBuf,
    kept: bool,
}

impl Partial {
    /// Begins a file that is to be at `place`.
    pub fn create(place: &Path) -> io::Result<Self> {
        let name = place.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it names no file"))?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        for attempt in 0..100u32 {
            let mut hidden = std::ffi::OsString::from(format!(".astran-backup.{}.{attempt}.", std::process::id()));
            // A name can be as long as the file system allows: the rest of it is only for people.
            hidden.push(name.to_string_lossy().chars().take(20).collect::<String>());
            let path = place.with_file_name(hidden);
            match options.open(&path) {
                Ok(file) => return Ok(Self { file, path, place: place.to_owned(), kept: false }),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::Error::new(ErrorKind::AlreadyExists, "a hundred unfinished files lie beside it"))
    }

    /// Puts it into its place, safe from a power cut; over what is there only where `force` is set.
    pub fn keep(mut self, force: bool) -> io::Result<()> {
        self.file.sync_all()?;
        if force {
            replace(&self.path, &self.place)?;
        } else {
            put(&self.path, &self.place)?;
        }
        self.kept = true;
        let folder = self.place.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
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
            discard(&self.path);
        }
    }
}

/// In one step, so that a file that appears there meanwhile is not lost.
fn put(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems know no such rename; a link doesn't replace anything either.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            std::fs::hard_link(from, to)?;
            discard(from);
            Ok(())
        }
        other => other.map_err(io::Error::from),
    }
}

fn replace(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

fn discard(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "an unfinished file can't be removed");
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
}
