//! Local files: their identity ([`FileStamp`]), opening them safely below a folder ([`Root`]), whether anybody still writes them
//! ([`lease`]), locks against a second instance or upload ([`lock`]), and walks through folders.

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
use tokio::time::Instant;

pub(crate) use beneath::{OpenFolder, beneath_folder};
pub(crate) use opened::is_scarcity;
pub use opened::{OpenError, Opened, SpecialFile, hard_links_are_protected, look_at};
pub use path_rule::{ControlledPath, FolderError};
pub use root::{ReopenError, Root};
pub(crate) use tree::{Entry, Tree, Unreadable};

/// The name of this program's private folder in each watched folder: files wait there between their receipt and their removal. Never
/// watched, never uploaded.
pub const PRIVATE: &str = ".astran-backup";
/// The lock file's name in the private folder. It is not a file that was set aside.
pub(crate) const LOCK: &str = "lock";
/// The beginning of the name of a file that waits beside its own place, where there can be no private folder.
pub(crate) const BESIDE: &str = ".astran-backup~";

/// Identifies a file and one state of it: what must not have changed between upload and removal.
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

    /// [`FileStamp::same_content`] across reboots, which may change a device's number.
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

/// A file that nobody writes any more: all that watching hands over to uploading.
#[derive(Debug, Clone)]
pub struct Settled {
    /// The folder that it lies in.
    pub root: Arc<Root>,
    /// Where it lies now, below the root.
    pub relative: PathBuf,
    /// Where the file belongs, below the root: the name that it is uploaded and reported under. Follows from `relative`, and differs
    /// from it only for a file that was set aside and could not be put back because its name was taken by then. Kept, because it is
    /// asked for a dozen times a file.
    pub origin: PathBuf,
    /// Its size when it settled, in bytes; `None` where nobody looked. The file that is opened later may have another size.
    pub size: Option<u64>,
    /// When the watch first saw it; `None` where no watch did.
    pub found: Option<Instant>,
}

impl Settled {
    /// Sets the size that the file had when it settled.
    #[must_use]
    pub fn of_size(self, size: u64) -> Self {
        Self { size: Some(size), ..self }
    }

    /// Sets when the watch first saw the file.
    #[must_use]
    pub(crate) fn found_at(self, found: Instant) -> Self {
        Self { found: Some(found), ..self }
    }

    /// The same file, which lies at this place below the root now.
    #[must_use]
    pub fn moved_to(&self, relative: PathBuf) -> Self {
        let origin = staged_name::origin(&relative);
        Self { relative, origin, root: Arc::clone(&self.root), ..*self }
    }

    /// A file that was found at this place below the root.
    pub fn new(root: Arc<Root>, relative: PathBuf) -> Self {
        let origin = staged_name::origin(&relative);
        Self { root, relative, origin, size: None, found: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: FileStamp = FileStamp { device: 1, inode: 2, size: 3, mtime: 4, ctime: 5 };

    #[test]
    fn a_new_inode_size_or_time_is_new_content_and_a_rename_or_reboot_is_not() {
        for other in [FileStamp { inode: 9, ..STAMP }, FileStamp { size: 9, ..STAMP }, FileStamp { mtime: 9, ..STAMP }]
        {
            assert!(!other.same_file(&STAMP) && !other.same_content(&STAMP), "{other:?}");
        }
        let (renamed, rebooted) = (FileStamp { ctime: 9, ..STAMP }, FileStamp { device: 9, ..STAMP });
        assert!(renamed.same_content(&STAMP) && renamed.same_file(&STAMP));
        assert!(!rebooted.same_content(&STAMP) && rebooted.same_file(&STAMP));
    }
}
