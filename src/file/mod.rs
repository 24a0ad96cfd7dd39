//! A local file: its identity ([`FileStamp`]), its safe opening ([`Root`]), and whether anybody still writes it ([`lease`]).

mod beneath;
#[cfg(test)]
pub(crate) mod few_descriptors;
mod filesystem;
pub mod lease;
pub mod lock;
pub mod mounts;
mod opened;
mod path_rule;
mod root;
pub(crate) mod staged_name;
mod tree;

use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::Stat;

pub(crate) use beneath::beneath_folder;
pub use opened::{OpenError, Opened, SpecialFile, hard_links_are_protected, look_at};
pub use path_rule::{ControlledPath, FolderError};
pub use root::{ReopenError, Root};
pub(crate) use tree::{Entry, Tree, Unreadable};

/// The folder that is ours in each watched folder: files wait there between their receipt and their removal. Never
/// watched, never uploaded.
pub const PRIVATE: &str = ".astran-backup";
/// The lock file's name in the private folder: no file that was set aside.
pub(crate) const LOCK: &str = "lock";
/// How the name of a file begins that waits beside its own place, where there can be no such folder.
pub(crate) const BESIDE: &str = ".astran-backup~";

/// Which file, and which state of it: what must not have changed between upload and removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileStamp {
    /// The file system's number.
    pub device: u64,
    /// The inode's number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of content or inode (a rename changes it), in nanoseconds since 1970.
    pub ctime: i64,
}

impl FileStamp {
    /// Whether the content is the same as far as the inode tells, though the file may have been renamed meanwhile.
    pub fn same_content(&self, other: &Self) -> bool {
        self.device == other.device && self.same_file(other)
    }

    /// The same across reboots, which may change a device's number.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.inode, self.size, self.mtime) == (other.inode, other.size, other.mtime)
    }
}

impl From<&Stat> for FileStamp {
    // The fields' types differ between platforms.
    #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::cast_possible_wrap)]
    fn from(stat: &Stat) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            mtime: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            ctime: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// A file that nobody writes any more: all that passes from watching to uploading.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The folder that it lies in.
    pub root: Arc<Root>,
    /// Where it lies now, below the root.
    pub relative: PathBuf,
    /// Where it lay when it was found, below the root: what it is called. Differs from `relative` only for a file that
    /// was set aside and could not be put back because its name was taken by then.
    pub origin: PathBuf,
    /// Its size when it settled, in bytes; `None` where nobody looked. What is opened may have another.
    pub size: Option<u64>,
}

impl Settled {
    /// The same, of this size when it settled.
    #[must_use]
    pub fn of_size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// A file at the place where it was found.
    pub fn new(root: Arc<Root>, relative: PathBuf) -> Self {
        let origin = staged_name::origin(&relative);
        Self { root, relative, origin, size: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: FileStamp = FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };

    #[test]
    fn another_inode_size_or_time_is_another_content_and_a_rename_or_a_reboot_is_not() {
        for other in [FileStamp { inode: 9, ..STAMP }, FileStamp { size: 9, ..STAMP }, FileStamp { mtime: 9, ..STAMP }]
        {
            assert!(!other.same_file(&STAMP) && !other.same_content(&STAMP), "{other:?}");
        }
        let (renamed, rebooted) = (FileStamp { ctime: 9, ..STAMP }, FileStamp { device: 9, ..STAMP });
        assert!(renamed.same_content(&STAMP) && renamed.same_file(&STAMP));
        assert!(!rebooted.same_content(&STAMP) && rebooted.same_file(&STAMP));
    }
}
