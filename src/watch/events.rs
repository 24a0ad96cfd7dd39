//! The kernel's events. They are hints: whatever an event says, the file itself is inspected.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};

use super::settle::Cause;
use crate::budget;

/// An event that the watch acts on. Paths are absolute.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FsEvent {
    /// Something happened to this file.
    File(PathBuf, Cause),
    /// This folder was made.
    NewFolder(PathBuf),
}

/// The source of events: one kernel watch for each folder, which the walk through the tree adds.
///
/// The recursive mode of `notify` is not used: it would watch the private folder too, and it lists a new folder before it watches
/// it, so that no event comes for a file created in between (1,000 of 4,000 files in fresh trees).
#[derive(Debug)]
pub(super) struct Events {
    watcher: Mutex<RecommendedWatcher>,
    /// Notified when events were lost: the kernel's queue or this program's own queue was full.
    lost: Arc<Notify>,
}

/// Why a folder can't be watched. What the caller can do: nothing about `Gone` and `Denied`, which the walk through the folder meets
/// too and reports; for all others, poll the folder and report the reason.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    #[error("the system has no watches left: raise fs.inotify.max_user_watches (sysctl)")]
    Exhausted,
    #[error("it is gone")]
    Gone,
    #[error("it may not be read")]
    Denied,
    #[error(transparent)]
    Other(notify::Error),
}

impl From<notify::Error> for WatchError {
    fn from(error: notify::Error) -> Self {
        match &error.kind {
            ErrorKind::MaxFilesWatch => Self::Exhausted,
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => Self::Gone,
            ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound => Self::Gone,
            ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Other(error),
        }
    }
}

impl Events {
    /// Starts the source, which watches no folder yet.
    pub(super) fn start() -> Result<(Self, mpsc::Receiver<FsEvent>), WatchError> {
        let (sender, receiver) = mpsc::channel(budget::EVENTS);
        let lost = Arc::new(Notify::new());
        let on_loss = Arc::clone(&lost);
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if !event.need_rescan() => {
                for event in fs_events(event) {
                    if sender.try_send(event).is_err() {
                        on_loss.notify_one();
                    }
                }
            }
            Ok(_) | Err(_) => on_loss.notify_one(),
        };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = Mutex::new(RecommendedWatcher::new(handler, config)?);
        Ok((Self { watcher, lost }, receiver))
    }

    /// Watches one folder, without its sub-folders. Watching it again does no harm, and restores a watch that was lost. `notify`
    /// itself removes the watch of a folder that is renamed or removed.
    pub(super) fn watch(&self, folder: &Path) -> Result<(), WatchError> {
        Ok(self.watcher.lock().unwrap_or_else(PoisonError::into_inner).watch(folder, RecursiveMode::NonRecursive)?)
    }

    /// Resolves when events were lost since the last time. Several losses that came meanwhile are one; none is forgotten, for
    /// [`Notify::notify_one`] keeps one for the next call.
    pub(super) async fn lost(&self) {
        self.lost.notified().await;
    }
}

/// Translates an event. Opens, reads and single writes are no reason to inspect a file.
fn fs_events(event: Event) -> Vec<FsEvent> {
    let cause = match event.kind {
        EventKind::Create(CreateKind::Folder) => None,
        EventKind::Create(_) => Some(Cause::Created),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Cause::Renamed),
        // Some platforms don't tell the old name of a rename from the new one. Such a rename counts as a close, so the file must settle.
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::Any | RenameMode::Other)) => Some(Cause::Closed),
        // Other platforms than Linux don't tell of closes. There a change counts as one.
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) if cfg!(not(target_os = "linux")) => {
            Some(Cause::Closed)
        }
        _ => return Vec::new(),
    };
    let event_of = |path| match cause {
        Some(cause) => FsEvent::File(path, cause),
        None => FsEvent::NewFolder(path),
    };
    event.paths.into_iter().map(event_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(kind: EventKind) -> Vec<FsEvent> {
        fs_events(Event::new(kind).add_path(PathBuf::from("/w/x")))
    }

    #[test]
    fn only_events_that_can_end_a_writing_lead_to_an_inspection() {
        let x = || PathBuf::from("/w/x");
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(translated(closed), [FsEvent::File(x(), Cause::Closed)]);
        assert_eq!(translated(EventKind::Create(CreateKind::File)), [FsEvent::File(x(), Cause::Created)]);
        assert_eq!(translated(EventKind::Create(CreateKind::Folder)), [FsEvent::NewFolder(x())]);
        let renamed = |mode| EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(translated(renamed(RenameMode::To)), [FsEvent::File(x(), Cause::Renamed)]);
        assert_eq!(translated(renamed(RenameMode::From)), []);
        assert_eq!(translated(renamed(RenameMode::Both)), []);
        assert_eq!(translated(EventKind::Access(AccessKind::Open(AccessMode::Any))), []);
        assert_eq!(translated(EventKind::Access(AccessKind::Close(AccessMode::Read))), []);
    }

    /// The test reads no event, so the queue fills up, and further events are dropped.
    #[tokio::test]
    async fn events_beyond_the_queue_are_reported_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (events, _unread) = Events::start().unwrap();
        events.watch(dir.path()).unwrap();
        let first = dir.path().join("first");
        std::fs::write(&first, "").unwrap();
        for number in 0..=budget::EVENTS {
            std::fs::hard_link(&first, dir.path().join(number.to_string())).unwrap();
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), events.lost()).await.unwrap();
    }

    /// `select!` drops the future of a loss whenever another branch is ready first.
    #[tokio::test]
    async fn a_loss_is_not_forgotten_by_a_wait_that_is_dropped() {
        use std::task::{Context, Waker};
        let (events, _unread) = Events::start().unwrap();
        let mut wait = Box::pin(events.lost());
        assert!(wait.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        events.lost.notify_one();
        drop(wait);
        tokio::time::timeout(std::time::Duration::from_secs(60), events.lost()).await.unwrap();
    }
}
