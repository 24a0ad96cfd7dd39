//! What is counted while files are uploaded, for Prometheus: names, units and what they mean. No label holds a file's name.
//!
//! Counting costs an addition, whether anybody reads it or not. What is in trouble is not counted but asked of [`Health`].

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{self, ConstGauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;

use crate::observe::health::{Component, Health};

/// The format that [`Metrics::text`] writes.
pub const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In front of every name.
const PREFIX: &str = "astran_backup";

/// Bounds for the duration of an upload in seconds: from a small file next door to a large one far away.
const DURATIONS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1800.0];

/// A point in time, in seconds since 1970.
type Timestamp = gauge::Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    folder: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    folder: String,
    outcome: &'static str,
}

/// All counts; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    files: Family<Ended, Counter>,
    bytes: Family<Of, Counter>,
    last: Family<Of, Timestamp>,
    unannounced: Family<Of, Counter>,
    overflows: Family<Of, Counter>,
    under_way: Family<Of, Gauge>,
    durations: Family<Of, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// With nothing counted yet; `health` is asked at each look.
    pub fn new(health: &Health) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (files, bytes, last) = (Family::default(), Family::default(), Family::default());
        let (unannounced, overflows, under_way) = (Family::default(), Family::default(), Family::default());
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        registry.register("files", "Files that the pipeline was done with, by what became of them", files.clone());
        let help = "Content of stored files, of those that the store had already too";
        registry.register_with_unit("stored", help, Unit::Bytes, bytes.clone());
        let help = "When a file was stored last, since 1970; none since the start where it is missing";
        registry.register_with_unit("last_stored_timestamp", help, Unit::Seconds, last.clone());
        let help = "Stored files that a periodic walk through the folder found, and that an event should have told of";
        registry.register("unannounced_files", help, unannounced.clone());
        let help = "How often events were lost, too many at once, and the folder was walked through instead";
        registry.register("event_overflows", help, overflows.clone());
        let help = "Files being uploaded, or waiting for the service with the leave to be uploaded";
        registry.register("files_under_way", help, under_way.clone());
        let help = "From the start of an upload to the store's answer that it has the file";
        registry.register_with_unit("upload_duration", help, Unit::Seconds, durations.clone());
        registry.register_collector(Box::new(Troubles(health.clone())));
        Self { registry: Arc::new(registry), files, bytes, last, unannounced, overflows, under_way, durations }
    }

    /// The counts of one folder. They are told from now on, with zero: an increase from nothing would not show.
    pub fn folder(&self, path: &Path) -> Folder {
        let of = Of { folder: path.display().to_string() };
        let files = |outcome| {
            let ended = Ended { folder: of.folder.clone(), outcome };
            self.files.get_or_create(&ended).clone()
        };
        Folder {
            stored: files("stored"),
            failed: files("failed"),
            waits: files("waits"),
            again: files("again"),
            skipped: files("skipped"),
            gone: files("gone"),
            left: files("left"),
            unannounced: self.unannounced.get_or_create(&of).clone(),
            overflows: self.overflows.get_or_create(&of).clone(),
            under_way: self.under_way.get_or_create(&of).clone(),
            durations: self.durations.get_or_create(&of).clone(),
            bytes: self.bytes.get_or_create(&of).clone(),
            last: self.last.clone(),
            of,
        }
    }

    /// All of it in words, as [`FORMAT`].
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The counts of one folder; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Folder {
    of: Of,
    stored: Counter,
    bytes: Counter,
    last: Family<Of, Timestamp>,
    durations: Histogram,
    /// Files that failed.
    pub failed: Counter,
    /// Files that wait for something that somebody must mend.
    pub waits: Counter,
    /// Files that changed, and go round again.
    pub again: Counter,
    /// Files that were done with before, and have not changed.
    pub skipped: Counter,
    /// Files that were gone before they were read.
    pub gone: Counter,
    /// Files left by a stop.
    pub left: Counter,
    /// Stored files that no event told of.
    pub unannounced: Counter,
    /// Losses of events.
    pub overflows: Counter,
    /// Files being uploaded.
    pub under_way: Gauge,
}

impl Folder {
    /// Of files that nobody watches.
    pub fn nowhere() -> Self {
        Metrics::new(&Health::default()).folder(Path::new(""))
    }

    /// A file of so many bytes is stored.
    pub fn stored(&self, bytes: u64) {
        self.stored.inc();
        self.bytes.inc_by(bytes);
        // A clock before 1970 tells no time.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last.get_or_create(&self.of).set(now.as_secs_f64());
    }

    /// An upload went well, and took so long.
    pub fn uploaded(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
    }
}

/// What is in trouble, at each look anew.
#[derive(Debug)]
struct Troubles(Health);

