//! The metric of a machine that is in a fleet.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;

use super::Gauge;

/// How many receipts are not shipped yet; shown only where somebody has set it.
#[derive(Debug, Clone, Default)]
pub(super) struct FleetUnshipped(pub(super) Arc<OnceLock<Gauge>>);

impl Collector for FleetUnshipped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(unshipped) = self.0.get() else { return Ok(()) };
        let help = "Receipts that the fleet's database does not have yet.";
        unshipped.encode(encoder.encode_descriptor("fleet_unshipped", help, None, MetricType::Gauge)?)
    }
}
