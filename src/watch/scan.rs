//! The folder itself: a walk through it, in the order in which the system lists it, at the pace of whoever takes what it finds.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::sync::mpsc;

use super::ignore::IgnorePatterns;
use crate::file::{PRIVATE, Root, Tree, Unreadable, look_at, staged_name};
use crate::removal;

/// What a walk finds. All paths are below the root.
#[derive(Debug)]
pub enum Found {
    /// Regular files whose names don't say "in progress".
    Files(Vec<PathBuf>),
    /// A folder or file that can't be read, and why.
    Unreadable(PathBuf, String),
    /// The walk is over.
    End,
}

/// Enough to make a message's cost vanish beside that of its files.
const BATCH: usize = 256;

/// Walks through folders below a root. Blocks while `found` is full: the folder is the real queue.
#[derive(Debug)]
pub struct Walker {
    /// The watched folder.
    pub root: Arc<Root>,
    /// Names to leave alone.
    pub names: Arc<IgnorePatterns>,
    /// Who takes what is found.
    pub found: mpsc::Sender<Found>,
}

/// Nobody listens any more.
struct Unheard;

impl Walker {
    /// Walks through each of the folders, and tells when it is over.
    ///
    /// `enter` is called for each folder before its names are read, so that what appears in it afterwards brings an event
    /// and what was there before is listed. With `recover`, files that a stopped process left set aside are put back first.
    pub fn walk(&self, folders: &[PathBuf], recover: bool, mut enter: impl FnMut(&Path)) {
        let over = folders.iter().try_for_each(|folder| self.walk_through(folder, recover, &mut enter));
        // Nobody listens any more: so nobody misses it.
        over.and_then(|()| self.tell(Found::End)).ok();
    }

    fn walk_through(&self, below: &Path, recover: bool, enter: &mut impl FnMut(&Path)) -> Result<(), Unheard> {
        let mut files = Vec::with_capacity(BATCH);
        let mut tree = Tree::of(&self.root, below);
        while let Some(entry) = tree.next(|name, kind| self.wanted(name, kind, recover)) {
            match entry {
                Ok(entry) if entry.kind == FileType::Directory => {
                    enter(&self.root.path().join(entry.path));
                    // Asked of the open folder: to reach it by its path takes the longer the deeper it lies.
                    if recover && look_at(entry.dir, PRIVATE.as_ref()).is_ok() {
                        files.extend(removal::recover(&self.root, entry.path));
                    }
                }
                Ok(entry) if entry.kind == FileType::RegularFile => match entry.path.file_name() {
                    Some(name) if staged_name::is_beside(name) => {
                        files.extend(removal::put_back(&self.root, entry.path))
                    }
                    _ => files.push(entry.path.to_owned()),
                },
                Ok(_) => {}
                Err(unreadable) => self.unreadable(unreadable)?,
            }
            if files.len() >= BATCH {
                self.tell(Found::Files(std::mem::take(&mut files)))?;
            }
        }
        self.tell(Found::Files(files))
    }

    /// All but names in progress and private folders. What was set aside beside its place is of interest only where it is to be put
    /// back: a running removal has it else.
    fn wanted(&self, name: &OsStr, kind: FileType, recover: bool) -> bool {
        if staged_name::is_beside(name) {
            return recover && kind == FileType::RegularFile;
        }
        !self.names.in_progress(name)
    }

    /// What vanished while the walk came to it is no error.
    fn unreadable(&self, unreadable: Unreadable) -> Result<(), Unheard> {
        match unreadable.why.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => self.tell(Found::Unreadable(unreadable.path, unreadable.why.to_string())),
        }
    }

    fn tell(&self, found: Found) -> Result<(), Unheard> {
        self.found.blocking_send(found).map_err(|_| Unheard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn walk(root: &Path, recover: bool) -> Vec<PathBuf> {
        let (sender, mut found) = mpsc::channel(64);
        let root = Arc::new(Root::open(root).unwrap());
        let names = Arc::new(IgnorePatterns::new(&[".*".into(), "*.part".into()]).unwrap());
        Walker { root, names, found: sender }.walk(&[PathBuf::new()], recover, |_| ());
        let mut files = Vec::new();
        while let Ok(message) = found.try_recv() {
            if let Found::Files(more) = message {
                files.extend(more);
            }
        }
        files.sort();
        files
    }

    #[test]
    fn a_walk_finds_every_document_in_every_folder_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join(".hidden")).unwrap();
        for file in ["x", "a/y", "a/b/z", "a/w.part", ".hidden/v"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("x", dir.path().join("link")).unwrap();
        assert_eq!(walk(dir.path(), false), ["a/b/z", "a/y", "x"].map(PathBuf::from));
    }

    /// As this program makes it.
    fn alone(private: &Path) {
        fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn files_left_aside_by_a_crash_are_put_back_and_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".astran-backup/0/sub")).unwrap();
        alone(&dir.path().join(".astran-backup"));
        fs::create_dir_all(dir.path().join("sub")).unwrap();
        fs::write(dir.path().join(".astran-backup/0/sub/x"), "aside").unwrap();
        fs::write(dir.path().join(".astran-backup/0/y"), "aside").unwrap();
        fs::write(dir.path().join("y"), "newer").unwrap();
        assert_eq!(walk(dir.path(), true), [".astran-backup/0/y", "sub/x", "y"].map(PathBuf::from));
        assert_eq!(fs::read_to_string(dir.path().join("y")).unwrap(), "newer");
    }

    /// A file system mounted below the folder has a private folder of its own.
    #[test]
    fn files_left_aside_below_a_sub_folder_are_put_back_and_found_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("mounted/.astran-backup/0")).unwrap();
        alone(&dir.path().join("mounted/.astran-backup"));
        fs::write(dir.path().join("mounted/.astran-backup/0/x"), "aside").unwrap();
        assert_eq!(walk(dir.path(), true), [PathBuf::from("mounted/x")]);
    }
}
