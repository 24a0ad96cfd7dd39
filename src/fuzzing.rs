//! Doors for the fuzz targets (`fuzz/`), to what is private otherwise. Only with the feature `fuzzing`, which no release has.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tracing::Dispatch;
use tracing_subscriber::filter::EnvFilter;

pub use crate::astran::fuzzing as service;
use crate::observe::log_limit::LogLimit;
use crate::observe::log_queue::LogQueue;
use crate::observe::logging::{self, Format};
use crate::printable;
use crate::upload::Report;

/// A name as people are shown it.
pub fn printable(text: &str) -> String {
    printable::printable(text)
}

/// What standard output tells of a file, as a line of text or of JSON.
pub fn told(report: &Report, json: bool) -> Option<String> {
    crate::commands::line(report, json)
}

/// What standard error gets where a text is logged as a field, as a quoted field and as a message.
pub fn logged(text: &str, json: bool) -> String {
    static TEXT: OnceLock<Logger> = OnceLock::new();
    static JSON: OnceLock<Logger> = OnceLock::new();
    let logger = if json { JSON.get_or_init(|| Logger::new(true)) } else { TEXT.get_or_init(|| Logger::new(false)) };
    logger.log(text)
}

struct Logger {
    dispatch: Dispatch,
    queue: LogQueue,
    kept: Kept,
    limit: LogLimit,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Kept {
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
        let (kept, limit) = (Kept::default(), LogLimit::default());
        let queue = LogQueue::start(kept.clone(), json, false, LogLimit::default());
        let format = if json { Format::Json } else { Format::Text };
        let dispatch =
            Dispatch::new(logging::subscriber(format, false, EnvFilter::new("info"), limit.clone(), queue.clone()));
        Self { dispatch, queue, kept, limit }
    }

    fn log(&self, text: &str) -> String {
        tracing::dispatcher::with_default(&self.dispatch, || {
            tracing::info!(file = %text, "as a field");
            tracing::info!(file = ?text, "as a quoted field");
            tracing::info!("{text}");
        });
        // Each text begins a second of its own.
        drop(self.limit.left_out(Instant::now(), true));
        self.queue.flush();
        String::from_utf8_lossy(&self.kept.take()).into_owned()
    }
}
