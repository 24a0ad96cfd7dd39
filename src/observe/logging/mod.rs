//! The log: lines on standard error, as text or JSON, or entries of systemd's journal.

#[cfg(target_os = "linux")]
mod journal;
mod limit;
mod queue;

use std::ffi::OsString;
use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

pub(crate) use limit::RateLimit;
pub(crate) use queue::LogQueue;

use super::screen::Above;

/// The target of what the crate's root logs, and the beginning of every other target of this crate.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text, in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The target of [`say`].
const SAID: &str = concat!(env!("CARGO_CRATE_NAME"), "::said");

/// Logs a line about the run as a whole, which is logged at every level but with `--quiet`.
pub(crate) fn say(text: &str) {
    tracing::info!(target: SAID, "{text}");
}

/// The environment variables that replace the log's filter; the first that is set counts.
const FILTERS: [&str; 2] = ["ASTRAN_BACKUP_LOG", "RUST_LOG"];

/// A variable that should replace the log's filter can't be used. The caller shows the text to whoever set the variable.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The variable holds bytes that are not text.
    #[error("the environment variable {variable} is not UTF-8 text")]
    NotText {
        /// The variable's name.
        variable: &'static str,
    },
    /// The variable's text is no list of filters.
    #[error("{variable} can't be used: {source}; write it like info or astran_backup=debug")]
    Malformed {
        /// The variable's name.
        variable: &'static str,
        /// What is wrong with the text.
        source: ParseError,
    },
}

/// The running log.
pub struct Log {
    queue: LogQueue,
    json: bool,
}

impl Log {
    /// Writes the sum of the run: as it is, or as a log line where each line is a JSON object.
    pub fn sum(&self, text: &str) {
        if self.json { say(text) } else { self.queue.write_line(text) }
    }

    /// Writes the program's last message, if there is one, and waits a moment until all lines are written. Standard error may be a pipe that
    /// nobody reads, so the wait has a limit.
    pub fn finish(self, last: Option<&str>) {
        if let Some(text) = last {
            self.queue.write_line(text);
        }
        self.queue.flush();
    }
}

