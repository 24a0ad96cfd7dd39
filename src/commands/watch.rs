//! `watch [DIR]`: keep uploading what appears in folders, or with `--once` what is there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use super::awaited::{self, Missing, Opening};
use super::context::{Context, Local};
use super::open_folders::{LockedFolders, for_each};
use super::print::Printer;
use super::session::Session;
use super::status;
use super::totals::Counts;
use crate::astran::Client;
use crate::config::Folder;
use crate::daemon::{self, Folders, Mode, Tally, WatchedFolder};
use crate::exit::{Exit, Fatal};
use crate::file::lease::{self, LeaseBreaks};
use crate::file::lock::Locks;
use crate::file::{FolderError, Root};
use crate::inventory::Look;
use crate::journal::Journal;
use crate::observe::health::{Component, Health};
use crate::observe::http::Listener;
use crate::observe::metrics::Metrics;
use crate::removal::MoveTargetError;
use crate::shutdown::{Reloads, Shutdown, Stop};
use crate::status::{Gatherer, Place};
use crate::upload::{MoveTargets, PATIENCE, Shared};
use crate::vault::RemotePath;

/// Watches the configured folders.
pub(super) async fn run(context: Context, once: bool, reloads: Reloads) -> Result<Exit, Fatal> {
    let (locked, shutdown, totals) = (LockedFolders::new(), context.shutdown.clone(), context.totals.clone());
    let ended = watch(context, once, reloads, &locked).await;
    locked.tidy().await;
    match ended? {
        Some((tally, lines_dropped)) => {
            totals.set(Counts::of_uploads(&tally, lines_dropped));
            exit_of(&tally, once, &shutdown)
        }
        None => Ok(exit_of_stop(once, shutdown.requested())),
    }
}

/// Opens and locks the folders, logs in, and runs the daemon until it ends by itself (`--once`) or by a signal. Returns the files' tally, and
/// how many lines about files were dropped; `None` where a stop is requested before the daemon runs.
async fn watch(
    context: Context,
    once: bool,
    reloads: Reloads,
    locked: &LockedFolders,
) -> Result<Option<(Tally, u64)>, Fatal> {
    let health = Health::default();
    let metrics = Metrics::new(&health);
    let Some(openings) = open_all(&context, context.global.sandbox()).await? else { return Ok(None) };
    let (open, missing) = awaited::divide(openings, !once)?;
    let Local { journal, locks, breaks } = context.open_local().await?;
    let status = Gatherer::of_daemon(health.clone(), journal.clone(), status::user_of(&context.config));
    let lock = {
        let (locked, metrics, status, breaks) = (locked.clone(), metrics.clone(), status.clone(), breaks.clone());
        move |folder: &Folder, root| {
            let watched = lock_folder(folder, root, &locks, &metrics, &locked)?;
            status.add(status_place(&watched, status.journal(), breaks.clone())?);
            Ok(watched)
        }
    };
    let Context { config, global, mut shutdown, .. } = context;
    let _status = status::serve(&config.state_dir, status.clone()).await;
    let Some(present) = for_each(open.into_iter(), lock.clone(), shutdown.clone()).await? else {
        return Ok(None);
    };
    let wait_for = |missing| awaited::wait_for(missing, lock.clone(), locked.clone());
    let folders = Folders { present, awaited: missing.into_iter().map(wait_for).collect() };
    // The address is bound before anything is sent, so that a wrong one ends the program at once.
    let listener = match config.listen.filter(|_| !once) {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    let allowed_hosts = config.allowed_hosts.clone();
    let destinations: Vec<_> = config.folders.iter().filter_map(|folder| folder.policy.dest.clone()).collect();
    let (grace, keep_receipts) = (config.grace, config.keep_receipts);
    let mode = Mode { once, grace, keep_receipts, anchor: config.anchor_folder() };
    let session = Session::open(config, &global).await?;
    session.trouble.raise("not logged in yet");
    health.add(Component::Start, Arc::new(session.trouble.clone()));
    health.add(Component::Login, Arc::new(session.client.login_health()));
    let _server = listener.map(|listener| listener.serve(health.clone(), metrics, allowed_hosts));
    let started = tokio::select! {
        started = start(&session, &destinations, &folders.present, once) => started.map(Some),
        () = shutdown.reached(Stop::Gently) => Ok(None),
    };
    let ended = match started {
        Ok(Some(())) => {
            let (printer, printed) = Printer::start(global.json);
            let patience = once.then_some(PATIENCE);
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, patience);
            shared.rate().set(session.config.limit_rate.clone());
            status.uploads(shared.transfers(), Arc::clone(shared.rate()));
            let print = move |report: &_| printer.print(report);
            locked.hand_over();
            let running = daemon::run(Arc::clone(&shared), folders, mode, print, &health, shutdown.clone());
            let ended = tokio::select! {
                ended = running => ended,
                never = reload(&session, &shared, reloads) => match never {},
            };
            let lines_dropped = printed.wait();
            ended.map(|tally| Some((tally, lines_dropped)))
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    ended
}

/// Where the status looks at a folder that is watched.
fn status_place(watched: &WatchedFolder, journal: Option<Journal>, breaks: LeaseBreaks) -> Result<Place, Fatal> {
    let WatchedFolder { root, policy, dest, counts, .. } = watched;
    let look = Look::new(Arc::clone(root), policy.clone(), dest.clone(), journal, breaks)
        .map_err(|error| Fatal::new(Exit::Usage, format!("a pattern of names to ignore can't be used: {error}")))?;
    Ok(Place { look, dest: dest.clone(), waiting: Some(counts.waiting.clone()) })
}

async fn bind(address: SocketAddr) -> Result<Listener, Fatal> {
    Listener::bind(address).await.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))
}

