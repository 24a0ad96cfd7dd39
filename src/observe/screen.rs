//! The terminal on standard error: lines about the work under way stand at its lower end, and what is printed goes above them.
//!
//! A process has one terminal, and several threads print to it (the log, the lines about files), so there is one display for all. No thread of
//! the runtime may use it: a terminal that is stopped (Ctrl-S) blocks who writes to it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// The columns and rows of a terminal that does not tell its size.
const SIZE: (u16, u16) = (80, 24);

/// Whether there have ever been lines. Without any, streams don't wait for each other: one may be a pipe that nobody reads.
static IN_USE: AtomicBool = AtomicBool::new(false);
/// The lines at the lower end, if there are any.
static LINES: Mutex<Option<ProgressBar>> = Mutex::new(None);

fn lines() -> MutexGuard<'static, Option<ProgressBar>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows these lines, in place of those that were shown before. Blocks.
pub(crate) fn show(text: &[String]) {
    let mut lines = lines();
    if text.is_empty() {
        if let Some(shown) = lines.take() {
            shown.finish_and_clear();
        }
        return;
    }
    IN_USE.store(true, Ordering::Relaxed);
    lines.get_or_insert_with(display).set_message(text.join("\n"));
}

/// Prints something above the lines, which are drawn again below it. Blocks.
pub(crate) fn above<T>(print: impl FnOnce() -> T) -> T {
    if !IN_USE.load(Ordering::Relaxed) {
        return print();
    }
    match &*lines() {
        Some(shown) => shown.suspend(print),
        None => print(),
    }
}

/// The columns and rows of the terminal.
pub(crate) fn size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => SIZE,
    }
}

fn display() -> ProgressBar {
    let target = ProgressDrawTarget::term_like(Box::new(Terminal(Mutex::default())));
    // The template can be parsed, as it is a literal.
    let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style)
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

/// Standard error, on which a whole drawing is written at once: a terminal that shows half of one flickers. No call fails: where the
/// terminal is closed nobody looks, and the work goes on.
#[derive(Debug)]
struct Terminal(Mutex<String>);

impl Terminal {
    fn push(&self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        // Writing to a String can't fail.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_fmt(text).ok();
        Ok(())
    }

    fn move_cursor(&self, by: usize, direction: char) -> io::Result<()> {
        // A terminal takes 0 for 1.
        if by > 0 { self.push(format_args!("\u{1b}[{by}{direction}")) } else { Ok(()) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.push(format_args!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.push(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.push(format_args!("\r\u{1b}[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let drawing = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        io::stderr().write_all(drawing.as_bytes()).ok();
        Ok(())
    }
}
