//! The thread that decides what is told. It looks at the health every few seconds, takes note of what becomes of files, and hands messages
//! to the queues.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};

use super::delivery::{Parcel, Queues, Signal};
use super::marks::MarksFile;
use super::message::{Message, NamedFile, Words};
use super::trouble::{Event, Kind, Seen, Topic, Troubles, WAITING, When};
use super::{Uptime, words};
use crate::budget;
use crate::config::Notify;
use crate::exit::Exit;
use crate::inventory::failed_here;
use crate::journal::Journal;
use crate::observe::health::{Checked, Component, Health};
use crate::observe::waiting::{Waiting, WaitingFiles};

/// The time between two looks at the health.
const TICK: Duration = Duration::from_secs(2);
/// The failed files that lie in a folder are counted again after this time, and sooner where files come and go.
const COUNT: Duration = Duration::from_secs(60);
const COUNT_SOON: Duration = Duration::from_secs(1);
/// How long the end of `--once` waits for such counts.
const COUNT_AT_END: Duration = Duration::from_secs(2);

/// What the thread is told.
#[derive(Debug)]
pub(super) enum Input {
    Failed {
        folder: PathBuf,
        path: PathBuf,
        reason: Words,
    },
    FailedBefore(PathBuf),
    Stored,
    Journal(Journal),
    /// A folder is watched from now on.
    Folder(PathBuf, Waiting),
    /// So many failed files lie in a folder, by a count that began at this time; `None` where that can't be told.
    Counted(PathBuf, Duration, Option<(u64, Vec<NamedFile>)>),
    /// The run has ended, with a code or for a reason.
    End(Result<Exit, (Exit, Words)>),
}

/// A run, and where to look at it.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) notify: Notify,
    pub(super) once: bool,
    pub(super) host: String,
    pub(super) health: Health,
    pub(super) missed: Arc<AtomicU64>,
    /// Where the threads report that count failed files.
    pub(super) looked_up: SyncSender<Input>,
}

/// Decides what is told.
pub(super) struct Teller {
    run: Run,
    queues: Queues,
    marks: MarksFile,
    troubles: Troubles,
    uptime: Uptime,
    journal: Option<Journal>,
    /// Each watched folder with the count of its waiting files.
    folders: Vec<(PathBuf, Waiting)>,
    /// Counts under way.
    counting: usize,
    counted: Option<Instant>,
    /// Something became of a file since the last count.
    has_moved: bool,
    alive: Option<Instant>,
}

impl Teller {
    /// Blocks, to read the marks.
    pub(super) fn new(run: Run, queues: Queues, state_dir: &Path) -> Self {
        Self {
            troubles: Troubles::new(run.notify.clone()),
            marks: MarksFile::open(state_dir),
            uptime: Uptime(Instant::now()),
            run,
            queues,
            journal: None,
            folders: Vec::new(),
            counting: 0,
            counted: None,
            has_moved: false,
            alive: None,
        }
    }

