//! One inspection of a file. Blocks for as long as the file system takes.

use std::path::Path;

use super::settle::Observation;
use crate::file::lease::Writers;
use crate::file::{OpenError, Root};

/// Tells what lies at a path below the root, and whether a process writes it.
pub(super) fn inspect(root: &Root, relative: &Path) -> Observation {
    match root.open_file(relative) {
        Ok(opened) => {
            let (writers, stamp) = (opened.writers(), opened.stamp);
            // Closed first, so that the lease, which is given up next, needs no call of its own.
            drop(opened);
            match writers {
                Writers::None(_) => Observation::Quiet(stamp),
                Writers::Some => Observation::Busy(stamp),
                Writers::Unknown(_) => Observation::WritersUnknown(stamp),
            }
        }
        Err(OpenError::Gone) => Observation::Gone,
        Err(OpenError::Folder) => Observation::Folder,
        Err(error @ (OpenError::NotRegular(_) | OpenError::ForeignLink | OpenError::UnprotectedLink)) => {
            tracing::debug!(file = %relative.display(), "left alone: {error}");
            Observation::NotUploadable
        }
        Err(error) if error.is_scarcity() => Observation::Scarce,
        // The upload opens the file again, fails too, and records the reason in the journal, where people look for it.
        Err(OpenError::Io(_)) => Observation::Unreadable,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::file::lease::LeaseBreaks;

    /// `/proc` is the one file system without leases that every machine has.
    #[tokio::test]
    async fn a_file_is_not_called_quiet_where_no_lease_can_tell() {
        LeaseBreaks::install().unwrap();
        let root = Root::open(Path::new("/proc/self")).unwrap();
        assert!(matches!(inspect(&root, Path::new("status")), Observation::WritersUnknown(_)));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(!root.leases_tell_of_writers() || matches!(inspect(&root, Path::new("x")), Observation::Quiet(_)));
    }

    #[test]
    fn a_file_that_can_not_be_opened_is_not_called_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(inspect(&root, Path::new(&"long".repeat(100))), Observation::Unreadable);
        assert_eq!(inspect(&root, Path::new("none")), Observation::Gone);
    }
}
