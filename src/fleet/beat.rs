//! What a host says of itself to the database, so that an administrator sees which one is in trouble.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, Error};

/// How the host is, apart from what its journal tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Condition {
    /// Files that wait, those in flight included.
    pub(crate) waiting: u64,
    /// What holds up uploads.
    pub(crate) trouble: Option<String>,
}

/// One heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Tells one start of the system from the next.
    pub(super) boot: String,
    /// The host's clock.
    pub(super) now: SystemTime,
    /// Receipts that the database does not have yet.
    pub(super) unshipped: i64,
    /// How old the oldest of them is.
    pub(super) oldest: Duration,
    /// Files that failed.
    pub(super) failed: u64,
    pub(super) condition: Condition,
}

impl Beat {
    pub(super) async fn send(&self, client: &Client) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        let clock =
            i64::try_from(self.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(i64::MAX);
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let (oldest, failed, waiting) =
            (number(self.oldest.as_secs()), number(self.failed), number(self.condition.waiting));
        client
            .execute(
                "SELECT fleet.beat($1, $2, $3, $4, $5, $6, $7, $8)",
                &[&self.boot, &version, &clock, &self.unshipped, &oldest, &failed, &waiting, &self.condition.trouble],
            )
            .await
            .map(drop)
    }
}

/// The system's name for its present start; empty where it has none.
pub(super) fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
