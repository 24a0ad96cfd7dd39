//! The kernel's watches on all folders of the tree, and whether some folder has none and must be polled.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use super::events::{Events, FsEvent, WatchError};
use crate::file::{Root, mounts};

/// The time between walks where no events can be had.
pub(super) const POLL: Duration = Duration::from_secs(10);

/// The watches of one tree. Clones share them: each walk adds the watches of the folders that it enters.
#[derive(Debug, Clone, Default)]
pub(super) struct Watches {
    /// `None` with `--once`, and where no events can be had at all.
    events: Option<Arc<Events>>,
    unwatched: Arc<Unwatched>,
}

/// Whether events don't tell of some folder.
#[derive(Debug, Default)]
struct Unwatched {
    /// The last walk through the whole tree, or one after it, met such a folder.
    any: AtomicBool,
    /// A line was logged of a folder that could not be watched.
    reported: AtomicBool,
    /// A line was logged of a network share that is mounted below.
    share_reported: AtomicBool,
}

impl Watches {
    /// Begins anew, without any watch.
    pub(super) fn clear(&mut self) {
        self.events = None;
    }

    /// Starts the events of a folder that was opened, and returns them; `None` where the folder must be polled instead.
    pub(super) fn start(&mut self, root: &Root) -> Option<mpsc::Receiver<FsEvent>> {
        if let Some(kind) = root.network_share() {
            tracing::warn!(every = ?POLL, "polling: {kind} tells of no changes by other hosts");
            return None;
        }
        match Events::start() {
            Ok((events, receiver)) => {
                self.events = Some(Arc::new(events));
                Some(receiver)
            }
            Err(error) => {
                tracing::warn!(every = ?POLL, "polling: no events can be had: {error}");
                None
            }
        }
    }

    /// Returns whether events tell of all folders.
    pub(super) fn cover_all(&self) -> bool {
        self.events.is_some() && !self.unwatched.any.load(Ordering::Relaxed)
    }

    /// Resolves when events were lost since the last time; never where there are none.
    pub(super) async fn events_lost(&self) {
        match &self.events {
            Some(events) => events.lost().await,
            None => std::future::pending().await,
        }
    }

    /// At the start of a walk through the whole tree: finds out anew which folders must be polled, for watches may have become free,
    /// and shares are mounted and unmounted while this program runs. Blocks.
    pub(super) fn begin_whole_walk(&self, root: &Root) {
        self.unwatched.any.store(false, Ordering::Relaxed);
        let mounts = mounts::below(root.path());
        let share = mounts.iter().find_map(|mount| Some((mount, mount.network_share()?)));
        let Some((mount, kind)) = share else { return };
        root.note_share_below();
        self.unwatched.any.store(true, Ordering::Relaxed);
        if !self.unwatched.share_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(mount = %mount.path.display(), every = ?POLL, "polling: {kind} is mounted there, and tells of no changes by other hosts");
        }
    }

    /// Watches one folder of the tree, without its sub-folders.
    pub(super) fn add(&self, folder: &Path) {
        let Some(events) = &self.events else { return };
        match events.watch(folder) {
            // The walk reports a folder that can't be read.
            Ok(()) | Err(WatchError::Gone | WatchError::Denied) => {}
            Err(error) => {
                self.unwatched.any.store(true, Ordering::Relaxed);
                if !self.unwatched.reported.swap(true, Ordering::Relaxed) {
                    tracing::warn!(folder = %folder.display(), every = ?POLL, "polling: not all folders can be watched: {error}");
                }
            }
        }
    }
}
