//! `watch [DIR]`: keep uploading what appears in folders, or with `--once` what is there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::awaited::{self, Missing};
use super::context::{Context, Local};
use super::notified::Notified;
use super::open_folders::LockedFolders;
use super::print::Printer;
use super::reload::{Reloader, Running, access_of, settings_of};
use super::session::{Memory, Session};
use super::shipments::Shipments;
use super::status;
use super::take_folder::FolderTaker;
use super::totals::Counts;
use crate::astran::Client;
use crate::budget;
use crate::config::Policy;
use crate::daemon::{self, Folders, Mode, Tally, WatchedFolder};
use crate::exit::{Exit, Fatal};
use crate::observe::health::{Component, Health, HealthCheck as _};
use crate::observe::http::{Listener, Sources};
use crate::observe::metrics::Metrics;
use crate::progress::{Progress, Work};
use crate::service_manager::ServiceManager;
use crate::shutdown::{Shutdown, Stop};
use crate::status::{Gatherer, page_source, scrape_source};
use crate::upload::{PATIENCE, Shared};

/// How often the start looks whether it waits for the service.
const LOOK: Duration = Duration::from_millis(100);

/// How `watch` runs, as its flags say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Options {
    /// Upload what is there, then end.
    pub(super) once: bool,
    /// A folder or destination that is missing at the start ends the run before it begins, and a file that somebody writes is a failure.
    pub(super) strict: bool,
}

/// A run that has ended.
struct Ended {
    tally: Tally,
    /// A folder or a destination was missing, so that not all folders were done. Only with `--once`.
    some_missing: bool,
    /// Lines about files that were not printed, because they came too fast.
    lines_dropped: u64,
}

/// Watches the configured folders.
pub(super) async fn run(context: Context, options: Options, reloader: Reloader) -> Result<Exit, Fatal> {
    let manager = reloader.manager.clone();
    let (locked, shutdown, totals) = (LockedFolders::new(), context.shutdown.clone(), context.totals.clone());
    let health = Health::default();
    let notified = Notified::start(&context, &health, options.once).await?;
    // On the heap, as the state of a reload is large.
    let ended = Box::pin(watch(context, options, reloader, &locked, (health, &notified))).await;
    manager.stopping().await;
    locked.tidy().await;
    let ended = ended.and_then(|ended| {
        let Some(Ended { tally, some_missing, lines_dropped }) = ended else {
            totals.set(Counts::of_uploads(&Tally::default(), 0));
            return Ok(exit_of_stop(options.once, shutdown.requested()));
        };
        totals.set(Counts::of_uploads(&tally, lines_dropped));
        let exit = exit_of(&tally, options, &shutdown)?;
        // That a whole folder was not done weighs more than single files.
        let weighs_less = matches!(exit, Exit::Done | Exit::SomeFailed);
        Ok(if some_missing && weighs_less { Exit::Missing } else { exit })
    });
    notified.end(&ended).await;
    ended
}

