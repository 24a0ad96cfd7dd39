//! How many files a run stored, and how many it did not.

use crate::observe::metrics::FolderMetrics;
use crate::upload::Outcome;
use crate::vault::VaultError;

/// The result of a run, which decides its exit code.
#[derive(Debug, Default)]
pub struct Tally {
    /// Files that the vault has now.
    pub stored: u64,
    /// The bytes of these files.
    pub bytes: u64,
    /// Files that failed or could not be read.
    pub failed: u64,
    /// Files that wait for something that a person must mend.
    pub waiting: u64,
    /// Files that somebody writes: they are left to the next run, which is no failure.
    pub still_open: u64,
    /// Files that the vault had already, or that have failed before, and have not changed: nothing was sent.
    pub skipped: u64,
    /// Files left for later, because of a stop or because the service could not be used.
    pub left: u64,
    /// The error that ended the run before all files were done.
    pub stopped: Option<VaultError>,
}

impl Tally {
    /// Counts the outcome of one file.
    pub fn count(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Stored { stored, .. } => {
                self.stored += 1;
                self.bytes += stored.size;
            }
            Outcome::Failed { .. } => self.failed += 1,
            Outcome::Blocked { .. } => self.waiting += 1,
            Outcome::Skipped { .. } | Outcome::StoredBefore { .. } => self.skipped += 1,
            Outcome::Left => self.left += 1,
            Outcome::Again { .. } | Outcome::Gone => {}
        }
    }

    /// Adds the result of another folder.
    pub fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.bytes += other.bytes;
        self.failed += other.failed;
        self.waiting += other.waiting;
        self.still_open += other.still_open;
        self.skipped += other.skipped;
        self.left += other.left;
        self.stopped = self.stopped.take().or(other.stopped);
    }
}

/// Counts the outcome of one file in the metrics of its folder.
pub(super) fn count_in_metrics(counts: &FolderMetrics, outcome: &Outcome) {
    match outcome {
        Outcome::Stored { stored, .. } => counts.stored(stored.size),
        Outcome::Failed { .. } => drop(counts.failed.inc()),
        Outcome::Blocked { .. } => drop(counts.waits.inc()),
        Outcome::Again { .. } => drop(counts.again.inc()),
        Outcome::Skipped { .. } | Outcome::StoredBefore { .. } => drop(counts.skipped.inc()),
        Outcome::Gone => drop(counts.gone.inc()),
        Outcome::Left => drop(counts.left.inc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upload::{BlockedBy, Failure};

    #[test]
    fn each_file_that_is_not_done_shows_in_the_tally() {
        let mut tally = Tally::default();
        let failed = Outcome::Failed { reason: Failure::Internal, moved: None };
        for outcome in [failed, Outcome::Blocked { reason: BlockedBy::LargeFiles }] {
            tally.count(&outcome);
        }
        tally.count(&Outcome::Left);
        tally.count(&Outcome::Skipped { failed: false });
        let other =
            Tally { stored: 1, bytes: 5, failed: 10, waiting: 10, still_open: 3, skipped: 10, left: 10, stopped: None };
        tally.add(other);
        assert_eq!((tally.stored, tally.bytes, tally.failed), (1, 5, 11));
        assert_eq!((tally.waiting, tally.still_open, tally.skipped, tally.left), (11, 3, 11, 11));
    }
}
