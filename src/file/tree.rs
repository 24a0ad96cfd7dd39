//! A walk through a folder by descriptors: each folder is opened from the one that it lies in, and no link is followed.
//!
//! So the walk stays below its base whatever is renamed meanwhile, and reaches folders that are deeper than any path may be long. A
//! folder is listed to its end before the folders in it are entered: of a folder with a million files nothing is kept in memory, of
//! one with a million sub-folders their names. Only the last [`WALK_OPEN`] folders are held open; those above are reopened through
//! `..` when the walk comes back, and are used only if they are still the same folders.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::Root;
use super::beneath::beneath_folder;
use crate::budget::WALK_OPEN;

/// A folder or name that a walk has come to.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Where it lies, below the base.
    pub(crate) path: &'a Path,
    /// What it is. A folder is returned before its names are read.
    pub(crate) kind: FileType,
    /// The folder that it lies in; a folder itself.
    pub(crate) dir: BorrowedFd<'a>,
    /// Whether the walk leaves this folder, with `dir` the folder that it lies in. Only for a walk that asks for it.
    pub(crate) left: bool,
}

/// A folder that can't be read, or a name of which the system does not say what it is.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Where it lies, below the base.
    pub(crate) path: PathBuf,
    /// Why; "not found" for a folder or name that vanished before the walk came to it.
    pub(crate) why: io::Error,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    base: &'a OwnedFd,
    /// Whether folders are returned once more when the walk leaves them.
    with_left: bool,
    /// Where it begins; `None` once it has begun.
    start: Option<&'a Path>,
    /// The folders that lead to where it is.
    levels: Vec<Level>,
    /// Whether the last of them is not yet listed to its end.
    listing: bool,
    /// The path of the last entry, below the base: of the last folder, and of a name in it.
    path: Vec<u8>,
}

#[derive(Debug)]
struct Level {
    /// `None` while too many below it are open.
    dir: Option<Dir>,
    /// Device and inode, once it was closed.
    identity: Option<(u64, u64)>,
    /// The length of its path.
    length: usize,
    /// The folders in it that are still to be entered.
    folders: Names,
}

/// Names in one piece of memory, each with a zero after it.
#[derive(Debug, Default)]
struct Names(Vec<u8>);

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.0.extend_from_slice(name);
        self.0.push(0);
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        self.0.pop()?;
        let start = self.0.iter().rposition(|byte| *byte == 0).map_or(0, |zero| zero + 1);
        Some(self.0.split_off(start))
    }
}

type Found<'a> = Result<Entry<'a>, Unreadable>;

/// The result of one step of a walk.
enum Step {
    /// An entry to return.
    Entry(FileType),
    /// A folder that the walk has left, and may return.
    Left,
    /// A name that is not wanted, or the end of a folder.
    Skipped,
}

impl<'a> Tree<'a> {
    /// A walk through a folder below a root; through the root for the empty path.
    pub(crate) fn of(root: &'a Root, below: &'a Path) -> Self {
        Self::below(root.dir(), below)
    }

    /// A walk through a folder below an open one, its base; through the base for the empty path.
    pub(crate) fn below(base: &'a OwnedFd, start: &'a Path) -> Self {
        Self { base, with_left: false, start: Some(start), levels: Vec::new(), listing: false, path: Vec::new() }
    }

    /// Has the walk return each folder once more when it leaves it, except the one where it began.
    pub(crate) fn with_left(self) -> Self {
        Self { with_left: true, ..self }
    }

