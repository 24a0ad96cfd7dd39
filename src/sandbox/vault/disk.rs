//! Changes to the vault's own folder: temporary files, moves, removals.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// A change of the vault's own folder.
pub(super) enum Change<'a> {
    /// Moves a file to a name that must be free.
    Add(&'a Path, &'a Path),
    /// Moves a file over another.
    Replace(&'a Path, &'a Path),
    /// Removes a file.
    Remove(&'a Path),
}

/// Carries out a change. No other code of the sandbox renames or removes.
#[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
pub(super) fn change(change: &Change) -> io::Result<()> {
    match *change {
        Change::Add(from, to) => Ok(rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?),
        Change::Replace(from, to) => std::fs::rename(from, to),
        Change::Remove(path) => std::fs::remove_file(path),
    }
}

/// A document that is being received: a file in the private part of the store. It is removed on drop unless it was moved.
pub(crate) struct Temporary {
    pub(super) file: File,
    path: Option<PathBuf>,
}

impl Temporary {
    /// Creates an empty file that only this user may read.
    #[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
    pub(super) fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(Self { file, path: Some(path) })
    }

    /// Moves the file to a name that must be free. Where the name is taken, the file stays and can be moved to another one.
    pub(super) fn add_as(&mut self, to: &Path) -> io::Result<()> {
        self.move_with(|from| change(&Change::Add(from, to)))
    }

    /// Moves the file over the one that has this name.
    pub(super) fn replace(&mut self, to: &Path) -> io::Result<()> {
        self.move_with(|from| change(&Change::Replace(from, to)))
    }

    fn move_with(&mut self, carry_out: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let from = self.path.as_deref().ok_or(io::ErrorKind::NotFound)?;
        carry_out(from)?;
        self.path = None;
        Ok(())
    }
}

impl io::Write for Temporary {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // If this fails, the next start removes the file.
            drop(change(&Change::Remove(path)));
        }
    }
}

/// Removes the temporary files of processes that have ended.
#[expect(clippy::disallowed_methods, reason = "the vault is the sandbox's own; the watched folder is never in it")]
pub(super) fn sweep(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.split('-').next()).and_then(|n| n.parse().ok());
        if !owner.is_some_and(is_running) {
            drop(change(&Change::Remove(&entry.path())));
        }
    }
    Ok(())
}

fn is_running(process: i32) -> bool {
    rustix::process::Pid::from_raw(process)
        .is_some_and(|pid| !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}
