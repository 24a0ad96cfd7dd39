//! The end of a run: the sum for people, or the last lines of `--json`: the error that ended the command, if there is one, and the summary.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::budget;
use crate::cli::{Cli, Command};
use crate::daemon::Tally;
use crate::events::{self, Event};
use crate::exit::{Exit, Fatal};
use crate::measure::{count, size, span};

/// What a command counted, for its summary. Clones share the counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals(Arc<Mutex<Option<Counts>>>);

impl Totals {
    /// Sets the counts. The last ones set are printed.
    pub(super) fn set(&self, counts: Counts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(counts);
    }

    fn get(&self) -> Option<Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The counts of a command's summary. Sizes are in bytes.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub(super) enum Counts {
    /// `watch` and `push`.
    Uploads {
        stored: u64,
        bytes: u64,
        failed: u64,
        waiting: u64,
        still_open: u64,
        skipped: u64,
        left: u64,
        lines_dropped: u64,
    },
    /// `watch` and `push` with `--dry-run`.
    Plan { dry_run: bool, upload: u64, bytes: u64, finish: u64, leave: u64 },
    /// `ls` and `get`.
    Documents { documents: u64, bytes: u64 },
    /// `check`.
    Steps { ok: u64, warnings: u64, failed: u64, not_tried: u64 },
    /// `history`.
    Attempts { attempts: u64 },
    /// `verify`.
    Compared {
        same: u64,
        bad: u64,
        superseded: u64,
        /// Only with `--sample`.
        #[serde(skip_serializing_if = "Option::is_none")]
        chosen_of: Option<u64>,
    },
}

impl Counts {
    /// The counts of `watch` and `push`, and how many lines about files were dropped.
    pub(super) fn of_uploads(tally: &Tally, lines_dropped: u64) -> Self {
        let &Tally { stored, bytes, failed, waiting, still_open, skipped, left, stopped: _ } = tally;
        Self::Uploads { stored, bytes, failed, waiting, still_open, skipped, left, lines_dropped }
    }
}

impl Counts {
    /// The sum of an upload for people; `None` for other commands, which print what they found.
    fn sum(&self, took: Duration) -> Option<String> {
        let &Self::Uploads { stored, bytes, failed, waiting, still_open, skipped, left, .. } = self else {
            return None;
        };
        let sizes = if stored > 0 { format!(" ({})", size(bytes)) } else { String::new() };
        let others = [(waiting, "waiting"), (still_open, "still being written"), (left, "left for later")];
        let others = others.into_iter().filter(|(number, _)| *number > 0);
        let others: String = others.map(|(number, what)| [", ", &count(number), " ", what].concat()).collect();
        let hint = if failed > 0 { ": astran-backup history --failed" } else { "" };
        Some(format!(
            "{} stored{sizes}, {} failed, {} skipped{others} in {}{hint}",
            count(stored),
            count(failed),
            count(skipped),
            span(took)
        ))
    }
}

/// The error that ended the command.
#[derive(Serialize)]
struct ErrorEvent<'a> {
    exit: u8,
    code: &'static str,
    message: &'a str,
}

impl Event for ErrorEvent<'_> {
    const TYPE: &'static str = "error";
}

/// The last line of every command.
#[derive(Serialize)]
struct Summary {
    command: Option<&'static str>,
    exit: u8,
    code: &'static str,
    seconds: f64,
    #[serde(flatten)]
    counts: Option<Counts>,
}

impl Event for Summary {
    const TYPE: &'static str = "summary";
}

/// A run of the program, from its start to the summary at its end.
#[derive(Debug)]
pub struct Run {
    json: bool,
    quiet: bool,
    command: Option<&'static str>,
    start: Instant,
    totals: Totals,
}

impl Run {
    /// A run of the command that was typed.
    pub fn of(cli: &Cli) -> Self {
        // What these print is a script for a shell, or a page.
        let prints_no_json = matches!(cli.command, Command::Completions(_) | Command::Man(_));
        let run = Self::new(cli.global.json && !prints_no_json, Some(cli.command.name()));
        Self { quiet: cli.global.quiet, ..run }
    }

