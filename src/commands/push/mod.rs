//! `push FILE…`: uploads files, folders or standard input now.

pub(super) mod arguments;
mod spool;
mod submit;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::context::{Context, Local};
use super::open_folders::{LockedFolders, on_disk};
use super::print::Printer;
use super::session::{Memory, Session};
use super::take_folder::cannot_move;
use super::totals::Counts;
use super::watch;
use crate::cli::Push;
use crate::config::{After, Config};
use crate::daemon::{self, Tally};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::journal::Journal;
use crate::observe::metrics::FolderMetrics;
use crate::progress::{Progress, Work};
use crate::shutdown::{Shutdown, Stop};
use crate::upload::reconcile::startup;
use crate::upload::{MoveTargets, Options, PATIENCE, Shared, Uploader};
use crate::vault::RemotePath;

use arguments::{Argument, Roots};
use submit::Submitter;

/// Files that may wait for an upload.
const QUEUE: usize = 256;
/// How often, and how far apart, a push tries to share a folder that another process has locked: a push of a folder that is watched
/// waits for all of these tries.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Uploads what the command line names.
pub(super) async fn run(context: Context, typed: &Push) -> Result<Exit, Fatal> {
    let locked = LockedFolders::new();
    let ended = push(context, typed, &locked).await;
    locked.tidy().await;
    ended
}

/// What is to be uploaded: all of it is looked at before the first upload, so that a typing error leaves nothing half done.
struct Prepared {
    dest: RemotePath,
    targets: MoveTargets,
    arguments: Vec<Argument>,
}

