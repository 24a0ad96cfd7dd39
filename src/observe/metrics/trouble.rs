//! The metrics about trouble: each scrape asks the health anew.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::FolderLabel;
use crate::observe::health::{Checked, Component, Health};

/// The metrics about trouble, made from a fresh check of the health at each scrape.
#[derive(Debug)]
pub(super) struct HealthCollector(pub(super) Health);

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
        let help = "Whether the login was refused, so that uploads wait for a person.";
        let refused = number(self.0.is_login_refused());
        refused.encode(encoder.encode_descriptor("login_refused", help, None, MetricType::Gauge)?)?;
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
