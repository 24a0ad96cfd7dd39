//! The metrics for Prometheus: their names, units and meanings. No label holds a file's name.
//!
//! Counting costs an addition, whether anybody reads the metrics or not. The metrics about trouble are not counted: each scrape
//! takes them from [`Health`].

use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
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

use crate::observe::health::{Checked, Component, Health};
use crate::observe::waiting::Waiting;

/// The format that [`Metrics::text`] writes.
pub const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The prefix of every metric's name.
const PREFIX: &str = "astran_backup";

/// Bounds for the duration of an upload in seconds: from a small file next door to a large one far away.
const DURATIONS: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 300.0, 1800.0];

/// A point in time, in seconds since 1970.
type Timestamp = gauge::Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FolderLabel {
    folder: String,
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
        registry.register_collector(Box::new(HealthCollector(health.clone())));
        let fleet_unshipped = FleetUnshipped::default();
        registry.register_collector(Box::new(fleet_unshipped.clone()));
        Self {
            registry: Arc::new(registry),
            fleet_unshipped,
            files,
            bytes,
            last,
            unannounced,
            overflows,
            under_way,
            durations,
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

    /// All metrics as text in the format [`FORMAT`].
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The metrics of one folder. Clones share them.
#[derive(Debug, Clone)]
pub struct FolderMetrics {
    label: FolderLabel,
    stored: Counter,
    bytes: Counter,
    last: Family<FolderLabel, Timestamp>,
    durations: Histogram,
    /// Files that failed.
    pub failed: Counter,
    /// Files that can't go on until a person mends something.
    pub waits: Counter,
    /// Files that changed meanwhile and are uploaded again.
    pub again: Counter,
    /// Files that were finished before and have not changed.
    pub skipped: Counter,
    /// Files that disappeared before they were read.
    pub gone: Counter,
    /// Files that a stop of the program left for the next run.
    pub left: Counter,
    /// Stored files that no file system event announced.
    pub unannounced: Counter,
    /// How often file system events were lost.
    pub overflows: Counter,
    /// Files that are being uploaded now.
    pub under_way: Gauge,
    /// Files that wait, those that are being uploaded included.
    pub waiting: Waiting,
}

impl FolderMetrics {
    /// Metrics that no scrape shows, for commands and tests.
    pub fn detached() -> Self {
        Metrics::new(&Health::default()).folder(Path::new(""))
    }

    /// Counts a stored file of so many bytes.
    pub fn stored(&self, bytes: u64) {
        self.stored.inc();
        self.bytes.inc_by(bytes);
        // A clock before 1970 is wrong anyhow; it counts as 1970.
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        self.last.get_or_create(&self.label).set(now.as_secs_f64());
    }

    /// Counts the duration of a successful upload.
    pub fn uploaded(&self, took: Duration) {
        self.durations.observe(took.as_secs_f64());
    }
}

/// How many receipts are not shipped yet; shown only by a machine that is in a fleet.
#[derive(Debug, Clone, Default)]
struct FleetUnshipped(Arc<OnceLock<Gauge>>);

impl Collector for FleetUnshipped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(unshipped) = self.0.get() else { return Ok(()) };
        let help = "Receipts that the fleet's database does not have yet.";
        unshipped.encode(encoder.encode_descriptor("fleet_unshipped", help, None, MetricType::Gauge)?)
    }
}

/// The metrics about trouble, made from a fresh check of the health at each scrape.
#[derive(Debug)]
struct HealthCollector(Health);

#[derive(Debug, EncodeLabelSet)]
struct BreakerLabels {
    circuit: &'static str,
    /// Missing where the breaker belongs to no folder. Prometheus reads an empty label as a missing one.
    folder: Option<String>,
}

impl Collector for HealthCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let checked = self.0.check_all();
        let number = |is_so: bool| ConstGauge::new(i64::from(is_so));
        let help = "Whether uploads go on: the same as the answer to /readyz.";
        let ready = number(checked.iter().all(|it| it.trouble.is_none() || !it.component.holds_up_uploads()));
        ready.encode(encoder.encode_descriptor("ready", help, None, MetricType::Gauge)?)?;
        let help = "Whether the circuit breaker is open: trouble holds up all uploads but a probe from time to time.";
        let mut circuits = encoder.encode_descriptor("circuit_open", help, None, MetricType::Gauge)?;
        for Checked { component, trouble, .. } in &checked {
            let (circuit, folder) = match component {
                Component::Service => ("service", None),
                Component::Journal => ("journal", None),
                Component::Destination(folder) => ("destination", Some(folder.clone())),
                Component::Login => ("login", None),
                Component::Start | Component::Folder(_) | Component::Progress | Component::Fleet => continue,
            };
            number(trouble.is_some()).encode(circuits.encode_family(&BreakerLabels { circuit, folder })?)?;
        }
        let help = "Whether the watched folder is gone, or another folder is in its place.";
        let mut gone = encoder.encode_descriptor("folder_gone", help, None, MetricType::Gauge)?;
        for Checked { component, trouble, .. } in checked {
            if let Component::Folder(folder) = component {
                number(trouble.is_some()).encode(gone.encode_family(&FolderLabel { folder })?)?;
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
    fn counters_are_shown_with_zero_before_anything_happens() {
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
    fn every_metric_has_a_help_text_and_the_prefix() {
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
    fn only_a_machine_of_a_fleet_shows_what_is_not_shipped() {
        let metrics = Metrics::new(&Health::default());
        assert!(!metrics.text().unwrap().contains("fleet"));
        let unshipped = Gauge::default();
        unshipped.set(7);
        metrics.show_fleet(unshipped);
        has(&metrics, "astran_backup_fleet_unshipped 7");
    }

    #[test]
    fn a_stored_file_is_counted_with_its_bytes_and_time() {
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
