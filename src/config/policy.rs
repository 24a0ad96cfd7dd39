//! What happens to files, put together layer by layer: defaults, `[upload]`, a `[[folder]]`, flags. Pure.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{AfterWord, UploadKeys};
use super::{After, ConfigError, Layout, MaxSize, OnConflict, Policy, Transfers, Verify};
use crate::cli::{Command, Push, Sending, Watch};

/// Names that browsers, editors, copying tools and office programs give to files they have not finished, and hidden files.
const IN_PROGRESS: [&str; 14] = [
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.filepart",
    "*.tmp",
    "*.swp",
    "*.swx",
    "*~",
    "~$*",
    ".~lock.*#",
    ".nfs*",
    ".fuse_hidden*",
    ".*",
];

impl Default for Policy {
    /// What holds where nothing says otherwise; no destination.
    fn default() -> Self {
        Self {
            dest: None,
            transfers: Transfers::Auto,
            max_size: MaxSize(None),
            settle: Duration::from_millis(500),
            verify: Verify::Answer,
            after: After::Delete,
            on_conflict: OnConflict::Rename,
            layout: Layout::Flat,
            failed_dir: None,
            ignore: IN_PROGRESS.map(str::to_owned).to_vec(),
            rescan: Duration::from_secs(300),
            allow_unleased: false,
            store_lag: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// Whether files leave the folder: those that are stored, or those that are refused.
    pub(crate) fn removes(&self) -> bool {
        self.after != After::Keep || self.failed_dir.is_some()
    }
}

/// A policy on its way.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyBuilder {
    pub(super) policy: Policy,
    /// The last `move_to` of a table, which a later `after = "move"` may use.
    move_to: Option<PathBuf>,
}

impl PolicyBuilder {
    /// With the keys of one table over it. `at` says where a key stands.
    pub(super) fn with_keys(mut self, keys: &UploadKeys, at: impl Fn(&str) -> String) -> Result<Self, ConfigError> {
        self.after(keys, at)?;
        let policy = &mut self.policy;
        replace_some(&mut policy.dest, keys.dest.as_ref());
        replace(&mut policy.transfers, keys.transfers.as_ref());
        replace(&mut policy.max_size, keys.max_size.as_ref());
        replace(&mut policy.settle, keys.settle.as_ref());
        replace(&mut policy.verify, keys.verify.as_ref());
        replace(&mut policy.on_conflict, keys.on_conflict.as_ref());
        replace(&mut policy.layout, keys.layout.as_ref());
        replace_some(&mut policy.failed_dir, keys.failed_dir.as_ref());
        replace(&mut policy.ignore, keys.ignore.as_ref());
        replace(&mut policy.rescan, keys.rescan.as_ref());
        replace(&mut policy.allow_unleased, keys.allow_unleased.as_ref());
        replace(&mut policy.store_lag, keys.store_lag.as_ref());
        Ok(self)
    }

    fn after(&mut self, keys: &UploadKeys, at: impl Fn(&str) -> String) -> Result<(), ConfigError> {
        let inherited = match &self.policy.after {
            After::Delete => AfterWord::Delete,
            After::Keep => AfterWord::Keep,
            After::Move(_) => AfterWord::Move,
        };
        replace_some(&mut self.move_to, keys.move_to.as_ref());
        self.policy.after = match (keys.after.unwrap_or(inherited), &self.move_to) {
            (AfterWord::Move, Some(dir)) => After::Move(dir.clone()),
            (AfterWord::Move, None) => {
                let place = at("after");
                return Err(ConfigError::new(format!(
                    "{place}: \"move\" needs a folder: add move_to = \"./Uploaded\""
                )));
            }
            _ if keys.move_to.is_some() => {
                let place = at("move_to");
                return Err(ConfigError::new(format!(
                    "{place}: files would not be moved there: add after = \"move\", or leave move_to out"
                )));
            }
            (AfterWord::Delete, _) => After::Delete,
            (AfterWord::Keep, _) => After::Keep,
        };
        Ok(())
    }

    /// With the flags over it: the last word.
    pub(super) fn with_flags(self, command: &Command) -> Policy {
        let mut policy = self.policy;
        match command {
            Command::Watch(watch) => watch_flags(&mut policy, watch),
            Command::Push(push) => push_flags(&mut policy, push),
            _ => {}
        }
        policy
    }
}

fn watch_flags(policy: &mut Policy, flags: &Watch) {
    sending_flags(policy, &flags.sending);
    replace(&mut policy.settle, flags.settle.as_ref());
    replace_some(&mut policy.failed_dir, flags.failed_dir.as_ref());
    if flags.keep {
        policy.after = After::Keep;
    } else if let Some(dir) = &flags.move_to {
        policy.after = After::Move(dir.clone());
    }
}

/// `push` keeps what it is not told to delete or move, whatever the file says for watched folders.
fn push_flags(policy: &mut Policy, flags: &Push) {
    sending_flags(policy, &flags.sending);
    policy.failed_dir = None;
    policy.after = match &flags.move_to {
        Some(dir) => After::Move(dir.clone()),
        None if flags.delete => After::Delete,
        None => After::Keep,
    };
}

/// Patterns add to those of the file: one more name to leave alone must not uncover half-written files.
fn sending_flags(policy: &mut Policy, flags: &Sending) {
    replace_some(&mut policy.dest, flags.dest.as_ref());
    replace(&mut policy.transfers, flags.transfers.as_ref());
    replace(&mut policy.verify, flags.verify.as_ref());
    replace(&mut policy.on_conflict, flags.on_conflict.as_ref());
    replace(&mut policy.layout, flags.layout.as_ref());
    policy.ignore.extend_from_slice(&flags.ignore);
}

fn replace<T: Clone>(value: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        value.clone_from(given);
    }
}

fn replace_some<T: Clone>(value: &mut Option<T>, given: Option<&T>) {
    if let Some(given) = given {
        *value = Some(given.clone());
    }
}
