//! Runs the folders of `watch`: puts watching, uploads and the journal together, starts them and stops them.

mod awaited;
mod changes;
mod failed_before;
mod folder;
mod start;
mod stop;
mod tally;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tracing::{Instrument as _, Span};

use crate::config::Policy;
use crate::exit::Fatal;
use crate::file::Root;
use crate::observe::health::{Component, Health};
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::StallDetector;
use crate::shutdown::{Grace, Shutdown};
use crate::upload::{MoveTargets, Report, Shared};
use crate::vault::{RemotePath, Vault};

pub use awaited::AwaitedFolder;
use changes::Members;
pub use changes::{Changes, ChangesReceiver, Leaving, channel as changes};
use start::Started;
pub(crate) use stop::{patience_after_stop, tidy_all};
pub use tally::Tally;
use upkeep::Upkeep;

/// A folder to watch, with what happens to its files.
#[derive(Debug)]
pub struct WatchedFolder {
    /// Open and locked.
    pub root: Arc<Root>,
    /// How its files are uploaded, and what happens to them afterwards.
    pub policy: Policy,
    /// The folders that the policy moves files to.
    pub targets: MoveTargets,
    /// The folder in the vault that its files go to.
    pub dest: RemotePath,
    /// Its metrics.
    pub counts: FolderMetrics,
}

/// The folders of a run.
#[derive(Debug)]
pub struct Folders {
    /// Those that are there at the start.
    pub present: Vec<WatchedFolder>,
    /// Those that are waited for. With `--once` there are none.
    pub awaited: Vec<AwaitedFolder>,
    /// What changes while the daemon runs.
    pub changes: ChangesReceiver,
}

impl From<Vec<WatchedFolder>> for Folders {
    fn from(present: Vec<WatchedFolder>) -> Self {
        Self { present, awaited: Vec::new(), changes: ChangesReceiver::none() }
    }
}

/// How the daemon runs.
#[derive(Debug, Clone)]
pub struct Mode {
    /// End when all files that were there at the start are done. Then the wait for a service that can't be reached has an end too.
    pub once: bool,
    /// What may change while the daemon runs.
    pub settings: Settings,
}

/// What may change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long uploads under way may take after a stop signal.
    pub grace: Grace,
    /// How long receipts are kept; for ever where `None`.
    pub keep_receipts: Option<Duration>,
    /// The folder in the vault for anchors of the receipts; `None` for no anchors.
    pub anchor: Option<RemotePath>,
}

/// What all folders of a run share.
struct Run<V, F> {
    shared: Arc<Shared<V>>,
    once: bool,
    grace: Grace,
    /// Called with the report of each file.
    on_report: F,
    health: Health,
    stall_detector: StallDetector,
    shutdown: Shutdown,
}

/// Watches the folders until a stop is requested or, with `once`, until all files that were there at the start are done.
///
/// `on_report` is called with the report of each file. Each part that can hold up uploads is added to `health`.
///
/// A run has four parts, one after the other:
/// 1. Upkeep begins: what the journal needs once an hour or once a day, beside the uploads.
/// 2. Each folder recovers: what a stopped run left there is resolved, before any folder starts.
/// 3. All folders run side by side, each until its end (see `folder::run`). One that was missing recovers and joins when it appears
///    (see `awaited::run`).
/// 4. Upkeep ends, with what a run does for the journal at its end.
pub async fn run<V: Vault>(
    shared: Arc<Shared<V>>,
    folders: impl Into<Folders>,
    mode: Mode,
    on_report: impl Fn(&Report) + Send + Sync + 'static,
    health: &Health,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let Mode { once, settings } = mode;
    let run = Arc::new(Run {
        shared,
        once,
        grace: settings.grace.clone(),
        on_report,
        health: health.clone(),
        stall_detector: StallDetector::default(),
        shutdown,
    });
    let Folders { present, awaited, mut changes } = folders.into();
    let places: Vec<_> = present.iter().map(|folder| folder.root.path().to_owned()).collect();
    let mut upkeep = Upkeep::start(&run, settings);
    let started = start::recover_all(run.shared.journal(), present).await?;
    run.add_health_checks();
    let reminder = failed_before::remind(run.shared.journal().clone(), places);
    let tally = run_folders(&run, (started, awaited), &mut changes, &mut upkeep).await?;
    reminder.written().await;
    upkeep.finish(&run, &tally).await;
    Ok(tally)
}

