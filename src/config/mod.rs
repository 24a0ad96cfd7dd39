//! The configuration: checked, complete, with every default filled in.
//!
//! ```text
//!  command line ─► overrides ─┐
//!  environment ───────────────┼─► inputs ─► load (service, login, policy_builder, folders) ─► Config
//!  file ─► parsed (file, read)┘
//! ```

mod addresses;
mod environment;
mod error;
mod file;
mod fleet;
mod folders;
mod host;
mod inputs;
mod keys;
mod load;
mod login;
mod notify;
pub mod overrides;
mod parsed;
mod places;
mod policy;
mod policy_builder;
mod rate;
mod read;
mod service;
pub(crate) mod values;

#[cfg(test)]
mod example;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use environment::Environment;
pub use error::ConfigError;
#[cfg(feature = "fleet")]
pub(crate) use fleet::login_of;
pub use fleet::{Database, Fleet, ReceiptsMode};
#[cfg(feature = "fleet")]
pub(crate) use host::host_name;
pub use login::{Grant, Login};
pub use notify::{Notify, NotifyEvents, SecretUrl};
pub use overrides::Overrides;
pub use policy::{After, Layout, MaxSize, OnConflict, Policy, Transfers, Verify};
pub use rate::RateLimit;
pub use service::Service;

use crate::vault::RemotePath;

/// All settings of one run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file that was read, if there was one.
    pub file: Option<PathBuf>,
    /// Where the service is.
    pub service: Service,
    /// Who logs in. `None` where the login is not complete: that is fine with `--sandbox`, see [`Config::login`] for the rest.
    pub login: Option<Login>,
    /// Why `login` is `None`: what is missing, and how to give it. Holds nothing secret.
    pub(crate) login_missing: Vec<String>,
    /// The policy of `push`, and of every folder that has no keys of its own; flags included.
    pub upload: Policy,
    /// How fast all uploads together may send.
    pub limit_rate: RateLimit,
    /// The folders that `watch` watches: DIR with the flags, or each `[[folder]]`.
    pub folders: Vec<Folder>,
    /// How long uploads under way may go on after a stop signal.
    pub grace: Duration,
    /// Where `watch` without `--once` shows its page and answers `/metrics`, `/healthz` and `/readyz`; nowhere where `None`.
    pub listen: Option<SocketAddr>,
    /// The host names, in addition to `localhost`, under which the listener answers.
    pub allowed_hosts: Vec<String>,
    /// Whether the listener's page has names of files, folders, users and hosts. Where it is `None`, only requests from this machine get them.
    pub page_names: Option<bool>,
    /// How long receipts are kept; for ever where `None`.
    pub keep_receipts: Option<Duration>,
    /// Where anchors of the receipts go in the vault.
    pub anchor: AnchorFolder,
    /// Who is told of trouble.
    pub notify: Notify,
    /// The database that has the receipts of many machines; `None` where this machine is in no fleet.
    pub fleet: Option<Fleet>,
    /// The folder of the journal.
    pub state_dir: PathBuf,
}

impl Config {
    /// The folder for anchors; `None` where anchors are off, or where no destination is known.
    pub fn anchor_folder(&self) -> Option<RemotePath> {
        match &self.anchor {
            AnchorFolder::Off => None,
            AnchorFolder::Folder(folder) => Some(folder.clone()),
            AnchorFolder::Dest => {
                let of_folders = || self.folders.iter().find_map(|folder| folder.policy.dest.clone());
                self.upload.dest.clone().or_else(of_folders)
            }
        }
    }

    /// Where a new configuration file belongs; `None` for a user without a home.
    pub(crate) fn place_of_new_file(environment: &Environment, is_root: bool) -> Option<PathBuf> {
        inputs::place_of_new_file(environment, is_root)
    }

    /// Who logs in. Where the login is not complete, the error says what is missing and how to give it.
    pub fn login(&self) -> Result<&Login, ConfigError> {
        let or = or_init(self.file.as_deref());
        let missing = || format!("the login is not complete: {}{or}", self.login_missing.join("; "));
        self.login.as_ref().ok_or_else(|| ConfigError::new(missing()))
    }
}

/// The end of a message about a missing value: where there is no configuration file yet, how to get one.
fn or_init(file: Option<&Path>) -> &'static str {
    if file.is_some() { "" } else { "; `astran-backup init` asks for all that is needed, and writes that file" }
}

/// Where anchors of the receipts go in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AnchorFolder {
    /// Into the destination, beside the documents.
    #[default]
    Dest,
    /// Into this folder.
    Folder(RemotePath),
    /// Nowhere.
    Off,
}

/// A folder and the policy for its files.
#[derive(Debug, Clone)]
pub struct Folder {
    /// The path as it was given; it may be relative to the working directory.
    pub path: PathBuf,
    /// What happens to its files.
    pub policy: Policy,
}

impl Folder {
    /// Where its path leads once its links are followed. The part that does not exist is taken as it is written. Blocks.
    pub(crate) fn place(&self) -> PathBuf {
        places::real(&self.path)
    }

    /// The folder, of those that its files are moved to, that lies in it. The start checks this, but can't where a file system does not
    /// answer yet. Blocks.
    pub(crate) fn target_inside(&self) -> Option<&std::path::Path> {
        let place = self.place();
        places::targets(self).find(|target| places::real(target).starts_with(&place))
    }
}
