//! Log lines on their way to standard error, by a thread of its own: a reader that stops must not stop the work.
//!
//! A pipe takes 64 KiB; after that each line would block the thread that logs it, the one that handles signals too.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::budget;
use crate::observe::log_limit::LogLimit;
use crate::printable::{escaped_json, escaped_line};

enum Message {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// The way to the thread; clones are the same one.
#[derive(Clone)]
pub(crate) struct LogQueue {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    json: bool,
    colour: bool,
}

impl LogQueue {
    /// Starts the thread. With `json` each line is an object already, and stays one; with `colour` it keeps its colours. The thread
    /// tells also what `limit` left out.
    pub(crate) fn start(to: impl Write + Send + 'static, json: bool, colour: bool, limit: LogLimit) -> Self {
        let (lines, waiting) = sync_channel(budget::LOG_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        std::thread::spawn(move || write_all(&waiting, to, &counted, &limit, json));
        Self { lines, lost, json, colour }
    }

    /// A line that is no log line: the last word of a command.
    pub(crate) fn say(&self, text: &str) {
        self.push(format!("{text}\n").into_bytes());
    }

    /// Waits until all is written, but not for a reader that reads no more.
    pub(crate) fn flush(&self) {
        let (done, written) = channel();
        let end = Instant::now() + budget::LAST_LOG_LINES;
        let mut message = Message::Flush(done);
        while let Err(std::sync::mpsc::TrySendError::Full(back)) = self.lines.try_send(message) {
            if Instant::now() >= end {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        written.recv_timeout(end.saturating_duration_since(Instant::now())).ok();
    }

    fn push(&self, line: Vec<u8>) {
        if self.lines.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_all(waiting: &Receiver<Message>, mut to: impl Write, lost: &AtomicU64, limit: &LogLimit, json: bool) {
    loop {
        // What was left out is told soon, though nothing more may be logged.
        let message = if limit.is_counting() {
            waiting.recv_timeout(Duration::from_secs(1))
        } else {
            waiting.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let is_end = matches!(message, Ok(Message::Flush(_)));
        for (count, example) in limit.left_out(Instant::now(), is_end) {
            to.write_all(left_out_line(count, &example, json).as_bytes()).ok();
        }
        match message {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Line(line)) => {
                // Nobody reads any more: the work goes on all the same.
                to.write_all(&line).ok();
                let lost = lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    writeln!(to, "astran-backup: {lost} log lines were lost: standard error was not read").ok();
                }
            }
            Ok(Message::Flush(done)) => {
                to.flush().ok();
                done.send(()).ok();
            }
        }
    }
}

fn left_out_line(count: u64, example: &str, json: bool) -> String {
    let message = format!("{count} more lines like this were left out: {example}");
    if json {
        let line = serde_json::json!({ "level": "WARN", "message": message, "left_out": count });
        escaped_json(&format!("{line}\n"))
    } else {
        escaped_line(&format!("astran-backup: {message}\n"), false)
    }
}

impl<'a> MakeWriter<'a> for LogQueue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

/// One event on its way: it comes whole, in one piece.
pub(crate) struct Line<'a>(&'a LogQueue);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = if self.0.json { escaped_json(&text) } else { escaped_line(&text, self.0.colour) };
        self.0.push(line.into_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
