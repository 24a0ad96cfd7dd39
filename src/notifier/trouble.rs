//! What is wrong now, and what of it is to be told. Pure: what happened, the time and the marks of what was told before go in,
//! messages come out.
//!
//! A [`Topic`] is a thing that can be in trouble: the files that failed in one folder, the uploads of one folder or of all that are
//! stuck, the login. A topic is told when it is in trouble, again while that lasts, and once when it is over.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::marks::{Marks, Wall};
use super::message::{Message, NamedFile, Words};
use crate::config::Notify;

/// Files and reasons that a message names.
const NAMED: usize = 3;
/// Failures that come within this time are one message.
const GATHER: Duration = Duration::from_secs(3);
/// A trouble is over when it has not been seen for so long: a breaker that tries again looks well for a moment.
const QUIET: Duration = Duration::from_secs(4);

/// The cause of files that wait too long, though nothing is known that they wait for.
pub(super) const WAITING: &str = "waiting";

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Failed,
    Stuck,
    Login,
}

impl Kind {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Login => "login",
        }
    }
}

/// What a message tells of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// It is in trouble; the topic's kind is the event's word.
    Trouble,
    Recovered,
    Test,
}

/// A thing that can be in trouble.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Topic {
    pub(super) kind: Kind,
    /// The watched folder; `None` for what all folders share.
    pub(super) folder: Option<PathBuf>,
}

impl Message {
    /// The word of the field `event`.
    pub(super) fn word(&self) -> &'static str {
        match self.event {
            Event::Trouble => self.topic.kind.word(),
            Event::Recovered => "recovered",
            Event::Test => "test",
        }
    }
}

/// A trouble that is there now, as a look at the program finds it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) topic: Topic,
    /// What tells one cause of a topic's trouble from another.
    pub(super) cause: &'static str,
    pub(super) reason: Words,
    /// How many files it concerns.
    pub(super) count: u64,
    /// How long it has lasted already when it is first seen.
    pub(super) age: Duration,
}

/// A trouble that was seen, since when and until when by the time that the process has run.
#[derive(Debug, Clone)]
struct Present {
    seen: Seen,
    first: Duration,
    last: Duration,
}

/// The files of one folder that failed.
#[derive(Debug, Clone, Default)]
struct Failures {
    /// Those that were not told yet.
    fresh: u64,
    /// When the first of these failed.
    since: Duration,
    /// The newest, the newest first.
    newest: VecDeque<(Words, Option<NamedFile>)>,
    /// When the last one failed.
    last: Duration,
    /// How many lay there when they were counted last; `None` before the first count.
    there: Option<u64>,
    /// When that count began.
    counted: Option<Duration>,
}

/// When messages are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// While a daemon runs.
    Running,
    /// While `--once` runs: nothing is over before its end, and its failures are one message then.
    RunningOnce,
    /// At the end of a run; after `--once` it is known what is over.
    Ended { once: bool },
}

/// All that is wrong now.
#[derive(Debug, Clone)]
pub(super) struct Troubles {
    rules: Notify,
    present: BTreeMap<(Topic, &'static str), Present>,
    failures: BTreeMap<Option<PathBuf>, Failures>,
    /// The folders of this process: marks of others are no concern of it.
    folders: BTreeSet<PathBuf>,
    /// When something was last in trouble for which files wait: in a folder, or (`None`) for all.
    explained: BTreeMap<Option<PathBuf>, Duration>,
    /// Since when the start of the daemon is over: before that nothing can be called over.
    started: Option<Duration>,
}

impl Troubles {
    pub(super) fn new(rules: Notify) -> Self {
        Self {
            rules,
            present: BTreeMap::new(),
            failures: BTreeMap::new(),
            folders: BTreeSet::new(),
            explained: BTreeMap::new(),
            started: None,
        }
    }

    /// This process watches this folder.
    pub(super) fn watches(&mut self, folder: &Path) {
        self.folders.insert(folder.to_owned());
    }

    /// A file of a folder failed, or the run as a whole (`None`).
    pub(super) fn failed(&mut self, folder: Option<&Path>, reason: Words, file: Option<NamedFile>, up: Duration) {
        let failures = self.failures.entry(folder.map(Path::to_owned)).or_default();
        if failures.fresh == 0 {
            failures.since = up;
        }
        failures.fresh += 1;
        failures.last = up;
        failures.newest.push_front((reason, file));
        failures.newest.truncate(NAMED);
        self.folders.extend(folder.map(Path::to_owned));
    }

    /// So many more files of a folder failed, of which nothing else is known.
    pub(super) fn more_failed(&mut self, folder: &Path, count: u64) {
        if let Some(failures) = self.failures.get_mut(&Some(folder.to_owned())) {
            failures.fresh += count;
        }
    }

