//! Where the watch hears of files: events, walks through the folder, and the checks that both still see the right folder.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::events::FsEvent;
use super::root_check::{RootChecks, RootState};
use super::schedule::{WalkReason, WalkSchedule};
use super::walk::{WalkEvent, Walker};
use super::watches::{POLL, Watches};
use super::{Options, Staging, if_some, spawn_blocking};
use crate::file::Root;
use crate::filter::Filter;
use crate::observe::health::Condition;
use crate::observe::metrics::Counter;

/// The time before a walk that makes up for events that were dropped because too many files waited.
const WALK_AFTER_DROP: Duration = Duration::from_secs(1);
/// Messages of a walk that may wait to be read.
const WALK_QUEUE: usize = 4;

/// Something to act on.
#[derive(Debug)]
pub(super) enum SourceEvent {
    /// The kernel tells of a change.
    Fs(FsEvent),
    /// A walk has found files.
    Files {
        /// Below the root.
        paths: Vec<PathBuf>,
        /// Whether no event was to be expected to tell of these files.
        announced: bool,
    },
    /// A walk has met something that can't be read.
    Unreadable(PathBuf, io::Error),
    /// A walk has ended.
    WalkEnded,
}

/// The sources of one folder.
#[derive(Debug)]
pub(super) struct Sources {
    root: Arc<Root>,
    filter: Arc<Filter>,
    rescan: Duration,
    staging: Staging,
    watches: Watches,
    /// `None` where the folder is polled, and with `--once`.
    events: Option<mpsc::Receiver<FsEvent>>,
    schedule: WalkSchedule,
    walk: Option<RunningWalk>,
    /// `None` with `--once`, which does not watch on.
    root_checks: Option<RootChecks>,
    /// What `/readyz` says of the folder.
    condition: Condition,
    stands_by: bool,
    overflows: Counter,
}

#[derive(Debug)]
struct RunningWalk {
    events: mpsc::Receiver<WalkEvent>,
    reason: WalkReason,
    whole: bool,
}

impl Sources {
    /// Starts with a walk through the whole tree. Without `--once`, events and further walks follow.
    pub(super) fn start(root: Arc<Root>, options: &Options) -> Self {
        let mut sources = Self {
            root,
            filter: Arc::clone(&options.filter),
            rescan: options.rescan,
            staging: options.staging,
            watches: Watches::default(),
            events: None,
            schedule: WalkSchedule::opened(Instant::now()),
            walk: None,
            root_checks: (!options.once).then(|| RootChecks::start(options.staging.tidy)),
            condition: options.condition.clone(),
            stands_by: false,
            overflows: options.counts.overflows.clone(),
        };
        sources.opened();
        sources
    }

    /// After the folder was opened: starts its events, and plans a walk through all that is there.
    fn opened(&mut self) {
        (self.events, self.walk) = (None, None);
        self.watches.clear();
        self.schedule = WalkSchedule::opened(Instant::now());
        if self.root_checks.is_some() {
            self.events = self.watches.start(&self.root);
        }
    }

    /// The folder that is watched now: another one than at the start, where that one was replaced.
    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Returns whether the folder is not available now: it is gone, or another instance holds it. No file is handed on until it is
    /// available again, because the other instance uploads the same files.
    pub(super) fn stands_by(&self) -> bool {
        self.stands_by
    }

    /// Returns whether nothing more comes, except by events.
    pub(super) fn exhausted(&self) -> bool {
        self.walk.is_none() && self.schedule.is_empty()
    }

    /// A folder was made: plans a walk through it now, and another one a little later.
    pub(super) fn new_folder(&mut self, relative: &Path) {
        self.schedule.add_new_folder(relative.to_owned(), Instant::now());
    }

    /// Events had to be dropped: plans a walk through the whole tree, once there is room.
    pub(super) fn events_dropped(&mut self) {
        self.schedule.add_whole(Instant::now() + WALK_AFTER_DROP);
    }

    /// Waits for the next thing to act on.
    ///
    /// Each round begins a walk if one is due and none is running. Then it takes what comes first: an event, a loss of events (which
    /// plans a walk), a message of the walk, or the result of a check of the root. Messages of the walk are taken only while there is
    /// `room` for the files that it finds; the walk pauses meanwhile, for it can't send more than the channel holds.
    ///
    /// May be dropped at any await without losing anything.
    pub(super) async fn next(&mut self, room: bool) -> SourceEvent {
        loop {
            self.start_due_walk();
            let next_walk = self.schedule.next_at().filter(|_| self.walk.is_none());
            tokio::select! {
                Some(event) = if_some(self.events.as_mut().map(mpsc::Receiver::recv)) => return SourceEvent::Fs(event),
                () = self.watches.events_lost() => self.events_lost(),
                event = if_some(self.walk.as_mut().map(|walk| walk.events.recv())), if room => {
                    // A walk that ended without a message has panicked. It counts as ended, so that the next one is planned.
                    return self.walk_event(event.unwrap_or(WalkEvent::Ended));
                }
                state = if_some(self.root_checks.as_mut().map(|checks| checks.next(&self.root))) => self.root_checked(state),
                () = if_some(next_walk.map(sleep_until)) => {}
            }
        }
    }

