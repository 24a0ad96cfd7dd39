//! Removing the sub-folders that this program has emptied (`prune_empty`).
//!
//! Only `rmdir` is used, which the kernel refuses for a folder that holds anything: no file can be lost here. What is checked beside that
//! protects folders that are to stay:
//!
//! - Each candidate is the very folder that a file was taken from, by device, inode and time of birth. A folder of the same name that a
//!   writer has made since is another one.
//! - A folder stays while a file that belongs to it is set aside, for that file may have to be put back. Such files are listed after the
//!   folder was seen to be empty: a file that left it before is in the list.
//! - The root itself is never removed. All is reached from the open root, through no link.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, unlinkat};

use super::staging::leftovers;
use crate::failpoint::failpoint;
use crate::file::staged_name::origin;
use crate::file::{Root, Settled, beneath_folder};

/// Identifies one folder for good: its number may be given to another one once it is removed, but not its time of birth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct FolderId {
    device: (u32, u32),
    inode: u64,
    born: (i64, u32),
}

/// The sub-folder that a file is taken from, and that may be empty afterwards.
#[derive(Debug, Clone)]
pub(super) struct Parent {
    root: Arc<Root>,
    /// Below the root; never empty.
    folder: PathBuf,
    id: FolderId,
}

impl Parent {
    /// The folder that a file lies in now. `None` for the root, and where the file system does not tell when a folder was made.
    pub(super) fn of(file: &Settled) -> Option<Self> {
        let folder = file.origin.parent().filter(|folder| !folder.as_os_str().is_empty())?;
        let id = FolderId::of(&beneath_folder(file.root.dir(), folder).ok()?)?;
        Some(Self { root: Arc::clone(&file.root), folder: folder.to_owned(), id })
    }

    fn key(&self) -> (*const Root, &Path) {
        (Arc::as_ptr(&self.root), &self.folder)
    }

    fn is_empty(&self) -> bool {
        let dir = beneath_folder(self.root.dir(), &self.folder);
        dir.is_ok_and(|dir| FolderId::of(&dir) == Some(self.id) && holds_nothing(&dir))
    }

    /// Removes the folder if it is still the same and empty. Returns the folder that it lay in, which may be empty now, unless that is the
    /// root.
    fn remove(&self) -> Option<Self> {
        let (above, name) = self.root.parent_of(&self.folder).ok()?;
        let dir = beneath_folder(&above, Path::new(name)).ok()?;
        if FolderId::of(&dir) != Some(self.id) {
            return None;
        }
        failpoint("before-prune");
        match unlinkat(&above, name, AtFlags::REMOVEDIR) {
            Ok(()) => tracing::debug!(folder = %self.folder.display(), "removed: uploads have emptied it"),
            Err(errno) => {
                tracing::debug!(folder = %self.folder.display(), "not removed: {errno}");
                return None;
            }
        }
        let folder = self.folder.parent().filter(|folder| !folder.as_os_str().is_empty())?;
        Some(Self { root: Arc::clone(&self.root), folder: folder.to_owned(), id: FolderId::of(&above)? })
    }
}

/// Removes those of the folders that are empty now, then the folders above that are emptied by that, and so on. Blocks.
pub(super) fn prune(mut parents: Vec<Parent>) {
    while !parents.is_empty() {
        parents.sort_by(|one, other| one.key().cmp(&other.key()));
        parents.dedup_by(|one, other| one.key() == other.key());
        parents.retain(Parent::is_empty);
        let needed = needed(&parents);
        parents = parents.iter().filter(|parent| !needed.contains(&parent.key())).filter_map(Parent::remove).collect();
    }
}

/// Those of the folders to which a file belongs that is set aside.
fn needed(parents: &[Parent]) -> HashSet<(*const Root, &Path)> {
    let mut needed = HashSet::new();
    for of_one_root in parents.chunk_by(|one, other| Arc::ptr_eq(&one.root, &other.root)) {
        let root = &of_one_root[0].root;
        let set_aside: Vec<PathBuf> = leftovers(root, Path::new("")).iter().map(|place| origin(place)).collect();
        let folders: HashSet<&Path> = set_aside.iter().flat_map(|file| file.ancestors().skip(1)).collect();
        needed.extend(of_one_root.iter().map(Parent::key).filter(|(_, folder)| folders.contains(folder)));
    }
    needed
}

impl FolderId {
    #[cfg(target_os = "linux")]
    fn of(dir: impl AsFd) -> Option<Self> {
        use rustix::fs::{StatxFlags, statx};
        let stat = statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME).ok()?;
        let is_told = StatxFlags::from_bits_retain(stat.stx_mask).contains(StatxFlags::INO | StatxFlags::BTIME);
        let born = (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec);
        is_told.then_some(Self { device: (stat.stx_dev_major, stat.stx_dev_minor), inode: stat.stx_ino, born })
    }

    /// No time of birth is asked for here, so no folder is removed.
    #[cfg(not(target_os = "linux"))]
    fn of(_: impl AsFd) -> Option<Self> {
        None
    }
}

fn holds_nothing(dir: impl AsFd) -> bool {
    let Ok(mut names) = Dir::read_from(dir) else { return false };
    names.all(|name| name.is_ok_and(|name| matches!(name.file_name().to_bytes(), b"." | b"..")))
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
