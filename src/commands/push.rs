//! `push FILE…`: upload files, folders or standard input now.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::print::Printer;
use super::session::Session;
use crate::cli::{Global, Push};
use crate::config::{After, Config, Policy};
use crate::daemon::Tally;
use crate::exit::{Exit, Fatal};
use crate::file::lease::Breaks;
use crate::file::{Root, Settled};
use crate::journal::Journal;
use crate::pipeline::{Outcome, PATIENCE, Pipeline, Report, Shared};
use crate::remove;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::RemotePath;
use crate::watch::Names;

/// Files that may wait for an upload.
const QUEUE: usize = 256;
/// A file that somebody writes is tried again so often, so far apart; then it fails.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(500);

/// Uploads what was named.
pub async fn run(config: Config, global: &Global, typed: &Push, mut shutdown: Shutdown) -> Result<Exit, Fatal> {
    let Some(dest) = config.upload.dest.clone() else {
        return Err(Fatal::new(Exit::Usage, "no destination: give --dest PATH"));
    };
    let journal = Journal::open(&config.state_dir).map_err(|error| Fatal::new(Exit::SomeFailed, error.to_string()))?;
    let breaks = Breaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    let named = typed.files.iter().map(|file| Named::find(file, typed, &config)).collect::<Result<Vec<_>, _>>()?;
    let session = Session::open(config, global).await?;
    let started = tokio::select! {
        started = start(&session, &dest) => started,
        () = shutdown.reached(Stop::Gently) => return Ok(Exit::Interrupted),
    };
    let ended = match started {
        Ok(()) => {
            let shared = Shared::new(Arc::new(session.client.clone()), journal, breaks, Some(PATIENCE));
            let (reports, reported) = mpsc::unbounded_channel();
            let (queue, files) = mpsc::channel(QUEUE);
            let pipeline = Pipeline::new(shared, session.config.upload.clone(), dest, true, reports);
            let feed = Feed { queue, out: 0, tries: HashMap::new(), printer: Printer { json: global.json }, tally: Tally::default() };
            let uploading = pipeline.run(files, session.config.grace, shutdown.clone());
            let (stopped, tally) = tokio::join!(uploading, feed.run(named, reported));
            tally.map(|tally| Tally { stopped, ..tally })
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

/// Something that was named on the command line.
enum Named {
    File(Settled),
    Folder(Arc<Root>, Arc<Names>),
    /// Standard input, under this name, by way of this folder.
    Input(String, PathBuf),
}

impl Named {
    /// All are looked at before any is uploaded, so that a typing error leaves nothing half done.
    fn find(file: &Path, typed: &Push, config: &Config) -> Result<Self, Fatal> {
        if file == Path::new("-") {
            let name = typed.name.clone();
            let name = name.ok_or_else(|| Fatal::new(Exit::Usage, "standard input has no name: give --name NAME"))?;
            return Ok(Self::Input(name, config.state_dir.join("stdin")));
        }
        if typed.name.is_some() {
            return Err(Fatal::new(Exit::Usage, "--name goes with - (standard input); files have their own names"));
        }
        let missing = |error: io::Error| Fatal::new(Exit::Missing, format!("{} can't be uploaded: {error}", file.display()));
        if std::fs::symlink_metadata(file).map_err(missing)?.is_dir() {
            let names = Names::new(&config.upload.ignore).map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
            return Ok(Self::Folder(Arc::new(Root::open(file).map_err(missing)?), Arc::new(names)));
        }
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().ok_or_else(|| missing(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self::File(Settled::new(Arc::new(Root::open(parent).map_err(missing)?), name.into())))
    }
}

/// Hands files to the pipeline, tells what became of each, and hands those over again that somebody still wrote.
struct Feed {
    queue: mpsc::Sender<Settled>,
    /// Files handed over whose end is not known.
    out: usize,
    /// How often a file came back.
    tries: HashMap<PathBuf, u32>,
    printer: Printer,
    tally: Tally,
}

impl Feed {
    async fn run(mut self, named: Vec<Named>, mut reported: mpsc::UnboundedReceiver<Report>) -> Result<Tally, Fatal> {
        let (sender, mut found) = mpsc::channel(1);
        let finding = tokio::spawn(find_all(named, sender));
        let mut more = true;
        while more || self.out > 0 {
            tokio::select! {
                file = found.recv(), if more => match file {
                    Some(Ok(file)) => self.hand_over(file).await,
                    Some(Err(unreadable)) => self.unreadable(&unreadable),
                    None => more = false,
                },
                Some(report) = reported.recv() => self.ended(report),
            }
        }
        drop(self.queue);
        finding.await.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))??;
        // The pipeline ends with its queue; a removal may still have something to say.
        while let Some(report) = reported.recv().await {
            self.tally.count(&report.outcome);
            self.printer.tell(&report);
        }
        Ok(self.tally)
    }

    async fn hand_over(&mut self, file: Settled) {
        match self.queue.send(file).await {
            Ok(()) => self.out += 1,
            // The pipeline has given up.
            Err(_) => self.tally.left += 1,
        }
    }

    fn unreadable(&mut self, what: &str) {
        self.tally.failed += 1;
        tracing::error!("{what}");
    }
