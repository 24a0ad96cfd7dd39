//! One file until it is done: permits, retries, pauses, and the report.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use tracing::Instrument as _;
use tracing::field::Empty;

use super::breaker::Permit;
use super::concurrency::{Place, Trouble};
use super::error::TransferError;
use super::keyed_lock::KeyedGuard;
use super::local::Since;
use super::outcome::{BlockedBy, Failure, Outcome, Report};
use super::transfer::{Finished, Transfer};
use super::{Reports, Uploader};
use crate::budget;
use crate::file::Settled;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{Kind, Vault, VaultError};

/// What a file has suffered so far.
#[derive(Debug, Default)]
struct Tries {
    answers_lost: u32,
    failures: u32,
    scarce: u32,
}

/// What the worker does before the next try.
enum Pause {
    /// No pause, unless there are fewer places by now: the breakers say when the next try may come.
    No,
    /// Waits, in its place among the uploads.
    InPlace(Duration),
    /// Waits, and lends its place to other files.
    Lending(Duration),
}

/// What the loop does next; `Break` with the outcome, or `None` where the removal reports the file when it is over.
type Next = ControlFlow<Option<Outcome>, Pause>;

impl<V: Vault> Uploader<V> {
    /// Brings a file to its end, gives its place back, and reports the file.
    pub(super) async fn work(&self, file: Settled, place: Place, shutdown: Shutdown) {
        let span = tracing::debug_span!("file", path = %file.origin.display());
        let watch = ReportsPanic { reports: &self.reports, file: &file };
        let outcome = self.until_done(&file, &place, shutdown).instrument(span).await;
        drop(watch);
        drop(place);
        if let Some(outcome) = outcome {
            self.report(file, outcome);
        }
    }

    /// Tries a file until it has an end. Each try needs a permit of the destination's, the journal's and the service's breaker; a try
    /// that meets trouble tells the breaker whose trouble it is. The file's own path is locked all the time, so that no other
    /// file of that path takes its open attempt for a leftover. A stop ends the waits, and leaves the file as it is; a
    /// transfer that is in flight has its grace.
    async fn until_done(&self, file: &Settled, place: &Place, mut shutdown: Shutdown) -> Option<Outcome> {
        let _path = tokio::select! {
            biased;
            path = self.lock_path(file, place) => path,
            () = shutdown.reached(Stop::Leave) => return Some(Outcome::Left),
        };
        let mut tries = Tries::default();
        loop {
            let permits = tokio::select! {
                biased;
                permits = self.permits() => permits,
                // The grace is for transfers: a file that waits for the service is not in flight.
                () = shutdown.reached(Stop::Leave) => return Some(Outcome::Left),
            };
            let permits = match permits {
                Ok(permits) => permits,
                Err(error) => return Some(self.stop(error)),
            };
            // A span of its own for each try: what is recorded in a span is added to it, so one span for all would grow with each try.
            let span = tracing::debug_span!("transfer", attempt = Empty, dest = Empty);
            let next = match Transfer::run(&self.context, file).instrument(span.clone()).await {
                Ok(finished) => return self.finish(file, finished, permits).instrument(span).await,
                Err(trouble) => {
                    place.troubled(whose(&trouble));
                    span.in_scope(|| self.after_trouble(file, trouble, permits, &mut tries))
                }
            };
            let pause = match next {
                ControlFlow::Continue(pause) => pause,
                ControlFlow::Break(outcome) => return outcome,
            };
            tokio::select! {
                biased;
                // Without a pause the next try is part of the same transfer: after a stop too it has the grace.
                () = self.pause(pause, place) => {}
                () = shutdown.reached(Stop::Leave) => return Some(Outcome::Left),
            }
        }
    }

