//! One look at a file. Blocks for as long as the file system takes.

use std::path::Path;

use super::settle::Seen;
use crate::file::lease::Writers;
use crate::file::{OpenError, Root};

/// What lies at a path below the root, and whether anybody writes it.
pub(super) fn look(root: &Root, relative: &Path) -> Seen {
    match root.open_file(relative) {
        Ok(opened) => match opened.writers() {
            Writers::None(_) => Seen::Quiet(opened.version),
            Writers::Some => Seen::Busy(opened.version),
            Writers::Unknown(_) => Seen::Unsure(opened.version),
        },
        Err(OpenError::Gone) => Seen::Gone,
        Err(OpenError::Folder) => Seen::Folder,
        Err(error @ (OpenError::NotRegular(_) | OpenError::ForeignLink)) => {
            tracing::debug!(file = %relative.display(), "left alone: {error}");
            Seen::Unfit
        }
        // The pipeline opens it again, fails too, and keeps the reason where people look for it.
        Err(OpenError::Io(_)) => Seen::Unreadable,
    }
}
