//! SIGHUP while `watch` runs: configuration and secrets are read again, and what has changed there changes here. Folders that did not change go
//! on undisturbed.
//!
//! A configuration is taken as a whole or not at all: with a mistake in it, or a change that needs a restart, the one that held before stays.
//! A state that stands in no file would be hard to understand, and could send files of a new folder to an old service.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::ZonedDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::notified::Notified;
use super::open_folders::{no_answer, on_disk};
use super::session::{self, Session};
use super::take_folder::{self, FolderTaker};
use super::{awaited, load_config};
use crate::astran::{Client, SecretSources};
use crate::budget;
use crate::config::{Config, Environment, Folder, Grant, Login, Overrides, Policy};
use crate::daemon::{Changes, Leaving, Settings};
use crate::exit::{Exit, Fatal};
use crate::filter::Filter;
use crate::observe::health::Health;
use crate::observe::http::{Access, Server};
use crate::observe::last_reload::{FailedReload, LastReload};
use crate::service_manager::ServiceManager;
use crate::shutdown::Reloads;
use crate::upload::{MoveTargets, Shared};

/// The requests to reload, and what it takes to load the configuration as at the start.
pub(super) struct Reloader {
    pub(super) requests: Reloads,
    pub(super) overrides: Overrides,
    pub(super) environment: Environment,
    pub(super) manager: ServiceManager,
    /// A request came that was not dealt with yet.
    pub(super) is_pending: bool,
}

/// What a reload can change.
pub(super) struct Running<'a> {
    /// As it was loaded.
    pub(super) config: Config,
    /// Where each watched folder lies, and its policy.
    pub(super) folders: Vec<(PathBuf, Policy)>,
    pub(super) session: &'a Session,
    pub(super) shared: &'a Shared<Client>,
    pub(super) taker: FolderTaker,
    pub(super) changes: mpsc::UnboundedSender<Changes>,
    pub(super) server: Option<&'a Server>,
    pub(super) notified: &'a Notified,
    pub(super) health: Health,
    /// Where `status` and the metrics see how the reload ended.
    pub(super) last_reload: LastReload,
}

/// What may change while the daemon runs.
pub(super) fn settings_of(config: &Config) -> Settings {
    Settings { grace: config.grace.into(), keep_receipts: config.keep_receipts, anchor: config.anchor_folder() }
}

/// What the listener tells to whom.
pub(super) fn access_of(config: &Config) -> Access {
    Access { allowed_hosts: config.allowed_hosts.clone(), page_names: config.page_names }
}

impl Reloader {
    /// Answers the service manager during the start, which waits for the service perhaps: it gives up on a reload that never ends. What was
    /// asked for is done once the start is over.
    pub(super) async fn while_starting(&mut self) -> Infallible {
        loop {
            self.requests.next().await;
            self.is_pending = true;
            tracing::info!("the configuration is read again once the start is over");
            self.manager.reloading().await;
            self.manager.reloaded(None).await;
        }
    }

    /// Reloads at each request, for ever.
    pub(super) async fn run(mut self, mut running: Running<'_>) -> Infallible {
        loop {
            if !std::mem::take(&mut self.is_pending) {
                self.requests.next().await;
            }
            self.manager.reloading().await;
            tracing::info!("reloading: configuration and secrets are read again, and what was refused is tried again");
            let at = SystemTime::now();
            let note = match running.reload(&self).await {
                Ok(()) => {
                    running.last_reload.set(None);
                    None
                }
                Err(why) => {
                    tracing::error!("nothing of the new configuration was taken, and the one before it holds: {why}");
                    running.last_reload.set(Some(FailedReload { at, reason: why.to_string() }));
                    let at = ZonedDateTime::now().strftime("%H:%M").to_string();
                    Some(format!("the reload at {at} failed, and the configuration before it holds: {why}"))
                }
            };
            // The user who sends the signal has mended something, perhaps a password or a right.
            running.session.client.reload(None).await;
            running.shared.retry_now();
            self.manager.reloaded(note).await;
        }
    }

