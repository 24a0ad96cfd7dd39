//! The terminal on standard error: lines about the work under way stand at its lower end, and what is printed goes above them.
//!
//! A process has one terminal, and several threads print to it (the log, the lines about files), so there is one display for all. No thread of
//! the runtime may use it: a terminal that is stopped (Ctrl-S) blocks who writes to it.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::printable::columns;

/// The columns and rows of a terminal that does not tell its size.
const SIZE: (u16, u16) = (80, 24);

/// Whether there have ever been lines. Without any, streams don't wait for each other: one may be a pipe that nobody reads.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// The lines at the lower end. The cursor stands behind the last one.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn lines() -> MutexGuard<'static, Vec<String>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows these lines, in place of those that were shown before. Each must be narrower than the terminal. Blocks.
pub(crate) fn show(text: Vec<String>) {
    let mut shown = lines();
    if *shown == text {
        return;
    }
    IN_USE.store(true, Ordering::Relaxed);
    draw(&format!("{}{}", removing(&shown, size().0), text.join("\n")));
    *shown = text;
}

/// Prints something above the lines, which are drawn again below it. What is printed must end with its line. Blocks.
pub(crate) fn above<T>(print: impl FnOnce() -> T) -> T {
    if !IN_USE.load(Ordering::Relaxed) {
        return print();
    }
    let shown = lines();
    draw(&removing(&shown, size().0));
    let printed = print();
    draw(&shown.join("\n"));
    printed
}

/// The columns and rows of the terminal.
pub(crate) fn size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => SIZE,
    }
}

/// The sequence that removes the lines: the cursor goes to the first one, and all from there on is cleared. A terminal that has become
/// narrower shows a line in several rows.
fn removing(lines: &[String], width: u16) -> String {
    let rows: usize = lines.iter().map(|line| columns(line).div_ceil(usize::from(width.max(1))).max(1)).sum();
    match rows {
        0 => String::new(),
        1 => "\r\u{1b}[J".to_owned(),
        rows => format!("\r\u{1b}[{}A\u{1b}[J", rows - 1),
    }
}

/// Writes a whole drawing at once: a terminal that shows half of one flickers. Where the terminal is closed nobody looks, and the work
/// goes on.
fn draw(drawing: &str) {
    if !drawing.is_empty() {
        io::stderr().write_all(drawing.as_bytes()).ok();
    }
}

/// A stream on the terminal: what is written to it goes above the lines.
#[derive(Debug)]
pub(crate) struct Above<W>(pub(crate) W);

impl<W: Write> Write for Above<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above(|| self.0.write(bytes))
    }

    /// The lines are drawn again only after the last byte.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        above(|| self.0.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_removed_from_all_rows_that_they_have() {
        let lines = ["x".repeat(30), String::new(), "日本語".to_owned()];
        assert_eq!(removing(&lines, 80), "\r\u{1b}[2A\u{1b}[J");
        assert_eq!(removing(&lines, 20), "\r\u{1b}[3A\u{1b}[J", "the terminal was wider when they were drawn");
        assert_eq!(removing(&lines[2..], 80), "\r\u{1b}[J");
        assert_eq!(removing(&[], 80), "");
    }
}
