//! A walk through the folder, in the order in which the system lists it, at the pace of the reader that takes what the walk finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use tokio::sync::mpsc;

use super::Staging;
use crate::file::{PRIVATE, Root, Tree, Unreadable, look_at, staged_name};
use crate::filter::Filter;

/// What a walk reports. All paths are below the root.
#[derive(Debug)]
pub(crate) enum WalkEvent {
    /// Regular files that the filter takes.
    Files(Vec<PathBuf>),
    /// A folder or file that can't be read.
    Unreadable(PathBuf, io::Error),
    /// The walk has ended.
    Ended,
}

/// Files in one message: so many that the cost of the message vanishes beside that of its files.
const BATCH: usize = 256;

/// Walks through folders below a root. Blocks while the channel is full, so that files wait in the folder and not in memory.
#[derive(Debug)]
pub(crate) struct Walker {
    pub(crate) root: Arc<Root>,
    pub(crate) filter: Arc<Filter>,
    pub(crate) events: mpsc::Sender<WalkEvent>,
}

/// The receiver was dropped: the walk ends early.
struct ReceiverGone;

impl Walker {
    /// Walks through each of the folders, and reports the end.
    ///
    /// `enter` is called for each folder before its names are read. So a watch that `enter` adds brings an event for all that
    /// appears in the folder afterwards, and the walk lists all that was there before. With `recover`, the walk puts back files
    /// that a stopped process left set aside.
    pub(crate) fn walk(&self, folders: &[PathBuf], recover: Option<Staging>, mut enter: impl FnMut(&Path)) {
        let walked = folders.iter().try_for_each(|folder| self.walk_through(folder, recover, &mut enter));
        // Where the receiver is gone, nobody waits for the end.
        walked.and_then(|()| self.send(WalkEvent::Ended)).ok();
    }

    fn walk_through(
        &self,
        below: &Path,
        recover: Option<Staging>,
        enter: &mut impl FnMut(&Path),
    ) -> Result<(), ReceiverGone> {
        let mut files = Vec::with_capacity(BATCH);
        let mut tree = Tree::of(&self.root, below);
        while let Some(entry) = tree.next(|path, kind| self.wants(path, kind, recover.is_some())) {
            match entry {
                Ok(entry) if entry.kind == FileType::Directory => {
                    enter(&self.root.path().join(entry.path));
                    // Looked up in the open folder: a lookup by path takes longer the deeper the folder lies.
                    if let Some(staging) = recover
                        && look_at(entry.dir, PRIVATE.as_ref()).is_ok()
                    {
                        files.extend((staging.recover)(&self.root, entry.path));
                    }
                }
                Ok(entry) if entry.kind == FileType::RegularFile => match recover {
                    Some(staging) if entry.path.file_name().is_some_and(staged_name::is_beside) => {
                        files.extend((staging.put_back)(&self.root, entry.path));
                    }
                    _ => files.push(entry.path.to_owned()),
                },
                Ok(_) => {}
                Err(unreadable) => self.report_unreadable(unreadable)?,
            }
            if files.len() >= BATCH {
                self.send(WalkEvent::Files(std::mem::take(&mut files)))?;
            }
        }
        self.send(WalkEvent::Files(files))
    }

    /// Returns whether the walk looks at a path, whose folders it has looked at. A file that was set aside beside its place is wanted only with `recover`: at all
    /// other times it belongs to a removal that is under way.
    fn wants(&self, path: &Path, kind: FileType, recover: bool) -> bool {
        if path.file_name().is_some_and(staged_name::is_beside) {
            return recover && kind == FileType::RegularFile;
        }
        self.filter.excludes(path, kind == FileType::Directory).is_none()
    }

    /// A file that vanished before the walk came to it is no error.
    fn report_unreadable(&self, unreadable: Unreadable) -> Result<(), ReceiverGone> {
        match unreadable.why.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => self.send(WalkEvent::Unreadable(unreadable.path, unreadable.why)),
        }
    }

    fn send(&self, event: WalkEvent) -> Result<(), ReceiverGone> {
        self.events.blocking_send(event).map_err(|_| ReceiverGone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn walk(root: &Path, recover: bool) -> Vec<PathBuf> {
        let (sender, mut events) = mpsc::channel(64);
        let root = Arc::new(Root::open(root).unwrap());
        let filter = Arc::new(Filter::new(&[".*".into(), "*.part".into()], &["/out/".into()], &[]).unwrap());
        Walker { root, filter, events: sender }.walk(&[PathBuf::new()], recover.then(Staging::for_test), |_| ());
        let mut files = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let WalkEvent::Files(more) = event {
                files.extend(more);
            }
        }
        files.sort();
        files
    }

    #[test]
    fn a_walk_finds_every_regular_file_in_every_folder_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        for folder in [".hidden", "out", "a/out"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["x", "a/y", "a/b/z", "a/w.part", ".hidden/v", "out/u", "a/out/t"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        std::os::unix::fs::symlink("x", dir.path().join("link")).unwrap();
        assert_eq!(walk(dir.path(), false), ["a/b/z", "a/out/t", "a/y", "x"].map(PathBuf::from));
    }

    /// Gives a private folder the mode that this program gives it.
    fn make_private(private: &Path) {
        fs::set_permissions(private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn files_left_aside_by_a_crash_are_put_back_and_found() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".astran-backup/0/sub")).unwrap();
        make_private(&dir.path().join(".astran-backup"));
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
        make_private(&dir.path().join("mounted/.astran-backup"));
        fs::write(dir.path().join("mounted/.astran-backup/0/x"), "aside").unwrap();
        assert_eq!(walk(dir.path(), true), [PathBuf::from("mounted/x")]);
    }
}
