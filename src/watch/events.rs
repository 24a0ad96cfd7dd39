//! What the system tells of a folder: hints, never the truth.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{Config, ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};

use super::settle::Cause;
use crate::budget;

/// A hint at one path (absolute).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// Look at this name.
    Look(PathBuf, Cause),
    /// A new folder of this name is there.
    Folder(PathBuf),
}

/// The event source: one watch a folder, put there by whoever walks through the tree.
///
/// Not the library's recursive mode: it would watch the private folder too, and it lists a new folder before it watches
/// it, so that what is created in between is never told (1,000 of 4,000 files in fresh trees).
#[derive(Debug)]
pub(super) struct Events {
    watcher: Mutex<RecommendedWatcher>,
    lost: Arc<Lost>,
}

/// Raised when hints were lost: the kernel's queue or ours overflowed.
#[derive(Debug, Default)]
struct Lost {
    flag: AtomicBool,
    wake: Notify,
}

impl Lost {
    fn raise(&self) {
        self.flag.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Why a folder can't be watched.
#[derive(Debug, thiserror::Error)]
pub(super) enum WatchError {
    /// The user's or system's number of watches is used up.
    #[error("the system has no watches left: raise fs.inotify.max_user_watches (sysctl)")]
    Exhausted,
    /// It is gone.
    #[error("it is gone")]
    Gone,
    /// It may not be read.
    #[error("it may not be read")]
    Denied,
    /// The system refuses, for this reason.
    #[error("{0}")]
    Other(String),
}

impl From<notify::Error> for WatchError {
    fn from(error: notify::Error) -> Self {
        match &error.kind {
            ErrorKind::MaxFilesWatch => Self::Exhausted,
            ErrorKind::PathNotFound | ErrorKind::WatchNotFound => Self::Gone,
            ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::NotFound => Self::Gone,
            ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::PermissionDenied => Self::Denied,
            _ => Self::Other(error.to_string()),
        }
    }
}

impl Events {
    /// Starts the source; nothing is watched yet.
    pub(super) fn start() -> Result<(Self, mpsc::Receiver<Hint>), WatchError> {
        let (sender, receiver) = mpsc::channel(budget::HINTS);
        let lost = Arc::new(Lost::default());
        let raise = Arc::clone(&lost);
        let handler = move |event: notify::Result<Event>| match event {
            Ok(event) if event.need_rescan() => raise.raise(),
            Ok(event) => {
                for hint in hints(event) {
                    if sender.try_send(hint).is_err() {
                        raise.raise();
                    }
                }
            }
            Err(_) => raise.raise(),
        };
        let config = Config::default().with_follow_symlinks(false);
        let watcher = Mutex::new(RecommendedWatcher::new(handler, config)?);
        Ok((Self { watcher, lost }, receiver))
    }

    /// Watches one folder, not what is below its sub-folders. Again is harmless, and heals a watch that was lost. The
    /// library itself forgets a folder that is renamed or removed.
    pub(super) fn watch(&self, folder: &Path) -> Result<(), WatchError> {
        Ok(self.watcher.lock().unwrap_or_else(PoisonError::into_inner).watch(folder, RecursiveMode::NonRecursive)?)
    }

    /// Resolves when hints were lost since the last time.
    pub(super) async fn lost(&self) {
        while !self.lost.flag.swap(false, Ordering::AcqRel) {
            self.lost.wake.notified().await;
        }
    }
}

/// What an event hints at. Opens, reads and single writes hint at nothing.
fn hints(event: Event) -> Vec<Hint> {
    let cause = match event.kind {
        EventKind::Create(CreateKind::Folder) => None,
        EventKind::Create(_) => Some(Cause::Created),
        EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Cause::Renamed),
        // A rename of which a platform can't tell the side is taken for a close.
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::Any | RenameMode::Other)) => Some(Cause::Closed),
        // Where closes are not told, changes must do.
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) if cfg!(not(target_os = "linux")) => {
            Some(Cause::Closed)
        }
        _ => return Vec::new(),
    };
    let hint = |path| match cause {
        Some(cause) => Hint::Look(path, cause),
        None => Hint::Folder(path),
    };
    event.paths.into_iter().map(hint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind) -> Vec<Hint> {
        hints(Event::new(kind).add_path(PathBuf::from("/w/x")))
    }

    #[test]
    fn only_what_can_end_a_writing_hints_at_a_file() {
        let x = || PathBuf::from("/w/x");
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(event(closed), [Hint::Look(x(), Cause::Closed)]);
        assert_eq!(event(EventKind::Create(CreateKind::File)), [Hint::Look(x(), Cause::Created)]);
        assert_eq!(event(EventKind::Create(CreateKind::Folder)), [Hint::Folder(x())]);
        let renamed = |mode| EventKind::Modify(ModifyKind::Name(mode));
        assert_eq!(event(renamed(RenameMode::To)), [Hint::Look(x(), Cause::Renamed)]);
        assert_eq!(event(renamed(RenameMode::From)), []);
        assert_eq!(event(renamed(RenameMode::Both)), []);
        assert_eq!(event(EventKind::Access(AccessKind::Open(AccessMode::Any))), []);
        assert_eq!(event(EventKind::Access(AccessKind::Close(AccessMode::Read))), []);
    }

    /// Nobody reads them: beyond what may wait they are dropped, and that has to be told.
    #[tokio::test]
    async fn more_events_than_may_wait_are_told_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let (events, _unread) = Events::start().unwrap();
        events.watch(dir.path()).unwrap();
        let first = dir.path().join("first");
        std::fs::write(&first, "").unwrap();
        for number in 0..=budget::HINTS {
            std::fs::hard_link(&first, dir.path().join(number.to_string())).unwrap();
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), events.lost()).await.unwrap();
    }
}
