//! Standard output: a line for each file, as text or JSON.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::budget;
use crate::exit::{Exit, Fatal};
use crate::journal::LocalEnd;
use crate::printable::{json_line, printable};
use crate::upload::{Outcome, Report};

const SECOND: Duration = Duration::from_secs(1);

/// Prints reports of files on standard output, on a thread of its own: a reader that stops reading must not stop the uploads.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    /// One JSON object a line.
    json: bool,
    lines: mpsc::SyncSender<Line>,
    /// Whether a line was dropped already, which is logged once.
    has_dropped: Arc<AtomicBool>,
}

/// A line that waits to be printed.
#[derive(Debug)]
struct Line {
    text: String,
    /// Whether only some lines of this kind are printed in a second: one trouble may concern thousands of files.
    is_limited: bool,
}

/// Tells when all is printed.
#[derive(Debug)]
pub(super) struct Printed(mpsc::Receiver<()>);

impl Printer {
    pub(super) fn start(json: bool) -> (Self, Printed) {
        let (lines, to_print) = mpsc::sync_channel::<Line>(budget::LINES_ABOUT_FILES);
        let (printed, end) = mpsc::channel();
        std::thread::spawn(move || {
            print_all(&to_print, io::stdout().lock());
            drop(printed);
        });
        (Self { json, lines, has_dropped: Arc::default() }, Printed(end))
    }

    /// Prints what became of a file. An outcome that concerns no user prints nothing.
    pub(super) fn print(&self, report: &Report) {
        let Some(text) = line(report, self.json) else { return };
        // Scripts get a line for every file.
        let is_limited = !self.json && matches!(report.outcome, Outcome::Failed { .. } | Outcome::Blocked { .. });
        if self.lines.try_send(Line { text, is_limited }).is_err() && !self.has_dropped.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "standard output is not read fast enough, so lines about some files are dropped; see history"
            );
        }
    }
}

impl Printed {
    /// Waits until all lines are printed. All printers must have been dropped.
    pub(super) fn wait(self) {
        // A timeout and the end mean the same: there is nothing more to do.
        self.0.recv_timeout(budget::LAST_LINES_ABOUT_FILES).ok();
    }
}

/// Prints lines until no more come. Of limited lines it prints some in each second, and then how many more there were.
fn print_all(lines: &mpsc::Receiver<Line>, mut out: impl Write) {
    let (mut since, mut printed, mut left_out) = (Instant::now(), 0, 0u64);
    loop {
        // The number of left-out lines is printed after a second, even if no more lines come.
        let next = if left_out > 0 {
            lines.recv_timeout(SECOND.saturating_sub(since.elapsed()))
        } else {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let is_over = since.elapsed() >= SECOND || matches!(next, Err(RecvTimeoutError::Disconnected));
        // Standard output may have no reader any more; the uploads go on.
        if is_over && left_out > 0 {
            writeln!(out, "failed  {left_out} more files: see history --failed").ok();
        }
        if is_over {
            (since, printed, left_out) = (Instant::now(), 0, 0);
        }
        match next {
            Ok(line) if line.is_limited && printed >= budget::FAILURE_LINES_A_SECOND => left_out += 1,
            Ok(line) => {
                printed += u32::from(line.is_limited);
                writeln!(out, "{}", line.text).ok();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Returns whether standard output still has a reader. A reader that has read enough (`history | head`) is no failure.
pub(super) fn printed(written: io::Result<()>) -> Result<bool, Fatal> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Fatal::new(Exit::SomeFailed, format!("the output can't be written: {error}"))),
    }
}

/// The line about a file.
pub(crate) fn line(report: &Report, json: bool) -> Option<String> {
    if json { as_json(report).map(|json| json_line(&json)) } else { as_text(report) }
}

fn as_text(report: &Report) -> Option<String> {
    let file = printable(&report.file.origin.to_string_lossy());
    Some(match &report.outcome {
        Outcome::Stored { remote, stored, local } => {
            let verb = if stored.already_present { "found" } else { "stored" };
            let local = match local {
                LocalEnd::Removed => ", removed here".to_owned(),
                LocalEnd::Moved(path) => format!(", moved to {}", printable(&path.to_string_lossy())),
                LocalEnd::Kept => String::new(),
            };
            format!("{verb}  {file} -> {} ({} bytes){local}", printable(&remote.to_string()), stored.size)
        }
        Outcome::Failed { reason, moved: None } => format!("failed  {file}: {}", printable(&reason.to_string())),
        Outcome::Failed { reason, moved: Some(path) } => {
            format!(
                "failed  {file}: {} (moved to {})",
                printable(&reason.to_string()),
                printable(&path.to_string_lossy())
            )
        }
        Outcome::Blocked { reason } => format!("waits   {file}: {}", printable(&reason.to_string())),
        Outcome::Again { .. } | Outcome::Skipped { .. } | Outcome::Gone | Outcome::Left => return None,
    })
}

/// One JSON object, a stable contract: always `event`, `file` and `path`; the other fields depend on the event.
fn as_json(report: &Report) -> Option<Value> {
    let path = report.file.root.path().join(&report.file.origin);
    let of = |event: &str| json!({ "event": event, "file": report.file.origin.to_string_lossy(), "path": path.to_string_lossy() });
    let with = |mut object: Value, more: Value| {
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    };
    Some(match &report.outcome {
        Outcome::Stored { remote, stored, local } => {
            let (local, moved_to) = match local {
                LocalEnd::Removed => ("removed", None),
                LocalEnd::Moved(path) => ("moved", Some(path.to_string_lossy())),
                LocalEnd::Kept => ("kept", None),
            };
            let more = json!({
                "remote": remote.to_string(), "id": stored.document.0, "version": stored.document_version,
                "size": stored.size, "sha256": stored.sha256, "adopted": stored.already_present,
                "local": local, "moved_to": moved_to,
            });
            with(of("stored"), more)
        }
        Outcome::Failed { reason, moved } => with(
            of("failed"),
            json!({ "reason": reason.to_string(), "moved_to": moved.as_ref().map(|path| path.to_string_lossy()) }),
        ),
        Outcome::Blocked { reason } => with(of("waits"), json!({ "reason": reason.to_string() })),
        Outcome::Again { .. } | Outcome::Skipped { .. } | Outcome::Gone | Outcome::Left => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_of_failures_are_some_lines_and_a_count_and_every_stored_file_has_a_line() {
        let (sender, lines) = mpsc::sync_channel(10_000);
        for number in 0..2000 {
            sender.send(Line { text: format!("failed  {number}"), is_limited: true }).unwrap();
            sender.send(Line { text: format!("stored  {number}"), is_limited: false }).unwrap();
        }
        drop(sender);
        let mut out = Vec::new();
        print_all(&lines, &mut out);
        let text = String::from_utf8(out).unwrap();
        let count = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(count("stored"), 2000);
        // A busy machine may take more than a second, and then prints more.
        assert!((101..1000).contains(&count("failed")), "{}", count("failed"));
        let more = text.lines().last().unwrap();
        assert!(more.ends_with("more files: see history --failed"), "{more}");
    }
}
