//! Folders that join and leave while the daemon runs, and settings that change then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot};

use super::{AwaitedFolder, Settings};
use crate::observe::health::{Component, Health};
use crate::shutdown::{Shutdown, Stop, Trigger};

/// What changes at once.
#[derive(Debug)]
pub struct Changes {
    /// Folders that are not watched any more.
    pub leave: Vec<Leaving>,
    /// Folders that are added. One that leaves at the same time, to come again with other settings, waits for that.
    pub join: Vec<AwaitedFolder>,
    /// The settings from now on.
    pub settings: Settings,
}

/// A folder that leaves.
#[derive(Debug)]
pub struct Leaving {
    /// Where it lies.
    pub place: PathBuf,
    /// Told when all files under way there have ended, and the folder is free again.
    pub left: oneshot::Sender<()>,
}

/// Where the daemon takes its changes from.
#[derive(Debug)]
pub struct ChangesReceiver(Option<mpsc::UnboundedReceiver<Changes>>);

/// A channel for changes of a running daemon.
pub fn channel() -> (mpsc::UnboundedSender<Changes>, ChangesReceiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, ChangesReceiver(Some(receiver)))
}

impl ChangesReceiver {
    /// No changes.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// The next changes; never where none can come any more.
    pub(super) async fn next(&mut self) -> Changes {
        if let Some(receiver) = &mut self.0
            && let Some(changes) = receiver.recv().await
        {
            return changes;
        }
        std::future::pending().await
    }
}

/// The folders that run, each with its own stop signal.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeMap<u64, Member>, u64);

#[derive(Debug)]
struct Member {
    place: PathBuf,
    stop: Trigger,
    is_leaving: bool,
    /// Told when it has left.
    left: Vec<oneshot::Sender<()>>,
}

impl Members {
    /// Adds a folder. Returns its number and its stop signal.
    pub(super) fn add(&mut self, place: &Path, shutdown: &Shutdown) -> (u64, Shutdown) {
        let (stop, shutdown) = shutdown.branch();
        self.1 += 1;
        self.0.insert(self.1, Member { place: place.to_owned(), stop, is_leaving: false, left: Vec::new() });
        (self.1, shutdown)
    }

    /// Lets a folder leave: it begins no new file, and ends those under way.
    pub(super) fn leave(&mut self, leaving: Leaving) {
        let Leaving { place, left } = leaving;
        // One that has ended, because it could not be watched, has left already.
        let Some(member) = self.0.values_mut().find(|member| member.place == place && !member.is_leaving) else {
            return;
        };
        tracing::info!(folder = %place.display(), "the folder leaves: no new file of it is begun, and those under way end");
        member.is_leaving = true;
        member.left.push(left);
        member.stop.raise_to(Stop::Leave);
    }

    /// Resolves when the folder that leaves this place has left; `None` where none does.
    pub(super) fn when_left(&mut self, place: &Path) -> Option<oneshot::Receiver<()>> {
        let newest = self.0.values_mut().rfind(|member| member.place == place);
        let (left, has_left) = oneshot::channel();
        newest.filter(|member| member.is_leaving)?.left.push(left);
        Some(has_left)
    }

    /// Removes a folder that has ended. What is known of the health of one that has left is forgotten.
    pub(super) fn ended(&mut self, number: u64, health: &Health) {
        let Some(Member { place, is_leaving: true, left, .. }) = self.0.remove(&number) else { return };
        let name = place.display().to_string();
        health.remove(&[Component::Folder(name.clone()), Component::Destination(name)]);
        tracing::info!(folder = %place.display(), "the folder has left");
        // Where nobody waits for it, it has left all the same.
        for left in left {
            left.send(()).ok();
        }
    }
}
