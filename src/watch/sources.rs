//! Where hints come from: events, walks through the folder, and the care that both still see the right folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::events::{Events, Hint, WatchError};
use super::ignore::IgnorePatterns;
use super::scan::{Found, Walker};
use super::{Options, until};
use crate::file::{Root, mounts};
use crate::observe::health::Condition;
use crate::observe::metrics::Counter;

/// Between walks where no events can be had.
const POLL: Duration = Duration::from_secs(10);
/// Between looks whether the folder is still the one that was opened.
const HEALTH: Duration = Duration::from_secs(5);
/// A new folder is walked through at once, and again after this time: for what came between its making and its watch.
const SECOND_LOOK: Duration = Duration::from_millis(200);
/// Before a walk that makes up for events that were dropped while too many files waited.
const SOON: Duration = Duration::from_secs(1);
/// Messages of a walk that may wait.
const FOUND: usize = 4;

/// Something to act on.
#[derive(Debug)]
pub(super) enum SourceEvent {
    /// An event.
    Hint(Hint),
    /// Files that a walk found.
    Files {
        /// Below the root.
        paths: Vec<PathBuf>,
        /// Whether no event was to be expected to tell of them.
        told_before: bool,
    },
    /// What a walk could not read, and why.
    Unreadable(PathBuf, String),
    /// A walk is over.
    WalkEnded,
}

/// The sources of one folder.
#[derive(Debug)]
pub(super) struct Sources {
    root: Arc<Root>,
    names: Arc<IgnorePatterns>,
    rescan: Duration,
    events: Option<Arc<Events>>,
    hints: Option<mpsc::Receiver<Hint>>,
    unwatched: Arc<Unwatched>,
    walk: Option<Walk>,
    /// The walks to come, by folder; the empty path is the root.
    wanted: BTreeMap<PathBuf, Wanted>,
    /// When the folder's identity is looked at next; `None` where there is nothing to watch on for.
    next_health: Option<Instant>,
    /// The look under way.
    checking: Option<JoinHandle<Checked>>,
    gone: Condition,
    /// The folder is not ours just now: gone, or another instance has it.
    stands_by: bool,
    overflows: Counter,
}

/// Whether there is some folder of which events don't tell.
#[derive(Debug, Default)]
struct Unwatched {
    /// At the last walk.
    now: AtomicBool,
    /// It was told that a folder could not be watched.
    told: AtomicBool,
    /// It was told that a network share is mounted below.
    share_told: AtomicBool,
}

#[derive(Debug)]
struct Walk {
    found: mpsc::Receiver<Found>,
    why: Why,
    whole: bool,
}

/// A walk to come.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    at: Instant,
    why: Why,
    /// And once more, a little later.
    again: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Because time has passed: events should have told of all that this finds.
    Periodic,
    /// To make up for events that could not be had: in a new folder, after an overflow, without watches.
    Making,
    /// The folder was opened just now: what lies in it was there before us.
    Opened,
}

impl Sources {
    /// Starts with a walk through all; goes on with events and walks unless that is to be all.
    pub(super) fn start(root: Arc<Root>, options: &Options) -> Self {
        let mut sources = Self {
            root,
            names: Arc::clone(&options.names),
            rescan: options.rescan,
            events: None,
            hints: None,
            unwatched: Arc::default(),
            walk: None,
            wanted: BTreeMap::new(),
            next_health: (!options.once).then(|| Instant::now() + HEALTH),
            checking: None,
            gone: options.gone.clone(),
            stands_by: false,
            overflows: options.counts.overflows.clone(),
        };
        sources.opened();
        sources
    }

    /// The folder was opened: events from now on, and a walk through what is there.
    fn opened(&mut self) {
        (self.events, self.hints, self.walk) = (None, None, None);
        self.wanted = BTreeMap::from([(PathBuf::new(), Wanted { at: Instant::now(), why: Why::Opened, again: false })]);
        if self.next_health.is_none() {
            return;
        }
        let folder = self.root.path().display();
        if let Some(kind) = self.root.network_share() {
            tracing::warn!(%folder, every = ?POLL, "polling: {kind} tells of no changes by other hosts");
            return;
        }
        match Events::start() {
            Ok((events, hints)) => (self.events, self.hints) = (Some(Arc::new(events)), Some(hints)),
            Err(error) => tracing::warn!(%folder, every = ?POLL, "polling: no events can be had: {error}"),
        }
    }

    /// The folder as it is now.
    pub(super) fn root(&self) -> &Arc<Root> {
        &self.root
    }

    /// Whether the folder is not ours just now: gone, or another instance has it. Nothing is handed on until it is ours again, for that
    /// instance sends the same files.
    pub(super) fn stands_by(&self) -> bool {
        self.stands_by
    }

    /// Whether nothing more comes, unless events bring it.
    pub(super) fn exhausted(&self) -> bool {
        self.walk.is_none() && self.wanted.is_empty()
    }

    /// A folder appeared: walk through it now and once more a little later.
    pub(super) fn new_folder(&mut self, relative: &Path) {
        self.want(relative.to_owned(), Instant::now(), true);
    }