async fn push(context: Context, typed: &Push, locked: &LockedFolders) -> Result<Exit, Fatal> {
    let local = context.open_local().await?;
    let Context { config, global, mut shutdown, totals } = context;
    let prepared = tokio::select! {
        prepared = prepare(&config, typed, &local, locked) => prepared?,
        () = shutdown.reached(Stop::Gently) => return Ok(Exit::Interrupted),
    };
    let session = Session::open(config, &global, Memory::OfCommand).await?;
    let started = tokio::select! {
        started = start(&session, &prepared.dest) => started.map(Some),
        () = shutdown.reached(Stop::Gently) => Ok(None),
    };
    let ended = match started {
        Ok(Some(())) => {
            let client = Arc::new(session.client.clone());
            let shared = Shared::new(client, local.journal, local.breaks, Some(PATIENCE));
            shared.rate().set(session.config.limit_rate.clone());
            let work = Work { transfers: shared.transfers(), waiting: Vec::new(), grace: session.config.grace };
            let progress = Progress::start(global.shown(), work, shutdown.clone());
            let (printer, printed) = Printer::start(&global, progress.done());
            let ended = upload(&session.config, shared, prepared, printer, shutdown.clone()).await;
            let lines_dropped = printed.wait();
            drop(progress);
            ended.map(|tally| {
                totals.set(Counts::of_uploads(&tally, lines_dropped));
                Some(tally)
            })
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    let options = watch::Options { once: true, strict: false };
    ended?.map_or(Ok(Exit::Interrupted), |tally| watch::exit_of(&tally, options, &shutdown))
}

/// Opens the folders of all arguments, ends what earlier pushes left there, and finds out what each argument is. All that asks
/// the file system of a user's folder, which may not answer, runs on threads that may block.
async fn prepare(config: &Config, typed: &Push, local: &Local, locked: &LockedFolders) -> Result<Prepared, Fatal> {
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    let roots = Roots::new(Arc::clone(&local.locks), config.upload.removes());
    for file in typed.files.iter().filter(|file| !is_standard_input(file)) {
        let (roots, path) = (roots.clone(), file.clone());
        on_disk(file, move || roots.of(&path)).await?;
    }
    if config.upload.after != After::Keep {
        resolve(&local.journal, &roots, locked).await?;
    }
    let targets = open_targets(config).await?;
    let shared = Arc::new(config.clone());
    let mut arguments = Vec::with_capacity(typed.files.len());
    for file in &typed.files {
        arguments.push(find(&shared, typed, &roots, file).await?);
    }
    if arguments.iter().any(|argument| matches!(argument, Argument::StandardInput { .. })) {
        spool::clear_leftovers(&local.journal, &local.locks, &spool::folder(config)).await?;
    }
    Ok(Prepared { dest, targets, arguments })
}

pub(super) fn is_standard_input(file: &Path) -> bool {
    file.as_os_str() == "-"
}

async fn open_targets(config: &Config) -> Result<MoveTargets, Fatal> {
    let policy = config.upload.clone();
    let After::Move(folder) = &config.upload.after else { return Ok(MoveTargets::default()) };
    on_disk(folder, move || MoveTargets::open(&policy).map_err(|error| cannot_move(&error))).await
}

/// Finds out what an argument is.
async fn find(config: &Arc<Config>, typed: &Push, roots: &Roots, file: &Path) -> Result<Argument, Fatal> {
    if is_standard_input(file) {
        let name = typed.name.clone();
        let name = name.ok_or_else(|| Fatal::new(Exit::Usage, "standard input has no name: give --name NAME"))?;
        return Ok(Argument::StandardInput { name, spool: spool::folder(config), locks: Arc::clone(roots.locks()) });
    }
    if typed.name.is_some() {
        return Err(Fatal::new(Exit::Usage, "--name goes with - (standard input); files have their own names"));
    }
    let (roots, config, path) = (roots.clone(), Arc::clone(config), file.to_owned());
    on_disk(file, move || Argument::find(&path, &config, &roots)).await
}

/// Puts back what an earlier push that was killed had set aside. What another process has set aside is that process's own, so
/// each folder is locked for this. Afterwards the lock is shared with other pushes until this one ends.
async fn resolve(journal: &Journal, roots: &Roots, locked: &LockedFolders) -> Result<(), Fatal> {
    for root in roots.all() {
        let (locking, locked) = (Arc::clone(&root), locked.clone());
        let lock = move || {
            let is_locked = locking.lock().unwrap_or(false);
            locked.add(&locking);
            Ok(is_locked)
        };
        if on_disk(root.path(), lock).await? {
            startup::resolve(journal, &root).await?;
        }
        share(&root).await?;
    }
    Ok(())
}

/// Shares the lock of a folder. Another push may have locked the folder for a moment, to put back files as this one does: if this
/// push did not share the lock then, that one would take its files for leftovers. A watch keeps the folder locked, and puts files
/// back itself, so this push waits no longer for it.
async fn share(root: &Arc<Root>) -> Result<(), Fatal> {
    for _ in 0..TRIES {
        let shared = Arc::clone(root);
        if on_disk(root.path(), move || Ok(shared.share())).await? {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(())
}

async fn start(session: &Session, dest: &RemotePath) -> Result<(), Fatal> {
    session.log_in(false).await?;
    session.has_destination(dest, false).await
}

async fn upload(
    config: &Config,
    shared: Arc<Shared<crate::astran::Client>>,
    Prepared { dest, targets, arguments }: Prepared,
    printer: Printer,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let (reports, reported) = mpsc::unbounded_channel();
    let (queue, files) = mpsc::channel(QUEUE);
    let (policy, counts) = (config.upload.clone(), FolderMetrics::detached());
    let uploader = Uploader::new(shared, Options { policy, targets, dest, forced: true, counts }, reports);
    let patience = daemon::patience_after_stop(config.grace, shutdown.clone());
    let uploading = uploader.run(files, config.grace, shutdown);
    let submitting = Submitter::new(queue, printer).run(arguments, reported, patience);
    let (stopped, tally) = tokio::join!(uploading, submitting);
    Ok(Tally { stopped, ..tally? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::lock::Locks;

    /// The folder, opened as another process with the same state opens it.
    fn open(dir: &tempfile::TempDir) -> Arc<Root> {
        Arc::new(Root::open(dir.path()).unwrap().with_locks(&Locks::open(dir.path()).unwrap(), true))
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_waits_a_fifth_of_a_second_at_most_for_a_watched_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (watch, push) = (open(&dir), open(&dir));
        assert!(watch.lock().unwrap());
        let start = tokio::time::Instant::now();
        share(&push).await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_shares_a_folder_that_another_push_had_locked_for_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (other, push) = (open(&dir), open(&dir));
        assert!(other.lock().unwrap());
        let moment = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(other);
        };
        tokio::join!(async { share(&push).await.unwrap() }, moment);
        assert!(!open(&dir).lock().unwrap(), "no other process can lock it now");
    }
}
