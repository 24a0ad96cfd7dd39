//! One file's way, as often as it takes: leave to try, an attempt, and what its end means for this file and for all.

use super::attempt::Halt;
use super::breaker::Permit;
use super::concurrency::Class;
use super::{Outcome, Pipeline};
use crate::budget;
use crate::file::Settled;
use crate::shutdown::{Shutdown, Stop};
use crate::vault::{Kind, Vault, VaultError};

impl<V: Vault> Pipeline<V> {
    /// Brings a file to an end, reports it, and gives back its place of this class; `waiting` if others wait for that.
    pub(super) async fn one(&self, file: Settled, class: Class, waiting: bool, shutdown: Shutdown) {
        let owed = Owed { pipeline: self, file: &file, class, waiting };
        let outcome = self.way(&file, class, shutdown).await;
        drop(owed);
        // Without one its removal is under way, and is reported when it is over.
        if let Some(outcome) = outcome {
            self.report(file, outcome);
        }
    }

    async fn way(&self, file: &Settled, class: Class, mut shutdown: Shutdown) -> Option<Outcome> {
        let _turn = self.shared.turns.take(file.root.path().join(&file.origin)).await;
        let (mut answers_lost, mut failures, mut scarce) = (0, 0, 0);
        loop {
            let permits = tokio::select! {
                biased;
                permits = self.permits() => permits,
                // The grace is for uploads: a file that waits for the service is not under way.
                () = shutdown.reached(Stop::Gently) => return Some(Outcome::Left),
            };
            let permits = match permits {
                Ok(permits) => permits,
                Err(error) => return Some(self.stop(error)),
            };
            let ended = match self.attempt(file).await {
                Err(Halt::Unreadable(reason)) => Err(self.unreadable(file, reason).await),
                ended => ended,
            };
            match ended {
                Ok((confirmed, source)) => {
                    permits.success();
                    return self.local_end(file, source, confirmed).await;
                }
                Err(Halt::Ended(outcome)) => return Some(outcome),
                Err(Halt::Refused(source, reason)) => {
                    permits.success();
                    return self.refused_end(file, source, reason).await;
                }
                Err(Halt::RefusedBefore(source, reason)) => {
                    return self.refused_end(file, source, reason).await;
                }
                // Written down by now.
                Err(Halt::Unreadable(reason)) => return Some(Outcome::Failed { reason, moved: None }),
                Err(Halt::Scarce(why)) => {
                    scarce += 1;
                    if self.shared.patience.is_some() && scarce > budget::SCARCE_TRIES {
                        return Some(Outcome::Blocked { reason: why });
                    }
                    drop(permits);
                    let pause = self.concurrency.scarce(scarce, &why);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = shutdown.reached(Stop::Gently) => return Some(Outcome::Left),
                    }
                }
                // Looked for at once; but where answers are lost again and again, the service is in trouble.
                Err(Halt::AnswerLost(error)) if answers_lost == 0 => {
                    answers_lost += 1;
                    tracing::warn!(file = %file.origin.display(), "asking the store whether it has it: {error}");
                }
                Err(Halt::Later(wait)) => {
                    drop(permits);
                    tokio::select! {
                        () = self.rest(class, wait) => {}
                        () = shutdown.reached(Stop::Gently) => return Some(Outcome::Left),
                    }
                }
                Err(Halt::Service(error)) if self.is_final(&error) => return Some(self.stop(error)),
                Err(Halt::Service(error) | Halt::AnswerLost(error)) => {
                    failures += 1;
                    if failures == budget::FAILURES_OF_ONE_FILE {
                        return Some(Outcome::Blocked { reason: error.message });
                    }
                    permits.service.failed(error);
                }
                Err(Halt::Destination(error)) if self.shared.patience.is_some() => return Some(self.stop(error)),
                Err(Halt::Destination(error)) => permits.destination.failed(error),
                Err(Halt::Journal(error)) => {
                    permits.journal.failed(VaultError::new(Kind::Unavailable, error.to_string()));
                }
            }
        }
    }

    /// A command that is to end does not wait for somebody to mend the login.
    fn is_final(&self, error: &VaultError) -> bool {
        self.shared.patience.is_some() && error.kind == Kind::Login
    }

    /// Gives up on this file and all others, for this reason.
    fn stop(&self, error: VaultError) -> Outcome {
        self.stopped.get_or_init(|| error);
        Outcome::Left
    }

    /// Leave to try, of all that may be in trouble. In trial the service is asked with a small call first, so that no
    /// large file is what finds out.
    async fn permits(&self) -> Result<Permits<'_>, VaultError> {
        loop {
            if let Some(error) = self.stopped.get() {
                return Err(error.clone());
            }
            // What is this folder's alone comes first, so that nobody else waits for its trials.
            let destination = self.destinations.breaker.permit().await?;
            if destination.is_trial()
                && let Err(error) = self.destinations.look_up(&*self.shared.vault, &self.dest).await
                && matches!(error.kind, Kind::Missing | Kind::Forbidden)
            {
                destination.failed(error);
                continue;
            }
            let journal = self.shared.journal_breaker.permit().await?;
            let service = self.shared.service.permit().await?;
            if service.is_trial()
                && let Err(error) = self.shared.vault.probe().await
            {
                if self.is_final(&error) {
                    return Err(error);
                }
                service.failed(error);
                continue;
            }
            // The journal is asked at the start of each attempt: that is small enough a try.
            return Ok(Permits {
                journal: journal.probed(),
                destination: destination.probed(),
                service: service.probed(),
            });
        }
    }
}

/// What is said of a file in whose middle this program failed.
pub(super) const INTERNAL: &str = "internal error, please report it; the file is tried again at the next walk";

/// A file's place among those under way. A fault of this program in the middle of one file gives it back too, and is reported:
/// else whoever waits for that file's end would wait for ever.
struct Owed<'a, V: Vault> {
    pipeline: &'a Pipeline<V>,
    file: &'a Settled,
    class: Class,
    waiting: bool,
}

impl<V: Vault> Drop for Owed<'_, V> {
    fn drop(&mut self) {
        self.pipeline.concurrency.give_back(self.class, self.waiting);
        if std::thread::panicking() {
            let reason = INTERNAL.to_owned();
            self.pipeline.report(self.file.clone(), Outcome::Failed { reason, moved: None });
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
