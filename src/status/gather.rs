//! Makes a snapshot from what the parts of the program know, and from a look at the folders.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::ZonedDateTime;
use tokio::time::{Instant, sleep};

use super::looks::{Known, Latest};
use super::scrape::LatestFailed;
use super::{FailedReload, FileStatus, FolderStatus, Snapshot, Sum, Transfer, Trouble, Waiting};
use crate::budget;
use crate::events::LocalPath;
use crate::inventory::{self, FileHere, Inventory, Limits, Look, Standing};
use crate::journal::{Journal, StoredSince};
use crate::measure::utc;
use crate::observe::health::{Checked, Component, Health};
use crate::observe::last_reload::LastReload;
use crate::observe::rates::{Rates, time_left};
use crate::observe::transfers::{TransferInFlight, Transfers};
use crate::observe::waiting;
use crate::upload::RateLimiter;
use crate::vault::RemotePath;

/// A look at the folders is used for so long: several people may watch the page.
pub(super) const FRESH: Duration = Duration::from_secs(2);
/// The time between two samples of health and uploads.
const SAMPLE: Duration = Duration::from_secs(2);

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
    /// When this process started, if it is a daemon.
    daemon_since: Option<SystemTime>,
    health: Health,
    journal: Mutex<Option<Journal>>,
    user: Option<String>,
    places: Mutex<Vec<Watched>>,
    /// From when the daemon uploads: before that it may wait for the service.
    uploads: OnceLock<(Transfers, Arc<RateLimiter>)>,
    rates: Mutex<Rates>,
    stored: Mutex<StoredSince>,
    last_reload: LastReload,
}

/// A folder, and what the last looks at it found: one for a snapshot, one for a scrape.
type Watched = (Place, Latest<Looked>, LatestFailed);

/// What is said of a daemon in half a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Brief {
    /// Watched folders.
    pub(crate) folders: usize,
    /// Uploads in flight.
    pub(crate) uploads: usize,
    /// Files stored since midnight, local time.
    pub(crate) stored_today: u64,
}

/// What a look at a folder found.
#[derive(Debug, Default)]
struct Looked {
    inventory: Inventory,
    /// Files that need a person.
    failed: u64,
}

impl Gatherer {
    /// A gatherer of a daemon that is being started, for no folder yet. `user` is who logs in.
    pub(crate) fn of_daemon(health: Health, journal: Journal, user: Option<String>) -> Self {
        Self::new(Some(SystemTime::now()), health, Some(journal), user)
    }

    /// A gatherer for no folder yet, where no daemon runs. Without a journal nothing is known of earlier uploads.
    pub(crate) fn without_daemon(health: Health, journal: Option<Journal>, user: Option<String>) -> Self {
        Self::new(None, health, journal, user)
    }

    fn new(daemon_since: Option<SystemTime>, health: Health, journal: Option<Journal>, user: Option<String>) -> Self {
        Self(Arc::new(Sources {
            daemon_since,
            health,
            journal: Mutex::new(journal),
            user,
            places: Mutex::default(),
            uploads: OnceLock::new(),
            rates: Mutex::default(),
            stored: Mutex::default(),
            last_reload: LastReload::default(),
        }))
    }

    /// The journal.
    pub(crate) fn journal(&self) -> Option<Journal> {
        locked(&self.0.journal).clone()
    }

    /// Lets go of the journal and the folders. A task that still holds the gatherer would keep the journal open until the process ends, and its
    /// log would not be folded into it.
    pub(crate) fn close(&self) {
        locked(&self.0.journal).take();
        locked(&self.0.places).clear();
    }

    /// Adds a folder. One that joins again takes the place of its earlier self.
    pub(crate) fn add(&self, place: Place) {
        let mut places = locked(&self.0.places);
        places.retain(|(known, ..)| known.look.root() != place.look.root());
        places.push((place, Latest::default(), LatestFailed::default()));
    }

    /// Removes a folder that is watched no more.
    pub(crate) fn remove(&self, root: &Path) {
        locked(&self.0.places).retain(|(known, ..)| known.look.root() != root);
    }

    /// Says where the uploads of this process are to be seen.
    pub(crate) fn uploads(&self, transfers: Transfers, rate: Arc<RateLimiter>) {
        self.0.uploads.get_or_init(|| (transfers, rate));
    }

