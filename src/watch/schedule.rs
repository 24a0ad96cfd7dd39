//! Which folders are walked through next, and when. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

/// A new folder is walked through at once, and again after this time: the second walk finds what came between the folder's making
/// and its watch.
const SECOND_WALK: Duration = Duration::from_millis(200);

/// The walks to come, each under the folder where it begins, below the root; the empty path is the whole tree.
#[derive(Debug)]
pub(super) struct WalkSchedule(BTreeMap<PathBuf, PlannedWalk>);

#[derive(Debug, Clone, Copy)]
struct PlannedWalk {
    at: Instant,
    reason: WalkReason,
    /// A second walk follows a little later.
    repeat: bool,
}

/// Why a folder is walked through. Of several reasons the last one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WalkReason {
    /// Time has passed. Events should have told of every file that this walk finds.
    Periodic,
    /// Events may be missing: in a new folder, after a loss of events, or where folders have no watch.
    MissingEvents,
    /// The folder was opened just now, and its files were there before.
    Opened,
}

/// A walk that is to begin now.
#[derive(Debug)]
pub(super) struct DueWalk {
    /// Below the root; none lies below another one.
    pub(super) folders: Vec<PathBuf>,
    pub(super) reason: WalkReason,
}

impl DueWalk {
    /// Returns whether the walk goes through the whole tree.
    pub(super) fn is_whole(&self) -> bool {
        self.folders.iter().any(|folder| folder.as_os_str().is_empty())
    }
}

impl WalkSchedule {
    /// For a folder that was opened just now: one walk through the whole tree.
    pub(super) fn opened(now: Instant) -> Self {
        let walk = PlannedWalk { at: now, reason: WalkReason::Opened, repeat: false };
        Self(BTreeMap::from([(PathBuf::new(), walk)]))
    }

    /// Plans two walks through a folder that was made just now.
    pub(super) fn add_new_folder(&mut self, folder: PathBuf, now: Instant) {
        self.add(folder, PlannedWalk { at: now, reason: WalkReason::MissingEvents, repeat: true });
    }

    /// Plans a walk through the whole tree, for events that were lost or dropped.
    pub(super) fn add_whole(&mut self, at: Instant) {
        self.add(PathBuf::new(), PlannedWalk { at, reason: WalkReason::MissingEvents, repeat: false });
    }

    /// Plans the next regular walk through the whole tree, unless one is planned already.
    pub(super) fn add_regular(&mut self, at: Instant, reason: WalkReason) {
        self.0.entry(PathBuf::new()).or_insert(PlannedWalk { at, reason, repeat: false });
    }

    fn add(&mut self, folder: PathBuf, walk: PlannedWalk) {
        let planned = self.0.entry(folder).or_insert(walk);
        planned.at = planned.at.min(walk.at);
        planned.reason = planned.reason.max(walk.reason);
        planned.repeat |= walk.repeat;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The time of the next walk.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.0.values().map(|walk| walk.at).min()
    }

    /// Takes all walks that are due, as one walk in which each folder comes once.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<DueWalk> {
        let due: BTreeMap<_, _> = self.0.extract_if(.., |_, walk| walk.at <= now).collect();
        let reason = due.values().map(|walk| walk.reason).max()?;
        for folder in due.iter().filter(|(_, walk)| walk.repeat).map(|(folder, _)| folder.clone()) {
            self.add(folder, PlannedWalk { at: now + SECOND_WALK, reason: WalkReason::MissingEvents, repeat: false });
        }
        Some(DueWalk { folders: topmost(due.into_keys()), reason })
    }
}

/// Leaves out the folders that lie below another one: a walk through that one goes through them too.
fn topmost(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut top: Vec<PathBuf> = Vec::new();
    for folder in folders {
        // The folders are sorted, so a folder comes before all that lie below it.
        if !top.last().is_some_and(|above| folder.starts_with(above)) {
            top.push(folder);
        }
    }
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_that_are_due_become_one_walk_in_which_each_folder_comes_once() {
        let now = Instant::now();
        let mut schedule = WalkSchedule::opened(now);
        assert!(schedule.take_due(now).unwrap().is_whole() && schedule.is_empty());
        for folder in ["a", "a/b", "a-b", "c"] {
            schedule.add_new_folder(folder.into(), now);
        }
        let due = schedule.take_due(now).unwrap();
        assert_eq!(due.folders, ["a", "a-b", "c"].map(PathBuf::from));
        assert!(!due.is_whole() && due.reason == WalkReason::MissingEvents);
        assert_eq!(schedule.next_at(), Some(now + SECOND_WALK));
        assert!(schedule.take_due(now + SECOND_WALK).is_some() && schedule.is_empty());
    }

    #[test]
    fn a_walk_for_missing_events_comes_before_a_regular_one_and_replaces_it() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut schedule = WalkSchedule::opened(now);
        schedule.take_due(now);
        schedule.add_regular(now + hour, WalkReason::Periodic);
        schedule.add_whole(now);
        schedule.add_regular(now + hour, WalkReason::Periodic);
        assert_eq!(schedule.take_due(now).unwrap().reason, WalkReason::MissingEvents);
        assert!(schedule.is_empty());
    }
}
