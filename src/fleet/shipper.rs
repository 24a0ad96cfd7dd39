//! Copies the journal's chain of receipts into the database, for as long as the program runs.
//!
//! Connect, ask where the copy ends, compare that with the journal, ship what follows in batches, then wait for new receipts. Every error
//! ends the connection, and all begins anew after a wait: so an answer that was lost is found out by the same question as at the start.
//! The shipper only reads the journal. Nothing that uploads ever waits for the shipper.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::beat::{self, Beat};
use super::{Batch, FleetError, Head};
use crate::budget;
use crate::failpoint::failpoint;
use crate::journal::{Chain, Ends, Journal, KnownHead};
use crate::observe::health;
use crate::observe::metrics::Gauge;
use crate::upload::backoff;

/// How often the shipper looks for receipts that another process has written, such as a push.
const LOOK: Duration = Duration::from_secs(10);

/// How often the journal notes how far the database's copy goes. The note only holds back the pruning, so an older one is as good.
const NOTE: Duration = Duration::from_secs(10);

/// Another process of this host may ship the same receipts at the same moment. After so many such meetings in a row it is trouble.
const QUARRELS: u32 = 5;

/// A database, as the shipper needs it.
pub(super) trait Database: Send + Sync {
    /// What a connection can do.
    type Link: Link;
    fn connect(&self) -> impl Future<Output = Result<Self::Link, FleetError>> + Send;
}

/// A connection to the database, logged in as this host.
pub(super) trait Link: Send + Sync {
    fn head(&self) -> impl Future<Output = Result<Option<Head>, FleetError>> + Send;
    fn ship(&self, batch: &Batch, signature: &[u8]) -> impl Future<Output = Result<i64, FleetError>> + Send;
    fn beat(&self, beat: &Beat) -> impl Future<Output = Result<(), FleetError>> + Send;
}

/// How far the shipping is, for all who want to know. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Shipping {
    acknowledged: watch::Sender<Option<i64>>,
    trouble: health::Condition,
    unshipped: Gauge,
}

impl Shipping {
    /// The number of the newest receipt that the database has; `None` until that is known.
    pub fn acknowledged(&self) -> watch::Receiver<Option<i64>> {
        self.acknowledged.subscribe()
    }

    /// Why nothing is shipped, while that is so.
    pub fn trouble(&self) -> health::Condition {
        self.trouble.clone()
    }

    /// How many receipts the database does not have yet.
    pub fn unshipped(&self) -> Gauge {
        self.unshipped.clone()
    }
}

/// Ships the receipts of one journal.
pub struct Shipper<D> {
    database: D,
    journal: Journal,
    shipping: Shipping,
    /// How long new receipts are gathered before they are shipped.
    gather: Duration,
    heartbeat: Duration,
    /// Asked before each heartbeat.
    condition: Box<dyn Fn() -> beat::Condition + Send + Sync>,
    boot: String,
}

#[expect(private_bounds, reason = "the traits are a seam for tests; outside there is one database")]
impl<D: Database> Shipper<D> {
    /// A shipper for this journal. `gather` is how long new receipts are gathered: not at all where files wait for the database.
    pub(crate) fn new(
        database: D,
        journal: Journal,
        (gather, heartbeat): (Duration, Duration),
        condition: impl Fn() -> beat::Condition + Send + Sync + 'static,
    ) -> Self {
        let condition = Box::new(condition);
        Self { database, journal, shipping: Shipping::default(), gather, heartbeat, condition, boot: beat::boot() }
    }

    /// How far the shipping is.
    pub fn shipping(&self) -> Shipping {
        self.shipping.clone()
    }

