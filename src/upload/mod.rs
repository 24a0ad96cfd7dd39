//! From a settled file to a receipt and an empty place: queue, upload, confirm, receipt, remove.
//!
//! Failures are met at the depth they belong to: what all files need (service, login, journal) opens a circuit and
//! blames no file; what one file suffers is written down with its reason, and that file is left until it changes.

mod attempt;
pub(crate) mod backoff;
mod body;
mod breaker;
mod concurrency;
mod destination;
mod dispatch;
mod keyed_lock;
mod late;
mod local;
mod naming;
mod plan;
mod receipt;
pub(crate) mod reconcile;
mod send;
mod unsent;
mod verify;
mod worker;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::Policy;
use crate::file::Settled;
use crate::file::lease::LeaseBreaks;
use crate::journal::{Journal, LocalEnd, Stored};
use crate::observe::health::{Component, HealthCheck};
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::Activity;
use crate::removal::Removals;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{RemotePath, Vault, VaultError};

use breaker::Breaker;
use concurrency::Concurrency;
use destination::Destinations;
use dispatch::Held;
use keyed_lock::KeyedLock;
use late::Late;
pub use local::MoveTargets;

/// What all pipelines of a process share.
#[derive(Debug)]
pub struct Shared<V> {
    vault: Arc<V>,
    journal: Journal,
    breaks: LeaseBreaks,
    service: Arc<Breaker>,
    journal_breaker: Arc<Breaker>,
    user: OnceLock<String>,
    /// One upload at a time for each local path.
    turns: KeyedLock,
    /// One upload at a time for each path in the vault.
    names: KeyedLock,
    patience: Option<Duration>,
    /// Names under which an upload that was cut off may still be stored.
    late: Late,
    /// What waits in all pipelines, and what moves.
    flow: Activity,
}

/// How long the service may be in trouble before a command that is to end gives up: the whole then takes under a minute.
pub const PATIENCE: Duration = Duration::from_secs(45);

