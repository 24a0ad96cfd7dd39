//! Makes a snapshot from what the parts of the program know, and from a look at the folders.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::ZonedDateTime;
use tokio::time::Instant;

use super::{FileStatus, FolderStatus, Snapshot, Sum, Transfer, Trouble, Waiting, utc};
use crate::inventory::{self, FileHere, Inventory, Limits, Look, Standing};
use crate::journal::{Journal, StoredSince};
use crate::observe::health::{Checked, Component, Health};
use crate::observe::rates::{Rates, time_left};
use crate::observe::transfers::{TransferInFlight, Transfers};
use crate::observe::waiting;
use crate::upload::RateLimiter;
use crate::vault::RemotePath;

/// A look at the folders is used for so long: several people may watch the page.
const FRESH: Duration = Duration::from_secs(2);

/// A watched folder.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) look: Look,
    pub(crate) dest: RemotePath,
    /// How many files wait, as its watch counts them; `None` where none runs.
    pub(crate) waiting: Option<waiting::Waiting>,
}

/// Where a snapshot comes from. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Gatherer(Arc<Sources>);

#[derive(Debug)]
struct Sources {
    health: Health,
    journal: Option<Journal>,
    user: Option<String>,
    places: Mutex<Vec<Place>>,
    /// Only of a process that uploads.
    running: OnceLock<Running>,
    rates: Mutex<Rates>,
    /// The last look at all folders, and when it was. The lock is held during a look, so that others wait for its result.
    looked: Mutex<Option<(Instant, Vec<Inventory>)>>,
    stored: Mutex<StoredSince>,
}

#[derive(Debug)]
struct Running {
    since: SystemTime,
    transfers: Transfers,
    rate: Arc<RateLimiter>,
}

impl Gatherer {
    /// A gatherer for no folder yet. `user` is who logs in; without a journal nothing is known of earlier uploads.
    pub(crate) fn new(health: Health, journal: Option<Journal>, user: Option<String>) -> Self {
        Self(Arc::new(Sources {
            health,
            journal,
            user,
            places: Mutex::default(),
            running: OnceLock::new(),
            rates: Mutex::default(),
            looked: Mutex::default(),
            stored: Mutex::default(),
        }))
    }

    /// The journal.
    pub(crate) fn journal(&self) -> Option<Journal> {
        self.0.journal.clone()
    }

    /// Adds a folder. One that joins again takes the place of its earlier self.
    pub(crate) fn add(&self, place: Place) {
        let mut places = locked(&self.0.places);
        places.retain(|known| known.look.root() != place.look.root());
        places.push(place);
    }

    /// From now on this process uploads.
    pub(crate) fn uploads(&self, transfers: Transfers, rate: Arc<RateLimiter>) {
        self.0.running.get_or_init(|| Running { since: SystemTime::now(), transfers, rate });
    }

    /// Makes a snapshot. Blocks for as long as a look at the folders takes, a few seconds at most unless a file system hangs.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let sources = &*self.0;
        let running = sources.running.get();
        let transfers = running.map(|running| running.transfers.all()).unwrap_or_default();
        let now = Instant::now();
        locked(&sources.rates).look(&transfers, now);
        let stored = self.stored_today();
        let places = locked(&sources.places).clone();
        let mut looked = locked(&sources.looked);
        if looked.as_ref().is_none_or(|(at, all)| at.elapsed() > FRESH || all.len() != places.len()) {
            *looked = Some((Instant::now(), places.iter().map(|place| taken(&place.look)).collect()));
        }
        let inventories = looked.as_ref().map(|(_, all)| all.as_slice()).unwrap_or_default();
        let folders = places.iter().zip(inventories);
        let folders =
            folders.map(|(place, inventory)| self.folder(place, inventory, &transfers, &stored, now)).collect();
        Snapshot {
            running: running.is_some(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: running.map(|_| std::process::id()),
            since: running.map(|running| utc(running.since)),
            user: sources.user.clone(),
            limit_rate: running.and_then(|running| running.rate.current()),
            troubles: sources.health.check_all().into_iter().filter_map(trouble).collect(),
            folders,
        }
    }

