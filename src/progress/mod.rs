//! How far a run is, for people who look: bars on a terminal, else a line a minute; and what a stop waits for.
//!
//! A thread of its own looks at the uploads in flight and draws: standard error may be a terminal that is stopped, which blocks who
//! writes to it. No upload waits for a look, nor for what comes of it.

mod layout;
mod model;

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::budget;
use crate::observe::logging;
use crate::observe::screen;
use crate::observe::transfers::Transfers;
use crate::observe::waiting::{Waiting, WaitingFiles};
use crate::shutdown::{Grace, Shutdown, Stop};

use model::{Bars, Minutes, Moment, Stopping};

/// The time between two drawings of the bars.
const TICK: Duration = Duration::from_millis(100);
/// The time between two lines where there is no terminal.
const MINUTE: Duration = Duration::from_secs(60);

/// When there are bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// On a terminal; elsewhere there is a line a minute.
    Auto,
    /// Always.
    Always,
    /// Never, nor a line a minute.
    Never,
}

/// What is shown of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown {
    way: Way,
    /// Whether a stop is told.
    stops: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Bars,
    Minutes,
    Nothing,
}

impl Shown {
    /// What is shown on standard error as it is.
    pub(crate) fn here(when: When, quiet: bool) -> Self {
        // The variable is missing where no terminal is, and `dumb` where a terminal has no cursor to move.
        let moves = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        Self::on(when, quiet, moves && std::io::stderr().is_terminal())
    }

    /// What is shown on a terminal, or elsewhere. Pure.
    fn on(when: When, quiet: bool, terminal: bool) -> Self {
        let way = match when {
            When::Always => Way::Bars,
            When::Auto if quiet => Way::Nothing,
            When::Auto if terminal => Way::Bars,
            When::Auto => Way::Minutes,
            When::Never => Way::Nothing,
        };
        Self { way, stops: !quiet }
    }
}

/// What the store has got in a run so far. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Done(Arc<DoneCounts>);

#[derive(Debug, Default)]
struct DoneCounts {
    files: AtomicU64,
    bytes: AtomicU64,
}

impl Done {
    /// Counts a file that the store has.
    pub(crate) fn stored(&self, bytes: u64) {
        self.0.files.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What a run is, as far as its progress shows.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) transfers: Transfers,
    /// The files that wait in each watched folder; empty where that is not known.
    pub(crate) waiting: Vec<Waiting>,
    /// How long a stop waits for uploads in flight.
    pub(crate) grace: Grace,
}

/// What the thread is told.
enum Event {
    Stop { now: bool, at: Instant },
    End,
}

/// The display of a run. It ends when this is dropped, at the latest.
#[derive(Debug)]
pub(crate) struct Progress {
    done: Done,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    events: mpsc::Sender<Event>,
    /// Disconnected when the thread has ended.
    ended: Mutex<mpsc::Receiver<()>>,
    listening: AbortHandle,
}

impl Progress {
    /// Starts the display. Must be called within the runtime.
    pub(crate) fn start(shown: Shown, work: Work, shutdown: Shutdown) -> Self {
        let done = Done::default();
        if shown.way == Way::Nothing && !shown.stops {
            return Self { done, running: None };
        }
        let (events, received) = mpsc::channel();
        let (ends, ended) = mpsc::channel();
        let listening = tokio::spawn(tell_stops(shutdown, events.clone())).abort_handle();
        let display = Display {
            shown,
            work,
            done: done.clone(),
            bars: Bars::default(),
            minutes: Minutes::default(),
            stopping: None,
        };
        std::thread::spawn(move || {
            display.run(&received);
            drop(ends);
        });
        Self { done, running: Some(Running { events, ended: Mutex::new(ended), listening }) }
    }

    /// Where stored files are counted.
    pub(crate) fn done(&self) -> Done {
        self.done.clone()
    }
}

impl Drop for Progress {
    /// Removes the bars. The terminal may be stopped, so the wait for that has a limit.
    fn drop(&mut self) {
        let Some(Running { events, ended, listening }) = self.running.take() else { return };
        listening.abort();
        events.send(Event::End).ok();
        let ended = ended.into_inner().unwrap_or_else(PoisonError::into_inner);
        ended.recv_timeout(budget::LAST_LOG_LINES).ok();
    }
}

/// Tells the thread of each stop signal as it comes.
async fn tell_stops(mut shutdown: Shutdown, events: mpsc::Sender<Event>) {
    shutdown.reached(Stop::Gently).await;
    events.send(Event::Stop { now: false, at: Instant::now() }).ok();
    shutdown.reached(Stop::Now).await;
    events.send(Event::Stop { now: true, at: Instant::now() }).ok();
}

/// The state of the thread.
struct Display {
    shown: Shown,
    work: Work,
    done: Done,
    bars: Bars,
    minutes: Minutes,
    stopping: Option<Stopping>,
}

impl Display {
    fn run(mut self, events: &mpsc::Receiver<Event>) {
        loop {
            let tick = if self.shown.way == Way::Bars { TICK } else { MINUTE };
            match events.recv_timeout(tick) {
                Ok(Event::Stop { now, at }) => self.stop(now, at),
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if self.shown.way == Way::Minutes => {
                    if let Some(line) = self.minutes.line(&self.moment(), Instant::now()) {
                        logging::say(&line);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.shown.way == Way::Bars {
                let (moment, stopping) = (self.moment(), self.stopping);
                screen::show(self.bars.lines(&moment, stopping, screen::size(), Instant::now()));
            }
        }
        screen::show(Vec::new());
    }

    fn stop(&mut self, now: bool, at: Instant) {
        if !self.shown.stops {
            return;
        }
        let in_flight = self.work.transfers.all().len();
        let stopping = Stopping { ends: at + self.work.grace.get() };
        match (now, self.shown.way) {
            // The line of a cut stays in the terminal when the bars are gone.
            (true, _) => {
                self.stopping = None;
                logging::say(model::CUT);
            }
            (false, Way::Bars) => self.stopping = Some(stopping),
            (false, _) => logging::say(&stopping.line(in_flight, at, false)),
        }
    }

    fn moment(&self) -> Moment {
        let waiting = self.work.waiting.iter().filter_map(Waiting::get).reduce(add);
        Moment {
            transfers: self.work.transfers.all(),
            sent: self.work.transfers.sent(),
            stored: self.done.0.files.load(Ordering::Relaxed),
            stored_bytes: self.done.0.bytes.load(Ordering::Relaxed),
            waiting: waiting.map(|waiting| (waiting.files, waiting.bytes)),
        }
    }
}

fn add(one: WaitingFiles, other: WaitingFiles) -> WaitingFiles {
    WaitingFiles { files: one.files + other.files, bytes: one.bytes + other.bytes, oldest: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_for_terminals_and_a_line_a_minute_is_for_all_else() {
        let shown = |when, quiet, terminal| {
            let Shown { way, stops } = Shown::on(when, quiet, terminal);
            (way, stops)
        };
        assert_eq!(shown(When::Auto, false, true), (Way::Bars, true));
        assert_eq!(shown(When::Auto, false, false), (Way::Minutes, true));
        assert_eq!(shown(When::Always, false, false), (Way::Bars, true));
        assert_eq!(shown(When::Never, false, true), (Way::Nothing, true));
        for terminal in [false, true] {
            assert_eq!(shown(When::Auto, true, terminal), (Way::Nothing, false), "quiet means quiet");
            assert_eq!(shown(When::Always, true, terminal), (Way::Bars, false), "a person asked for it");
        }
    }
}
