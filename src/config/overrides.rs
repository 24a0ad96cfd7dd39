//! What the command line says about the configuration, as plain values. They win over the environment and the file.

use std::path::PathBuf;
use std::time::Duration;

use super::{After, Layout, MaxSize, OnConflict, RateLimit, Transfers, Verify};
use crate::vault::RemotePath;

/// What the command line says about the configuration; `None` where it says nothing.
///
/// The addresses, the realm and the folder for anchors are unchecked text: a command line's parser repeats a bad value in its
/// message, and an address may hold a password.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `--config`
    pub file: Option<PathBuf>,
    /// `--realm`
    pub realm: Option<String>,
    /// `--api-url`
    pub api_url: Option<String>,
    /// `--auth-url`
    pub auth_url: Option<String>,
    /// `--ca-file`
    pub ca_file: Option<PathBuf>,
    /// `--client-id`
    pub client_id: Option<String>,
    /// `--username`
    pub username: Option<String>,
    /// `--password-file`
    pub password_file: Option<PathBuf>,
    /// `--state-dir`
    pub state_dir: Option<PathBuf>,
    /// `--anchor`
    pub anchor: Option<String>,
    /// `--limit-rate`
    pub limit_rate: Option<RateLimit>,
    /// `--sandbox`: the service is the embedded one, and configured folders are left alone.
    pub sandbox: bool,
    /// What the command does, which decides what the configuration must contain.
    pub task: Task,
}

/// What a command does with the configuration.
#[derive(Debug, Clone, Default)]
pub enum Task {
    /// It asks nothing of the service, whose address may be missing.
    #[default]
    Local,
    /// It asks something of the service, and uploads nothing.
    Ask,
    /// It watches folders.
    Watch(WatchOverrides),
    /// It uploads files now.
    Push(PushOverrides),
}

/// What the command line of `watch` says.
#[derive(Debug, Clone, Default)]
pub struct WatchOverrides {
    /// The folder to watch; each configured one where `None`.
    pub dir: Option<PathBuf>,
    /// The flags that change the policy of the folders.
    pub policy: PolicyOverrides,
    /// Whether a home or system folder may be watched.
    pub allow_any_folder: bool,
}

/// What the command line of `push` says.
#[derive(Debug, Clone)]
pub struct PushOverrides {
    /// The files and folders to upload.
    pub files: Vec<PathBuf>,
    /// The flags that change the policy.
    pub policy: PolicyOverrides,
    /// What happens to the files once the store has them. Nothing but the command line decides this for `push`.
    pub after: After,
    /// Whether files may be removed from a home or system folder.
    pub allow_any_folder: bool,
}

/// The flags that change a [`Policy`](super::Policy).
#[derive(Debug, Clone, Default)]
pub struct PolicyOverrides {
    /// `--dest`
    pub dest: Option<RemotePath>,
    /// `--transfers`
    pub transfers: Option<Transfers>,
    /// `--verify`
    pub verify: Option<Verify>,
    /// `--on-conflict`
    pub on_conflict: Option<OnConflict>,
    /// `--layout`
    pub layout: Option<Layout>,
    /// `--ignore`, which adds to the configured patterns.
    pub ignore: Vec<String>,
    /// `--exclude`, which adds to the configured patterns.
    pub exclude: Vec<String>,
    /// `--include`, which replaces the configured patterns.
    pub include: Vec<String>,
    /// `--min-age`
    pub min_age: Option<Duration>,
    /// `--max-size`
    pub max_size: Option<MaxSize>,
    /// `--prune-empty`
    pub prune_empty: bool,
    /// `--settle`
    pub settle: Option<Duration>,
    /// `--failed-dir`
    pub failed_dir: Option<PathBuf>,
    /// `--keep`, `--move-to`
    pub after: Option<After>,
}

impl Task {
    /// Whether the command needs the address of the service.
    pub(super) fn asks_service(&self) -> bool {
        !matches!(self, Self::Local)
    }

    /// What was named on the command line of a `push` that removes files, the folders only.
    pub(super) fn emptied(&self) -> impl Iterator<Item = &PathBuf> {
        let files = match self {
            Self::Push(push) if push.after != After::Keep => push.files.as_slice(),
            _ => &[],
        };
        files.iter().filter(|file| file.is_dir())
    }
}
