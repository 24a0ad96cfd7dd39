//! The metrics for Prometheus: their names, units and meanings. No label holds a file's name.
//!
//! Counting costs an addition, whether anybody reads the metrics or not. What is so just now is not counted: each scrape takes trouble
//! from [`Health`], and all else from a [`Look`] that the caller had made.

mod fleet;
mod folder;
mod format;
mod look;
mod tokens;
mod trouble;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;

use self::fleet::FleetUnshipped;
pub use self::folder::FolderMetrics;
pub use self::format::Format;
pub use self::look::{FolderLook, Look, WaitingLook};
pub use self::tokens::{TokenOutcome, TokenRequests};
use self::trouble::HealthCollector;
use crate::observe::health::Health;
use crate::observe::waiting::Waiting;

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The prefix of every metric's name.
const PREFIX: &str = "astran_backup";

/// Bounds for the duration of an upload in seconds: from a small file next door to a large one far away.
const DURATIONS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1800.0];

/// Bounds for the time from the drop of a file to its receipt in seconds: from a small file, which waits for the settle time, to an outage
/// of a day.
const DROP_TO_STORED: [f64; 12] = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0];

/// A point in time, in seconds since 1970.
type Timestamp = gauge::Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FolderLabel {
    folder: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    folder: String,
    outcome: &'static str,
}

