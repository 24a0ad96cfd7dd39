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
            Writers::Unknown(_) | Writers::NotAllowed => Seen::Unsure(opened.version),
        },
        Err(OpenError::Gone) => Seen::Gone,
        Err(OpenError::Folder) => Seen::Folder,
        Err(error @ (OpenError::NotRegular(_) | OpenError::ForeignLink | OpenError::UnprotectedLink)) => {
            tracing::debug!(file = %relative.display(), "left alone: {error}");
            Seen::Unfit
        }
        Err(error) if error.is_scarcity() => Seen::Scarce,
        // The pipeline opens it again, fails too, and keeps the reason where people look for it.
        Err(OpenError::Io(_)) => Seen::Unreadable,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::file::lease::Breaks;

    /// The one file system without leases that every machine has.
    #[tokio::test]
    async fn where_no_lease_tells_of_writers_a_file_is_not_called_quiet() {
        Breaks::install().unwrap();
        let root = Root::open(Path::new("/proc/self")).unwrap();
        assert!(matches!(look(&root, Path::new("status")), Seen::Unsure(_)));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(!root.leases_tell_of_writers() || matches!(look(&root, Path::new("x")), Seen::Quiet(_)));
    }

    #[test]
    fn what_can_not_be_opened_is_not_called_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(look(&root, Path::new(&"long".repeat(100))), Seen::Unreadable);
        assert_eq!(look(&root, Path::new("none")), Seen::Gone);
    }
}