    /// The login was refused, which ended the run.
    pub(super) fn refused(&mut self, reason: Words, up: Duration) {
        let (topic, cause) = (Topic { kind: Kind::Login, folder: None }, "end");
        let seen = Seen { topic: topic.clone(), cause, reason, count: 0, age: Duration::ZERO };
        self.present.insert((topic, cause), Present { seen, first: up, last: up });
    }

    /// Whether any file failed, or lies there that failed before.
    pub(super) fn has_failures(&self) -> bool {
        self.failures.values().any(|failures| failures.fresh > 0 || failures.there.is_some_and(|there| there > 0))
    }

    /// Whether the start of the daemon is over.
    pub(super) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// A file of a folder was left alone because it has failed before.
    pub(super) fn failed_before(&mut self, folder: &Path) {
        self.failures.entry(Some(folder.to_owned())).or_default();
        self.folders.insert(folder.to_owned());
    }

    /// So many failed files lie in a folder, by a count that began at `asked`. `newest` stands for those that this process has not seen fail.
    pub(super) fn failed_files_are(&mut self, folder: &Path, count: u64, newest: Vec<NamedFile>, asked: Duration) {
        let failures = self.failures.entry(Some(folder.to_owned())).or_default();
        (failures.there, failures.counted) = (Some(count), Some(asked));
        if failures.newest.is_empty() {
            failures.newest = newest.into_iter().map(|file| (file.words(), Some(file))).collect();
        }
    }

    /// Takes note of all other troubles that are there now. `started` tells whether the start is over.
    pub(super) fn look(&mut self, seen: Vec<Seen>, started: bool, up: Duration) {
        for seen in seen {
            self.folders.extend(seen.topic.folder.clone());
            if seen.cause != WAITING {
                self.explained.insert(seen.topic.folder.clone(), up);
            }
            let key = (seen.topic.clone(), seen.cause);
            let first = self.present.get(&key).map_or(up, |present| present.first);
            self.present.insert(key, Present { seen, first, last: up });
        }
        let quiet = |present: &Present| if present.seen.cause == WAITING { Duration::from_nanos(1) } else { QUIET };
        self.present.retain(|_, present| up.saturating_sub(present.last) < quiet(present));
        self.started = if started { self.started.or(Some(up)) } else { None };
    }

    /// The messages that are due now, given what was told before.
    pub(super) fn due(&self, marks: &Marks, when: When, up: Duration, now: Wall) -> Vec<Message> {
        let mut due: Vec<Message> = self.in_trouble(when, up);
        due.retain(|message| {
            let lasts = !self.is_new(message);
            self.is_on(message.topic.kind) && marks.may_tell(&message.topic, self.rules.every, lasts, now)
        });
        due.extend(self.over(marks, when, up));
        due
    }

    /// A message was taken to be sent.
    pub(super) fn told(&mut self, message: &Message, marks: &mut Marks, now: Wall) {
        if message.event == Event::Recovered {
            marks.over(&message.topic);
            if message.topic.kind == Kind::Failed {
                self.failures.remove(&message.topic.folder);
            }
            return;
        }
        let lasts = !self.is_new(message);
        let mut open = true;
        if message.topic.kind == Kind::Failed
            && let Some(failures) = self.failures.get_mut(&message.topic.folder)
        {
            failures.fresh = 0;
            // What failed_dir has taken, or what is stored and stays, is no failure that the journal could tell to be over.
            open = message.topic.folder.is_none() || failures.there.is_some_and(|there| there > 0);
        }
        marks.told(&message.topic, open, lasts, now);
    }

