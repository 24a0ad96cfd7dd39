//! Standard output: a line for each file, as text or JSON. With `--quiet` the text is only about files that need a person, and goes to
//! standard error.

use std::io::{self, IsTerminal as _, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::budget;
use crate::cli::Global;
use crate::events::{self, Event, LocalPath, MovedTo};
use crate::file::Settled;
use crate::journal::{LocalEnd, Stored};
use crate::measure::size;
use crate::observe::screen::Above;
use crate::printable::printable;
use crate::progress::Done;
use crate::upload::{BlockedBy, Outcome, Report};
use crate::vault::RemotePath;

const SECOND: Duration = Duration::from_secs(1);
/// How many bytes of lines are printed together.
const TOGETHER: usize = 8 << 10;

/// Prints reports of files on standard output, on a thread of its own: a reader that stops reading must not stop the uploads.
#[derive(Debug, Clone)]
pub(super) struct Printer {
    way: Way,
    done: Done,
    lines: mpsc::SyncSender<Line>,
    /// How many lines were dropped.
    dropped: Arc<AtomicU64>,
}

/// How lines are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// One JSON object a line, for every file.
    Json,
    /// Text.
    Text,
    /// Text about files that need a person.
    Quiet,
}

impl From<&Global> for Way {
    fn from(flags: &Global) -> Self {
        match (flags.json, flags.quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Quiet,
            (false, false) => Self::Text,
        }
    }
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
pub(super) struct Printed {
    end: mpsc::Receiver<()>,
    dropped: Arc<AtomicU64>,
}

impl Printer {
    /// Starts the thread. Files that the store has are counted in `done`.
    pub(super) fn start(flags: &Global, done: Done) -> (Self, Printed) {
        let way = Way::from(flags);
        let (lines, to_print) = mpsc::sync_channel::<Line>(budget::LINES_ABOUT_FILES);
        let (printed, end) = mpsc::channel();
        std::thread::spawn(move || {
            match way {
                Way::Quiet => print_all(&to_print, Above(io::stderr())),
                // Bars are on the terminal: what goes elsewhere needs not wait for it.
                _ if io::stdout().is_terminal() => print_all(&to_print, Above(io::stdout())),
                _ => print_all(&to_print, io::stdout().lock()),
            }
            drop(printed);
        });
        let dropped = Arc::default();
        (Self { way, done, lines, dropped: Arc::clone(&dropped) }, Printed { end, dropped })
    }

    /// Prints what became of a file, which people know under its path below the folder.
    pub(super) fn print(&self, report: &Report) {
        self.print_as(report, &report.file.origin);
    }

    /// Prints what became of a file that people know under this path. An outcome that concerns no user prints nothing.
    pub(super) fn print_as(&self, report: &Report, shown: &Path) {
        if let Outcome::Stored { stored, .. } = &report.outcome {
            self.done.stored(stored.size);
        }
        if self.way == Way::Quiet && !needs_a_person(&report.outcome) {
            return;
        }
        let is_json = self.way == Way::Json;
        let Some(text) = line(report, shown, is_json, SystemTime::now()) else { return };
        // Scripts get a line for every file.
        let is_limited = !is_json && matches!(report.outcome, Outcome::Failed { .. } | Outcome::Blocked { .. });
        self.print_line(Line { text, is_limited });
    }

    /// Prints that a path was named for which there is no file. `why` is a sentence that names it.
    pub(super) fn print_missing(&self, typed: &Path, why: &str) {
        let is_json = self.way == Way::Json;
        let text =
            if is_json { missing_event(typed, why, SystemTime::now()) } else { format!("failed  {}", printable(why)) };
        self.print_line(Line { text, is_limited: !is_json });
    }

    fn print_line(&self, line: Line) {
        // The first dropped line is logged, and all are counted.
        if self.lines.try_send(line).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the output is not read fast enough, so lines about some files are dropped; see history");
        }
    }
}