    fn events_lost(&mut self) {
        self.overflows.inc();
        tracing::warn!("events were lost (too many at once); walking through the folder");
        self.schedule.add_whole(Instant::now());
    }

    fn walk_event(&mut self, event: WalkEvent) -> SourceEvent {
        match event {
            WalkEvent::Files(paths) => {
                let announced = self.walk.as_ref().is_none_or(|walk| walk.reason != WalkReason::Periodic);
                SourceEvent::Files { paths, announced }
            }
            WalkEvent::Unreadable(path, error) => SourceEvent::Unreadable(path, error),
            WalkEvent::Ended => {
                self.walk_ended();
                SourceEvent::WalkEnded
            }
        }
    }

    /// Plans the next walk: after the `rescan` time where events tell of all changes, sooner where they don't.
    fn walk_ended(&mut self) {
        let whole = self.walk.take().is_some_and(|walk| walk.whole);
        if !whole || self.root_checks.is_none() {
            return;
        }
        let (pause, reason) = if self.watches.cover_all() {
            (self.rescan, WalkReason::Periodic)
        } else {
            (POLL.min(self.rescan), WalkReason::MissingEvents)
        };
        self.schedule.add_regular(Instant::now() + jittered(pause), reason);
    }

    /// Starts a walk through all folders that are due, unless a walk is running.
    fn start_due_walk(&mut self) {
        if self.walk.is_some() {
            return;
        }
        let Some(due) = self.schedule.take_due(Instant::now()) else { return };
        let (sender, events) = mpsc::channel(WALK_QUEUE);
        let whole = due.is_whole();
        self.walk = Some(RunningWalk { events, reason: due.reason, whole });
        let walker = Walker { root: Arc::clone(&self.root), filter: Arc::clone(&self.filter), events: sender };
        let watches = self.watches.clone();
        let recover = (due.reason == WalkReason::Opened).then_some(self.staging);
        spawn_blocking(move || {
            if whole {
                watches.begin_whole_walk(&walker.root);
            }
            walker.walk(&due.folders, recover, |folder| watches.add(folder));
        });
    }

    fn root_checked(&mut self, state: RootState) {
        match state {
            RootState::Current => {
                self.condition.clear();
                if std::mem::take(&mut self.stands_by) {
                    // Another instance may have left files set aside.
                    self.opened();
                }
            }
            RootState::Replaced(root) => {
                tracing::warn!("the folder was replaced; watching the one that is there now");
                self.root = Arc::new(root);
                self.stands_by = false;
                self.condition.clear();
                self.opened();
            }
            RootState::Unavailable(trouble) => {
                self.stands_by = true;
                self.report_trouble(&trouble.to_string());
            }
            RootState::NoAnswer => self.report_trouble("its file system does not answer"),
        }
    }

    /// Logs trouble with the folder once, not at each check.
    fn report_trouble(&self, trouble: &str) {
        if self.condition.raise(trouble) {
            tracing::warn!("{trouble}; its files wait until it is available again");
        }
    }
}

/// Makes a pause up to a tenth shorter or longer, so that many instances don't walk at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0u8; 2];
    // Without random bytes the pause is a tenth shorter, which does no harm.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK).ok();
    pause.mul_f64(0.9 + 0.2 * f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dir: &Path, watch: bool) -> Sources {
        Sources::start(Arc::new(Root::open(dir).unwrap()), &Options::for_test(!watch))
    }

    /// Walks until nothing more comes. Returns the number of walks.
    async fn walks(sources: &mut Sources) -> usize {
        let mut walks = 0;
        while !sources.exhausted() {
            walks += usize::from(matches!(sources.next(true).await, SourceEvent::WalkEnded));
        }
        walks
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_folder_is_walked_through_twice_and_lost_events_cost_one_walk() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("new")).unwrap();
        let mut sources = sources(dir.path(), false);
        assert_eq!(walks(&mut sources).await, 1, "what was there before");
        sources.new_folder(Path::new("new"));
        assert_eq!(walks(&mut sources).await, 2, "one for what came between its making and its watch");
        sources.events_dropped();
        assert_eq!(walks(&mut sources).await, 1);
    }

    /// A file of which no event told is found by the next walk.
    #[tokio::test(start_paused = true)]
    async fn the_folder_is_walked_through_again_and_again_without_any_event() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "").unwrap();
        let mut sources = sources(dir.path(), true);
        let start = Instant::now();
        for _ in 0..3 {
            let found = async {
                loop {
                    if let SourceEvent::Files { paths, .. } = sources.next(true).await {
                        return paths;
                    }
                }
            };
            let found = tokio::time::timeout(Duration::from_secs(3600), found).await.unwrap();
            assert_eq!(found, [PathBuf::from("x")]);
        }
        assert!(start.elapsed() < Duration::from_secs(2 * 70), "{:?}", start.elapsed());
    }
}
