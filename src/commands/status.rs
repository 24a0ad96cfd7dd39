//! `status`: what the running daemons do, and why each file is still here; without one, what the journal and the folders tell.

use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::context::Context;
use super::journals;
use super::output::Output;
use crate::budget;
use crate::config::{Config, Folder};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::inventory::Look;
use crate::journal::Journal;
use crate::observe::health::Health;
use crate::status::{Gatherer, Place, Server, Snapshot, as_text, ask_all};

/// Prints the status. The exit code is 1 where something needs a person.
pub(super) async fn run(context: Context, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let state_dir = context.config.state_dir.clone();
    let asked = spawn_blocking(move || ask_all(&state_dir)).await.map_err(Fatal::internal)?;
    let mut snapshots = asked.map_err(|error| Fatal::new(Exit::SomeFailed, error.to_string()))?;
    if snapshots.is_empty() {
        snapshots.push(without_a_daemon(&context).await?);
    }
    for (number, snapshot) in snapshots.iter().enumerate() {
        let between = if number > 0 { "\n" } else { "" };
        out.print(snapshot, || format!("{between}{}", as_text(snapshot, &TimeZone::system())))?;
    }
    let needs_a_person = snapshots.iter().any(Snapshot::needs_a_person);
    Ok(if needs_a_person { Exit::SomeFailed } else { Exit::Done })
}

/// Starts to tell the status of this process. It is no reason to end the program where that is not possible.
pub(super) async fn serve(state_dir: &Path, gatherer: Gatherer) -> Option<Server> {
    let state_dir = state_dir.to_owned();
    let starting = spawn_blocking(move || Server::start(&state_dir, gatherer)).await;
    match starting.map_err(io::Error::other).and_then(|started| started) {
        Ok(server) => Some(server),
        Err(error) => {
            tracing::warn!("`astran-backup status` can't ask this process: {error}");
            None
        }
    }
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
        let gatherer = Gatherer::new(Health::default(), journal.clone(), user);
        for folder in &folders {
            if let Some(place) = place(folder, journal.clone(), breaks.clone())? {
                gatherer.add(place);
            }
        }
        Ok(gatherer.snapshot())
    });
    let Ok(looked) = timeout(budget::STATUS_CONNECTION, looking).await else {
        return Err(Fatal::new(Exit::Missing, "the file system of a watched folder does not answer"));
    };
    looked.map_err(Fatal::internal)?
}

/// A configured folder; `None`, with a line in the log, where it can't be opened. Blocks.
fn place(folder: &Folder, journal: Option<Journal>, breaks: LeaseBreaks) -> Result<Option<Place>, Fatal> {
    let Some(dest) = folder.policy.dest.clone() else { return Ok(None) };
    let root = match Root::open(&folder.path) {
        Ok(root) => Arc::new(root),
        Err(error) => {
            tracing::warn!("the folder {} can't be looked at: {error}", folder.path.display());
            return Ok(None);
        }
    };
    let look = Look::new(root, folder.policy.clone(), dest.clone(), journal, breaks)
        .map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
    Ok(Some(Place { look, dest, waiting: None }))
}
