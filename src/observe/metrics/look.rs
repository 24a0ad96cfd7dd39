//! The metrics of what is so just now: what waits, what has failed, what is in flight, how large the journal is. The caller has looked at the
//! folders and the journal, because that may block; the result is written here.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::{FolderLabel, TokenRequests};

/// What a scrape shows beside what is counted.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// The watched folders.
    pub folders: Vec<FolderLook>,
    /// How many bytes the connections have taken since the start; bytes that were sent once more count twice.
    pub sent: u64,
    /// The size of the journal and its write-ahead log on the disk, in bytes; `None` where it can't be read.
    pub journal: Option<u64>,
    /// The newest reload of the configuration failed.
    pub reload_failed: bool,
    /// The requests for tokens.
    pub tokens: TokenRequests,
}

/// What a scrape shows of one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FolderLook {
    /// The folder's path, as in the label of the counted metrics.
    pub folder: String,
    /// What waits; `None` as long as the folder's watch has not begun.
    pub waiting: Option<WaitingLook>,
    /// Files that failed and still lie there; `None` where that is not known, because the file system does not answer.
    pub failed: Option<u64>,
    /// The size of the files in flight, in bytes.
    pub in_flight: u64,
}

/// What waits in one folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitingLook {
    /// How many files the watch knows of.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
    /// How long the watch has known the oldest of them; zero without any.
    pub oldest: Duration,
}

impl Collector for Look {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = Writer(encoder);
        let of_waiting = |what: fn(&WaitingLook) -> u64| move |it: &FolderLook| it.waiting.as_ref().map(what);
        let help = "Files that the watch knows of and that the store does not have yet, those in flight included.";
        to.folders("waiting_files", help, None, &self.folders, of_waiting(|it| it.files))?;
        let help = "Size of the files that wait, as far as they were looked at.";
        to.folders("waiting", help, Some(&Unit::Bytes), &self.folders, of_waiting(|it| it.bytes))?;
        let help = "How long the watch has known the file that waits longest; 0 while none waits.";
        let oldest = |it: &FolderLook| it.waiting.map(|waiting| waiting.oldest.as_secs_f64());
        to.folders("oldest_waiting_age", help, Some(&Unit::Seconds), &self.folders, oldest)?;
        let help = "Files that failed, also before the start, and still lie unchanged in the folder.";
        to.folders("failed_files", help, None, &self.folders, |it| it.failed)?;
        let help = "Size of the files that are being sent, or whose answer is waited for.";
        to.folders("in_flight", help, Some(&Unit::Bytes), &self.folders, |it| Some(it.in_flight))?;
        let help = "What the connections took of the files' content; what was sent once more counts twice.";
        let sent = ConstCounter::new(self.sent);
        sent.encode(to.0.encode_descriptor("sent", help, Some(&Unit::Bytes), MetricType::Counter)?)?;
        if let Some(size) = self.journal {
            to.number("journal_size", "Size of the journal on the disk.", Some(&Unit::Bytes), size)?;
        }
        let help = "Whether the newest reload of the configuration was taken; 1 where none was asked for.";
        to.number("config_last_reload_successful", help, None, u64::from(!self.reload_failed))?;
        self.tokens.encode(&mut to.0)
    }
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn number(&mut self, name: &str, help: &str, unit: Option<&Unit>, number: u64) -> fmt::Result {
        ConstGauge::new(number).encode(self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?)
    }

    /// A gauge with a number for each folder of which it is known.
    fn folders<N: EncodeGaugeValue + Copy>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        folders: &[FolderLook],
        number: impl Fn(&FolderLook) -> Option<N>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for folder in folders {
            if let Some(number) = number(folder) {
                let label = FolderLabel { folder: folder.folder.clone() };
                ConstGauge::new(number).encode(metric.encode_family(&label)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::Health;
    use crate::observe::metrics::{Format, Metrics, TokenOutcome};

    fn shown(look: Look) -> String {
        Metrics::new(&Health::default()).text(Some(look), Format::Plain).unwrap()
    }

    #[test]
    fn what_is_known_of_a_folder_is_shown_and_what_is_not_known_is_missing() {
        let waiting = WaitingLook { files: 3, bytes: 70, oldest: Duration::from_millis(1500) };
        let known = FolderLook { folder: "/w".into(), waiting: Some(waiting), failed: Some(2), in_flight: 60 };
        let unknown = FolderLook { folder: "/x".into(), ..FolderLook::default() };
        let look = Look { folders: vec![known, unknown], sent: 9, journal: Some(4096), ..Look::default() };
        look.tokens.count(TokenRequests::LOGIN, TokenOutcome::Granted);
        let text = shown(look);
        for line in [
            r#"waiting_files{folder="/w"} 3"#,
            r#"waiting_bytes{folder="/w"} 70"#,
            r#"oldest_waiting_age_seconds{folder="/w"} 1.5"#,
            r#"failed_files{folder="/w"} 2"#,
            r#"in_flight_bytes{folder="/w"} 60"#,
            r#"in_flight_bytes{folder="/x"} 0"#,
            "sent_bytes_total 9",
            "journal_size_bytes 4096",
            "config_last_reload_successful 1",
            r#"token_requests_total{grant="login",outcome="granted"} 1"#,
            r#"token_requests_total{grant="refresh",outcome="refused"} 0"#,
        ] {
            assert!(text.lines().any(|it| it == format!("astran_backup_{line}")), "{line} is not in\n{text}");
        }
        assert_eq!(text.matches(r#"folder="/x""#).count(), 1, "{text}");
    }

    #[test]
    fn a_journal_that_can_not_be_read_has_no_size_and_a_failed_reload_shows() {
        let text = shown(Look { reload_failed: true, ..Look::default() });
        assert!(!text.contains("journal_size") && text.contains("config_last_reload_successful 0\n"), "{text}");
    }
}