impl<V: Vault> Shared<V> {
    /// The shared parts; `patience` for commands that end, none for a daemon, which waits as long as it takes.
    pub fn new(vault: Arc<V>, journal: Journal, breaks: LeaseBreaks, patience: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            vault,
            journal,
            breaks,
            service: Arc::new(Breaker::new("the service", patience)),
            journal_breaker: Arc::new(Breaker::new("the journal", patience)),
            user: OnceLock::new(),
            turns: KeyedLock::default(),
            names: KeyedLock::default(),
            patience,
            late: Late::new(),
            flow: Activity::default(),
        })
    }

    /// Somebody says that the service or the login was mended: what waits for it tries at once.
    pub fn retry_now(&self) {
        self.service.retry_now();
    }

    /// Who knows whether the service and the journal are in trouble.
    pub fn circuits(&self) -> [(Component, Arc<dyn HealthCheck>); 2] {
        [
            (Component::Service, Arc::clone(&self.service) as Arc<dyn HealthCheck>),
            (Component::Journal, Arc::clone(&self.journal_breaker) as Arc<dyn HealthCheck>),
        ]
    }

    /// What waits in all pipelines, and what moves.
    pub fn flow(&self) -> Activity {
        self.flow.clone()
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

/// What became of a file that the pipeline was given.
#[derive(Debug)]
pub struct Report {
    /// The file.
    pub file: Settled,
    /// What became of it.
    pub outcome: Outcome,
    /// It was put back where it was, or may have been: the event of that rename is no news.
    pub put_back: bool,
    /// It could not be put back, for its name was taken by then, and lies here, below the root.
    pub aside: Option<PathBuf>,
}

/// What became of a file.
#[derive(Debug)]
pub enum Outcome {
    /// The store has it, and the local end is done.
    Stored {
        /// Where it is in the vault.
        remote: RemotePath,
        /// The receipt's content.
        stored: Stored,
        /// What became of the local file.
        local: LocalEnd,
    },
    /// This file's trouble: written down, and not tried again until it changes or somebody asks.
    Failed {
        /// What failed and why.
        reason: String,
        /// Where it was moved to, with `failed_dir`.
        moved: Option<PathBuf>,
    },
    /// It waits for something that only somebody else can mend; it is looked at again at the next walk.
    Blocked {
        /// For what.
        reason: String,
    },
    /// It changed, or was put back: it must settle again.
    Again {
        /// Why.
        reason: String,
        /// Where it lies now, below the root.
        place: PathBuf,
    },
    /// Kept or failed before, unchanged: nothing was done.
    Skipped {
        /// It has failed, and its reason stands in the journal.
        failed: bool,
    },
    /// It was gone before it was read.
    Gone,
    /// Not begun, or left whole, because the pipeline stopped.
    Left,
}

/// The way of one folder's files, or of the files that `push` was given.
#[derive(Debug)]
pub struct Pipeline<V> {
    shared: Arc<Shared<V>>,
    policy: Policy,
    targets: MoveTargets,
    /// Where all goes; with layout "mirror", below which.
    dest: RemotePath,
    destinations: Destinations,
    removals: Removals,
    concurrency: Concurrency,
    /// A person asked for just these files.
    forced: bool,
    reports: mpsc::UnboundedSender<Report>,
    counts: FolderMetrics,
    stopped: OnceLock<VaultError>,
    /// It was said that files stay because their writers can't be told.
    unleased_told: AtomicBool,
}

impl<V: Vault> Pipeline<V> {
    /// A pipeline that reports on each file that it was given, once; `targets` are those of the policy.
    pub fn new(
        shared: Arc<Shared<V>>,
        policy: Policy,
        targets: MoveTargets,
        dest: RemotePath,
        forced: bool,
        reports: mpsc::UnboundedSender<Report>,
        counts: FolderMetrics,
    ) -> Arc<Self> {
        let destinations = Destinations::new(shared.patience);
        let removals = Removals::start(shared.journal.clone(), shared.flow());
        let concurrency = Concurrency::new(policy.transfers, counts.under_way.clone(), shared.flow());
        let stopped = OnceLock::new();
        Arc::new(Self {
            shared,
            policy,
            targets,
            dest,
            destinations,
            removals,
            concurrency,
            forced,
            reports,
            counts,
            stopped,
            unleased_told: AtomicBool::new(false),
        })
    }

    /// Who knows whether the destination is in trouble.
    pub fn destination(&self) -> Arc<dyn HealthCheck> {
        Arc::clone(&self.destinations.breaker) as Arc<dyn HealthCheck>
    }

    /// Takes files from the queue until it ends or a stop is asked for; then ends those under way within `grace`. Answers
    /// what made it give up on all files, where patience ended or somebody must mend the login or the destination first.
    pub async fn run(
        self: Arc<Self>,
        mut queue: mpsc::Receiver<Settled>,
        grace: Duration,
        mut shutdown: Shutdown,
    ) -> Option<VaultError> {
        let (mut under_way, mut held) = (JoinSet::new(), Held::default());
        while self.stopped.get().is_none() {
            // Those that have ended keep their memory until somebody asks for them.
            while under_way.try_join_next().is_some() {}
            let next = tokio::select! {
                biased;
                () = shutdown.reached(Stop::Gently) => break,
                next = self.next(&mut queue, &mut held) => next,
            };
            let Some((settled, class)) = next else { break };
            self.concurrency.take(class);
            let more = !queue.is_empty() || !held.is_empty();
            let (pipeline, shutdown) = (Arc::clone(&self), shutdown.clone());
            under_way.spawn(async move { pipeline.one(settled, class, more, shutdown).await });
        }
        self.leave(queue, held);
        self.finish(under_way, grace, shutdown).await;
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

    /// Waits for the files under way: while nobody hurries for as long as they take, after a stop for the grace, and no
    /// longer after a second one.
    async fn finish(&self, mut under_way: JoinSet<()>, grace: Duration, mut shutdown: Shutdown) {
        let mut insists = shutdown.clone();
        let patience = async {
            shutdown.reached(Stop::Gently).await;
            tokio::time::sleep(grace).await;
        };
        tokio::select! {
            () = async {
                while under_way.join_next().await.is_some() {}
                self.removals.drained().await;
            } => {}
            () = patience => tracing::warn!("stopping; the uploads still under way are cut, their files stay whole"),
            () = insists.reached(Stop::Now) => {}
        }
        under_way.shutdown().await;
    }

    /// Counts how long an upload took that went well.
    async fn timed<T>(&self, upload: impl Future<Output = Result<T, VaultError>>) -> Result<T, VaultError> {
        let start = Instant::now();
        let answer = upload.await;
        if answer.is_ok() {
            self.counts.uploaded(start.elapsed());
        }
        answer
    }

    fn report(&self, file: Settled, outcome: Outcome) {
        // Nobody listens only where nobody is left to be told.
        self.reports.send(Report { file, outcome, put_back: false, aside: None }).ok();
    }
}
