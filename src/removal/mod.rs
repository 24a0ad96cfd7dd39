//! Removing files from the watched folder: the only module that may rename and unlink.
//!
//! A file is removed in two steps with a grace between them, which `tasks` runs for all files: `set_aside` renames it into a
//! private folder of the same file system, so that no new file can be under its name, and `finish` unlinks it there or moves it to
//! another folder. Before and after each step its device, inode, size and times must be those that were uploaded, and nobody may
//! have it open for writing. Otherwise the file is put back and must settle again. To check and then unlink in place loses files to
//! writers that race with it: every second file against a writer that appends in a loop.

#![expect(clippy::disallowed_methods, reason = "this is the module that may")]

mod atomic_file;
mod error;
mod folder;
mod move_file;
mod prune;
mod rename;
mod staged;
mod staging;
mod target;
mod tasks;
#[cfg(test)]
mod test_support;

use std::sync::Arc;
use std::time::Duration;

pub use atomic_file::AtomicFile;
pub use error::{FinishError, NotRemoved, RemovalError, StagingError};
pub(crate) use folder::remove_socket;
pub use folder::{discard, temporary_folder};
use staged::{Staged, finish, set_aside};
pub use staging::{belonging_to, probe, probe_private, put_back, recover, tidy};
pub(crate) use target::open_or_make;
pub use target::{MoveTarget, MoveTargetError, check_move_target};
pub(crate) use tasks::{RemovalRequest, Removals, UploadedFile};

/// How long a file stays set aside before it is unlinked. A writer that had it open across the rename is noticed by then: with no
/// grace 34 of 257,000 racing writes were lost, with 20 ms none of 1.7 million.
pub const GRACE: Duration = Duration::from_secs(1);

/// What becomes of a file that the store has.
#[derive(Debug, Clone)]
pub enum Disposition {
    /// It is unlinked.
    Delete,
    /// It is moved below this folder, under its path below the watched one.
    MoveTo(Arc<MoveTarget>),
}
