//! Receipts are kept for as long as the configuration says: for ever, unless it says otherwise. Failures are kept as long as their
//! files are there, and a day longer, so that people see them.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::budget;
use crate::journal::{AttemptId, Entry, Journal, JournalError};

/// Between two prunings of a daemon.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prunes at once, and once a day from then on.
pub async fn prune_daily(journal: Journal, keep: Duration) {
    let mut last = Moment::now();
    loop {
        let now = Moment::now();
        prune_at(&journal, now.surely(&last), keep).await;
        last = now;
        tokio::time::sleep(DAY).await;
    }
}

/// Deletes the receipts that are older than that; what remains can still be checked.
pub async fn prune(journal: &Journal, keep: Duration) {
    prune_at(journal, SystemTime::now(), keep).await;
}

/// Forgets failures at once, and once a day from then on.
pub async fn forget_failures_daily(journal: Journal) {
    loop {
        forget_failures(&journal).await;
        tokio::time::sleep(DAY).await;
    }
}

/// Forgets failures whose files are gone, and those beyond the most that are kept. Whoever makes files that can't be sent, and takes
/// them away, would fill the disk with them.
pub async fn forget_failures(journal: &Journal) {
    match try_forget(journal).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "failures were forgotten whose files are gone"),
        Err(error) => tracing::warn!("failures whose files are gone can't be forgotten: {error}"),
    }
}

async fn try_forget(journal: &Journal) -> Result<u64, JournalError> {
    let Some(before) = SystemTime::now().checked_sub(budget::FAILURE_KEPT) else { return Ok(0) };
    let (mut count, mut after) = (0, AttemptId(0));
    loop {
        let page = journal.failures_page(before, after).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = last.id;
        let gone = tokio::task::spawn_blocking(move || {
            page.iter().filter(|entry| is_gone(entry)).map(|entry| entry.id).collect()
        });
        // Where looking fails in the middle, nothing is known to be gone.
        count += journal.forget_failures(gone.await.unwrap_or_default()).await?;
    }
}

fn is_gone(entry: &Entry) -> bool {
    let found = std::fs::symlink_metadata(entry.intent.root.join(&entry.intent.relative));
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: SystemTime,
    instant: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { wall: SystemTime::now(), instant: Instant::now() }
    }

    /// What time it is at least: a wall clock that was set forward since `last` may be set back tomorrow, and a receipt
    /// that is gone does not come back. At a start nobody can tell such a clock from a long rest.
    fn surely(&self, last: &Self) -> SystemTime {
        last.wall.checked_add(self.instant - last.instant).map_or(self.wall, |passed| passed.min(self.wall))
    }
}

async fn prune_at(journal: &Journal, now: SystemTime, keep: Duration) {
    match try_prune(journal, now, keep).await {
        Ok(Some(0)) => {}
        Ok(Some(count)) => tracing::info!(count, older_than = ?keep, "receipts were pruned"),
        Ok(None) => tracing::error!("no receipts are pruned, for some are missing or altered: see history --check"),
        // The journal's trouble is told, and waited for, by those who need it.
        Err(error) => tracing::warn!("receipts can't be pruned: {error}"),
    }
}

/// How many; `None` where the chain is broken.
async fn try_prune(journal: &Journal, now: SystemTime, keep: Duration) -> Result<Option<u64>, JournalError> {
    let Some(before) = now.checked_sub(keep) else { return Ok(Some(0)) };
    // Nothing is old enough on most runs, and to look along the whole chain takes its time.
    let oldest = journal.receipts_page(None, 0, 1).await?.pop();
    if oldest.is_none_or(|oldest| oldest.record.entry.stored_at >= Some(before)) {
        return Ok(Some(0));
    }
    prune_if_whole(journal, before).await
}

/// Deletes the receipts that were stored before this time. How many; `None` where the chain is broken: pruning must not
/// hide that.
pub async fn prune_if_whole(journal: &Journal, before: SystemTime) -> Result<Option<u64>, JournalError> {
    if !journal.check().await?.is_whole() {
        return Ok(None);
    }
    journal.prune(before).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_forward_between_two_prunings_makes_no_receipt_older() {
        let last = Moment::now();
        let later = |wall| Moment { wall, instant: last.instant + DAY }.surely(&last);
        let year = 365 * DAY;
        assert_eq!(later(last.wall + DAY), last.wall + DAY);
        assert_eq!(later(last.wall + year), last.wall + DAY);
        assert_eq!(later(last.wall - year), last.wall - year);
        // One that stays ahead is believed the day after.
        let ahead = Moment { wall: last.wall + year, instant: last.instant + DAY };
        let next = Moment { wall: ahead.wall + DAY, instant: ahead.instant + DAY };
        assert_eq!(next.surely(&ahead), next.wall);
    }
}
