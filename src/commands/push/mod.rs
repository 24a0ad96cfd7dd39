//! `push FILE…`: upload files, folders or standard input now.

mod feed;
mod named;
mod spool;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::print::Printer;
use super::session::Session;
use super::watch;
use crate::cli::{Global, Push};
use crate::config::{After, Config};
use crate::daemon::{self, Tally};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::file::lock::Locks;
use crate::journal::Journal;
use crate::observe::metrics::FolderMetrics;
use crate::shutdown::{Shutdown, Stop};
use crate::upload::reconcile::startup;
use crate::upload::{MoveTargets, Options, PATIENCE, Shared, Uploader};
use crate::vault::RemotePath;

use feed::Feed;
use named::{Named, Roots};

/// Files that may wait for an upload.
const QUEUE: usize = 256;
/// A folder that another process has is asked for so often, so far apart: a push with a watch has to wait for all of it.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Uploads what was named.
pub async fn run(config: Config, global: &Global, typed: &Push, shutdown: Shutdown) -> Result<Exit, Fatal> {
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    let parts = super::local_parts(&config, global).await?;
    let mut roots = Roots::new(Arc::clone(&parts.1), config.upload.removes());
    let ended = push(config, global, typed, shutdown, (dest, parts), &mut roots).await;
    daemon::tidy_all(roots.all().cloned()).await;
    ended
}

/// What a push needs on this machine, and its destination.
type Components = (RemotePath, (Journal, Arc<Locks>, LeaseBreaks));

/// The folders of what was named are in `roots` afterwards, however this ends.
async fn push(
    config: Config,
    global: &Global,
    typed: &Push,
    mut shutdown: Shutdown,
    (dest, (journal, locks, breaks)): Components,
    roots: &mut Roots,
) -> Result<Exit, Fatal> {
    for file in typed.files.iter().filter(|file| *file != Path::new("-")) {
        roots.of(file)?;
    }
    if config.upload.after != After::Keep {
        tokio::select! {
            resolved = resolve(&journal, roots) => resolved?,
            () = shutdown.reached(Stop::Gently) => return Ok(Exit::Interrupted),
        }
    }
    let targets = MoveTargets::open(&config.upload).map_err(|error| watch::cannot_move(&error))?;
    let find = |file: &PathBuf| Named::find(file, typed, &config, roots);
    let named = typed.files.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    for named in &named {
        if let Named::Input(_, folder, _) = named {
            spool::clear_leftovers(&journal, &locks, folder).await?;
        }
    }
    let session = Session::open(config, global).await?;
    let started = tokio::select! {
        started = start(&session, &dest) => started.map(Some),
        () = shutdown.reached(Stop::Gently) => Ok(None),
    };
    let ended = match started {
        Ok(Some(())) => {
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, Some(PATIENCE));
            let (printer, printed) = Printer::start(global.json);
            let ended = upload(&session.config, shared, targets, dest, named, printer, shutdown.clone()).await;
            printed.wait();
            ended.map(Some)
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    ended?.map_or(Ok(Exit::Interrupted), |tally| watch::exit_of(&tally, true, &shutdown))
}

/// Puts back what an earlier push was about to remove when it died. What another process is about to remove is its own:
/// the folders are taken, shared with other pushes, until this one has ended.
async fn resolve(journal: &Journal, roots: &Roots) -> Result<(), Fatal> {
    for root in roots.all() {
        if root.lock().unwrap_or(false) {
            startup::resolve(journal, root).await?;
        }
        share(root).await;
    }
    Ok(())
}

/// Another push may have the folder alone for a moment, to do the same: without a share in it this one's files would be
/// taken for leftovers too. A watch has it for good, does this itself, and is not waited for any longer than that.
async fn share(root: &Root) {
    for _ in 0..TRIES {
        if root.share() {
            return;
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

async fn start(session: &Session, dest: &RemotePath) -> Result<(), Fatal> {
    session.log_in(false).await?;
    session.has_destination(dest, false).await
}

async fn upload(
    config: &Config,
    shared: Arc<Shared<crate::astran::Client>>,
    targets: MoveTargets,
    dest: RemotePath,
    named: Vec<Named>,
    printer: Printer,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let (reports, reported) = mpsc::unbounded_channel();
    let (queue, files) = mpsc::channel(QUEUE);
    let (policy, counts) = (config.upload.clone(), FolderMetrics::detached());
    let uploader = Uploader::new(shared, Options { policy, targets, dest, forced: true, counts }, reports);
    let patience = daemon::patience_after_stop(config.grace, shutdown.clone());
    let uploading = uploader.run(files, config.grace, shutdown);
    let (stopped, tally) = tokio::join!(uploading, Feed::new(queue, printer).run(named, reported, patience));
    Ok(Tally { stopped, ..tally? })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder, as each of several processes with the same state has it open.
    fn open(dir: &tempfile::TempDir) -> Root {
        Root::open(dir.path()).unwrap().with_locks(&Locks::open(dir.path()).unwrap(), true)
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_a_watch_has_is_waited_for_in_no_way_that_anybody_notices() {
        let dir = tempfile::tempdir().unwrap();
        let (watch, push) = (open(&dir), open(&dir));
        assert!(watch.lock().unwrap());
        let start = tokio::time::Instant::now();
        share(&push).await;
        assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_another_push_has_alone_for_a_moment_is_shared_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (other, push) = (open(&dir), open(&dir));
        assert!(other.lock().unwrap());
        let moment = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(other);
        };
        tokio::join!(share(&push), moment);
        assert!(!open(&dir).lock().unwrap(), "nobody can have it alone now");
    }
}