    /// Returns the next folder or name; `None` at the end. `wanted` decides by the path below the base and the kind: what it refuses is
    /// not returned, and a refused folder is not entered. It is not asked about the folder where the walk begins.
    pub(crate) fn next(&mut self, mut wanted: impl FnMut(&Path, FileType) -> bool) -> Option<Found<'_>> {
        loop {
            let step = if let Some(start) = self.start.take() {
                self.begin(start)
            } else if self.listing {
                self.list(&mut wanted)
            } else if let Some(name) = self.levels.last_mut()?.folders.pop() {
                self.enter(&name)
            } else {
                self.leave()
            };
            match step {
                Ok(Step::Entry(kind)) => return Some(Ok(self.entry(kind, false))),
                Ok(Step::Left) => return Some(Ok(self.entry(FileType::Directory, true))),
                Ok(Step::Skipped) => {}
                Err(errno) => return Some(Err(Unreadable { path: self.here().to_owned(), why: errno.into() })),
            }
        }
    }

    /// Leaves out the folder that was returned last: none of its names is read.
    pub(crate) fn skip_folder(&mut self) {
        if self.listing {
            self.listing = false;
            if let Some(level) = self.levels.last_mut() {
                level.folders = Names::default();
            }
        }
    }

    fn here(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn entry(&self, kind: FileType, left: bool) -> Entry<'_> {
        let dir = self.dir().unwrap_or(self.base.as_fd());
        Entry { path: self.here(), kind, dir, left }
    }

    /// The last folder, if it is open.
    fn dir(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last()?.dir.as_ref()?.fd().ok()
    }

    fn begin(&mut self, start: &Path) -> Result<Step, Errno> {
        self.path = start.as_os_str().as_bytes().to_vec();
        match beneath_folder(self.base, start) {
            Ok(dir) => self.down(dir),
            // No folder lies there, but a file may.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let name = start.file_name().ok_or(Errno::NOTDIR)?;
                let folder = beneath_folder(self.base, start.parent().unwrap_or(Path::new("")))?;
                Ok(Step::Entry(kind_of(&folder, name)?))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Enters a folder of the last one.
    fn enter(&mut self, name: &[u8]) -> Result<Step, Errno> {
        self.at(name);
        let dir = {
            // Open: the walk has just read it, or has come back to it.
            let above = self.dir().ok_or(Errno::NOENT)?;
            open_folder(above, OsStr::from_bytes(name))?
        };
        self.down(dir)
    }

    fn down(&mut self, dir: OwnedFd) -> Result<Step, Errno> {
        let level =
            Level { dir: Some(Dir::new(dir)?), identity: None, length: self.path.len(), folders: Names::default() };
        self.levels.push(level);
        self.listing = true;
        if let Some(above) = self.levels.len().checked_sub(WALK_OPEN + 1) {
            self.levels[above].close();
        }
        Ok(Step::Entry(FileType::Directory))
    }

    /// Leaves the last folder, and comes back to the one above.
    fn leave(&mut self) -> Result<Step, Errno> {
        let Some(left) = self.levels.pop() else { return Ok(Step::Skipped) };
        let Some(above) = self.levels.last_mut() else { return Ok(Step::Skipped) };
        if above.dir.is_none() && (self.with_left || !above.folders.0.is_empty()) {
            let by_child = left.dir.as_ref().and_then(|dir| open_folder(dir.fd().ok()?, OsStr::new("..")).ok());
            let again = by_child.filter(|dir| identity(dir).ok() == above.identity);
            let path = Path::new(OsStr::from_bytes(&self.path[..above.length]));
            // It was renamed meanwhile, with all that is below it: the walk goes on through what lies at its place now.
            let again = again.map_or_else(|| beneath_folder(self.base, path), Ok);
            match again.and_then(Dir::new) {
                Ok(dir) => above.dir = Some(dir),
                Err(errno) => {
                    above.folders = Names::default();
                    self.path.truncate(above.length);
                    return Err(errno);
                }
            }
        }
        self.path.truncate(left.length);
        Ok(if self.with_left { Step::Left } else { Step::Skipped })
    }

    /// Reads one name of the last folder.
    fn list(&mut self, wanted: &mut impl FnMut(&Path, FileType) -> bool) -> Result<Step, Errno> {
        let Some(level) = self.levels.last_mut() else { return Ok(Step::Skipped) };
        self.path.truncate(level.length);
        let Some(entry) = level.dir.as_mut().and_then(Dir::read) else {
            self.listing = false;
            return Ok(Step::Skipped);
        };
        // What was listed so far is entered all the same.
        let entry = entry.inspect_err(|_| self.listing = false)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            return Ok(Step::Skipped);
        }
        self.at(name);
        let kind = match entry.file_type() {
            FileType::Unknown => {
                // Some file systems do not say.
                kind_of(self.dir().ok_or(Errno::NOENT)?, OsStr::from_bytes(name))?
            }
            known => known,
        };
        if !wanted(self.here(), kind) {
            return Ok(Step::Skipped);
        }
        if kind == FileType::Directory {
            if let Some(level) = self.levels.last_mut() {
                level.folders.push(name);
            }
            return Ok(Step::Skipped);
        }
        Ok(Step::Entry(kind))
    }

    /// Sets the path to a name in the last folder.
    fn at(&mut self, name: &[u8]) {
        let length = self.levels.last().map_or(0, |level| level.length);
        self.path.truncate(length);
        if length > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }
}

impl Level {
    fn close(&mut self) {
        if let Some(dir) = self.dir.take() {
            self.identity = dir.fd().ok().and_then(|dir| identity(dir).ok());
        }
    }
}

/// Opens a folder from the one that it lies in: one name, and no link.
fn open_folder(dir: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        // It was a folder when it was listed, and is a file or a link by now: an event reports that.
        Err(Errno::NOTDIR | Errno::LOOP) => Err(Errno::NOENT),
        other => other,
    }
}

// The fields' types differ between platforms.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn identity(dir: impl AsFd) -> Result<(u64, u64), Errno> {
    let stat = fstat(dir)?;
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}

fn kind_of(dir: impl AsFd, name: &OsStr) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