/// Opens and locks the folders, logs in, and runs the daemon until it ends by itself (`--once`) or by a signal. Returns `None` where a
/// stop is requested before the daemon runs.
async fn watch(
    context: Context,
    options: Options,
    mut reloader: Reloader,
    locked: &LockedFolders,
    (health, notified): (Health, &Notified),
) -> Result<Option<Ended>, Fatal> {
    let Options { once, .. } = options;
    let metrics = Metrics::new(&health);
    let Some((open, mut missing)) = awaited::open_all(&context, context.global.sandbox()).await? else {
        return Ok(None);
    };
    may_begin(options, open.len(), &missing)?;
    let Local { journal, locks, breaks } = context.open_local().await?;
    notified.use_journal(&journal);
    let status = Gatherer::of_daemon(health.clone(), journal.clone(), status::user_of(&context.config));
    let manager = reloader.manager.clone();
    let _telling = manager.keep_telling(&health, &status, context.shutdown.clone());
    let _status = status::serve(&context.config.state_dir, status.clone()).await;
    let taker = FolderTaker {
        locks,
        state_dir: context.config.state_dir.clone(),
        metrics: metrics.clone(),
        locked: locked.clone(),
        status: status.clone(),
        breaks: breaks.clone(),
        notified: notified.files(),
    };
    let Some((mut present, unlocked)) = awaited::lock_all(open, &taker, context.shutdown.clone()).await? else {
        return Ok(None);
    };
    missing.extend(unlocked);
    may_begin(options, present.len(), &missing)?;
    let Context { config, global, mut shutdown, .. } = context;
    let mut some_missing = once && !missing.is_empty();
    let places = places(&present, &missing);
    let awaited = if once {
        missing.iter().for_each(report_left_out);
        Vec::new()
    } else {
        missing.into_iter().map(|missing| awaited::wait_for(missing, taker.clone())).collect()
    };
    // The address is bound before anything is sent, so that a wrong one ends the program at once.
    let listener = bind(config.listen.filter(|_| !once)).await?;
    let access = access_of(&config);
    let mode = Mode { once, settings: settings_of(&config) };
    let loaded = config.clone();
    let session = Session::open(config, &global, if once { Memory::OfCommand } else { Memory::OfDaemon }).await?;
    session.trouble.raise("not logged in yet");
    health.add(Component::Start, Arc::new(session.trouble.clone()));
    health.add(Component::Login, Arc::new(session.client.login_health()));
    let server = listener.map(|listener| listener.serve(sources(&health, metrics.clone(), &status, &session), access));
    let started = tokio::select! {
        started = start(&session, &mut present, options) => started.map(Some),
        never = ready_while_waiting(&session, &manager) => match never {},
        never = reloader.while_starting() => match never {},
        () = shutdown.reached(Stop::Gently) => Ok(None),
    };
    let ended = match started {
        Ok(Some(all_there)) => {
            some_missing |= !all_there;
            manager.ready().await;
            let patience = once.then_some(PATIENCE);
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, patience);
            let work = work(&shared, &present, &mode);
            let progress = Progress::start(global.shown(), work, shutdown.clone());
            let (printer, printed) = Printer::start(&global, progress.done());
            shared.rate().set(session.config.limit_rate.clone());
            status.uploads(shared.transfers(), Arc::clone(shared.rate()));
            let shipments = Shipments::start(&session.config, &shared, (&health, &metrics), status.clone()).await;
            let files = notified.files();
            let print = move |report: &_| {
                printer.print(report);
                files.take(report);
            };
            hand_over(locked, &present);
            let (changes, changed) = daemon::changes();
            let folders = Folders { present, awaited, changes: changed };
            let running = daemon::run(Arc::clone(&shared), folders, mode, print, &health, shutdown.clone());
            let reloading = reloader.run(Running {
                config: loaded,
                folders: places,
                session: &session,
                shared: &shared,
                taker,
                changes,
                server: server.as_ref(),
                notified,
                health: health.clone(),
                last_reload: status.last_reload().clone(),
            });
            let ended = tokio::select! {
                ended = running => ended,
                never = reloading => match never {},
            };
            let lines_dropped = printed.wait();
            drop(progress);
            shipments.end().await;
            ended.map(|tally| Some(Ended { tally, some_missing, lines_dropped }))
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    ended
}

/// From now on the daemon tidies these folders.
fn hand_over(locked: &LockedFolders, present: &[WatchedFolder]) {
    for folder in present {
        locked.hand_over(&folder.root);
    }
}

/// What the listener's answers are made from.
fn sources(health: &Health, metrics: Metrics, status: &Gatherer, session: &Session) -> Sources {
    let look = scrape_source(status.clone(), session.client.token_requests());
    Sources { health: health.clone(), metrics, look, status: page_source(status.clone()) }
}

/// What the progress display shows.
fn work(shared: &Shared<Client>, present: &[WatchedFolder], mode: &Mode) -> Work {
    let waiting = present.iter().map(|folder| folder.counts.waiting.clone()).collect();
    Work { transfers: shared.transfers(), waiting, grace: mode.settings.grace.clone() }
}

/// Where each folder lies, and its policy.
fn places(present: &[WatchedFolder], missing: &[Missing]) -> Vec<(PathBuf, Policy)> {
    let present = present.iter().map(|folder| (folder.root.path().to_owned(), folder.policy.clone()));
    let missing = missing.iter().map(|missing| (missing.place.clone(), missing.folder.policy.clone()));
    present.chain(missing).collect()
}

/// Ends the start where folders are missing: a strict one, and one with `--once` that has no folder to do.
fn may_begin(options: Options, present: usize, missing: &[Missing]) -> Result<(), Fatal> {
    match missing {
        [first, others @ ..] if options.strict || (options.once && present == 0) => {
            others.iter().for_each(report_left_out);
            Err(first.why.clone())
        }
        _ => Ok(()),
    }
}

fn report_left_out(missing: &Missing) {
    tracing::error!(folder = %missing.folder.path.display(), "{}; it is left out", missing.why);
}

async fn bind(address: Option<SocketAddr>) -> Result<Option<Listener>, Fatal> {
    let Some(address) = address else { return Ok(None) };
    let listener = Listener::bind(address).await.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
    Ok(Some(listener))
}

/// Logs in. A strict run, and one that ends by itself, look the destinations up too, before they begin: a strict run ends where one is
/// missing, the other one leaves that folder out. A daemon looks them up while it runs (see `daemon`). Returns whether no folder was
/// left out.
async fn start(session: &Session, present: &mut Vec<WatchedFolder>, options: Options) -> Result<bool, Fatal> {
    let Options { once, strict } = options;
    session.log_in(!once).await?;
    let before = present.len();
    if once || strict {
        let mut found = Vec::with_capacity(before);
        for folder in present.drain(..) {
            match session.has_destination(&folder.dest, !once).await {
                Ok(()) => found.push(folder),
                Err(fatal) if fatal.exit == Exit::Missing && !strict => {
                    tracing::error!(folder = %folder.root.path().display(), "{fatal}; this folder is left out");
                }
                Err(fatal) => return Err(fatal),
            }
        }
        *present = found;
    }
    for folder in &*present {
        tracing::info!(folder = %folder.root.path().display(), dest = %folder.dest, "watching");
    }
    session.trouble.clear();
    Ok(present.len() == before)
}

/// A start that waits for the service is ready all the same, once that is known: it may wait for hours, and the service manager would end it
/// before.
async fn ready_while_waiting(session: &Session, manager: &ServiceManager) -> Infallible {
    let (start, first) = (Instant::now(), session.trouble.trouble());
    while start.elapsed() < budget::READY && session.trouble.trouble() == first {
        sleep(LOOK).await;
    }
    manager.ready().await;
    std::future::pending().await
}

/// The exit code of a run of the daemon or of a push.
pub(super) fn exit_of(tally: &Tally, options: Options, shutdown: &Shutdown) -> Result<Exit, Fatal> {
    let Options { once, strict } = options;
    if let Some(error) = &tally.stopped {
        return Err(error.clone().into());
    }
    match shutdown.requested() {
        Stop::No if tally.failed > 0 || tally.waiting > 0 || tally.left > 0 => Ok(Exit::SomeFailed),
        Stop::No if strict && tally.still_open > 0 => Ok(Exit::SomeFailed),
        Stop::No => Ok(Exit::Done),
        stop => Ok(exit_of_stop(once, stop)),
    }
}

/// The exit code after a stop signal. A stop is the only way in which a daemon can end, so the first signal is no failure: the files that are
/// left lie whole in their folder, and the next start takes them. A run with `--once` or a push should have done all its work, so any
/// signal interrupts it; a second signal interrupts the orderly stop of a daemon too.
fn exit_of_stop(once: bool, stop: Stop) -> Exit {
    if once || stop == Stop::Now { Exit::Interrupted } else { Exit::Done }
}
