//! What people and scripts are told of each file: a line each on standard output.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::budget;
use crate::journal::LocalEnd;
use crate::printable::{json_line, printable};
use crate::upload::{Outcome, Report};

const SECOND: Duration = Duration::from_secs(1);

/// Tells of files on standard output, by a thread of its own: a reader that stops must not stop the uploads.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    /// One JSON object a line.
    json: bool,
    lines: mpsc::SyncSender<Line>,
    untold: Arc<AtomicBool>,
}

/// A line on its way.
#[derive(Debug)]
struct Line {
    text: String,
    /// There may be thousands of its kind in a second, each about another file in the same trouble.
    is_limited: bool,
}

/// The end of all printing.
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
        (Self { json, lines, untold: Arc::default() }, Printed(end))
    }

    /// Tells what became of a file; nothing of what is of no interest to anybody.
    pub(super) fn tell(&self, report: &Report) {
        let Some(text) = told(report, self.json) else { return };
        // Scripts are told of each file.
        let is_limited = !self.json && matches!(report.outcome, Outcome::Failed { .. } | Outcome::Blocked { .. });
        if self.lines.try_send(Line { text, is_limited }).is_err() && !self.untold.swap(true, Ordering::Relaxed) {
            tracing::warn!("nobody reads standard output: some files are not told of there; see history");
        }
    }
}

impl Printed {
    /// Waits until all is printed; every printer is gone by then.
    pub(super) fn wait(self) {
        // Either way there is nothing more to do.
        self.0.recv_timeout(budget::LAST_LINES_ABOUT_FILES).ok();
    }
}

/// Prints lines until no more come: of those that are limited so many in a second, and how many more there were.
fn print_all(lines: &mpsc::Receiver<Line>, mut out: impl Write) {
    let (mut since, mut told, mut left_out) = (Instant::now(), 0, 0u64);
    loop {
        // Told soon, though no more lines may come.
        let next = if left_out > 0 {
            lines.recv_timeout(SECOND.saturating_sub(since.elapsed()))
        } else {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let is_over = since.elapsed() >= SECOND || matches!(next, Err(RecvTimeoutError::Disconnected));
        // Nobody may read any more: the files go on all the same.
        if is_over && left_out > 0 {
            writeln!(out, "failed  {left_out} more files: see history --failed").ok();
        }
        if is_over {
            (since, told, left_out) = (Instant::now(), 0, 0);
        }
        match next {
            Ok(line) if line.is_limited && told >= budget::FAILURE_LINES_A_SECOND => left_out += 1,
            Ok(line) => {
                told += u32::from(line.is_limited);
                writeln!(out, "{}", line.text).ok();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The line that tells of a file.
pub(crate) fn told(report: &Report, json: bool) -> Option<String> {
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

/// A stable contract: `event`, `file` and `path` always; the rest by event.
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
    fn thousands_of_failures_are_some_lines_and_a_count_and_every_stored_file_is_told() {
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
        // A machine that is busy may take more than a second for it.
        assert!((101..1000).contains(&count("failed")), "{}", count("failed"));
        let more = text.lines().last().unwrap();
        assert!(more.ends_with("more files: see history --failed"), "{more}");
    }
}
