//! Whether the path of a watched folder still leads to the folder that is held open.
//!
//! A folder that was removed and made again, or unmounted, brings no event.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};

use super::{if_some, spawn_blocking};
use crate::file::{ReopenError, Root};

/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(5);

/// Checks one folder again and again.
#[derive(Debug)]
pub(super) struct RootChecks {
    next: Instant,
    running: Option<JoinHandle<RootState>>,
    /// Removes the empty private folder of a folder that was replaced.
    tidy: fn(&Root),
}

/// What a check found.
#[derive(Debug)]
pub(super) enum RootState {
    /// The path still leads to the folder that is held open. Also where a check was not possible for want of descriptors: what is
    /// held stays held.
    Current,
    /// The path leads to this folder now, which is locked.
    Replaced(Root),
    /// No file of the folder may be taken now.
    Unavailable(RootTrouble),
    /// The last check has not ended: the file system does not answer.
    NoAnswer,
}

/// Why a folder is not available. What the caller can do about each: wait, and report the reason; the next checks find out when it is
/// over.
#[derive(Debug, thiserror::Error)]
pub(super) enum RootTrouble {
    /// The folder is the same, but its lock went with the private folder, and another instance has locked it since.
    #[error("another instance holds the folder")]
    Taken,
    #[error("another instance holds the folder that is there now")]
    ReplacementTaken,
    #[error("the folder is gone ({0})")]
    Gone(#[source] ReopenError),
    #[error("it can't be checked ({0})")]
    CheckFailed(#[source] JoinError),
}

impl RootChecks {
    pub(super) fn start(tidy: fn(&Root)) -> Self {
        Self { next: Instant::now() + INTERVAL, running: None, tidy }
    }

    /// Resolves with the result of the next check, or when a check has not ended by the time of the next one.
    pub(super) async fn next(&mut self, root: &Arc<Root>) -> RootState {
        loop {
            tokio::select! {
                ended = if_some(self.running.as_mut()) => {
                    self.running = None;
                    return ended.unwrap_or_else(|error| RootState::Unavailable(RootTrouble::CheckFailed(error)));
                }
                () = sleep_until(self.next) => {
                    self.next = Instant::now() + INTERVAL;
                    if self.running.is_some() {
                        return RootState::NoAnswer;
                    }
                    let (root, tidy) = (Arc::clone(root), self.tidy);
                    self.running = Some(spawn_blocking(move || check(&root, tidy)));
                }
            }
        }
    }
}

/// Checks where the path leads to, and opens the folder that is there now if it is another one. Blocks for as long as the file
/// system takes.
fn check(root: &Root, tidy: fn(&Root)) -> RootState {
    match root.is_current() {
        Ok(true) if root.lock().unwrap_or(true) => return RootState::Current,
        Ok(true) => return RootState::Unavailable(RootTrouble::Taken),
        Ok(false) => {}
        Err(_) => return RootState::Current,
    }
    match root.reopen().and_then(|now| Ok((now.lock()?, now))) {
        Ok((true, now)) => {
            // The old folder is never used again, so its lock file and its lock are removed.
            tidy(root);
            root.unlock();
            RootState::Replaced(now)
        }
        Ok((false, _)) => RootState::Unavailable(RootTrouble::ReplacementTaken),
        Err(error) if error.is_scarcity() => RootState::Current,
        Err(error) => {
            // The folder may come back. It is locked again then.
            root.unlock();
            RootState::Unavailable(RootTrouble::Gone(error))
        }
    }
}