    async fn load(&self) -> Result<Config, Fatal> {
        load_config(self.overrides.clone(), self.environment.clone()).await
    }
}

impl Running<'_> {
    async fn reload(&mut self, reloader: &Reloader) -> Result<(), Fatal> {
        let config = reloader.load().await?;
        let restart = needs_restart(&self.config, &config);
        if !restart.is_empty() {
            let keys = restart.join(", ");
            return Err(Fatal::new(Exit::Usage, format!("these changes need a restart of the program: {keys}")));
        }
        let secrets = secrets_of(config.login.as_ref());
        for source in secrets.iter().flat_map(SecretSources::all).filter(|source| source.path().is_some()) {
            source.read().await.map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
        }
        let wanted = placed(&config.folders).await?;
        let changes = difference(&self.folders, &wanted);
        for (_, folder) in &changes.join {
            check(folder).await?;
        }
        // The last step that can fail.
        if config.notify != self.config.notify {
            self.notified.restart(&config, &self.health).await?;
        }
        self.take(config, wanted, secrets).await;
        Ok(())
    }

    /// Takes a configuration that was checked.
    async fn take(&mut self, config: Config, wanted: Vec<(PathBuf, Folder)>, secrets: Option<SecretSources>) {
        if let Some(secrets) = secrets.filter(|new| !are_same(new, secrets_of(self.config.login.as_ref()).as_ref())) {
            self.session.client.reload(Some(secrets)).await;
        }
        self.shared.rate().set(config.limit_rate.clone());
        if let Some(server) = self.server {
            server.set_access(access_of(&config));
        }
        let Difference { leave, join } = difference(&self.folders, &wanted);
        tracing::info!(leaving = leave.len(), joining = join.len(), "the new configuration holds");
        self.change_folders(leave, join, settings_of(&config));
        self.folders = wanted.into_iter().map(|(place, folder)| (place, folder.policy)).collect();
        self.config = config;
    }

    /// A folder with other settings leaves, and joins again once its files under way have ended.
    fn change_folders(&self, leave: Vec<PathBuf>, join: Vec<(PathBuf, Folder)>, settings: Settings) {
        let mut leaving = Vec::with_capacity(leave.len());
        let mut after = Vec::new();
        for place in leave {
            let (left, has_left) = oneshot::channel();
            leaving.push(Leaving { place: place.clone(), left });
            after.push((place, has_left));
        }
        let mut joining = Vec::with_capacity(join.len());
        for (place, folder) in join {
            let earlier = after.iter().position(|(left, _)| *left == place).map(|at| after.swap_remove(at).1);
            joining.push(awaited::join(folder, place, self.taker.clone(), earlier));
        }
        for (place, has_left) in after {
            let taker = self.taker.clone();
            // An error: the daemon has ended.
            tokio::spawn(async move { has_left.await.map(|()| taker.forget(&place)) });
        }
        // Where the daemon has ended, nothing changes any more.
        self.changes.send(Changes { leave: leaving, join: joining, settings }).ok();
    }
}

/// Where the folders lie. Their file systems may not answer.
async fn placed(folders: &[Folder]) -> Result<Vec<(PathBuf, Folder)>, Fatal> {
    let asked = folders.to_vec();
    let asking = spawn_blocking(move || asked.into_iter().map(|folder| (folder.place(), folder)).collect());
    match timeout(budget::RECOVERY, asking).await {
        Ok(placed) => placed.map_err(Fatal::internal),
        Err(_elapsed) => Err(no_answer(&folders.first().map(|folder| folder.path.clone()).unwrap_or_default())),
    }
}