    /// The folders of which it must be looked up how many failed files lie there.
    pub(super) fn to_look_up(&self, marks: &Marks) -> Vec<PathBuf> {
        let known = self.failures.iter().filter(|(_, failures)| failures.there != Some(0) || !failures.is_counted());
        let known = known.filter_map(|(folder, _)| folder.clone());
        let told = self.told_here(marks).filter(|topic| topic.kind == Kind::Failed).filter_map(|topic| topic.folder);
        known.chain(told).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The topics of this process that were told, and not yet that they are over.
    fn told_here(&self, marks: &Marks) -> impl Iterator<Item = Topic> {
        marks.open().filter(|topic| topic.folder.as_ref().is_none_or(|folder| self.folders.contains(folder)))
    }

    /// Whether nothing is in trouble that was told, or is to be told.
    pub(super) fn is_well(&self, marks: &Marks, up: Duration) -> bool {
        let is_told = self.told_here(marks).any(|topic| self.is_on(topic.kind));
        !is_told && !self.in_trouble(When::Running, up).iter().any(|message| self.is_on(message.topic.kind))
    }

    fn is_on(&self, kind: Kind) -> bool {
        let on = self.rules.on;
        match kind {
            Kind::Failed => on.failed,
            Kind::Stuck => on.stuck,
            Kind::Login => on.login,
        }
    }

    /// Whether a message tells of files that failed since the last one.
    fn is_new(&self, message: &Message) -> bool {
        message.topic.kind == Kind::Failed
            && self.failures.get(&message.topic.folder).is_some_and(|failures| failures.fresh > 0)
    }

    /// A message for each topic that is in trouble, told or not.
    fn in_trouble(&self, when: When, up: Duration) -> Vec<Message> {
        let failed = self.failures.iter().filter(|(_, failures)| failures.is_due(when, up));
        let mut messages: Vec<_> = failed.map(|(folder, failures)| failures.message(folder.clone())).collect();
        let shared = |kind| self.present.keys().any(|(topic, _)| topic.kind == kind && topic.folder.is_none());
        let (login, all) = (shared(Kind::Login), shared(Kind::Stuck));
        let mut topics: Vec<_> = self.present.keys().map(|(topic, _)| topic).collect();
        topics.dedup();
        for topic in topics {
            // Where the login is refused, all else that waits waits for that; and the files of a folder wait where all do.
            let is_explained = topic.kind != Kind::Login && (login || (all && topic.folder.is_some()));
            if !is_explained {
                messages.extend(self.lasting(topic, up));
            }
        }
        messages
    }

    /// The message for a topic whose causes have lasted long enough; the oldest cause comes first.
    fn lasting(&self, topic: &Topic, up: Duration) -> Option<Message> {
        let at_least = if topic.kind == Kind::Login { Duration::ZERO } else { self.rules.stuck_after };
        let age = |present: &Present| self.age(present, up);
        let of_topic = self.present.iter().filter(|((of, _), _)| of == topic).map(|(_, present)| present);
        let mut causes: Vec<_> = of_topic.filter(|present| age(present) >= at_least).collect();
        causes.sort_by_key(|present| std::cmp::Reverse(age(present)));
        let lasted = age(causes.first()?);
        Some(Message {
            event: Event::Trouble,
            topic: topic.clone(),
            count: causes.iter().map(|present| present.seen.count).max().unwrap_or_default(),
            reasons: causes.iter().take(NAMED).map(|present| present.seen.reason.clone()).collect(),
            files: Vec::new(),
            lasted: Some(lasted),
        })
    }

    /// How long a trouble has lasted. Files that waited for something in trouble have their full time again once that is over: thousands
    /// may wait then, and they go one after the other.
    fn age(&self, present: &Present, up: Duration) -> Duration {
        let age = present.seen.age.max(up.saturating_sub(present.first));
        if present.seen.cause != WAITING {
            return age;
        }
        let explained = [&None, &present.seen.topic.folder].into_iter().filter_map(|of| self.explained.get(of)).max();
        explained.map_or(age, |until| age.min(up.saturating_sub(*until)))
    }

    /// A message for each topic that was told and is no longer in trouble.
    fn over(&self, marks: &Marks, when: When, up: Duration) -> Vec<Message> {
        let is_known = match when {
            When::Running => self.started.is_some_and(|since| up.saturating_sub(since) >= QUIET),
            When::RunningOnce | When::Ended { once: false } => false,
            When::Ended { once: true } => self.started.is_some(),
        };
        if !is_known {
            return Vec::new();
        }
        let over = self.told_here(marks).filter(|topic| match (topic.kind, &topic.folder) {
            (Kind::Failed, None) => !self.failures.contains_key(&None),
            (Kind::Failed, folder) => {
                self.failures.get(folder).is_some_and(|failures| failures.there == Some(0) && failures.is_counted())
            }
            _ => !self.present.keys().any(|(present, _)| present == topic),
        });
        let message = |topic| Message {
            event: Event::Recovered,
            topic,
            count: 0,
            reasons: Vec::new(),
            files: Vec::new(),
            lasted: None,
        };
        over.map(message).collect()
    }
}

impl Failures {
    /// Whether nothing has failed since the last count began.
    fn is_counted(&self) -> bool {
        self.counted.is_some_and(|counted| counted > self.last)
    }

    fn is_due(&self, when: When, up: Duration) -> bool {
        let has_any = self.fresh > 0 || self.there.is_some_and(|there| there > 0);
        // How many lie there is looked up meanwhile, but a file system that hangs has no say in whether they are told.
        let gather = if self.is_counted() { GATHER } else { 3 * GATHER };
        let is_gathered = self.fresh == 0 || up.saturating_sub(self.since) >= gather;
        has_any
            && match when {
                When::Running => is_gathered,
                When::RunningOnce => false,
                When::Ended { .. } => true,
            }
    }

    fn message(&self, folder: Option<PathBuf>) -> Message {
        Message {
            event: Event::Trouble,
            count: if folder.is_none() { 0 } else { self.fresh.max(self.there.unwrap_or_default()) },
            topic: Topic { kind: Kind::Failed, folder },
            reasons: self.newest.iter().map(|(reason, _)| reason.clone()).collect(),
            files: self.newest.iter().filter_map(|(_, file)| file.clone()).collect(),
            lasted: None,
        }
    }
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;
