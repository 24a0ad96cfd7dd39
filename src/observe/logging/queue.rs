//! A queue of log lines, and the thread that writes them to standard error: a reader of the log that stops must not stop the
//! work.
//!
//! A pipe holds 64 KiB. Once it is full, each line would block the thread that logs it, even the one that handles signals.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::budget;
use crate::printable::{escaped_json, escaped_line};

use super::limit::{RateLimit, Suppressed};

enum Message {
    Line(Vec<u8>),
    Flush(Sender<()>),
}

/// The sending end of the queue. Clones share the queue.
#[derive(Clone)]
pub(crate) struct LogQueue {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
    json: bool,
    colour: bool,
}

impl LogQueue {
    /// Starts the thread, which writes to `to`. It also reports the lines that `limit` suppressed.
    ///
    /// With `json`, each line is a JSON object, and characters in it are escaped as JSON does. With `colour`, the colours in a line are
    /// kept.
    pub(crate) fn start(to: impl Write + Send + 'static, json: bool, colour: bool, limit: RateLimit) -> Self {
        let (lines, queue) = sync_channel(budget::LOG_LINES);
        let lost = Arc::new(AtomicU64::new(0));
        let lost_by_thread = Arc::clone(&lost);
        std::thread::spawn(move || write_all(&queue, to, &lost_by_thread, &limit, json));
        Self { lines, lost, json, colour }
    }

    /// Queues a line that is no log line: the last message of a command.
    pub(crate) fn write_line(&self, text: &str) {
        self.push(format!("{text}\n").into_bytes());
    }

    /// Waits until all lines are written; for [`budget::LAST_LOG_LINES`] at most, since the reader may have stopped.
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

fn write_all(queue: &Receiver<Message>, mut to: impl Write, lost: &AtomicU64, limit: &RateLimit, json: bool) {
    loop {
        // Suppressed lines are reported within a second, even if no further line comes.
        let message = if limit.is_counting() {
            queue.recv_timeout(Duration::from_secs(1))
        } else {
            queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
        };
        let is_flush = matches!(message, Ok(Message::Flush(_)));
        for suppressed in limit.take_suppressed(Instant::now(), is_flush) {
            to.write_all(suppressed_line(&suppressed, json).as_bytes()).ok();
        }
        match message {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
            Ok(Message::Line(line)) => {
                // The write fails where nobody reads any more. The work goes on all the same.
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

fn suppressed_line(Suppressed { count, example }: &Suppressed, json: bool) -> String {
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

/// Queues one event: the subscriber writes each event in one piece.
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
