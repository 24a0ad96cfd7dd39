//! From a settled file to a receipt, and to the removal of the local file.
//!
//! The uploader takes files from a queue, as many at once as `concurrency` allows. A `worker` tries each of them until it is done;
//! each try is a `transfer`, which reads from top to bottom: open, plan, reconcile, intent, send, verify, receipt. What a
//! transfer needs to know is in its `context`; no step calls back up.
//!
//! Failures are met where they belong: trouble of what all files need (service, login, journal) opens a `breaker` and blames no
//! file; what one file suffers is written down with its reason, and that file is left until it changes.

mod acknowledged;
pub(crate) mod backoff;
mod body;
mod breaker;
mod concurrency;
mod context;
mod destination;
mod dispatch;
mod error;
mod keyed_lock;
mod late;
mod local;
mod naming;
mod outcome;
mod plan;
pub(crate) mod preview;
mod rate;
mod receipt;
pub(crate) mod reconcile;
mod send;
mod source;
mod target;
mod transfer;
mod unreadable;
mod verify;
mod worker;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument as _;

use crate::config::{self, Policy};
use crate::file::Settled;
use crate::file::lease::LeaseBreaks;
use crate::journal::Journal;
use crate::observe::health::{Component, HealthCheck};
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::Activity;
use crate::observe::transfers::Transfers;
use crate::removal::Removals;
use crate::shutdown::{Grace, Shutdown, Stop};
use crate::vault::{Kind, RemotePath, Vault, VaultError};

pub use acknowledged::Acknowledged;
use breaker::Breaker;
use concurrency::{Concurrency, Places};
use context::Context;
use destination::Destinations;
use dispatch::Held;
use keyed_lock::KeyedLock;
use late::Late;
pub use local::MoveTargets;
pub use naming::NameError;
pub use outcome::{BlockedBy, Failure, Outcome, Report, Unreadable, Unsettled};
pub use plan::Asked;
pub use rate::RateLimiter;
pub use verify::Doubt;

/// What all uploaders of a process share.
#[derive(Debug)]
pub struct Shared<V> {
    vault: Arc<V>,
    journal: Journal,
    breaks: LeaseBreaks,
    service: Arc<Breaker>,
    journal_breaker: Arc<Breaker>,
    /// Who is logged in, once that was asked.
    user: OnceLock<String>,
    /// One upload at a time for each local path.
    paths: KeyedLock,
    /// One upload at a time for each path in the vault.
    names: KeyedLock,
    patience: Option<Duration>,
    /// Names under which an upload that was cut off may still be stored.
    late: Late,
    /// What waits in all uploaders, and what moves.
    activity: Activity,
    transfers: Transfers,
    /// The limit for the rate of all uploads together.
    rate: Arc<RateLimiter>,
    /// The places of all uploaders whose number of uploads at once is found by measuring.
    places: Arc<Places>,
    /// Set where files are removed only once their receipts have a second copy elsewhere.
    acknowledged: OnceLock<Acknowledged>,
}

/// How long the service may be in trouble before a command that is to end gives up: the whole then takes under a minute.
pub const PATIENCE: Duration = Duration::from_secs(45);

impl<V: Vault> Shared<V> {
    /// The shared parts. A command, which is to end, has `patience`; a daemon has none, and waits as long as it takes.
    pub fn new(vault: Arc<V>, journal: Journal, breaks: LeaseBreaks, patience: Option<Duration>) -> Arc<Self> {
        let transfers = Transfers::default();
        Arc::new(Self {
            vault,
            journal,
            breaks,
            service: Arc::new(Breaker::new("the service", patience)),
            journal_breaker: Arc::new(Breaker::new("the journal", patience)),
            user: OnceLock::new(),
            paths: KeyedLock::default(),
            names: KeyedLock::default(),
            patience,
            late: Late::new(),
            activity: Activity::default(),
            places: Places::new(config::Transfers::Auto, transfers.clone()),
            transfers,
            rate: Arc::default(),
            acknowledged: OnceLock::new(),
        })
    }

    /// From now on files are removed only once their receipts have a second copy elsewhere.
    pub fn remove_only_acknowledged(&self, acknowledged: Acknowledged) {
        self.acknowledged.get_or_init(|| acknowledged);
    }

    /// The administrator says that the service or the login was mended: files that wait for it are tried at once.
    pub fn retry_now(&self) {
        self.service.retry_now();
    }

    /// Whether the service and the journal are in trouble.
    pub fn breakers(&self) -> [(Component, Arc<dyn HealthCheck>); 2] {
        [
            (Component::Service, Arc::clone(&self.service) as Arc<dyn HealthCheck>),
            (Component::Journal, Arc::clone(&self.journal_breaker) as Arc<dyn HealthCheck>),
        ]
    }

    /// What waits in all uploaders, and what moves.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// The uploads in flight of all uploaders.
    pub fn transfers(&self) -> Transfers {
        self.transfers.clone()
    }

    /// The limit for the rate of all uploads together.
    pub fn rate(&self) -> &Arc<RateLimiter> {
        &self.rate
    }

    /// The store.
    pub fn vault(&self) -> &Arc<V> {
        &self.vault
    }

