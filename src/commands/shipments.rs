//! The shipping of receipts to the fleet's database, beside the uploads of `watch` and `push`.

use crate::astran::Client;
use crate::config::Config;
use crate::observe::health::Health;
use crate::observe::metrics::Metrics;
use crate::status::Gatherer;
use crate::upload::Shared;

/// The shipping of a run; nothing for a machine that is in no fleet.
pub(super) struct Shipments {
    #[cfg(feature = "fleet")]
    running: Option<Running>,
}

impl Shipments {
    /// Starts to ship, where a database is configured, and tells in `shown` how that goes. Nothing waits for it, but for removals where the
    /// configuration says so. `status` knows how many files wait, for the heartbeats.
    #[cfg_attr(not(feature = "fleet"), expect(unused_variables, reason = "there is no fleet"))]
    pub(super) async fn start(
        config: &Config,
        shared: &Shared<Client>,
        shown: (&Health, &Metrics),
        status: Gatherer,
    ) -> Self {
        if config.fleet.is_none() {
            forget_earlier(shared).await;
        }
        Self {
            #[cfg(feature = "fleet")]
            running: config.fleet.as_ref().map(|fleet| Running::start(fleet, shared, shown, status)),
        }
    }

    /// The same for a command that has no status of its own.
    pub(super) async fn start_unseen(config: &Config, shared: &Shared<Client>) -> Self {
        let health = Health::default();
        let status = Gatherer::without_daemon(health.clone(), None, None);
        Self::start(config, shared, (&health, &Metrics::new(&health)), status).await
    }

    /// Ships what is left, for some seconds at most, and ends.
    #[cfg_attr(not(feature = "fleet"), expect(clippy::unused_async, reason = "there is no fleet"))]
    pub(super) async fn end(self) {
        #[cfg(feature = "fleet")]
        if let Some(running) = self.running {
            running.end().await;
        }
    }
}

/// A machine that has left its fleet prunes its receipts by their age alone again.
async fn forget_earlier(shared: &Shared<Client>) {
    match shared.journal().forget_shipping().await {
        Ok(true) => {
            tracing::warn!("no fleet's database is configured any more: receipts are pruned without a copy there");
        }
        Ok(false) => {}
        // The journal's trouble is reported by the uploads.
        Err(error) => tracing::debug!("whether receipts were shipped can't be read: {error}"),
    }
}

#[cfg(feature = "fleet")]
use running::Running;

#[cfg(feature = "fleet")]
mod running {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use crate::astran::Client;
    use crate::budget;
    use crate::config::{Fleet, ReceiptsMode};
    use crate::fleet::{Host, HostCondition, Shipper};
    use crate::observe::health::{Component, Health};
    use crate::observe::metrics::Metrics;
    use crate::status::Gatherer;
    use crate::upload::{Acknowledged, Shared};

    pub(super) struct Running {
        stop: oneshot::Sender<()>,
        shipping: JoinHandle<()>,
    }

    impl Running {
        pub(super) fn start(
            fleet: &Fleet,
            shared: &Shared<Client>,
            (health, metrics): (&Health, &Metrics),
            status: Gatherer,
        ) -> Self {
            let gather = match fleet.receipts {
                ReceiptsMode::Async => budget::FLEET_GATHER,
                ReceiptsMode::BeforeRemoval => Duration::ZERO,
            };
            let all = health.clone();
            let condition = move || HostCondition {
                waiting: status.files_waiting(),
                trouble: Some(all.reasons().join("; ")).filter(|reasons| !reasons.is_empty()),
            };
            let times = (gather, fleet.heartbeat);
            let shipper = Shipper::new(Host(fleet.clone()), shared.journal().clone(), times, condition);
            let shipping = shipper.shipping();
            health.add(Component::Fleet, Arc::new(shipping.trouble()));
            metrics.show_fleet(shipping.unshipped());
            if fleet.receipts == ReceiptsMode::BeforeRemoval {
                shared.remove_only_acknowledged(Acknowledged::new(shipping.acknowledged()));
            }
            let (stop, stopped) = oneshot::channel();
            // An error: the run has ended without a word.
            let run = shipper.run(async move { drop(stopped.await) });
            Self { stop, shipping: tokio::spawn(run) }
        }

        pub(super) async fn end(self) {
            // An error: the shipping has ended already.
            self.stop.send(()).ok();
            self.shipping.await.ok();
        }
    }
}
