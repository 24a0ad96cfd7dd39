//! `push FILE…`: upload files, folders or standard input now.

mod feed;
mod named;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::print::Printer;
use super::session::Session;
use super::watch;
use crate::cli::{Global, Push};
use crate::config::{After, Config};
use crate::daemon::Tally;
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::journal::Journal;
use crate::metrics::Folder;
use crate::pipeline::{PATIENCE, Pipeline, Shared};
use crate::recovery;
use crate::remove;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::RemotePath;

use feed::Feed;
use named::{Named, Roots};

/// Files that may wait for an upload.
const QUEUE: usize = 256;

/// Uploads what was named.
pub async fn run(config: Config, global: &Global, typed: &Push, mut shutdown: Shutdown) -> Result<Exit, Fatal> {
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    let (journal, breaks) = super::local_parts(&config)?;
    let mut roots = Roots::default();
    for file in typed.files.iter().filter(|file| *file != Path::new("-")) {
        roots.of(file)?;
    }
    if config.upload.after != After::Keep {
        resolve(&journal, &roots).await?;
    }
    let find = |file: &PathBuf| Named::find(file, typed, &config, &mut roots);
    let named = typed.files.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(config, global).await?;
    let started = tokio::select! {
        started = start(&session, &dest) => started.map(Some),
        () = shutdown.reached(Stop::Gently) => Ok(None),
    };
    let ended = match started {
        Ok(Some(())) => {
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, Some(PATIENCE));
            let (printer, printed) = Printer::start(global.json);
            let ended = upload(&session.config, shared, dest, named, printer, shutdown.clone()).await;
            printed.wait();
            ended.map(Some)
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    for root in roots.all() {
        remove::tidy(root);
    }
    session.close().await;
    ended?.map_or(Ok(Exit::Interrupted), |tally| watch::exit_of(&tally, true, &shutdown))
}

/// Puts back what an earlier push was about to remove when it died. What another process is about to remove is its own:
/// the folders are taken, shared with other pushes, until this one has ended.
async fn resolve(journal: &Journal, roots: &Roots) -> Result<(), Fatal> {
    for root in roots.all() {
        if root.lock().unwrap_or(false) {
            recovery::resolve(journal, root).await?;
        }
        share(root).await;
    }
    Ok(())
}

/// Another push may have the folder alone for a moment, to do the same: without a share in it this one's files would be
/// taken for leftovers too. A watch has it for good, does this itself, and is not waited for any longer than that.
async fn share(root: &Root) {
    let until = Instant::now() + Duration::from_secs(2);
    while !root.share() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn start(session: &Session, dest: &RemotePath) -> Result<(), Fatal> {
    session.log_in(false).await?;
    session.has_destination(dest, false).await
}

async fn upload(
    config: &Config,
    shared: Arc<Shared<crate::astran::Client>>,
    dest: RemotePath,
    named: Vec<Named>,
    printer: Printer,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let (reports, reported) = mpsc::unbounded_channel();
    let (queue, files) = mpsc::channel(QUEUE);
    let pipeline = Pipeline::new(shared, config.upload.clone(), dest, true, reports, Folder::nowhere());
    let uploading = pipeline.run(files, config.grace, shutdown);
    let (stopped, tally) = tokio::join!(uploading, Feed::new(queue, printer).run(named, reported));
    Ok(Tally { stopped, ..tally? })
}
