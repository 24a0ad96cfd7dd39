//! `push FILE…`: uploads files, folders or standard input now.

pub(super) mod arguments;
pub(super) mod expand;
mod finder;
pub(super) mod list;
mod spool;
mod submit;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::context::{Context, Local};
use super::open_folders::{LockedFolders, on_disk};
use super::print::Printer;
use super::session::{Memory, Session};
use super::shipments::Shipments;
use super::take_folder::cannot_move;
use super::totals::Counts;
use super::watch;
use crate::cli::Push;
use crate::config::{After, Config};
use crate::daemon::{self, Tally};
use crate::exit::{Exit, Fatal};
use crate::observe::metrics::FolderMetrics;
use crate::progress::{Progress, Work};
use crate::shutdown::{Shutdown, Stop};
use crate::upload::{Asked, MoveTargets, Options, PATIENCE, Shared, Uploader};
use crate::vault::RemotePath;

use arguments::{Argument, Missing, Roots};
use expand::{Given, Named};
use finder::Finder;
use list::List;
use submit::Submitter;

/// Files that may wait for an upload.
const QUEUE: usize = 256;

/// Uploads what the command line names.
pub(super) async fn run(context: Context, typed: &Push) -> Result<Exit, Fatal> {
    let locked = LockedFolders::new();
    let ended = push(context, typed, &locked).await;
    locked.tidy().await;
    ended
}

/// What is to be uploaded. All arguments are looked at before the first upload, so that one that can't be meant leaves nothing half done.
struct Prepared {
    dest: RemotePath,
    targets: MoveTargets,
    given: Given,
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
            let work = Work { transfers: shared.transfers(), waiting: Vec::new(), grace: session.config.grace.into() };
            let progress = Progress::start(global.shown(), work, shutdown.clone());
            let (printer, printed) = Printer::start(&global, progress.done());
            let asked = if typed.again { Asked::Again } else { Asked::ByName };
            let shipments = Shipments::start_unseen(&session.config, &shared).await;
            let ended = upload(&session.config, (shared, asked), prepared, printer, shutdown.clone()).await;
            let lines_dropped = printed.wait();
            drop(progress);
            shipments.end().await;
            ended.and_then(|(tally, named)| {
                totals.set(Counts::of_uploads(&tally, lines_dropped));
                named.any().map(|()| Some(tally))
            })
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    let options = watch::Options { once: true, strict: false };
    ended?.map_or(Ok(Exit::Interrupted), |tally| watch::exit_of(&tally, options, &shutdown))
}

/// Opens the folders of all arguments, ends what earlier pushes left there, and finds out what each argument is. What is missing is
/// reported later, with the rest: only where nothing that was named exists, there is nothing to do.
async fn prepare(config: &Config, typed: &Push, local: &Local, locked: &LockedFolders) -> Result<Prepared, Fatal> {
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    let targets = open_targets(config).await?;
    let roots = Roots::new(Arc::clone(&local.locks), config.upload.removes());
    let mut finder = Finder::new(Arc::new(config.clone()), roots, local.journal.clone(), locked.clone());
    let (mut arguments, mut missing) = (Vec::with_capacity(typed.files.len()), Vec::new());
    for file in &typed.files {
        match find(config, typed, local, &mut finder, file).await {
            Ok(argument) => arguments.push(argument),
            Err(fatal) if fatal.exit == Exit::Missing => {
                missing.push(Missing { typed: file.clone(), why: fatal.message });
            }
            Err(fatal) => return Err(fatal),
        }
    }
    let (list, mut named) = (open_list(typed).await?, Named::default());
    if list.is_none() && arguments.is_empty() {
        for missing in &missing {
            named.add_missing(missing);
        }
        named.any()?;
    }
    if arguments.iter().any(|argument| matches!(argument, Argument::StandardInput { .. })) {
        spool::clear_leftovers(&local.journal, &local.locks, &spool::folder(config)).await?;
    }
    let min_age = config.upload.min_age;
    Ok(Prepared { dest, targets, given: Given { arguments, missing, list: list.map(|list| (list, finder)), min_age } })
}

/// Opens the list of names that the command line gives, if any.
pub(super) async fn open_list(typed: &Push) -> Result<Option<List>, Fatal> {
    let Some(path) = typed.files_from.clone() else { return Ok(None) };
    let null = typed.null;
    on_disk(&path.clone(), move || List::open(&path, null)).await.map(Some)
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
async fn find(
    config: &Config,
    typed: &Push,
    local: &Local,
    finder: &mut Finder,
    file: &Path,
) -> Result<Argument, Fatal> {
    if is_standard_input(file) {
        let name = typed.name.clone();
        let name = name.ok_or_else(|| Fatal::new(Exit::Usage, "standard input has no name: give --name NAME"))?;
        return Ok(Argument::StandardInput { name, spool: spool::folder(config), locks: Arc::clone(&local.locks) });
    }
    if typed.name.is_some() {
        return Err(Fatal::new(Exit::Usage, "--name goes with - (standard input); files have their own names"));
    }
    finder.find(file).await
}

async fn start(session: &Session, dest: &RemotePath) -> Result<(), Fatal> {
    session.log_in(false).await?;
    session.has_destination(dest, false).await
}

async fn upload(
    config: &Config,
    (shared, asked): (Arc<Shared<crate::astran::Client>>, Asked),
    Prepared { dest, targets, given }: Prepared,
    printer: Printer,
    shutdown: Shutdown,
) -> Result<(Tally, Named), Fatal> {
    let (reports, reported) = mpsc::unbounded_channel();
    let (queue, files) = mpsc::channel(QUEUE);
    let (policy, counts) = (config.upload.clone(), FolderMetrics::detached());
    let uploader = Uploader::new(shared, Options { policy, targets, dest, asked, counts }, reports);
    let patience = daemon::patience_after_stop(config.grace, shutdown.clone());
    let uploading = uploader.run(files, config.grace, shutdown);
    let submitting = Submitter::new(queue, printer).run(given, reported, patience);
    let (stopped, submitted) = tokio::join!(uploading, submitting);
    let (tally, named) = submitted?;
    // Where the run was given up, not every name was looked at.
    let named = if stopped.is_some() { Named::default() } else { named };
    Ok((Tally { stopped, ..tally }, named))
}
