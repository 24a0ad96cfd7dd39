//! The configuration as meant: checked, complete, with every default filled in.
//!
//! ```text
//!  file ──► written (keys and their lines) ─┐
//!  environment ─────────────────────────────┼─► load (service, login, policy, folders) ──► Config
//!  flags ───────────────────────────────────┘
//! ```

pub(crate) mod access;
mod environment;
mod error;
mod file;
mod folders;
mod keys;
mod load;
mod login;
mod parsed;
mod policy;
mod read;
mod service;
pub mod values;

#[cfg(test)]
mod example;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use url::Url;

pub use environment::Environment;
pub use error::ConfigError;

use crate::secret;
use crate::vault::RemotePath;

/// All that a command needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The configuration file that was read, if any.
    pub file: Option<PathBuf>,
    /// Where the service is.
    pub service: Service,
    /// Who we are there. `None` where nothing says so (fine for `--sandbox`, an error for everything else).
    pub login: Option<Login>,
    /// Why `login` is `None`: what is missing, and how to give it. Holds nothing secret.
    pub login_missing: Vec<String>,
    /// What holds for `push`, and for every folder that says nothing else; flags included.
    pub upload: Policy,
    /// What `watch` watches: DIR with the flags, or each `[[folder]]`.
    pub folders: Vec<Folder>,
    /// How long files under way may take after a stop signal.
    pub grace: Duration,
    /// Where `watch` without `--once` tells how it is; nowhere where `None`.
    pub listen: Option<SocketAddr>,
    /// The names beside `localhost` under which it answers there.
    pub allowed_hosts: Vec<String>,
    /// How long receipts are kept; for ever where `None`.
    pub keep_receipts: Option<Duration>,
    /// Where anchors of the receipts go in the vault.
    pub anchor: AnchorFolder,
    /// Where the journal lies.
    pub state_dir: PathBuf,
}

/// Where anchors of the receipts go in the vault.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AnchorFolder {
    /// Beside the documents, into the destination.
    #[default]
    Dest,
    /// Into this folder.
    Folder(RemotePath),
    /// Nowhere.
    Off,
}

impl Config {
    /// The folder for anchors; `None` where they are off, or where nothing names a destination.
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

    /// Who logs in; where nobody can, an error that says what is missing and how to give it.
    pub fn login(&self) -> Result<&Login, ConfigError> {
        let missing = || format!("the login is not complete: {}", self.login_missing.join("; "));
        self.login.as_ref().ok_or_else(|| ConfigError::new(missing()))
    }
}

/// Where the service is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Service {
    /// The realm's name.
    pub realm: String,
    /// The API's base, to which `/api/v2.1` is added; a path prefix is kept.
    pub api_url: Url,
    /// The login's base, to which `/auth/realms/…` is added; a path prefix is kept.
    pub auth_url: Url,
    /// What content is sent as.
    pub content_type: String,
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
}

impl Service {
    /// Whether nobody said where the service is; it is needed by the commands only that ask it.
    pub fn leads_nowhere(&self) -> bool {
        self.api_url.host_str().is_some_and(|host| host.ends_with(".unset.invalid"))
    }
}

/// Who logs in, and how.
#[derive(Debug, Clone)]
pub struct Login {
    /// The client of the login service (`client_id`).
    pub client_id: String,
    /// The secret of a confidential client.
    pub client_secret: Option<secret::Source>,
    /// How a token is asked for.
    pub grant: Grant,
}

impl Login {
    /// Who logs in, by name.
    pub fn user(&self) -> &str {
        match &self.grant {
            Grant::Password { username, .. } => username,
            Grant::ClientCredentials => &self.client_id,
        }
    }

    /// Where all secrets come from that a login takes.
    pub fn secrets(&self) -> impl Iterator<Item = &secret::Source> {
        let password = match &self.grant {
            Grant::Password { password, .. } => Some(password),
            Grant::ClientCredentials => None,
        };
        password.into_iter().chain(&self.client_secret)
    }
}

/// How a token is asked for.
#[derive(Debug, Clone)]
pub enum Grant {
    /// With a user's name and password.
    Password {
        /// The user's name.
        username: String,
        /// Where the password comes from.
        password: secret::Source,
    },
    /// With the client's own secret.
    ClientCredentials,
}

/// One watched folder.
#[derive(Debug, Clone)]
pub struct Folder {
    /// As given; may be relative to the working directory.
    pub path: PathBuf,
    /// What happens to its files.
    pub policy: Policy,
}

/// What happens to files.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The folder in the vault. `None` where nothing says so: a usage error for the commands that upload.
    pub dest: Option<RemotePath>,
    /// How many uploads at once.
    pub transfers: Transfers,
    /// The largest file that is sent.
    pub max_size: MaxSize,
    /// How long a closed file must stay untouched before it is taken.
    pub settle: Duration,
    /// What it takes to believe that the store has a file.
    pub verify: Verify,
    /// What happens to the local file once the store has it.
    pub after: After,
    /// What happens where the name is taken by other content.
    pub on_conflict: OnConflict,
    /// Where files of sub-folders go.
    pub layout: Layout,
    /// Where files go that the store refuses; in place where `None`.
    pub failed_dir: Option<PathBuf>,
    /// Names that mean "in progress": globs over a file's name.
    pub ignore: Vec<String>,
    /// How long between looks at the whole folder, whatever the events said; at least a second.
    pub rescan: Duration,
    /// Remove files of other users though nobody may tell this one of their writers.
    pub allow_unleased: bool,
    /// How long the store may still be storing an upload that was cut off.
    pub store_lag: Duration,
}

/// How many uploads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfers {
    /// Found out by measuring.
    Auto,
    /// Just so many; at least 1.
    Fixed(usize),
}

/// The largest file that is sent, in bytes; of any size where `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxSize(pub Option<u64>);

/// What it takes to believe that the store has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// A 2xx answer with an id, and whatever it says of name, size or checksum matches.
    Answer,
    /// Besides, the document is found in the destination with the right size.
    Listing,
    /// Besides, its content is read back and has the same SHA-256.
    Content,
}

/// What happens to the local file once the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It is deleted, by the guarded way.
    Delete,
    /// It stays.
    Keep,
    /// It is moved into this folder, by the same guarded way.
    Move(PathBuf),
}

/// What happens where the name is taken by other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The document gets a suffix that says why.
    Rename,
    /// The file fails and stays.
    Fail,
}

/// Where files of sub-folders go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// All into the destination itself.
    Flat,
    /// Into the sub-folder of the destination with the same path, which must exist.
    Mirror,
}
