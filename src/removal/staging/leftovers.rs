//! What a stopped process left set aside: found, put back, and the private folder cleared away.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, unlinkat};

use super::{move_out, private_folder};
use crate::file::staged_name::{is_beside, origin};
use crate::file::{Entry, LOCK, OpenError, PRIVATE, Root, Tree};
use crate::removal::StagingError;

/// Puts the files back that a stopped process left in the private folder of the folder `below` the root. Returns the places of
/// those whose names are taken by now; they stay there, to be uploaded from there.
pub fn recover(root: &Root, below: &Path) -> Vec<PathBuf> {
    let leftovers = leftovers(root, below);
    leftovers.into_iter().filter(|place| move_out(root, place, &origin(place)).is_err()).collect()
}

/// Puts a file back that a stopped process left set aside at this place. Returns where it lies now: its own place, or this one where
/// its name is taken; `None` if it is gone.
pub fn put_back(root: &Root, place: &Path) -> Option<PathBuf> {
    let origin = origin(place);
    match move_out(root, place, &origin) {
        Ok(()) => Some(origin),
        Err(StagingError::Open(OpenError::Gone)) => None,
        Err(_) => Some(place.to_owned()),
    }
}

/// The paths of the files that belong to a folder below the root and lie set aside: in the private folder there, or beside their
/// places.
pub fn belonging_to(root: &Root, folder: &Path) -> HashSet<PathBuf> {
    let mut files = leftovers(root, folder);
    let mut tree = Tree::of(root, folder);
    while let Some(entry) =
        tree.next(|path, kind| kind != FileType::Directory && path.file_name().is_some_and(is_beside))
    {
        files.extend(entry.ok().filter(|entry| entry.kind != FileType::Directory).map(|entry| entry.path.to_owned()));
    }
    files.iter().map(|place| origin(place)).collect()
}

/// The places of all files in the private folder of the folder `below` the root.
pub(in crate::removal) fn leftovers(root: &Root, below: &Path) -> Vec<PathBuf> {
    let folder = below.join(PRIVATE);
    match private_folder::open(root, below) {
        Ok(private) => {
            let files = files_below(&private).filter(|path| path != Path::new(LOCK));
            files.map(|path| folder.join(path)).collect()
        }
        // The folder may hold what an earlier run of another user set aside: nobody may think that there is nothing.
        Err(error) => {
            private_folder::warn_once(root, below, &error);
            Vec::new()
        }
    }
}

/// The paths of all files below an open folder; no link is followed. What can't be read is skipped: it stays where it is.
fn files_below(dir: &OwnedFd) -> impl Iterator<Item = PathBuf> {
    let mut tree = Tree::below(dir, Path::new(""));
    std::iter::from_fn(move || {
        loop {
            let entry = tree.next(|_, kind| matches!(kind, FileType::Directory | FileType::RegularFile))?;
            if let Ok(Entry { kind: FileType::RegularFile, path, .. }) = entry {
                return Some(path.to_owned());
            }
        }
    })
}

/// Removes the private folder below a root where no file lies in it any more. Only what is reached from the open root without a
/// link: by a link of that name the empty folders of any other folder were removed once. What lies at the root's path by now may be
/// another process's.
pub fn tidy(root: &Root) {
    if let Ok(private) = private_folder::open(root, Path::new("")) {
        remove_empty_folders(&private);
        if root.has_lock_file() {
            unlinkat(&private, LOCK, AtFlags::empty()).ok();
        }
        // Not empty, or gone already: both are fine.
        unlinkat(root.dir(), PRIVATE, AtFlags::REMOVEDIR).ok();
    }
}

/// Removes the empty folders below the private folder, the deepest first. A folder that is not empty stays.
fn remove_empty_folders(private: &OwnedFd) {
    let mut tree = Tree::below(private, Path::new("")).with_left();
    while let Some(entry) = tree.next(|_, kind| kind == FileType::Directory) {
        if let Ok(Entry { left: true, path, dir, .. }) = entry {
            unlinkat(dir, path.file_name().unwrap_or_default(), AtFlags::REMOVEDIR).ok();
        }
    }
}
