//! Receipts are kept for as long as the configuration says: for ever, unless it says otherwise.

use std::time::{Duration, SystemTime};

use crate::journal::{Journal, JournalError};

/// Between two prunings of a daemon.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prunes at once, and once a day from then on.
pub async fn prune_daily(journal: Journal, keep: Duration) {
    loop {
        prune(&journal, keep).await;
        tokio::time::sleep(DAY).await;
    }
}

/// Deletes the receipts that are older than that; what remains can still be checked.
pub async fn prune(journal: &Journal, keep: Duration) {
    match try_prune(journal, keep).await {
        Ok(Some(0)) => {}
        Ok(Some(count)) => tracing::info!(count, older_than = ?keep, "receipts were pruned"),
        Ok(None) => tracing::error!("no receipts are pruned, for some are missing or altered: see history --check"),
        // The journal's trouble is told, and waited for, by those who need it.
        Err(error) => tracing::warn!("receipts can't be pruned: {error}"),
    }
}

/// How many; `None` where the chain is broken: pruning must not hide that.
async fn try_prune(journal: &Journal, keep: Duration) -> Result<Option<u64>, JournalError> {
    let Some(before) = SystemTime::now().checked_sub(keep) else { return Ok(Some(0)) };
    // Nothing is old enough on most runs, and to look along the whole chain takes its time.
    let oldest = journal.receipts_page(None, 0, 1).await?.pop();
    if oldest.is_none_or(|oldest| oldest.record.entry.stored_at >= Some(before)) {
        return Ok(Some(0));
    }
    if !journal.check().await?.is_whole() {
        return Ok(None);
    }
    journal.prune(before).await.map(Some)
}
