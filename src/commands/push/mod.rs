//! `push FILE…`: upload files, folders or standard input now.

mod feed;
mod named;

use std::sync::Arc;

use tokio::sync::mpsc;

use super::print::Printer;
use super::session::Session;
use super::watch;
use crate::cli::{Global, Push};
use crate::config::{After, Config};
use crate::daemon::{self, Tally};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::journal::Journal;
use crate::pipeline::{PATIENCE, Pipeline, Shared};
use crate::remove;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::RemotePath;

use feed::Feed;
use named::Named;

/// Files that may wait for an upload.
const QUEUE: usize = 256;

/// Uploads what was named.
pub async fn run(config: Config, global: &Global, typed: &Push, mut shutdown: Shutdown) -> Result<Exit, Fatal> {
    let dest = config.upload.dest.clone();
    let dest = dest.ok_or_else(|| Fatal::new(Exit::Usage, "no destination: give --dest PATH"))?;
    let named = typed.files.iter().map(|file| Named::find(file, typed, &config)).collect::<Result<Vec<_>, _>>()?;
    let (journal, breaks) = super::local_parts(&config)?;
    if config.upload.after != After::Keep {
        resolve(&journal, &named).await?;
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
            let ended = upload(&session.config, shared, dest, named, printer, shutdown.clone()).await;
            printed.wait();
            ended.map(Some)
        }
        Ok(None) => Ok(None),
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    ended?.map_or(Ok(Exit::Interrupted), |tally| watch::exit_of(&tally, true, &shutdown))
}

/// Puts back what an earlier push was about to remove when it died; not in a folder that is watched, which does that itself.
async fn resolve(journal: &Journal, named: &[Named]) -> Result<(), Fatal> {
    for root in named.iter().filter_map(Named::root) {
        // Locked as long as this is open, and no longer: a watch may want to start while files are pushed.
        let own = Root::open(root.path()).and_then(|own| Ok((own.lock()?, own)));
        if let Ok((true, own)) = own {
            daemon::resolve(journal, &own).await?;
        }
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
    dest: RemotePath,
    named: Vec<Named>,
    printer: Printer,
    shutdown: Shutdown,
) -> Result<Tally, Fatal> {
    let roots: Vec<_> = named.iter().filter_map(Named::root).cloned().collect();
    let (reports, reported) = mpsc::unbounded_channel();
    let (queue, files) = mpsc::channel(QUEUE);
    let pipeline = Pipeline::new(shared, config.upload.clone(), dest, true, reports);
    let uploading = pipeline.run(files, config.grace, shutdown);
    let (stopped, tally) = tokio::join!(uploading, Feed::new(queue, printer).run(named, reported));
    for root in roots {
        remove::tidy(&root);
    }
    Ok(Tally { stopped, ..tally? })
}