    /// Ships until `stop` resolves; then ships what the journal has by then, for [`budget::FLEET_AT_STOP`] at most.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, stopped) = watch::channel(false);
        let mut stop = pin!(stop);
        let mut shipping = pin!(self.ship_until(stopped));
        tokio::select! {
            () = &mut stop => {}
            () = &mut shipping => return,
        }
        stopping.send_replace(true);
        if timeout(budget::FLEET_AT_STOP, shipping).await.is_err() {
            tracing::warn!("the fleet's database does not have all receipts yet; the next run ships the rest");
        }
    }

    /// Ships until the stop, and until all is shipped then.
    async fn ship_until(&self, stopped: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let Err(error) = self.connected(&mut failures, stopped.clone()).await else { return };
            failures += 1;
            if matches!(error, FleetError::NotNext(_)) && failures < QUARRELS {
                continue;
            }
            self.report(&error).await;
            if *stopped.borrow() {
                return;
            }
            let mut stop = stopped.clone();
            tokio::select! {
                () = sleep(backoff::wait(failures, backoff::random(), None)) => {}
                _ = stop.wait_for(|stopped| *stopped) => {}
            }
        }
    }

    /// Tells of trouble in the log, once for as long as it lasts, and counts what is not shipped meanwhile.
    async fn report(&self, error: &FleetError) {
        let text = error.to_string();
        let is_new = self.shipping.trouble.raise(&text);
        if is_new {
            tracing::warn!("receipts are not shipped to the fleet's database now; uploads go on: {text}");
        } else {
            tracing::debug!("receipts are still not shipped: {text}");
        }
        let acknowledged = self.shipping.acknowledged.borrow().unwrap_or_default();
        if let Ok(ends) = self.journal.ends().await {
            self.shipping.unshipped.set(ends.head.seq - acknowledged.max(ends.pruned.seq).min(ends.head.seq));
        }
    }

    /// One connection, until it fails or the program stops.
    async fn connected(&self, failures: &mut u32, mut stopped: watch::Receiver<bool>) -> Result<(), FleetError> {
        let link = self.database.connect().await?;
        let head = link.head().await?.ok_or(FleetError::NotJoined)?;
        self.compare(&head).await?;
        let mut course = Course { head, noted: None, beaten: None };
        self.acknowledge(&mut course).await?;
        let mut written = self.journal.receipts_written();
        loop {
            written.borrow_and_update();
            self.ship_all(&link, &mut course).await?;
            if self.shipping.trouble.take() {
                tracing::info!("receipts are shipped to the fleet's database again");
            }
            *failures = 0;
            if *stopped.borrow() {
                return self.note(&mut course).await;
            }
            if course.beaten.is_none_or(|at| at.elapsed() >= self.heartbeat) {
                link.beat(&self.beat(course.head.seq).await?).await?;
                course.beaten = Some(Instant::now());
            }
            let next = course.beaten.map_or_else(Instant::now, |at| at + self.heartbeat).min(Instant::now() + LOOK);
            tokio::select! {
                _ = written.changed() => sleep(self.gather).await,
                () = sleep_until(next) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Compares the database's copy with the journal: the key, and the newest receipt that both have.
    async fn compare(&self, head: &Head) -> Result<(), FleetError> {
        if self.journal.public_key().await? != head.public_key {
            return Err(FleetError::OtherKey);
        }
        let known = KnownHead { chain: Chain::Receipts, seq: head.seq, hash: crate::hex(&head.hash) };
        let compared = self.journal.compare(vec![known.clone()]).await?;
        match compared.iter().find(|compared| compared.contradicts()) {
            Some(differs) => Err(FleetError::Contradiction(differs.sentence(&known))),
            None => Ok(()),
        }
    }

    /// Ships all that the journal has. The next batch is read while one is on its way.
    async fn ship_all(&self, link: &D::Link, course: &mut Course) -> Result<(), FleetError> {
        let mut after = course.head.seq;
        let mut links = self.journal.links(after, budget::FLEET_BATCH).await?;
        while let Some(batch) = Batch::following(after, links)? {
            after = batch.newest();
            let following = self.journal.links(after, budget::FLEET_BATCH);
            let (shipped, following) = tokio::join!(self.ship(link, course, &batch), following);
            shipped?;
            links = following?;
        }
        Ok(())
    }

    async fn ship(&self, link: &D::Link, course: &mut Course, batch: &Batch) -> Result<(), FleetError> {
        let Head { stream, .. } = course.head;
        let (seq, hash) = (batch.newest(), batch.newest_hash().to_vec());
        let signature = self.journal.sign_head(stream, seq, hash.clone()).await?;
        failpoint("before-ship");
        let newest = link.ship(batch, &signature).await?;
        failpoint("after-ship");
        if newest != seq {
            return Err(FleetError::Database(format!(
                "receipts up to {seq} were sent, and it has them up to {newest}"
            )));
        }
        tracing::debug!(seq, "receipts are in the fleet's database");
        (course.head.seq, course.head.hash) = (seq, hash);
        self.acknowledge(course).await
    }

    /// Tells all who wait that the database has the receipts up to its head.
    async fn acknowledge(&self, course: &mut Course) -> Result<(), FleetError> {
        self.shipping.acknowledged.send_replace(Some(course.head.seq));
        let Ends { head, .. } = self.journal.ends().await?;
        self.shipping.unshipped.set((head.seq - course.head.seq).max(0));
        if course.noted.is_none_or(|at| at.elapsed() >= NOTE) { self.note(course).await } else { Ok(()) }
    }

    async fn note(&self, course: &mut Course) -> Result<(), FleetError> {
        self.journal.note_shipped(course.head.seq).await?;
        course.noted = Some(Instant::now());
        Ok(())
    }

    async fn beat(&self, acknowledged: i64) -> Result<Beat, FleetError> {
        let (ends, now) = (self.journal.ends().await?, SystemTime::now());
        let oldest = self.journal.links(acknowledged, 1).await?.pop();
        let age = oldest
            .map(|link| now.duration_since(SystemTime::UNIX_EPOCH + Duration::from_nanos(link.stored.cast_unsigned())));
        Ok(Beat {
            boot: self.boot.clone(),
            now,
            unshipped: (ends.head.seq - acknowledged).max(0),
            oldest: age.and_then(Result::ok).unwrap_or_default(),
            failed: self.journal.count_failures().await?,
            condition: (self.condition)(),
        })
    }
}

/// How far one connection is.
struct Course {
    head: Head,
    /// When the journal noted how far the database's copy goes.
    noted: Option<Instant>,
    /// When the last heartbeat was sent.
    beaten: Option<Instant>,
}

#[cfg(test)]
#[path = "shipper_tests.rs"]
mod tests;