/// Logs in and looks up the destinations, also those of missing folders, so that a mistake shows at the start.
async fn start(
    session: &Session,
    destinations: &[RemotePath],
    present: &[WatchedFolder],
    once: bool,
) -> Result<(), Fatal> {
    session.log_in(!once).await?;
    for destination in destinations {
        session.has_destination(destination, !once).await?;
    }
    for folder in present {
        tracing::info!(folder = %folder.root.path().display(), dest = %folder.dest, "watching");
    }
    session.trouble.clear();
    Ok(())
}

/// At each SIGHUP, tries again at once what was refused: the user who sends the signal has mended something, perhaps a password.
async fn reload(session: &Session, shared: &Shared<Client>, mut reloads: Reloads) -> Infallible {
    loop {
        reloads.next().await;
        tracing::info!("reloading: what was refused is tried again");
        session.client.reload().await;
        shared.retry_now();
    }
}

/// Opens all folders. With `make` missing ones are made: with `--sandbox`, so that a first trial needs no preparation.
pub(super) async fn open_all(context: &Context, make: bool) -> Result<Option<Vec<Opening>>, Fatal> {
    let folders = context.config.folders.iter().map(|folder| (folder.clone(), ()));
    for_each(folders, move |folder, ()| open_folder(folder, make), context.shutdown.clone()).await
}

/// Blocks.
fn open_folder(folder: &Folder, make: bool) -> Result<Opening, Fatal> {
    if make {
        make_folder(folder)?;
    }
    match Root::open_trusted(&folder.path) {
        Ok(root) => Ok(Opening::Open(folder.clone(), root)),
        Err(error @ FolderError::Io(_)) => Ok(Opening::Missing(Missing::new(folder, not_taken(&folder.path, &error)))),
        Err(error @ FolderError::Controlled(_)) => Err(not_taken(&folder.path, &error)),
    }
}

