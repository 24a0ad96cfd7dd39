//! The start of a run: what a stopped run left behind is resolved, and a folder that does not answer holds up no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use super::{Tally, WatchedFolder, panicked, span_of, stop};
use crate::budget;
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::journal::Journal;
use crate::observe::health::Condition;
use crate::shutdown::{Shutdown, Stop};
use crate::upload::reconcile::startup::{self, RecoveryError};

/// The recovery of one folder, under way.
pub(super) type Recovery = JoinHandle<Result<(), Fatal>>;

/// A folder that may start.
#[derive(Debug)]
pub(super) struct Started<T = WatchedFolder> {
    pub(super) folder: T,
    /// Its recovery, where that has not ended in time: the folder starts after it.
    pub(super) late: Option<Recovery>,
    /// The condition of a folder that was waited for, which is part of the health already.
    pub(super) condition: Option<Condition>,
}

/// Recovers all folders side by side, before any of them starts: an error that keeps one folder from starting ends the whole start,
/// and must not cut uploads of the others. A folder whose file system does not answer is handed back late.
pub(super) async fn recover_all(journal: &Journal, folders: Vec<WatchedFolder>) -> Result<Vec<Started>, Fatal> {
    // Dropped at the end of this function: a folder that is held open keeps its share from being unmounted.
    let roots: Vec<_> = folders.iter().map(|folder| Arc::clone(&folder.root)).collect();
    let recoveries = folders.into_iter().map(|folder| {
        let recovery = recover(journal.clone(), Arc::clone(&folder.root));
        (folder, recovery)
    });
    let started = all_within(budget::RECOVERY, recoveries.collect()).await;
    if started.is_err() {
        stop::tidy_all(roots).await;
    }
    started
}

pub(super) fn recover(journal: Journal, root: Arc<Root>) -> Recovery {
    let span = span_of(&root);
    tokio::spawn(async move { Ok(startup::resolve(&journal, &root).await?) }.instrument(span))
}

/// Our own trouble has no exit code of its own.
impl From<RecoveryError> for Fatal {
    fn from(error: RecoveryError) -> Self {
        Self::new(Exit::SomeFailed, error.to_string())
    }
}

/// Waits for all recoveries, within one limit for all. A recovery that has not ended by then is handed back as late. The first
/// error is the result of all.
async fn all_within<T>(limit: Duration, recoveries: Vec<(T, Recovery)>) -> Result<Vec<Started<T>>, Fatal> {
    let end = Instant::now() + limit;
    let mut started = Vec::with_capacity(recoveries.len());
    for (folder, mut recovery) in recoveries {
        let late = match timeout_at(end, &mut recovery).await {
            Ok(ended) => {
                result_of(ended)?;
                None
            }
            Err(_elapsed) => Some(recovery),
        };
        started.push(Started { folder, late, condition: None });
    }
    Ok(started)
}

fn result_of(ended: Result<Result<(), Fatal>, JoinError>) -> Result<(), Fatal> {
    ended.unwrap_or_else(|error| Err(panicked(&error)))
}

/// Waits, without a limit, for a recovery that is late. A failure ends only this folder, because the others run already. After a
/// failure or a stop the folder does not start, and its tally is returned as the error.
pub(super) async fn catch_up(late: Recovery, condition: &Condition, shutdown: Shutdown) -> Result<(), Tally> {
    condition.raise("its file system does not answer");
    tracing::warn!("its file system does not answer; the other folders start now, and this one when it answers");
    recovered(late, condition, shutdown).await?;
    tracing::info!("its file system answers; watching it from now on");
    Ok(())
}

/// Waits for a recovery while other folders run already, and clears the condition. A folder that leaves waits too: it may join again at
/// once, and two recoveries of it, or a recovery and uploads, would take each other's files for leftovers.
pub(super) async fn recovered(
    mut recovery: Recovery,
    condition: &Condition,
    mut shutdown: Shutdown,
) -> Result<(), Tally> {
    let recovered = tokio::select! {
        ended = &mut recovery => result_of(ended),
        () = shutdown.reached(Stop::Gently) => return Err(Tally::default()),
    };
    if recovered.is_ok() && shutdown.requested() == Stop::Leave {
        return Err(Tally::default());
    }
    match recovered {
        Ok(()) => {
            condition.clear();
            Ok(())
        }
        Err(error) => {
            condition.raise("what an earlier run left there can't be resolved");
            tracing::error!(
                "what an earlier run left there can't be resolved, so it is not watched until the next start: {error}"
            );
            Err(Tally { failed: 1, ..Tally::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::health::HealthCheck as _;
    use crate::shutdown;
    use tokio::sync::oneshot;

    /// A recovery that hangs, as on a share that does not answer, until something is sent. Fails when the sender is dropped.
    fn hung() -> (oneshot::Sender<()>, Recovery) {
        let (answer, answered) = oneshot::channel::<()>();
        (answer, tokio::spawn(async move { answered.await.map_err(|_| Fatal::new(Exit::SomeFailed, "never")) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_does_not_answer_holds_up_no_other_and_starts_when_it_answers() {
        let (answer, recovery) = hung();
        let recoveries = vec![("hung", recovery), ("well", tokio::spawn(async { Ok(()) }))];
        let start = Instant::now();
        let mut started = all_within(budget::RECOVERY, recoveries).await.unwrap();
        assert_eq!(start.elapsed(), budget::RECOVERY);
        assert!(started[1].late.is_none(), "the other one may start");
        let late = started.remove(0).late.unwrap();

        let (condition, (_trigger, shutdown)) = (Condition::default(), shutdown::channel());
        let caught_up = tokio::spawn({
            let condition = condition.clone();
            async move { catch_up(late, &condition, shutdown).await }
        });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(condition.trouble().is_some() && !caught_up.is_finished());
        answer.send(()).unwrap();
        assert!(caught_up.await.unwrap().is_ok() && condition.trouble().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_folder_that_fails_or_is_stopped_ends_alone() {
        for stops in [false, true] {
            let (answer, recovery) = hung();
            let (condition, (trigger, shutdown)) = (Condition::default(), shutdown::channel());
            if stops {
                trigger.raise();
            } else {
                drop(answer);
            }
            let tally = catch_up(recovery, &condition, shutdown).await.unwrap_err();
            assert_eq!(tally.failed, u64::from(!stops), "a stop is no failure");
            assert!(condition.trouble().is_some());
        }
    }

    /// Regression: the folder was given up, and joined again with other settings, while its recovery still renamed files.
    #[tokio::test(start_paused = true)]
    async fn a_folder_that_leaves_waits_for_its_recovery_and_does_not_start() {
        let (answer, recovery) = hung();
        let (condition, (trigger, shutdown)) = (Condition::default(), shutdown::channel());
        trigger.raise_to(Stop::Leave);
        let leaving = tokio::spawn(async move { recovered(recovery, &condition, shutdown).await });
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!leaving.is_finished());
        answer.send(()).unwrap();
        assert_eq!(leaving.await.unwrap().unwrap_err().failed, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_recovery_that_fails_in_time_lets_no_folder_start() {
        let (_answer, recovery) = hung();
        let fails = tokio::spawn(async { Err(Fatal::new(Exit::Missing, "no")) });
        let failed = all_within(budget::RECOVERY, vec![((), recovery), ((), fails)]).await.unwrap_err();
        assert_eq!(failed.exit, Exit::Missing);
    }
}
