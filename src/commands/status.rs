//! `status`: what the running daemons do, and why each file is still here; without one, what the journal and the folders tell.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::ZonedDateTime;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::context::Context;
use super::journals;
use super::output::Output;
use crate::budget;
use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::inventory::Look;
use crate::journal::Journal;
use crate::observe::health::{Component, Condition, Health};
use crate::shutdown::Stop;
use crate::status::{Answers, Gatherer, Place, Server, Snapshot, as_text, ask_all};

/// Prints the status. The exit code is 1 where something needs a person. A signal ends this at once.
pub(super) async fn run(mut context: Context, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let mut shutdown = context.shutdown.clone();
    let asked = tokio::select! {
        asked = ask(&mut context) => asked?,
        () = shutdown.reached(Stop::Gently) => return Ok(Exit::Interrupted),
    };
    let Answers { snapshots, silent } = asked;
    for (number, snapshot) in snapshots.iter().enumerate() {
        let between = if number > 0 { "\n" } else { "" };
        out.print(snapshot, || format!("{between}{}", as_text(snapshot, &ZonedDateTime::now())))?;
    }
    if let Some(silent) = silent.first() {
        return Err(Fatal::new(Exit::SomeFailed, silent.to_string()));
    }
    let needs_a_person = snapshots.iter().any(Snapshot::needs_a_person);
    Ok(if needs_a_person { Exit::SomeFailed } else { Exit::Done })
}

/// Asks the daemons; where there are none, the journal and the folders.
async fn ask(context: &mut Context) -> Result<Answers, Fatal> {
    let state_dir = &context.config.state_dir;
    let mut answers = ask_all(state_dir).await.map_err(|error| {
        let text = format!("the state directory {} can't be read: {error}", state_dir.display());
        Fatal::new(Exit::SomeFailed, text)
    })?;
    if answers.snapshots.is_empty() && answers.silent.is_empty() {
        answers.snapshots.push(without_a_daemon(context).await?);
    }
    Ok(answers)
}

/// What tells the status of this process. Dropping it ends that, and removes the socket.
#[derive(Debug)]
pub(super) struct Serving {
    _sampling: JoinSet<()>,
    _server: Option<Server>,
}

/// Starts to tell the status of this process. It is no reason to end the program where that is not possible, and none to wait long.
pub(super) async fn serve(state_dir: &Path, gatherer: Gatherer) -> Serving {
    let mut sampling = JoinSet::new();
    sampling.spawn(gatherer.clone().keep_sampling());
    let state_dir = state_dir.to_owned();
    let starting = timeout(budget::STATUS_START, spawn_blocking(move || Server::start(&state_dir, gatherer))).await;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the state directory does not answer");
    let started = starting.map_err(late).and_then(|ended| ended.map_err(io::Error::other)?);
    if let Err(error) = &started {
        tracing::warn!("`astran-backup status` can't ask this process: {error}");
    }
    Serving { _sampling: sampling, _server: started.ok() }
}

/// Who logs in, as far as the configuration says.
pub(super) fn user_of(config: &Config) -> Option<String> {
    config.login.as_ref().map(|login| login.user().to_owned())
}

/// What the journal and the configured folders tell. Nothing is made and nothing is written.
async fn without_a_daemon(context: &Context) -> Result<Snapshot, Fatal> {
    let config = &context.config;
    let breaks = LeaseBreaks::install()
        .map_err(|error| Fatal::new(Exit::SomeFailed, format!("the signal for leases can't be taken: {error}")))?;
    let (state_dir, service) = (config.state_dir.clone(), journals::service_of(config, &context.global));
    let (user, folders) = (user_of(config), config.folders.clone());
    let looking = spawn_blocking(move || {
        let journal = service.map(|service| Journal::peek(&state_dir, &service)).transpose()?.flatten();
        let health = Health::default();
        let gatherer = Gatherer::without_daemon(health.clone(), journal.clone(), user);
        for folder in &folders {
            let Some(dest) = folder.policy.dest.clone() else { continue };
            match Root::open(&folder.path) {
                Ok(root) => {
                    let look =
                        Look::new(Arc::new(root), folder.policy.clone(), dest.clone(), journal.clone(), breaks.clone())
                            .map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
                    gatherer.add(Place { look, dest, waiting: None });
                }
                Err(error) => {
                    let condition = Condition::default();
                    condition.raise(format!("it can't be opened: {error}"));
                    health.add(Component::Folder(folder.place().display().to_string()), Arc::new(condition));
                }
            }
        }
        Ok(gatherer.snapshot())
    });
    let Ok(looked) = timeout(budget::STATUS_CONNECTION, looking).await else {
        return Err(Fatal::new(Exit::Missing, "the file system of a watched folder does not answer"));
    };
    looked.map_err(Fatal::internal)?
}