#[derive(Debug, EncodeLabelSet)]
struct Circuit {
    circuit: &'static str,
    /// Empty, which is the same as missing, where it is no folder's own.
    folder: Option<String>,
}

impl Collector for Troubles {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let parts = self.0.now();
        let number = |trouble: bool| ConstGauge::new(i64::from(trouble));
        let help = "Whether uploads go on: the same as the answer to /readyz.";
        let ready = number(parts.iter().all(|(_, why)| why.is_none()));
        ready.encode(encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?)?;
        let help = "Whether this is in trouble, so that no file is tried but one at a time now and then.";
        let mut circuits = encoder.encode_descriptor("circuit_open", help, None, MetricType::Gauge)?;
        for (part, why) in &parts {
            let (circuit, folder) = match part {
                Component::Service => ("service", None),
                Component::Journal => ("journal", None),
                Component::Destination(folder) => ("destination", Some(folder.clone())),
                Component::Login => ("login", None),
                Component::Start | Component::Folder(_) | Component::Progress => continue,
            };
            number(why.is_some()).encode(circuits.encode_family(&Circuit { circuit, folder })?)?;
        }
        let help = "Whether the watched folder is gone, or is another one's.";
        let mut gone = encoder.encode_descriptor("folder_gone", help, None, MetricType::Gauge)?;
        for (part, why) in parts {
            if let Component::Folder(folder) = part {
                number(why.is_some()).encode(gone.encode_family(&Of { folder })?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::Condition;

    #[track_caller]
    fn has(metrics: &Metrics, line: &str) {
        let text = metrics.text().unwrap();
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }

    #[test]
    fn counts_are_there_with_zero_before_anything_happens() {
        let metrics = Metrics::new(&Health::default());
        metrics.folder(Path::new("/w"));
        for outcome in ["stored", "failed", "waits", "again", "skipped", "gone", "left"] {
            has(&metrics, &format!(r#"astran_backup_files_total{{folder="/w",outcome="{outcome}"}} 0"#));
        }
        for name in
            ["stored_bytes_total", "unannounced_files_total", "event_overflows_total", "upload_duration_seconds_count"]
        {
            has(&metrics, &format!(r#"astran_backup_{name}{{folder="/w"}} 0"#));
        }
        has(&metrics, r#"astran_backup_files_under_way{folder="/w"} 0"#);
        has(&metrics, "astran_backup_ready 1");
    }

    #[test]
    fn every_metric_says_what_it_means_and_is_named_by_its_unit() {
        let metrics = Metrics::new(&Health::default());
        metrics.folder(Path::new("/w")).stored(1);
        let text = metrics.text().unwrap();
        for kind in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = kind.split(' ').next().unwrap();
            assert!(name.starts_with("astran_backup_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn a_stored_file_is_counted_with_its_bytes_and_its_time() {
        let metrics = Metrics::new(&Health::default());
        let folder = metrics.folder(Path::new("/w"));
        assert!(!metrics.text().unwrap().contains("last_stored_timestamp_seconds{"), "nothing was stored yet");
        folder.stored(7);
        metrics.folder(Path::new("/w")).stored(3);
        has(&metrics, r#"astran_backup_files_total{folder="/w",outcome="stored"} 2"#);
        has(&metrics, r#"astran_backup_stored_bytes_total{folder="/w"} 10"#);
        assert!(metrics.text().unwrap().contains(r#"last_stored_timestamp_seconds{folder="/w"} 1"#));
    }

    #[test]
    fn trouble_shows_for_as_long_as_it_lasts() {
        let (health, service, folder) = (Health::default(), Condition::default(), Condition::default());
        health.add(Component::Service, Arc::new(service.clone()));
        health.add(Component::Destination("/w".into()), Arc::new(Condition::default()));
        health.add(Component::Folder("/w".into()), Arc::new(folder.clone()));
        let metrics = Metrics::new(&health);
        service.raise("down");
        folder.raise("gone");
        for line in [
            r#"circuit_open{circuit="service",folder=""} 1"#,
            r#"circuit_open{circuit="destination",folder="/w"} 0"#,
            r#"folder_gone{folder="/w"} 1"#,
            "ready 0",
        ] {
            has(&metrics, &format!("astran_backup_{line}"));
        }
        service.clear();
        folder.clear();
        has(&metrics, r#"astran_backup_circuit_open{circuit="service",folder=""} 0"#);
        has(&metrics, "astran_backup_ready 1");
    }

    #[test]
    fn a_folder_with_any_name_breaks_no_line() {
        let metrics = Metrics::new(&Health::default());
        metrics.folder(Path::new("/w\"\n\\x"));
        has(&metrics, r#"astran_backup_event_overflows_total{folder="/w\"\n\\x"} 0"#);
    }
}