    /// Runs until the end of the run. Then the queues are dropped, and the senders end when they are empty.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) {
        let mut next_look = Instant::now() + TICK;
        loop {
            match inputs.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Input::End(ended)) => return self.end(ended, inputs),
                Ok(input) => self.take(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next_look {
                self.look();
                self.count_failed();
                self.tell(if self.run.once { When::RunningOnce } else { When::Running });
                self.show_life();
                next_look = Instant::now() + TICK;
            }
        }
    }

    fn take(&mut self, input: Input) {
        let up = self.uptime.now();
        match input {
            Input::Failed { folder, path, reason } => {
                let file = NamedFile { path, reason };
                self.troubles.failed(Some(&folder), file.words(), Some(file), up);
                let missed = self.run.missed.swap(0, Ordering::Relaxed);
                self.troubles.more_failed(&folder, missed);
                self.has_moved = true;
            }
            Input::FailedBefore(folder) => self.troubles.failed_before(&folder),
            Input::Stored => self.has_moved = true,
            Input::Journal(journal) => self.journal = Some(journal),
            Input::Folder(folder, waiting) => {
                self.troubles.watches(&folder);
                self.folders.push((folder, waiting));
            }
            Input::Counted(folder, asked, found) => {
                self.counting -= 1;
                if let Some((count, newest)) = found {
                    self.troubles.failed_files_are(&folder, count, newest, asked);
                }
            }
            Input::End(_) => {}
        }
    }

    /// Looks at the health.
    fn look(&mut self) {
        let checked = self.run.health.check_all();
        let is_refused = self.run.health.is_login_refused();
        let started = checked.iter().any(|it| it.component == Component::Start && it.trouble.is_none());
        let mut seen = self.waiting();
        for Checked { component, trouble, .. } in checked {
            let Some(reason) = trouble else { continue };
            let kind = if is_refused && component == Component::Service { Kind::Login } else { Kind::Stuck };
            seen.push(Seen {
                topic: Topic { kind, folder: folder_of(&component) },
                cause: cause_of(&component),
                reason: words::of_component(&component, &reason),
                count: 0,
                age: Duration::ZERO,
            });
        }
        self.troubles.look(seen, started, self.uptime.now());
    }

    /// The folders in which a file waits for too long.
    fn waiting(&self) -> Vec<Seen> {
        let now = tokio::time::Instant::now();
        let of_folder = |(folder, waiting): &(PathBuf, Waiting)| {
            let WaitingFiles { files, oldest, .. } = waiting.get()?;
            let age = now.saturating_duration_since(oldest?);
            let reason = format!("{files} {} there", if files == 1 { "file waits" } else { "files wait" });
            (age >= self.run.notify.stuck_after).then(|| Seen {
                topic: Topic { kind: Kind::Stuck, folder: Some(folder.clone()) },
                cause: WAITING,
                reason: Words::new(&reason, &reason),
                count: files,
                age,
            })
        };
        self.folders.iter().filter_map(of_folder).collect()
    }

    /// Counts the failed files that lie in the folders where some do, on threads of their own: a file system may not answer.
    fn count_failed(&mut self) {
        let pause = if self.has_moved { COUNT_SOON } else { COUNT };
        if self.counting > 0 || self.counted.is_some_and(|counted| counted.elapsed() < pause) {
            return;
        }
        self.start_counts();
    }

    fn start_counts(&mut self) {
        let Some(journal) = &self.journal else { return };
        let folders = self.troubles.to_look_up(self.marks.last());
        if folders.is_empty() {
            return;
        }
        (self.counted, self.has_moved, self.counting) = (Some(Instant::now()), false, folders.len());
        let (journal, to, asked) = (journal.clone(), self.run.looked_up.clone(), self.uptime.now());
        std::thread::spawn(move || {
            for folder in folders {
                let found = count(&journal, &folder);
                // Where the run has ended meanwhile, nobody needs it.
                to.send(Input::Counted(folder, asked, found)).ok();
            }
        });
    }

    /// Hands over the messages that are due.
    fn tell(&mut self, when: When) {
        let (up, now) = (self.uptime.now(), SystemTime::now());
        // Most times nothing is due, and the file needs no look.
        if self.troubles.due(self.marks.last(), when, up, now).is_empty() {
            return;
        }
        let troubles = &mut self.troubles;
        let due = self.marks.change(now, |marks| {
            let due = troubles.due(marks, when, up, now);
            for message in &due {
                troubles.told(message, marks, now);
            }
            due
        });
        for message in due {
            self.signal(&message, when);
            if message.event != Event::Recovered || self.run.notify.on.recovered {
                tracing::debug!(event = message.word(), "told as [notify] says");
                self.queues.hand(&Parcel::Message(message, now));
            }
        }
    }

    /// What a message means for the check: the end of a run has a signal of its own.
    fn signal(&mut self, message: &Message, when: When) {
        let signal = match (when, message.event) {
            (When::Running, Event::Trouble) => Signal::Fail,
            (When::Running, Event::Recovered) if self.troubles.is_well(self.marks.last(), self.uptime.now()) => {
                self.alive = Some(Instant::now());
                Signal::Success
            }
            _ => return,
        };
        self.queues.hand(&Parcel::Signal(signal, message.text(&self.run.host, self.run.notify.names)));
    }

    /// A daemon that is well says so every few minutes, so that its silence is noticed.
    fn show_life(&mut self) {
        let is_due = self.alive.is_none_or(|alive| alive.elapsed() >= budget::NOTIFY_ALIVE);
        if !self.run.once
            && is_due
            && self.troubles.has_started()
            && self.troubles.is_well(self.marks.last(), self.uptime.now())
        {
            self.alive = Some(Instant::now());
            self.queues.hand(&Parcel::Signal(Signal::Success, String::new()));
        }
    }

    /// Tells how the run ended.
    fn end(mut self, ended: Result<Exit, (Exit, Words)>, inputs: &Receiver<Input>) {
        let once = self.run.once;
        let (has_run, exit, reason) = match ended {
            Ok(exit) => (true, exit, words::of_run(exit)),
            Err((exit, reason)) => (false, exit, reason),
        };
        if exit == Exit::Interrupted || (!once && exit == Exit::Done) {
            return;
        }
        self.look();
        if once {
            self.wait_for_counts(inputs);
        }
        let is_explained = exit == Exit::Done || (exit == Exit::SomeFailed && has_run && self.troubles.has_failures());
        if exit == Exit::LoginRefused {
            self.troubles.refused(reason.clone(), self.uptime.now());
        } else if !is_explained {
            self.troubles.failed(None, reason.clone(), None, self.uptime.now());
        }
        self.tell(When::Ended { once: once && has_run });
        let text = if self.run.notify.names { reason.full } else { reason.public };
        let signal = if exit == Exit::Done { Signal::Success } else { Signal::Fail };
        self.queues.hand(&Parcel::Signal(signal, text));
    }

    /// Counts the failed files once more, where some lay or lie, for a moment.
    fn wait_for_counts(&mut self, inputs: &Receiver<Input>) {
        let end = Instant::now() + COUNT_AT_END;
        let mut is_last = false;
        loop {
            if self.counting == 0 {
                if std::mem::replace(&mut is_last, true) {
                    return;
                }
                self.start_counts();
                continue;
            }
            match inputs.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(input) => self.take(input),
                Err(_) => return,
            }
        }
    }
}

