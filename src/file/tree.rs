//! A walk through a folder by descriptors: each folder is opened from the one that it lies in, and no link is followed.
//!
//! So it stays below the root whatever is renamed meanwhile, and reaches folders that are deeper than any path may be long. A
//! folder is listed to its end before the ones in it are entered: of a folder with a million files nothing is kept in memory, of
//! one with a million sub-folders their names. Only the last [`WALK_OPEN`] folders are held open; those above are reopened by way
//! of `..` when the walk comes back, and are taken only if they are the ones that they were.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use super::open::{Root, beneath_folder};
use crate::budget::WALK_OPEN;

/// What a walk comes to.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    /// Where it lies, below the root.
    pub(crate) path: &'a Path,
    /// What it is. A folder is told before its names are read.
    pub(crate) kind: FileType,
    /// The folder that it lies in; a folder itself.
    pub(crate) dir: BorrowedFd<'a>,
}

/// A folder that can't be read, or a name of which the system does not tell what it is.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Where it lies, below the root.
    pub(crate) path: PathBuf,
    /// Why; "not found" for what vanished while the walk came to it.
    pub(crate) why: io::Error,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Tree<'a> {
    root: &'a Root,
    /// Where it begins; `None` once it has begun.
    start: Option<&'a Path>,
    /// The folders that lead to where it is.
    levels: Vec<Level>,
    /// Whether the last of them is not read to its end.
    listing: bool,
    /// The path of what was told last, below the root: of the last folder, and of a name in it.
    path: Vec<u8>,
}

#[derive(Debug)]
struct Level {
    /// `None` while too many below it are open.
    dir: Option<Dir>,
    /// By which it is known again.
    identity: Option<(u64, u64)>,
    /// The length of its path.
    length: usize,
    /// Its folders that are to be entered.
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

type Told<'a> = Result<Entry<'a>, Unreadable>;

/// What one step of a walk came to.
enum Step {
    /// Something that is told.
    Told(FileType),
    /// Something that is left alone, or the end of a folder.
    Quiet,
}

impl<'a> Tree<'a> {
    /// A walk through a folder below a root; through the root for the empty path.
    pub(crate) fn of(root: &'a Root, below: &'a Path) -> Self {
        Self { root, start: Some(below), levels: Vec::new(), listing: false, path: Vec::new() }
    }