impl<V: Vault, F> Run<V, F> {
    /// Adds the checks of all parts that the folders share. Each folder adds its own.
    fn add_health_checks(&self) {
        self.stall_detector.add(self.shared.activity());
        for (component, breaker) in self.shared.breakers() {
            self.health.add(component, breaker);
        }
        self.health.add(Component::Progress, Arc::new(self.stall_detector.clone()));
    }
}

/// Runs all folders side by side until the last one has ended; folders may join and leave meanwhile.
async fn run_folders<V, F>(
    run: &Arc<Run<V, F>>,
    (started, awaited): (Vec<Started>, Vec<AwaitedFolder>),
    changes: &mut ChangesReceiver,
    upkeep: &mut Upkeep,
) -> Result<Tally, Fatal>
where
    V: Vault,
    F: Fn(&Report) + Send + Sync + 'static,
{
    let mut running = Running { run: Arc::clone(run), tasks: JoinSet::new(), members: Members::default() };
    for started in started {
        running.start(started);
    }
    for awaited in awaited {
        running.await_folder(awaited);
    }
    let mut tally = Tally::default();
    loop {
        tokio::select! {
            ended = running.tasks.join_next() => match ended {
                Some(ended) => {
                    let (number, ended) = ended.map_err(|error| panicked(&error))?;
                    running.members.ended(number, &run.health);
                    tally.add(ended?);
                }
                None => return Ok(tally),
            },
            Changes { leave, join, settings } = changes.next() => {
                run.grace.set(settings.grace.get());
                upkeep.change(run, settings);
                for leaving in leave {
                    running.members.leave(leaving);
                }
                for awaited in join {
                    running.await_folder(awaited);
                }
            }
        }
    }
}

/// The folders that run.
struct Running<V, F> {
    run: Arc<Run<V, F>>,
    tasks: JoinSet<(u64, Result<Tally, Fatal>)>,
    members: Members,
}

impl<V, F> Running<V, F>
where
    V: Vault,
    F: Fn(&Report) + Send + Sync + 'static,
{
    fn start(&mut self, started: Started) {
        let (span, run) = (span_of(&started.folder.root), Arc::clone(&self.run));
        let (number, shutdown) = self.members.add(started.folder.root.path(), &run.shutdown);
        self.tasks.spawn(async move { (number, folder::run(run, started, shutdown).await) }.instrument(span));
    }

    fn await_folder(&mut self, mut awaited: AwaitedFolder) {
        // A folder that was taken out and comes back may still be leaving.
        awaited.after = awaited.after.or_else(|| self.members.when_left(&awaited.place));
        let (span, run) = (span_at(&awaited.place), Arc::clone(&self.run));
        let (number, shutdown) = self.members.add(&awaited.place, &run.shutdown);
        self.tasks.spawn(async move { (number, Ok(awaited::run(run, awaited, shutdown).await)) }.instrument(span));
    }
}

/// The span of all that is done for one folder: its log lines carry the folder's path. It has the level of errors, so that no line that
/// is logged lacks it.
fn span_of(root: &Root) -> Span {
    span_at(root.path())
}

fn span_at(path: &Path) -> Span {
    tracing::error_span!("folder", path = %path.display())
}

/// A task has panicked: a fault of this program.
fn panicked(error: &JoinError) -> Fatal {
    Fatal::internal(error)
}