    /// Looks at health and uploads every few seconds for ever, though nobody asks: so it is known since when a trouble lasts, and how
    /// fast an upload was just now and not only on the whole.
    pub(crate) async fn keep_sampling(self) {
        loop {
            self.0.health.check_all();
            self.sample(Instant::now());
            sleep(SAMPLE).await;
        }
    }

    /// The uploads in flight, which the rates take note of.
    fn sample(&self, now: Instant) -> Vec<TransferInFlight> {
        let transfers = self.transfers();
        locked(&self.0.rates).look(&transfers, now);
        transfers
    }

    /// How many files wait in all folders, as far as the watches have counted them.
    #[cfg(feature = "fleet")]
    pub(crate) fn files_waiting(&self) -> u64 {
        let places = locked(&self.0.places);
        places.iter().filter_map(|(place, ..)| Some(place.waiting.as_ref()?.get()?.files)).sum()
    }

    /// How many uploads are in flight.
    pub(crate) fn uploads_in_flight(&self) -> usize {
        self.transfers().len()
    }

    /// The uploads in flight.
    pub(super) fn transfers(&self) -> Vec<TransferInFlight> {
        self.0.uploads.get().map(|(transfers, _)| transfers.all()).unwrap_or_default()
    }

    /// How many bytes all uploads have sent since the start.
    pub(super) fn bytes_sent(&self) -> u64 {
        self.0.uploads.get().map_or(0, |(transfers, _)| transfers.sent())
    }

    /// The folders, each with the last count of its failed files.
    pub(super) fn places_and_failed(&self) -> Vec<(Place, LatestFailed)> {
        locked(&self.0.places).iter().map(|(place, _, failed)| (place.clone(), failed.clone())).collect()
    }

    /// How the newest reload of the configuration ended; the caller may set it.
    pub(crate) fn last_reload(&self) -> &LastReload {
        &self.0.last_reload
    }

    /// What is said in half a line. Blocks for a question to the journal; no folder is looked at.
    pub(crate) fn brief(&self) -> Brief {
        let stored = self.stored_today();
        let places = locked(&self.0.places);
        let stored_today = places.iter().map(|(place, ..)| stored.of(place.look.root()).files).sum();
        Brief { folders: places.len(), uploads: self.uploads_in_flight(), stored_today }
    }