impl Printed {
    /// Waits until all lines are printed. All printers must have been dropped. Returns how many lines were dropped, as standard
    /// output was not read fast enough.
    pub(super) fn wait(self) -> u64 {
        // A timeout and the end mean the same: there is nothing more to do.
        self.end.recv_timeout(budget::LAST_LINES_ABOUT_FILES).ok();
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Whether somebody must see to it. A large file that waits for others goes by itself, and so does one that waits
/// for the fleet's database.
fn needs_a_person(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Failed { .. } => true,
        Outcome::Blocked { reason } => !matches!(reason, BlockedBy::LargeFiles | BlockedBy::Receipts),
        _ => false,
    }
}

/// Prints lines until no more come. Of limited lines it prints some in each second, and then how many more there were. Lines that wait are
/// printed together, so that bars on a terminal are drawn again once for all of them.
fn print_all(lines: &mpsc::Receiver<Line>, mut out: impl Write) {
    let (mut since, mut printed, mut left_out) = (Instant::now(), 0, 0u64);
    let mut text = String::new();
    loop {
        let waiting = lines.try_recv();
        if waiting.is_err() || text.len() >= TOGETHER {
            // Standard output may have no reader any more; the uploads go on.
            out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
            text.clear();
        }
        // The number of left-out lines is printed after a second, even if no more lines come.
        let next = match waiting {
            Ok(line) => Ok(line),
            Err(TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) if left_out > 0 => lines.recv_timeout(SECOND.saturating_sub(since.elapsed())),
            Err(TryRecvError::Empty) => lines.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let is_over = since.elapsed() >= SECOND || matches!(next, Err(RecvTimeoutError::Disconnected));
        if is_over && left_out > 0 {
            text += &["failed  ", &left_out.to_string(), " more files: see history --failed\n"].concat();
        }
        if is_over {
            (since, printed, left_out) = (Instant::now(), 0, 0);
        }
        match next {
            Ok(line) if line.is_limited && printed >= budget::FAILURE_LINES_A_SECOND => left_out += 1,
            Ok(line) => {
                printed += u32::from(line.is_limited);
                text += &line.text;
                text.push('\n');
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
                return;
            }
        }
    }
}

/// The line about a file. People know the file as `shown`.
pub(crate) fn line(report: &Report, shown: &Path, json: bool, now: SystemTime) -> Option<String> {
    if json { as_json(report, now) } else { as_text(report, shown) }
}

fn as_text(report: &Report, shown: &Path) -> Option<String> {
    let file = printable(&shown.to_string_lossy());
    Some(match &report.outcome {
        Outcome::Stored { remote, stored, local, .. } | Outcome::StoredBefore { remote, stored, local, .. } => {
            let verb = match (&report.outcome, stored.already_present) {
                (Outcome::StoredBefore { .. }, _) => "stored already",
                (_, true) => "found",
                (_, false) => "stored",
            };
            let local = match local {
                LocalEnd::Removed => ", deleted here".to_owned(),
                LocalEnd::Moved(path) => format!(", moved to {}", printable(&path.to_string_lossy())),
                LocalEnd::Kept => String::new(),
            };
            format!("{verb}  {file} -> {} ({}){local}", printable(&remote.to_string()), size(stored.size))
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

/// The fields that every event about a file has.
#[derive(Serialize)]
struct FileFields {
    #[serde(flatten)]
    path: LocalPath,
    /// The path below the folder that is watched or pushed.
    relative: String,
}

/// The fields that every event about a stored file has.
#[derive(Serialize)]
struct StoredFields<'a> {
    #[serde(flatten)]
    file: FileFields,
    local: &'static str,
    #[serde(flatten)]
    moved: MovedTo,
    remote_path: String,
    document_id: &'a str,
    document_version: Option<&'a str>,
    receipt: Option<i64>,
    size: u64,
    sha256: &'a str,
}

impl<'a> StoredFields<'a> {
    fn new(
        file: FileFields,
        remote: &RemotePath,
        (stored, receipt): (&'a Stored, Option<i64>),
        local: &LocalEnd,
    ) -> Self {
        let (local, moved) = local_fields(local);
        Self {
            file,
            local,
            moved,
            remote_path: remote.to_string(),
            document_id: &stored.document.0,
            document_version: stored.document_version.as_deref(),
            receipt,
            size: stored.size,
            sha256: &stored.sha256,
        }
    }
}

/// The store has the file.
#[derive(Serialize)]
struct StoredEvent<'a> {
    #[serde(flatten)]
    stored: StoredFields<'a>,
    already_present: bool,
}

impl Event for StoredEvent<'_> {
    const TYPE: &'static str = "stored";
}

/// The store had the file by an earlier receipt, and nothing was sent to it.
#[derive(Serialize)]
struct SkippedEvent<'a> {
    #[serde(flatten)]
    stored: StoredFields<'a>,
}

impl Event for SkippedEvent<'_> {
    const TYPE: &'static str = "skipped";
}

/// The file itself is the trouble.
#[derive(Serialize)]
struct FailedEvent {
    #[serde(flatten)]
    file: FileFields,
    #[serde(flatten)]
    moved: MovedTo,
    reason: String,
}

impl Event for FailedEvent {
    const TYPE: &'static str = "failed";
}

/// The file waits for something that must be mended elsewhere.
#[derive(Serialize)]
struct WaitingEvent {
    #[serde(flatten)]
    file: FileFields,
    reason: String,
}

impl Event for WaitingEvent {
    const TYPE: &'static str = "waiting";
}

fn as_json(report: &Report, now: SystemTime) -> Option<String> {
    let Report { file: Settled { root, origin, .. }, outcome, .. } = report;
    let file =
        || FileFields { path: LocalPath::new(&root.path().join(origin)), relative: origin.to_string_lossy().into() };
    Some(match outcome {
        Outcome::StoredBefore { remote, stored, receipt, local } => {
            let stored = StoredFields::new(file(), remote, (stored, *receipt), local);
            events::line(&SkippedEvent { stored }, now)
        }
        Outcome::Stored { remote, stored, receipt, local } => {
            let already_present = stored.already_present;
            let stored = StoredFields::new(file(), remote, (stored, *receipt), local);
            events::line(&StoredEvent { stored, already_present }, now)
        }
        Outcome::Failed { reason, moved } => {
            let moved = MovedTo::new(moved.as_deref());
            events::line(&FailedEvent { file: file(), moved, reason: reason.to_string() }, now)
        }
        Outcome::Blocked { reason } => events::line(&WaitingEvent { file: file(), reason: reason.to_string() }, now),
        Outcome::Again { .. } | Outcome::Skipped { .. } | Outcome::Gone | Outcome::Left => return None,
    })
}

fn local_fields(local: &LocalEnd) -> (&'static str, MovedTo) {
    match local {
        LocalEnd::Removed => ("removed", MovedTo::new(None)),
        LocalEnd::Moved(path) => ("moved", MovedTo::new(Some(path))),
        LocalEnd::Kept => ("kept", MovedTo::new(None)),
    }
}

fn missing_event(typed: &Path, why: &str, now: SystemTime) -> String {
    let path = std::path::absolute(typed).unwrap_or_else(|_| typed.to_owned());
    let file = FileFields { path: LocalPath::new(&path), relative: typed.to_string_lossy().into() };
    events::line(&FailedEvent { file, moved: MovedTo::new(None), reason: why.to_owned() }, now)
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
