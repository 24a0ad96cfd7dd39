//! Logs: to standard error, as text or JSON.

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{ConfigError, Environment};
use crate::observe::log_limit::LogLimit;
use crate::observe::log_queue::LogQueue;

/// The target of everything this crate logs.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// How logs are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people; in colour on a terminal.
    #[default]
    Text,
    /// One JSON object a line, for journals.
    Json,
}

/// What was started: the way to standard error.
pub struct Logging(LogQueue);

impl Logging {
    /// Says a last word, if there is one, and waits until all is written: for a moment, for nobody may read it.
    pub fn end(self, last: Option<&str>) {
        if let Some(text) = last {
            self.0.say(text);
        }
        self.0.flush();
    }
}

/// Starts logging to standard error.
///
/// `level` holds for this program; libraries say no more than warnings. `ASTRAN_BACKUP_LOG`, else `RUST_LOG`, replaces
/// both. A second call changes nothing.
pub fn init(format: Format, level: Level, environment: &Environment) -> Result<Logging, ConfigError> {
    let filter = filter(level, environment)?;
    let colour = std::io::stderr().is_terminal() && environment.get("NO_COLOR").is_none();
    let limit = LogLimit::default();
    let queue = LogQueue::start(std::io::stderr(), matches!(format, Format::Json), colour, limit.clone());
    let _already_started = subscriber(format, colour, filter, limit, queue.clone()).try_init().is_err();
    Ok(Logging(queue))
}

fn filter(level: Level, environment: &Environment) -> Result<EnvFilter, ConfigError> {
    for name in ["ASTRAN_BACKUP_LOG", "RUST_LOG"] {
        if let Some(text) = environment.text(name)? {
            return EnvFilter::try_new(&text).map_err(|e| {
                ConfigError::new(format!("{name} can't be used: {e}; write it like info or astran_backup=debug"))
            });
        }
    }
    let libraries = level.min(Level::WARN);
    EnvFilter::try_new(format!("{libraries},{OWN}={level}")).map_err(|e| ConfigError::new(e.to_string()))
}

pub(crate) fn subscriber<W>(
    format: Format,
    colour: bool,
    filter: EnvFilter,
    limit: LogLimit,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // Without this a closed standard error would end the program at the next line it logs.
    let layer = fmt::layer().with_writer(writer).with_ansi(colour).log_internal_errors(false);
    let layer = match format {
        Format::Text => layer.boxed(),
        Format::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter_fn(may_be_logged)).with(filter).with(limit).with(layer)
}

/// Whatever the variables ask for: what HTTP and TLS libraries say beyond information may hold forms with passwords.
fn may_be_logged(metadata: &Metadata<'_>) -> bool {
    let own = metadata.target() == OWN || metadata.target().starts_with(concat!(env!("CARGO_CRATE_NAME"), "::"));
    own || *metadata.level() <= Level::INFO
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, level: Level, environment: &Environment) -> String {
        let kept = Kept::default();
        let sink = kept.clone();
        let filter = filter(level, environment).unwrap();
        let subscriber = subscriber(format, false, filter, LogLimit::default(), move || sink.clone());
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
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn libraries_never_say_more_than_information() {
        for directives in ["trace", "hyper=trace", "trace,hyper::proto=trace,reqwest=trace"] {
            for name in ["RUST_LOG", "ASTRAN_BACKUP_LOG"] {
                let text = logged(Format::Text, Level::TRACE, &Environment::new([(name, directives)]));
                assert!(!text.contains("their debug") && !text.contains("their trace"), "{text}");
            }
        }
        let text = logged(Format::Text, Level::INFO, &Environment::new([("RUST_LOG", "trace")]));
        assert!(text.contains("their info") && text.contains("own trace"), "{text}");
    }

    #[test]
    fn the_level_holds_for_this_program() {
        let none = Environment::default();
        let text = logged(Format::Text, Level::DEBUG, &none);
        assert!(text.contains("own debug") && !text.contains("own trace") && !text.contains("their info"), "{text}");
        assert!(text.contains("their warn"));
        assert_eq!(logged(Format::Text, Level::ERROR, &none), "");
    }

    #[test]
    fn our_variable_wins() {
        let both = Environment::new([("ASTRAN_BACKUP_LOG", "error"), ("RUST_LOG", "trace")]);
        assert_eq!(logged(Format::Text, Level::INFO, &both), "");
        assert!(filter(Level::INFO, &Environment::new([("RUST_LOG", "a=b=c")])).is_err());
    }

    #[test]
    fn json_is_an_object_a_line() {
        let text = logged(Format::Json, Level::INFO, &Environment::default());
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines[0]["message"], "own info");
        assert_eq!(lines[0]["file"], "a.pdf");
    }
}
