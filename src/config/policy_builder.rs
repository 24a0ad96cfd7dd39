//! Builds a policy layer by layer: defaults, `[upload]`, a `[[folder]]`, the command line. Pure.

use std::path::PathBuf;

use super::file::{AfterWord, UploadKeys};
use super::overrides::{PolicyOverrides, Task};
use super::{After, ConfigError, Policy};

/// A policy to which layers are added.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyBuilder {
    pub(super) policy: Policy,
    /// The newest layer's `move_to`, which an `after = "move"` of a later layer may use.
    move_to: Option<PathBuf>,
}

impl PolicyBuilder {
    /// Adds the keys of one table. `at` returns where a key stands in the file, for messages.
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
        replace(&mut policy.exclude, keys.exclude.as_ref());
        replace(&mut policy.include, keys.include.as_ref());
        replace(&mut policy.min_age, keys.min_age.as_ref());
        replace(&mut policy.prune_empty, keys.prune_empty.as_ref());
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

    /// Adds the command line, which is the last layer.
    pub(super) fn with_overrides(self, task: &Task) -> Policy {
        let mut policy = self.policy;
        match task {
            Task::Watch(watch) => override_policy(&mut policy, &watch.policy),
            Task::Push(push) => {
                override_policy(&mut policy, &push.policy);
                // What the file says of removing is meant for watched folders.
                policy.after.clone_from(&push.after);
                policy.failed_dir = None;
                policy.prune_empty = push.policy.prune_empty;
            }
            Task::Local | Task::Ask => {}
        }
        policy
    }
}

fn override_policy(policy: &mut Policy, flags: &PolicyOverrides) {
    replace_some(&mut policy.dest, flags.dest.as_ref());
    replace(&mut policy.transfers, flags.transfers.as_ref());
    replace(&mut policy.settle, flags.settle.as_ref());
    replace(&mut policy.verify, flags.verify.as_ref());
    replace(&mut policy.after, flags.after.as_ref());
    replace(&mut policy.on_conflict, flags.on_conflict.as_ref());
    replace(&mut policy.layout, flags.layout.as_ref());
    replace_some(&mut policy.failed_dir, flags.failed_dir.as_ref());
    replace(&mut policy.max_size, flags.max_size.as_ref());
    replace(&mut policy.min_age, flags.min_age.as_ref());
    policy.prune_empty |= flags.prune_empty;
    // Patterns add to those of the file: one more name to leave must not uncover half-written files.
    policy.ignore.extend_from_slice(&flags.ignore);
    policy.exclude.extend_from_slice(&flags.exclude);
    // What is named here is all that is wanted: in addition to the file's patterns it would be more.
    if !flags.include.is_empty() {
        policy.include.clone_from(&flags.include);
    }
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