    /// Events had to be dropped: walk through all once there is room.
    pub(super) fn walk_soon(&mut self) {
        self.want(PathBuf::new(), Instant::now() + SOON, false);
    }

    fn want(&mut self, folder: PathBuf, at: Instant, again: bool) {
        let wanted = self.wanted.entry(folder).or_insert(Wanted { at, why: Why::Making, again });
        *wanted = Wanted { at: wanted.at.min(at), why: Why::Making, again: wanted.again || again };
    }

    /// What comes next. A walk is listened to only while there is `room` for what it finds; meanwhile it pauses.
    pub(super) async fn next(&mut self, room: bool) -> SourceEvent {
        loop {
            self.start_walk();
            let next_walk = self.wanted.values().map(|wanted| wanted.at).min().filter(|_| self.walk.is_none());
            let wake = next_walk.into_iter().chain(self.next_health).min();
            tokio::select! {
                hint = hint(&mut self.hints) => return SourceEvent::Hint(hint),
                () = lost(self.events.as_ref()) => self.events_lost(),
                found = found(&mut self.walk), if room => return self.found(found),
                checked = checked(&mut self.checking) => self.checked(checked),
                () = until(wake) => self.look_after_root(),
            }
        }
    }

    fn events_lost(&mut self) {
        self.overflows.inc();
        tracing::warn!(folder = %self.root.path().display(), "events were lost (too many at once); walking through the folder");
        self.want(PathBuf::new(), Instant::now(), false);
    }

    fn found(&mut self, found: Found) -> SourceEvent {
        match found {
            Found::Files(paths) => {
                let told_before = self.walk.as_ref().is_none_or(|walk| walk.why != Why::Periodic);
                SourceEvent::Files { paths, told_before }
            }
            Found::Unreadable(path, why) => SourceEvent::Unreadable(path, why),
            Found::End => {
                self.walk_ended();
                SourceEvent::WalkEnded
            }
        }
    }

    /// Asks for the next walk, after a while if events tell of changes, sooner if they don't.
    fn walk_ended(&mut self) {
        let whole = self.walk.take().is_some_and(|walk| walk.whole);
        if !whole || self.next_health.is_none() {
            return;
        }
        let told = self.events.is_some() && !self.unwatched.now.load(Ordering::Relaxed);
        let (pause, why) = if told { (self.rescan, Why::Periodic) } else { (POLL.min(self.rescan), Why::Making) };
        let next = Wanted { at: Instant::now() + jittered(pause), why, again: false };
        self.wanted.entry(PathBuf::new()).or_insert(next);
    }

    /// Starts one walk through all folders that are due, each once.
    fn start_walk(&mut self) {
        let now = Instant::now();
        if self.walk.is_some() {
            return;
        }
        let due: BTreeMap<_, _> = self.wanted.extract_if(.., |_, wanted| wanted.at <= now).collect();
        let Some(why) = due.values().map(|wanted| wanted.why).max() else { return };
        let again = due.iter().filter(|(_, wanted)| wanted.again);
        let second = Wanted { at: now + SECOND_LOOK, why: Why::Making, again: false };
        self.wanted.extend(again.map(|(folder, _)| (folder.clone(), second)));

        let folders = topmost(due.into_keys());
        let whole = folders.iter().any(|folder| folder.as_os_str().is_empty());
        if whole {
            // Asked anew: watches may have become free.
            self.unwatched.now.store(false, Ordering::Relaxed);
        }
        let (sender, found) = mpsc::channel(FOUND);
        self.walk = Some(Walk { found, why, whole });
        let walker = Walker { root: Arc::clone(&self.root), names: Arc::clone(&self.names), found: sender };
        let (events, unwatched, recover) = (self.events.clone(), Arc::clone(&self.unwatched), why == Why::Opened);
        tokio::task::spawn_blocking(move || {
            if whole {
                poll_shares_below(&walker.root, &unwatched);
            }
            walker.walk(&folders, recover, |folder| {
                if let Some(events) = &events {
                    watch(events, folder, &unwatched);
                }
            });
        });
    }

    /// Begins to look whether the path leads to the folder that is held open.
    fn look_after_root(&mut self) {
        let now = Instant::now();
        if self.next_health.is_none_or(|at| at > now) {
            return;
        }
        self.next_health = Some(now + HEALTH);
        if self.checking.is_some() {
            self.tell_gone("its file system does not answer");
            return;
        }
        let root = Arc::clone(&self.root);
        self.checking = Some(tokio::task::spawn_blocking(move || check(&root)));
    }

    fn checked(&mut self, found: Checked) {
        self.checking = None;
        let was_away = std::mem::replace(&mut self.stands_by, matches!(found, Checked::Taken | Checked::Gone(_)));
        match found {
            Checked::Current => {
                self.gone.clear();
                if was_away {
                    // Another instance may have left files set aside.
                    self.opened();
                }
            }
            Checked::Taken => self.tell_gone("another instance holds the folder"),
            Checked::Replaced(root) => {
                let folder = self.root.path().display();
                tracing::warn!(%folder, "the folder was replaced; watching the one that is there now");
                self.root = Arc::new(root);
                self.gone.clear();
                self.opened();
            }
            Checked::Gone(why) => self.tell_gone(&why),
        }
    }