/// All metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    fleet_unshipped: FleetUnshipped,
    files: Family<OutcomeLabels, Counter>,
    bytes: Family<FolderLabel, Counter>,
    last: Family<FolderLabel, Timestamp>,
    unannounced: Family<FolderLabel, Counter>,
    overflows: Family<FolderLabel, Counter>,
    under_way: Family<FolderLabel, Gauge>,
    durations: Family<FolderLabel, Histogram, fn() -> Histogram>,
    drop_to_stored: Family<FolderLabel, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Metrics with nothing counted yet. Each scrape checks `health`.
    pub fn new(health: &Health) -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let (files, bytes, last) = (Family::default(), Family::default(), Family::default());
        let (unannounced, overflows, under_way) = (Family::default(), Family::default(), Family::default());
        let durations = Family::new_with_constructor((|| Histogram::new(DURATIONS)) as fn() -> Histogram);
        registry.register("files", "Files by how their way through the program ended", files.clone());
        let help = "Content of stored files, also of those that the store had already";
        registry.register_with_unit("stored", help, Unit::Bytes, bytes.clone());
        let help = "When a file was stored last, in time since 1970; missing until the first one since the start";
        registry.register_with_unit("last_stored_timestamp", help, Unit::Seconds, last.clone());
        let help = "Stored files that a periodic walk through the folder found, though a file system event should have announced them";
        registry.register("unannounced_files", help, unannounced.clone());
        let help =
            "How often file system events were lost, too many at once, so that the whole folder was walked through";
        registry.register("event_overflows", help, overflows.clone());
        let help = "Files that hold an upload permit: they are being uploaded, or wait for the service";
        registry.register("files_under_way", help, under_way.clone());
        let help = "Time from the start of an upload to the store's answer that it has the file";
        registry.register_with_unit("upload_duration", help, Unit::Seconds, durations.clone());
        let drop_to_stored = Family::new_with_constructor((|| Histogram::new(DROP_TO_STORED)) as fn() -> Histogram);
        let help =
            "Time from when the watch first saw a file to its receipt, also where the store had its content already";
        registry.register_with_unit("drop_to_stored", help, Unit::Seconds, drop_to_stored.clone());
        registry.register("build", "The version of the program", Info::new(VersionLabel { version: VERSION }));
        registry.register_collector(Box::new(HealthCollector(health.clone())));
        let fleet_unshipped = FleetUnshipped::default();
        registry.register_collector(Box::new(fleet_unshipped.clone()));
        let registry = Arc::new(registry);
        Self {
            registry,
            fleet_unshipped,
            files,
            bytes,
            last,
            unannounced,
            overflows,
            under_way,
            durations,
            drop_to_stored,
        }
    }

    /// The metrics of one folder. They are shown from now on, with zero: Prometheus can't see an increase from nothing.
    pub fn folder(&self, path: &Path) -> FolderMetrics {
        let label = FolderLabel { folder: path.display().to_string() };
        let files = |outcome| {
            let labels = OutcomeLabels { folder: label.folder.clone(), outcome };
            self.files.get_or_create(&labels).clone()
        };
        FolderMetrics {
            stored: files("stored"),
            failed: files("failed"),
            waits: files("waits"),
            again: files("again"),
            skipped: files("skipped"),
            gone: files("gone"),
            left: files("left"),
            unannounced: self.unannounced.get_or_create(&label).clone(),
            overflows: self.overflows.get_or_create(&label).clone(),
            under_way: self.under_way.get_or_create(&label).clone(),
            durations: self.durations.get_or_create(&label).clone(),
            drop_to_stored: self.drop_to_stored.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
            last: self.last.clone(),
            waiting: Waiting::default(),
            label,
        }
    }

    /// Shows from now on how many receipts the fleet's database does not have yet.
    pub fn show_fleet(&self, unshipped: Gauge) {
        self.fleet_unshipped.0.get_or_init(|| unshipped);
    }

    /// All metrics as text. Without a `look` those are missing that are taken from one.
    pub fn text(&self, look: Option<Look>, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        if let Some(look) = look {
            let mut registry = Registry::with_prefix(PREFIX);
            registry.register_collector(Box::new(look));
            encode_registry(&mut text, &registry)?;
        }
        encode_eof(&mut text)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Plain => format::plain(&text),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::{Component, Condition};

    fn text_of(metrics: &Metrics) -> String {
        metrics.text(None, Format::OpenMetrics).unwrap()
    }

    #[track_caller]
    fn has(metrics: &Metrics, line: &str) {
        let text = text_of(metrics);
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }

    #[test]
    fn counters_are_shown_with_zero_before_anything_happens() {
        let metrics = Metrics::new(&Health::default());
        metrics.folder(Path::new("/w"));
        for outcome in ["stored", "failed", "waits", "again", "skipped", "gone", "left"] {
            has(&metrics, &format!(r#"astran_backup_files_total{{folder="/w",outcome="{outcome}"}} 0"#));
        }
        for name in [
            "stored_bytes_total",
            "unannounced_files_total",
            "event_overflows_total",
            "upload_duration_seconds_count",
            "drop_to_stored_seconds_count",
        ] {
            has(&metrics, &format!(r#"astran_backup_{name}{{folder="/w"}} 0"#));
        }
        has(&metrics, r#"astran_backup_files_under_way{folder="/w"} 0"#);
        has(&metrics, "astran_backup_ready 1");
    }

    #[test]
    fn every_metric_has_a_help_text_and_the_prefix() {
        let metrics = Metrics::new(&Health::default());
        metrics.folder(Path::new("/w")).stored(1);
        let text = text_of(&metrics);
        for kind in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = kind.split(' ').next().unwrap();
            assert!(name.starts_with("astran_backup_"), "{name}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn only_a_machine_of_a_fleet_shows_what_is_not_shipped() {
        let metrics = Metrics::new(&Health::default());
        assert!(!text_of(&metrics).contains("fleet"));
        let unshipped = Gauge::default();
        unshipped.set(7);
        metrics.show_fleet(unshipped);
        has(&metrics, "astran_backup_fleet_unshipped 7");
    }

    #[test]
    fn a_stored_file_is_counted_with_its_bytes_and_time() {
        let metrics = Metrics::new(&Health::default());
        let folder = metrics.folder(Path::new("/w"));
        assert!(!text_of(&metrics).contains("last_stored_timestamp_seconds{"), "nothing was stored yet");
        folder.stored(7);
        metrics.folder(Path::new("/w")).stored(3);
        has(&metrics, r#"astran_backup_files_total{folder="/w",outcome="stored"} 2"#);
        has(&metrics, r#"astran_backup_stored_bytes_total{folder="/w"} 10"#);
        assert!(text_of(&metrics).contains(r#"last_stored_timestamp_seconds{folder="/w"} 1"#));
    }

    #[test]
    fn trouble_shows_while_it_lasts() {
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