    /// Makes a snapshot. Blocks for as long as a look at the folders takes, [`budget::STATUS_LOOK`] at most, also where a file system hangs.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let sources = &*self.0;
        let now = Instant::now();
        let transfers = self.sample(now);
        let stored = self.stored_today();
        let places = locked(&sources.places).clone();
        let looked = self.look_at_all(&places);
        let is_daemon = sources.daemon_since.is_some();
        let mut troubles: Vec<_> =
            sources.health.check_all().into_iter().filter_map(|checked| trouble(checked, is_daemon)).collect();
        troubles.extend(places.iter().zip(&looked).filter_map(|((place, ..), known)| silent(place, known)));
        let folders = places.iter().zip(&looked);
        Snapshot {
            running: is_daemon,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: is_daemon.then(std::process::id),
            since: sources.daemon_since.map(utc),
            user: sources.user.clone(),
            limit_rate: sources.uploads.get().and_then(|(_, rate)| rate.current()),
            failed_reload: sources
                .last_reload
                .failed()
                .map(|failed| FailedReload { at: utc(failed.at), reason: failed.reason }),
            troubles,
            folders: folders.map(|((place, ..), known)| self.folder(place, known, &transfers, &stored, now)).collect(),
        }
    }

    /// Looks at the folders one after the other, so that uploads have the processors. Those that were not looked at for longest come
    /// first: where the time does not suffice for all, the next snapshot has the others.
    fn look_at_all(&self, places: &[Watched]) -> Vec<Known<Looked>> {
        let until = std::time::Instant::now() + budget::STATUS_LOOK;
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_cached_key(|at| places.get(*at).and_then(|(_, latest, _)| latest.made()));
        let mut looked: Vec<(usize, Known<Looked>)> = order
            .into_iter()
            .filter_map(|at| {
                let (place, latest, _) = places.get(at)?;
                let (look, journal) = (place.look.clone(), self.journal());
                Some((
                    at,
                    latest.get(FRESH, (until, budget::STATUS_HANGS), move || {
                        taken(&look, journal.as_ref(), Limits::default())
                    }),
                ))
            })
            .collect();
        looked.sort_by_key(|(at, _)| *at);
        looked.into_iter().map(|(_, known)| known).collect()
    }

    fn stored_today(&self) -> StoredSince {
        let mut stored = locked(&self.0.stored);
        let midnight = ZonedDateTime::now().start_of_day().and_then(|day| SystemTime::try_from(day.timestamp()));
        if let Ok(midnight) = midnight
            && let Some(journal) = self.journal()
            && let Err(error) = journal.count_stored(&mut stored, midnight)
        {
            tracing::debug!("what was stored today can't be counted: {error}");
        }
        stored.clone()
    }

    fn folder(
        &self,
        place: &Place,
        known: &Known<Looked>,
        transfers: &[TransferInFlight],
        stored: &StoredSince,
        now: Instant,
    ) -> FolderStatus {
        let nothing = Looked::default();
        let looked = known.newest.as_deref().unwrap_or(&nothing);
        let inventory = &looked.inventory;
        let root = place.look.root();
        let transfers: Vec<_> = transfers.iter().filter(|upload| upload.folder == root).collect();
        let in_flight = |file: &&FileHere| transfers.iter().any(|upload| upload.path == file.relative);
        let here = inventory.files.iter().filter(|file| !in_flight(file));
        let stored = stored.of(root);
        let counted = place.waiting.as_ref().and_then(waiting::Waiting::get);
        let rates = locked(&self.0.rates);
        FolderStatus {
            path: LocalPath::new(root),
            remote_path: place.dest.to_string(),
            stored_today: Sum { files: stored.files, bytes: stored.bytes },
            waiting: counted.map_or_else(|| waiting_here(inventory), |counted| counted_by_watch(counted, now)),
            failed: looked.failed,
            transfers: transfers.iter().map(|upload| transfer(root, upload, rates.of(upload, now))).collect(),
            files: here.map(|file| file_status(root, file)).collect(),
            complete: inventory.complete && known.is_fresh,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Looks at a folder. Blocks, for ever where its file system does not answer.
fn taken(look: &Look, journal: Option<&Journal>, limits: Limits) -> Looked {
    let mut inventory = inventory::take(look, limits).unwrap_or_else(|error| {
        tracing::debug!("the journal can't be asked about the files of a folder: {error}");
        Inventory::default()
    });
    let needs_a_person = |file: &&FileHere| file.standing.needs_a_person();
    let mut failed = inventory.files.iter().filter(needs_a_person).count() as u64;
    if let (false, Some(journal)) = (inventory.complete, journal) {
        failed = failed.max(add_failed(&mut inventory, look.root(), journal));
    }
    Looked { inventory, failed }
}

/// Adds the newest failures to an inventory that was broken off before them: they must not hide behind ten thousand files that are kept.
/// Returns how many failed files there are by the journal.
fn add_failed(inventory: &mut Inventory, root: &Path, journal: &Journal) -> u64 {
    let found = inventory::failed_here(journal, &[root.to_owned()], SystemTime::now(), budget::STATUS_FAILED);
    let found = found.unwrap_or_else(|error| {
        tracing::debug!("the journal can't be asked about failed files: {error}");
        inventory::FailedHere::default()
    });
    for failed in found.newest {
        let Ok(relative) = failed.path.strip_prefix(root) else { continue };
        if inventory.files.iter().all(|file| file.relative != relative) {
            let standing = Standing::Failed { reason: failed.reason, at: failed.at };
            inventory.files.push(FileHere { relative: relative.to_owned(), size: None, may_leave: true, standing });
        }
    }
    found.count
}

fn counted_by_watch(counted: waiting::WaitingFiles, now: Instant) -> Waiting {
    let waiting::WaitingFiles { files, bytes, oldest } = counted;
    Waiting { files, bytes, oldest_seconds: oldest.map(|at| now.duration_since(at).as_secs()) }
}

/// As long as no watch runs: the files that it will take up.
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
        path: LocalPath::new(&root.join(&upload.path)),
        size: upload.size,
        sent: upload.sent,
        rate,
        seconds_left: time_left(upload, rate).map(|left| left.as_secs()),
    }
}

fn file_status(root: &Path, file: &FileHere) -> FileStatus {
    let standing = &file.standing;
    FileStatus {
        path: LocalPath::new(&root.join(&file.relative)),
        size: file.size,
        standing: standing.word().to_owned(),
        reason: standing.to_string(),
        since: standing.since().map(utc),
        mend: standing.mend(),
        needs_a_person: standing.needs_a_person(),
    }
}

