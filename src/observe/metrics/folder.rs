//! The metrics of one folder, as those who watch and upload count in them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::{Counter, FolderLabel, Gauge, Metrics, Timestamp};
use crate::observe::health::Health;
use crate::observe::waiting::Waiting;

/// The metrics of one folder. Clones share them.
#[derive(Debug, Clone)]
pub struct FolderMetrics {
    pub(super) label: FolderLabel,
    pub(super) stored: Counter,
    pub(super) bytes: Counter,
    pub(super) last: Family<FolderLabel, Timestamp>,
    pub(super) durations: Histogram,
    pub(super) drop_to_stored: Histogram,
    /// Files that failed.
    pub failed: Counter,
    /// Files that can't go on until a person mends something.
    pub waits: Counter,
    /// Files that changed meanwhile and are uploaded again.
    pub again: Counter,
    /// Files that were finished before and have not changed.
    pub skipped: Counter,
    /// Files that disappeared before they were read.
    pub gone: Counter,
    /// Files that a stop of the program left for the next run.
    pub left: Counter,
    /// Stored files that no file system event announced.
    pub unannounced: Counter,
    /// How often file system events were lost.
    pub overflows: Counter,
    /// Files that are being uploaded now.
    pub under_way: Gauge,
    /// Files that wait, those that are being uploaded included.
    pub waiting: Waiting,
}

impl FolderMetrics {
    /// Metrics that no scrape shows, for commands and tests.
    pub fn detached() -> Self {
        Metrics::new(&Health::default()).folder(Path::new(""))
    }

    /// Counts a stored file of so many bytes.
    pub fn stored(&self, bytes: u64) {
        self.stored.inc();
        self.bytes.inc_by(bytes);
        // A clock before 1970 is wrong anyhow; it counts as 1970.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last.get_or_create(&self.label).set(now.as_secs_f64());
    }

    /// Counts the time from when the watch found a file to its receipt, which has just been written.
    pub(crate) fn receipted(&self, found: Instant) {
        self.drop_to_stored.observe(found.elapsed().as_secs_f64());
    }

    /// Counts the duration of a successful upload.
    pub fn uploaded(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
    }
}
