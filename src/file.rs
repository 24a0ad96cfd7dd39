//! A file's identity, its safe opening, and whether anybody still writes it.

use std::path::PathBuf;

/// Which file, and which state of it: what must not have changed between upload and removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
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

/// A file that nobody writes any more.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Its path below the watched folder.
    pub relative: PathBuf,
}