/// Starts the log on standard error. A second call changes nothing. Where no format is asked for and standard error goes to systemd's journal,
/// the lines go there as entries with fields instead.
///
/// `level` is the level of this program's own lines; libraries log warnings at most. The variable `ASTRAN_BACKUP_LOG`, else
/// `RUST_LOG`, replaces both. `variable` reads an environment variable that is set and not empty.
pub fn init(
    format: Option<Format>,
    level: Level,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Log, FilterError> {
    let filter = filter(level, &variable)?;
    let colour = std::io::stderr().is_terminal() && variable("NO_COLOR").is_none();
    let limit = RateLimit::default();
    let journal = if format.is_none() { journal_queue(&limit, &variable) } else { None };
    let (format, queue) = if let Some(queue) = journal {
        (Format::Json, queue)
    } else {
        let format = format.unwrap_or_default();
        (format, LogQueue::start(Above(std::io::stderr()), format == Format::Json, colour, limit.clone()))
    };
    let json = format == Format::Json;
    let _already_started = subscriber(format, colour, filter, limit, queue.clone()).try_init().is_err();
    Ok(Log { queue, json })
}

/// The queue to systemd's journal, if standard error goes there.
#[cfg(target_os = "linux")]
fn journal_queue(limit: &RateLimit, variable: impl Fn(&str) -> Option<OsString>) -> Option<LogQueue> {
    let is_stream = journal::is_stream(std::io::stderr(), variable("JOURNAL_STREAM").as_deref());
    let writer = is_stream.then(|| journal::JournalWriter::new(std::io::stderr()))?.ok()?;
    Some(LogQueue::start(writer, true, false, limit.clone()))
}

#[cfg(not(target_os = "linux"))]
fn journal_queue(_: &RateLimit, _: impl Fn(&str) -> Option<OsString>) -> Option<LogQueue> {
    None
}

fn filter(level: Level, variable: impl Fn(&str) -> Option<OsString>) -> Result<EnvFilter, FilterError> {
    for name in FILTERS {
        if let Some(value) = variable(name) {
            let text = value.into_string().map_err(|_| FilterError::NotText { variable: name })?;
            return EnvFilter::try_new(text).map_err(|source| FilterError::Malformed { variable: name, source });
        }
    }
    let libraries = level.min(Level::WARN);
    let said = if level == Level::ERROR { level } else { level.max(Level::INFO) };
    Ok(EnvFilter::new(format!("{libraries},{OWN}={level},{SAID}={said}")))
}

pub(crate) fn subscriber<W>(
    format: Format,
    colour: bool,
    filter: EnvFilter,
    limit: RateLimit,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // By default the layer reports a failed write on standard error itself, and panics where that is closed.
    let layer = fmt::layer().with_writer(writer).with_ansi(colour).log_internal_errors(false);
    let layer = match format {
        Format::Text => layer.with_target(false).boxed(),
        Format::Json => layer.json().flatten_event(true).with_current_span(false).boxed(),
    };
    tracing_subscriber::registry().with(filter_fn(may_be_logged)).with(filter).with(limit).with(layer)
}

/// Whether lines like this may be logged, whatever the variables ask for: what HTTP and TLS libraries log below the level
/// `info` may hold forms with passwords.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let own = metadata.target() == OWN || metadata.target().starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"));
    own || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::ffi::OsStringExt;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn variables(set: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
        |name| set.iter().find(|(set, _)| *set == name).map(|(_, value)| OsString::from(value))
    }

    fn logged(format: Format, level: Level, environment: &[(&str, &str)]) -> String {
        let buffer = Buffer::default();
        let sink = buffer.clone();
        let filter = filter(level, variables(environment)).unwrap();
        let subscriber = subscriber(format, false, filter, RateLimit::default(), move || sink.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!("own trace");
            tracing::debug!("own debug");
            tracing::info!(file = "a.pdf", "own info");
            tracing::warn!("own warn");
            tracing::trace!(target: "hyper::proto", "their trace");
            tracing::debug!(target: "reqwest::connect", "their debug");
            tracing::debug!(target: "astran_backup_like", "their debug");
            tracing::info!(target: "h2", "their info");
            tracing::warn!(target: "h2", "their warn");
        });
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_never_log_below_the_level_info() {
        for directives in ["trace", "hyper=trace", "trace,hyper::proto=trace,reqwest=trace"] {
            for name in ["RUST_LOG", "ASTRAN_BACKUP_LOG"] {
                let text = logged(Format::Text, Level::TRACE, &[(name, directives)]);
                assert!(!text.contains("their debug") && !text.contains("their trace"), "{text}");
            }
        }
        let text = logged(Format::Text, Level::INFO, &[("RUST_LOG", "trace")]);
        assert!(text.contains("their info") && text.contains("own trace"), "{text}");
    }

    #[test]
    fn the_level_is_for_this_programs_own_lines() {
        let text = logged(Format::Text, Level::DEBUG, &[]);
        assert!(text.contains("own debug") && !text.contains("own trace") && !text.contains("their info"), "{text}");
        assert!(text.contains("their warn"));
        assert_eq!(logged(Format::Text, Level::ERROR, &[]), "");
    }

    #[test]
    fn what_is_said_of_the_whole_run_is_logged_at_every_level_but_the_quiet_one() {
        let said = |level| {
            let (buffer, filter) = (Buffer::default(), filter(level, |_| None).unwrap());
            let sink = buffer.clone();
            let subscriber = subscriber(Format::Text, false, filter, RateLimit::default(), move || sink.clone());
            tracing::subscriber::with_default(subscriber, || say("the sum"));
            let bytes = buffer.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().contains("the sum")
        };
        let levels = [Level::ERROR, Level::WARN, Level::INFO, Level::TRACE];
        assert_eq!(levels.map(said), [false, true, true, true]);
    }

    #[test]
    fn our_variable_comes_before_the_general_one() {
        let both = [("ASTRAN_BACKUP_LOG", "error"), ("RUST_LOG", "trace")];
        assert_eq!(logged(Format::Text, Level::INFO, &both), "");
        let malformed = filter(Level::INFO, variables(&[("RUST_LOG", "a=b=c")])).unwrap_err();
        assert!(matches!(malformed, FilterError::Malformed { variable: "RUST_LOG", .. }), "{malformed:?}");
        let bytes = |_: &str| Some(OsString::from_vec(vec![0xff]));
        let no_text = filter(Level::INFO, bytes).unwrap_err();
        assert!(matches!(no_text, FilterError::NotText { variable: "ASTRAN_BACKUP_LOG" }), "{no_text:?}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged(Format::Json, Level::INFO, &[]);
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["message"], "own info");
        assert_eq!(lines[0]["file"], "a.pdf");
    }
}