/// A trouble of the program. Where no daemon runs nobody has seen it begin.
fn trouble(checked: Checked, is_daemon: bool) -> Option<Trouble> {
    let (component, folder) = match checked.component {
        Component::Start => ("start", None),
        Component::Service => ("service", None),
        Component::Login => ("login", None),
        Component::Journal => ("journal", None),
        Component::Destination(folder) => ("destination", Some(folder)),
        Component::Folder(folder) => ("folder", Some(folder)),
        Component::Progress => ("progress", None),
        Component::Fleet => ("fleet", None),
    };
    let since = checked.since.filter(|_| is_daemon).map(utc);
    Some(Trouble { component: component.to_owned(), folder, reason: checked.trouble?, since })
}

/// The trouble of a folder whose look does not come to an end.
fn silent(place: &Place, known: &Known<Looked>) -> Option<Trouble> {
    Some(Trouble {
        component: "folder".to_owned(),
        folder: Some(place.look.root().display().to_string()),
        reason: "its file system does not answer".to_owned(),
        since: Some(utc(known.hangs_since?)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::Policy;
    use crate::file::Root;
    use crate::file::lease::LeaseBreaks;
    use crate::journal::Intent;
    use crate::observe::health::Condition;
    use crate::vault::DocumentId;

    struct Folder {
        _dir: tempfile::TempDir,
        root: Arc<Root>,
        journal: Journal,
    }

    impl Folder {
        fn with(files: &[&str]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let watched = dir.path().join("watched");
            fs::create_dir(&watched).unwrap();
            for file in files {
                fs::write(watched.join(file), "1234").unwrap();
            }
            let journal = Journal::open(&dir.path().join("state")).unwrap();
            Self { root: Arc::new(Root::open(&watched).unwrap()), journal, _dir: dir }
        }

        fn look(&self) -> Look {
            let (breaks, journal) = (LeaseBreaks::install().unwrap(), Some(self.journal.clone()));
            Look::new(Arc::clone(&self.root), Policy::default(), RemotePath::default(), journal, breaks).unwrap()
        }

        async fn refuse(&self, file: &str) {
            let stamp = self.root.open_file(Path::new(file)).unwrap().stamp;
            let (root, dest, folder) = (self.root.path().to_owned(), RemotePath::default(), DocumentId("1".into()));
            let intent = Intent { root, relative: file.into(), stamp, dest, folder, name: file.into() };
            self.journal.refuse(intent, "too large for the vault".into()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_failed_file_beyond_the_limit_of_the_inventory_is_counted_and_named() {
        let folder = Folder::with(&["a", "b", "c"]);
        folder.refuse("b").await;
        let limits = Limits { files: 0, ..Limits::default() };
        let looked = taken(&folder.look(), Some(&folder.journal), limits);
        assert_eq!((looked.failed, looked.inventory.complete), (1, false));
        let [file] = looked.inventory.files.as_slice() else { panic!("{looked:?}") };
        assert_eq!((file.relative.as_path(), file.standing.word()), (Path::new("b"), "failed"));
        let all = taken(&folder.look(), Some(&folder.journal), Limits::default());
        assert_eq!((all.failed, all.inventory.files.len(), all.inventory.complete), (1, 3, true));
    }

    #[tokio::test]
    async fn a_daemon_that_waits_for_the_service_at_its_start_is_running_and_its_files_wait() {
        let (folder, health, start) = (Folder::with(&["a", "b"]), Health::default(), Condition::default());
        let gatherer = Gatherer::of_daemon(health.clone(), folder.journal.clone(), None);
        let waiting = waiting::Waiting::default();
        gatherer.add(Place { look: folder.look(), dest: RemotePath::default(), waiting: Some(waiting.clone()) });
        start.raise("not logged in yet");
        health.add(Component::Start, Arc::new(start));
        let status = gatherer.snapshot();
        assert!(status.running && status.pid.is_some() && status.since.is_some(), "{status:?}");
        assert_eq!((status.troubles[0].component.as_str(), status.folders[0].waiting.files), ("start", 2));
        assert!(status.troubles[0].since.is_some() && status.needs_a_person());
        waiting.set(waiting::WaitingFiles { files: 1, ..waiting::WaitingFiles::default() });
        assert_eq!(gatherer.snapshot().folders[0].waiting.files, 1, "as the watch counts");
    }
}