    /// Locks the file's own path. While another file of that path has the lock, the place is lent: that file may have lent its own, and would
    /// wait for this one.
    async fn lock_path(&self, file: &Settled, place: &Place) -> KeyedGuard<'_> {
        let mut locking = pin!(self.context.shared.paths.lock(file.root.path().join(&file.origin)));
        tokio::select! {
            biased;
            path = &mut locking => path,
            () = std::future::ready(()) => place.lend_during(locking).await,
        }
    }

    /// What an end means for the local file. `None` where the local file's removal reports the end.
    async fn finish(&self, file: &Settled, finished: Finished, permits: Permits<'_>) -> Option<Outcome> {
        match finished {
            Finished::Stored(receipted, source) => {
                permits.success();
                if let Some(found) = file.found {
                    self.context.counts.receipted(found);
                }
                self.stored_end(file, source, (receipted, Since::Now)).await
            }
            Finished::StoredBefore(receipted, source) => {
                permits.success();
                self.stored_end(file, source, (receipted, Since::Before)).await
            }
            Finished::Refused(reason, source) => {
                permits.success();
                self.refused_end(file, source, reason).await
            }
            Finished::RefusedBefore(reason, source) => self.refused_end(file, source, reason).await,
            Finished::Nothing(outcome) => Some(outcome),
        }
    }

    /// Tells the breaker whose trouble it is, and decides on the next try.
    fn after_trouble(&self, file: &Settled, trouble: TransferError, permits: Permits<'_>, tries: &mut Tries) -> Next {
        let is_daemon = self.context.shared.patience.is_none();
        match trouble {
            TransferError::Scarce(why) => {
                tries.scarce += 1;
                if !is_daemon && tries.scarce > budget::SCARCE_TRIES {
                    return Next::Break(Some(Outcome::Blocked { reason: BlockedBy::Scarcity(why) }));
                }
                return Next::Continue(Pause::InPlace(self.concurrency.scarce(tries.scarce, &why)));
            }
            TransferError::MayArrive(wait) => return Next::Continue(Pause::Lending(wait)),
            // The next try asks the store at once. Where answers are lost again and again, the service is in trouble.
            TransferError::AnswerLost(error) if tries.answers_lost == 0 => {
                tries.answers_lost += 1;
                tracing::warn!(file = %file.origin.display(), "asking the store whether it has it: {error}");
            }
            TransferError::Service(error) if self.is_final(&error) => return Next::Break(Some(self.stop(error))),
            TransferError::Service(error) | TransferError::AnswerLost(error) => {
                tries.failures += 1;
                if tries.failures == budget::FAILURES_OF_ONE_FILE {
                    return Next::Break(Some(Outcome::Blocked { reason: BlockedBy::Service(error) }));
                }
                permits.service.failed(error);
            }
            TransferError::Destination(error) if is_daemon => permits.destination.failed(error),
            TransferError::Destination(error) => return Next::Break(Some(self.stop(error))),
            TransferError::Journal(error) => {
                permits.journal.failed(VaultError::new(Kind::Unavailable, error.to_string()));
            }
        }
        Next::Continue(Pause::No)
    }

    async fn pause(&self, pause: Pause, place: &Place) {
        match pause {
            Pause::No => place.fit().await,
            Pause::InPlace(time) => tokio::time::sleep(time).await,
            Pause::Lending(time) => {
                tracing::debug!(?time, "waiting for an upload that may still arrive");
                self.context.shared.late.wait(place, time).await;
            }
        }
    }

    /// Whether a command, which is to end, gives up: it does not wait until a person mends the login.
    fn is_final(&self, error: &VaultError) -> bool {
        self.context.shared.patience.is_some() && error.kind == Kind::Login
    }

    /// Gives up on this file and on all others, for this reason.
    fn stop(&self, error: VaultError) -> Outcome {
        self.stopped.get_or_init(|| error);
        Outcome::Left
    }

    /// Permits of everything that may be in trouble. A probe asks the service with a small request first, so that no large file is what
    /// finds out.
    async fn permits(&self) -> Result<Permits<'_>, VaultError> {
        let shared = &self.context.shared;
        loop {
            if let Some(error) = self.stopped.get() {
                return Err(error.clone());
            }
            // The destination is this folder's alone, so it comes first: no other folder waits for its probes.
            let destination = self.context.destinations.breaker.permit().await?;
            if destination.is_probe()
                && let Err(error) = self.context.destinations.look_up(&*shared.vault, &self.context.dest).await
                && matches!(error.kind, Kind::Missing | Kind::Forbidden)
            {
                destination.failed(error);
                continue;
            }
            let journal = shared.journal_breaker.permit().await?;
            let service = shared.service.permit().await?;
            if service.is_probe()
                && let Err(error) = shared.vault.probe().await
            {
                if self.is_final(&error) {
                    return Err(error);
                }
                service.failed(error);
                continue;
            }
            // The journal is asked at the start of each transfer: that is a small enough request.
            return Ok(Permits {
                journal: journal.probed(),
                destination: destination.probed(),
                service: service.probed(),
            });
        }
    }

    pub(super) fn report(&self, file: Settled, outcome: Outcome) {
        // The send fails only where the receiver of reports is gone.
        self.reports.send(Report::new(file, outcome)).ok();
    }
}

/// What a trouble says of the number of uploads at once.
fn whose(trouble: &TransferError) -> Trouble {
    match trouble {
        TransferError::Service(error) | TransferError::AnswerLost(error) if error.is_overload => Trouble::Overload,
        TransferError::Service(_) => Trouble::OfService,
        _ => Trouble::OfFile,
    }
}

/// A panic in the middle of one file is reported as its end: otherwise the watch, or `push`, would wait for that end for ever.
struct ReportsPanic<'a> {
    reports: &'a Reports,
    file: &'a Settled,
}

impl Drop for ReportsPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let outcome = Outcome::Failed { reason: Failure::Internal, moved: None };
            self.reports.send(Report::new(self.file.clone(), outcome)).ok();
        }
    }
}

struct Permits<'a> {
    journal: Permit<'a>,
    destination: Permit<'a>,
    service: Permit<'a>,
}

impl Permits<'_> {
    fn success(self) {
        self.journal.success();
        self.destination.success();
        self.service.success();
    }
}