    /// A run that ends at once, as the command line can't be understood.
    pub fn refused(json: bool) -> Self {
        Self::new(json, None)
    }

    fn new(json: bool, command: Option<&'static str>) -> Self {
        Self { json, quiet: false, command, start: Instant::now(), totals: Totals::default() }
    }

    pub(super) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// The sum of an upload, for standard error: a script that reads standard output gets lines about files only, and a person sees the
    /// sum also where these lines go into a file. `None` with `--json`, whose last line has it, and with `--quiet`.
    pub fn sum(&self) -> Option<String> {
        if self.json || self.quiet { None } else { self.totals.get()?.sum(self.start.elapsed()) }
    }

    /// With `--json`, prints the error and the summary. Waits only a moment for a reader that does not read.
    pub fn end(&self, ended: Result<Exit, &Fatal>) {
        if !self.json {
            return;
        }
        let lines = self.last_lines(ended, self.start.elapsed(), SystemTime::now());
        let (printed, end) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let mut out = std::io::stdout();
            // A reader that is gone misses nothing that it wanted.
            out.write_all(lines.as_bytes()).and_then(|()| out.flush()).ok();
            drop(printed);
        });
        // A timeout and the end mean the same: there is nothing more to do.
        end.recv_timeout(budget::LAST_LINES_ABOUT_FILES).ok();
    }

    fn last_lines(&self, ended: Result<Exit, &Fatal>, took: Duration, now: SystemTime) -> String {
        let (exit, code) = match ended {
            Ok(exit) => (exit, exit.word()),
            Err(fatal) => (fatal.exit, fatal.code()),
        };
        let mut lines = String::new();
        if let Err(Fatal { message, .. }) = ended {
            lines += &events::line(&ErrorEvent { exit: exit as u8, code, message }, now);
            lines.push('\n');
        }
        // Whole milliseconds.
        let seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
        let (command, counts) = (self.command, self.totals.get());
        lines += &events::line(&Summary { command, exit: exit as u8, code, seconds, counts }, now);
        lines.push('\n');
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_says_what_was_done_and_where_to_look_only_if_something_failed() {
        let tally = Tally { stored: 4998, bytes: 61 << 20, failed: 2, ..Tally::default() };
        let sum = |tally| Counts::of_uploads(tally, 0).sum(Duration::from_millis(2130)).unwrap();
        assert_eq!(sum(&tally), "4,998 stored (61 MiB), 2 failed, 0 skipped in 2.1 s: astran-backup history --failed");
        let waits = Tally { still_open: 1, skipped: 7, ..Tally::default() };
        assert_eq!(sum(&waits), "0 stored, 0 failed, 7 skipped, 1 still being written in 2.1 s");
        assert_eq!(Counts::Documents { documents: 1, bytes: 1 }.sum(Duration::ZERO), None);
    }

    #[test]
    fn the_summary_comes_last_and_after_a_fatal_error_its_error() {
        let run = Run::new(true, Some("ls"));
        run.totals().set(Counts::Documents { documents: 2, bytes: 7 });
        let (took, now) = (Duration::from_micros(1_234_567), SystemTime::UNIX_EPOCH);
        let done = run.last_lines(Ok(Exit::Done), took, now);
        assert_eq!(
            done,
            "{\"v\":1,\"type\":\"summary\",\"time\":\"1970-01-01T00:00:00.000Z\",\"command\":\"ls\",\"exit\":0,\"code\":\"done\",\
             \"seconds\":1.235,\"documents\":2,\"bytes\":7}\n"
        );
        let fatal = Fatal::new(Exit::LoginRefused, "no");
        let refused = run.last_lines(Err(&fatal), took, now);
        let [error, summary] = refused.lines().collect::<Vec<_>>()[..] else { panic!("{refused}") };
        assert!(error.ends_with(r#""exit":3,"code":"login_refused","message":"no"}"#), "{error}");
        assert!(summary.contains(r#""exit":3,"code":"login_refused""#), "{summary}");
    }
}
