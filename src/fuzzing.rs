//! Private parts of the crate made reachable for the fuzz targets (`fuzz/`). Exists only with the feature `fuzzing`, which no release has.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tracing::Dispatch;
use tracing_subscriber::filter::EnvFilter;

pub use crate::astran::fuzzing as service;
use crate::observe::logging::{self, Format, LogQueue, RateLimit};
use crate::printable;
use crate::upload::Report;

/// A name as it is shown to people.
pub fn printable(text: &str) -> String {
    printable::printable(text)
}

/// The line on standard output that reports a file, as text or as JSON.
pub fn told(report: &Report, json: bool) -> Option<String> {
    crate::commands::line(report, &report.file.origin, json, SystemTime::now())
}

/// The log lines in which the text is a field, a quoted field and the message.
pub fn logged(text: &str, json: bool) -> String {
    static TEXT: OnceLock<Logger> = OnceLock::new();
    static JSON: OnceLock<Logger> = OnceLock::new();
    let logger = if json { JSON.get_or_init(|| Logger::new(true)) } else { TEXT.get_or_init(|| Logger::new(false)) };
    logger.log(text)
}

/// The program's end waits a second for its last log lines. On a busy machine the thread that writes them may need longer, and a
/// fuzzer would take its lateness for a fault.
const PATIENCE: Duration = Duration::from_secs(60);

struct Logger {
    dispatch: Dispatch,
    queue: LogQueue,
    buffer: Buffer,
    limit: RateLimit,
}

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Logger {
    fn new(json: bool) -> Self {
        let (buffer, limit) = (Buffer::default(), RateLimit::default());
        let queue = LogQueue::start(buffer.clone(), json, false, RateLimit::default());
        let format = if json { Format::Json } else { Format::Text };
        let dispatch =
            Dispatch::new(logging::subscriber(format, false, EnvFilter::new("info"), limit.clone(), queue.clone()));
        Self { dispatch, queue, buffer, limit }
    }

    fn log(&self, text: &str) -> String {
        tracing::dispatcher::with_default(&self.dispatch, || {
            tracing::info!(file = %text, "as a field");
            tracing::info!(file = ?text, "as a quoted field");
            tracing::info!("{text}");
        });
        // Without this, the limit would suppress lines after the first few texts.
        drop(self.limit.take_suppressed(Instant::now(), true));
        let (mut text, end) = (String::new(), Instant::now() + PATIENCE);
        while text.lines().count() < 3 && Instant::now() < end {
            self.queue.flush();
            text.push_str(&String::from_utf8_lossy(&self.buffer.take()));
        }
        text
    }
}
