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
use crate::daemon::Tally;
use crate::exit::{Exit, Fatal};
use crate::pipeline::{PATIENCE, Pipeline, Shared};
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
        named.iter().for_each(Named::recover);
    }
    let session = Session::open(config, global).await?;
    let started = tokio::select! {
        started = start(&session, &dest) => started,
        () = shutdown.reached(Stop::Gently) => return Ok(Exit::Interrupted),
    };
    let ended = match started {
        Ok(()) => {
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, Some(PATIENCE));
            upload(&session.config, shared, dest, named, Printer { json: global.json }, shutdown.clone()).await
        }
        Err(fatal) => Err(fatal),
    };
    session.close().await;
    watch::exit_of(&ended?, true, &shutdown)
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
    let pipeline = Pipeline::new(shared, config.upload.clone(), dest, true, reports);
    let uploading = pipeline.run(files, config.grace, shutdown);
    let (stopped, tally) = tokio::join!(uploading, Feed::new(queue, printer).run(named, reported));
    Ok(Tally { stopped, ..tally? })
}