/// Checks a folder that is to join. One that is missing is waited for; what a person must mend is a mistake.
async fn check(folder: &Folder) -> Result<(), Fatal> {
    let checked = folder.clone();
    let work = move || {
        let Policy { ignore, exclude, include, .. } = &checked.policy;
        Filter::new(ignore, exclude, include)?;
        MoveTargets::open(&checked.policy).map_err(|error| take_folder::cannot_move(&error))?;
        take_folder::open(&checked.path).map(drop)
    };
    match on_disk(&folder.path, work).await {
        Err(fatal) if fatal.exit != Exit::Missing => Err(fatal),
        _ => Ok(()),
    }
}

/// The folders that leave and those that join; one with other settings does both.
#[derive(Debug)]
struct Difference {
    leave: Vec<PathBuf>,
    join: Vec<(PathBuf, Folder)>,
}

/// Compares the watched folders with the wanted ones. Pure.
fn difference(watched: &[(PathBuf, Policy)], wanted: &[(PathBuf, Folder)]) -> Difference {
    let stays = |place: &PathBuf, policy: &Policy| {
        wanted.iter().any(|(other, folder)| other == place && folder.policy == *policy)
    };
    let is_there = |place: &PathBuf, folder: &Folder| {
        watched.iter().any(|(other, policy)| other == place && *policy == folder.policy)
    };
    Difference {
        leave: watched.iter().filter(|(place, policy)| !stays(place, policy)).map(|(place, _)| place.clone()).collect(),
        join: wanted.iter().filter(|(place, folder)| !is_there(place, folder)).cloned().collect(),
    }
}

/// The settings that differ and can't change while the program runs: the journal, the connection and the session hang on them. Pure.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let user = |config: &Config| {
        config.login.as_ref().map(|login| {
            (login.client_id.clone(), login.user().to_owned(), matches!(login.grant, Grant::ClientCredentials))
        })
    };
    let (was, is) = (&old.service, &new.service);
    let differing = [
        ("realm", was.realm != is.realm),
        ("api_url", was.api_url != is.api_url),
        ("auth_url", was.auth_url != is.auth_url),
        ("content_type", was.content_type != is.content_type),
        ("ca_file", was.ca_file != is.ca_file),
        ("who logs in (client_id, username, grant)", user(old) != user(new)),
        ("listen", old.listen != new.listen),
        ("[fleet]", !fleet_is_same(old, new)),
        ("the state directory", old.state_dir != new.state_dir),
    ];
    differing.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
}

fn fleet_is_same(old: &Config, new: &Config) -> bool {
    match (&old.fleet, &new.fleet) {
        (Some(old), Some(new)) => old.is_same_as(new),
        (None, None) => true,
        _ => false,
    }
}

fn secrets_of(login: Option<&Login>) -> Option<SecretSources> {
    login.map(|login| session::credentials(login).secrets())
}

/// Whether all secrets come from where they came from.
fn are_same(new: &SecretSources, old: Option<&SecretSources>) -> bool {
    let Some(old) = old else { return false };
    let same = |new: Option<&crate::secret::Source>, old: Option<&crate::secret::Source>| match (new, old) {
        (Some(new), Some(old)) => new.is_same_as(old),
        (None, None) => true,
        _ => false,
    };
    same(new.password.as_ref(), old.password.as_ref()) && same(new.client.as_ref(), old.client.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn folder(path: &str, settle: u64) -> (PathBuf, Folder) {
        let policy = Policy { settle: Duration::from_secs(settle), ..Policy::default() };
        (path.into(), Folder { path: path.into(), policy })
    }

    #[test]
    fn only_folders_that_changed_leave_or_join() {
        let watched: Vec<_> = [folder("/a", 1), folder("/b", 1), folder("/c", 1)]
            .into_iter()
            .map(|(place, folder)| (place, folder.policy))
            .collect();
        let Difference { leave, join } = difference(&watched, &[folder("/a", 1), folder("/b", 2), folder("/d", 1)]);
        assert_eq!(leave, [PathBuf::from("/b"), PathBuf::from("/c")]);
        let joining: Vec<_> = join.iter().map(|(place, _)| place.clone()).collect();
        assert_eq!(joining, [PathBuf::from("/b"), PathBuf::from("/d")]);
    }
}