    /// The journal that receipts go to.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

type Reports = mpsc::UnboundedSender<Report>;

/// What an uploader does with its files.
#[derive(Debug)]
pub struct Options {
    /// What happens to files.
    pub policy: Policy,
    /// The folders that the policy moves files to.
    pub targets: MoveTargets,
    /// The folder of the vault that all files go to; with layout "mirror", the one below which they go.
    pub dest: RemotePath,
    /// Who asks for the files.
    pub asked: Asked,
    /// What is counted.
    pub counts: FolderMetrics,
}

/// Uploads the files of one folder, or the files that `push` was given.
#[derive(Debug)]
pub struct Uploader<V> {
    context: Context<V>,
    targets: MoveTargets,
    removals: Removals,
    concurrency: Concurrency,
    reports: Reports,
    /// What made the uploader give up on all files.
    stopped: OnceLock<VaultError>,
}

impl<V: Vault> Uploader<V> {
    /// An uploader that reports on each file that it is given, once.
    pub fn new(shared: Arc<Shared<V>>, options: Options, reports: mpsc::UnboundedSender<Report>) -> Arc<Self> {
        let Options { policy, targets, dest, asked, counts } = options;
        let destinations = Destinations::new(shared.patience);
        // After a stop that cuts uploads, the end of the reports is all that the program waits for.
        let removals = Removals::start(shared.journal.clone(), shared.activity(), reports.clone());
        let places = match policy.transfers {
            config::Transfers::Auto => Arc::clone(&shared.places),
            fixed @ config::Transfers::Fixed(_) => Places::new(fixed, shared.transfers()),
        };
        let concurrency = Concurrency::new(places, counts.under_way.clone(), shared.activity());
        let unleased_announced = AtomicBool::new(false);
        let context = Context { shared, policy, dest, destinations, asked, counts, unleased_announced };
        Arc::new(Self { context, targets, removals, concurrency, reports, stopped: OnceLock::new() })
    }

    /// Whether the destination is in trouble.
    pub fn destination(&self) -> Arc<dyn HealthCheck> {
        Arc::clone(&self.context.destinations.breaker) as Arc<dyn HealthCheck>
    }

    /// Looks the destination up until the store has it. So a mistake shows before the first file comes, and the end of the trouble shows
    /// also where no file waits. Only for a daemon, whose breakers have no end of patience.
    pub async fn find_destination(&self) {
        let Context { shared, dest, destinations, .. } = &self.context;
        loop {
            let Ok(destination) = destinations.breaker.permit().await else { return };
            let Ok(service) = shared.service.permit().await else { return };
            match destinations.folder(&*shared.vault, dest).await {
                Ok(_) => {
                    service.probed();
                    destination.probed();
                    return;
                }
                Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Unknown | Kind::Login) => {
                    service.failed(error);
                }
                Err(error) => destination.failed(error),
            }
        }
    }

    /// Takes files from the queue until it ends or a stop is asked for; then ends those in flight within `grace`. Returns why it gave up
    /// on all files: patience ended, or a person must mend the login or the destination first.
    pub async fn run(
        self: Arc<Self>,
        mut queue: mpsc::Receiver<Settled>,
        grace: impl Into<Grace>,
        mut shutdown: Shutdown,
    ) -> Option<VaultError> {
        let grace = grace.into();
        let (mut in_flight, mut held) = (JoinSet::new(), Held::default());
        while self.stopped.get().is_none() {
            // A task that has ended keeps its memory until it is joined.
            while in_flight.try_join_next().is_some() {}
            let next = tokio::select! {
                biased;
                () = shutdown.reached(Stop::Leave) => break,
                next = self.next(&mut queue, &mut held) => next,
            };
            let Some((file, place)) = next else { break };
            let (uploader, shutdown) = (Arc::clone(&self), shutdown.clone());
            in_flight.spawn(async move { uploader.work(file, place, shutdown).await }.in_current_span());
        }
        self.leave(queue, held);
        self.finish_all(in_flight, grace, shutdown).await;
        self.stopped.get().cloned()
    }

    /// Files that were handed over and not begun stay as they are.
    fn leave(&self, mut queue: mpsc::Receiver<Settled>, held: Held) {
        held.into_files().for_each(|file| self.report(file, Outcome::Left));
        queue.close();
        while let Ok(file) = queue.try_recv() {
            self.report(file, Outcome::Left);
        }
    }

    /// Waits for the files in flight: for as long as they take where no stop was asked for, after a stop for the grace, and no longer
    /// after a second one.
    async fn finish_all(&self, mut in_flight: JoinSet<()>, grace: Grace, mut shutdown: Shutdown) {
        let mut insists = shutdown.clone();
        let patience = async {
            shutdown.reached(Stop::Gently).await;
            tokio::time::sleep(grace.get()).await;
        };
        tokio::select! {
            () = async {
                while in_flight.join_next().await.is_some() {}
                self.removals.drained().await;
            } => {}
            () = patience => tracing::warn!("stopping; the uploads still under way are cut, their files stay whole"),
            () = insists.reached(Stop::Now) => {}
        }
        in_flight.shutdown().await;
    }
}
