//! What a scrape of the metrics gets beside what is counted: one look at the watches, the uploads in flight and the journal.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use tokio::time;

use super::Gatherer;
use super::gather::{FRESH, Place};
use super::looks::Latest;
use crate::budget;
use crate::inventory;
use crate::journal::Journal;
use crate::observe::http::Source;
use crate::observe::metrics::{FolderLook, Look, TokenRequests, WaitingLook};
use crate::observe::transfers::TransferInFlight;
use crate::observe::waiting::{Waiting, WaitingFiles};

/// The look for the listener, from this process.
pub(crate) fn scrape_source(gatherer: Gatherer, tokens: TokenRequests) -> Source<Look> {
    Source::new(move || gatherer.look_for_scrape(tokens.clone()))
}

/// The failed files of a folder, which are counted anew from time to time; `None` where the journal can't be asked.
pub(super) type LatestFailed = Latest<Option<u64>>;

impl Gatherer {
    /// Blocks for as long as a look at the failed files takes, [`budget::SCRAPE_LOOK`] at most, also where a file system hangs.
    fn look_for_scrape(&self, tokens: TokenRequests) -> Look {
        let transfers = self.transfers();
        let until = Instant::now() + budget::SCRAPE_LOOK;
        let folders = self.places_and_failed().into_iter();
        let folders = folders.map(|(place, latest)| self.folder_for_scrape(&place, &latest, &transfers, until));
        Look {
            folders: folders.collect(),
            sent: self.bytes_sent(),
            journal: self.journal().and_then(|journal| size_of(&journal)),
            reload_failed: self.last_reload().failed().is_some(),
            tokens,
        }
    }

    fn folder_for_scrape(
        &self,
        place: &Place,
        latest: &LatestFailed,
        transfers: &[TransferInFlight],
        until: Instant,
    ) -> FolderLook {
        let root = place.look.root();
        let waiting = place.waiting.as_ref().and_then(Waiting::get);
        let in_flight = transfers.iter().filter(|upload| upload.folder == root).map(|upload| upload.size);
        FolderLook {
            folder: root.display().to_string(),
            waiting: waiting.map(|counted| waiting_now(counted, time::Instant::now())),
            failed: self.failed_in(root, latest, until),
            in_flight: in_flight.sum(),
        }
    }

    /// How many failed files lie in a folder, as it was counted last. A count that takes long is not waited for.
    fn failed_in(&self, root: &Path, latest: &LatestFailed, until: Instant) -> Option<u64> {
        let (journal, root) = (self.journal()?, root.to_owned());
        let count = move || failed(&journal, root);
        let known = latest.get(FRESH, (until, budget::SCRAPE_LOOK), count);
        known.newest.as_deref().copied().flatten()
    }
}

fn waiting_now(counted: WaitingFiles, now: time::Instant) -> WaitingLook {
    let WaitingFiles { files, bytes, oldest } = counted;
    WaitingLook { files, bytes, oldest: oldest.map(|at| now.duration_since(at)).unwrap_or_default() }
}

fn failed(journal: &Journal, root: PathBuf) -> Option<u64> {
    let found = inventory::failed_here(journal, &[root], SystemTime::now(), budget::INVENTORY_TIME);
    match found {
        Ok(found) => Some(found.count),
        Err(error) => {
            tracing::debug!("the metrics can't count failed files: {error}");
            None
        }
    }
}

fn size_of(journal: &Journal) -> Option<u64> {
    match journal.size_on_disk() {
        Ok(size) => Some(size),
        Err(error) => {
            tracing::debug!("the size of the journal can't be read: {error}");
            None
        }
    }
}