    /// The next folder or name; `None` at the end. What `wanted` refuses, by its name and by what it is, is not told, and a folder
    /// not entered; it is not asked of where the walk begins.
    pub(crate) fn next(&mut self, mut wanted: impl FnMut(&OsStr, FileType) -> bool) -> Option<Told<'_>> {
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
                Ok(Step::Told(kind)) => return Some(Ok(self.told(kind))),
                Ok(Step::Quiet) => {}
                Err(errno) => return Some(Err(Unreadable { path: self.here().to_owned(), why: errno.into() })),
            }
        }
    }

    fn here(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.path))
    }

    fn told(&self, kind: FileType) -> Entry<'_> {
        let dir = self.dir().unwrap_or(self.root.dir().as_fd());
        Entry { path: self.here(), kind, dir }
    }

    /// The last folder, as far as it is open.
    fn dir(&self) -> Option<BorrowedFd<'_>> {
        self.levels.last()?.dir.as_ref()?.fd().ok()
    }

    fn begin(&mut self, start: &Path) -> Result<Step, Errno> {
        self.path = start.as_os_str().as_bytes().to_vec();
        match beneath_folder(self.root.dir(), start) {
            Ok(dir) => self.down(dir),
            // No folder lies there, but a file may.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                let name = start.file_name().ok_or(Errno::NOTDIR)?;
                let folder = beneath_folder(self.root.dir(), start.parent().unwrap_or(Path::new("")))?;
                Ok(Step::Told(kind_of(&folder, name)?))
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
        Ok(Step::Told(FileType::Directory))
    }

    /// Ends the last folder, and comes back to the one above.
    fn leave(&mut self) -> Result<Step, Errno> {
        let Some(left) = self.levels.pop() else { return Ok(Step::Quiet) };
        let Some(above) = self.levels.last_mut() else { return Ok(Step::Quiet) };
        self.path.truncate(above.length);
        if above.dir.is_some() || above.folders.0.is_empty() {
            return Ok(Step::Quiet);
        }
        let by_child = left.dir.as_ref().and_then(|dir| open_folder(dir.fd().ok()?, OsStr::new("..")).ok());
        let again = by_child.filter(|dir| identity(dir).ok() == above.identity);
        let path = Path::new(OsStr::from_bytes(&self.path));
        // Renamed meanwhile, with all that is below it: what lies at its place now is walked on through.
        let again = again.map_or_else(|| beneath_folder(self.root.dir(), path), Ok);
        match again.and_then(Dir::new) {
            Ok(dir) => above.dir = Some(dir),
            Err(errno) => {
                above.folders = Names::default();
                return Err(errno);
            }
        }
        Ok(Step::Quiet)
    }

    /// Reads one name of the last folder.
    fn list(&mut self, wanted: &mut impl FnMut(&OsStr, FileType) -> bool) -> Result<Step, Errno> {
        let Some(level) = self.levels.last_mut() else { return Ok(Step::Quiet) };
        self.path.truncate(level.length);
        let Some(entry) = level.dir.as_mut().and_then(Dir::read) else {
            self.listing = false;
            return Ok(Step::Quiet);
        };
        // What was listed so far is entered all the same.
        let entry = entry.inspect_err(|_| self.listing = false)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            return Ok(Step::Quiet);
        }
        let kind = match entry.file_type() {
            FileType::Unknown => {
                self.at(name);
                // Some file systems do not say.
                kind_of(self.dir().ok_or(Errno::NOENT)?, OsStr::from_bytes(name))?
            }
            told => told,
        };
        if !wanted(OsStr::from_bytes(name), kind) {
            return Ok(Step::Quiet);
        }
        if kind == FileType::Directory {
            if let Some(level) = self.levels.last_mut() {
                level.folders.push(name);
            }
            return Ok(Step::Quiet);
        }
        self.at(name);
        Ok(Step::Told(kind))
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
        // It was a folder when it was listed, and is a file or a link by now: events tell of it.
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
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    /// All that a walk tells of, folders with a slash at their end.
    fn walk(root: &Root, below: &str, wanted: impl Fn(&OsStr, FileType) -> bool) -> Vec<String> {
        let mut tree = Tree::of(root, Path::new(below));
        let mut told = Vec::new();
        while let Some(entry) = tree.next(&wanted) {
            let entry = entry.unwrap();
            let end = if entry.kind == FileType::Directory { "/" } else { "" };
            told.push(format!("{}{end}", entry.path.display()));
        }
        told.sort();
        told
    }

    fn all(_: &OsStr, _: FileType) -> bool {
        true
    }

    #[test]
    fn each_folder_and_name_is_told_once_and_no_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for folder in ["a/b", "a/c", "empty", "left"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["x", "a/y", "a/b/z", "left/w"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
        let without = |name: &OsStr, _: FileType| name != "left" && name != "y";
        assert_eq!(walk(&root, "", without), ["/", "a/", "a/b/", "a/b/z", "a/c/", "empty/", "link", "x"]);
        assert_eq!(walk(&root, "a/b", all), ["a/b/", "a/b/z"]);
        // Not a folder after all.
        assert_eq!(walk(&root, "a/y", all), ["a/y"]);
        assert_eq!(walk(&root, "link", all), ["link"]);
        assert!(matches!(Tree::of(&root, Path::new("none")).next(all), Some(Err(Unreadable { .. }))));
    }

    /// Makes folders in one another, each with a file and a second folder, so that the walk has to come back to each.
    fn comb(from: &Path, levels: usize) {
        let mut at = OwnedFd::from(fs::File::open(from).unwrap());
        for level in 0..levels {
            let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            openat(&at, format!("f{level}"), create, Mode::RUSR).unwrap();
            for name in ["e", "d"] {
                rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
            }
            at = open_folder(at.as_fd(), OsStr::new("d")).unwrap();
        }
    }

    /// The library that makes temporary folders holds each level open as it removes them.
    fn remove(folder: &Path) {
        assert!(Command::new("rm").arg("-rf").arg(folder.join("d")).status().unwrap().success());
    }

    fn open_descriptors() -> usize {
        fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
    }

    #[test]
    fn a_very_deep_tree_takes_few_descriptors_and_is_walked_through_whole() {
        const LEVELS: usize = 3000;
        let dir = tempfile::tempdir().unwrap();
        comb(dir.path(), LEVELS);
        let root = Root::open(dir.path()).unwrap();
        let mut tree = Tree::of(&root, Path::new(""));
        let (mut files, mut folders, mut most) = (BTreeSet::new(), 0, 0);
        while let Some(entry) = tree.next(all) {
            let entry = entry.unwrap();
            if entry.kind == FileType::Directory {
                folders += 1;
                most = most.max(tree.levels.iter().filter(|level| level.dir.is_some()).count());
            } else {
                files.insert(entry.path.file_name().unwrap().to_owned());
            }
        }
        remove(dir.path());
        assert_eq!((files.len(), folders), (LEVELS, 2 * LEVELS + 1));
        assert!(most <= WALK_OPEN, "{most} of {} descriptors", open_descriptors());
    }

    /// What is told of is below the root, wherever a part of it was moved while the walk was in it.
    #[test]
    fn a_folder_that_is_moved_out_while_the_walk_is_in_it_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let watched = dir.path().join("watched");
        fs::create_dir(&watched).unwrap();
        comb(&watched, WALK_OPEN + 8);
        // What `..` leads to after the move.
        fs::create_dir_all(dir.path().join("outside/e")).unwrap();
        fs::write(dir.path().join("outside/e/secret"), "").unwrap();
        let root = Root::open(&watched).unwrap();
        let mut tree = Tree::of(&root, Path::new(""));
        let mut told = Vec::new();
        while let Some(entry) = tree.next(all) {
            if let Ok(entry) = entry {
                told.push(entry.path.to_owned());
            }
            if told.len() == 1 {
                // Some levels down; then two of the open ones and one of the closed ones are elsewhere.
                while tree.levels.len() < WALK_OPEN + 5 {
                    told.push(tree.next(all).unwrap().unwrap().path.to_owned());
                }
                let moved = watched.join("d/d");
                assert!(Command::new("mv").arg(moved).arg(dir.path().join("outside/d")).status().unwrap().success());
            }
        }
        assert!(!told.iter().any(|path| path.ends_with("secret")), "{told:?}");
        assert!(told.iter().any(|path| path == Path::new("e")), "the rest is walked through: {told:?}");
    }

    #[test]
    fn a_folder_that_may_not_be_read_is_told_with_its_path_and_the_others_are_walked_through() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("shut")).unwrap();
        fs::create_dir_all(dir.path().join("open")).unwrap();
        fs::set_permissions(dir.path().join("shut"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut tree = Tree::of(&root, Path::new(""));
        let (mut folders, mut shut) = (0, Vec::new());
        while let Some(entry) = tree.next(all) {
            match entry {
                Ok(_) => folders += 1,
                Err(unreadable) => shut.push(unreadable.path),
            }
        }
        assert_eq!((folders, shut), (2, vec![PathBuf::from("shut")]));
    }

    #[test]
    fn names_come_back_last_first() {
        let mut names = Names::default();
        for name in ["a", "bc", "d"] {
            names.push(name.as_bytes());
        }
        let all: Vec<_> = std::iter::from_fn(|| names.pop()).map(|name| String::from_utf8(name).unwrap()).collect();
        assert_eq!(all, ["d", "bc", "a"]);
    }
}