/// The failed files that lie in a folder, and the newest of them. Blocks.
fn count(journal: &Journal, folder: &Path) -> Option<(u64, Vec<NamedFile>)> {
    let folders = [folder.to_owned()];
    match failed_here(journal, &folders, SystemTime::now(), budget::INVENTORY_TIME) {
        // Where the time did not suffice, there may be more, so that none is no answer.
        Ok(found) if found.count == 0 && !found.complete => None,
        Ok(found) => {
            let newest = found.newest.into_iter();
            let named = newest.map(|file| NamedFile { path: file.path, reason: words::of_journal(file.reason) });
            Some((found.count, named.collect()))
        }
        Err(error) => {
            tracing::debug!("failed files can't be counted: {error}");
            None
        }
    }
}

fn folder_of(component: &Component) -> Option<PathBuf> {
    match component {
        Component::Folder(folder) | Component::Destination(folder) => Some(PathBuf::from(folder)),
        _ => None,
    }
}

fn cause_of(component: &Component) -> &'static str {
    match component {
        Component::Start => "start",
        Component::Service => "service",
        Component::Login => "login",
        Component::Journal => "journal",
        Component::Destination(_) => "destination",
        Component::Folder(_) => "folder",
        Component::Progress => "progress",
        Component::Fleet => "fleet",
    }
}