    fn stored_today(&self) -> StoredSince {
        let mut stored = locked(&self.0.stored);
        let midnight = ZonedDateTime::now().start_of_day().and_then(|day| SystemTime::try_from(day.timestamp()));
        if let Ok(midnight) = midnight
            && let Some(journal) = &self.0.journal
            && let Err(error) = journal.count_stored(&mut stored, midnight)
        {
            tracing::debug!("what was stored today can't be counted: {error}");
        }
        stored.clone()
    }

    fn folder(
        &self,
        place: &Place,
        inventory: &Inventory,
        transfers: &[TransferInFlight],
        stored: &StoredSince,
        now: Instant,
    ) -> FolderStatus {
        let root = place.look.root();
        let transfers: Vec<_> = transfers.iter().filter(|upload| upload.folder == root).collect();
        let in_flight = |file: &&FileHere| transfers.iter().any(|upload| upload.path == file.relative);
        let here = inventory.files.iter().filter(|file| !in_flight(file));
        let stored = stored.of(root);
        let rates = locked(&self.0.rates);
        FolderStatus {
            local_path: root.to_string_lossy().into_owned(),
            remote_path: place.dest.to_string(),
            stored_today: Sum { files: stored.files, bytes: stored.bytes },
            waiting: place.waiting.as_ref().map_or_else(|| waiting_here(inventory), |counted| known(counted, now)),
            failed: inventory.files.iter().filter(|file| file.standing.needs_a_person()).count() as u64,
            transfers: transfers.iter().map(|upload| transfer(root, upload, rates.of(upload, now))).collect(),
            files: here.map(|file| file_status(root, file)).collect(),
            complete: inventory.complete,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken(look: &Look) -> Inventory {
    inventory::take(look, Limits::default()).unwrap_or_else(|error| {
        tracing::debug!("the journal can't be asked about the files of a folder: {error}");
        Inventory::default()
    })
}

fn known(counted: &waiting::Waiting, now: Instant) -> Waiting {
    let waiting::WaitingFiles { files, bytes, oldest } = counted.get();
    Waiting { files, bytes, oldest_seconds: oldest.map(|at| now.duration_since(at).as_secs()) }
}

/// Without a daemon: the files that the next start takes up.
fn waiting_here(inventory: &Inventory) -> Waiting {
    let waits = |file: &&FileHere| {
        matches!(
            file.standing,
            Standing::Ready { .. }
                | Standing::Settling { .. }
                | Standing::OpenForWriting { .. }
                | Standing::Pending { .. }
        )
    };
    let files: Vec<_> = inventory.files.iter().filter(waits).collect();
    let bytes = files.iter().filter_map(|file| file.size).sum();
    Waiting { files: files.len() as u64, bytes, oldest_seconds: None }
}

fn transfer(root: &Path, upload: &TransferInFlight, rate: Option<u64>) -> Transfer {
    Transfer {
        local_path: root.join(&upload.path).to_string_lossy().into_owned(),
        size: upload.size,
        sent: upload.sent,
        rate,
        seconds_left: time_left(upload, rate).map(|left| left.as_secs()),
    }
}

fn file_status(root: &Path, file: &FileHere) -> FileStatus {
    let standing = &file.standing;
    FileStatus {
        local_path: root.join(&file.relative).to_string_lossy().into_owned(),
        size: file.size,
        standing: standing.word().to_owned(),
        reason: standing.to_string(),
        since: standing.since().map(utc),
        mend: standing.mend(),
        needs_a_person: standing.needs_a_person(),
    }
}

fn trouble(checked: Checked) -> Option<Trouble> {
    let (component, folder) = match checked.component {
        Component::Start => ("start", None),
        Component::Service => ("service", None),
        Component::Login => ("login", None),
        Component::Journal => ("journal", None),
        Component::Destination(folder) => ("destination", Some(folder)),
        Component::Folder(folder) => ("folder", Some(folder)),
        Component::Progress => ("progress", None),
    };
    Some(Trouble { component: component.to_owned(), folder, reason: checked.trouble?, since: checked.since.map(utc) })
}
