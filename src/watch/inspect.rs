//! One look at a file. Blocks for as long as the file system takes.

use std::path::Path;

use super::settle::Observation;
use crate::file::lease::Writers;
use crate::file::{OpenError, Root};

/// What lies at a path below the root, and whether anybody writes it.
pub(super) fn look(root: &Root, relative: &Path) -> Observation {
    match root.open_file(relative) {
        Ok(opened) => match opened.writers() {
            Writers::None(_) => Observation::Quiet(opened.stamp),
            Writers::Some => Observation::Busy(opened.stamp),
            Writers::Unknown(_) => Observation::Unsure(opened.stamp),
        },
        Err(OpenError::Gone) => Observation::Gone,
        Err(OpenError::Folder) => Observation::Folder,
        Err(error @ (OpenError::NotRegular(_) | OpenError::ForeignLink | OpenError::UnprotectedLink)) => {
            tracing::debug!(file = %relative.display(), "left alone: {error}");
            Observation::Unfit
        }
        Err(error) if error.is_scarcity() => Observation::Scarce,
        // The pipeline opens it again, fails too, and keeps the reason where people look for it.
        Err(OpenError::Io(_)) => Observation::Unreadable,
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::file::lease::LeaseBreaks;

    /// The one file system without leases that every machine has.
    #[tokio::test]
    async fn where_no_lease_tells_of_writers_a_file_is_not_called_quiet() {
        LeaseBreaks::install().unwrap();
        let root = Root::open(Path::new("/proc/self")).unwrap();
        assert!(matches!(look(&root, Path::new("status")), Observation::Unsure(_)));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(!root.leases_tell_of_writers() || matches!(look(&root, Path::new("x")), Observation::Quiet(_)));
    }

    #[test]
    fn what_can_not_be_opened_is_not_called_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(look(&root, Path::new(&"long".repeat(100))), Observation::Unreadable);
        assert_eq!(look(&root, Path::new("none")), Observation::Gone);
    }
}