/// Locks a folder for this process alone, and opens the folders to which its files are moved. The lock comes last, because it is held until
/// the program ends: a folder that is waited for is tried again after a failure, and its own lock would shut it out. Blocks.
fn lock_folder(
    folder: &Folder,
    root: Root,
    locks: &Arc<Locks>,
    metrics: &Metrics,
    locked: &LockedFolders,
) -> Result<WatchedFolder, Fatal> {
    let shown = folder.path.display();
    let Some(dest) = folder.policy.dest.clone() else {
        return Err(Fatal::new(Exit::Usage, format!("no destination for {shown}: give --dest PATH")));
    };
    let targets = MoveTargets::open(&folder.policy).map_err(|error| cannot_move(&error))?;
    let root = Arc::new(root.with_locks(locks, folder.policy.removes()));
    match root.lock() {
        Ok(true) => {}
        Ok(false) => return Err(Fatal::new(Exit::Held, held(&root, &shown.to_string()))),
        Err(error) => tracing::warn!(folder = %shown, "can't be locked against a second instance: {error}"),
    }
    locked.add(&root);
    let may_stay = folder.policy.removes() && !folder.policy.allow_unleased;
    if may_stay && root.may_hold_files_of_others() && !lease::allowed_on_files_of_others() {
        tracing::warn!(
            folder = %shown,
            "files of other users will be uploaded but stay here, because the kernel does not tell this user of their writers: give \
             this user CAP_LEASE (systemd: AmbientCapabilities=CAP_LEASE), or set allow_unleased = true"
        );
    }
    let counts = metrics.folder(root.path());
    Ok(WatchedFolder { root, policy: folder.policy.clone(), targets, dest, counts })
}

/// The error for a folder to which no file may be moved: a mistake in the configuration, or a folder that can't be opened.
pub(super) fn cannot_move(error: &MoveTargetError) -> Fatal {
    let exit = if matches!(error, MoveTargetError::Io(..)) { Exit::Missing } else { Exit::Usage };
    Fatal::new(exit, format!("no file is moved there: {error}"))
}

/// Who holds a folder that can't be locked: several pushes may share the lock of a folder, a watch shares its lock with no other process.
fn held(root: &Root, shown: &str) -> String {
    if root.share() {
        format!("a push is removing files from {shown} just now: try again when it has ended")
    } else {
        format!("another instance watches {shown} already")
    }
}

/// The error for a folder that is not opened because files are to be removed from it.
pub(super) fn not_taken(path: &Path, error: &FolderError) -> Fatal {
    match error {
        FolderError::Io(error) => cannot_open(path, error),
        FolderError::Controlled(controlled) => Fatal::new(Exit::Usage, controlled.to_string()),
    }
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Fatal {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Fatal::new(Exit::Missing, format!("the folder {shown} is missing: make it, or name another one"))
        }
        std::io::ErrorKind::NotADirectory => {
            Fatal::new(Exit::Missing, format!("{shown} is not a folder; to upload a file: astran-backup push {shown}"))
        }
        _ => Fatal::new(Exit::Missing, format!("the folder {shown} can't be opened: {error}")),
    }
}

#[expect(clippy::disallowed_methods, reason = "a user tries the sandbox with a folder of their own")]
fn make_folder(folder: &Folder) -> Result<(), Fatal> {
    std::fs::create_dir_all(&folder.path).map_err(|error| cannot_open(&folder.path, &error))
}

/// The exit code of a run of the daemon or of a push.
pub(super) fn exit_of(tally: &Tally, once: bool, shutdown: &Shutdown) -> Result<Exit, Fatal> {
    tracing::info!(stored = tally.stored, failed = tally.failed, waiting = tally.waiting, left = tally.left, "done");
    if let Some(error) = &tally.stopped {
        return Err(error.clone().into());
    }
    match shutdown.requested() {
        Stop::No if tally.failed > 0 || tally.waiting > 0 || tally.left > 0 => Ok(Exit::SomeFailed),
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
