//! What people and scripts are told of each file: a line each on standard output.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::{Value, json};

use crate::pipeline::{Local, Outcome, Report};
use crate::printable::{escaped_json, printable};

/// Lines that may wait for a reader who is in no hurry (a pager, a stopped terminal). Beyond, they are not told: the
/// journal has them all.
const WAITING: usize = 10_000;
/// How long the end waits for such a reader.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Tells of files on standard output, by a thread of its own: a reader that stops must not stop the uploads.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    /// One JSON object a line.
    json: bool,
    lines: mpsc::SyncSender<String>,
    untold: Arc<AtomicBool>,
}

/// The end of all printing.
#[derive(Debug)]
pub(super) struct Printed(mpsc::Receiver<()>);

impl Printer {
    pub(super) fn start(json: bool) -> (Self, Printed) {
        let (lines, to_print) = mpsc::sync_channel::<String>(WAITING);
        let (printed, end) = mpsc::channel();
        std::thread::spawn(move || {
            let mut out = io::stdout().lock();
            for line in to_print {
                // Nobody reads any more: the files go on all the same.
                writeln!(out, "{line}").ok();
            }
            drop(printed);
        });
        (Self { json, lines, untold: Arc::default() }, Printed(end))
    }

    /// Tells what became of a file; nothing of what is of no interest to anybody.
    pub(super) fn tell(&self, report: &Report) {
        let Some(line) = told(report, self.json) else { return };
        if self.lines.try_send(line).is_err() && !self.untold.swap(true, Ordering::Relaxed) {
            tracing::warn!("nobody reads standard output: some files are not told of there; see history");
        }
    }
}

impl Printed {
    /// Waits until all is printed; every printer is gone by then.
    pub(super) fn wait(self) {
        // Either way there is nothing more to do.
        self.0.recv_timeout(LAST_WORDS).ok();
    }
}

/// The line that tells of a file.
pub(crate) fn told(report: &Report, json: bool) -> Option<String> {
    if json { as_json(report).map(|json| escaped_json(&json.to_string())) } else { as_text(report) }
}

fn as_text(report: &Report) -> Option<String> {
    let file = printable(&report.file.origin.to_string_lossy());
    Some(match &report.outcome {
        Outcome::Stored { remote, stored, local } => {
            let verb = if stored.adopted { "found" } else { "stored" };
            let local = match local {
                Local::Removed => ", removed here".to_owned(),
                Local::Moved(path) => format!(", moved to {}", printable(&path.to_string_lossy())),
                Local::Kept => String::new(),
            };
            format!("{verb}  {file} -> {} ({} bytes){local}", printable(&remote.to_string()), stored.size)
        }
        Outcome::Failed { reason, moved: None } => format!("failed  {file}: {}", printable(reason)),
        Outcome::Failed { reason, moved: Some(path) } => {
            format!("failed  {file}: {} (moved to {})", printable(reason), printable(&path.to_string_lossy()))
        }
        Outcome::Waits { reason } => format!("waits   {file}: {}", printable(reason)),
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
                Local::Removed => ("removed", None),
                Local::Moved(path) => ("moved", Some(path.to_string_lossy())),
                Local::Kept => ("kept", None),
            };
            let more = json!({
                "remote": remote.to_string(), "id": stored.document.0, "version": stored.document_version,
                "size": stored.size, "sha256": stored.sha256, "adopted": stored.adopted,
                "local": local, "moved_to": moved_to,
            });
            with(of("stored"), more)
        }
        Outcome::Failed { reason, moved } => with(
            of("failed"),
            json!({ "reason": reason, "moved_to": moved.as_ref().map(|path| path.to_string_lossy()) }),
        ),
        Outcome::Waits { reason } => with(of("waits"), json!({ "reason": reason })),
        Outcome::Again { .. } | Outcome::Skipped { .. } | Outcome::Gone | Outcome::Left => return None,
    })
}
