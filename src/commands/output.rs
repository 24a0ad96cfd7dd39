//! Standard output of a command: text for people, or with `--json` events for scripts.

use std::io::{self, Write};
use std::time::SystemTime;

use super::totals::{Counts, Totals};
use crate::events::{self, Event};
use crate::exit::{Cause, Fatal};

/// Where a command prints its result.
///
/// A reader that closes the pipe has read enough, as in `history | head`: that is no failure. From then on nothing is printed, and the
/// command's exit code still tells the result.
pub struct Output<'a> {
    to: Box<dyn Write + 'a>,
    json: bool,
    has_reader: bool,
    totals: Totals,
    now: fn() -> SystemTime,
}

impl<'a> Output<'a> {
    /// Prints to `to`; with `json`, one JSON object a line.
    pub fn new(to: impl Write + 'a, json: bool) -> Self {
        Self { to: Box::new(to), json, has_reader: true, totals: Totals::default(), now: SystemTime::now }
    }

    /// Prints to standard output. What is counted goes into `totals`.
    pub(super) fn standard(json: bool, totals: &Totals) -> Self {
        Self { totals: totals.clone(), ..Self::new(io::stdout(), json) }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// Returns whether the pipe is still open. Where it is closed, more lines are of no use.
    pub(super) fn has_reader(&self) -> bool {
        self.has_reader
    }

    /// Prints the event with `--json`, else the text, which may have several lines.
    pub(super) fn print(&mut self, event: &impl Event, text: impl FnOnce() -> String) -> Result<(), Fatal> {
        if self.json { self.event(event) } else { self.text(&text()) }
    }

    /// Prints a text for people, and nothing with `--json`.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Fatal> {
        if self.json { Ok(()) } else { self.write(format!("{text}\n").as_bytes()) }
    }

    /// Prints an event, and nothing without `--json`.
    pub(super) fn event(&mut self, event: &impl Event) -> Result<(), Fatal> {
        if !self.json {
            return Ok(());
        }
        let line = events::line(event, (self.now)());
        self.write(format!("{line}\n").as_bytes())
    }

    /// Prints bytes as they are.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Fatal> {
        if !self.has_reader {
            return Ok(());
        }
        // Each line is flushed: a script may wait for it, and a pipe would buffer it.
        match self.to.write_all(bytes).and_then(|()| self.to.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.has_reader = false,
            Err(error) => return Err(unwritable(&error)),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Sets what the summary counts.
    pub(super) fn count(&self, counts: Counts) {
        self.totals.set(counts);
    }
}

fn unwritable(error: &io::Error) -> Fatal {
    Fatal::because(Cause::Output, format!("standard output can't be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    /// A writer that fails in the same way each time.
    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is_one() {
        let mut closed = Output::new(Failing(io::ErrorKind::BrokenPipe), false);
        closed.text("a").unwrap();
        assert!(!closed.has_reader());
        closed.text("b").unwrap();
        let full = Output::new(Failing(io::ErrorKind::StorageFull), false).text("a").unwrap_err();
        assert_eq!((full.exit, full.code()), (Exit::SomeFailed, "output"));
    }
}
