//! Whether the service finds documents by their path.

use std::sync::atomic::{AtomicU8, Ordering};

/// Learnt from the service's answers, so that a request that can't succeed is not repeated for each path.
#[derive(Debug, Default)]
pub(super) struct PathLookup(AtomicU8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathLookupSupport {
    Unknown,
    Works,
    Absent,
}

impl PathLookup {
    pub(super) fn get(&self) -> PathLookupSupport {
        match self.0.load(Ordering::Relaxed) {
            1 => PathLookupSupport::Works,
            2 => PathLookupSupport::Absent,
            _ => PathLookupSupport::Unknown,
        }
    }

    pub(super) fn set(&self, support: PathLookupSupport) {
        self.0.store(support as u8, Ordering::Relaxed);
    }
}