    /// Says so once, not at each look.
    fn tell_gone(&mut self, what: &str) {
        if self.gone.raise(what) {
            tracing::warn!(folder = %self.root.path().display(), "{what}; waiting for it");
        }
    }
}

/// What a look after the root found.
#[derive(Debug)]
enum Checked {
    /// The path leads to it still, or nobody can tell for want of descriptors: what is held stays held.
    Current,
    /// The path leads to it still, but another instance has it by now: our lock went with the private folder.
    Taken,
    /// The path leads to this one now.
    Replaced(Root),
    /// There is none that may be taken, for this reason.
    Gone(String),
}

/// Looks whether the path leads to the folder that is held open, and opens what it leads to now if not: a folder that was removed and
/// made again, or unmounted, brings no event. Blocks for as long as the file system takes.
fn check(root: &Root) -> Checked {
    match root.is_current() {
        Ok(true) if root.lock().unwrap_or(true) => return Checked::Current,
        Ok(true) => return Checked::Taken,
        Ok(false) => {}
        Err(_) => return Checked::Current,
    }
    match root.reopen().and_then(|now| Ok((now.lock()?, now))) {
        Ok((true, now)) => {
            // Nobody comes back to it: its lock file goes, and its lock with it.
            crate::removal::tidy(root);
            root.unlock();
            Checked::Replaced(now)
        }
        Ok((false, _)) => Checked::Gone("another instance holds the folder that is there now".into()),
        Err(error) if error.is_scarcity() => Checked::Current,
        Err(error) => {
            // It may come back, and is then locked anew.
            root.unlock();
            Checked::Gone(format!("the folder is gone ({error})"))
        }
    }
}

/// The look under way, once it is over; never without one.
async fn checked(checking: &mut Option<JoinHandle<Checked>>) -> Checked {
    match checking {
        Some(handle) => handle.await.unwrap_or_else(|error| Checked::Gone(format!("it can't be looked at ({error})"))),
        None => std::future::pending().await,
    }
}

/// Without those that lie below another one: they are walked through together with it.
fn topmost(folders: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut top: Vec<PathBuf> = Vec::new();
    for folder in folders {
        // In their order a folder comes before what is below it.
        if !top.last().is_some_and(|above| folder.starts_with(above)) {
            top.push(folder);
        }
    }
    top
}

fn watch(events: &Events, folder: &Path, unwatched: &Unwatched) {
    match events.watch(folder) {
        // What can't be read is told by the walk.
        Ok(()) | Err(WatchError::Gone | WatchError::Denied) => {}
        Err(error) => {
            unwatched.now.store(true, Ordering::Relaxed);
            if !unwatched.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(folder = %folder.display(), every = ?POLL, "polling: not all folders can be watched: {error}");
            }
        }
    }
}

/// Events go on for all else. Asked at each walk: shares are mounted and unmounted while we run.
fn poll_shares_below(root: &Root, unwatched: &Unwatched) {
    let mounts = mounts::below(root.path());
    let Some((mount, kind)) = mounts.iter().find_map(|mount| Some((mount, mount.network_share()?))) else { return };
    root.note_share_below();
    unwatched.now.store(true, Ordering::Relaxed);
    if !unwatched.share_told.swap(true, Ordering::Relaxed) {
        tracing::warn!(folder = %mount.path.display(), every = ?POLL, "polling: {kind} is mounted there, and tells of no changes by other hosts");
    }
}

/// A tenth more or less, so that many instances don't walk at the same moment.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0u8; 2];
    // Without chance the pause is as good.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK).ok();
    pause.mul_f64(0.9 + 0.2 * f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX))
}

async fn hint(hints: &mut Option<mpsc::Receiver<Hint>>) -> Hint {
    match hints {
        Some(hints) => match hints.recv().await {
            Some(hint) => hint,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

async fn lost(events: Option<&Arc<Events>>) {
    match events {
        Some(events) => events.lost().await,
        None => std::future::pending().await,
    }
}

async fn found(walk: &mut Option<Walk>) -> Found {
    match walk {
        Some(walk) => walk.found.recv().await.unwrap_or(Found::End),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(dir: &Path, watch: bool) -> Sources {
        Sources::start(Arc::new(Root::open(dir).unwrap()), &Options::for_test(!watch))
    }

    /// Walks until nothing more comes; answers how often.
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
        assert_eq!(walks(&mut sources).await, 2, "what came between its making and its watch");
        sources.walk_soon();
        assert_eq!(walks(&mut sources).await, 1);
    }

    /// Events are hints: what none told of is found by the next walk.
    #[tokio::test(start_paused = true)]
    async fn the_folder_is_walked_through_again_after_a_while_though_no_event_came() {
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
